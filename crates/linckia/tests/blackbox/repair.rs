//! What regions hold, compared and put right: a row that is changed behind a region's back, and a
//! store whose files do not read.
//!
//! Scenarios over `fleet`. A row is changed with the region stopped, by the store's own code.

use std::fs;
use std::path::{Path, PathBuf};

use linckia_store::{Batch, FjallStore, Rows as _, Store as _, Table, View as _};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::door::{Door, event};
use crate::fleet::{Fleet, REGIONS};
use crate::processes::eventually;

const THINGS: usize = 12;

/// A fleet that compares nothing by itself.
fn still() -> Fleet {
    Fleet::start(&["--wan", "none", "--set", "repair.compare=0/s"])
}

fn name(number: usize) -> String {
    format!("thing-{number}")
}

fn write_things(fleet: &Fleet) {
    for number in 0..THINGS {
        let door = &fleet.doors[number % fleet.doors.len()];
        let data = json!({"note": "right", "n": number});
        door.write(&event(&format!("first-{number}"), &name(number), "put", &data));
    }
    fleet.converged();
}

/// With the region stopped, puts `wrong` for `right` in the rows of some things.
fn change_rows(fleet: &Fleet, region: &str, things: &[usize]) {
    fleet.cli(&["stop", region, "--json"]).done();
    let path = fleet.region_dir(region).join("data/store");
    {
        let store = FjallStore::open(&path, 8 << 20).unwrap();
        let mut batch = Batch::default();
        for (key, mut row) in store.scan(Table::States, &[], &[], usize::MAX, false).unwrap() {
            let is = |number: &usize| {
                key.ends_with(name(*number).as_bytes()) || {
                    let named = [name(*number).as_bytes(), &[0]].concat();
                    key.ends_with(&named)
                }
            };
            if !things.iter().any(is) {
                continue;
            }
            let places: Vec<usize> =
                (0..row.len() - 5).filter(|at| &row[*at..*at + 5] == b"right").collect();
            assert!(!places.is_empty(), "the value stands in the row");
            for place in places {
                row[place..place + 5].copy_from_slice(b"wrong");
            }
            batch.put(Table::States, &key, &row);
        }
        assert_eq!(batch.len(), things.len());
        store.write(&batch).unwrap();
        store.sync().unwrap();
    }
    fleet.cli(&["start", region, "--json"]).done();
    for number in things {
        assert_eq!(note(fleet.door(region), *number), "wrong");
    }
}

fn note(door: &Door, number: usize) -> Value {
    door.thing(&name(number)).unwrap()["data"]["note"].clone()
}

fn repairs(door: &Door) -> Value {
    door.get("/v1/repairs").json()
}

