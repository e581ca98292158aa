//! The region with its log and store: what the binary and the simulator drive.
//!
//! An input goes to the head, the head's steps are executed here, in order, and what is for the
//! outside comes back. Syncing is the driver's: it takes a [`SyncJob`], runs it on some thread or
//! at some later moment, and hands the result in as an input.

use std::collections::VecDeque;
use std::sync::Arc;

use linckia_apply::{Apply, Pages, Query};
use linckia_log::{Logs, Record, Scope, SpareJob, SyncDone, SyncJob, Usage};
use linckia_model::{
    Clock, Dot, Event, Fault, Hlc, Now, Origin, RegionName, Vector, decode_event, encode_event,
};
use linckia_store::Store;

use crate::error::{Error, Result};
use crate::input::{Alarm, Input, Output};
use crate::keep::{KeepDone, KeepJob};
use crate::region::{Region, RegionSettings, Rooms, Step};
use crate::rooms::Durable;
use crate::view::Status;
use crate::write::Room;

/// Which logs a sync covers: clients wait for the one, mirrors may linger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SyncKind {
    Own,
    Mirrors,
}

/// How many times recovery may go round before it is sure not to end: events wait for events that
/// are not here, which is no error.
const RECOVERY_ROUNDS_MAX: usize = 1 << 20;

/// Logs that nothing became durable in for so long are idle, in milliseconds.
const IDLE_MILLISECONDS: u64 = 1_000;

/// A query that waits for its rows.
struct Reader {
    ticket: u64,
    query: Query,
    asked_at: Vector,
}

/// A region on its disk.
pub struct Machine {
    region: Region,
    logs: Logs,
    store: Arc<dyn Store>,
    pages: Pages,
    /// Queries that wait for the store to reach the vector applied when they were asked.
    readers: VecDeque<Reader>,
    keep_in_flight: bool,
    segment_bytes: u64,
    /// Each kind of sync has at most one job in flight.
    in_flight: [bool; 2],
    own_dirty: bool,
    /// When the first record since the last sync of the mirrors was appended.
    mirrors_dirty_since: Option<u64>,
    half_full_told: bool,
    spare_in_flight: bool,
    /// Durable events when last looked at, since when there are so many, and whether it was marked.
    marked: (u64, u64, bool),
    /// Why a sync could not begin: told with the next input.
    failure: Option<String>,
}

impl Machine {
    /// Recovers: the store is brought up to the log as far as the deps allow.
    ///
    /// # Errors
    /// What the log or the store says, or that they do not belong together.
    pub fn open(
        settings: RegionSettings,
        mut logs: Logs,
        store: Arc<dyn Store>,
        segment_bytes: u64,
        now: Now,
    ) -> Result<Self> {
        if !logs.origins().any(|origin| origin == settings.origin.as_str()) {
            logs.create(settings.origin.as_str())?;
        }
        let durable = durable(&logs)?;
        let apply = Apply::open(
            settings.apply,
            settings.name.clone(),
            settings.members.clone(),
            store.as_ref(),
        )?;
        for (origin, applied) in apply.applied().iter() {
            let durable = durable.get(origin);
            if durable < applied {
                return Err(Error::StoreAhead { origin: origin.to_string(), applied, durable });
            }
        }
        let mut clock = Clock::new(settings.clock, Hlc::from_bits(logs.clock()));
        if settings.fault == Some(Fault::ClampWhole) {
            clock.plant_clamp_whole();
        }
        for (origin, last) in durable.iter() {
            let own = *origin == settings.origin;
            let last = if own { last } else { apply.applied().get(origin) };
            if let Some(event) = event_at(&logs, origin, last)? {
                clock.observe(event.hlc);
            }
        }
        let mut region = Region::new(settings, clock, apply, &logs);
        region.known = durable.clone();
        region.durable = durable;
        let mut machine = Self {
            region,
            logs,
            store,
            pages: Pages::default(),
            readers: VecDeque::new(),
            keep_in_flight: false,
            segment_bytes,
            in_flight: [false; 2],
            own_dirty: false,
            mirrors_dirty_since: None,
            half_full_told: false,
            spare_in_flight: false,
            marked: (0, 0, false),
            failure: None,
        };
        machine.recover(now)?;
        Ok(machine)
    }

