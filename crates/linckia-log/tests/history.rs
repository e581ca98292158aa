//! Random histories of appends, syncs, crashes and restarts, against a list per origin. Checked
//! after every step: nothing that was reported durable is ever missing, nothing appears that was
//! not appended, groups are whole, reads end at the durable sequence, and the chain continues what
//! a mirror elsewhere holds.

use std::sync::Arc;

use linckia_log::{
    Batch, Error, Logs, MemoryDisk, Position, Record, Scope, SpareJob, SyncDone, SyncJob,
    chain_after, genesis, verify,
};
use proptest::prelude::*;

use crate::support::{self, Random};

#[derive(Debug, Clone)]
enum Op {
    Own(u16),
    Group(Vec<u16>),
    Mirror(u8),
    Flush,
    Begin(u8),
    Run,
    Complete,
    Mark,
    BeginSpare,
    CompleteSpare,
    Truncate(u8),
    Clock(u8),
    Small(u8),
    Crash(u64),
    CrashTwice(u64, u8),
    Restart,
    Close,
    FailWrite(u8),
    FailSync(u8),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0..600u16).prop_map(Op::Own),
        4 => prop::collection::vec(0..500u16, 1..5).prop_map(Op::Group),
        8 => (1..12u8).prop_map(Op::Mirror),
        4 => Just(Op::Flush),
        8 => (0..4u8).prop_map(Op::Begin),
        8 => Just(Op::Run),
        8 => Just(Op::Complete),
        2 => Just(Op::Mark),
        2 => Just(Op::BeginSpare),
        2 => Just(Op::CompleteSpare),
        1 => any::<u8>().prop_map(Op::Truncate),
        2 => (1..9u8).prop_map(Op::Clock),
        1 => any::<u8>().prop_map(Op::Small),
        3 => any::<u64>().prop_map(Op::Crash),
        1 => (any::<u64>(), 1..12u8).prop_map(|(seed, nth)| Op::CrashTwice(seed, nth)),
        1 => Just(Op::Restart),
        1 => Just(Op::Close),
        1 => (1..6u8).prop_map(Op::FailWrite),
        1 => (1..4u8).prop_map(Op::FailSync),
    ]
}

/// What one log should be.
struct Model {
    origin: &'static str,
    /// (payload, whether the group goes on), from sequence 1 on, held or truncated.
    records: Vec<(Vec<u8>, bool)>,
    durable: u64,
    /// Salts and chains that were read once; they must never change.
    seen: Vec<Option<Position>>,
}

impl Model {
    fn new(origin: &'static str) -> Self {
        Model { origin, records: Vec::new(), durable: 0, seen: Vec::new() }
    }

    fn tail(&self) -> u64 {
        self.records.len() as u64
    }

    /// After a reopening: what was found must be what was written, and all that was durable.
    fn adopt(&mut self, logs: &Logs) {
        let tail = logs.tail(self.origin).unwrap().sequence;
        assert!(tail >= self.durable, "{}: durable {} lost", self.origin, self.durable);
        assert!(tail <= self.tail(), "{}: {tail} was never appended", self.origin);
        self.records.truncate(tail as usize);
        self.seen.truncate(tail as usize);
        assert!(self.records.last().is_none_or(|last| !last.1), "a group was cut");
        self.durable = tail;
    }

    fn check(&mut self, logs: &Logs) {
        assert_eq!(logs.durable(self.origin).unwrap(), self.durable);
        let reader = logs.reader(self.origin).unwrap();
        let mut next = reader.first();
        let mut chain = (next == 1).then(|| genesis(self.origin));
        for batch in reader.batches(next, 1500, 9) {
            for record in batch.unwrap().iter() {
                let expected = &self.records[next as usize - 1];
                assert_eq!(record.sequence(), next);
                assert_eq!((record.payload(), record.more()), (&expected.0[..], expected.1));
                if let Some(before) = chain {
                    assert_eq!(record.chain(), chain_after(&before, &record.commitment()));
                }
                chain = Some(record.chain());
                self.remember(next, record.chain());
                next += 1;
            }
        }
        assert_eq!(next, self.durable + 1, "reads end at the durable sequence");
    }

    fn remember(&mut self, sequence: u64, chain: [u8; 16]) {
        let at = sequence as usize - 1;
        self.seen.resize(self.seen.len().max(at + 1), None);
        let known = self.seen[at].get_or_insert(Position { sequence, chain });
        assert_eq!(known.chain, chain, "a durable record changed");
    }
}

