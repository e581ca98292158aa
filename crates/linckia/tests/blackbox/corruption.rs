//! A flipped byte in a segment of the own log: refused by the region and by `log verify`, in the
//! same words. In another region's log: put aside, and fetched again.
//!
//! Scenarios over `fleet`. What always holds: the byte lies in the middle of what is durable, so
//! that no crash can have left it so.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::door::event;
use crate::fleet::{Fleet, REGIONS};
use crate::processes::{Ran, eventually};

/// Enough records on both sides of the middle.
const EVENTS: usize = 60;

/// The segment of an origin of `of` in the log of `at`.
fn segment(fleet: &Fleet, at: &str, of: &str) -> PathBuf {
    let logs = fleet.region_dir(at).join("data/log/logs");
    let named = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(of);
    let entries = |dir: &Path| fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let origin = entries(&logs).find(named).expect("a log of the origin");
    entries(&origin).find(|path| path.extension().is_some_and(|end| end == "segment")).unwrap()
}

/// Flips a bit in the record of the middle event; its place, and the file as it was.
fn flip(path: &Path, of: &str) -> (u64, Vec<u8>) {
    let sound = fs::read(path).unwrap();
    let id = format!("{}-{of}", EVENTS / 2);
    let place = sound.windows(id.len()).position(|part| part == id.as_bytes());
    let place = place.expect("the middle event's id stands in the file");
    let mut damaged = sound.clone();
    damaged[place] ^= 0x10;
    fs::write(path, damaged).unwrap();
    (place as u64, sound)
}

/// What `log verify --json` says of the one damaged file.
fn damage(ran: &Ran) -> Value {
    let report = ran.json();
    assert_eq!(report["sound"], false, "{report}");
    let files = report["files"].as_array().unwrap().iter();
    let bad: Vec<_> = files.filter(|file| file["bad"].is_object()).collect();
    assert_eq!(bad.len(), 1, "{report}");
    bad[0].clone()
}

#[test]
fn a_flipped_byte_in_a_segment_is_refused_in_the_own_log_and_mended_in_anothers() {
    let fleet = Fleet::near();
    let [a, b, c] = REGIONS;
    for number in 0..EVENTS {
        for door in &fleet.doors {
            let id = format!("{number}-{}", door.name);
            door.write(&event(&id, "thing", "increment", &json!({"n": 1})));
        }
    }
    fleet.converged();
    refused(&fleet, b, b);
    fleet.converged();
    mended(&fleet, b, a);
    fleet.converged();
    let sum = 3 * EVENTS + 2;
    for door in [a, b, c].map(|region| fleet.door(region)) {
        assert_eq!(door.thing("thing").unwrap()["data"], json!({"n": sum}), "{}", door.name);
    }
}

/// Damages, in the log of region `at`, a segment of region `of`, and puts it right again.
fn refused(fleet: &Fleet, at: &str, of: &str) {
    fleet.cli(&["stop", at, "--json"]).done();
    let path = segment(fleet, at, of);
    let dir = fleet.region_dir(at);
    let dir = dir.to_str().unwrap();
    assert_eq!(fleet.cli(&["log", "verify", dir, "--json"]).done().json()["sound"], true);
    let (place, sound) = flip(&path, of);
    let verified = fleet.cli(&["log", "verify", dir, "--json"]).ended(1);
    let bad = damage(&verified);
    let file = bad["file"].as_str().unwrap();
    assert!(path.ends_with(file), "{file} is not {}", path.display());
    assert_eq!(bad["bad"]["torn"], false, "what is durable is not called torn: {bad}");
    let offset = bad["bad"]["offset"].as_u64().unwrap();
    assert!(offset <= place && place - offset < 1_024, "{place} is not at {offset}");
    let text = fleet.cli(&["log", "verify", dir]).ended(1).stdout;
    assert!(text.contains("DAMAGED") && text.contains(&format!("offset {offset}")), "{text}");

    let known = fleet.region_log(at).len();
    let started = fleet.cli(&["start", at]).ended(1);
    assert!(started.stderr.contains(file), "{}", started.stderr);
    let log = fleet.region_log(at)[known..].to_owned();
    for said in [file, &format!("offset {offset}"), "docs/operate"] {
        assert!(log.contains(said), "{said:?} is not said: {log}");
    }
    assert!(!fleet.door(at).is_ready());
    let damaged = fs::read(&path).unwrap();
    assert!(damaged.len() == sound.len() && damaged != sound, "nothing repaired it silently");
    the_others_go_on(fleet, at, of);

    fleet.cli(&["stop", at, "--json"]).done();
    fs::write(&path, sound).unwrap();
    fleet.cli(&["start", at, "--json"]).done();
    fleet.converged();
}

fn the_others_go_on(fleet: &Fleet, at: &str, of: &str) {
    let others: Vec<_> = fleet.doors.iter().filter(|door| door.name != at).collect();
    let id = format!("while-{at}-lacks-{of}");
    others[0].write(&event(&id, "thing", "increment", &json!({"n": 1})));
    let version = others[0].thing("thing").unwrap()["version"].clone();
    eventually(20, "the others go on", || {
        (others[1].thing("thing")?["version"] == version).then_some(())
    });
}

/// Damages, in the log of region `at`, a segment of region `of`: it is put aside, and the region
/// goes on by itself.
fn mended(fleet: &Fleet, at: &str, of: &str) {
    fleet.cli(&["stop", at, "--json"]).done();
    let path = segment(fleet, at, of);
    let (_, sound) = flip(&path, of);
    let dir = fleet.region_dir(at);
    fleet.cli(&["log", "verify", dir.to_str().unwrap(), "--json"]).ended(1);
    the_others_go_on(fleet, at, of);

    let known = fleet.region_log(at).len();
    fleet.cli(&["start", at, "--json"]).done();
    eventually(60, "it takes requests again", || fleet.door(at).is_ready().then_some(()));
    let log = fleet.region_log(at)[known..].to_owned();
    assert!(log.contains("what is damaged was put aside"), "{log}");
    assert!(fleet.region_dir(at).join("data/mended").exists());
    let name = path.strip_prefix(fleet.region_dir(at).join("data")).unwrap();
    let aside = fs::read_dir(fleet.region_dir(at).join("data/aside")).unwrap();
    let found = aside.map(|entry| entry.unwrap().path().join(name)).find(|path| path.exists());
    let kept = fs::read(found.expect("the damaged segment is kept")).unwrap();
    assert!(kept.len() == sound.len() && kept != sound);
}
