//! Backups: taken from a fleet under writes, checked, and restored into a new fleet as it was then.
//!
//! Scenarios over `fleet` and `door`. What always holds: the fleet that was backed up is destroyed
//! before anything is restored.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::door::{Door, dot_of, event};
use crate::fleet::{Fleet, PROGRAM, pid};
use crate::history::{let_go, short};
use crate::processes::{Ran, Running, eventually, run};

/// A backup or a restore of a small fleet takes no longer.
const SECONDS: u64 = 60;

/// A fleet ends within this.
const DOWN_SECONDS: u64 = 30;

/// Takes a backup of a region.
#[track_caller]
fn back_up(fleet: &Fleet, region: &str, to: &Path, more: &[&str]) -> Value {
    let words = ["backup", to.to_str().unwrap(), "--region", region, "--json"];
    fleet.cli(&[&words[..], more].concat()).done().json()
}

fn verify(of: &Path) -> Ran {
    run(Command::new(PROGRAM).args(["backup", "verify", "--json"]).arg(of), SECONDS)
}

fn restore(from: &Path, dir: &Path, more: &[&str]) -> Ran {
    let mut command = Command::new(PROGRAM);
    command.arg("restore").arg(from).arg("--dir").arg(dir).args(more);
    run(&mut command, SECONDS)
}

/// Ends the fleet and destroys all of its directories.
fn destroy(fleet: &mut Fleet) {
    fleet.down(Signal::TERM, DOWN_SECONDS);
    for door in &fleet.doors {
        fs::remove_dir_all(fleet.region_dir(&door.name)).unwrap();
    }
}

fn data_dir(fleet: &Fleet, region: &str) -> PathBuf {
    fleet.region_dir(region).join("data")
}

/// What a region shows of the things of these tests, their histories, conflicts and policies.
fn shown(door: &Door) -> Value {
    let things = ["doc", "sum", "gone", "fought", "late"].map(|id| {
        let history = door.get(&format!("/v1/aggregates/Thing/{id}/events"));
        let answer = door.get(&format!("/v1/aggregates/Thing/{id}"));
        let (tag, mut thing) = (answer.header("etag").map(str::to_owned), answer.json());
        // Who answers it.
        thing.as_object_mut().unwrap().remove("region");
        json!([id, tag, thing, history.json()["items"]])
    });
    let sides = |record: &Value| json!([record["conflictId"], record["conflictingEvents"]]);
    let conflicts: Vec<Value> = door.items("/v1/conflicts").iter().map(sides).collect();
    let basket = door.get("/v1/aggregates/Basket/one").json();
    json!([things, conflicts, door.items("/v1/policies"), basket["data"], basket["version"]])
}

fn policy(fleet: &Fleet, words: &[&str]) {
    fleet.cli(&[&["policy", "set", "Basket"], words].concat()).done();
}

fn basket(door: &Door, id: &str, operation: &str, data: &Value) {
    let mut write = event(id, "one", operation, data);
    write["aggregateType"] = "Basket".into();
    eventually(20, "the type is written", || {
        let answer = door.ask("POST", "/v1/events", Some(&write));
        assert!([200, 201, 503].contains(&answer.status), "{}", answer.text());
        (answer.status < 300).then_some(())
    });
}

