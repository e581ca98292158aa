//! The first failed write or sync, at every place where one can fail: writing ends, reading what is
//! durable goes on, and reopening finds everything that was ever reported durable.

use std::error::Error as _;
use std::sync::Arc;

use linckia_log::{Disk as _, Error, Logs, MemoryDisk, Position, Result, Scope, Settings};

use crate::support::{self, Random};

/// A run through every kind of write. Returns how much was reported durable.
fn run(logs: &mut Logs, durable: &mut u64) -> Result<()> {
    logs.create("a")?;
    for round in 0..12 {
        for _ in 0..4 {
            let next = logs.tail("a")?.sequence + 1;
            logs.append_own("a", next, &[next as u8; 300])?;
        }
        logs.put_clock(round + 1)?;
        logs.write_small("note", &[round as u8])?;
        if let Some(job) = logs.begin_spare()? {
            logs.complete_spare(job.run(|| ()))?;
        }
        if let Some(job) = logs.begin_sync(Scope::All)? {
            for (_, upto) in logs.complete_sync(job.run())? {
                *durable = upto;
            }
        }
        logs.mark()?;
        logs.truncate_below("a", 10)?;
    }
    Ok(())
}

fn check_poisoned(logs: &mut Logs, durable: u64) {
    let next = logs.tail("a").map_or(1, |tail| tail.sequence + 1);
    let refusals = [
        logs.append_own("a", next, b"x"),
        logs.append_own_group("a", next, &[b"x", b"y"]),
        logs.create("b"),
        logs.flush(),
        logs.begin_sync(Scope::All).map(|_| ()),
        logs.begin_spare().map(|_| ()),
        logs.mark().map(|_| ()),
        logs.put_clock(1000),
        logs.write_small("note", b"x"),
        logs.truncate_below("a", 1).map(|_| ()),
    ];
    for refusal in refusals {
        let error = refusal.expect_err("writing has ended");
        assert!(matches!(error, Error::Poisoned { .. }));
        let cause = error.source().expect("it keeps its cause");
        assert!(cause.source().expect("and that one its own").to_string().contains("injected"));
    }
    if logs.origins().count() > 0 {
        let reader = logs.reader("a").unwrap();
        let read = reader.read(reader.first(), u64::MAX, usize::MAX).unwrap();
        assert_eq!(read.last().map_or(0, |last| last.sequence()), durable);
    }
}

fn fail_at(arm: fn(&MemoryDisk, u64), nth: u64, kill: bool) -> bool {
    let disk = Arc::new(MemoryDisk::new());
    let mut random = Random::new(nth);
    let (mut logs, _) = support::open(&disk, &mut random).unwrap();
    arm(&disk, nth);
    let mut durable = 0;
    match run(&mut logs, &mut durable) {
        Ok(()) => return false,
        Err(Error::Poisoned { .. }) => {}
        Err(other) => panic!("at {nth}: {other}"),
    }
    check_poisoned(&mut logs, durable);
    drop(logs);
    if kill {
        disk.crash(&mut || random.next());
    }
    let (mut logs, _) = support::open(&disk, &mut random).unwrap();
    if durable > 0 {
        assert!(logs.durable("a").unwrap() >= durable, "at {nth}: lost what was durable");
    }
    // Whatever the failed call left in memory: what is promised from here on holds.
    if logs.create("a").is_err() {
        support::payloads(&logs, "a").unwrap();
    }
    let next = logs.tail("a").unwrap().sequence + 1;
    logs.append_own("a", next, b"more").unwrap();
    support::sync(&mut logs).unwrap();
    drop(logs);
    disk.crash(&mut || random.next());
    let (logs, _) = support::open(&disk, &mut random).unwrap();
    assert_eq!(logs.durable("a").unwrap(), next, "at {nth}: lost what was durable");
    support::payloads(&logs, "a").unwrap();
    true
}

/// A first record that the first segment has no room for, and others behind it.
fn grown(disk: &Arc<MemoryDisk>, random: &mut Random) -> Result<u64> {
    let settings = Settings {
        segment_bytes_first: 4 << 10,
        segment_bytes_max: 16 << 10,
        record_bytes_max: 6 << 10,
        buffer_bytes_max: 8 << 10,
        ..Settings::small()
    };
    let (mut logs, _) = support::open_with(disk, settings, random)?;
    if logs.origins().next().is_none() {
        logs.create("a")?;
    }
    for size in [5_000, 300, 5_000] {
        let next = logs.tail("a")?.sequence + 1;
        logs.append_own("a", next, &vec![next as u8; size])?;
        support::sync(&mut logs)?;
    }
    let durable = logs.durable("a")?;
    logs.truncate_below("a", durable)?;
    Ok(durable)
}

#[test]
fn a_first_segment_that_grows_is_whole_wherever_that_is_cut_off() {
    let run = |arm: fn(&MemoryDisk, u64), nth: u64, seed: u64| {
        let disk = Arc::new(MemoryDisk::new());
        let mut random = Random::new(seed);
        arm(&disk, nth);
        let failed = grown(&disk, &mut random).is_err();
        disk.crash(&mut || random.next());
        let durable = grown(&disk, &mut random).unwrap_or_else(|error| panic!("{nth}: {error}"));
        disk.crash(&mut || random.next());
        let again = grown(&disk, &mut random).unwrap_or_else(|error| panic!("{nth}: {error}"));
        assert_eq!(again, durable + 3, "at {nth}: lost what was durable");
        failed
    };
    for seed in 0..200 {
        for arm in [MemoryDisk::fail_write, MemoryDisk::fail_sync] {
            let places = (1..).take_while(|nth| run(arm, *nth, seed)).count();
            assert!(places > 8, "{places}");
        }
    }
}

