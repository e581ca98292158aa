//! Regions that are away for too long: the others close their logs, let go of history without them,
//! and take them in again when they come back.
//!
//! Scenarios over `fleet` and `door`.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::door::{Door, JSON, dot_of, event};
use crate::fleet::Fleet;
use crate::fleet::runs;
use crate::processes::eventually;

/// A region leaves its log, is started again, and gets what it has missed within this.
const BACK_SECONDS: u64 = 40;

fn region(door: &Door, name: &str) -> Value {
    let items = door.items("/v1/regions");
    items.iter().find(|item| item["name"] == name).unwrap().clone()
}

#[test]
fn a_region_that_lapsed_is_not_waited_for_and_comes_back_in_another_incarnation() {
    let fleet = Fleet::start(&["--wan", "none"]);
    let [a, b, c] = [0, 1, 2].map(|at| fleet.doors[at].clone());
    a.write(&event("first", "thing", "put", &json!({"n": 1})));
    fleet.converged();

    // It is cut off, and takes a write that nobody hears of.
    fleet.cli(&["wan", "cut", &c.name]).done();
    let alone = dot_of(&c.write(&event("alone", "thing", "patch", &json!({"alone": true}))));
    c.write(&event("unwanted", "thing", "increment", &json!({"n": 100})));
    let write = event("all", "other", "put", &json!({"n": 2}));
    let headers = [JSON, ("linckia-ack", "all;timeout=300ms")];
    let body = write.to_string();
    let all = || a.try_ask("POST", "/v1/events", &headers, body.as_bytes()).unwrap();
    let answer = all();
    assert_eq!((answer.status, answer.problem().as_str()), (504, "ack-timeout"));

    // What it means is said first.
    let order = ["region", "lapse", &c.name, "--region", &a.name];
    let refused = fleet.cli(&order).ended(1);
    assert!(refused.stderr.contains("repeat it with --yes"), "{}", refused.stderr);
    assert!(region(&a, &c.name)["lapsed"].is_null());
    let reason = ["--reason", "the cable is cut", "--yes"];
    let done = fleet.cli(&[&order[..], &reason[..]].concat()).done();
    assert!(done.stdout.contains("the cable is cut"), "{}", done.stdout);

    // Nobody waits for it any more.
    eventually(BACK_SECONDS, "its log is closed", || {
        let log = &region(&b, &c.name)["closed"][0];
        (log["end"].is_u64() && log["awaited"] == json!([])).then_some(())
    });
    let answer = eventually(10, "all are those that are left", || {
        Some(all()).filter(|answer| answer.status < 300)
    });
    assert_eq!(answer.status, 200, "it was written before: {}", answer.text());
    let shown = fleet.cli(&["regions", "--region", &a.name]).done().stdout;
    assert!(shown.contains(&format!("{} has lapsed since", c.name)), "{shown}");
    let answer = b.get(&format!("/v1/acks/{alone}"));
    assert_eq!((answer.status, answer.problem().as_str()), (410, "lost-writes"));

    // It comes back by itself, with what the others hold, and without what they did not know.
    fleet.cli(&["wan", "heal"]).done();
    eventually(BACK_SECONDS, "it is back", || {
        let back = region(&a, &c.name)["lapsed"].is_null() && c.is_ready();
        back.then_some(())
    });
    assert!(fleet.region_log(&c.name).contains("was away for too long"));
    assert_eq!(c.thing("thing").unwrap()["data"], json!({"n": 1}));
    assert_eq!(c.thing("other").unwrap()["data"], json!({"n": 2}));
    c.write(&event("back", "thing", "patch", &json!({"back": true})));
    fleet.converged();
    assert_eq!(a.thing("thing").unwrap()["data"], json!({"n": 1, "back": true}));
    let aside = fleet.region_dir(&c.name).join("data").join("aside");
    let log = alone.split(':').next().unwrap();
    let kept = aside.join(log);
    let dump = fleet.cli(&["log", "dump", kept.to_str().unwrap(), "--origin", log]).done().stdout;
    assert!(dump.contains("alone"), "nothing is removed: {dump}");
    what_returned_is_on_record_and_admitted(&fleet, &alone);
}

