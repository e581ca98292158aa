//! Sessions over real regions and real links: a client hops, and sees what it wrote and read.
//!
//! Scenarios over `fleet` and `door`. What always holds: a token goes from answer to request as a
//! client would carry it, unread.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::door::{Door, JSON, event};
use crate::fleet::Fleet;
use crate::http::Answer;
use crate::processes::eventually;

/// A client with its token.
struct Client {
    token: String,
}

impl Client {
    fn new() -> Self {
        Self { token: String::new() }
    }

    fn ask(&mut self, door: &Door, method: &str, target: &str, behind: &str, body: &str) -> Answer {
        let headers = [JSON, ("linckia-session", self.token.as_str()), ("linckia-behind", behind)];
        let answer = door.try_ask(method, target, &headers, body.as_bytes()).unwrap();
        if let Some(token) = answer.header("linckia-session") {
            token.clone_into(&mut self.token);
        }
        answer
    }

    #[track_caller]
    fn write(&mut self, door: &Door, id: &str, thing: &str, data: &Value) {
        let body = event(id, thing, "patch", data).to_string();
        let answer = self.ask(door, "POST", "/v1/events", "wait=10s", &body);
        assert_eq!(answer.status, 201, "{}", answer.text());
    }

    fn read(&mut self, door: &Door, thing: &str, behind: &str) -> Answer {
        self.ask(door, "GET", &format!("/v1/aggregates/Thing/{thing}"), behind, "")
    }
}

#[test]
fn a_client_that_hops_sees_its_own_writes_and_whoever_reads_them_sees_what_was_before() {
    // 100 ms one way: without a session a hop within that time misses what was written.
    let fleet = Fleet::start(&["--wan", "none"]);
    let [a, b, c] = [0, 1, 2].map(|at| fleet.doors[at].clone());
    for pair in [[&a, &b], [&a, &c], [&b, &c]] {
        fleet.cli(&["wan", "set", &pair[0].name, &pair[1].name, "--delay", "100ms"]).done();
    }
    let (mut client, mut other) = (Client::new(), Client::new());
    let mut missed = 0;
    for round in 0..4 {
        for (place, door) in fleet.doors.iter().enumerate() {
            let next = &fleet.doors[(place + 1) % 3];
            let mark = format!("m{round}-{place}");
            client.write(door, &mark, "marks", &json!({ mark.as_str(): true }));
            missed += usize::from(next.thing("marks").is_none_or(|it| it["data"][&mark].is_null()));
            let seen = client.read(next, "marks", "wait=10s").json();
            assert_eq!(seen["data"][&mark], true, "{seen}");
            // What it has seen goes before what it writes next, for others as well.
            let after = format!("after-{mark}");
            client.write(next, &after, &after, &json!({"saw": mark}));
            let third = &fleet.doors[(place + 2) % 3];
            eventually(10, "the second write is seen", || third.thing(&after));
            let there = other.read(third, "marks", "wait=10s").json();
            assert_eq!(there["data"][&mark], true, "writes follow reads: {there}");
        }
    }
    assert!(missed >= 10, "only {missed} of 12 reads without a token came too early");
    assert!(client.token.len() < 400, "{} letters of token", client.token.len());
    // In a fleet at rest everybody has everything, and the token says nothing any more.
    fleet.converged();
    eventually(10, "the token shrinks", || {
        client.read(&a, "marks", "fail");
        (client.token.len() < 40).then_some(())
    });
}