#[test]
fn logs_that_there_was_no_room_to_create_are_not_there() {
    let disk = Arc::new(MemoryDisk::new());
    let mut random = Random::new(3);
    drop(support::open(&disk, &mut random).unwrap());
    disk.create_dir_all("logs/a").unwrap();
    for first in [1, 5] {
        disk.create(&format!("logs/a/{first:020}.segment")).unwrap();
    }
    let (mut logs, _) = support::open(&disk, &mut random).unwrap();
    assert_eq!(logs.origins().count(), 0);
    logs.create("a").unwrap();
}

#[test]
fn the_first_failed_write_ends_writing() {
    for kill in [false, true] {
        let places = (1..).take_while(|nth| fail_at(MemoryDisk::fail_write, *nth, kill)).count();
        assert!(places > 60, "{places}");
    }
}

#[test]
fn the_first_failed_sync_ends_writing() {
    for kill in [false, true] {
        let places = (1..).take_while(|nth| fail_at(MemoryDisk::fail_sync, *nth, kill)).count();
        assert!(places > 40, "{places}");
    }
}

#[test]
fn a_failed_job_makes_nothing_durable_ever() {
    let disk = Arc::new(MemoryDisk::new());
    let mut random = Random::new(1);
    let (mut logs, _) = support::open(&disk, &mut random).unwrap();
    logs.create("a").unwrap();
    logs.create("b").unwrap();
    logs.append_own("a", 1, b"one").unwrap();
    support::sync(&mut logs).unwrap();
    logs.append_own("a", 2, b"two").unwrap();
    logs.append_own("b", 1, b"one").unwrap();
    let bad = logs.begin_sync(Scope::Own(&["a"])).unwrap().unwrap();
    let good = logs.begin_sync(Scope::Others(&["a"])).unwrap().unwrap();
    disk.fail_sync(1);
    let bad = bad.run();
    let good = good.run();
    assert!(matches!(logs.complete_sync(bad), Err(Error::Poisoned { .. })));
    assert!(matches!(logs.complete_sync(good), Err(Error::Poisoned { .. })));
    assert_eq!((logs.durable("a").unwrap(), logs.durable("b").unwrap()), (1, 0));
    drop(logs);
    let (logs, _) = support::open(&Arc::new(disk.durable_copy()), &mut random).unwrap();
    assert_eq!(logs.durable("a").unwrap(), 1);
}

#[test]
fn no_number_of_bytes_of_a_torn_write_is_mistaken_for_a_record() {
    for cut in 0..400 {
        let disk = Arc::new(MemoryDisk::new());
        let mut random = Random::new(cut);
        let (mut logs, _) = support::open(&disk, &mut random).unwrap();
        logs.create("a").unwrap();
        logs.append_own("a", 1, b"one").unwrap();
        support::sync(&mut logs).unwrap();
        let payload = [7; 100];
        logs.append_own_group("a", 2, &[&payload, &payload]).unwrap();
        logs.flush().unwrap();
        drop(logs);
        // Draws: keep the clock's names and writes out; of the group keep so many bytes.
        let mut draws = [2, cut].into_iter();
        disk.crash(&mut || draws.next().unwrap_or(0));
        let (logs, recovery) = support::open(&disk, &mut random).unwrap();
        // The last four bytes are padding, zero as what stood there.
        let whole = cut % 337 >= 332;
        assert_eq!(logs.durable("a").unwrap(), if whole { 3 } else { 1 }, "cut {cut}");
        assert_eq!(recovery.origins[0].torn.is_some(), !whole && cut % 337 > 0, "cut {cut}");
    }
}

/// What a mirror of 40 records is after it was started anew behind 1,000, with a failure.
fn restart_failing_at(arm: fn(&MemoryDisk, u64), nth: u64, kill: bool) -> bool {
    let disk = Arc::new(MemoryDisk::new());
    let mut random = Random::new(nth);
    let (mut logs, _) = support::open(&disk, &mut random).unwrap();
    logs.create("a").unwrap();
    for sequence in 1..=40 {
        logs.append_own("a", sequence, &[sequence as u8; 300]).unwrap();
    }
    support::sync(&mut logs).unwrap();
    let position = Position { sequence: 1_000, chain: logs.tail("a").unwrap().chain };
    let backwards = Position { sequence: 40, ..position };
    assert!(matches!(logs.restart_after("a", backwards), Err(Error::OutOfOrder { .. })));
    arm(&disk, nth);
    let outcome = logs.restart_after("a", position);
    if outcome.is_ok() {
        assert_eq!(logs.tail("a").unwrap(), position);
        return false;
    }
    drop(logs);
    if kill {
        disk.crash(&mut || random.next());
    }
    let (mut logs, _) = support::open(&disk, &mut random).unwrap();
    let tail = logs.tail("a").unwrap();
    assert!(tail.sequence == 40 || tail == position, "at {nth}: {tail:?}");
    logs.append_own("a", tail.sequence + 1, b"more").unwrap();
    support::sync(&mut logs).unwrap();
    let left = support::payloads(&logs, "a").unwrap();
    assert_eq!(left.len(), if tail == position { 1 } else { 41 });
    let files = disk.files().into_iter().filter(|(path, _)| path.contains("logs/a/"));
    let length: u64 = files.map(|(_, length)| length).sum();
    assert_eq!(logs.usage().used, length, "at {nth}: nothing is left behind uncounted");
    true
}

#[test]
fn a_mirror_that_is_started_anew_is_the_one_before_or_the_one_after() {
    for kill in [false, true] {
        for arm in [MemoryDisk::fail_write, MemoryDisk::fail_sync] {
            let fails = |nth: &u64| restart_failing_at(arm, *nth, kill);
            assert!((1..).take_while(fails).count() > 2);
        }
    }
}
