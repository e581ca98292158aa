//! The order of applying, and the rows it leaves behind the log.
//!
//! `enqueue` takes events as they become durable, `run` applies what can be applied, `flush` gives
//! the rows written since. A queue that ran dry or over is filled from the log again, so a restart
//! and a backlog are the same case.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use linckia_model::{
    Clock, Event, Fault, FoldSettings, Heartbeat, Hlc, Identity, Key, KeyState, Now, Origin,
    RecordChange, RegionName, Settled, Stamp, Vector, canonical,
};
use linckia_store::{Batch, Table, View};

use crate::digests::Ranges;
use crate::error::{Result, row};
use crate::keys::Keys;
use crate::port::Events;
use crate::query::Digests;
use crate::rows;
use crate::stability::Stability;

/// Bounds of apply.
#[derive(Clone, Copy, Debug)]
pub struct ApplySettings {
    pub fold: FoldSettings,
    /// Memory for states, about; dirty ones come on top until the next flush.
    pub cache_bytes: usize,
    /// Events applied since the last flush at which one is due: bounds rows in memory.
    pub flush_events_max: usize,
    /// Rows older than this are flushed, in milliseconds.
    pub flush_milliseconds: u64,
    /// Events applied in one run at most, about: the others wait their turn behind clients.
    pub budget: usize,
}

impl Default for ApplySettings {
    fn default() -> Self {
        Self {
            fold: FoldSettings::default(),
            cache_bytes: 48 << 20,
            flush_events_max: 1_024,
            flush_milliseconds: 100,
            budget: 2_048,
        }
    }
}

/// Durable events of one origin kept in memory for applying: beyond it they are read again.
const QUEUE_MAX: usize = 8_192;

/// How much is read from the log at once to fill a queue.
const REFILL_BYTES: u64 = 1 << 20;

/// Keys remembered for settling. Beyond it a key settles when it is next written.
const UNSETTLED_MAX: usize = 65_536;

/// The state of a region, and how far it is applied.
pub struct Apply {
    pub(crate) settings: ApplySettings,
    /// Its own events are never held back.
    own: RegionName,
    pub(crate) applied: Vector,
    /// What can be relayed: applied, and held back only for its clock.
    offerable: Vector,
    queues: BTreeMap<Origin, VecDeque<Arc<Event>>>,
    stability: Stability,
    pub(crate) keys: Keys,
    /// Copies of identities whose rows are not flushed.
    identities: BTreeMap<Vec<u8>, Vec<Stamp>>,
    rows: Batch,
    events_since_flush: usize,
    flushed_at: u64,
    ranges: Ranges,
    unsettled: VecDeque<(Hlc, Key)>,
    /// Events that lost something to a concurrent one, or won over it, since the start.
    conflicts: u64,
}

impl Apply {
    /// Goes on where the store stands.
    ///
    /// # Errors
    /// The store's, or a row that is not ours.
    pub fn open(
        settings: ApplySettings,
        own: RegionName,
        members: impl IntoIterator<Item = RegionName>,
        view: &dyn View,
    ) -> Result<Self> {
        let applied = match view.get(Table::Meta, rows::APPLIED)? {
            Some(bytes) => {
                let text = std::str::from_utf8(&bytes)
                    .map_err(|_| row("meta")(linckia_model::Error::Utf8("vector")))?;
                Vector::parse(text).map_err(row("meta"))?
            }
            None => Vector::new(),
        };
        let mut ranges = Ranges::default();
        let end = [rows::RANGE, &[0xff, 0xff]].concat();
        for (key, row_bytes) in view.scan(Table::Meta, rows::RANGE, &end, usize::MAX, false)? {
            if !ranges.restore(*key.last().unwrap_or(&0), &row_bytes) {
                return Err(row("meta")(linckia_model::Error::Short("range")));
            }
        }
        Ok(Self {
            settings,
            own,
            offerable: applied.clone(),
            applied,
            queues: BTreeMap::new(),
            stability: Stability::new(members),
            keys: Keys::default(),
            identities: BTreeMap::new(),
            rows: Batch::default(),
            events_since_flush: 0,
            flushed_at: 0,
            ranges,
            unsettled: VecDeque::new(),
            conflicts: 0,
        })
    }