struct World {
    disk: Arc<MemoryDisk>,
    random: Random,
    logs: Option<Logs>,
    own: Model,
    mirror: Model,
    /// What the mirror's origin wrote.
    foreign: Batch,
    job: Option<SyncJob>,
    done: Option<SyncDone>,
    spare: Option<SpareJob>,
    clock: (u64, u64),
    /// What is known to be there, and what a failed write may have put there.
    small: (Option<u8>, Option<u8>),
}

fn foreign(random: &mut Random) -> Batch {
    let disk = Arc::new(MemoryDisk::new());
    let (mut logs, _) = support::open(&disk, random).unwrap();
    logs.create("peer").unwrap();
    for _ in 0..200 {
        let next = logs.tail("peer").unwrap().sequence + 1;
        let size = random.next() % 4 + 1;
        let group: Vec<Vec<u8>> =
            (0..size).map(|_| vec![random.next() as u8; (random.next() % 400) as usize]).collect();
        let group: Vec<&[u8]> = group.iter().map(|payload| &payload[..]).collect();
        logs.append_own_group("peer", next, &group).unwrap();
    }
    support::sync(&mut logs).unwrap();
    logs.read("peer", 1, u64::MAX, usize::MAX).unwrap()
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let disk = Arc::new(MemoryDisk::new());
        let foreign = foreign(&mut random);
        let mut world = World {
            disk,
            random,
            logs: None,
            own: Model::new("here"),
            mirror: Model::new("peer"),
            foreign,
            job: None,
            done: None,
            spare: None,
            clock: (0, 0),
            small: (None, None),
        };
        let (mut logs, _) = support::open(&world.disk, &mut world.random).unwrap();
        logs.create("here").unwrap();
        logs.create("peer").unwrap();
        world.logs = Some(logs);
        world
    }

    fn reopen(&mut self, crash: Option<u64>) {
        self.logs = None;
        (self.job, self.done, self.spare) = (None, None, None);
        match crash {
            Some(seed) => {
                let mut random = Random::new(seed);
                self.disk.crash(&mut || random.next());
            }
            None => {
                self.disk.fail_write(0);
                self.disk.fail_sync(0);
            }
        }
        assert!(verify(&*self.disk).unwrap().sound(), "what a crash leaves is not damage");
        let (logs, recovery) = support::open(&self.disk, &mut self.random).unwrap();
        assert!(recovery.clock >= self.clock.0 && recovery.clock <= self.clock.1);
        self.clock = (recovery.clock, recovery.clock);
        self.own.adopt(&logs);
        self.mirror.adopt(&logs);
        let small = logs.read_small("note").unwrap().map(|bytes| bytes[0]);
        assert!(small == self.small.0 || small == self.small.1, "{small:?}");
        self.small = (small, small);
        let report = verify(&*self.disk).unwrap();
        let files = report.origins.iter().flat_map(|origin| &origin.files);
        for file in files {
            assert!(file.bad.is_none() && !file.header_damaged, "opening repairs: {file:?}");
        }
        self.logs = Some(logs);
    }

    /// Recovery itself is interrupted, by a failed write or sync, and then by a second crash.
    fn crash_in_recovery(&mut self, seed: u64, nth: u64) {
        self.logs = None;
        (self.job, self.done, self.spare) = (None, None, None);
        let mut random = Random::new(seed);
        self.disk.crash(&mut || random.next());
        if seed & 1 == 0 {
            self.disk.fail_write(nth);
        } else {
            self.disk.fail_sync(nth);
        }
        match support::open(&self.disk, &mut self.random) {
            Ok(_) | Err(Error::Io { .. }) => {}
            Err(other) => panic!("recovery after a crash: {other}"),
        }
        self.reopen(Some(random.next()));
    }

    /// Runs one step. A failed one may only have failed because writing stopped.
    fn step(&mut self, op: &Op) {
        match self.attempt(op) {
            Ok(()) => {}
            Err(Error::Poisoned { .. }) => {
                let logs = self.logs.as_mut().unwrap();
                let again = logs.flush();
                assert!(matches!(again, Err(Error::Poisoned { .. })), "poison is final");
                self.check();
                let seed = self.random.next();
                self.reopen(Some(seed));
            }
            Err(other) => panic!("{op:?}: {other}"),
        }
        self.check();
    }

    fn check(&mut self) {
        let logs = self.logs.as_ref().unwrap();
        self.own.check(logs);
        self.mirror.check(logs);
        assert_eq!(logs.clock(), self.clock.0);
    }

    fn append(&mut self, lengths: &[u16]) -> Result<(), Error> {
        let payloads: Vec<Vec<u8>> = lengths
            .iter()
            .map(|length| vec![self.random.next() as u8; usize::from(*length)])
            .collect();
        let views: Vec<&[u8]> = payloads.iter().map(|payload| &payload[..]).collect();
        let first = self.own.tail() + 1;
        // Noted before: a write that fails may have reached the disk.
        let count = payloads.len();
        for (at, payload) in payloads.iter().enumerate() {
            self.own.records.push((payload.clone(), at + 1 < count));
        }
        self.logs.as_mut().unwrap().append_own_group("here", first, &views)
    }

    fn mirror(&mut self, count: u8) -> Result<(), Error> {
        for _ in 0..count {
            let next = self.mirror.tail() as usize;
            let Some(record) = self.foreign.iter().nth(next) else { break };
            let (record, _) = Record::parse(record.wire()).unwrap();
            self.mirror.records.push((record.payload().to_vec(), record.more()));
            self.logs.as_mut().unwrap().append_mirror("peer", &record)?;
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<(), Error> {
        let Some(done) = self.done.take() else { return Ok(()) };
        let logs = self.logs.as_mut().unwrap();
        for (origin, upto) in logs.complete_sync(done)? {
            let model = if &*origin == "here" { &mut self.own } else { &mut self.mirror };
            assert!(upto > model.durable && upto <= model.tail());
            model.durable = upto;
        }
        self.clock.0 = logs.clock();
        Ok(())
    }

    fn attempt(&mut self, op: &Op) -> Result<(), Error> {
        let logs = self.logs.as_mut().unwrap();
        match op {
            Op::Own(length) => return self.append(&[*length]),
            Op::Group(lengths) => return self.append(lengths),
            Op::Mirror(count) => return self.mirror(*count),
            Op::Complete => return self.complete(),
            Op::Flush => logs.flush()?,
            Op::Begin(scope) => {
                let scope = match scope {
                    0 => Scope::Own(&["here"]),
                    1 => Scope::Others(&["here"]),
                    _ => Scope::All,
                };
                if self.job.is_none() && self.done.is_none() {
                    self.job = logs.begin_sync(scope)?;
                }
            }
            Op::Run => {
                if let Some(job) = self.job.take() {
                    self.done = Some(job.run());
                }
            }
            Op::Mark => {
                logs.mark()?;
            }
            Op::BeginSpare => {
                if self.spare.is_none() {
                    self.spare = logs.begin_spare()?;
                }
            }
            Op::CompleteSpare => {
                if let Some(spare) = self.spare.take() {
                    logs.complete_spare(spare.run(|| ()))?;
                }
            }
            Op::Truncate(share) => {
                let below = self.own.durable * u64::from(*share) / 255;
                logs.truncate_below("here", below)?;
            }
            Op::Clock(step) => {
                self.clock.1 += u64::from(*step);
                logs.put_clock(self.clock.1)?;
            }
            Op::Small(value) => {
                self.small.1 = Some(*value);
                logs.write_small("note", &[*value])?;
                self.small.0 = Some(*value);
            }
            Op::Crash(seed) => self.reopen(Some(*seed)),
            Op::CrashTwice(seed, nth) => self.crash_in_recovery(*seed, u64::from(*nth)),
            Op::Restart => self.reopen(None),
            Op::Close => {
                if self.job.is_none() && self.done.is_none() {
                    self.logs.take().unwrap().close().or_else(|error| match error {
                        Error::Poisoned { .. } => Ok(()),
                        other => Err(other),
                    })?;
                    self.reopen(None);
                }
            }
            Op::FailWrite(nth) => self.disk.fail_write(u64::from(*nth)),
            Op::FailSync(nth) => self.disk.fail_sync(u64::from(*nth)),
        }
        Ok(())
    }
}

proptest! {
    // PROPTEST_CASES makes it longer.
    #[test]
    fn no_history_loses_or_invents_anything(
        seed in any::<u64>(),
        ops in prop::collection::vec(op(), 1..160),
    ) {
        let mut world = World::new(seed);
        for op in &ops {
            world.step(op);
        }
        world.reopen(Some(seed));
        world.check();
    }
}
