//! The contract suite of the log, run on the disk in memory and on the real one.

use std::sync::Arc;

use linckia_log::{Disk, Error, LocalDisk, MemoryDisk, contract};

#[test]
fn the_memory_disk_is_a_disk() {
    contract::check_disk(&MemoryDisk::new());
}

#[test]
fn the_local_disk_is_a_disk() {
    let dir = tempfile::tempdir().unwrap();
    contract::check_disk(&LocalDisk::open(dir.path()).unwrap());
}

#[test]
fn logs_on_the_memory_disk() {
    contract::check_logs(&mut |check| {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        check(&mut || Arc::clone(&disk));
    });
}

#[test]
fn logs_on_the_local_disk() {
    contract::check_logs(&mut |check| {
        let dir = tempfile::tempdir().unwrap();
        check(&mut || Arc::new(LocalDisk::open(dir.path()).unwrap()));
    });
}

#[test]
fn a_directory_has_one_owner_and_says_who() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("new/region");
    let held = LocalDisk::open(&root).unwrap();
    let expected = format!("process {}", std::process::id());
    for refused in [LocalDisk::open(&root), LocalDisk::open_to_read(&root)] {
        match refused.map(|_| ()) {
            Err(Error::Locked { holder, .. }) => assert_eq!(holder, expected),
            other => panic!("expected Locked, got {other:?}"),
        }
    }
    drop(held);
    let reading = LocalDisk::open_to_read(&root).unwrap();
    assert!(reading.create("x").is_err(), "a disk for reading writes nothing");
    let _second = LocalDisk::open_to_read(&root).unwrap();
    assert!(LocalDisk::open(&root).is_err(), "nor may anyone write meanwhile");
}
