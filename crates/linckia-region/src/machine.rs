//! The region with its log and store: what the binary and the simulator drive.
//!
//! An input goes to the head, the head's steps are executed here, in order, and what is for the
//! outside comes back. The disk's time is the driver's: it takes a job (sync, spare, store), runs
//! it on some thread or at some later moment, and hands the result in as an input.

mod adopt;
mod backup;
mod compare;
mod disk;
mod donate;
mod flush;
mod join;
mod keep;
mod mirror;
mod retire;

use std::collections::VecDeque;
use std::sync::Arc;

use linckia_apply::{Apply, Pages, Query};
use linckia_log::{Logs, Usage};
use linckia_model::{
    Agreed, Clock, Dot, Event, Fault, Hlc, Holders, Now, Origin, Vector, decode_event,
    encode_event, with_causes,
};
use linckia_store::Store;

use crate::error::{Error, Result};
use crate::incarnations::{Lives, PROMISES_FILE};
use crate::input::{Alarm, Input, Output};
use crate::leaving::LEAVING_FILE;
use crate::region::{Region, RegionSettings, Rooms, Step};
use crate::trace::Traced;
use crate::view::Status;
use crate::write::{MARGIN_SEGMENTS, Room};
use backup::Backups;
use compare::Comparing;
use donate::Donations;
use join::Joining;
use retire::Retiring;

pub use backup::{NotPinned, Pinned, PinnedLog, read_rows};
pub use compare::{DemandOrder, DemandView, Finding, JudgedBy, PassView, RepairView, Side, Totals};
pub use flush::{StoreDone, StoreJob};
pub use join::CatchUp;
pub use keep::take_rows;

/// Which logs a sync covers: clients wait for the one, mirrors may linger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SyncKind {
    Own,
    Mirrors,
}

