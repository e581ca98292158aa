//! Directories that are copied or moved: which of them a region lives in.
//!
//! Scenarios over regions that are configured by hand. What always holds: of two directories that
//! hold one region, one takes writes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use linckia_net::{DevelopmentCa, SubjectNames};
use serde_json::json;

use crate::configured::{Processes, free_port, toml};
use crate::door::{Door, event};
use crate::fleet::PROGRAM;
use crate::http::Answer;
use crate::processes::{Permit, eventually};

/// A region that is started is ready within this, or says why it is not.
const READY_SECONDS: u64 = 30;

/// Two regions, and where they listen for each other.
struct Two {
    dir: tempfile::TempDir,
    ports: [(&'static str, u16); 2],
    processes: Processes,
    _permit: Permit,
}

impl Two {
    fn new() -> Self {
        let permit = Permit::take();
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let authority = DevelopmentCa::open_or_create(&dir.path().join("pki"), now).unwrap();
        let ports = [("a", free_port()), ("b", free_port())];
        for (name, _) in ports {
            authority.issue(name, &SubjectNames::default(), now).unwrap();
        }
        Self { dir, ports, processes: Processes(Vec::new()), _permit: permit }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts a region in that directory; where it listens is its own, or another place.
    fn start(&mut self, region: &str, dir: &str, elsewhere: bool, words: &[&str]) -> Door {
        let mut ports = self.ports;
        if elsewhere {
            let own = ports.iter_mut().find(|(name, _)| *name == region).unwrap();
            own.1 = free_port();
        }
        let http = free_port();
        let text = toml(self.dir.path(), region, Some(http), &ports);
        let text = text.replace(
            &format!("dir = {:?}", self.path(region)),
            &format!("dir = {:?}", self.path(dir)),
        );
        let config = self.path(&format!("{dir}.toml"));
        fs::write(&config, text).unwrap();
        let log = self.path(&format!("{dir}.log"));
        let log = File::options().append(true).create(true).open(log).unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(["region", "--config"]).arg(config).args(words).stdin(Stdio::null());
        self.processes.0.push(command.stdout(log).stderr(Stdio::null()).spawn().unwrap());
        Door::of(&json!({"name": region, "url": format!("http://127.0.0.1:{http}")}))
    }

    fn kill(&mut self, number: usize) {
        self.processes.0[number].kill().unwrap();
        self.processes.0[number].wait().unwrap();
    }
}

fn readiness(door: &Door) -> Option<Answer> {
    door.try_ask("GET", "/readyz", &[], b"").ok()
}

fn ready(door: &Door) {
    eventually(READY_SECONDS, "a region is ready", || {
        readiness(door).filter(|answer| answer.status == 200).map(drop)
    });
}

/// Waits until a region says so why it is not ready.
fn says(door: &Door, words: &str) {
    eventually(READY_SECONDS, words, || {
        let answer = readiness(door)?;
        assert_ne!(answer.status, 200, "it takes requests");
        answer.text().contains(words).then_some(())
    });
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-R").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

#[test]
fn a_copy_of_a_directory_waits_while_the_region_lives_in_the_other() {
    let mut two = Two::new();
    let (a, b) = (two.start("a", "a", false, &[]), two.start("b", "b", false, &[]));
    ready(&a);
    ready(&b);
    a.write(&event("first", "thing", "put", &json!({"n": 1})));
    copy(&two.path("a"), &two.path("copy"));
    let second = two.start("a", "copy", true, &[]);
    says(&second, "is alive at");
    let refused = second.ask("POST", "/v1/events", Some(&event("x", "thing", "put", &json!({}))));
    assert_eq!(refused.status, 503, "{}", refused.text());
    // The first one hears nothing of it.
    a.write(&event("second", "thing", "patch", &json!({"m": 2})));
    eventually(READY_SECONDS, "it is applied", || {
        (b.thing("thing")?["data"] == json!({"n": 1, "m": 2})).then_some(())
    });
    says(&second, "is alive at");
    let log = fs::read_to_string(two.path("b.log")).unwrap();
    assert!(log.contains("a second directory of this region is refused"), "{log}");
}

#[test]
fn a_directory_that_was_moved_is_the_regions_once_a_peer_has_said_so() {
    let mut two = Two::new();
    let (a, b) = (two.start("a", "a", false, &[]), two.start("b", "b", false, &[]));
    ready(&a);
    ready(&b);
    a.write(&event("first", "thing", "put", &json!({"n": 1})));
    eventually(READY_SECONDS, "it is applied", || b.thing("thing"));
    two.kill(0);
    two.kill(1);
    fs::rename(two.path("a"), two.path("moved")).unwrap();
    let moved = two.start("a", "moved", false, &[]);
    says(&moved, "was moved or copied from");
    assert!(readiness(&moved).unwrap().text().contains("--only-copy"));
    // Its peer is back, and knows of no other one.
    let b = two.start("b", "b", false, &[]);
    ready(&b);
    ready(&moved);
    moved.write(&event("second", "thing", "patch", &json!({"m": 2})));

    // Where no peer can be asked an operator says so.
    two.kill(2);
    two.kill(3);
    fs::rename(two.path("moved"), two.path("again")).unwrap();
    let again = two.start("a", "again", false, &["--only-copy"]);
    eventually(READY_SECONDS, "it answers", || {
        (again.try_ask("GET", "/v1/aggregates/Thing/thing", &[], b"").ok()?.status == 200)
            .then_some(())
    });
}
