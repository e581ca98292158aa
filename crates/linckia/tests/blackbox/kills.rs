//! kill -9 under load, of one region after the other and of all at once.
//!
//! Scenarios over `ledger` and `account`. What always holds: the faults come while writers write,
//! and each waits for the writers to have gone on before the next.

use std::thread;

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::account::{same_events, settle};
use crate::door::{Door, dot_of, event};
use crate::fleet::{Fleet, REGIONS, pid, runs};
use crate::ledger::Ledger;
use crate::processes::eventually;

/// Two at home in each region.
const WRITERS: usize = 6;

/// Acknowledgements of every writer between two faults.
const BETWEEN: usize = 60;

#[test]
fn each_region_killed_in_turn_under_load_loses_nothing_and_counts_nothing_twice() {
    let fleet = Fleet::start(&["--wan", "real"]);
    let ledger = Ledger::default();
    let doors = fleet.doors.clone();
    thread::scope(|scope| {
        let _end = ledger.end();
        (0..WRITERS).for_each(|writer| ledger.begin(scope, &doors, writer));
        for region in REGIONS {
            ledger.advance(WRITERS, BETWEEN);
            let killed = fleet.kill(region);
            fleet.back(region, killed);
            ledger.advance(WRITERS, BETWEEN);
            fleet.cli(&["stop", region, "--kill", "--json"]).done();
            assert_eq!(fleet.pid_of(region), None, "it stays down");
            ledger.advance(WRITERS, BETWEEN);
            let started = fleet.cli(&["start", region, "--json"]).done().json();
            assert_eq!(started["name"], region);
            assert!(fleet.door(region).is_ready(), "`start` returns when it is ready");
        }
        ledger.advance(WRITERS, BETWEEN);
    });
    settle(&fleet, &ledger);
    for (at, region) in REGIONS.iter().enumerate() {
        let state = fleet.state();
        assert_eq!(state["regions"][at]["restarts"], 1, "{region} died once by itself");
    }
}

#[test]
fn all_three_killed_at_once_come_back_with_everything() {
    let mut fleet = Fleet::near();
    let ledger = Ledger::default();
    let doors = fleet.doors.clone();
    thread::scope(|scope| {
        let _end = ledger.end();
        (0..WRITERS).for_each(|writer| ledger.begin(scope, &doors, writer));
        ledger.advance(WRITERS, BETWEEN);
        let killed = REGIONS.map(|region| fleet.kill(region));
        for (region, before) in REGIONS.iter().zip(killed) {
            fleet.back(region, before);
        }
        ledger.advance(WRITERS, BETWEEN);
    });
    settle(&fleet, &ledger);

    let urls = |fleet: &Fleet| fleet.doors.iter().map(|door| door.address).collect::<Vec<_>>();
    let (before, addresses, events) = (fleet.converged(), urls(&fleet), same_events(&fleet));
    let written = fleet.doors[0].write(&event("last", "c0", "increment", &json!({"n": 0})));
    kill_everything(&mut fleet);
    fleet.up(&["--wan", "none"]);
    assert_eq!(urls(&fleet), addresses, "URLs survive restarts");
    fleet.converged();
    let mut after = same_events(&fleet);
    let last = (written["origin"].as_str().unwrap().to_owned(), written["sequence"].as_u64());
    let last = after.remove(&(last.0, last.1.unwrap())).expect("the last one is there");
    assert_eq!((last.id.as_str(), last.dot()), ("last", dot_of(&written)));
    assert_eq!(after, events);
    goes_on_where_it_was(&fleet, &before);
}

/// kill -9 of the supervisor and of every region, as a power failure would.
fn kill_everything(fleet: &mut Fleet) {
    let numbers = REGIONS.map(|region| fleet.pid_of(region).unwrap());
    fleet.down(Signal::KILL, 10);
    for number in numbers {
        // Its supervisor's end may have ended it already.
        let _ = kill_process(pid(number), Signal::KILL);
    }
    for number in numbers {
        eventually(10, "a killed region is gone", || (!runs(number)).then_some(()));
    }
}

/// The same incarnations, with the next sequence, and a repeated id is still known.
fn goes_on_where_it_was(fleet: &Fleet, before: &Value) {
    let vector = &before["items"][0]["vector"];
    for (at, door) in fleet.doors.iter().enumerate() {
        let id = format!("after-{}", door.name);
        let answer = door.write(&event(&id, "later", "increment", &json!({"n": 1})));
        let origin = answer["origin"].as_str().unwrap();
        let known = vector[origin].as_u64().expect("the directory keeps its incarnation");
        // In the first region one event came between.
        assert_eq!(answer["sequence"], known + 1 + u64::from(at == 0), "{origin}");
        let again = event("w0-0", "c0", "increment", &json!({"n": 1}));
        let again = ask_again(door, &again);
        assert_eq!(again["duplicate"], true, "{}: {again}", door.name);
    }
    fleet.converged();
}

fn ask_again(door: &Door, event: &Value) -> Value {
    let answer = door.ask("POST", "/v1/events", Some(event));
    assert_eq!(answer.status, 200, "{}: {}", door.name, answer.text());
    answer.json()
}