    pub fn applied(&self) -> &Vector {
        &self.applied
    }

    /// What may be offered to peers: everything it depends on is here.
    pub fn offerable(&self) -> &Vector {
        &self.offerable
    }

    pub fn stable(&self) -> Hlc {
        self.stability.stable()
    }

    /// The time of the latest event or heartbeat of that origin's region that is applied here.
    pub fn told_until(&self, origin: &Origin) -> Hlc {
        self.stability.told_until(origin)
    }

    /// Records put since the start.
    pub fn conflicts(&self) -> u64 {
        self.conflicts
    }

    /// The latest heartbeat of every origin that counts here, for relaying.
    pub fn heartbeats(&self) -> impl Iterator<Item = &Heartbeat> {
        self.stability.heartbeats()
    }

    pub fn heard(&mut self, heartbeat: Heartbeat) {
        self.stability.heard(heartbeat);
    }

    /// The state of a key as applied.
    ///
    /// # Errors
    /// The store's, or a row that is not ours.
    pub fn state(&mut self, key: &Key, view: &dyn View, events: &dyn Events) -> Result<&KeyState> {
        let (stable, fold) = (self.stability.stable(), self.settings.fold);
        let entry = self.keys.load(key, view, &self.applied)?;
        entry.state.settle(stable, events, &fold);
        Ok(&entry.state)
    }

    /// The copies of an identity of a key that are applied, in order of arrival.
    ///
    /// # Errors
    /// The store's, or a row that is not ours.
    pub fn copies(&self, key: &Key, id: &Identity, view: &dyn View) -> Result<Vec<Stamp>> {
        self.copies_of_row(&rows::identity_key(key, id), view)
    }

    fn copies_of_row(&self, row: &[u8], view: &dyn View) -> Result<Vec<Stamp>> {
        if let Some(stamps) = self.identities.get(row) {
            return Ok(stamps.clone());
        }
        match view.get(Table::Identities, row)? {
            Some(bytes) => rows::read_stamps(&bytes, &self.applied),
            None => Ok(Vec::new()),
        }
    }

    /// Takes a durable event that follows what is queued of its origin; others are read from the
    /// log when their turn comes.
    pub fn enqueue(&mut self, event: Arc<Event>) {
        let applied = self.applied.get(&event.dot.origin);
        let queue = self.queues.entry(event.dot.origin.clone()).or_default();
        let next = queue.back().map_or(applied, |last| last.dot.sequence) + 1;
        if event.dot.sequence == next && queue.len() < QUEUE_MAX {
            queue.push_back(event);
        }
    }

    /// Applies what can be applied of everything that is durable, as far as the budget goes, and
    /// answers it in the order applied. `prepared` gives the state after an event, and what it puts
    /// on record, where that is known already.
    ///
    /// # Errors
    /// The store's, or a row that is not ours: the region must stop.
    pub fn run(
        &mut self,
        now: Now,
        clock: &mut Clock,
        durable: &Vector,
        view: &dyn View,
        events: &dyn Events,
        prepared: &mut dyn FnMut(&Event) -> Option<(KeyState, RecordChange)>,
    ) -> Result<Vec<Arc<Event>>> {
        let budget = self.settings.budget;
        let mut done = Vec::new();
        let mut progress = true;
        while progress && done.len() < budget {
            progress = false;
            for (origin, last) in durable.iter() {
                while done.len() < budget {
                    let Some(transaction) = self.next(origin, last, events) else { break };
                    let first = &transaction[0];
                    if !origin.is_of(&self.own) && clock.holds_back(first.hlc, now) {
                        self.offer_held(origin);
                        break;
                    }
                    for event in transaction {
                        clock.observe(event.hlc);
                        self.apply(&event, view, events, prepared(&event))?;
                        done.push(event);
                    }
                    progress = true;
                }
            }
        }
        self.settle(events);
        Ok(done)
    }

