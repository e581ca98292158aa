//! Drills on a local fleet: what they find, what they write, and that they can fail.
//!
//! Scenarios over `fleet`. What always holds: what a drill says was acknowledged is checked against
//! the ledger that it kept beside.

use std::fs;
use std::path::Path;

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::door::event;
use crate::fleet::{Fleet, pid};
use crate::processes::{Ran, eventually};

/// A drill of half a minute ends within this, with everything else the machine does.
const LONG_SECONDS: u64 = 180;

fn drill(fleet: &Fleet, mode: &str, more: &[&str]) -> (Value, Option<i32>, String) {
    let ledger = fleet.dir().join(format!("ledger-{mode}.txt"));
    let page = fleet.dir().join(format!("{mode}.html"));
    let [ledger, page] = [&ledger, &page].map(|path| path.to_str().unwrap());
    let mut arguments =
        vec!["drill", "run", "region-loss", "--mode", mode, "--for", "5s", "--json"];
    arguments.extend(["--ledger", ledger, "--report", page]);
    arguments.extend(more);
    let ran = fleet.cli(&arguments);
    (ran.json(), ran.code, fs::read_to_string(page).unwrap_or_default())
}

#[test]
fn losing_a_region_loses_nothing_that_was_promised() {
    let fleet = Fleet::start(&["--wan", "real"]);
    let region = fleet.doors[1].name.clone();
    for mode in ["stop", "cut", "destroy"] {
        let (report, code, page) = drill(&fleet, mode, &["--region", &region]);
        assert_eq!((&report["passed"], code), (&Value::Bool(true), Some(0)), "{mode}: {report}");
        assert_eq!(report["digestsEqual"], true);
        assert_eq!((&report["drill"], &report["mode"]), (&"region-loss".into(), &mode.into()));
        let levels = report["levels"].as_array().unwrap();
        assert_eq!(levels.len(), 2);
        let ledger = fs::read_to_string(report["ledger"].as_str().unwrap()).unwrap();
        for level in levels {
            let ack = level["ack"].as_str().unwrap();
            let acknowledged = level["acknowledged"].as_u64().unwrap();
            let kept = ledger.lines().filter(|line| line.split(' ').nth(1) == Some(ack)).count();
            assert_eq!(acknowledged, kept as u64, "{mode}: {ack}");
            assert!(acknowledged > 20, "{mode}: {level}");
            if ack != "local" || mode != "destroy" {
                assert_eq!(level["lost"], 0, "{mode}: {level}");
            }
            assert_eq!(level["lost"], level["declaredLost"], "{mode}: {level}");
            assert_eq!(level["duplicated"], 0, "{mode}: {level}");
            if ack == "any" {
                assert_eq!(level["staleReads"], 0, "{mode}: {level}");
            }
        }
        assert!(page.contains("<svg") && page.contains("Passed"), "{mode}");
        fleet.converged();
    }
}

