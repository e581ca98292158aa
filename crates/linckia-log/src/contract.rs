//! What every disk and every log on it must do, as functions that panic where it is not so. Run by
//! the tests over the memory disk and the real one; whoever adds a disk runs them too. What always
//! holds: each check begins in an empty directory, and says in its name what is promised.

use std::sync::Arc;

use crate::error::Error;
use crate::identity::Identity;
use crate::logs::sync::Scope;
use crate::logs::{Logs, Position};
use crate::port::Disk;
use crate::record::Record;
use crate::settings::Settings;

/// Gives the disk of one directory, anew at each call; the one before has been dropped.
pub type Reopen<'a> = &'a mut dyn FnMut() -> Arc<dyn Disk>;

/// Checks the port itself, in an empty directory.
///
/// # Panics
/// Where the disk does not keep the contract.
pub fn check_disk(disk: &dyn Disk) {
    assert!(disk.list("a").is_err(), "a directory that is not there cannot be listed");
    disk.create_dir_all("a/b").expect("directories are made with their parents");
    disk.create_dir_all("a/b").expect("making a directory again is no error");
    assert_eq!(disk.list("a").expect("it is there"), ["b"]);
    assert!(disk.open("a/b/one").is_err(), "a file that is not there cannot be opened");

    let one = disk.create("a/b/one").expect("a file is made");
    assert!(one.is_empty().expect("it has a length"));
    one.write_at(3, b"abc").expect("writing beyond the end extends");
    one.write_at(0, b"xyz").expect("writing within replaces");
    let mut bytes = [9; 8];
    assert_eq!(one.read_at(0, &mut bytes).expect("it reads"), 6, "only the end is short");
    assert_eq!(&bytes, b"xyzabc\x09\x09");
    assert_eq!(one.read_at(6, &mut bytes).expect("it reads"), 0);
    assert_eq!(one.read_at(60, &mut bytes).expect("it reads"), 0);
    one.set_len(8).expect("the length is set");
    assert_eq!(one.read_at(5, &mut bytes).expect("it reads"), 3);
    assert_eq!(&bytes[..3], b"c\0\0", "what set_len adds is zero");
    one.sync_data().expect("it syncs");

    let two = disk.create("a/b/two").expect("a file is made");
    two.write_at(0, b"two").expect("it writes");
    disk.rename("a/b/two", "a/b/one").expect("renaming replaces");
    assert_eq!(disk.list("a/b").expect("it is there"), ["one"]);
    let found = disk.open("a/b/one").expect("it is there");
    assert_eq!(found.len().expect("it has a length"), 3);
    assert_eq!(one.len().expect("a replaced file keeps working"), 8);
    disk.remove("a/b/one").expect("it is removed");
    assert!(disk.remove("a/b/one").is_err(), "removing what is not there is an error");
    assert_eq!(two.read_at(0, &mut bytes).expect("a removed file keeps working"), 3);
    for dir in ["a/b", "a", ""] {
        disk.sync_dir(dir).expect("directories sync");
    }
    let again = disk.create("a/b/two").expect("a file is made");
    again.write_at(0, b"long").expect("it writes");
    let emptied = disk.create("a/b/two").expect("it is made again");
    assert!(emptied.is_empty().expect("it has a length"), "creating empties");
}