    /// The next whole transaction of an origin if its deps are applied, out of its queue; a held
    /// one stays queued, so what is taken is a copy and `apply` drops it.
    fn next(
        &mut self,
        origin: &Origin,
        durable: u64,
        events: &dyn Events,
    ) -> Option<Vec<Arc<Event>>> {
        let applied = self.applied.get(origin);
        if applied >= durable {
            return None;
        }
        if !self.queues.contains_key(origin) {
            self.queues.insert(origin.clone(), VecDeque::new());
        }
        let queue = self.queues.get_mut(origin)?;
        while queue.front().is_some_and(|first| first.dot.sequence <= applied) {
            queue.pop_front();
        }
        let gap = queue.front().is_some_and(|first| first.dot.sequence != applied + 1);
        if gap {
            queue.clear();
        }
        if queue.is_empty() {
            queue.extend(events.events(origin, applied + 1, REFILL_BYTES));
        }
        let first = Arc::clone(queue.front()?);
        let ready = self.settings.fold.fault == Some(Fault::DepsIgnored)
            || first.depends_within(&self.applied);
        if !ready {
            return None;
        }
        let size = first.transaction.size as usize;
        while queue.len() < size {
            let from = queue.back().map_or(applied, |last| last.dot.sequence) + 1;
            let more = events.events(origin, from, REFILL_BYTES);
            if more.is_empty() {
                return None;
            }
            queue.extend(more);
        }
        Some(queue.iter().take(size).cloned().collect())
    }

    /// Held events are relayed: whole transactions of the queue whose deps can be offered too.
    fn offer_held(&mut self, origin: &Origin) {
        let Some(queue) = self.queues.get(origin) else { return };
        for event in queue {
            if !event.depends_within(&self.offerable) {
                return;
            }
            if event.dot.sequence == event.transaction.last() {
                self.offerable.raise(origin, event.dot.sequence);
            }
        }
    }

    fn apply(
        &mut self,
        event: &Arc<Event>,
        view: &dyn View,
        events: &dyn Events,
        prepared: Option<(KeyState, RecordChange)>,
    ) -> Result<()> {
        let (key, fold) = (&event.key, self.settings.fold);
        let identity_row = rows::identity_key(key, &event.identity);
        let mut copies = match &prepared {
            Some(_) => Vec::new(),
            None => self.copies_of_row(&identity_row, view)?,
        };
        let stable = self.stability.stable();
        let entry = self.keys.load(key, view, &self.applied)?;
        let change = match prepared {
            Some((state, change)) => {
                entry.state = state;
                change
            }
            None => {
                entry.state.settle(stable, events, &fold);
                entry.state.apply(event, &copies, events, &fold)
            }
        };
        if fold.fault == Some(Fault::TombstoneDroppedEarly) {
            entry.state.settle(stable, events, &fold);
        }
        entry.conflicts = entry.conflicts.saturating_add_signed(change.growth);
        self.keys.touch(key);
        self.conflicts += change.put.len() as u64;
        for record in &change.removed {
            self.rows.remove(Table::Records, rows::record_key(key, record));
            self.rows.remove(Table::Records, rows::index_key(&rows::conflict_id(record)));
        }
        for (record_key, record) in &change.put {
            let row = rows::record_key(key, record_key);
            let index = rows::index_key(&rows::conflict_id(record_key));
            self.rows.put(Table::Records, index, row.clone());
            self.rows.put(Table::Records, row, rows::record(record_key, record));
        }
        copies.push(event.stamp());
        self.identities.insert(identity_row, copies);
        self.rows.put(Table::History, rows::history_key(key, &event.stamp()), Vec::new());
        if self.unsettled.len() < UNSETTLED_MAX {
            self.unsettled.push_back((event.hlc, key.clone()));
        }
        self.events_since_flush += 1;
        let dot = &event.dot;
        self.applied.set(&dot.origin, dot.sequence);
        self.offerable.raise(&dot.origin, dot.sequence);
        if let Some(queue) = self.queues.get_mut(&dot.origin) {
            queue.pop_front();
        }
        self.stability.applied(&dot.origin, dot.sequence, event.hlc, &event.deps);
        Ok(())
    }

