//! What a newer version has written: refused with words that say which format it is, and left
//! exactly as it is.
//!
//! Scenarios over `fleet`. What always holds: every checksum is right, so that nothing but the
//! number speaks against the bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::door::event;
use crate::fleet::{Fleet, PROGRAM};
use crate::processes::run;

/// A header of a segment, which stands at both of its ends.
const SEGMENT_HEADER: usize = 512;

/// What stands before the bytes of a small file: tag, version, length, checksum.
const SMALL_HEADER: usize = 20;

fn crc(seed: u32, bytes: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize().to_le_bytes()
}

fn newer_segment(bytes: &mut [u8]) {
    for at in [0, bytes.len() - SEGMENT_HEADER] {
        let header = &mut bytes[at..at + SEGMENT_HEADER];
        header[8..12].copy_from_slice(&2u32.to_le_bytes());
        let check = crc(0, &header[..SEGMENT_HEADER - 4]);
        header[SEGMENT_HEADER - 4..].copy_from_slice(&check);
    }
}

fn newer_small(bytes: &mut [u8]) {
    bytes[8..12].copy_from_slice(&2u32.to_le_bytes());
    let check = crc(2, &bytes[SMALL_HEADER..]);
    bytes[16..SMALL_HEADER].copy_from_slice(&check);
}

fn newer_identity(bytes: &mut [u8]) {
    let title = b"linckia identity 1";
    assert!(bytes[SMALL_HEADER..].starts_with(title));
    bytes[SMALL_HEADER + title.len() - 1] = b'2';
    let check = crc(1, &bytes[SMALL_HEADER..]);
    bytes[16..SMALL_HEADER].copy_from_slice(&check);
}

fn newer_journal(bytes: &mut [u8]) {
    bytes[8..12].copy_from_slice(&2u32.to_le_bytes());
}

fn newer_directory(bytes: &mut [u8]) {
    assert_eq!(bytes, b"linckia data 1\n");
    let at = bytes.len() - 2;
    bytes[at] = b'2';
}

/// All files below a directory, but for who has it open.
fn tree(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(tree(&path));
        } else if !path.ends_with("LOCK") {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}

/// The first segment of the region's own log, from the region's directory.
fn own_segment(data: &Path, region: &str) -> PathBuf {
    let files = tree(&data.join("log/logs"));
    let own = data.join("log/logs").join(region);
    let own = own.to_str().unwrap();
    let is_own = |path: &&PathBuf| {
        let text = path.to_str().unwrap();
        text.starts_with(own) && text.ends_with(".segment")
    };
    files.keys().find(is_own).unwrap().strip_prefix(data).unwrap().to_owned()
}

#[test]
fn a_directory_of_a_newer_format_is_refused_and_left_as_it_is() {
    let fleet = Fleet::start(&["--wan", "none", "--restart-after", "never"]);
    let region = fleet.doors[2].name.clone();
    for number in 0..9 {
        let id = number.to_string();
        fleet.doors[number % 3].write(&event(&id, "thing", "increment", &json!({"n": 1})));
    }
    fleet.converged();
    fleet.cli(&["stop", &region, "--json"]).done();
    let data = fleet.region_dir(&region).join("data");
    type Make = fn(&mut [u8]);
    let cases: [(PathBuf, Make, &str); 5] = [
        ("format".into(), newer_directory, "data format 2"),
        (own_segment(&data, &region), newer_segment, "format 2"),
        ("log/small/identity".into(), newer_small, "format 2"),
        ("log/small/identity".into(), newer_identity, "format 2"),
        ("agreement/journal".into(), newer_journal, "format 2"),
    ];
    for (file, make, words) in cases {
        let path = data.join(&file);
        let sound = fs::read(&path).unwrap();
        let mut newer = sound.clone();
        make(&mut newer);
        fs::write(&path, newer).unwrap();
        let (before, known) = (tree(&data), fleet.region_log(&region).len());
        fleet.cli(&["start", &region]).ended(1);
        let log = fleet.region_log(&region)[known..].to_owned();
        for said in [words, "format 1", "start the version that wrote it", "othing was changed"] {
            assert!(log.contains(said), "{file:?}: {said:?} is not said: {log}");
        }
        let after = tree(&data);
        let names = |tree: &BTreeMap<PathBuf, Vec<u8>>| tree.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&after), names(&before), "{file:?}");
        for (path, bytes) in &after {
            assert!(bytes == &before[path], "{} was changed by {file:?}", path.display());
        }
        fleet.cli(&["stop", &region, "--json"]).done();
        fs::write(&path, sound).unwrap();
    }
    fleet.cli(&["start", &region, "--json"]).done();
    fleet.converged();
}

#[test]
fn a_backup_of_a_newer_format_is_refused() {
    let fleet = Fleet::near();
    let to = tempfile::tempdir().unwrap();
    fleet.doors[0].write(&event("one", "doc", "put", &json!({"n": 1})));
    fleet.cli(&["backup", to.path().to_str().unwrap(), "--region", &fleet.doors[0].name]).done();
    let path = to.path().join("000001/manifest.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    manifest["format"] = json!(2);
    manifest["whatALaterVersionAdds"] = json!(true);
    fs::write(&path, manifest.to_string()).unwrap();
    let dir = to.path().join("data");
    let program = || Command::new(PROGRAM);
    let restore = run(program().arg("restore").arg(to.path()).arg("--dir").arg(&dir), 60);
    let verify = run(program().args(["backup", "verify"]).arg(to.path()), 60);
    for ran in [restore.ended(1), verify.ended(1)] {
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(said.contains("backup format 2, and this version reads format 1"), "{said}");
    }
    assert!(!dir.exists(), "nothing was begun");
}