/// One event of two is wanted.
fn what_returned_is_on_record_and_admitted(fleet: &Fleet, alone: &str) {
    let [a, b, c] = [0, 1, 2].map(|at| fleet.doors[at].clone());
    for door in &fleet.doors {
        let found = eventually(BACK_SECONDS, "what it brought back is on record", || {
            let items = door.items("/v1/returned?state=returned");
            (items.len() == 2).then_some(items)
        });
        assert_eq!(
            (&found[0]["dot"], &found[0]["event"]["eventId"]),
            (&json!(alone), &json!("alone"))
        );
        assert_eq!(found[1]["event"]["eventData"], json!({"n": 100}));
    }
    let of = |door: &Door| door.thing("thing").unwrap()["data"].clone();
    assert_eq!(of(&a), json!({"n": 1, "back": true}), "nothing is replayed");

    // Of what a dry run has shown, no more than that is decided.
    let only = json!({"where": {"dots": [alone]}, "decision": "admit", "dryRun": true});
    let shown = b.ask("POST", "/v1/returned", Some(&only)).json();
    assert_eq!(shown["items"].as_array().unwrap().len(), 1, "{shown}");
    assert_eq!(
        (&shown["items"][0]["dot"], &shown["items"][0]["late"]),
        (&json!(alone), &json!(null))
    );

    let words = ["returned", "admit", "--where", "eventId=alone", "--region", &b.name];
    let dry = fleet.cli(&[&words[..], &["--dry-run"]].concat()).done().stdout;
    assert!(dry.contains("1 events would be written again"), "{dry}");
    let refused = fleet.cli(&words).ended(2).stderr;
    assert!(refused.contains("nothing was decided; say --yes"), "{refused}");
    let done = fleet.cli(&[&words[..], &["--yes"]].concat()).done().stdout;
    assert!(done.contains("1 events were written again; 0 refused"), "{done}");
    let discard = ["returned", "discard", "--where", "everything", "--yes", "--region", &a.name];
    assert!(fleet.cli(&discard).done().stdout.contains("1 events were discarded"));
    fleet.converged();
    for door in &fleet.doors {
        assert_eq!(of(door), json!({"n": 1, "back": true, "alone": true}), "{}", door.name);
        assert!(door.items("/v1/returned?state=returned").is_empty(), "{}", door.name);
        let admitted = &door.items("/v1/returned?state=admitted")[0];
        assert_eq!(
            (&admitted["event"]["eventId"], &admitted["state"]),
            (&json!("alone"), &json!("admitted"))
        );
        assert!(admitted["admitted"]["note"].is_string(), "{admitted}");
    }
    // Its client repeats it: it was written.
    let again = c.ask(
        "POST",
        "/v1/events",
        Some(&event("alone", "thing", "patch", &json!({"alone": true}))),
    );
    assert_eq!((again.status, &again.json()["duplicate"]), (200, &json!(true)), "{}", again.text());
    // Its old dot stays lost, and the record is the fleet's.
    assert_eq!(b.get(&format!("/v1/acks/{alone}")).status, 410);
    let target = "/v1/data-sets/linckia/aggregates/ReturnedEvent/x";
    assert_eq!(a.ask("PUT", target, Some(&json!({}))).status, 403);
    assert_eq!(
        a.ask("POST", "/v1/returned", Some(&json!({"where": {}, "decision": "admit"}))).status,
        400
    );
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

#[test]
fn two_events_that_two_directories_gave_one_dot_are_both_on_record_and_decided_apart() {
    let fleet = Fleet::start(&["--wan", "none", "--restart-after", "never"]);
    let [a, b, c] = [0, 1, 2].map(|at| fleet.doors[at].clone());
    a.write(&event("first", "thing", "put", &json!({"n": 1})));
    fleet.converged();
    // Two directories of one log, one after the other, and nobody hears of either.
    let data = fleet.region_dir(&c.name).join("data");
    let [before, first] = ["before", "first"].map(|name| fleet.dir().join(name));
    fleet.cli(&["stop", &c.name]).done();
    fleet.cli(&["wan", "cut", &c.name]).done();
    copy(&data, &before);
    fleet.cli(&["start", &c.name]).done();
    let dot = dot_of(&c.write(&event("one", "thing", "patch", &json!({"one": 1}))));
    fleet.cli(&["stop", &c.name]).done();
    fs::rename(&data, &first).unwrap();
    fs::rename(&before, &data).unwrap();
    fleet.cli(&["start", &c.name]).done();
    let other = dot_of(&c.write(&event("two", "thing", "patch", &json!({"two": 2}))));
    assert_eq!(dot, other);

    let order = ["region", "lapse", &c.name, "--region", &a.name, "--reason", "cut", "--yes"];
    fleet.cli(&order).done();
    fleet.cli(&["wan", "heal"]).done();
    eventually(BACK_SECONDS, "it ends, to leave its log", || {
        let said = fleet.region_log(&c.name).contains("was away for too long");
        (said && fleet.pid_of(&c.name).is_none_or(|number| !runs(number))).then_some(())
    });
    let start = fleet.begin(&["start", &c.name]);
    eventually(BACK_SECONDS, "it is back", || c.is_ready().then_some(()));
    let on_record = |count| {
        eventually(BACK_SECONDS, "what was written there is on record", || {
            Some(b.items("/v1/returned")).filter(|items| items.len() == count)
        })
    };
    on_record(1);
    drop(start);
    // The other directory turns up, its log damaged behind what matters.
    fleet.cli(&["stop", &c.name]).done();
    copy(&first.join("log"), &data.join("aside").join("found").join("log"));
    fs::create_dir_all(data.join("aside").join("found").join("log/logs/no-log")).unwrap();
    fleet.cli(&["start", &c.name]).done();
    let items = on_record(2);
    let of = |item: &Value| (item["dot"].clone(), item["event"]["eventId"].clone());
    assert_eq!(of(&items[0]), (json!(dot), json!("two")));
    assert_eq!((of(&items[1]), &items[1]["fork"]), ((json!(dot), json!("one")), &json!(true)));
    let log = fleet.region_log(&c.name);
    assert!(log.contains("two directories wrote the same log"), "{log}");
    assert!(log.contains("is no log, and is passed over"), "{log}");

    // Two regions that do not hear each other decide of one: to admit it counts.
    fleet.converged();
    fleet.cli(&["wan", "cut", &a.name]).done();
    let discard = json!({"where": {"eventId": "one"}, "decision": "discard"});
    let done = a.ask("POST", "/v1/returned", Some(&discard));
    assert_eq!((done.status, done.json()["items"].as_array().unwrap().len()), (200, 1));
    let admit = json!({"where": {"eventId": "one"}, "decision": "admit"}).to_string();
    let headers = [JSON, ("linckia-ack", "all;timeout=300ms")];
    let done = b.try_ask("POST", "/v1/returned", &headers, admit.as_bytes()).unwrap().json();
    let item = &done["items"][0];
    assert_eq!((&item["eventId"], &item["left"]), (&json!("one"), &json!(null)), "{done}");
    assert_eq!(item["late"]["unconfirmed"], json!([a.name]), "it is written: {done}");
    fleet.cli(&["wan", "heal"]).done();
    fleet.converged();
    for door in &fleet.doors {
        let shown = door.items("/v1/returned?state=admitted");
        assert_eq!((shown.len(), of(&shown[0]).1), (1, json!("one")), "{}", door.name);
        assert!(shown[0]["discarded"].is_object(), "both are told: {}", shown[0]);
        let thing = door.thing("thing").unwrap();
        assert_eq!(thing["data"], json!({"n": 1, "one": 1}), "{}", door.name);
    }
    // Whoever decides of what he has seen before that is told that there is nothing left.
    let again = c.ask("POST", "/v1/returned", Some(&discard)).json();
    assert_eq!(again["items"], json!([]));
}

#[test]
fn a_region_that_is_away_for_longer_than_the_configuration_says_lapses() {
    let fleet = Fleet::start(&["--wan", "none", "--set", "ship.lapse_after=3s"]);
    let [a, b, c] = [0, 1, 2].map(|at| fleet.doors[at].clone());
    a.write(&event("first", "thing", "put", &json!({"n": 1})));
    fleet.converged();
    fleet.cli(&["stop", &c.name]).done();
    eventually(BACK_SECONDS, "it lapses", || {
        region(&b, &c.name)["lapsed"]["reason"].as_str().map(str::to_owned)
    });
    a.write(&event("second", "thing", "put", &json!({"n": 2})));
    let start = fleet.begin(&["start", &c.name]);
    eventually(BACK_SECONDS, "it is back", || {
        let back = region(&a, &c.name)["lapsed"].is_null() && c.is_ready();
        back.then_some(())
    });
    drop(start);
    fleet.converged();
    assert_eq!(c.thing("thing").unwrap()["data"], json!({"n": 2}));
    // Nothing was beyond the end of its log: that stays, and the state was made anew.
    let aside = fleet.region_dir(&c.name).join("data").join("aside");
    let left = fs::read_dir(aside).unwrap().next().unwrap().unwrap().path();
    assert!(fs::exists(left.join("store")).unwrap() && !fs::exists(left.join("log")).unwrap());
}