#[test]
fn a_fleet_is_restored_to_a_time_between_two_backups() {
    let mut fleet = Fleet::near();
    let [a, b, c] = [0, 1, 2].map(|at| fleet.doors[at].clone());
    let to = tempfile::tempdir().unwrap();

    policy(&fleet, &["--field", "/stock=counter"]);
    let once = event("once", "sum", "increment", &json!({"n": 3}));
    a.write(&once);
    a.write(&event("doc-1", "doc", "put", &json!({"a": 1, "b": 1})));
    b.write(&event("gone-1", "gone", "put", &json!({"n": 1})));
    basket(&a, "basket-1", "put", &json!({"stock": 5}));
    fleet.cli(&["wan", "cut", &c.name]).done();
    for (door, n) in [(&a, 1), (&c, 2)] {
        door.write(&event(&format!("fought-{n}"), "fought", "put", &json!({"n": n})));
    }
    fleet.cli(&["wan", "heal"]).done();
    fleet.converged();
    let full = back_up(&fleet, &b.name, to.path(), &[]);
    assert_eq!((&full["kind"], &full["backup"]), (&json!("full"), &json!("000001")));

    b.write(&event("doc-2", "doc", "patch", &json!({"b": 2})));
    c.write(&event("sum-2", "sum", "increment", &json!({"n": 4})));
    a.write(&event("gone-2", "gone", "delete", &json!({})));
    basket(&b, "basket-2", "increment", &json!({"stock": -2}));
    let last = c.write(&event("doc-3", "doc", "patch", &json!({"c": 3})));
    fleet.converged();
    let history = a.get("/v1/aggregates/Thing/doc/events").json();
    let latest = &history["items"].as_array().unwrap().last().unwrap()["metadata"]["timestamp"];
    let time = latest.as_str().unwrap().to_owned();
    let was = shown(&a);
    let more = back_up(&fleet, &a.name, to.path(), &[]);
    assert_eq!((&more["kind"], &more["records"]), (&json!("incremental"), &json!(5)));

    // What comes after that time is in a backup, and not in what is restored.
    let lost = dot_of(&b.write(&event("doc-4", "doc", "delete", &json!({}))));
    c.write(&event("late-1", "late", "put", &json!({"n": 1})));
    a.write(&event("sum-3", "sum", "increment", &json!({"n": 100})));
    policy(&fleet, &["--strategy", "Manual"]);
    fleet.converged();
    back_up(&fleet, &c.name, to.path(), &[]);
    let whole = verify(to.path()).done().json();
    assert_eq!((&whole["whole"], &whole["backups"]), (&json!(true), &json!(3)));
    let list = fleet.cli(&["backup", "list", to.path().to_str().unwrap()]).done().stdout;
    assert!(list.contains("000003") && list.contains("Any time from"), "{list}");

    destroy(&mut fleet);
    let dir = data_dir(&fleet, &a.name);
    let never = restore(to.path(), &dir, &["--to", "2020-01-01T00:00:00Z"]).ended(1);
    assert!(never.stderr.contains("can be restored to any time from"), "{}", never.stderr);
    restore(to.path(), &dir, &["--to", &time, "--region", &a.name]).done();
    let again = restore(to.path(), &dir, &[]).ended(2);
    assert!(again.stderr.contains("is not empty"), "{}", again.stderr);

    fleet.up(&["--wan", "none"]);
    let [a, b, _] = [0, 1, 2].map(|at| fleet.doors[at].clone());
    fleet.converged();
    for door in &fleet.doors {
        assert_eq!(shown(door), was, "{}", door.name);
        let answer = door.get(&format!("/v1/acks/{lost}"));
        assert_eq!((answer.status, answer.problem().as_str()), (410, "lost-writes"));
        assert_eq!(door.get(&format!("/v1/acks/{}", dot_of(&last))).status, 200);
    }
    for door in &fleet.doors {
        let answer = door.ask("POST", "/v1/events", Some(&once));
        assert_eq!(answer.status, 200, "it counts once: {}", answer.text());
    }
    assert_eq!(b.thing("sum").unwrap()["data"], json!({"n": 7}));
    a.write(&event("new-1", "doc", "patch", &json!({"d": 4})));
    b.write(&event("sum-3", "sum", "increment", &json!({"n": 5})));
    basket(&b, "basket-3", "increment", &json!({"stock": 4}));
    policy(&fleet, &["--strategy", "Manual"]);
    fleet.converged();
    for door in &fleet.doors {
        assert_eq!(door.thing("doc").unwrap()["data"], json!({"a": 1, "b": 2, "c": 3, "d": 4}));
        assert_eq!(door.thing("sum").unwrap()["data"], json!({"n": 12}));
        assert_eq!(door.get("/v1/aggregates/Basket/one").json()["data"], json!({"stock": 7}));
    }

    // The new fleet is stopped and started like any other, and backed up into the same place.
    fleet.down(Signal::TERM, DOWN_SECONDS);
    fleet.up(&["--wan", "none"]);
    fleet.converged();
    let next = back_up(&fleet, &a.name, to.path(), &[]);
    assert_eq!(next["kind"], "full", "what came after that time is lost here: {next}");
    verify(to.path()).done();
}

