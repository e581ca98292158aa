//! Records and segments larger than the windows and chunks they are read through, and failures that
//! concern many records at once.

use std::sync::Arc;

use linckia_log::{Error, Logs, MemoryDisk, Scope, Settings, verify};

use crate::support::{self, Random};

fn large() -> Settings {
    Settings {
        segment_bytes_first: 1 << 20,
        segment_bytes_max: 2 << 20,
        record_bytes_max: 600 << 10,
        buffer_bytes_max: 64 << 10,
        bytes_max: 64 << 20,
        mirror_reserve_bytes: 1 << 20,
    }
}

fn open(disk: &Arc<MemoryDisk>) -> Logs {
    let (mut logs, _) = support::open_with(disk, large(), &mut Random::new(8)).unwrap();
    if logs.origins().count() == 0 {
        logs.create("a").unwrap();
    }
    logs
}

#[test]
fn records_of_every_size_are_found_again() {
    let disk = Arc::new(MemoryDisk::new());
    let mut logs = open(&disk);
    let mut random = Random::new(11);
    let mut written = Vec::new();
    for sequence in 1..=300u64 {
        let bound = [40, 5000, 70_000, 600 << 10][(random.next() % 4) as usize];
        let bound = if sequence % 20 == 0 { bound } else { bound.min(5000) };
        let payload = vec![sequence as u8; (random.next() % (bound + 1)) as usize];
        logs.append_own("a", sequence, &payload).unwrap();
        written.push(payload);
        if sequence % 7 == 0 {
            support::sync(&mut logs).unwrap();
        }
    }
    support::sync(&mut logs).unwrap();
    for round in 0..2 {
        assert!(support::payloads(&logs, "a").unwrap() == written, "round {round}");
        for _ in 0..300 {
            let at = random.next() % 300;
            let batch = logs.read("a", at + 1, 1, 1).unwrap();
            let record = batch.first().unwrap();
            assert!(batch.len() == 1 && record.payload() == written[at as usize]);
        }
        drop(logs);
        assert!(verify(&*disk).unwrap().sound());
        logs = open(&disk);
    }
}

#[test]
fn a_statement_across_the_edge_of_a_window_is_found() {
    // The second record's header begins 32 bytes before the end of the window that begins with the
    // first record.
    let disk = Arc::new(MemoryDisk::new());
    let mut logs = open(&disk);
    logs.append_own("a", 1, &vec![1; 256 * 1024 - 64 - 32]).unwrap();
    support::sync(&mut logs).unwrap();
    logs.append_own("a", 2, b"states that 1 is durable").unwrap();
    support::sync(&mut logs).unwrap();
    drop(logs);
    assert!(disk.flip(&format!("logs/a/{:020}.segment", 1), 1000, 1));
    let opened = support::open_with(&disk, large(), &mut Random::new(8));
    assert!(matches!(opened, Err(Error::Corrupt { sequence: 1, offset: 512, .. })));
}

#[test]
fn what_a_failed_sync_left_in_memory_only_is_written_again() {
    let disk = Arc::new(MemoryDisk::new());
    let mut logs = open(&disk);
    for sequence in 1..=400 {
        logs.append_own("a", sequence, &[3; 1000]).unwrap();
        if sequence == 10 {
            support::sync(&mut logs).unwrap();
        }
    }
    let job = logs.begin_sync(Scope::All).unwrap().unwrap();
    disk.fail_sync(1);
    assert!(logs.complete_sync(job.run()).is_err());
    drop(logs);
    // The process starts anew, the machine does not: it finds what the disk never got.
    let logs = open(&disk);
    assert_eq!(logs.durable("a").unwrap(), 400);
    drop(logs);
    let lost = Arc::new(disk.durable_copy());
    assert_eq!(open(&lost).durable("a").unwrap(), 400, "what was served was durable");
}
