//! Locks: leases that a majority of real processes decides, whichever of them dies.
//!
//! Scenarios over `fleet` and `door`, and one over processes configured by hand. What always holds:
//! every fence that is given is higher than all before.

use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use linckia_net::{DevelopmentCa, SubjectNames};
use serde_json::{Value, json};

use crate::configured::{Processes, free_port, toml};
use crate::door::Door;
use crate::fleet::{Fleet, PROGRAM, REGIONS};
use crate::http::Answer;
use crate::processes::{Permit, eventually};

/// An election takes seconds; a machine that also compiles is given more.
const DECIDED_SECONDS: u64 = 40;

fn acquire(door: &Door, name: &str, owner: &str, ttl: &str) -> Answer {
    let body = json!({"owner": owner, "ttl": ttl});
    door.ask("POST", &format!("/v1/locks/{name}/acquire"), Some(&body))
}

/// The fence, once somebody decides.
#[track_caller]
fn fence(door: &Door, name: &str, owner: &str, ttl: &str) -> u64 {
    eventually(DECIDED_SECONDS, "a lock is decided", || {
        let answer = acquire(door, name, owner, ttl);
        assert!([200, 409, 503].contains(&answer.status), "{}", answer.text());
        (answer.status == 200).then(|| answer.json()["fence"].as_u64().unwrap())
    })
}

#[test]
fn a_lock_is_one_holders_whichever_region_is_asked_and_whichever_dies() {
    let fleet = Fleet::start(&["--wan", "none", "--restart-after", "never"]);
    let [a, b, c] = [0, 1, 2].map(|at| fleet.doors[at].clone());
    let first = fence(&a, "job", "one", "60s");
    for door in [&a, &b, &c] {
        let answer = acquire(door, "job", "two", "60s");
        assert_eq!((answer.status, answer.problem().as_str()), (409, "lock-held"));
        assert_eq!(answer.json()["owner"], "one");
    }
    assert_eq!(fence(&c, "job", "one", "1s"), first, "the same owner keeps its fence");

    // Any one of them may be gone; nothing that was decided is.
    let killed = fleet.kill(&a.name);
    let second = fence(&b, "job", "two", "60s");
    assert!(second > first);
    let stale = b.ask("POST", "/v1/locks/job/renew", Some(&json!({"owner":"one","fence":first})));
    assert_eq!((stale.status, stale.problem().as_str()), (409, "lease-lost"));

    // A destroyed one comes back as a new member, and counts again.
    std::fs::remove_dir_all(fleet.region_dir(&a.name)).unwrap();
    fleet.cli(&["start", &a.name]).done();
    fleet.back(&a.name, killed);
    eventually(DECIDED_SECONDS, "it is told who holds the lock", || {
        let answer = acquire(&a, "job", "three", "60s");
        (answer.status == 409).then_some(())
    });
    eventually(DECIDED_SECONDS, "it was taken in", || {
        let logs = REGIONS.map(|region| fleet.region_log(region));
        logs.iter().any(|log| log.contains("with a new journal")).then_some(())
    });
    fleet.kill(&b.name);
    let third = fence(&c, "other", "three", "60s");
    assert!(third > second);

    // Alone, a region decides nothing, and takes writes all the same.
    fleet.kill(&a.name);
    let answer = acquire(&c, "job", "three", "60s");
    assert_eq!((answer.status, answer.problem().as_str()), (503, "unavailable"));
    assert!(answer.text().contains("no majority"), "{}", answer.text());
    c.write(&crate::door::event("alone", "thing", "put", &json!({"n": 1})));
}

#[test]
fn a_shell_takes_and_gives_back_a_lock() {
    let fleet = Fleet::near();
    fence(&fleet.doors[0], "warm", "one", "1s");
    let taken = fleet.cli(&["lock", "acquire", "a/b c", "--owner", "me", "--json"]).done().json();
    let fence = taken["fence"].to_string();
    let held = fleet.cli(&["lock", "acquire", "a/b c", "--owner", "you"]).ended(1);
    assert!(held.stderr.contains("`me` holds the lock"), "{}", held.stderr);
    let give = ["lock", "release", "a/b c", "--owner", "me", "--fence", &fence];
    assert!(fleet.cli(&give).done().stdout.contains("is given back"));
    assert!(fleet.cli(&give).done().stdout.contains("is given back"), "it may be repeated");
    let keep = ["lock", "renew", "a/b c", "--owner", "me", "--fence", &fence];
    assert!(fleet.cli(&keep).ended(1).stderr.contains("not held by this owner"));
}

#[test]
fn two_regions_and_a_witness_outlive_the_loss_of_one_region() {
    let _permit = Permit::take();
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let authority = DevelopmentCa::open_or_create(&dir.path().join("pki"), now).unwrap();
    let ports = [("a", free_port()), ("b", free_port()), ("w", free_port())];
    let mut processes = Processes(Vec::new());
    let mut doors = Vec::new();
    for (name, _) in ports {
        authority.issue(name, &SubjectNames::default(), now).unwrap();
        let http = (name != "w").then(free_port);
        let config = dir.path().join(format!("{name}.toml"));
        std::fs::write(&config, toml(dir.path(), name, http, &ports)).unwrap();
        let log = std::fs::File::create(dir.path().join(format!("{name}.log"))).unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(["region", "--config"]).arg(config).stdin(Stdio::null());
        processes.0.push(command.stdout(log).stderr(Stdio::null()).spawn().unwrap());
        let url = http.map(|port| format!("http://127.0.0.1:{port}"));
        doors.extend(url.map(|url| Door::of(&json!({"name": name, "url": url}))));
    }
    for door in &doors {
        eventually(30, "a region is ready", || {
            door.try_ask("GET", "/readyz", &[], b"").is_ok_and(|a| a.status == 200).then_some(())
        });
    }
    let first = fence(&doors[0], "job", "one", "1s");
    // The witness is no region: it is not waited for, and nothing is sent to it.
    let regions = doors[0].get("/v1/regions").json();
    let names: Vec<&Value> =
        regions["items"].as_array().unwrap().iter().map(|item| &item["name"]).collect();
    assert_eq!(names, ["a", "b"]);
    let event = crate::door::event("all", "thing", "put", &json!({"n": 1}));
    let headers = [crate::door::JSON, ("linckia-ack", "all")];
    let body = event.to_string();
    let answer = doors[0].try_ask("POST", "/v1/events", &headers, body.as_bytes()).unwrap();
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert!(!dir.path().join("w/log").exists(), "a witness has no log");

    processes.0[0].kill().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let second = fence(&doors[1], "job", "two", "60s");
    assert!(second > first);
}