/// Runs one check in an empty directory.
pub type InEmpty<'a> = &'a mut dyn FnMut(fn(Reopen<'_>));

/// Checks the logs on a disk.
///
/// # Panics
/// Where the logs do not keep the contract.
pub fn check_logs(in_empty: InEmpty<'_>) {
    let checks: [fn(Reopen<'_>); 8] = [
        nothing_is_visible_before_it_is_durable,
        appends_go_on_while_a_job_is_in_flight,
        sequences_are_gapless,
        what_was_durable_is_there_after_reopening,
        a_mirror_is_the_same_log_and_refuses_another,
        reads_keep_their_limits_over_segments,
        retention_removes_whole_segments_from_the_front,
        clock_and_small_files_are_durable_and_whole,
    ];
    for check in checks {
        in_empty(check);
    }
}

fn settings() -> Settings {
    Settings {
        segment_bytes_first: 4096,
        segment_bytes_max: 16 * 1024,
        record_bytes_max: 8 * 1024,
        buffer_bytes_max: 4096,
        bytes_max: 1 << 20,
        mirror_reserve_bytes: 1 << 18,
    }
}

fn open(reopen: &mut dyn FnMut() -> Arc<dyn Disk>) -> Logs {
    let mut salt = 0;
    let mut fresh_salt = || {
        salt += 1;
        [salt; 16]
    };
    Logs::open(reopen(), settings(), &mut fresh_salt).expect("the logs open").0
}

fn sync(logs: &mut Logs) {
    if let Some(job) = logs.begin_sync(Scope::All).expect("a sync begins") {
        logs.complete_sync(job.run()).expect("the sync completes");
    }
}

fn payload(sequence: u64) -> Vec<u8> {
    let length = (sequence * 37 % 300) as usize;
    vec![sequence as u8; length]
}

fn fill(logs: &mut Logs, origin: &str, upto: u64) {
    let from = logs.tail(origin).expect("it exists").sequence + 1;
    for sequence in from..=upto {
        logs.append_own(origin, sequence, &payload(sequence)).expect("it is appended");
    }
    sync(logs);
}

fn expect_payloads(logs: &Logs, origin: &str, from: u64, upto: u64) {
    let mut next = from;
    for batch in logs.reader(origin).expect("it exists").batches(from, 2000, 50) {
        for record in batch.expect("it reads").iter() {
            assert_eq!(record.sequence(), next);
            assert_eq!(record.payload(), payload(next));
            next += 1;
        }
    }
    assert_eq!(next, upto + 1, "everything durable is read and nothing else");
}

fn nothing_is_visible_before_it_is_durable(reopen: Reopen<'_>) {
    let mut logs = open(reopen);
    logs.create("a").expect("it is created");
    assert!(logs.begin_sync(Scope::All).expect("nothing failed").is_none(), "nothing to do");
    logs.append_own("a", 1, b"one").expect("it is appended");
    assert!(logs.read("a", 1, 1000, 10).expect("it reads").is_empty(), "appended");
    logs.flush().expect("it flushes");
    assert!(logs.read("a", 1, 1000, 10).expect("it reads").is_empty(), "flushed");
    let job = logs.begin_sync(Scope::All).expect("nothing failed").expect("there is work");
    let done = job.run();
    assert!(logs.read("a", 1, 1000, 10).expect("it reads").is_empty(), "synced, not completed");
    let advanced = logs.complete_sync(done).expect("it completes");
    assert_eq!(advanced, [(Arc::from("a"), 1)]);
    assert_eq!(logs.durable("a").expect("it exists"), 1);
    let batch = logs.read("a", 1, 1000, 10).expect("it reads");
    assert_eq!(batch.first().expect("it is visible").payload(), b"one");
}

fn appends_go_on_while_a_job_is_in_flight(reopen: Reopen<'_>) {
    let mut logs = open(reopen);
    logs.create("a").expect("it is created");
    logs.create("b").expect("it is created");
    logs.append_own("a", 1, b"one").expect("it is appended");
    logs.append_own("b", 1, b"one").expect("it is appended");
    let own = logs.begin_sync(Scope::Own(&["a"])).expect("nothing failed").expect("there is work");
    for sequence in 2..200 {
        logs.append_own("a", sequence, &payload(sequence)).expect("it is appended");
    }
    assert!(logs.begin_sync(Scope::Own(&["a"])).expect("nothing failed").is_none(), "it waits");
    let others = logs.begin_sync(Scope::Others(&["a"])).expect("nothing failed").expect("work");
    assert_eq!(logs.complete_sync(others.run()).expect("completes"), [(Arc::from("b"), 1)]);
    assert_eq!(logs.complete_sync(own.run()).expect("completes"), [(Arc::from("a"), 1)]);
    sync(&mut logs);
    assert_eq!(logs.durable("a").expect("it exists"), 199);
    expect_payloads(&logs, "a", 2, 199);
}

fn sequences_are_gapless(reopen: Reopen<'_>) {
    let mut logs = open(reopen);
    logs.create("a").expect("it is created");
    assert!(matches!(logs.create("a"), Err(Error::OriginExists { .. })));
    assert!(matches!(logs.create("a/b"), Err(Error::BadName { .. })));
    assert!(matches!(logs.append_own("b", 1, b""), Err(Error::UnknownOrigin { .. })));
    for found in [0, 2] {
        let refused = logs.append_own("a", found, b"");
        assert!(matches!(refused, Err(Error::OutOfOrder { expected: 1, .. })));
    }
    logs.append_own("a", 1, b"").expect("an empty payload is one");
    assert!(matches!(logs.append_own("a", 1, b""), Err(Error::OutOfOrder { expected: 2, .. })));
    let large = vec![0; 8 * 1024 + 1];
    assert!(matches!(logs.append_own("a", 2, &large), Err(Error::TooLarge { .. })));
    logs.append_own_group("a", 2, &[&large[1..], b"two", b"three"]).expect("a group fits");
    assert_eq!(logs.tail("a").expect("it exists").sequence, 4);
    sync(&mut logs);
    let batch = logs.read("a", 1, 1 << 20, 100).expect("it reads");
    let more: Vec<bool> = batch.iter().map(|record| record.more()).collect();
    assert_eq!(more, [false, true, true, false]);
}

fn what_was_durable_is_there_after_reopening(reopen: Reopen<'_>) {
    let mut logs = open(reopen);
    logs.create("a").expect("it is created");
    fill(&mut logs, "a", 250);
    let tail = logs.tail("a").expect("it exists");
    drop(logs);
    for _ in 0..2 {
        let logs = open(reopen);
        assert_eq!(logs.tail("a").expect("it exists"), tail);
        assert_eq!(logs.durable("a").expect("it exists"), 250);
        expect_payloads(&logs, "a", 1, 250);
        logs.close().expect("it closes");
    }
    let mut logs = open(reopen);
    fill(&mut logs, "a", 300);
    drop(logs);
    expect_payloads(&open(reopen), "a", 1, 300);
}

fn a_mirror_is_the_same_log_and_refuses_another(reopen: Reopen<'_>) {
    let mut logs = open(reopen);
    let mut second = 100;
    let other: Arc<dyn Disk> = Arc::new(crate::MemoryDisk::new());
    let mut salts = || {
        second += 1;
        [second; 16]
    };
    let (mut source, _) = Logs::open(other, settings(), &mut salts).expect("the logs open");
    source.create("a").expect("it is created");
    fill(&mut source, "a", 120);
    logs.create("a").expect("it is created");
    let mut next = 1;
    for batch in source.reader("a").expect("it exists").batches(1, 3000, 64) {
        for record in batch.expect("it reads").iter() {
            let (parsed, rest) = Record::parse(record.wire()).expect("it parses");
            assert!(rest.is_empty());
            if next == 50 {
                refuse_changed(&mut logs, record.wire());
            }
            logs.append_mirror("a", &parsed).expect("it continues the chain");
            next += 1;
        }
    }
    sync(&mut logs);
    let reader = logs.reader("a").expect("it exists");
    for sequence in [0, 1, 77, 120] {
        let chain = source.reader("a").expect("it exists").chain_at(sequence).expect("it reads");
        assert_eq!(reader.chain_at(sequence).expect("it reads"), chain);
    }
    expect_payloads(&logs, "a", 1, 120);

    let position = Position { sequence: 60, chain: reader.chain_at(60).expect("it reads") };
    drop((reader, logs));
    let mut logs = open(reopen);
    logs.create_after("later", position).expect("it is created");
    let batch = source.read("a", 61, 1 << 20, 10).expect("it reads");
    for record in batch.iter() {
        logs.append_mirror("later", &record).expect("it continues the chain");
    }
    sync(&mut logs);
    assert!(matches!(logs.read("later", 60, 1, 1), Err(Error::Truncated { first: 61, .. })));
    drop(logs);
    expect_payloads(&open(reopen), "later", 61, 70);
}

/// Every byte of a foreign record matters.
fn refuse_changed(logs: &mut Logs, wire: &[u8]) {
    for at in 0..wire.len() {
        let mut changed = wire.to_vec();
        changed[at] ^= 4;
        let refused = match Record::parse(&changed) {
            Ok((record, rest)) => !rest.is_empty() || logs.append_mirror("a", &record).is_err(),
            Err(_) => true,
        };
        assert!(refused, "byte {at} of a foreign record was changed unnoticed");
    }
}

fn reads_keep_their_limits_over_segments(reopen: Reopen<'_>) {
    let mut logs = open(reopen);
    logs.create("a").expect("it is created");
    fill(&mut logs, "a", 400);
    drop(logs);
    let logs = open(reopen);
    for from in 1..=400 {
        let batch = logs.read("a", from, 1, 1).expect("it reads");
        assert_eq!(batch.len(), 1, "at least one, whatever the limits");
        assert_eq!(batch.first().expect("one").sequence(), from);
        let batch = logs.read("a", from, 700, 5).expect("it reads");
        assert!(batch.len() <= 5 && (batch.wire_bytes() <= 700 || batch.len() == 1));
        let full = batch.len() == 5 || from + batch.len() as u64 > 400;
        let next = from + batch.len() as u64;
        let larger = batch.wire_bytes() + 48 + payload(next).len() as u64 > 700;
        assert!(full || larger, "a batch is filled as far as its limits go");
        assert_eq!(batch.last().expect("one").sequence(), next - 1);
    }
    assert!(logs.read("a", 401, 1000, 10).expect("it reads").is_empty());
    assert!(logs.read("a", u64::MAX, 1000, 10).expect("it reads").is_empty());
    assert_eq!(logs.read("a", 0, u64::MAX, usize::MAX).expect("it reads").len(), 400);
}

fn retention_removes_whole_segments_from_the_front(reopen: Reopen<'_>) {
    let mut logs = open(reopen);
    logs.create("a").expect("it is created");
    fill(&mut logs, "a", 400);
    let reader = logs.reader("a").expect("it exists");
    let used = logs.usage().used;
    let freed = logs.truncate_below("a", 300).expect("it truncates");
    assert!(freed > 0 && logs.usage().used == used - freed);
    let first = reader.first();
    assert!(first > 1 && first <= 300, "no record from the given sequence on is removed");
    assert!(matches!(reader.read(first - 1, 1, 1), Err(Error::Truncated { .. })));
    expect_payloads(&logs, "a", first, 400);
    drop((reader, logs));
    let mut logs = open(reopen);
    assert_eq!(logs.reader("a").expect("it exists").first(), first);
    assert_eq!(logs.usage().used, used - freed);
    logs.truncate_below("a", u64::MAX).expect("it truncates");
    fill(&mut logs, "a", 410);
    expect_payloads(&logs, "a", 400, 410);
}

fn clock_and_small_files_are_durable_and_whole(reopen: Reopen<'_>) {
    let mut logs = open(reopen);
    assert_eq!(logs.clock(), 0);
    logs.put_clock(70).expect("it is taken");
    logs.put_clock(50).expect("a lower one is ignored");
    assert!(logs.begin_sync(Scope::Others(&[])).expect("nothing failed").is_none());
    let job = logs.begin_sync(Scope::Own(&[])).expect("nothing failed").expect("there is work");
    assert_eq!(logs.clock(), 0, "not durable yet");
    logs.put_clock(90).expect("it is taken");
    logs.complete_sync(job.run()).expect("it completes");
    assert_eq!(logs.clock(), 70);
    sync(&mut logs);
    assert_eq!(logs.clock(), 90);

    assert_eq!(logs.identity().expect("it reads"), None);
    let identity = Identity { region: "eu".to_owned(), incarnation: 2, created_ms: 5 };
    logs.write_identity(&identity).expect("it writes");
    logs.write_small("note", b"first").expect("it writes");
    logs.write_small("note", b"2nd").expect("it replaces");
    assert!(matches!(logs.write_small("../note", b""), Err(Error::BadName { .. })));
    drop(logs);
    let logs = open(reopen);
    assert_eq!(logs.clock(), 90);
    assert_eq!(logs.identity().expect("it reads"), Some(identity));
    assert_eq!(logs.read_small("note").expect("it reads").as_deref(), Some(&b"2nd"[..]));
    assert_eq!(logs.read_small("other").expect("it reads"), None);
}