#[test]
fn a_drill_fails_where_a_promise_is_not_kept() {
    let fleet = Fleet::near();
    // An operator's means that break two disks at once: even `any` cannot hold.
    let kills: Vec<String> = fleet.doors[..2]
        .iter()
        .map(|door| {
            let dir = fleet.region_dir(&door.name).display().to_string();
            let name = &door.name;
            format!(
                "linckia-under-test stop {name} --kill && rm -r {dir}/data/log {dir}/data/store"
            )
        })
        .collect();
    let starts: Vec<String> = fleet.doors[..2]
        .iter()
        .map(|door| format!("linckia-under-test start {}", door.name))
        .collect();
    let program = env!("CARGO_BIN_EXE_linckia");
    let fleet_dir = fleet.dir().display().to_string();
    let own = format!("{program} --dir {fleet_dir}");
    // Neither is ready before the other is there to say what it holds: they start together.
    let [to_break, to_heal] = [kills.join(" && "), format!("{} & wait", starts.join(" & "))]
        .map(|lines| lines.replace("linckia-under-test", &own));
    fleet.cli(&["wan", "cut", &fleet.doors[2].name]).done();
    let heal = format!("{own} wan heal && {to_heal}");
    let more = ["--break-with", &to_break, "--heal-with", &heal, "--ack", "any"];
    let (report, code, page) = drill(&fleet, "destroy", &more);
    assert_eq!((&report["passed"], code), (&Value::Bool(false), Some(1)), "{report}");
    let level = &report["levels"][0];
    assert!(level["lost"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(level["lost"], level["declaredLost"], "{report}");
    assert_eq!(level["lostIds"].as_array().unwrap().len() as u64, level["lost"].as_u64().unwrap());
    assert!(page.contains("Failed"));
}

#[test]
fn a_short_soak_breaks_nothing() {
    let fleet = Fleet::start(&["--wan", "real"]);
    let ledger = fleet.dir().join("ledger-soak.txt");
    let page = fleet.dir().join("soak.html");
    let [ledger, page] = [&ledger, &page].map(|path| path.to_str().unwrap());
    let arguments = [
        "drill", "run", "soak", "--for", "10s", "--rate", "150", "--seed", "3", "--ledger", ledger,
        "--report", page, "--json",
    ];
    let ran = fleet.cli(&arguments);
    let report = ran.json();
    assert_eq!((&report["passed"], ran.code), (&Value::Bool(true), Some(0)), "{report}");
    assert_eq!((&report["drill"], &report["seed"]), (&"soak".into(), &3.into()));
    assert!(report["failures"].as_array().unwrap().len() > 1, "{report}");
    let levels = report["levels"].as_array().unwrap();
    let acknowledged: u64 = levels.iter().map(|it| it["acknowledged"].as_u64().unwrap()).sum();
    assert!(acknowledged > 500, "{report}");
    assert_eq!(acknowledged as usize, fs::read_to_string(ledger).unwrap().lines().count());
    assert!(fs::read_to_string(page).unwrap().contains("What failed"));
    let wrong = fleet.cli(&["drill", "run", "soak", "--destroy"]);
    assert_eq!(wrong.code, Some(2), "local does not survive a disk");
}

#[test]
fn a_fleet_is_restored_beside_the_running_one() {
    let fleet = Fleet::near();
    let [ledger, page, beside] =
        ["ledger-restore.txt", "restore.html", "beside"].map(|name| fleet.dir().join(name));
    let [ledger, page, beside] = [&ledger, &page, &beside].map(|path| path.to_str().unwrap());
    let region = fleet.doors[1].name.clone();
    let arguments = [
        "drill", "run", "restore", "--region", &region, "--for", "5s", "--ledger", ledger,
        "--report", page, "--beside", beside, "--json",
    ];
    let ran = fleet.cli(&arguments);
    let report = ran.json();
    assert_eq!((&report["passed"], ran.code), (&Value::Bool(true), Some(0)), "{report}");
    assert_eq!((&report["drill"], &report["region"]), (&"restore".into(), &json!(region)));
    assert_eq!((&report["missingIds"], &report["tooLateIds"]), (&json!([]), &json!([])));
    for count in ["owed", "later", "rtoMilliseconds", "rpoMilliseconds"] {
        assert!(report[count].as_u64().unwrap() > 20, "{count}: {report}");
    }
    let acknowledged = fs::read_to_string(ledger).unwrap().lines().count() as u64;
    let accounted = ["owed", "later"].map(|count| report[count].as_u64().unwrap());
    assert!(accounted[0] < acknowledged && accounted[1] < acknowledged, "{report}");
    assert!(fs::read_to_string(page).unwrap().contains("a fleet was restored beside"));
    assert!(!Path::new(beside).exists(), "what passed leaves nothing");
    fs::create_dir(beside).unwrap();
    let again = fleet.cli(&arguments).ended(1);
    assert!(again.stderr.contains("name a new directory with --beside"), "{}", again.stderr);
    fleet.converged();
}

/// Runs a drill with a page; what it prints, and the page.
fn paged(fleet: &Fleet, name: &str, more: &[&str]) -> (Ran, String) {
    let [ledger, page] = ["txt", "html"].map(|end| fleet.dir().join(format!("{name}.{end}")));
    let [ledger, page] = [&ledger, &page].map(|path| path.to_str().unwrap());
    let mut arguments = vec!["drill", "run", name, "--ledger", ledger, "--report", page, "--json"];
    arguments.extend(more);
    let ran = fleet.begin(&arguments).end(LONG_SECONDS);
    (ran, fs::read_to_string(page).unwrap_or_default())
}

/// Passed, with nothing lost, and as many acknowledged writes as the ledger has.
fn passed(ran: &Ran) -> Value {
    let report = ran.json();
    assert_eq!((&report["passed"], ran.code), (&Value::Bool(true), Some(0)), "{ran:?}");
    assert_eq!(report["digestsEqual"], true);
    let levels = report["levels"].as_array().unwrap();
    let sum = |name: &str| levels.iter().map(|level| level[name].as_u64().unwrap()).sum::<u64>();
    let ledger = fs::read_to_string(report["ledger"].as_str().unwrap()).unwrap();
    assert_eq!(sum("acknowledged") as usize, ledger.lines().count());
    assert!(sum("acknowledged") > 100, "{report}");
    assert_eq!((sum("lost"), sum("duplicated")), (0, 0), "{report}");
    report
}

#[test]
fn a_region_that_was_away_catches_up_from_logs() {
    let fleet = Fleet::near();
    let region = fleet.doors[1].name.clone();
    let (ran, page) = paged(&fleet, "absence", &["--region", &region, "--for", "6s"]);
    let report = passed(&ran);
    assert_eq!((&report["drill"], &report["region"]), (&"absence".into(), &json!(region)));
    assert_eq!((&report["lapsed"], &report["catchUp"]), (&Value::Null, &json!("log")));
    for time in ["awayMilliseconds", "eventsBehind", "rtoMilliseconds", "levelMilliseconds"] {
        assert!(report[time].as_u64().unwrap() > 20, "{time}: {report}");
    }
    assert!(report["writesMilliseconds"].as_u64() > Some(20), "{report}");
    let disks = report["disks"].as_array().unwrap();
    assert_eq!(disks.len(), 2, "those that stayed: {report}");
    for disk in disks {
        let bytes = |name: &str| disk[name].as_u64().unwrap();
        assert!(disk["region"] != json!(region) && bytes("beforeBytes") > 0, "{report}");
        assert!(bytes("peakBytes") >= bytes("beforeBytes"), "{report}");
        assert!(bytes("peakBytes") < bytes("boundBytes"), "{report}");
    }
    assert!(page.contains("<svg") && page.contains("was away for"), "{page}");
    fleet.converged();
    let wrong = fleet.cli(&["drill", "run", "absence", "--mode", "stop"]).ended(2);
    assert!(wrong.stderr.contains("does not take --mode"), "{}", wrong.stderr);
}

#[test]
fn a_region_that_lapsed_brings_everything_back() {
    let short = ["log.history_bytes_max=0B", "log.segment_bytes_first=64KiB"];
    let fleet = Fleet::start(&["--wan", "none", "--set", short[0], "--set", short[1]]);
    let region = fleet.doors[0].name.clone();
    let (ran, page) = paged(&fleet, "absence", &["--region", &region, "--for", "30s", "--lapse"]);
    let report = passed(&ran);
    assert_eq!(report["lapsed"], "a drill", "{report}");
    let returned = report["returned"].as_u64().unwrap();
    assert!(returned > 0, "what it took while it was cut off: {report}");
    assert_eq!(report["admitted"], returned, "{report}");
    assert_eq!(report["unrecordedIds"], json!([]));
    assert!(page.contains("put on record"), "{page}");
    for door in &fleet.doors {
        assert!(door.items("/v1/returned?state=returned").is_empty(), "{}", door.name);
        let admitted = door.items("/v1/returned?state=admitted");
        assert!(!admitted.is_empty(), "{}", door.name);
    }
    assert!(fleet.region_log(&region).contains("was away for too long"));
    fleet.converged();
}

#[test]
fn a_full_disk_stops_the_writes_of_its_region_alone() {
    let fleet = Fleet::near();
    let region = fleet.doors[1].name.clone();
    let (ran, page) = paged(&fleet, "disk-full", &["--region", &region, "--for", "8s"]);
    let report = passed(&ran);
    assert_eq!((&report["drill"], &report["region"]), (&"disk-full".into(), &json!(region)));
    assert!(report["refused"].as_u64() > Some(3), "{report}");
    assert!(report["reads"].as_u64() > Some(10), "{report}");
    assert_eq!((&report["readsFailed"], &report["taken"]), (&json!(0), &json!(0)), "{report}");
    assert!(report["noticedMilliseconds"].as_u64().is_some(), "{report}");
    assert!(report["rtoMilliseconds"].as_u64().is_some(), "{report}");
    let others = report["silenceMilliseconds"].as_object().unwrap();
    assert!(others.len() == 2 && !others.contains_key(&region), "{report}");
    assert!(page.contains("refused the first write"), "{page}");
    let log = fleet.region_log(&region);
    assert!(log.contains("REHEARSAL") && log.contains("the disk is full"), "{log}");
    assert!(!fleet.region_dir(&region).join("disk-free").exists());
    fleet.converged();

    // The same by hand.
    let door = fleet.door(&region);
    fleet.cli(&["disk", "full", &region]).done();
    let refused = |number: u32| {
        let write = event(&format!("by-hand-{number}"), "thing", "increment", &json!({"n": 1}));
        door.ask("POST", "/v1/events", Some(&write)).problem() == "disk-full"
    };
    let mut number = 0;
    let mut until = |wanted: bool| {
        eventually(10, "it notices", || {
            number += 1;
            (refused(number) == wanted).then_some(())
        });
    };
    until(true);
    fleet.cli(&["disk", "heal", &region]).done();
    until(false);
    assert_eq!(fleet.cli(&["disk", "full", "nowhere"]).code, Some(2));
    assert_eq!(fleet.cli(&["drill", "run", "disk-full", "--lapse"]).code, Some(2));
}

#[test]
fn a_drill_that_is_given_up_puts_back_what_it_broke() {
    let fleet = Fleet::near();
    let door = &fleet.doors[1];
    let ledger = fleet.dir().join("ledger.txt");
    let given_up = |name: &str, is_broken: &dyn Fn() -> bool| {
        let arguments = ["drill", "run", name, "--region", &door.name, "--for", "30s", "--ledger"];
        let drill = fleet.begin(&[&arguments[..], &[ledger.to_str().unwrap()]].concat());
        eventually(30, name, || is_broken().then_some(()));
        kill_process(pid(drill.number()), Signal::INT).unwrap();
        let ran = drill.end(60).ended(1);
        assert!(ran.stderr.contains("putting back what the drill broke"), "{}", ran.stderr);
        assert!(ran.stderr.contains("the drill was given up"), "{}", ran.stderr);
    };
    let is_down = || fleet.pid_of(&door.name).is_none();
    given_up("absence", &is_down);
    assert!(!is_down() && door.is_ready(), "it was started");
    given_up("region-loss", &is_down);
    assert!(!is_down() && door.is_ready(), "it was started");
    let file = fleet.region_dir(&door.name).join("disk-free");
    given_up("disk-full", &|| file.exists());
    assert!(!file.exists(), "there is room");
    fleet.converged();
}

#[test]
fn a_clock_is_set_wrong_for_a_rehearsal_only() {
    let fleet = Fleet::near();
    let region = fleet.doors[1].name.clone();
    let running = fleet.cli(&["start", &region, "--clock-offset", "-3s"]);
    assert_eq!(running.code, Some(1), "it runs");
    fleet.cli(&["stop", &region, "--kill"]).done();
    assert_eq!(fleet.cli(&["start", &region, "--clock-offset", "3"]).code, Some(2));
    fleet.cli(&["start", &region, "--clock-offset", "-3s"]).done();
    assert!(fleet.region_log(&region).contains("REHEARSAL"));
    fleet.converged();
    fleet.cli(&["stop", &region]).done();
    fleet.cli(&["start", &region]).done();
    let log = fleet.region_log(&region);
    assert_eq!(log.matches("REHEARSAL").count(), 1, "the next start is right again");
}
