//! What happens at the bounds: of disk by settings, of the disk itself, of retention.

use std::sync::Arc;

use linckia_log::{Again, Disk, Error, MemoryDisk, Record, Settings, Whose};

use crate::support::{self, Random};

fn bounded() -> Settings {
    Settings { bytes_max: 64 * 1024, mirror_reserve_bytes: 16 * 1024, ..support::tiny() }
}

#[test]
fn own_appends_are_refused_at_the_bound_and_mirrors_later() {
    let disk = Arc::new(MemoryDisk::new());
    let mut random = Random::new(3);
    let (mut logs, _) = support::open_with(&disk, bounded(), &mut random).unwrap();
    let (mut peer, _) = support::open(&Arc::new(MemoryDisk::new()), &mut random).unwrap();
    for logs in [&mut logs, &mut peer] {
        logs.create("peer").unwrap();
    }
    logs.create("here").unwrap();
    assert!(!logs.usage().alarm);
    let payload = [1; 500];
    let mut refused = None;
    for sequence in 1..200 {
        match logs.append_own("here", sequence, &payload) {
            Ok(()) => {}
            Err(error) => {
                refused = Some((sequence, error));
                break;
            }
        }
        let usage = logs.usage();
        assert_eq!(usage.alarm, usage.used >= usage.bound / 2);
    }
    let (sequence, error) = refused.expect("the bound is reached");
    assert!(matches!(error, Error::Full { bound: 65536, .. }));
    assert_eq!((error.whose(), error.again()), (Whose::Us, Again::Later));
    assert!(logs.usage().used <= 64 * 1024);
    assert!(logs.poisoned().is_none(), "a refusal changes nothing");
    assert_eq!(logs.tail("here").unwrap().sequence, sequence - 1);
    support::sync(&mut logs).unwrap();

    for sequence in 1..60 {
        peer.append_own("peer", sequence, &payload).unwrap();
    }
    support::sync(&mut peer).unwrap();
    let batch = peer.read("peer", 1, u64::MAX, usize::MAX).unwrap();
    let mut taken = 0;
    for record in batch.iter() {
        match logs.append_mirror("peer", &Record::parse(record.wire()).unwrap().0) {
            Ok(()) => taken += 1,
            Err(Error::Full { bound, .. }) => {
                assert_eq!(bound, 80 * 1024);
                break;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(taken > 20 && taken < 59, "{taken} fit the reserve");
    assert!(logs.usage().used <= 80 * 1024);

    logs.truncate_below("here", sequence).unwrap();
    logs.append_own("here", sequence, &payload).expect("truncation makes room");
    support::sync(&mut logs).unwrap();
    assert_eq!(logs.durable("here").unwrap(), sequence);
}

#[test]
fn a_group_is_refused_as_a_whole() {
    let disk = Arc::new(MemoryDisk::new());
    let settings = Settings { bytes_max: 8192, ..bounded() };
    let (mut logs, _) = support::open_with(&disk, settings, &mut Random::new(3)).unwrap();
    logs.create("here").unwrap();
    let payload = [1; 700];
    logs.append_own_group("here", 1, &[&payload, &payload]).unwrap();
    logs.append_own_group("here", 3, &[&payload, &payload]).unwrap();
    let refused = logs.append_own_group("here", 5, &[&payload, &payload]);
    assert!(matches!(refused, Err(Error::Full { .. })));
    assert_eq!(logs.tail("here").unwrap().sequence, 4);
    let refused = logs.append_own_group("here", 5, &[&payload[..]; 9]);
    assert!(matches!(refused, Err(Error::TooLarge { .. })));
    logs.append_own("here", 5, &payload).expect("what fits is taken");
    assert!(logs.append_own_group("here", 6, &[]).is_ok(), "nothing is nothing");
}

#[test]
fn a_disk_without_room_refuses_and_recovers() {
    let disk = Arc::new(MemoryDisk::new());
    let (mut logs, _) = support::open(&disk, &mut Random::new(3)).unwrap();
    logs.create("here").unwrap();
    disk.set_room(Some(2000));
    let mut sequence = 1;
    let refused = loop {
        match logs.append_own("here", sequence, &[2; 900]) {
            Ok(()) => sequence += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::NoSpace { .. }));
    assert!(matches!(logs.create("other"), Err(Error::NoSpace { .. })));
    assert!(matches!(logs.write_small("note", &[0; 5000]), Err(Error::NoSpace { .. })));
    support::sync(&mut logs).unwrap();
    assert_eq!(logs.durable("here").unwrap(), sequence - 1);
    disk.set_room(None);
    logs.append_own("here", sequence, &[2; 900]).unwrap();
    support::sync(&mut logs).unwrap();
    drop(logs);
    let (logs, recovery) = support::open(&disk, &mut Random::new(4)).unwrap();
    assert_eq!(logs.durable("here").unwrap(), sequence);
    assert_eq!(recovery.origins[0].torn, None);
}

#[test]
fn a_spare_is_used_and_counted() {
    let disk = Arc::new(MemoryDisk::new());
    let (mut logs, _) = support::open(&disk, &mut Random::new(3)).unwrap();
    logs.create("here").unwrap();
    assert!(logs.begin_spare().unwrap().is_none(), "the first segment is hardly used");
    for sequence in 1..=3 {
        logs.append_own("here", sequence, &[2; 700]).unwrap();
    }
    logs.flush().unwrap();
    let job = logs.begin_spare().unwrap().expect("half of it is used");
    let used = logs.usage().used;
    logs.complete_spare(job.run(|| ())).unwrap();
    let reopened = Arc::new(disk.durable_copy());
    assert!(reopened.create("logs/here/spare").is_ok());
    support::open(&reopened, &mut Random::new(4)).unwrap();
    assert!(!reopened.files().iter().any(|file| file.0.ends_with("spare")), "opening drops it");
    assert!(logs.begin_spare().unwrap().is_none(), "one is enough");
    for sequence in 4..=8 {
        logs.append_own("here", sequence, &[2; 700]).unwrap();
    }
    assert_eq!(logs.usage().used, used, "rolling over took the spare");
    support::sync(&mut logs).unwrap();
    drop(logs);
    let (logs, _) = support::open(&disk, &mut Random::new(4)).unwrap();
    assert_eq!(logs.durable("here").unwrap(), 8);
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let refused = [
        Settings { segment_bytes_first: 1024, ..support::tiny() },
        Settings { segment_bytes_max: 2048, ..support::tiny() },
        Settings { segment_bytes_max: 2 << 30, ..support::tiny() },
        Settings { segment_bytes_first: 4097, ..support::tiny() },
        Settings { record_bytes_max: 8192, ..support::tiny() },
        Settings { record_bytes_max: u64::MAX, ..support::tiny() },
        Settings { bytes_max: u64::MAX, ..support::tiny() },
    ];
    for settings in refused {
        let disk = Arc::new(MemoryDisk::new());
        let opened = support::open_with(&disk, settings.clone(), &mut Random::new(1));
        assert!(matches!(opened, Err(Error::Settings { .. })), "{settings:?}");
    }
    for settings in [Settings::default(), Settings::small()] {
        let disk = Arc::new(MemoryDisk::new());
        support::open_with(&disk, settings, &mut Random::new(1)).unwrap();
    }
}