    /// Counts heartbeats, takes stable time and settles the keys it has passed.
    fn settle(&mut self, events: &dyn Events) {
        self.stability.count(&self.applied);
        let read = |dot: &linckia_model::Dot| events.event(dot).map(|event| event.hlc);
        if !self.stability.advance(&self.applied, &read) {
            return;
        }
        let stable = self.stability.stable();
        while self.unsettled.front().is_some_and(|(hlc, _)| *hlc <= stable) {
            let Some((_, key)) = self.unsettled.pop_front() else { break };
            let Some(entry) = self.keys.cached(&key) else { continue };
            let tail = entry.state.tail_length();
            if tail == 0 {
                continue;
            }
            let settled = entry.state.settle(stable, events, &self.settings.fold);
            if settled == Settled::Gone || (settled == Settled::Whole && tail >= LONG_TAIL) {
                self.keys.touch(&key);
            }
        }
    }

    /// True if rows have waited long enough, or are many.
    pub fn flush_due(&self, now: Now) -> bool {
        self.events_since_flush >= self.settings.flush_events_max
            || (self.keys.dirty_count() > 0
                && now.monotonic.saturating_sub(self.flushed_at)
                    >= self.settings.flush_milliseconds)
    }

    /// The rows changed since the last flush, as one batch that brings the store to the applied
    /// vector; none if nothing changed. The caller writes it before anything else is read.
    pub fn flush(&mut self, now: Now) -> Option<Batch> {
        self.flushed_at = now.monotonic;
        if self.keys.dirty_count() == 0 && self.rows.rows.is_empty() {
            return None;
        }
        let mut batch = std::mem::take(&mut self.rows);
        let ranges = &mut self.ranges;
        self.keys.flush(|key, entry| {
            let digest = canonical::digest(key, &entry.state);
            ranges.change(key, entry.digest.as_ref(), digest.as_ref());
            entry.digest = digest;
            let row = entry.encode();
            let bytes = row.len();
            batch.put(Table::States, key.to_bytes(), row);
            bytes
        });
        for (key, stamps) in std::mem::take(&mut self.identities) {
            batch.put(Table::Identities, key, rows::stamps(&stamps));
        }
        let applied = self.applied.to_string().into_bytes();
        batch.put(Table::Meta, rows::APPLIED.to_vec(), applied);
        for (place, row) in self.ranges.take_rows() {
            batch.put(Table::Meta, [rows::RANGE, &[place]].concat(), row);
        }
        self.events_since_flush = 0;
        self.keys.evict(self.settings.cache_bytes);
        Some(batch)
    }

    /// Digests as of the last flush.
    pub(crate) fn digests(&self) -> Digests {
        self.ranges.digests()
    }

    /// Every key that holds something or is remembered, for the simulator's judge; after a flush.
    ///
    /// # Errors
    /// The store's, or a row that is not ours.
    pub fn all_states(&self, view: &dyn View) -> Result<Vec<(Key, KeyState)>> {
        let rows = view.scan(Table::States, &[], &[], usize::MAX, false)?;
        rows.into_iter()
            .map(|(key, bytes)| {
                let key = Key::from_bytes(&key).map_err(row("states"))?;
                Ok((key, crate::keys::Entry::decode(&bytes, &self.applied)?.state))
            })
            .collect()
    }

    /// Every record as (key, losers and winner, record), for the simulator's judge; after a flush.
    ///
    /// # Errors
    /// The store's, or a row that is not ours.
    pub fn all_records(&self, view: &dyn View) -> Result<Vec<crate::read::Recorded>> {
        let end = rows::index_start();
        let rows = view.scan(Table::Records, &[], &end, usize::MAX, false)?;
        rows.into_iter()
            .map(|(bytes, value)| {
                let (key, _) = rows::key_of(&bytes)?;
                let (record_key, record) = rows::read_record(&value, &self.applied)?;
                Ok((key, record_key, record))
            })
            .collect()
    }
}

/// A settled tail this long makes the row worth writing again.
const LONG_TAIL: usize = 8;