/// How many times recovery may go round before it is sure not to end: events wait for events that
/// are not here, which is no error.
const RECOVERY_ROUNDS_MAX: usize = 1 << 20;

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
    segment_bytes: u64,
    /// Each kind of sync has at most one job in flight.
    in_flight: [bool; 2],
    own_dirty: bool,
    /// When the first record since the last sync of the mirrors was appended.
    mirrors_dirty_since: Option<u64>,
    half_full_told: bool,
    /// Left on the disk, as last told.
    disk_free: u64,
    disk_full_told: bool,
    spare_in_flight: bool,
    store_in_flight: bool,
    retiring: Retiring,
    donations: Donations,
    backups: Backups,
    comparing: Comparing,
    joining: Option<Joining>,
    /// Counts the donors that were given up.
    given_up: usize,
    /// Bytes of rows of the snapshot that was loaded last.
    loaded: u64,
    pages_turn: bool,
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
        let promises = logs.read_small(PROMISES_FILE)?;
        region.lives = Lives::restored(promises.as_deref()).map_err(Error::Promises)?;
        let settings = &region.settings;
        let (rate, rest) = (settings.compared_per_second, settings.compare_rest_milliseconds);
        let comparing = Comparing::new(rate, rest);
        let peers = region.pulling.keys().cloned().collect();
        region.lives.starting(now, &peers, |origin| region.durable.get(origin));
        let mut machine = Self {
            region,
            logs,
            store,
            pages: Pages::default(),
            readers: VecDeque::new(),
            segment_bytes,
            in_flight: [false; 2],
            own_dirty: false,
            mirrors_dirty_since: None,
            half_full_told: false,
            disk_free: u64::MAX,
            disk_full_told: false,
            spare_in_flight: false,
            store_in_flight: false,
            retiring: Retiring::default(),
            donations: Donations::default(),
            backups: Backups::default(),
            comparing,
            joining: None,
            given_up: 0,
            loaded: 0,
            pages_turn: false,
            marked: (0, 0, false),
            failure: None,
        };
        let mut steps = Vec::new();
        let incarnations = machine.region.settings.agreed.incarnations.clone();
        machine.region.agree_incarnations(now, incarnations, &machine.logs, &mut steps);
        machine.execute(now, steps, &mut Vec::new())?;
        machine.resume_joining(now)?;
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
            self.region.apply.flush_if_due(now, self.store.as_ref())?;
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
        let region = &self.region;
        region.more || region.sends(now) || self.reads() || self.cuts() || region.apply.goes_on()
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
                let (free, kept) = (self.disk_free, self.kept_free());
                let usage = self.logs.usage();
                let room = Room { usage, segment_bytes: self.segment_bytes, free, kept };
                self.region.write(now, ticket, write, room, rooms, &mut steps)?;
            }
            Input::Read { ticket, query } => self.ask(now, ticket, query, outputs)?,
            Input::Stored { done } => {
                self.stored(now, done, outputs)?;
                self.cut(outputs)?;
                // What waited for room can be applied now.
                let rooms = Rooms { logs: &self.logs, view: self.store.as_ref() };
                self.region.advance(now, rooms, &mut steps)?;
            }
            Input::Agreed(Agreed { policies, incarnations }) => {
                self.region.agree_policies(policies);
                self.region.tell_stopped(&mut steps);
                self.region.agree_incarnations(now, incarnations, &self.logs, &mut steps);
                self.region.tell_incarnations(&self.logs, &mut steps);
                // What waited for a policy can be applied now.
                self.region.advance(now, rooms, &mut steps)?;
            }
            Input::Want { vector } => self.region.want(now, &vector, &mut steps),
            Input::Opened { peer, role } => self.region.opened(now, &peer, role, &mut steps),
            Input::Closed { peer, role } => self.region.closed(&peer, role),
            Input::Received { peer, role, frame } => {
                let arrived = self.region.received(now, &peer, role, frame, rooms, &mut steps);
                if let Some(arrived) = arrived {
                    self.mirror(now, &peer, &arrived, &mut steps);
                }
            }
            Input::Synced { kind, done } => self.synced(now, kind, done, &mut steps)?,
            Input::Spared { done } => {
                // Without a spare the append that rolls over makes its own: no failure yet.
                self.spare_in_flight = false;
                drop(self.logs.complete_spare(done));
            }
            Input::Disk { free } => self.disk_free = free,
            Input::Tick => {
                self.region.tick(now, rooms, &mut steps)?;
                self.join(now, outputs)?;
                self.cut(outputs)?;
                self.expire_donations(now);
                self.compare(now, outputs)?;
                self.pages.expire(now);
                self.watch_disk(&mut steps);
                self.mark_when_idle(now);
            }
        }
        self.answer_readers(now, outputs)?;
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
                Step::Gap { peer, gap } => self.gap(now, &peer, &gap)?,
                Step::Donate { peer, asked } => self.donate(now, &peer, asked, outputs),
                Step::Cut { peer, cut } => self.cut_arrived(now, &peer, cut, outputs)?,
                Step::NoSnapshot { peer, snapshot } => self.no_snapshot(now, &peer, snapshot)?,
                Step::Page { peer, page } => self.page_arrived(now, &peer, page),
                Step::Asked { peer, asked } => self.compare_asked(now, &peer, asked, outputs),
                Step::Told { peer, told } => self.compare_told(now, &peer, told, outputs)?,
                Step::Promise(text) => {
                    match self.logs.write_small(PROMISES_FILE, text.as_bytes()) {
                        Ok(()) => self.region.lives.kept(),
                        Err(error) => self.poison(now, &error, outputs)?,
                    }
                }
                Step::Leave(leaving) => {
                    let text = leaving.text();
                    if let Err(error) = self.logs.write_small(LEAVING_FILE, text.as_bytes()) {
                        self.poison(now, &error, outputs)?;
                    }
                }
                Step::Append(events) => {
                    if let Err(error) = self.append(now, events) {
                        self.poison(now, &error, outputs)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn append(&mut self, now: Now, events: Vec<Arc<Event>>) -> linckia_log::Result<()> {
        let payloads: Vec<Vec<u8>> = events.iter().map(|event| encode_event(event)).collect();
        let payloads: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        let Some(first) = events.first() else { return Ok(()) };
        self.own_dirty = true;
        self.logs.append_own_group(first.dot.origin.as_str(), first.dot.sequence, &payloads)?;
        events.into_iter().for_each(|event| self.region.arrived(now, event));
        Ok(())
    }

    fn poison(
        &mut self,
        now: Now,
        error: &linckia_log::Error,
        outputs: &mut Vec<Output>,
    ) -> Result<()> {
        let mut steps = Vec::new();
        self.region.poison(with_causes(error), &mut steps);
        self.execute(now, steps, outputs)
    }

    /// From now on notes when sampled events come, become durable and are applied.
    pub fn begin_traces(&mut self) {
        self.region.traces.begin();
    }

    /// What was noted of them since this was asked last.
    pub fn take_traced(&mut self) -> Vec<Traced> {
        self.region.traces.take()
    }

    /// The last sequence that was given here, durable or not.
    pub fn last_given(&self) -> u64 {
        self.region.capture.last()
    }

    /// How long remote events took to become visible here since this was asked last, in
    /// milliseconds by the wall clocks.
    pub fn take_visible(&mut self) -> Vec<(Origin, u64)> {
        std::mem::take(&mut self.region.visible)
    }

    /// True while the disk works for this machine, or should.
    pub fn syncing(&self) -> bool {
        self.in_flight.contains(&true) || self.spare_in_flight || self.store_in_flight
    }

    /// True while something waits for company: a sync of the mirrors, or events for peers.
    pub fn lingers(&self) -> bool {
        let mirrors = self.mirrors_dirty_since.is_some();
        self.region.unsent > 0 || (mirrors && !self.in_flight[SyncKind::Mirrors as usize])
    }

    fn watch_disk(&mut self, steps: &mut Vec<Step>) {
        let Usage { used, bound, alarm } = self.logs.usage();
        if alarm && !self.half_full_told {
            let alarm = Alarm::LogHalfFull { used, bound };
            steps.push(Step::Out(Output::Alarm(alarm)));
        }
        self.half_full_told = alarm;
        let (free, kept) = (self.disk_free, self.kept_free());
        if free < kept && !self.disk_full_told {
            steps.push(Step::Out(Output::Alarm(Alarm::DiskFull { free, kept })));
        }
        self.disk_full_told = free < kept;
    }

    /// With less room on the disk no write is taken: what was stamped must find a segment.
    fn kept_free(&self) -> u64 {
        self.region.settings.disk_reserve_bytes.saturating_add(MARGIN_SEGMENTS * self.segment_bytes)
    }

    /// True if the disk has less left than so many quarters of what is kept free.
    fn is_short(&self, quarters: u64) -> bool {
        self.disk_free < self.region.settings.disk_reserve_bytes / 4 * quarters
    }

    /// What the region has applied, for the simulator's judge; call [`Machine::flush`] before.
    pub fn apply(&self) -> &Apply {
        &self.region.apply
    }

    /// The fleet's time as it is known here, in milliseconds since 1970.
    pub fn fleet_time(&mut self, now: Now) -> u64 {
        self.region.clock.fleet_time(now)
    }

    /// Who holds this event durably, as far as is known here; none if no such event is known.
    pub fn holders(&self, dot: &Dot) -> Option<Holders> {
        self.region.known.covers(dot).then(|| self.region.holders(dot))
    }

    /// The fleet as seen from here.
    pub fn status(&mut self, now: Now) -> Status {
        let Usage { used, bound, .. } = self.logs.usage();
        let share = used.saturating_mul(1_000_000) / bound.max(1);
        self.region.status(now, share.min(1_000_000) as u32)
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
    // What a log has let go of lies below its clock.
    if sequence < logs.reader(origin.as_str())?.first() {
        return Ok(None);
    }
    let batch = logs.read(origin.as_str(), sequence, 1, 1)?;
    let Some(record) = batch.first() else { return Ok(None) };
    let dot = Dot::new(origin.clone(), sequence);
    let event = decode_event(dot, record.payload(), &Vector::new());
    event.map(Some).map_err(|source| Error::Event { origin: origin.to_string(), sequence, source })
}
