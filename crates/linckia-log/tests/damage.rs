//! Damage to what was durable: one changed byte anywhere, a lost sector, a lost file, a stale copy.
//! Either opening or reading refuses, or nothing is different. Never a silent loss.

use std::sync::Arc;

use linckia_log::{Disk, Error, Logs, MemoryDisk, dump, verify};

use crate::support::{self, Random};

const CLOCK: u64 = 77;

/// A closed directory with one log over several segments.
fn closed(count: u64) -> (Arc<MemoryDisk>, Vec<Vec<u8>>) {
    let disk = Arc::new(MemoryDisk::new());
    let mut random = Random::new(5);
    let (mut logs, _) = support::open(&disk, &mut random).unwrap();
    logs.create("a").unwrap();
    logs.put_clock(CLOCK).unwrap();
    logs.write_small("note", b"small").unwrap();
    let mut written = Vec::new();
    for sequence in 1..=count {
        let payload = vec![sequence as u8; (sequence * 31 % 180) as usize];
        logs.append_own("a", sequence, &payload).unwrap();
        written.push(payload);
        if sequence % 3 == 0 {
            support::sync(&mut logs).unwrap();
        }
    }
    logs.close().unwrap();
    (disk, written)
}

/// True if the damage was refused; panics if it changed anything unnoticed.
fn refused(disk: &Arc<MemoryDisk>, written: &[Vec<u8>], what: &str) -> bool {
    let report = verify(&**disk);
    let logs = match support::open(disk, &mut Random::new(9)) {
        Ok((logs, _)) => logs,
        Err(Error::Corrupt { .. }) => {
            let is_log = !what.starts_with("clock");
            assert!(!is_log || !report.unwrap().sound(), "{what}: verify must see it too");
            return true;
        }
        Err(other) => panic!("{what}: {other}"),
    };
    assert_eq!(logs.clock(), CLOCK, "{what}");
    let mut bad = match logs.read_small("note") {
        Ok(small) => {
            assert_eq!(small.as_deref(), Some(&b"small"[..]), "{what}");
            false
        }
        Err(Error::Corrupt { .. }) => true,
        Err(other) => panic!("{what}: {other}"),
    };
    match support::payloads(&logs, "a") {
        Ok(read) => assert!(read == written, "{what}: a silent difference"),
        Err(Error::Corrupt { .. }) => {
            assert!(!report.unwrap().sound(), "{what}: verify must see it too");
            bad = true;
        }
        Err(other) => panic!("{what}: {other}"),
    }
    bad
}

#[test]
fn no_changed_byte_goes_unnoticed() {
    let (disk, written) = closed(60);
    let mut refusals = 0;
    for (path, length) in disk.files() {
        let file = disk.open(&path).unwrap();
        for offset in 0..length {
            // Of the zeros that mean nothing yet a sample is enough.
            let mut word = [0; 8];
            file.read_at(offset / 8 * 8, &mut word).unwrap();
            if word == [0; 8] && offset % 64 != 5 {
                continue;
            }
            let copy = Arc::new(disk.durable_copy());
            assert!(copy.flip(&path, offset, 1 << (offset % 8)));
            refusals += u64::from(refused(&copy, &written, &format!("{path} at {offset}")));
        }
    }
    let payload_bytes: usize = written.iter().map(Vec::len).sum();
    assert!(refusals > payload_bytes as u64, "every byte of a record is one that matters");
}

#[test]
fn no_lost_sector_goes_unnoticed() {
    let (disk, written) = closed(60);
    for (path, length) in disk.files() {
        if !path.ends_with(".segment") {
            continue;
        }
        for start in (0..length).step_by(512) {
            let copy = Arc::new(disk.durable_copy());
            let file = copy.open(&path).unwrap();
            file.write_at(start, &[0; 512]).unwrap();
            file.sync_data().unwrap();
            refused(&copy, &written, &format!("{path} at {start}"));
        }
    }
}

#[test]
fn no_lost_file_goes_unnoticed_but_the_last() {
    let (disk, written) = closed(120);
    let segments: Vec<String> = disk
        .files()
        .into_iter()
        .map(|file| file.0)
        .filter(|path| path.ends_with("segment"))
        .collect();
    assert!(segments.len() > 2);
    for path in &segments[1..segments.len() - 1] {
        let copy = Arc::new(disk.durable_copy());
        copy.remove(path).unwrap();
        assert!(refused(&copy, &written, path));
    }
    // The first looks as if retention had removed it, and the log says where it begins.
    let copy = Arc::new(disk.durable_copy());
    copy.remove(&segments[0]).unwrap();
    let (logs, recovery) = support::open(&copy, &mut Random::new(9)).unwrap();
    assert!(recovery.origins[0].first > 1);
    assert!(matches!(logs.read("a", 1, 1, 1), Err(Error::Truncated { .. })));
}

#[test]
fn a_lost_clock_is_refused() {
    let (disk, _) = closed(3);
    disk.remove("clock").unwrap();
    let opened = support::open(&disk, &mut Random::new(9));
    assert!(matches!(opened, Err(Error::Corrupt { .. })));
}

