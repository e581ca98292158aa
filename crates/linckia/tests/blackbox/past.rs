//! Looks into the past in real processes: what was at a time and at a vector, the same in every
//! region, deletes included; and what is said where history is gone.
//!
//! Scenarios over `fleet` and `door`. What always holds: the past is asked for by what answers
//! gave.

use serde_json::{Value, json};

use crate::door::{Door, event};
use crate::fleet::Fleet;
use crate::history;
use crate::processes::eventually;

/// Stable time passes what was just written within this.
const SETTLED_SECONDS: u64 = 20;

fn at(door: &Door, thing: &str, moment: &str) -> (u16, Value) {
    let answer = door.get(&format!("/v1/aggregates/Thing/{thing}?at={moment}"));
    (answer.status, answer.json())
}

/// When this event was written, and the vector that shows it.
fn moment(door: &Door, thing: &str) -> (String, String) {
    let answer = door.get(&format!("/v1/aggregates/Thing/{thing}"));
    let vector = answer.header("linckia-vector").unwrap().to_owned();
    (answer.json()["updatedAt"].as_str().unwrap().to_owned(), vector)
}

#[test]
fn what_was_is_the_same_in_every_region() {
    let fleet = Fleet::near();
    let [a, b] = [0, 1].map(|at| fleet.doors[at].clone());
    a.write(&event("0", "thing", "put", &json!({"n": 1, "count": 5})));
    fleet.converged();
    let first = moment(&a, "thing");
    b.write(&event("1", "thing", "patch", &json!({"n": 2})));
    b.write(&event("2", "thing", "increment", &json!({"count": 2})));
    fleet.converged();
    let second = moment(&b, "thing");
    a.write(&event("3", "thing", "delete", &json!({})));
    fleet.converged();
    assert!(a.thing("thing").is_none());

    let settled = |door: &Door, moment: &str| {
        eventually(SETTLED_SECONDS, "no write can change it any more", || {
            let (status, was) = at(door, "thing", moment);
            (status != 200 || was["settled"] == true).then_some((status, was))
        })
    };
    let mut tags = Vec::new();
    for door in &fleet.doors {
        for ((time, vector), n, count, version) in [(&first, 1, 5, 1), (&second, 2, 7, 3)] {
            for moment in [time, vector] {
                let (status, was) = settled(door, moment);
                assert_eq!(status, 200, "{}: {was}", door.name);
                let found = (&was["data"], &was["version"], &was["at"]);
                let expected = (json!({"n": n, "count": count}), json!(version), json!(moment));
                assert_eq!(found, (&expected.0, &expected.1, &expected.2), "{}", door.name);
            }
        }
        assert_eq!(at(door, "thing", "2020-01-01T00:00:00Z").0, 404, "{}", door.name);
        let answer = door.get(&format!("/v1/aggregates/Thing/thing?at={}", second.0));
        tags.push(answer.header("etag").unwrap().to_owned());
    }
    assert!(tags.windows(2).all(|two| two[0] == two[1]), "{tags:?}");
    let told = fleet.cli(&["get", "Thing", "thing", "--at", &first.0]).done().stdout;
    assert!(told.contains("version 1") && told.contains(&first.0), "{told}");
}

#[test]
fn where_history_is_gone_the_past_is_refused() {
    let fleet = history::short();
    let a = fleet.doors[0].clone();
    a.write(&event("0", "old", "put", &json!({"n": 1})));
    fleet.converged();
    let (time, vector) = moment(&a, "old");
    history::let_go(&fleet);
    a.write(&event("1", "old", "patch", &json!({"n": 2})));
    for moment in [&time, &vector] {
        let (status, problem) = at(&a, "old", moment);
        assert_eq!((status, &problem["type"]), (410, &json!("/problems/position-expired")));
    }
    assert_eq!(a.thing("old").unwrap()["data"], json!({"n": 2}));
}