#[test]
fn damage_is_found_and_said_where() {
    let fleet = Fleet::near();
    let (a, to) = (fleet.doors[0].clone(), tempfile::tempdir().unwrap());
    a.write(&event("one", "doc", "put", &json!({"n": 1})));
    back_up(&fleet, &a.name, to.path(), &[]);
    a.write(&event("two", "doc", "put", &json!({"n": 2})));
    back_up(&fleet, &a.name, to.path(), &[]);
    verify(to.path()).done();

    let part = to.path().join("000001/part-000001");
    let whole = fs::read(&part).unwrap();
    for at in [0, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        fs::write(&part, &damaged).unwrap();
        let found = verify(to.path()).ended(1).json();
        assert!(found["file"].as_str().unwrap().ends_with("000001/part-000001"), "{found}");
        let offset = found["offset"].as_u64().unwrap();
        assert!(offset <= at as u64, "the frame that has byte {at}: {found}");
    }
    fs::write(&part, &whole[..whole.len() - 1]).unwrap();
    let found = verify(to.path()).ended(1).json();
    assert!(found["what"].as_str().unwrap().contains("cut short"), "{found}");
    let dir = tempfile::tempdir().unwrap();
    let refused = restore(to.path(), &dir.path().join("data"), &[]).ended(1);
    assert!(refused.stderr.contains("000001/part-000001 at byte"), "{}", refused.stderr);
    fs::remove_file(&part).unwrap();
    let found = verify(to.path()).ended(1).json();
    assert!(found["what"].as_str().unwrap().contains("a part is missing"), "{found}");
    fs::write(&part, &whole).unwrap();
    verify(to.path()).done();

    fs::remove_dir_all(to.path().join("000001")).unwrap();
    let found = verify(to.path()).ended(1).json();
    assert!(found["what"].as_str().unwrap().contains("is missing"), "{found}");
    let words = ["backup", "verify", "/nowhere"];
    assert!(fleet.cli(&words).ended(1).stderr.contains("/nowhere cannot be read"));
}

#[test]
fn a_backup_that_was_killed_does_not_count_and_is_taken_again() {
    let fleet = Fleet::near();
    let (a, to) = (fleet.doors[0].clone(), tempfile::tempdir().unwrap());
    for batch in 0..20 {
        let one = |number: usize| {
            let (id, text) = (format!("{batch}-{number}"), format!("{number}").repeat(200));
            event(&id, &format!("bulk-{number}"), "put", &json!({"text": text}))
        };
        let events: Vec<Value> = (0..50).map(one).collect();
        assert_eq!(a.ask("POST", "/v1/events", Some(&json!(events))).status, 201);
    }
    for _ in 0..5 {
        let place = to.path().to_str().unwrap();
        let words = ["backup", place, "--region", &a.name, "--full"];
        let mut taking: Running = fleet.begin(&words);
        eventually(SECONDS, "it has begun", || {
            (to.path().join("lock").exists() || !taking.runs()).then_some(())
        });
        let _ = kill_process(pid(taking.number()), Signal::KILL);
        taking.end(SECONDS);
    }
    // As it is when the process dies between two parts.
    let half = to.path().join("000099");
    fs::create_dir(&half).unwrap();
    fs::write(half.join("part-000001"), b"lnkbkup1").unwrap();
    fs::write(half.join("part-000002.new"), b"lnk").unwrap();
    let taken = back_up(&fleet, &a.name, to.path(), &["--full"]);
    assert_eq!(taken["backup"], "000100");
    assert!(!half.join("part-000001").exists(), "what was broken off is removed");
    let whole = verify(to.path()).done().json();
    assert_eq!(whole["whole"], true);
    let unlocked = back_up(&fleet, &a.name, to.path(), &[]);
    assert_eq!((&unlocked["kind"], &unlocked["records"]), (&json!("incremental"), &json!(0)));
}