#[test]
fn a_row_changed_behind_a_regions_back_is_found_told_and_put_right() {
    let mut fleet = still();
    let [a, b, _] = REGIONS;
    write_things(&fleet);
    assert_eq!(fleet.cli(&["compare", "--json"]).done().json()["verdict"], "equal");
    change_rows(&fleet, b, &[7, 8]);

    let compared = fleet.cli(&["compare", "--json"]).ended(1).json();
    assert_eq!((&compared["verdict"], &compared["differing"]), (&json!("differ"), &json!(2)));
    let said = fleet.cli(&["compare"]).ended(1).stdout;
    assert!(
        said.contains("Thing/thing-7") && said.contains(&format!("wrong by logs: {b}")),
        "{said}"
    );
    assert_eq!(note(fleet.door(b), 7), "wrong", "to compare changes nothing");

    // One of them by hand.
    let dry = fleet.cli(&["repair", "Thing/thing-7", "--dry-run", "--json"]).ended(1).json();
    assert_eq!(dry["verdict"], "differ");
    assert_eq!(note(fleet.door(b), 7), "wrong");
    let done = fleet.cli(&["repair", "Thing/thing-7", "--yes", "--json"]).done().json();
    assert_eq!(done["verdict"], "repaired", "{done}");
    eventually(10, "it is put right", || (note(fleet.door(b), 7) == "right").then_some(()));
    let finding = repairs(fleet.door(b))["findings"][0].clone();
    assert_eq!(finding["aggregateId"], "thing-7");
    assert_eq!((&finding["judgedBy"], &finding["wrong"]), (&json!("logs"), &json!([b])));
    assert!(finding["repaired"]["from"].is_string(), "{finding}");
    assert!(fleet.region_log(b).contains("was taken from another region"));
    assert_eq!(note(fleet.door(b), 8), "wrong", "only what was asked for");

    // The other one by itself, while somebody writes.
    fleet.down(Signal::INT, 30);
    fleet.up(&["--wan", "none", "--set", "repair.compare=5000/s"]);
    let mut written = 0;
    eventually(60, "it is found and put right", || {
        written += 1;
        let id = format!("again-{written}");
        fleet.door(a).write(&event(&id, &name(3), "patch", &json!({"m": written})));
        (note(fleet.door(b), 8) == "right").then_some(())
    });
    assert_eq!(repairs(fleet.door(b))["repairs"], 1);
    eventually(10, "it is counted", || {
        let metrics = fleet.door(b).get("/metrics").text();
        metrics.contains("linckia_repair_repairs_total 1").then_some(())
    });
    fleet.converged();
    assert_eq!(fleet.cli(&["compare", "--json"]).done().json()["verdict"], "equal");
    // What comes later folds on as if nothing had happened.
    fleet.door(b).write(&event("after", &name(8), "patch", &json!({"m": 1})));
    fleet.converged();
    for door in &fleet.doors {
        let thing = door.thing(&name(8)).unwrap();
        assert_eq!(thing["data"], json!({"note": "right", "n": 8, "m": 1}), "{}", door.name);
        assert_eq!(thing["version"], 2);
    }
}

fn largest_file(dir: &Path) -> Option<(u64, PathBuf)> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let size = |entry: fs::DirEntry| match entry.file_type().unwrap().is_dir() {
        true => largest_file(&entry.path()),
        false => Some((entry.metadata().unwrap().len(), entry.path())),
    };
    entries.filter_map(size).max()
}

#[test]
fn a_store_whose_file_does_not_read_is_put_aside_and_made_anew() {
    let fleet = Fleet::near();
    let [a, b, _] = REGIONS;
    // Not to be compressed to nothing.
    let filler = |seed: usize| -> String {
        let word = |at: usize| ((seed * 61 + at + 1) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (0..60).map(|at| format!("{:016x}", word(at))).collect()
    };
    for batch in 0..14 {
        let one = |number: usize| {
            let id = format!("{batch}-{number}");
            let data = json!({"filler": filler(batch * 400 + number)});
            event(&id, &format!("bulk-{id}"), "put", &data)
        };
        let events: Vec<Value> = (0..400).map(one).collect();
        let answer = fleet.door(a).ask("POST", "/v1/events", Some(&json!(events)));
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    fleet.converged();
    fleet.cli(&["stop", b, "--json"]).done();
    let store = fleet.region_dir(b).join("data/store");
    let (size, path) = largest_file(&store.join("keyspaces")).unwrap();
    assert!(size > 1 << 20, "{} has {size} bytes only", path.display());
    let mut bytes = fs::read(&path).unwrap();
    for at in (size / 4..3 * size / 4).step_by(4_096) {
        bytes[at as usize] ^= 0x10;
    }
    fs::write(&path, bytes).unwrap();
    let known = fleet.region_log(b).len();
    fleet.cli(&["start", b, "--json"]).done();
    eventually(60, "the damage is found", || {
        fleet.region_log(b)[known..].contains("what is damaged was put aside").then_some(())
    });
    eventually(60, "it takes requests again", || fleet.door(b).is_ready().then_some(()));
    fleet.converged();
    let shown = fleet.door(b).thing("bulk-7-7").unwrap();
    assert_eq!(shown["data"]["filler"], filler(7 * 400 + 7));
    assert!(fleet.region_dir(b).join("data/mended").exists());
    let aside = fs::read_dir(fleet.region_dir(b).join("data/aside")).unwrap();
    assert_eq!(
        aside.filter(|entry| entry.as_ref().unwrap().path().join("store").exists()).count(),
        1
    );
}
