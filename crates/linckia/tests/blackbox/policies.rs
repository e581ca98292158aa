//! Policies in real processes: the barrier between two epochs, fields that merge, conflicts that
//! wait for a person.
//!
//! Scenarios over `fleet` and `door`. What always holds: at the end all regions hold the same.

use std::time::Duration;

use serde_json::{Value, json};

use crate::door::{Door, event};
use crate::fleet::Fleet;
use crate::http::Answer;
use crate::processes::eventually;

fn put(door: &Door, kind: &str, policy: &Value) -> Answer {
    door.ask("PUT", &format!("/v1/policies/{kind}"), Some(policy))
}

/// Sets a policy, once the members agree at all.
#[track_caller]
fn set(door: &Door, kind: &str, policy: &Value) -> u64 {
    eventually(40, "a policy is agreed", || {
        let answer = put(door, kind, policy);
        assert!([200, 503].contains(&answer.status), "{}", answer.text());
        (answer.status == 200).then(|| answer.json()["epoch"].as_u64().unwrap())
    })
}

/// Writes, where the policy's change may just be passing.
#[track_caller]
fn write(door: &Door, event: &Value) {
    eventually(20, "the type is written again", || {
        let answer = door.ask("POST", "/v1/events", Some(event));
        assert!([200, 201, 503].contains(&answer.status), "{}", answer.text());
        (answer.status < 300).then_some(())
    });
}

/// Writes what the policy does not admit, where its change may just be passing.
#[track_caller]
fn refused(door: &Door, event: &Value) {
    eventually(20, "the type is written again", || {
        let answer = door.ask("POST", "/v1/events", Some(event));
        assert!([400, 503].contains(&answer.status), "{}", answer.text());
        (answer.status == 400).then(|| assert_eq!(answer.problem(), "invalid-event"))
    });
}

fn of(kind: &str, id: &str, operation: &str, data: &Value) -> Value {
    let mut event = event(id, "one", operation, data);
    event["aggregateType"] = kind.into();
    event
}

fn data(door: &Door, kind: &str) -> Value {
    let answer = door.get(&format!("/v1/aggregates/{kind}/one"));
    if answer.status == 404 { Value::Null } else { answer.json()["data"].clone() }
}

#[test]
fn concurrent_writes_merge_as_the_policy_says() {
    let fleet = Fleet::near();
    let [a, b, c] = [0, 1, 2].map(|at| fleet.doors[at].clone());
    let fields = json!({"/tags": "set", "/stock": "counter", "/best": "max", "/live": "flag"});
    let basket = json!({"strategy": "LastWriterWins", "fields": fields});
    assert_eq!(set(&a, "Basket", &basket), 1);
    set(&b, "Account", &json!({"strategy": "DeleteWins"}));
    set(&c, "Page", &json!({"strategy": "RegionPriority", "regions": [b.name, a.name, c.name]}));
    // What a policy does not admit is refused, and says where.
    refused(&a, &of("Page", "p", "patch", &json!({"n": 1})));
    refused(&b, &of("Basket", "p", "add", &json!({"x": [1]})));

    let first = json!({"tags": ["old"], "stock": 10, "best": 1, "live": false});
    write(&a, &of("Basket", "b0", "patch", &first));
    write(&a, &of("Account", "a0", "put", &json!({"n": 0})));
    write(&a, &of("Page", "p0", "put", &json!({"by": "nobody"})));
    fleet.converged();
    fleet.cli(&["wan", "cut", &a.name]).done();
    write(&a, &of("Basket", "b1", "add", &json!({"tags": ["red", "old"]})));
    write(&b, &of("Basket", "b2", "remove", &json!({"tags": ["old"]})));
    write(&a, &of("Basket", "b3", "increment", &json!({"stock": -3})));
    write(&b, &of("Basket", "b4", "increment", &json!({"stock": 5})));
    write(&a, &of("Basket", "b5", "patch", &json!({"best": 7, "live": true})));
    write(&b, &of("Basket", "b6", "patch", &json!({"best": 4, "live": false})));
    write(&b, &of("Account", "a1", "delete", &json!({})));
    write(&a, &of("Account", "a2", "put", &json!({"n": 1})));
    write(&b, &of("Page", "p1", "put", &json!({"by": "b"})));
    write(&a, &of("Page", "p2", "put", &json!({"by": "a"})));
    fleet.cli(&["wan", "heal"]).done();
    fleet.converged();
    for door in &fleet.doors {
        let merged = json!({"tags": ["old", "red"], "stock": 12, "best": 7, "live": true});
        assert_eq!(data(door, "Basket"), merged, "{}", door.name);
        assert_eq!(data(door, "Account"), Value::Null, "a delete wins");
        assert_eq!(data(door, "Page"), json!({"by": "b"}), "the region named first wins");
    }
    let hidden = a.items("/v1/conflicts?aggregateType=Page");
    assert_eq!(hidden[0]["resolutionStrategy"], "RegionPriority", "{hidden:?}");

    // A restart, and a loss of the store's memory, change nothing.
    let killed = fleet.kill(&c.name);
    fleet.back(&c.name, killed);
    fleet.converged();
    write(&c, &of("Basket", "b7", "remove", &json!({"tags": ["red"]})));
    fleet.converged();
    assert_eq!(data(&a, "Basket")["tags"], json!(["old"]));
}

