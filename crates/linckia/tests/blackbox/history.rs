//! Logs that let go of history: what is still answered when the events are gone, and how a region
//! comes back whose logs do not reach back to its state.
//!
//! Scenarios over `fleet` and `door`.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::door::{Door, JSON, dot_of, event};
use crate::fleet::Fleet;
use crate::processes::eventually;

/// Logs let go of what every region has within this: a flush of the store is due after 10 s.
const RETIRED_SECONDS: u64 = 60;

/// A snapshot is loaded within this.
const LOADED_SECONDS: u64 = 30;

/// A fleet whose logs keep as little as they can.
pub fn short() -> Fleet {
    Fleet::start(&[
        "--wan",
        "none",
        "--restart-after",
        "never",
        "--set",
        "log.history_bytes_max=0B",
        "--set",
        "log.segment_bytes_first=64KiB",
    ])
}

fn log_dirs(fleet: &Fleet, region: &str) -> Vec<PathBuf> {
    let logs = fleet.region_dir(region).join("data/log/logs");
    fs::read_dir(logs).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// The first event that a log's files hold.
fn first_of(log: &PathBuf) -> u64 {
    let names = fs::read_dir(log).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.filter_map(|name| name.into_string().ok());
    let firsts = names.filter_map(|name| name.strip_suffix(".segment")?.parse().ok());
    firsts.min().unwrap_or(1)
}

/// Writes so much in every region that segments fill, until each log has let go of its beginning
/// everywhere.
pub fn let_go(fleet: &Fleet) {
    let filler = "x".repeat(900);
    for door in &fleet.doors {
        for batch in 0..12 {
            let one = |number: usize| {
                let id = format!("{}-{batch}-{number}", door.name);
                event(&id, &format!("bulk-{number}"), "put", &json!({"filler": filler}))
            };
            let events: Vec<Value> = (0..40).map(one).collect();
            let answer = door.ask("POST", "/v1/events", Some(&json!(events)));
            assert_eq!(answer.status, 201, "{}", answer.text());
        }
    }
    fleet.converged();
    eventually(RETIRED_SECONDS, "every log has let go of its beginning", || {
        let logs = fleet.doors.iter().flat_map(|door| log_dirs(fleet, &door.name));
        let firsts: Vec<u64> = logs.map(|log| first_of(&log)).collect();
        (firsts.len() == 9 && firsts.iter().all(|first| *first > 20)).then_some(())
    });
}

fn record_of(door: &Door, thing: &str) -> Value {
    let target = format!("/v1/conflicts?aggregateType=Thing&aggregateId={thing}");
    let records = door.items(&target);
    assert_eq!(records.len(), 1, "{}: {records:?}", door.name);
    records[0].clone()
}

/// Two regions write one thing while they do not hear each other.
fn conflict(fleet: &Fleet, thing: &str) {
    let [a, b] = [0, 1].map(|at| &fleet.doors[at]);
    fleet.cli(&["wan", "cut", &a.name]).done();
    for (door, n) in [(a, 1), (b, 2)] {
        door.write(&event(&format!("{thing}-{n}"), thing, "put", &json!({"n": n})));
    }
    fleet.cli(&["wan", "heal"]).done();
    fleet.converged();
}

#[test]
fn what_logs_have_let_go_of_is_still_answered_as_far_as_it_matters() {
    let fleet = short();
    let [a, b] = [0, 1].map(|at| fleet.doors[at].clone());
    let early = event("early", "early", "increment", &json!({"n": 3}));
    let first = a.write(&early);
    a.write(&event("gone-1", "gone", "put", &json!({"n": 1})));
    a.write(&event("gone-2", "gone", "delete", &json!({})));
    conflict(&fleet, "fought");
    let before = record_of(&a, "fought");
    let_go(&fleet);
    for door in [&a, &b] {
        let again = door.ask("POST", "/v1/events", Some(&early));
        assert_eq!(again.status, 200, "{}: an id that was used is known", again.text());
        assert_eq!(dot_of(&again.json()), dot_of(&first));
        let other = event("early", "early", "increment", &json!({"n": 4}));
        let refused = door.ask("POST", "/v1/events", Some(&other));
        assert_eq!((refused.status, refused.problem().as_str()), (409, "id-reused"));
        assert_eq!(door.thing("early").unwrap()["data"], json!({"n": 3}));
        assert_eq!(door.thing("gone"), None);
        let record = record_of(door, "fought");
        let sides = |record: &Value| record["conflictingEvents"].clone();
        assert_eq!(sides(&record), sides(&before), "both sides are still shown");
        let after = dot_of(&first).rsplit_once(':').map(|(origin, _)| format!("{origin}:1"));
        let answer = door.get(&format!("/v1/events?after={}", after.unwrap()));
        assert_eq!(answer.status, 410, "what is gone is not left out in silence");
        let acks = door.get(&format!("/v1/acks/{}", dot_of(&first)));
        assert_eq!(acks.status, 200, "{}", acks.text());
    }
}

#[test]
fn a_region_whose_logs_do_not_reach_back_loads_a_snapshot() {
    let fleet = short();
    let [a, b] = [0, 1].map(|at| fleet.doors[at].clone());
    a.write(&event("early", "early", "increment", &json!({"n": 3})));
    b.write(&event("dead-1", "dead", "put", &json!({"n": 1})));
    conflict(&fleet, "fought");
    b.write(&event("dead-2", "dead", "delete", &json!({})));
    let_go(&fleet);

    // Its whole directory is lost.
    let killed = fleet.kill(&a.name);
    eventually(10, "it is noticed", || fleet.pid_of(&a.name).is_none().then_some(()));
    fs::remove_dir_all(fleet.region_dir(&a.name)).unwrap();
    b.write(&event("while-away", "early", "increment", &json!({"n": 4})));
    fleet.cli(&["start", &a.name]).done();
    fleet.back(&a.name, killed);
    eventually(LOADED_SECONDS, "it answers again", || a.is_ready().then_some(()));
    assert!(fleet.region_log(&a.name).contains("loads a snapshot from"), "not event by event");
    assert_eq!(a.thing("early").unwrap()["data"], json!({"n": 7}));
    assert_eq!(a.thing("dead"), None);
    assert_eq!(record_of(&a, "fought")["conflictId"], record_of(&b, "fought")["conflictId"]);
    let again = event("early", "early", "increment", &json!({"n": 3}));
    assert_eq!(a.ask("POST", "/v1/events", Some(&again)).status, 200, "it knows the id too");
    a.write(&event("after-1", "early", "increment", &json!({"n": 1})));
    fleet.converged();

    // Another one's store is lost, and its logs are not.
    let killed = fleet.kill(&b.name);
    eventually(10, "it is noticed", || fleet.pid_of(&b.name).is_none().then_some(()));
    fs::remove_dir_all(fleet.region_dir(&b.name).join("data/store")).unwrap();
    a.write(&event("after-2", "early", "increment", &json!({"n": 1})));
    fleet.cli(&["start", &b.name]).done();
    fleet.back(&b.name, killed);
    eventually(LOADED_SECONDS, "it answers again", || b.is_ready().then_some(()));
    let answer = b.try_ask("GET", "/v1/aggregates/Thing/early", &[JSON], b"").unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    b.write(&event("after-3", "early", "increment", &json!({"n": 1})));
    fleet.converged();
    for door in &fleet.doors {
        assert_eq!(door.thing("early").unwrap()["data"], json!({"n": 10}), "{}", door.name);
    }
}

#[test]
fn a_disk_with_less_room_than_is_kept_free_refuses_writes_and_answers_reads() {
    let mut fleet = Fleet::near();
    fleet.doors[0].write(&event("first", "thing", "put", &json!({"n": 1})));
    fleet.converged();
    fleet.down(Signal::INT, 30);
    fleet.up(&["--wan", "none", "--set", "log.disk_reserve=900TiB"]);
    for door in &fleet.doors {
        let write = event("second", "thing", "patch", &json!({"m": 2}));
        let refused = door.ask("POST", "/v1/events", Some(&write));
        assert_eq!((refused.status, refused.problem().as_str()), (503, "disk-full"));
        assert!(
            refused.json()["free"].as_u64().unwrap() < refused.json()["kept"].as_u64().unwrap()
        );
        assert_eq!(door.thing("thing").unwrap()["data"], json!({"n": 1}));
        assert!(fleet.region_log(&door.name).contains("the disk is full"));
    }
    fleet.down(Signal::INT, 30);
    fleet.up(&["--wan", "none"]);
    fleet.doors[0].write(&event("second", "thing", "patch", &json!({"m": 2})));
    fleet.converged();
}
