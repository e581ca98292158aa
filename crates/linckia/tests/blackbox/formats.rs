//! Directories and backups of every format that was released: kept as fixtures, opened by this
//! build with all that is in them, and written on.
//!
//! `fixtures/format-<number>` has `fleet.tar.zst`, the directories of three regions as a kill -9
//! left them, `backup.tar.zst`, and `manifest.json`, which says what both must show. They are never
//! changed; those of a new format are made by a real run in `cargo xtask fixtures`, and without
//! them these tests fail. What always holds: what is read back was said by the build that wrote it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::door::{Door, event};
use crate::fleet::{Fleet, PROGRAM, REGIONS, pid, runs};
use crate::history;
use crate::processes::{eventually, run};

/// The format of this build, which the directories that it makes say too.
const FORMAT: u32 = 1;

/// Set by `cargo xtask fixtures`: fixtures that are missing are made.
const WRITE: &str = "LINCKIA_WRITE_FIXTURES";

/// Regions close a log, take one in, or get what they lack within this.
const BACK_SECONDS: u64 = 60;

/// Whatever region answers, it is this of every aggregate.
const SHOWN: [&str; 5] = ["data", "version", "aggregateType", "aggregateId", "updatedAt"];

const THINGS: [&str; 9] =
    ["doc", "sum", "gone", "noted", "fought", "price", "late", "bulk-7", "never"];

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Every format that is kept; that of this build among them.
fn kept() -> Vec<PathBuf> {
    let current = fixtures().join(format!("format-{FORMAT}"));
    static MADE: Once = Once::new();
    if std::env::var_os(WRITE).is_some() {
        MADE.call_once(|| {
            if !current.exists() {
                make(&current);
            }
        });
    }
    assert!(current.exists(), "{} is made by `cargo xtask fixtures`", current.display());
    let is_kept = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.strip_prefix("format-").is_some_and(|number| number.parse::<u64>().is_ok())
    };
    let entries = fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = entries.filter(is_kept).collect();
    all.sort();
    all
}

/// The files below a directory as one compressed file.
fn pack(dir: &Path, names: &[String], to: &Path) {
    let mut command = Command::new("tar");
    command.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "-C"]).arg(dir);
    let made = command.args(["-cf", "-"]).args(names).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::write(to, zstd::encode_all(&made.stdout[..], 19).unwrap()).unwrap();
}

fn unpack(from: &Path, dir: &Path) {
    let bytes = zstd::decode_all(&fs::read(from).unwrap()[..]).unwrap();
    fs::create_dir_all(dir).unwrap();
    let mut command = Command::new("tar");
    command.arg("-C").arg(dir).args(["-xf", "-"]).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    assert!(child.wait().unwrap().success());
}

/// What a region shows of everything that was written, the same in each.
fn shown(door: &Door) -> Value {
    let of = |kind: &str, id: &str| {
        let answer = door.get(&format!("/v1/aggregates/{kind}/{id}"));
        if answer.status == 404 {
            return Value::Null;
        }
        let (tag, thing) = (answer.header("etag").map(str::to_owned), answer.json());
        let mut parts: BTreeMap<_, _> =
            SHOWN.iter().map(|name| ((*name).to_owned(), thing[*name].clone())).collect();
        parts.insert("etag".to_owned(), json!(tag));
        json!(parts)
    };
    let things: BTreeMap<_, _> = THINGS.iter().map(|id| (*id, of("Thing", id))).collect();
    let history = door.get("/v1/aggregates/Thing/late/events").json()["items"].clone();
    let records = door.items("/v1/conflicts");
    let mut conflicts: Vec<(String, Value)> = records
        .iter()
        .filter(|it| !it["aggregateId"].as_str().unwrap().starts_with("bulk"))
        .map(|it| (it["conflictId"].to_string(), it["conflictingEvents"].clone()))
        .collect();
    conflicts.sort_by(|one, other| one.0.cmp(&other.0));
    let policies = door.items("/v1/policies");
    json!({
        "things": things, "basket": of("Basket", "one"), "history": history,
        "conflicts": conflicts, "records": records.len(), "policies": policies,
    })
}

/// The logs of regions that are written no more, as a region tells them.
fn closed(door: &Door) -> Value {
    let mut closed = BTreeMap::new();
    for region in door.items("/v1/regions") {
        for log in region["closed"].as_array().unwrap() {
            closed.insert(log["origin"].as_str().unwrap().to_owned(), log["end"].clone());
        }
    }
    json!(closed)
}

