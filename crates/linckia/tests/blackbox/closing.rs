//! Directories that are lost, and come back: what of their logs remains, what is declared lost, and
//! what becomes of a directory that was only taken for lost.
//!
//! Scenarios over `fleet` and `door`.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::door::{Door, JSON, dot_of, event};
use crate::fleet::Fleet;
use crate::http::Answer;
use crate::processes::eventually;

/// A region is taken in, its earlier log closed, and everything pulled again, within this.
const BACK_SECONDS: u64 = 30;

fn within(door: &Door, token: &str, method: &str, target: &str, body: &str) -> Answer {
    let headers = [JSON, ("linckia-session", token), ("linckia-behind", "fail")];
    door.try_ask(method, target, &headers, body.as_bytes()).unwrap()
}

/// Kills a region; its supervisor has noticed when this returns.
fn kill(fleet: &Fleet, region: &str) -> u32 {
    let killed = fleet.kill(region);
    eventually(10, "it is noticed", || fleet.pid_of(region).is_none().then_some(()));
    killed
}

/// The earlier logs of a region, as another one tells them.
fn closed(door: &Door, region: &str) -> Vec<Value> {
    let items = door.items("/v1/regions");
    let found = items.iter().find(|item| item["name"] == region).unwrap();
    found["closed"].as_array().unwrap().clone()
}

#[test]
fn what_a_lost_directory_had_not_passed_on_is_declared_lost() {
    let fleet = Fleet::start(&["--wan", "none", "--restart-after", "never"]);
    let [a, b] = [0, 1].map(|at| fleet.doors[at].clone());
    a.write(&event("kept", "kept", "put", &json!({"n": 1})));
    fleet.converged();
    fleet.cli(&["wan", "cut", &a.name]).done();
    let (mut token, mut dots) = (String::new(), Vec::new());
    for number in 0..5 {
        let body = event(&format!("gone-{number}"), "gone", "put", &json!({"n": number}));
        let answer = within(&a, &token, "POST", "/v1/events", &body.to_string());
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.header("linckia-session").unwrap().clone_into(&mut token);
        dots.push(dot_of(&answer.json()));
    }
    let killed = kill(&fleet, &a.name);
    fs::remove_dir_all(fleet.region_dir(&a.name)).unwrap();
    fleet.cli(&["wan", "heal"]).done();

    // Nobody can know yet: the region may come back with what it wrote.
    let answer = within(&b, &token, "GET", "/v1/aggregates/Thing/gone", "");
    assert_eq!((answer.status, answer.problem().as_str()), (503, "behind"));
    assert_eq!(closed(&b, &a.name), Vec::<Value>::new());

    fleet.cli(&["start", &a.name]).done();
    fleet.back(&a.name, killed);
    eventually(BACK_SECONDS, "it is in the fleet again", || a.is_ready().then_some(()));
    assert_eq!(a.thing("kept").unwrap()["data"], json!({"n": 1}), "once it answers, it has it");
    for door in [&a, &b] {
        let lost = eventually(BACK_SECONDS, "its end is known", || {
            let closed = closed(door, &a.name);
            closed.first().filter(|log| log["end"].is_u64()).cloned()
        });
        assert_eq!(lost["end"], 1);
        let origin = lost["origin"].as_str().unwrap();
        assert!(dots.iter().all(|dot| dot.starts_with(origin)), "{lost}");
        let answer = within(door, &token, "GET", "/v1/aggregates/Thing/gone", "");
        assert_eq!((answer.status, answer.problem().as_str()), (410, "lost-writes"));
        assert_eq!(answer.json()["lost"], json!({ origin: [2, 6] }));
        // With the token that comes with it, a client goes on with what remains.
        let remains = answer.header("linckia-session").unwrap();
        assert_eq!(within(door, remains, "GET", "/v1/aggregates/Thing/gone", "").status, 404);
        let answer = door.get(&format!("/v1/acks/{}", dots[4]));
        assert_eq!((answer.status, answer.problem().as_str()), (410, "lost-writes"));
        let wait = json!({ "vector": { origin: 6 }, "timeout": "10s" });
        let answer = door.ask("POST", "/v1/vector/wait", Some(&wait));
        assert_eq!(answer.status, 410, "{}", answer.text());
    }
    assert!(fleet.region_log(&b.name).contains("the log of a lost directory is closed"));
    a.write(&event("again", "gone", "put", &json!({"n": 7})));
    fleet.converged();
    let shown = fleet.cli(&["regions"]).done().stdout;
    assert!(shown.contains("ends at 1"), "{shown}");
}

