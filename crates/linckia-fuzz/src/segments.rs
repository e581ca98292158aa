//! A log's file as a disk may give it back: bytes changed, files cut short.
//!
//! Checksums would refuse arbitrary bytes at once, so the bytes say what becomes of a sound log.
//! What always holds: whatever is read of it afterwards is what was written.

use std::sync::{Arc, OnceLock};

use linckia_log::{Disk, Logs, MemoryDisk, Scope, Settings};

const ORIGIN: &str = "a.0000000000000001";
const RECORDS: u64 = 24;

/// Bytes of one change: which file, where, and how.
const CHANGE: usize = 4;

fn settings() -> Settings {
    Settings {
        segment_bytes_first: 4 << 10,
        segment_bytes_max: 4 << 10,
        record_bytes_max: 1 << 10,
        ..Settings::default()
    }
}

fn salt() -> impl FnMut() -> [u8; 16] {
    || [9; 16]
}

fn payload(sequence: u64) -> Vec<u8> {
    vec![sequence as u8; 40 + 31 * (sequence as usize % 9)]
}

/// The files of a log that some records were written to, each made durable.
fn files() -> &'static Vec<(String, Vec<u8>)> {
    static FILES: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    FILES.get_or_init(|| {
        let disk = Arc::new(MemoryDisk::new());
        let (mut logs, _) = Logs::open(disk.clone(), settings(), &mut salt()).expect("it is new");
        logs.create(ORIGIN).expect("it is new");
        for sequence in 1..=RECORDS {
            logs.append_own(ORIGIN, sequence, &payload(sequence)).expect("there is room");
            if let Some(job) = logs.begin_sync(Scope::All).expect("nothing fails") {
                logs.complete_sync(job.run()).expect("nothing fails");
            }
        }
        drop(logs);
        let read = |(path, length): (String, u64)| {
            let mut bytes = vec![0; length as usize];
            disk.open(&path).and_then(|file| file.read_at(0, &mut bytes)).expect("it is there");
            (path, bytes)
        };
        disk.files().into_iter().map(read).collect()
    })
}

/// Makes the changes that the bytes say, opens the log and reads all of it.
pub(crate) fn segments(bytes: &[u8]) {
    let mut files = files().clone();
    for change in bytes.chunks_exact(CHANGE).take(32) {
        let which = usize::from(change[0]) % files.len();
        let content = &mut files[which].1;
        let place = usize::from(u16::from_le_bytes([change[1], change[2]]));
        match change[0] >> 6 {
            0 => content.truncate(place),
            1 => content.resize(place, change[3]),
            _ if content.is_empty() => {}
            _ => {
                let place = place % content.len();
                content[place] ^= change[3];
            }
        }
    }
    let disk = Arc::new(MemoryDisk::new());
    for (path, content) in &files {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let made = disk.create_dir_all(parent).and_then(|()| disk.create(path));
        let made = made.and_then(|file| file.write_at(0, content).map(|()| file));
        made.expect("a disk in memory takes it");
    }
    let Ok((logs, _)) = Logs::open(disk, settings(), &mut salt()) else { return };
    let Ok(batch) = logs.read(ORIGIN, 1, u64::MAX, usize::MAX) else { return };
    for record in batch.iter() {
        assert_eq!(record.payload(), payload(record.sequence()), "it was never written");
    }
}