fn basket(door: &Door, id: &str, operation: &str, data: &Value) {
    let mut write = event(id, "one", operation, data);
    write["aggregateType"] = "Basket".into();
    eventually(BACK_SECONDS, "the type is written", || {
        let answer = door.ask("POST", "/v1/events", Some(&write));
        assert!([200, 201, 503].contains(&answer.status), "{}", answer.text());
        (answer.status < 300).then_some(())
    });
}

/// Writes with every operation, merges and hides, takes back, and lets go of history.
fn live(fleet: &Fleet) {
    let [a, b, c] = [0, 1, 2].map(|at| fleet.doors[at].clone());
    let fields = ["--field", "/stock=counter", "--field", "/tags=set"];
    fleet.cli(&[&["policy", "set", "Basket"], &fields[..]].concat()).done();
    basket(&a, "basket-1", "put", &json!({"stock": 5, "tags": ["old"]}));
    a.write(&event("doc-1", "doc", "put", &json!({"a": 1, "b": {"c": [1, 2.5, null, "ä"]}})));
    a.write(&event("sum-1", "sum", "increment", &json!({"n": 3})));
    b.write(&event("gone-1", "gone", "put", &json!({"n": 1})));
    a.write(&event("price-1", "price", "put", &json!({"net": 10})));
    fleet.converged();
    b.write(&event("doc-2", "doc", "patch", &json!({"a": null, "d": true})));
    c.write(&event("sum-2", "sum", "increment", &json!({"n": 4})));
    a.write(&event("gone-2", "gone", "delete", &json!({})));
    b.write(&event("noted-1", "noted", "put", &json!({"n": 1})));
    b.write(&event("noted-2", "noted", "record", &json!({"seen": "by nobody"})));
    let mut mistake = event("price-2", "price", "patch", &json!({"net": 1000}));
    mistake["metadata"] = json!({"correlationId": "job-7"});
    c.write(&mistake);
    fleet.cli(&["wan", "cut", &a.name]).done();
    for (door, n) in [(&a, 1), (&b, 2)] {
        door.write(&event(&format!("fought-{n}"), "fought", "put", &json!({"n": n})));
        basket(door, &format!("sold-{n}"), "increment", &json!({"stock": -n}));
    }
    basket(&a, "add-1", "add", &json!({"tags": ["red", "old"]}));
    basket(&b, "remove-1", "remove", &json!({"tags": ["old"]}));
    fleet.cli(&["wan", "heal"]).done();
    fleet.converged();
    fleet.cli(&["undo", "--where", "correlationId=job-7", "--yes"]).done();
    history::let_go(fleet);
}

/// One region's directory is lost, and it comes back in another incarnation.
fn lose(fleet: &Fleet) {
    let [a, c] = [0, 2].map(|at| fleet.doors[at].clone());
    let killed = fleet.kill(&c.name);
    eventually(10, "it is noticed", || fleet.pid_of(&c.name).is_none().then_some(()));
    fs::remove_dir_all(fleet.region_dir(&c.name)).unwrap();
    fleet.cli(&["start", &c.name]).done();
    fleet.back(&c.name, killed);
    eventually(BACK_SECONDS, "its log is closed", || {
        let closed = closed(&a);
        closed.as_object().unwrap().values().any(Value::is_u64).then_some(())
    });
    fleet.converged();
}

/// Makes the fixtures of this build's format, by a fleet that lives.
fn make(to: &Path) {
    let next = to.with_extension("next");
    let _ = fs::remove_dir_all(&next);
    fs::create_dir_all(&next).unwrap();
    let fleet = history::short();
    live(&fleet);
    lose(&fleet);
    let [a, b, c] = [0, 1, 2].map(|at| fleet.doors[at].clone());
    let backup = tempfile::tempdir().unwrap();
    let back_up = || {
        let to = backup.path().join("backup");
        fleet.cli(&["backup", to.to_str().unwrap(), "--region", &a.name]).done();
    };
    back_up();
    for (number, door) in [&a, &b, &c].into_iter().enumerate() {
        let of = |name: &str| format!("{name}-{number}");
        door.write(&event(&of("late"), "late", "patch", &json!({ of("by"): number })));
        basket(door, &of("bought"), "increment", &json!({"stock": 10}));
        door.write(&event(&of("total"), "sum", "increment", &json!({"n": 100})));
    }
    fleet.converged();
    back_up();
    let converged = fleet.converged();
    let digests = json!({
        "root": converged["items"][0]["root"], "vector": converged["items"][0]["vector"],
    });
    let manifest = json!({"shown": shown(&a), "closed": closed(&a), "digests": digests});
    for region in REGIONS {
        fleet.kill(region);
        // Who wrote it is nobody's business.
        let place = fleet.region_dir(region).join("data/place");
        fs::write(place, "0\n/srv/linckia\nhost\n").unwrap();
    }
    let text = serde_json::to_string_pretty(&manifest).unwrap();
    fs::write(next.join("manifest.json"), text + "\n").unwrap();
    let names = REGIONS.map(|region| format!("{region}/data"));
    pack(fleet.dir(), &names, &next.join("fleet.tar.zst"));
    pack(backup.path(), &["backup".to_owned()], &next.join("backup.tar.zst"));
    fs::rename(next, to).unwrap();
}