    fn recover(&mut self, now: Now) -> Result<()> {
        for _ in 0..RECOVERY_ROUNDS_MAX {
            let before = self.region.applied().total();
            let mut steps = Vec::new();
            let rooms = Rooms { logs: &self.logs, view: self.store.as_ref() };
            self.region.advance(now, rooms, &mut steps)?;
            self.execute(now, steps, &mut Vec::new())?;
            if let Some(job) = self.begin_keep(now) {
                self.kept(job.run(), &mut Vec::new())?;
            }
            if self.region.applied().total() == before {
                return Ok(());
            }
        }
        Ok(())
    }

    pub fn region(&self) -> &Region {
        &self.region
    }

    /// The store, for the simulator's judge.
    pub fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    /// The logs, for whoever reads them from other threads.
    pub fn logs(&self) -> &Logs {
        &self.logs
    }

    pub fn usage(&self) -> Usage {
        self.logs.usage()
    }

    /// True if a tick would find work at once.
    pub fn more(&self, now: Now) -> bool {
        self.region.more || self.region.sends(now)
    }

    /// Takes an input; answers what is for the outside.
    ///
    /// # Errors
    /// The store's: the region must stop. The log's failures end writing, and are an alarm.
    pub fn handle(&mut self, now: Now, input: Input) -> Result<Vec<Output>> {
        let mut outputs = Vec::new();
        self.handle_into(now, input, &mut outputs)?;
        Ok(outputs)
    }

    /// [`Machine::handle`] into a buffer of the caller's.
    ///
    /// # Errors
    /// As [`Machine::handle`].
    pub fn handle_into(&mut self, now: Now, input: Input, outputs: &mut Vec<Output>) -> Result<()> {
        let mut steps = Vec::new();
        if let Some(reason) = self.failure.take() {
            self.region.poison(reason, &mut steps);
        }
        let rooms = Rooms { logs: &self.logs, view: self.store.as_ref() };
        match input {
            Input::Write { ticket, write } => {
                let room = Room { usage: self.logs.usage(), segment_bytes: self.segment_bytes };
                self.region.write(now, ticket, write, room, rooms, &mut steps)?;
            }
            Input::Read { ticket, query } => self.ask(ticket, query, outputs)?,
            Input::Kept { done } => {
                self.kept(done, outputs)?;
                // What waited for room can be applied now.
                let rooms = Rooms { logs: &self.logs, view: self.store.as_ref() };
                self.region.advance(now, rooms, &mut steps)?;
            }
            Input::Opened { peer, role } => self.region.opened(now, &peer, role, &mut steps),
            Input::Closed { peer, role } => self.region.closed(&peer, role),
            Input::Received { peer, role, frame } => {
                let records = self.region.received(now, &peer, role, frame, rooms, &mut steps);
                if let Some((origin, bytes)) = records {
                    self.mirror(now, &peer, &origin, &bytes, &mut steps);
                }
            }
            Input::Synced { kind, done } => self.synced(now, kind, done, &mut steps)?,
            Input::Spared { done } => {
                // Without a spare the append that rolls over makes its own: no failure yet.
                self.spare_in_flight = false;
                drop(self.logs.complete_spare(done));
            }
            Input::Tick => {
                self.region.tick(now, rooms, &mut steps)?;
                self.watch_disk(&mut steps);
                self.mark_when_idle(now);
            }
        }
        self.execute(now, steps, outputs)
    }

