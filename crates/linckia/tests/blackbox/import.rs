//! The real flights into three regions at once, with a kill -9 in the middle.
//!
//! A scenario over `fleet`. What always holds: what is there in the end is counted against the
//! lines of the files, which are read here once more.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::fleet::Fleet;
use crate::processes::eventually;

/// Of each airport's file: enough that an import is still under way when a region is killed.
const LINES: usize = 15_000;

/// Of all, so many are applied before the kill.
const KILLED_AT: u64 = 4_000;

const AIRPORTS: [&str; 3] = ["EWR", "JFK", "LGA"];

#[derive(Default)]
struct Flights {
    files: Vec<PathBuf>,
    ids: BTreeSet<String>,
    aircraft: BTreeSet<String>,
}

/// The first lines of the repository's files, plain.
fn flights(dir: &Path) -> Flights {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/flights");
    let mut flights = Flights::default();
    for airport in AIRPORTS {
        let file = File::open(source.join(format!("{airport}.ndjson.zst"))).unwrap();
        let lines = BufReader::new(zstd::Decoder::new(file).unwrap()).lines();
        let path = dir.join(format!("{airport}.ndjson"));
        let mut out = File::create(&path).unwrap();
        let mut text = String::new();
        for line in lines.take(LINES).map(Result::unwrap) {
            let event: Value = serde_json::from_str(&line).unwrap();
            flights.ids.insert(event["eventId"].as_str().unwrap().to_owned());
            flights.aircraft.insert(event["aggregateId"].as_str().unwrap().to_owned());
            text.push_str(&line);
            text.push('\n');
        }
        out.write_all(text.as_bytes()).unwrap();
        flights.files.push(path);
    }
    assert_eq!(flights.ids.len(), LINES * AIRPORTS.len());
    flights
}

#[test]
fn an_import_carries_on_over_a_kill_and_again_is_a_no_op() {
    let fleet = Fleet::start(&["--wan", "real"]);
    let place = tempfile::tempdir().unwrap();
    let flights = flights(place.path());
    let files: Vec<_> = flights.files.iter().map(|path| path.to_str().unwrap()).collect();
    let total = flights.ids.len() as u64;
    let import = [&["import", "--json"], files.as_slice()].concat();

    let mut running = fleet.begin(&import);
    eventually(60, "the import is well under way", || {
        (fleet.doors[1].applied() >= KILLED_AT).then_some(())
    });
    let killed = fleet.kill("eu-west-1");
    assert!(running.runs(), "it was killed in the middle");
    fleet.back("eu-west-1", killed);
    let summary = running.end(120).done().json();
    assert_eq!((&summary["read"], &summary["failed"]), (&total.into(), &0.into()), "{summary}");
    let [written, duplicates] = ["written", "duplicates"].map(|name| summary[name].as_u64());
    assert_eq!(written.unwrap() + duplicates.unwrap(), total, "{summary}");
    let before = fleet.converged();
    for (door, item) in fleet.doors.iter().zip(before["items"].as_array().unwrap()) {
        assert_eq!(door.applied(), total, "{}: each line is one event", door.name);
        let ranges = item["ranges"].as_array().unwrap().iter();
        let documents: u64 = ranges.map(|range| range["count"].as_u64().unwrap()).sum();
        assert_eq!(documents, flights.aircraft.len() as u64, "{}", door.name);
    }
    let ids: BTreeSet<_> = fleet.doors[2].events().into_iter().map(|event| event.id).collect();
    assert_eq!(ids, flights.ids);

    let by = "/eventData/origin=EWR:us-east-1,JFK:eu-west-1,LGA:ap-southeast-1";
    let again = fleet.cli(&[import.as_slice(), &["--by", by]].concat()).done().json();
    let counts = ["read", "written", "duplicates", "failed"].map(|name| again[name].as_u64());
    assert_eq!(counts, [Some(total), Some(0), Some(total), Some(0)], "{again}");
    assert_eq!(fleet.converged()["items"][0]["root"], before["items"][0]["root"]);
    assert!(fleet.doors.iter().all(|door| door.applied() == total), "it wrote nothing");
}