#[test]
fn a_conflict_waits_for_a_person() {
    let fleet = Fleet::near();
    let [a, b] = [0, 1].map(|at| fleet.doors[at].clone());
    set(&a, "Contract", &json!({"strategy": "Manual"}));
    write(&a, &of("Contract", "c0", "patch", &json!({"price": 1, "city": "Rome"})));
    fleet.converged();
    fleet.cli(&["wan", "cut", &a.name]).done();
    write(&a, &of("Contract", "c1", "patch", &json!({"price": 100})));
    write(&b, &of("Contract", "c2", "patch", &json!({"price": 200})));
    fleet.cli(&["wan", "heal"]).done();
    fleet.converged();
    let open = |door: &Door| door.items("/v1/conflicts?status=open&aggregateType=Contract");
    let record = eventually(20, "the conflict is in the inbox", || open(&b).into_iter().next());
    assert_eq!(
        (&record["status"], &record["resolutionStrategy"]),
        (&json!("open"), &json!("Manual"))
    );
    let shown = record["resolvedEvent"].as_str().unwrap().to_owned();
    let other = if shown == "c1" { "c2" } else { "c1" };
    let id = record["conflictId"].as_str().unwrap();
    fleet.cli(&["resolve", id, "--choose", other, "--region", &b.name]).done();
    fleet.converged();
    for door in &fleet.doors {
        let price = if other == "c1" { 100 } else { 200 };
        assert_eq!(data(door, "Contract"), json!({"price": price, "city": "Rome"}));
        eventually(20, "the inbox is empty", || open(door).is_empty().then_some(()));
        let settled = door.items("/v1/conflicts?status=settled&aggregateType=Contract");
        assert_eq!((&settled[0]["conflictId"], settled.len()), (&json!(id), 1));
    }

    // What is confirmed stays so through a restart, and with nobody to ask.
    let stage =
        |door: &Door| door.items("/v1/conflicts?aggregateType=Contract")[0]["stage"].clone();
    eventually(20, "the record is confirmed", || (stage(&b) == "confirmed").then_some(()));
    fleet.cli(&["stop", &b.name]).done();
    fleet.cli(&["wan", "cut", &b.name]).done();
    fleet.cli(&["start", &b.name]).done();
    assert_eq!(stage(&b), "confirmed");
}

#[test]
fn a_policy_changes_everywhere_or_nowhere() {
    let fleet = Fleet::start(&["--wan", "none", "--restart-after", "never"]);
    let [a, b, c] = [0, 1, 2].map(|at| fleet.doors[at].clone());
    let shown = fleet.cli(&["policy", "show"]).done().stdout;
    assert!(shown.contains("Nothing was agreed"), "{shown}");
    write(&a, &of("Order", "o0", "patch", &json!({"n": 1})));
    fleet.converged();
    let killed = fleet.kill(&c.name);
    // Somebody is missing: nothing changes, and the type is written again. While the members
    // choose who leads them after the one that is missing, others are awaited too.
    eventually(60, "only the one that is missing is awaited", || {
        let answer = put(&a, "Order", &json!({"strategy": "Manual"}));
        assert_eq!((answer.status, answer.problem().as_str()), (503, "unavailable"));
        let awaited = answer.json()["awaited"].clone();
        assert!(awaited.as_array().unwrap().contains(&json!(c.name)), "{}", answer.text());
        (awaited == json!([c.name])).then_some(())
    });
    write(&b, &of("Order", "o1", "patch", &json!({"n": 2})));
    assert_eq!(a.get("/v1/policies/Order").json()["epoch"], 0);
    fleet.cli(&["start", &c.name]).done();
    fleet.back(&c.name, killed);
    let set = ["policy", "set", "Order", "--field", "/n=counter", "--region", &c.name];
    let told = eventually(40, "the policy is agreed", || {
        let ran = fleet.cli(&set);
        (ran.code == Some(0)).then_some(ran.stdout)
    });
    assert!(told.contains("/n=counter"), "{told}");
    for (door, id) in [(&a, "o2"), (&b, "o3"), (&c, "o4")] {
        write(door, &of("Order", id, "increment", &json!({"n": 1})));
    }
    fleet.converged();
    for door in &fleet.doors {
        assert_eq!(data(door, "Order"), json!({"n": 5}));
    }
    // A region that was down meanwhile, all the way from its disk, knows the epochs.
    let killed = fleet.kill(&b.name);
    std::thread::sleep(Duration::from_millis(200));
    fleet.cli(&["start", &b.name]).done();
    fleet.back(&b.name, killed);
    write(&b, &of("Order", "o5", "increment", &json!({"n": 1})));
    fleet.converged();
    assert_eq!(data(&a, "Order"), json!({"n": 6}));
}
