//! The owner appends, another thread syncs, others read: on the real disk, all at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;

use linckia_log::{LocalDisk, Logs, Reader, Scope, SyncJob};

use crate::support::{self, Random};

const RECORDS: u64 = 3000;

/// Follows the log to its end; every record is there, in order, whole.
fn follow(reader: &Reader, stop: &AtomicBool) {
    let mut next = 1;
    while next <= RECORDS {
        assert!(!stop.load(Ordering::Relaxed), "the writer failed");
        let durable = reader.durable();
        let batch = reader.read(next, 3000, 20).unwrap();
        assert!(!batch.is_empty() || durable < next);
        for record in batch.iter() {
            assert_eq!(record.sequence(), next);
            assert_eq!(record.payload(), next.to_le_bytes().repeat((next % 40) as usize));
            next += 1;
        }
        assert!(next - 1 <= reader.durable());
        thread::yield_now();
    }
}

fn write(logs: &mut Logs) {
    let (jobs, work) = sync_channel::<SyncJob>(1);
    let (done, results) = sync_channel(1);
    thread::scope(|scope| {
        scope.spawn(move || {
            for job in work {
                done.send(job.run()).unwrap();
            }
        });
        let mut in_flight = false;
        for sequence in 1..=RECORDS {
            let payload = sequence.to_le_bytes().repeat((sequence % 40) as usize);
            logs.append_own("a", sequence, &payload).unwrap();
            if in_flight && let Ok(done) = results.try_recv() {
                logs.complete_sync(done).unwrap();
                in_flight = false;
            }
            if !in_flight && let Some(job) = logs.begin_sync(Scope::All).unwrap() {
                jobs.send(job).unwrap();
                in_flight = true;
            }
        }
        if in_flight {
            logs.complete_sync(results.recv().unwrap()).unwrap();
        }
        drop(jobs);
    });
    support::sync(logs).unwrap();
}

#[test]
fn readers_follow_while_the_owner_appends_and_a_thread_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(LocalDisk::open(dir.path()).unwrap());
    let mut random = Random::new(1);
    let mut salt = || [random.next() as u8; 16];
    let (mut logs, _) = Logs::open(disk, support::tiny(), &mut salt).unwrap();
    logs.create("a").unwrap();
    let reader = logs.reader("a").unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            let (reader, stop) = (reader.clone(), &stop);
            scope.spawn(move || follow(&reader, stop));
        }
        let written = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| write(&mut logs)));
        stop.store(written.is_err(), Ordering::Relaxed);
        written.unwrap();
    });
    assert_eq!(logs.durable("a").unwrap(), RECORDS);
    logs.close().unwrap();
}
