//! The handle of a local fleet: who holds a directory, wrong use, Ctrl-C, the next start.
//!
//! Scenarios over `fleet`. What always holds: exit code 0 is done, 1 refused or failed, 2 wrong
//! use, and what is said names what was wrong and what to do.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, kill_process};

use crate::account::settle;
use crate::fleet::{Fleet, PROGRAM, REGIONS, pid, runs};
use crate::ledger::Ledger;
use crate::processes::{eventually, run};

#[test]
fn a_directory_has_one_fleet_and_wrong_use_is_said() {
    let fleet = Fleet::near();
    let second = fleet.cli(&["up", "--json", "--ports", "auto"]).ended(1);
    let holder = format!("process {}", fleet.supervisor());
    assert!(second.stderr.contains(&holder), "{}", second.stderr);
    assert!(second.stderr.contains("--dir"), "{}", second.stderr);
    assert_eq!(second.stdout, "");
    assert!(fleet.doors.iter().all(|door| door.is_ready()), "the first one goes on");

    let check = |arguments: &[&str], code: i32, said: &str| {
        let ran = fleet.cli(arguments).ended(code);
        assert!(ran.stderr.contains(said), "{arguments:?} without {said:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{arguments:?}");
    };
    let regions = "us-east-1, eu-west-1, ap-southeast-1";
    for command in [["stop", "mars"], ["start", "mars"], ["stop", "MARS!"]] {
        check(&command, 2, regions);
    }
    for command in [["cut", "mars"], ["heal", "mars"]] {
        check(&["wan", command[0], command[1]], 2, regions);
    }
    check(&["wan", "cut", "us-east-1", "mars"], 2, regions);
    check(&["wan", "set", "us-east-1", "mars", "--delay", "1ms"], 2, regions);
    for command in ["status", "conflicts", "digests", "events"] {
        check(&[command, "--region", "mars"], 2, "us-east-1");
    }
    check(&["wan", "set", "us-east-1", "eu-west-1"], 2, "--delay");
    check(&["wan", "set", "us-east-1", "eu-west-1", "--delay", "soon"], 2, "soon");
    check(&["wan", "cut", "us-east-1", "us-east-1"], 2, "us-east-1");
    check(&["wan", "cut"], 2, "<A>");
    check(&["stop"], 2, "<REGION>");
    check(&["stop", "us-east-1", "--gently"], 2, "--gently");
    check(&["conjure"], 2, "conjure");
    check(&["digests", "--wait", "5"], 2, "5");
    check(&["import"], 2, "<FILE>");
    check(&["import", "/no/such/file.ndjson"], 1, "/no/such/file.ndjson");
    assert!(fleet.doors.iter().all(|door| door.is_ready()), "and it still goes on");
}

#[test]
fn wrong_use_of_up_is_said_before_anything_is_made() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("never");
    let foreign = place.path().join("foreign");
    let check_in = |dir: &Path, arguments: &[&str], code: i32, said: &str| {
        let mut command = Command::new(PROGRAM);
        let ran = run(command.arg("up").args(arguments).arg("--dir").arg(dir), 20).ended(code);
        assert!(ran.stderr.contains(said), "{arguments:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{arguments:?}");
        assert!(!dir.join("us-east-1").exists(), "{arguments:?} made something");
    };
    let check = |arguments: &[&str], code: i32, said: &str| check_in(&dir, arguments, code, said);
    check(&["--regions", "Mars"], 2, "Mars");
    check(&["--regions", "a,a"], 2, "stands twice");
    check(&["--regions", "a,b,c,d,e,f,g,h,i,j,k"], 2, "at most 10");
    check(&["--ports", "70000"], 2, "70000");
    check(&["--restart-after", "1"], 2, "never");
    check(&["--wan", "/no/such/profile"], 1, "/no/such/profile");
    check(&["--surprise"], 2, "--surprise");
    std::fs::create_dir_all(&foreign).unwrap();
    std::fs::write(foreign.join("thesis.txt"), "mine").unwrap();
    check_in(&foreign, &[], 1, "thesis.txt");
}

#[test]
fn ctrl_c_stops_everything_and_the_next_start_resumes() {
    let mut fleet = Fleet::near();
    let ledger = Ledger::default();
    let doors = fleet.doors.clone();
    let numbers = REGIONS.map(|region| fleet.pid_of(region).unwrap());
    thread::scope(|scope| {
        let _end = ledger.end();
        (0..3).for_each(|writer| ledger.begin(scope, &doors, writer));
        ledger.advance(3, 50);
        let supervisor = fleet.supervisor();
        let again = scope.spawn(move || {
            for _ in 0..5 {
                thread::sleep(Duration::from_millis(20));
                // Repeating it changes nothing; it may be gone by then.
                let _ = kill_process(pid(supervisor), Signal::INT);
            }
        });
        let (code, said) = fleet.down(Signal::INT, 10);
        again.join().unwrap();
        assert_eq!(code, Some(0), "{said}");
        for number in numbers {
            assert!(!runs(number), "a region outlived its supervisor");
        }
        assert!(!fleet.dir().join("fleet.json").exists());
        let refused = fleet.cli(&["status"]).ended(1);
        assert!(refused.stderr.contains("linckia up"), "{}", refused.stderr);
        fleet.up(&["--wan", "none"]);
        let now: Vec<_> = fleet.doors.iter().map(|door| door.address).collect();
        assert_eq!(now, doors.iter().map(|door| door.address).collect::<Vec<_>>());
        ledger.advance(3, 50);
    });
    settle(&fleet, &ledger);
    // Whoever lets go of the supervisor otherwise leaves nothing behind either.
    let numbers = REGIONS.map(|region| fleet.pid_of(region).unwrap());
    fleet.down(Signal::KILL, 10);
    for number in numbers {
        eventually(15, "regions end with their supervisor", || (!runs(number)).then_some(()));
    }
    fleet.up(&["--wan", "none"]);
    settle(&fleet, &ledger);
}