    fn execute(&mut self, now: Now, steps: Vec<Step>, outputs: &mut Vec<Output>) -> Result<()> {
        for step in steps {
            match step {
                Step::Out(output) => outputs.push(output),
                Step::Clock(hlc) => {
                    self.own_dirty = true;
                    if let Err(error) = self.logs.put_clock(hlc) {
                        self.poison(now, &error, outputs)?;
                    }
                }
                Step::Append(events) => {
                    if let Err(error) = self.append(events) {
                        self.poison(now, &error, outputs)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn append(&mut self, events: Vec<Arc<Event>>) -> linckia_log::Result<()> {
        let payloads: Vec<Vec<u8>> = events.iter().map(|event| encode_event(event)).collect();
        let payloads: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        let Some(first) = events.first() else { return Ok(()) };
        self.own_dirty = true;
        self.logs.append_own_group(first.dot.origin.as_str(), first.dot.sequence, &payloads)?;
        events.into_iter().for_each(|event| self.region.appended(event));
        Ok(())
    }

    fn poison(
        &mut self,
        now: Now,
        error: &linckia_log::Error,
        outputs: &mut Vec<Output>,
    ) -> Result<()> {
        let mut steps = Vec::new();
        self.region.poison(chain_text(error), &mut steps);
        self.execute(now, steps, outputs)
    }

    /// Appends a peer's records to their mirror, as far as they continue it.
    fn mirror(
        &mut self,
        now: Now,
        peer: &RegionName,
        origin: &Origin,
        bytes: &[u8],
        steps: &mut Vec<Step>,
    ) {
        if let Err(error) = self.try_mirror(now, origin, bytes) {
            let peer = peer.clone();
            let detail = chain_text(&error);
            let alarm = match error {
                linckia_log::Error::OutOfOrder { .. } => None,
                linckia_log::Error::ChainBroken { .. } => {
                    Some(Alarm::ChainBroken { peer: peer.clone(), detail })
                }
                linckia_log::Error::Full { .. } | linckia_log::Error::NoSpace { .. } => {
                    Some(Alarm::MirrorFull { peer: peer.clone(), detail })
                }
                linckia_log::Error::Poisoned { .. } | linckia_log::Error::Io { .. } => {
                    self.region.poison(detail, steps);
                    return;
                }
                _ => Some(Alarm::Malformed { peer: peer.clone(), detail }),
            };
            self.region.mirror_refused(now, &peer, alarm, steps);
        }
    }

    fn try_mirror(&mut self, now: Now, origin: &Origin, bytes: &[u8]) -> linckia_log::Result<()> {
        let name = origin.as_str();
        if !self.logs.origins().any(|known| known == name) {
            self.logs.create(name)?;
        }
        let mut tail = self.logs.tail(name)?.sequence;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (record, after) = Record::parse(rest)?;
            rest = after;
            if record.sequence() <= tail {
                self.same_chain(name, &record)?;
                continue;
            }
            let dot = Dot::new(origin.clone(), record.sequence());
            let event = decode_event(dot, record.payload(), &self.region.known)
                .map_err(|_| linckia_log::Error::Malformed { why: "its payload is no event" })?;
            self.logs.append_mirror(name, &record)?;
            tail = record.sequence();
            self.mirrors_dirty_since.get_or_insert(now.monotonic);
            self.region.arrived(Arc::new(event));
        }
        Ok(())
    }

    /// A record that is held already must be the one that is held: another one under its dot shows
    /// that its origin lost durable bytes, or runs twice.
    fn same_chain(&self, name: &str, record: &Record<'_>) -> linckia_log::Result<()> {
        let held = record.sequence() <= self.logs.durable(name)?;
        if held && self.logs.reader(name)?.chain_at(record.sequence())? != record.chain() {
            return Err(linckia_log::Error::ChainBroken {
                origin: name.to_owned(),
                sequence: record.sequence(),
            });
        }
        Ok(())
    }

    /// The sync that is due now, if any: the driver runs it and hands the result in.
    pub fn begin_sync(&mut self, now: Now) -> Option<(SyncKind, SyncJob)> {
        let own = self.region.settings.origin.clone();
        let names = [own.as_str()];
        if self.own_dirty && !self.in_flight[SyncKind::Own as usize] {
            self.own_dirty = false;
            if let Some(job) = self.begin(SyncKind::Own, Scope::Own(&names)) {
                return Some((SyncKind::Own, job));
            }
        }
        let linger = self.region.settings.linger_milliseconds;
        let due = |since: u64| now.monotonic.saturating_sub(since) >= linger;
        if self.mirrors_dirty_since.is_some_and(due) && !self.in_flight[SyncKind::Mirrors as usize]
        {
            self.mirrors_dirty_since = None;
            if let Some(job) = self.begin(SyncKind::Mirrors, Scope::Others(&names)) {
                return Some((SyncKind::Mirrors, job));
            }
        }
        None
    }

    fn begin(&mut self, kind: SyncKind, scope: Scope<'_>) -> Option<SyncJob> {
        match self.logs.begin_sync(scope) {
            Ok(job) => {
                self.in_flight[kind as usize] = job.is_some();
                job
            }
            Err(error) => {
                self.failure.get_or_insert(chain_text(&error));
                None
            }
        }
    }

    /// The making of a segment that is due, if any: the driver runs it and hands the result in.
    pub fn begin_spare(&mut self) -> Option<SpareJob> {
        if self.spare_in_flight {
            return None;
        }
        let job = self.logs.begin_spare().ok().flatten();
        self.spare_in_flight = job.is_some();
        job
    }

    /// Nothing that the disk does for this machine pauses any more: it is about to be closed.
    pub fn hurry(&self) {
        self.logs.hurry();
    }

    /// How long remote events took to become visible here since this was asked last, in
    /// milliseconds by the wall clocks.
    pub fn take_visible(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.region.visible)
    }

    /// True while the disk works for this machine, or should.
    pub fn syncing(&self) -> bool {
        self.in_flight.contains(&true) || self.spare_in_flight || self.keep_in_flight
    }

    /// True while something waits for company: a sync of the mirrors, or events for peers.
    pub fn lingers(&self) -> bool {
        let mirrors = self.mirrors_dirty_since.is_some();
        self.region.unsent > 0 || (mirrors && !self.in_flight[SyncKind::Mirrors as usize])
    }

    fn synced(
        &mut self,
        now: Now,
        kind: SyncKind,
        done: SyncDone,
        steps: &mut Vec<Step>,
    ) -> Result<()> {
        self.in_flight[kind as usize] = false;
        match self.logs.complete_sync(done) {
            Err(error) => {
                self.region.poison(chain_text(&error), steps);
                Ok(())
            }
            Ok(advanced) => {
                let known = &self.region.known;
                let advanced = advanced.into_iter().map(|(name, upto)| {
                    let origin = known.origin(&name);
                    origin.map(|origin| (origin, upto)).map_err(|_| Error::Origin(name.to_string()))
                });
                let advanced: Result<Vec<_>> = advanced.collect();
                let clock = Hlc::from_bits(self.logs.clock());
                let rooms = Rooms { logs: &self.logs, view: self.store.as_ref() };
                self.region.synced(now, advanced?, clock, rooms, steps)
            }
        }
    }

    /// States behind the last records of an idle log that they are durable, so that damage to them
    /// is not taken for a torn write later.
    fn mark_when_idle(&mut self, now: Now) {
        let total = self.region.durable.total();
        if total != self.marked.0 {
            self.marked = (total, now.monotonic, false);
        }
        let (_, since, done) = self.marked;
        if done || now.monotonic.saturating_sub(since) < IDLE_MILLISECONDS {
            return;
        }
        self.marked.2 = true;
        match self.logs.mark() {
            Ok(0) => {}
            Ok(_) => {
                self.own_dirty = true;
                self.mirrors_dirty_since.get_or_insert(now.monotonic);
            }
            Err(error) => drop(self.failure.get_or_insert(chain_text(&error))),
        }
    }

    fn watch_disk(&mut self, steps: &mut Vec<Step>) {
        let Usage { used, bound, alarm } = self.logs.usage();
        if alarm && !self.half_full_told {
            let alarm = Alarm::LogHalfFull { used, bound };
            steps.push(Step::Out(Output::Alarm(alarm)));
        }
        self.half_full_told = alarm;
    }

    /// Answers a query at once, or once its rows are in the store.
    fn ask(&mut self, ticket: u64, query: Query, outputs: &mut Vec<Output>) -> Result<()> {
        let events = Durable { logs: &self.logs, known: &self.region.durable };
        let apply = &mut self.region.apply;
        match apply.read(&query, self.store.as_ref(), &events, &mut self.pages)? {
            Some(reading) => outputs.push(Output::Reading { ticket, reading }),
            None => {
                let asked_at = apply.applied().clone();
                self.readers.push_back(Reader { ticket, query, asked_at });
            }
        }
        Ok(())
    }

    /// The flush that is due now, if any: the driver runs it and hands the result in.
    pub fn begin_keep(&mut self, now: Now) -> Option<KeepJob> {
        let flush = self.region.apply.begin_flush(now)?;
        self.keep_in_flight = true;
        Some(KeepJob { flush, store: Arc::clone(&self.store) })
    }

    /// A flush is in the store: answers whom it is enough for, and wants another for the others.
    fn kept(&mut self, KeepDone(kept): KeepDone, outputs: &mut Vec<Output>) -> Result<()> {
        self.keep_in_flight = false;
        let apply = &mut self.region.apply;
        apply.kept(kept?);
        let events = Durable { logs: &self.logs, known: &self.region.durable };
        while let Some(reader) = self.readers.pop_front() {
            if !apply.kept_until().covers_all(&reader.asked_at) {
                self.readers.push_front(reader);
                apply.want_flush();
                break;
            }
            let store = self.store.as_ref();
            let reading = apply.read_rows(&reader.query, store, &events, &mut self.pages)?;
            outputs.push(Output::Reading { ticket: reader.ticket, reading });
        }
        Ok(())
    }

    /// Brings the store up to the applied vector; while no flush is under way.
    ///
    /// # Errors
    /// The store's.
    ///
    /// # Panics
    /// If a flush is under way.
    pub fn flush(&mut self, now: Now) -> Result<()> {
        let flushed = self.region.apply.flush(now, self.store.as_ref())?;
        assert!(flushed, "a flush is done before the next one begins");
        Ok(())
    }

    /// What the region has applied, for the simulator's judge; call [`Machine::flush`] before.
    pub fn apply(&self) -> &Apply {
        &self.region.apply
    }

    /// The fleet as seen from here.
    pub fn status(&mut self, now: Now) -> Status {
        self.region.status(now)
    }

    /// Ends cleanly: state is flushed, the logs are synced and marked.
    ///
    /// # Errors
    /// What the log or the store says.
    ///
    /// # Panics
    /// If a flush or a sync is under way.
    pub fn close(mut self, now: Now) -> Result<()> {
        self.flush(now)?;
        self.logs.close()?;
        Ok(())
    }
}

fn durable(logs: &Logs) -> Result<Vector> {
    let each = logs.origins().map(|name| {
        let origin = Origin::parse(name).map_err(|_| Error::Origin(name.to_owned()))?;
        Ok((origin, logs.durable(name)?))
    });
    each.collect()
}

fn event_at(logs: &Logs, origin: &Origin, sequence: u64) -> Result<Option<Event>> {
    if sequence == 0 {
        return Ok(None);
    }
    let batch = logs.read(origin.as_str(), sequence, 1, 1)?;
    let Some(record) = batch.first() else { return Ok(None) };
    let dot = Dot::new(origin.clone(), sequence);
    let event = decode_event(dot, record.payload(), &Vector::new());
    event.map(Some).map_err(|source| Error::Event { origin: origin.to_string(), sequence, source })
}

/// An error with its causes, in one line.
fn chain_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