#[test]
fn a_directory_that_was_taken_for_lost_writes_no_more() {
    let fleet = Fleet::start(&["--wan", "none", "--restart-after", "never"]);
    let [a, b] = [0, 1].map(|at| fleet.doors[at].clone());
    a.write(&event("first", "thing", "put", &json!({"n": 1})));
    fleet.converged();
    let (dir, aside) = (fleet.region_dir(&a.name), fleet.dir().join("aside"));
    let killed = kill(&fleet, &a.name);
    fs::rename(&dir, &aside).unwrap();
    fleet.cli(&["start", &a.name]).done();
    fleet.back(&a.name, killed);
    eventually(BACK_SECONDS, "it lives in a new directory", || a.is_ready().then_some(()));
    a.write(&event("second", "thing", "put", &json!({"n": 2})));
    fleet.converged();

    // The old one is put back in its place.
    kill(&fleet, &a.name);
    let newer = fleet.dir().join("newer");
    fs::rename(&dir, &newer).unwrap();
    fs::rename(&aside, &dir).unwrap();
    let start = fleet.begin(&["start", &a.name]);
    let told = eventually(BACK_SECONDS, "it hears that its log is closed", || {
        let answer = a.try_ask("GET", "/readyz", &[], b"").ok()?;
        (answer.status == 503).then(|| answer.text()).filter(|text| text.contains("taken for lost"))
    });
    assert!(told.contains("another directory"), "{told}");
    assert!(fleet.region_log(&a.name).contains("is a member in this one's place"));
    let write = event("third", "thing", "put", &json!({"n": 3}));
    assert_eq!(a.ask("POST", "/v1/events", Some(&write)).status, 503);
    b.write(&event("fourth", "thing", "patch", &json!({"m": 4})));

    // The newer one goes on where it was.
    let killed = kill(&fleet, &a.name);
    start.end(BACK_SECONDS).ended(1);
    fs::remove_dir_all(&dir).unwrap();
    fs::rename(&newer, &dir).unwrap();
    fleet.cli(&["start", &a.name]).done();
    fleet.back(&a.name, killed);
    eventually(BACK_SECONDS, "it is in the fleet again", || a.is_ready().then_some(()));
    fleet.converged();
    assert_eq!(a.thing("thing").unwrap()["data"], json!({"n": 2, "m": 4}));
}

#[test]
fn an_old_copy_of_a_directory_is_left_for_another_incarnation() {
    let fleet = Fleet::start(&["--wan", "none"]);
    let a = fleet.doors[0].clone();
    a.write(&event("first", "thing", "put", &json!({"n": 1})));
    fleet.converged();
    fleet.cli(&["stop", &a.name]).done();
    let (data, aside) = (fleet.region_dir(&a.name).join("data"), fleet.dir().join("backup"));
    copy(&data, &aside);
    fleet.cli(&["start", &a.name]).done();
    for number in 2..20 {
        let body = event(&format!("later-{number}"), "thing", "put", &json!({"n": number}));
        a.write(&body);
    }
    fleet.converged();
    fleet.cli(&["stop", &a.name]).done();
    fs::remove_dir_all(&data).unwrap();
    fs::rename(&aside, &data).unwrap();

    // It ends once a peer has told it, and is started again.
    let start = fleet.begin(&["start", &a.name]);
    eventually(BACK_SECONDS, "it lives in another incarnation", || {
        let closed = closed(&fleet.doors[1], &a.name);
        closed.first().filter(|log| log["end"] == 19).map(|_| ())
    });
    eventually(BACK_SECONDS, "it is in the fleet again", || {
        a.try_ask("GET", "/readyz", &[], b"").ok().filter(|answer| answer.status == 200)
    });
    drop(start);
    assert!(fleet.region_log(&a.name).contains("is an old copy"));
    assert_eq!(a.thing("thing").unwrap()["data"], json!({"n": 19}));
    a.write(&event("last", "thing", "put", &json!({"n": 20})));
    fleet.converged();
    let kept = fs::read_dir(data.join("aside")).unwrap().count();
    assert_eq!(kept, 1, "nothing was removed");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().unwrap().is_dir() {
            true => copy(&from, &to),
            false => drop(fs::copy(&from, &to).unwrap()),
        }
    }
}
