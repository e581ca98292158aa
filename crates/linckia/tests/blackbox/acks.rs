//! Acknowledgement levels: what other regions hold, asked of real processes over real links.
//!
//! Scenarios over `fleet` and `door`. What always holds: what an answer says is checked against the
//! other regions themselves, after the one that answered is gone or cut off.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::door::{Door, JSON, dot_of, event};
use crate::fleet::Fleet;
use crate::http::Answer;
use crate::processes::eventually;

#[track_caller]
fn write(door: &Door, level: &str, event: &Value) -> Answer {
    let headers = [JSON, ("linckia-ack", level)];
    door.try_ask("POST", "/v1/events", &headers, event.to_string().as_bytes()).unwrap()
}

fn acks(door: &Door, dot: &str) -> Value {
    door.get(&format!("/v1/acks/{dot}")).json()
}

#[test]
fn a_level_is_reached_or_says_in_time_that_it_is_not() {
    let fleet = Fleet::near();
    let [a, b, c] = [0, 1, 2].map(|at| fleet.doors[at].clone());
    let both = format!("{},{}", c.name, b.name);
    for (level, told) in [
        ("local", "local"),
        ("any", "any"),
        ("quorum;timeout=10s", "quorum"),
        ("all", "all"),
        (b.name.as_str(), b.name.as_str()),
    ] {
        let id = format!("at-{}", level.split(';').next().unwrap());
        let answer = write(&a, level, &event(&id, "thing", "patch", &json!({"last": id})));
        assert_eq!(answer.status, 201, "{level}: {}", answer.text());
        assert_eq!(answer.json()["ack"], told);
    }
    let answer = write(&a, &both, &event("both", "thing", "patch", &json!({"last": "both"})));
    assert_eq!(answer.status, 201, "{}", answer.text());
    let answer = write(&a, "mars-1", &event("mars", "thing", "patch", &json!({})));
    assert_eq!((answer.status, answer.problem().as_str()), (400, "invalid-parameter"));
    fleet.converged();
    assert!(b.events().iter().all(|event| event.id != "mars"), "what was refused is not written");

    // With one link cut the third region says what the other one holds.
    fleet.cli(&["wan", "cut", &a.name, &b.name]).done();
    let answer = write(&a, &format!("{};timeout=20s", b.name), &event("x", "x", "put", &json!({})));
    assert_eq!(answer.status, 201, "{}", answer.text());

    // With all links cut the answer is in time, and honest.
    fleet.cli(&["wan", "cut", &a.name]).done();
    let late = event("late", "thing", "patch", &json!({"last": "late"}));
    let begun = Instant::now();
    let answer = write(&a, "any;timeout=400ms", &late);
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(400) && took < Duration::from_secs(2), "{took:?}");
    assert_eq!((answer.status, answer.problem().as_str()), (504, "ack-timeout"));
    let told = answer.json();
    assert_eq!(told["durable"], json!([a.name]), "{told}");
    assert_eq!(told["unconfirmed"].as_array().map(Vec::len), Some(2), "{told}");
    assert_eq!(a.thing("thing").unwrap()["data"]["last"], "late", "it is written all the same");
    let dot = told["dot"].as_str().unwrap().to_owned();
    assert_eq!(acks(&a, &dot)["reached"], json!(["local"]));
    assert_eq!(b.get(&format!("/v1/acks/{dot}")).status, 404, "nobody told it");
    let again = write(&a, "any;timeout=50ms", &late);
    assert_eq!((again.status, &again.json()["dot"]), (504, &json!(dot)), "the same event");

    // What waits is answered when the links heal.
    let waiting = std::thread::scope(|scope| {
        let waits = scope.spawn(|| write(&a, "all;timeout=30s", &late));
        fleet.cli(&["wan", "heal"]).done();
        waits.join().unwrap()
    });
    assert_eq!(waiting.status, 200, "{}", waiting.text());
    assert_eq!(
        (&waiting.json()["duplicate"], dot_of(&waiting.json())),
        (&json!(true), dot.clone())
    );
    for door in &fleet.doors {
        eventually(10, "every region knows who holds it", || {
            (acks(door, &dot)["reached"].as_array()?.len() == 4).then_some(())
        });
    }
    let shown = fleet.cli(&["acks", &dot]).done().stdout;
    assert!(shown.contains("all") && shown.contains(&c.name), "{shown}");
}

#[test]
fn what_another_region_acknowledged_outlives_the_region_that_took_it() {
    let fleet = Fleet::start(&["--wan", "none", "--restart-after", "never"]);
    let a = fleet.doors[0].clone();
    let mut acknowledged = Vec::new();
    for number in 0..200 {
        let id = format!("any-{number}");
        let answer = write(&a, "any", &event(&id, &id, "put", &json!({"n": number})));
        assert_eq!(answer.status, 201, "{}", answer.text());
        acknowledged.push(id);
    }
    fleet.kill(&a.name);
    std::fs::remove_dir_all(fleet.region_dir(&a.name)).unwrap();
    for door in &fleet.doors[1..] {
        for id in &acknowledged {
            eventually(10, "it is there without the region that took it", || door.thing(id));
        }
    }
}