fn manifest(kept: &Path) -> Value {
    serde_json::from_slice(&fs::read(kept.join("manifest.json")).unwrap()).unwrap()
}

/// Everything is there, in every region, and is written on.
fn holds_everything(fleet: &Fleet, wanted: &Value) {
    for door in &fleet.doors {
        assert_eq!(shown(door), *wanted, "{}", door.name);
    }
    for (at, door) in fleet.doors.iter().enumerate() {
        door.write(&event(&format!("new-{at}"), "sum", "increment", &json!({"n": 1})));
        door.write(&event(&format!("more-{at}"), "doc", "patch", &json!({"more": at})));
        basket(door, &format!("new-basket-{at}"), "increment", &json!({"stock": 1}));
    }
    fleet.converged();
    let sum = wanted["things"]["sum"]["data"]["n"].as_i64().unwrap() + 3;
    let stock = wanted["basket"]["data"]["stock"].as_i64().unwrap() + 3;
    for door in &fleet.doors {
        assert_eq!(door.thing("sum").unwrap()["data"]["n"], sum, "{}", door.name);
        let basket = door.get("/v1/aggregates/Basket/one").json();
        assert_eq!(basket["data"]["stock"], stock, "{}", door.name);
    }
}

fn opens(kept: &Path, arguments: &[&str]) {
    let wanted = manifest(kept);
    let mut fleet = Fleet::resting();
    unpack(&kept.join("fleet.tar.zst"), fleet.dir());
    // By this it is a fleet's directory, and nobody else's.
    fs::write(fleet.dir().join("fleet.lock"), "").unwrap();
    fleet.up(arguments);
    let converged = fleet.converged();
    for item in converged["items"].as_array().unwrap() {
        for name in ["vector", "root"] {
            assert_eq!(item[name], wanted["digests"][name], "{name} of {}", item["region"]);
        }
    }
    for door in &fleet.doors {
        assert_eq!(closed(door), wanted["closed"], "{}", door.name);
    }
    holds_everything(&fleet, &wanted["shown"]);

    // And once more, as this build has left it.
    let numbers = REGIONS.map(|region| fleet.pid_of(region).unwrap());
    fleet.down(Signal::KILL, 10);
    for number in numbers {
        let _ = kill_process(pid(number), Signal::KILL);
        eventually(10, "a killed region is gone", || (!runs(number)).then_some(()));
    }
    fleet.up(arguments);
    fleet.converged();
    for door in &fleet.doors {
        let data = fleet.region_dir(&door.name).join("data");
        let said = fs::read_to_string(data.join("format")).unwrap();
        assert_eq!(said, format!("linckia data {FORMAT}\n"), "fixtures are kept of this format");
        door.write(&event(&format!("end-{}", door.name), "end", "increment", &json!({"n": 1})));
    }
    fleet.converged();
}

#[test]
fn every_kept_directory_is_opened_with_all_that_is_in_it() {
    for kept in kept() {
        opens(&kept, &["--wan", "none"]);
    }
}

#[test]
fn every_kept_backup_is_verified_and_restored() {
    for kept in kept() {
        let wanted = manifest(&kept);
        let mut fleet = Fleet::resting();
        let from = tempfile::tempdir().unwrap();
        unpack(&kept.join("backup.tar.zst"), from.path());
        let from = from.path().join("backup");
        let program = || Command::new(PROGRAM);
        run(program().args(["backup", "verify", "--json"]).arg(&from), BACK_SECONDS).done();
        let dir = fleet.region_dir(REGIONS[0]).join("data");
        fs::create_dir_all(dir.parent().unwrap()).unwrap();
        fs::write(fleet.dir().join("fleet.lock"), "").unwrap();
        let words = ["--region", REGIONS[0]];
        let mut restore = program();
        restore.arg("restore").arg(&from).arg("--dir").arg(&dir).args(words);
        run(&mut restore, BACK_SECONDS).done();
        fleet.up(&["--wan", "none"]);
        fleet.converged();
        holds_everything(&fleet, &wanted["shown"]);
    }
}