#[test]
fn where_logs_have_let_go_of_history_a_full_backup_is_taken_and_restored() {
    let mut fleet = short();
    let (a, to) = (fleet.doors[0].clone(), tempfile::tempdir().unwrap());
    let once = event("once", "sum", "increment", &json!({"n": 3}));
    a.write(&once);
    fleet.converged();
    back_up(&fleet, &a.name, to.path(), &[]);
    let_go(&fleet);
    let place = to.path().to_str().unwrap();
    let ran = fleet.cli(&["backup", place, "--region", &a.name, "--json"]).done();
    assert_eq!(ran.json()["kind"], "full");
    assert!(ran.stderr.contains("so this backup is a full one"), "{}", ran.stderr);
    a.write(&event("last", "sum", "increment", &json!({"n": 4})));
    assert_eq!(back_up(&fleet, &a.name, to.path(), &[])["kind"], "incremental");
    verify(to.path()).done();

    destroy(&mut fleet);
    // Another region than the one that was backed up, and another order of names.
    let name = fleet.doors[2].name.clone();
    restore(to.path(), &data_dir(&fleet, &name), &["--region", &name]).done();
    fleet.up(&["--wan", "none"]);
    fleet.converged();
    for door in &fleet.doors {
        assert_eq!(door.thing("sum").unwrap()["data"], json!({"n": 7}), "{}", door.name);
        assert_eq!(door.ask("POST", "/v1/events", Some(&once)).status, 200);
    }
    let loaded = |door: &&Door| fleet.region_log(&door.name).contains("loads a snapshot from");
    assert_eq!(fleet.doors.iter().filter(loaded).count(), 2, "the logs do not reach back");
    fleet.doors[1].write(&event("new", "sum", "increment", &json!({"n": 1})));
    fleet.converged();
    assert_eq!(fleet.doors[0].thing("sum").unwrap()["data"], json!({"n": 8}));
}

#[test]
fn a_restored_directory_enters_no_fleet_that_has_begun() {
    let fleet = Fleet::near();
    let ([a, b], to) = ([0, 1].map(|at| fleet.doors[at].clone()), tempfile::tempdir().unwrap());
    a.write(&event("one", "doc", "put", &json!({"n": 1})));
    fleet.converged();
    back_up(&fleet, &b.name, to.path(), &[]);
    fleet.cli(&["stop", &a.name]).done();
    let dir = data_dir(&fleet, &a.name);
    fs::remove_dir_all(&dir).unwrap();
    restore(to.path(), &dir, &["--region", &a.name]).done();
    let start = fleet.begin(&["start", &a.name]);
    eventually(SECONDS, "it says why", || {
        let told = fleet.region_log(&a.name);
        told.contains("and the other members have begun without it").then_some(())
    });
    assert!(!a.is_ready());
    drop(start);
    fleet.cli(&["stop", &a.name]).done();

    // In an empty directory it is taken in as ever.
    fs::remove_dir_all(&dir).unwrap();
    b.write(&event("two", "doc", "patch", &json!({"m": 2})));
    fleet.cli(&["start", &a.name]).done();
    eventually(SECONDS, "it is back", || a.is_ready().then_some(()));
    fleet.converged();
    assert_eq!(a.thing("doc").unwrap()["data"], json!({"n": 1, "m": 2}));
}