#[test]
fn a_damaged_header_copy_is_restored() {
    let (disk, written) = closed(10);
    for (path, length) in disk.files() {
        if path.ends_with(".segment") {
            for offset in [20, length - 20] {
                assert!(disk.flip(&path, offset, 1));
                assert!(verify(&*disk).unwrap().origins[0].files.iter().any(|f| f.header_damaged));
                let (logs, recovery) = support::open(&disk, &mut Random::new(9)).unwrap();
                assert_eq!(recovery.origins[0].headers_restored, 1);
                assert_eq!(support::payloads(&logs, "a").unwrap(), written);
                assert!(!verify(&*disk).unwrap().origins[0].files.iter().any(|f| f.header_damaged));
            }
        }
    }
}

#[test]
fn a_segment_of_another_log_is_refused() {
    let (disk, _) = closed(10);
    let mut random = Random::new(4);
    let (mut logs, _) = support::open(&disk, &mut random).unwrap();
    logs.create("b").unwrap();
    drop(logs);
    let name = format!("{:020}.segment", 1);
    let bytes = {
        let file = disk.open(&format!("logs/a/{name}")).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(0, &mut bytes).unwrap();
        bytes
    };
    disk.open(&format!("logs/b/{name}")).unwrap().write_at(0, &bytes).unwrap();
    assert!(matches!(support::open(&disk, &mut random), Err(Error::Corrupt { .. })));
    assert!(!verify(&*disk).unwrap().sound());
}

#[test]
fn the_last_record_without_a_statement_behind_it_counts_as_torn() {
    // Wrong behaviour asserted as it is: nothing on disk can tell this damage from a torn write.
    // A mark closes the gap, and closing and each opening make one.
    let disk = Arc::new(MemoryDisk::new());
    let mut random = Random::new(5);
    let (mut logs, _) = support::open(&disk, &mut random).unwrap();
    logs.create("a").unwrap();
    logs.append_own("a", 1, b"one").unwrap();
    logs.append_own("a", 2, b"two").unwrap();
    support::sync(&mut logs).unwrap();
    drop(logs);
    let path = format!("logs/a/{:020}.segment", 1);
    let second = dump(&*disk, "a").unwrap().nth(1).unwrap().unwrap();
    let unmarked = Arc::new(disk.durable_copy());
    assert!(unmarked.flip(&path, second.offset + 64, 1));
    let (logs, recovery) = support::open(&unmarked, &mut random).unwrap();
    let torn = recovery.origins[0].torn.as_ref().unwrap();
    assert_eq!((torn.sequence, torn.offset), (1, second.offset));
    assert_eq!(logs.durable("a").unwrap(), 1);

    drop(support::open(&disk, &mut random).unwrap());
    assert!(disk.flip(&path, second.offset + 64, 1));
    assert!(matches!(support::open(&disk, &mut random), Err(Error::Corrupt { sequence: 2, .. })));
}

#[test]
fn what_only_a_later_segment_states_counts() {
    // Several segments in one sync, so that no header states that the ones before are durable; the
    // only statement is in the record that was written last.
    let disk = Arc::new(MemoryDisk::new());
    let mut random = Random::new(5);
    let (mut logs, _) = support::open(&disk, &mut random).unwrap();
    logs.create("a").unwrap();
    for sequence in 1..=30 {
        logs.append_own("a", sequence, &[7; 500]).unwrap();
    }
    support::sync(&mut logs).unwrap();
    logs.append_own("a", 31, b"states that 30 is durable").unwrap();
    support::sync(&mut logs).unwrap();
    drop(logs);
    let events: Vec<_> = dump(&*disk, "a").unwrap().map(Result::unwrap).collect();
    assert_ne!(events[0].file, events[28].file);
    for event in &events[..30] {
        let copy = Arc::new(disk.durable_copy());
        assert!(copy.flip(&event.file, event.offset + 80, 1));
        assert!(!verify(&*copy).unwrap().sound());
        match support::open(&copy, &mut random).map(|_| ()) {
            Err(Error::Corrupt { file, offset, sequence, .. }) => {
                assert_eq!((file, offset), (event.file.clone(), event.offset));
                assert_eq!(sequence, event.sequence);
            }
            other => panic!("{}: {other:?}", event.sequence),
        }
    }
}

#[test]
fn dump_lists_what_is_there() {
    let (disk, written) = closed(40);
    let entries: Vec<_> = dump(&*disk, "a").unwrap().map(Result::unwrap).collect();
    let events: Vec<&Vec<u8>> = entries
        .iter()
        .filter(|entry| entry.kind == linckia_log::EntryKind::Event)
        .map(|entry| &entry.payload)
        .collect();
    assert_eq!(events, written.iter().collect::<Vec<_>>());
    let mark = entries.last().unwrap();
    assert_eq!((mark.sequence, mark.durable), (40, 40));
    let records: u64 =
        verify(&*disk).unwrap().origins[0].files.iter().map(|file| file.records).sum();
    assert_eq!(records, 40);
    let middle = &entries[20];
    assert!(disk.flip(&middle.file, middle.offset + 70, 1));
    let broken: Vec<_> = dump(&*disk, "a").unwrap().collect();
    assert_eq!(broken.iter().filter(|entry| entry.is_err()).count(), 1, "once per bad file");
}

fn _assert_send(logs: Logs) -> impl Send {
    logs
}
