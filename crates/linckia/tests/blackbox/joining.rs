//! A region that joins a fleet under data: it is started too early and too late, the others are
//! restarted one by one with a configuration that names it, and writers write all the while.
//!
//! Scenarios over `configured` and `ledger`. What always holds: nobody waits for a region that has
//! not joined, and one that has takes requests only with all that there is.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::SystemTime;

use linckia_net::{DevelopmentCa, SubjectNames};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::configured::{Processes, free_port, toml};
use crate::door::{Door, JSON, event};
use crate::fleet::{PROGRAM, pid};
use crate::http::Answer;
use crate::ledger::Ledger;
use crate::processes::{Permit, eventually};

/// A region starts, or joins, within this.
const READY_SECONDS: u64 = 60;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// One writer at home in each region that was there at first.
const WRITERS: usize = 3;

/// Regions whose logs keep as little as they can.
struct Regions<'a> {
    dir: &'a Path,
    ports: [(&'static str, u16); 4],
    http: [u16; 4],
    processes: Processes,
}

impl<'a> Regions<'a> {
    fn new(dir: &'a Path) -> Self {
        let authority = DevelopmentCa::open_or_create(&dir.join("pki"), SystemTime::now()).unwrap();
        for name in NAMES {
            authority.issue(name, &SubjectNames::default(), SystemTime::now()).unwrap();
        }
        let (ports, http) = (NAMES.map(|name| (name, free_port())), [(); 4].map(|()| free_port()));
        Self { dir, ports, http, processes: Processes(Vec::new()) }
    }

    fn door(&self, at: usize) -> Door {
        let url = format!("http://127.0.0.1:{}", self.http[at]);
        Door::of(&json!({"name": NAMES[at], "url": url}))
    }

    /// Starts a region that knows the first so many, and itself.
    fn start(&mut self, at: usize, knows: usize) {
        let known: Vec<_> =
            (0..4).filter(|it| *it < knows || *it == at).map(|it| self.ports[it]).collect();
        let mut text = toml(self.dir, NAMES[at], Some(self.http[at]), &known);
        text += "[log]\nhistory_bytes_max = \"0B\"\nsegment_bytes_first = \"64KiB\"\n";
        let config = self.dir.join(format!("{}.toml", NAMES[at]));
        fs::write(&config, text).unwrap();
        let log = fs::File::options().create(true).append(true).open(self.log_file(at)).unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(["region", "--config"]).arg(config).stdin(Stdio::null());
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.processes.0.insert(at.min(self.processes.0.len()), child);
    }

    fn log_file(&self, at: usize) -> std::path::PathBuf {
        self.dir.join(format!("{}.log", NAMES[at]))
    }

    fn log(&self, at: usize) -> String {
        fs::read_to_string(self.log_file(at)).unwrap()
    }

    fn stop(&mut self, at: usize) {
        let mut child = self.processes.0.remove(at);
        kill_process(pid(child.id()), Signal::TERM).unwrap();
        assert!(child.wait().unwrap().success(), "{}", self.log(at));
    }

    #[track_caller]
    fn ready(&self, at: usize) {
        let what = format!("{} is ready", NAMES[at]);
        eventually(READY_SECONDS, &what, || {
            (is_ready(&self.door(at))?.status == 200).then_some(())
        });
    }
}

fn is_ready(door: &Door) -> Option<Answer> {
    door.try_ask("GET", "/readyz", &[], b"").ok()
}

fn membership(door: &Door, region: &str) -> Value {
    let items = door.items("/v1/regions");
    items.iter().find(|item| item["name"] == region).unwrap()["membership"].clone()
}

/// Writes, and wants to know that all hold it.
fn write_to_all(door: &Door, id: &str, timeout: &str) -> Answer {
    let body = event(id, "all", "patch", &json!({id: 1})).to_string();
    let headers = [JSON, ("linckia-ack", &*format!("all;timeout={timeout}"))];
    door.try_ask("POST", "/v1/events", &headers, body.as_bytes()).unwrap()
}

/// The roots of all doors once they are equal, at the same vector.
#[track_caller]
fn equal(doors: &[Door]) {
    eventually(READY_SECONDS, "all regions hold the same", || {
        let each = doors.iter().map(|door| door.get("/v1/digests").json());
        let each: Vec<_> = each.map(|it| (it["vector"].clone(), it["root"].clone())).collect();
        each.windows(2).all(|pair| pair[0] == pair[1]).then_some(())
    });
}

/// How much all counters of the writers come to.
fn counted(door: &Door) -> u64 {
    let things = (0..).map_while(|number| door.thing(&format!("c{number}")));
    things.map(|thing| thing["data"]["n"].as_u64().unwrap()).sum()
}

#[test]
fn a_region_joins_a_fleet_under_data_and_nothing_is_lost() {
    let _permit = Permit::take();
    let dir = tempfile::tempdir().unwrap();
    let mut regions = Regions::new(dir.path());
    (0..3).for_each(|at| regions.start(at, 3));
    (0..3).for_each(|at| regions.ready(at));
    let doors: Vec<Door> = (0..3).map(|at| regions.door(at)).collect();
    doors[0].write(&event("gone", "gone", "put", &json!({"n": 1})));
    doors[1].write(&event("kept", "kept", "put", &json!({"n": 1})));
    equal(&doors);
    doors[2].write(&event("delete", "gone", "delete", &json!({})));

    let (ledger, new) = (Ledger::default(), regions.door(3));
    thread::scope(|scope| {
        let end = ledger.end();
        (0..WRITERS).for_each(|writer| ledger.begin(scope, &doors, writer));
        ledger.advance(WRITERS, 60);

        // Nobody knows it yet.
        regions.start(3, 4);
        eventually(READY_SECONDS, "it is told that nobody knows it", || {
            regions.log(3).contains("d is no member of the fleet that").then_some(())
        });
        assert_eq!(is_ready(&new).unwrap().status, 503);
        regions.stop(3);

        // The others learn of it one by one, and wait for it as little as before.
        for at in [0, 1] {
            regions.stop(at);
            regions.start(at, 4);
            regions.ready(at);
            assert_eq!(membership(&doors[at], "d"), "expected");
            ledger.advance(WRITERS, 20);
        }
        let all = write_to_all(&doors[0], "before", "30s");
        assert_eq!(all.status, 201, "{}", all.text());

        // It comes while one of them does not know it.
        regions.start(3, 4);
        ledger.advance(WRITERS, 20);
        regions.stop(2);
        regions.start(2, 4);
        regions.ready(2);
        regions.ready(3);
        ledger.advance(WRITERS, 20);
        drop(end);
    });

    // It has what there is, takes part, and is waited for.
    assert!(new.thing("gone").is_none());
    assert_eq!(new.thing("kept").unwrap()["data"], json!({"n": 1}));
    eventually(READY_SECONDS, "it is a member like the others", || {
        doors.iter().all(|door| membership(door, "d") == "member").then_some(())
    });
    new.write(&event("new", "new", "put", &json!({"n": 1})));
    let all: Vec<Door> = doors.iter().cloned().chain([new]).collect();
    equal(&all);
    assert_eq!(doors[2].thing("new").unwrap()["data"], json!({"n": 1}));
    let acknowledged: usize = (0..WRITERS).map(|writer| ledger.acknowledged(writer)).sum();
    let (least, most) = (acknowledged as u64, ledger.pages().len() as u64);
    for door in &all {
        let counted = counted(door);
        assert!((least..=most).contains(&counted), "{counted} of {least} to {most}");
    }
    regions.stop(3);
    let answer = write_to_all(&doors[0], "after", "300ms");
    assert_eq!((answer.status, answer.problem().as_str()), (504, "ack-timeout"));
    regions.start(3, 4);
    regions.ready(3);
    equal(&all);
    for at in 0..4 {
        let log = regions.log(at);
        assert!(!log.contains("below stable time"), "{log}");
    }
}
