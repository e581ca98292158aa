//! A fleet whose regions are replaced by another build of the program, one after the other, forward
//! and back, while writers write.
//!
//! Scenarios over `ledger` and `account`. The other build is the one that `LINCKIA_OLDER` names, as
//! `cargo xtask mixed` does; else it is this very one, and the regions only change their processes.
//! What always holds: each region that was replaced runs the file that it was replaced by.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::process::Signal;
use serde_json::json;

use crate::account::settle;
use crate::door::event;
use crate::fleet::{Fleet, PROGRAM, REGIONS};
use crate::ledger::Ledger;

/// Two at home in each region.
const WRITERS: usize = 6;

/// Acknowledgements of every writer while the fleet is as it is.
const BETWEEN: usize = 60;

const DOWN_SECONDS: u64 = 30;

/// Puts a build in the place from which the supervisor starts regions.
fn put(place: &Path, build: &Path) {
    let next = place.with_extension("next");
    fs::copy(build, &next).unwrap();
    fs::rename(&next, place).unwrap();
}

/// The region's process runs what lies there now.
fn runs_what_lies(fleet: &Fleet, region: &str, place: &Path) {
    let number = fleet.pid_of(region).expect("it runs");
    let runs = fs::metadata(format!("/proc/{number}/exe")).unwrap();
    assert_eq!(runs.ino(), fs::metadata(place).unwrap().ino(), "{region} runs another file");
}

/// Replaces one region after the other, by kill -9 and in order by turns.
fn replace_each(fleet: &Fleet, ledger: &Ledger, place: &Path, build: &Path, kill: bool) {
    for (number, region) in REGIONS.into_iter().enumerate() {
        put(place, build);
        if (number % 2 == 0) == kill {
            let killed = fleet.kill(region);
            fleet.back(region, killed);
        } else {
            fleet.cli(&["stop", region, "--json"]).done();
            fleet.cli(&["start", region, "--json"]).done();
        }
        runs_what_lies(fleet, region, place);
        ledger.advance(WRITERS, BETWEEN);
    }
}

#[test]
fn regions_of_two_builds_lose_nothing_forward_and_back() {
    let older = std::env::var_os("LINCKIA_OLDER").map_or(PathBuf::from(PROGRAM), PathBuf::from);
    let newer = Path::new(PROGRAM);
    let mut fleet = Fleet::resting();
    let programs = tempfile::tempdir().unwrap();
    let place = programs.path().join("linckia");
    put(&place, &older);
    fleet.program.clone_from(&place);
    fleet.up(&["--wan", "real"]);
    let ledger = Ledger::default();
    let doors = fleet.doors.clone();
    thread::scope(|scope| {
        let _end = ledger.end();
        (0..WRITERS).for_each(|writer| ledger.begin(scope, &doors, writer));
        ledger.advance(WRITERS, BETWEEN);
        replace_each(&fleet, &ledger, &place, newer, true);
        replace_each(&fleet, &ledger, &place, &older, false);
        replace_each(&fleet, &ledger, &place, newer, false);
    });
    settle(&fleet, &ledger);

    // The supervisor too is the newer one's.
    let before = fleet.converged();
    fleet.down(Signal::TERM, DOWN_SECONDS);
    put(&place, newer);
    fleet.up(&["--wan", "none"]);
    let after = fleet.converged();
    assert_eq!(after["items"][0]["root"], before["items"][0]["root"]);
    for door in &fleet.doors {
        door.write(&event(&format!("last-{}", door.name), "last", "increment", &json!({"n": 1})));
    }
    fleet.converged();
    assert_eq!(fleet.doors[0].thing("last").unwrap()["data"], json!({"n": 3}));
}