#[test]
fn a_region_that_is_behind_does_what_the_client_chose() {
    let fleet = Fleet::near();
    let [a, b] = [0, 1].map(|at| fleet.doors[at].clone());
    fleet.converged();
    fleet.cli(&["wan", "cut", &a.name]).done();
    let mut client = Client::new();
    client.write(&a, "first", "thing", &json!({"n": 1}));

    let begun = Instant::now();
    let failed = client.read(&b, "thing", "fail");
    assert_eq!((failed.status, failed.problem().as_str()), (503, "behind"));
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(failed.header("retry-after"), Some("1"));
    let told = failed.json();
    let (origin, range) = told["missing"].as_object().unwrap().iter().next().unwrap();
    assert!(origin.starts_with(&a.name) && range[0] == range[1], "{told}");
    eventually(10, "the origin is known not to be reachable", || {
        let told = client.read(&b, "thing", "fail").json();
        (told["reachable"][origin] == false).then_some(())
    });
    let begun = Instant::now();
    assert_eq!(client.read(&b, "thing", "wait=300ms").status, 503);
    assert!(begun.elapsed() >= Duration::from_millis(300));

    let stale = client.read(&b, "thing", "stale");
    assert_eq!(stale.status, 404, "b has nothing of it");
    client.write(&a, "second", "thing", &json!({"n": 2}));
    let held = client.token.clone();
    let list = client.ask(&b, "GET", "/v1/aggregates/Thing", "stale", "");
    let said = list.header("linckia-stale").expect("it says by how much").to_owned();
    assert!(said.starts_with(&format!("{}=2 events/", a.name)), "{said}");
    assert!(client.token.len() >= held.len(), "what it has seen is not forgotten");
    let late = client.ask(&b, "GET", "/v1/aggregates/Thing", "forward", "");
    assert_eq!(late.status, 503, "{}", late.text());

    // The link comes back: whoever waits is answered, and a forward reaches the other region.
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| {
            let mut client = Client { token: client.token.clone() };
            client.read(&b, "thing", "wait=30s")
        });
        fleet.cli(&["wan", "heal"]).done();
        let answer = waits.join().unwrap();
        assert_eq!((answer.status, &answer.json()["data"]), (200, &json!({"n": 2})));
    });
}

#[test]
fn a_request_is_answered_by_a_region_that_is_not_behind() {
    let fleet = Fleet::near();
    let [a, b] = [0, 1].map(|at| fleet.doors[at].clone());
    fleet.converged();
    // Slow from a to b, so that b is behind and a can still be reached.
    fleet.cli(&["wan", "set", &a.name, &b.name, "--delay", "700ms", "--one-way"]).done();
    fleet.cli(&["wan", "cut", &fleet.doors[2].name]).done();
    let mut client = Client::new();
    for number in 0..3 {
        client.write(&a, &format!("w{number}"), "thing", &json!({"n": number}));
        let answer = client.read(&b, "thing", "forward");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let body = answer.json();
        assert_eq!((&body["data"]["n"], &body["region"]), (&json!(number), &json!(a.name)));
        // Writes too: the event is born where it was answered.
        let id = format!("forwarded-{number}");
        client.write(&a, &format!("x{number}"), "thing", &json!({"x": number}));
        let put = event(&id, "other", "patch", &json!({"n": number})).to_string();
        let answer = client.ask(&b, "POST", "/v1/events", "forward", &put);
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert_eq!(answer.json()["region"], json!(a.name));
    }
}

#[test]
fn keys_rotate_in_a_running_fleet() {
    let fleet = Fleet::near();
    let [a, b] = [0, 1].map(|at| fleet.doors[at].clone());
    let mut client = Client::new();
    client.write(&a, "one", "thing", &json!({"n": 1}));
    let old = client.token.clone();
    let file = fleet.dir().join("fleet.pki/session.keys");
    let file = file.to_str().unwrap();
    for step in ["add", "promote"] {
        fleet.cli(&["session-keys", step, file]).done();
    }
    eventually(20, "both regions sign with the new key, and read it", || {
        let mut fresh = Client::new();
        fresh.write(&a, "two", "thing", &json!({"n": 2}));
        (fresh.token != old && fresh.read(&b, "thing", "wait=5s").status == 200).then_some(())
    });
    let mut held = Client { token: old };
    assert_eq!(held.read(&b, "thing", "wait=5s").status, 200, "what clients hold stays valid");
}
