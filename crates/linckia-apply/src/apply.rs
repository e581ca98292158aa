//! The order of applying, and the rows it leaves behind the log.
//!
//! `enqueue` takes events as they become durable, `run` applies what can be applied, `begin_job`
//! takes what changed since to the store and `done` hears that it is there. A queue that ran dry or
//! over is filled from the log again, so a restart and a backlog are the same case.

mod flushing;
mod inspect;
mod replacing;
mod turns;

pub use self::inspect::rotten;
pub use self::replacing::{Recount, Recounted, Replaced, Replacement};

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use linckia_model::{
    Abridged, ClaimRef, Dot, Event, Fault, FoldSettings, Heartbeat, Hlc, Identity, Incarnations,
    Key, KeyState, Origin, Policies, RecordChange, RegionName, Settled, Stamp, Vector, map,
};
use linckia_store::{Batch, Table, View};

use self::flushing::StoreStands;
pub use self::turns::Turn;
use crate::compare::stored_at;
use crate::digests::Ranges;
use crate::error::{Error, Result, row};
use crate::expire::{Expiry, forgotten};
use crate::floors::Floors;
use crate::flush::Claims;
use crate::keys::Keys;
use crate::port::Events;
use crate::presence::{Presence, Stored};
use crate::retire::{self, Retirement};
use crate::rows;
use crate::stability::Stability;

/// Bounds of apply.
#[derive(Clone, Copy, Debug)]
pub struct ApplySettings {
    pub fold: FoldSettings,
    /// Memory for states, about; dirty ones come on top until the next flush.
    pub cache_bytes: usize,
    /// Events applied since the last flush at which one is due. At twice as many nothing more is
    /// applied until the flush under way is done: together they bound what is in memory only, and
    /// what a restart applies again.
    pub flush_events_max: usize,
    /// Bytes of such events' data, about, at which a flush is due as well.
    pub flush_bytes_max: usize,
    /// What changed this long ago is flushed, in milliseconds; by chance up to a quarter sooner,
    /// so that regions on one disk do not flush together.
    pub flush_milliseconds: u64,
    /// States that a flush takes at once: the others wait their turn behind clients.
    pub flush_portion: usize,
    /// Rows that a sweep of the store reads at once.
    pub sweep_portion: usize,
    /// Events applied in one run at most, about: the others wait their turn behind clients.
    pub budget: usize,
    /// For hashes of what clients name: a secret.
    pub seed: u64,
}

impl Default for ApplySettings {
    fn default() -> Self {
        Self {
            fold: FoldSettings::default(),
            cache_bytes: 48 << 20,
            flush_events_max: 65_536,
            flush_bytes_max: 32 << 20,
            flush_milliseconds: 10_000,
            flush_portion: 256,
            sweep_portion: 4_096,
            budget: 2_048,
            seed: 0,
        }
    }
}

/// Durable events of one origin kept in memory for applying: beyond it they are read again.
const QUEUE_MAX: usize = 16_384;

/// Keys remembered for settling. Beyond it a key settles when it is next written.
const UNSETTLED_MAX: usize = 65_536;

/// The state of a region, and how far it is applied.
pub struct Apply {
    pub(crate) settings: ApplySettings,
    policies: Arc<Policies>,
    incarnations: Arc<Incarnations>,
    /// Origins whose next event is of a policy epoch that is not known here.
    unknown: BTreeSet<Origin>,
    /// Origins whose next event is of a time that was thought stable: it is never applied.
    below: BTreeSet<Origin>,
    /// Its own events are never held back.
    own: RegionName,
    pub(crate) applied: Vector,
    /// What can be relayed: applied, and held back only for its clock.
    offerable: Vector,
    queues: BTreeMap<Origin, VecDeque<Arc<Event>>>,
    /// Stable time as of the last flush that began.
    saved: Hlc,
    /// The highest timestamp of an event applied in this life.
    latest: Hlc,
    stability: Stability,
    pub(crate) keys: Keys,
    /// Copies of identities that no flush has taken yet.
    claims: Claims,
    store: StoreStands,
    pub(crate) presence: Presence,
    /// The claims of the last flush, to be let go of beside the core.
    spent: Option<Arc<Claims>>,
    /// Rows for the next flush that are made when their events are applied.
    rows: Batch,
    /// Events applied since the last flush began, and their data's size, about.
    since_flush: (usize, usize),
    /// From this moment on a flush is due for whatever changed.
    flush_at: u64,
    /// A reader waits for what is applied to be in the store. What always holds: while one waits
    /// that the flush under way is not enough for, this is set.
    pub(crate) wanted: bool,
    /// How far the store is.
    pub(crate) stored: Vector,
    /// What the rows in the store, and copies of ids, need of the logs.
    floors: Floors,
    /// The earliest event that the states taken by the flush under way need.
    needed: Hlc,
    expiry: Expiry,
    /// Keys with a tail, each once, by a time at which to look whether it is stable.
    unsettled: VecDeque<(Hlc, Key)>,
    /// Events that lost something to a concurrent one, or won over it, since the start.
    conflicts: u64,
    /// Flushes that are in the store since the start.
    flushes: u64,
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
        let applied = stored_at(view)?;
        let saved = match view.get(Table::Meta, rows::STABLE)?.map(|bytes| bytes.try_into()) {
            Some(Ok(bits)) => Hlc::from_bits(u64::from_be_bytes(bits)),
            Some(Err(_)) => return Err(row("meta")(linckia_model::Error::Short("stable time"))),
            None => Hlc::ZERO,
        };
        let floors = view.get(Table::Meta, rows::FLOORS)?.unwrap_or_default();
        let floors = Floors::decode(&floors).map_err(row("meta"))?;
        let ranges = Ranges::read(view)?;
        Ok(Self {
            settings,
            policies: Arc::default(),
            incarnations: Arc::default(),
            unknown: BTreeSet::new(),
            below: BTreeSet::new(),
            own: own.clone(),
            offerable: applied.clone(),
            stored: applied.clone(),
            presence: Presence::new(settings.seed, applied.is_empty()),
            applied,
            queues: BTreeMap::new(),
            stability: Stability::new(own, members, saved, settings.fold.fault),
            saved,
            latest: floors.until(),
            floors,
            needed: Hlc::MAX,
            expiry: Expiry::default(),
            keys: Keys::new(settings.seed),
            claims: map(settings.seed),
            store: StoreStands::Still(ranges),
            spent: None,
            rows: Batch::default(),
            since_flush: (0, 0),
            flush_at: 0,
            wanted: false,
            unsettled: VecDeque::new(),
            conflicts: 0,
            flushes: 0,
        })
    }

    /// From here on events are folded under these policies; they hold all epochs of those before.
    pub fn set_policies(&mut self, policies: Arc<Policies>) {
        self.policies = policies;
        self.unknown.clear();
    }

    pub fn policies(&self) -> &Arc<Policies> {
        &self.policies
    }

    /// From here on these are the incarnations of the regions: nothing is applied beyond the end of
    /// one that is closed, and none of its heartbeats counts any more.
    pub fn set_incarnations(&mut self, incarnations: Arc<Incarnations>) {
        self.stability.set_incarnations(Arc::clone(&incarnations));
        self.incarnations = incarnations;
    }

    /// True if an event of this region waits for a policy that is not known here, or came to lie
    /// below stable time with a state from elsewhere: what is applied is not all that was written
    /// here.
    pub fn awaits_policy(&self) -> bool {
        self.unknown.iter().chain(&self.below).any(|origin| origin.is_of(&self.own))
    }

    pub fn applied(&self) -> &Vector {
        &self.applied
    }

    /// What may be offered to peers: everything it depends on is here.
    pub fn offerable(&self) -> &Vector {
        &self.offerable
    }

    /// What every member has applied, as their own logs say here.
    pub fn everywhere(&self) -> &Vector {
        self.stability.everywhere()
    }

    /// Origins whose next event is of a time that was thought stable, as it is where their regions
    /// came back and this one was away for too long to be waited for.
    pub fn below(&self) -> &BTreeSet<Origin> {
        &self.below
    }

    pub(crate) fn saved(&self) -> Hlc {
        self.saved
    }

    pub fn stable(&self) -> Hlc {
        self.stability.stable()
    }

    /// The time up to which no event is read again to fold a key: of what every member has applied
    /// and the store has, logs may let go up to there. It is so after a restart too, when stable
    /// time is what it was when the store became as it is. While the store is still.
    pub fn floor(&mut self) -> Hlc {
        self.floors.floor(self.saved)
    }

    /// Takes what stays of events that a log is about to let go of.
    pub fn retirement(&self) -> Retirement {
        let window = self.settings.fold.window_milliseconds;
        Retirement::new(forgotten(self.stability.stable(), window), self.applied.clone())
    }

    /// What answers a repeated id whose event its log has let go of.
    ///
    /// # Errors
    /// The store's, or a row that is not ours.
    pub fn abridged(&self, dot: &Dot, view: &dyn View) -> Result<Option<Abridged>> {
        retire::abridged(dot, view, &self.applied)
    }

    /// The time of the latest event or heartbeat of that origin's region that is applied here.
    pub fn told_until(&self, origin: &Origin) -> Hlc {
        self.stability.told_until(origin)
    }

    /// The last lapse or return that a region knew of when its log told last here, and the time
    /// that it told.
    pub fn told_in(&self, region: &RegionName) -> (u64, Hlc) {
        self.stability.told_in(region)
    }

    /// Records put since the start.
    pub fn conflicts(&self) -> u64 {
        self.conflicts
    }

    /// The latest heartbeat of every origin that counts here, for relaying.
    pub fn heartbeats(&self) -> impl Iterator<Item = &Heartbeat> {
        self.stability.heartbeats()
    }

    /// The latest heartbeats of a region that do not count here yet.
    pub fn waiting(&self, region: &RegionName) -> impl Iterator<Item = &Heartbeat> {
        self.stability.waiting(region)
    }

    pub fn heard(&mut self, heartbeat: Heartbeat) {
        self.stability.heard(heartbeat);
    }

    /// The state of a key as applied.
    ///
    /// # Errors
    /// The store's, or a row that is not ours.
    pub fn state(&mut self, key: &Key, view: &dyn View) -> Result<&KeyState> {
        let (stable, fold) = (self.stability.stable(), self.settings.fold);
        let stored = Stored { view, presence: &self.presence, known: &self.applied };
        let entry = self.keys.load(key, stored)?;
        entry.state.settle(stable, self.policies.of(key), &fold);
        Ok(&entry.state)
    }

    /// The copies of an identity of a key that are applied, in order of arrival.
    ///
    /// # Errors
    /// The store's, or a row that is not ours.
    pub fn copies(&self, key: &Key, id: &Identity, view: &dyn View) -> Result<Vec<Stamp>> {
        let claim = ClaimRef { key, identity: id };
        let moving = || self.store.claims()?.get(&claim);
        match self.claims.get(&claim).or_else(moving) {
            Some(stamps) => Ok(stamps.clone()),
            None => self.stored_in(view).copies(key, id),
        }
    }

    /// What is stored.
    pub(crate) fn stored_in<'a>(&'a self, view: &'a dyn View) -> Stored<'a> {
        Stored { view, presence: &self.presence, known: &self.applied }
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

    /// Answers how many events were read again for it.
    fn apply(
        &mut self,
        event: &Arc<Event>,
        view: &dyn View,
        events: &dyn Events,
        prepared: Option<(KeyState, RecordChange)>,
    ) -> Result<usize> {
        let (key, fold) = (&event.key, self.settings.fold);
        let mut copies = match &prepared {
            Some(_) => Vec::new(),
            None => self.copies(key, &event.identity, view)?,
        };
        let stable = self.stability.stable();
        let stored = Stored { view, presence: &self.presence, known: &self.applied };
        let settle = settling(self.saved, &self.policies, fold, &mut self.needed);
        let entry = self.keys.change(key, stored, settle)?;
        let epochs = self.policies.of(key);
        let change = match prepared {
            Some((state, change)) => {
                entry.state = state;
                change
            }
            None => {
                entry.state.settle(stable, epochs, &fold);
                entry.state.apply(event, &copies, events, epochs, &fold)?
            }
        };
        if fold.fault == Some(Fault::TombstoneDroppedEarly) {
            entry.state.settle(stable, epochs, &fold);
        }
        entry.conflicts = entry.conflicts.saturating_add_signed(change.growth);
        // With a stamp that waits for a flush it was added already.
        if entry.stamps.is_empty() {
            self.presence.add(key);
        }
        entry.stamps.push(event.stamp());
        self.conflicts += change.put.len() as u64;
        for record in &change.removed {
            self.rows.remove(Table::Records, &rows::record_key(key, record));
            self.rows.remove(Table::Records, &rows::index_key(&rows::conflict_id(record)));
        }
        for (record_key, record) in &change.put {
            let row = rows::record_key(key, record_key);
            let index = rows::index_key(&rows::conflict_id(record_key));
            self.rows.put(Table::Records, &index, &row);
            self.rows.put(Table::Records, &row, &rows::record(record_key, record));
        }
        if let Some(first) = copies.iter().map(|copy| copy.hlc).min() {
            // The event is folded with them until it is stable.
            self.floors.hold(first, event.hlc);
        }
        copies.push(event.stamp());
        let claim = ClaimRef { key, identity: &event.identity };
        self.presence.add(&claim);
        self.claims.insert(claim.to_owned(), copies);
        if !entry.settles && self.unsettled.len() < UNSETTLED_MAX {
            entry.settles = true;
            self.unsettled.push_back((event.hlc, key.clone()));
        }
        // What was read again stays in memory as long as what is new.
        let reread = change.reread.len();
        let weights = change.reread.iter().chain([event]).map(|event| event.weight());
        self.since_flush.0 += 1 + reread;
        self.since_flush.1 += weights.sum::<usize>();
        let dot = &event.dot;
        self.latest = self.latest.max(event.hlc);
        self.applied.set(&dot.origin, dot.sequence);
        self.offerable.raise(&dot.origin, dot.sequence);
        self.stability.applied(&dot.origin, dot.sequence, event.hlc, &event.deps);
        Ok(reread)
    }

    /// Counts heartbeats, takes stable time and settles the keys it has passed.
    fn settle(&mut self, events: &dyn Events) -> Result<()> {
        self.stability.count(&self.applied);
        let read = |dot: &Dot| {
            let event = events.event(dot).map_err(Error::Log)?;
            Ok(event.map(|event| event.hlc))
        };
        if !self.stability.advance(&self.applied, &read)? {
            return Ok(());
        }
        let stable = self.stability.stable();
        while self.unsettled.front().is_some_and(|(hlc, _)| *hlc <= stable) {
            let Some((_, key)) = self.unsettled.pop_front() else { break };
            let Some(entry) = self.keys.cached(&key) else { continue };
            let tail = entry.state.tail_length();
            let epochs = self.policies.of(&key);
            let settled = entry.state.settle(stable, epochs, &self.settings.fold);
            entry.settles = false;
            if let Some(hlc) = entry.state.unsettled_until() {
                entry.settles = true;
                self.unsettled.push_back((hlc, key));
                continue;
            }
            if tail == 0 {
                continue;
            }
            if settled == Settled::Gone || (settled == Settled::Whole && tail >= LONG_TAIL) {
                self.keys.touch(&key);
            }
        }
        Ok(())
    }
}

/// Settles a state that a flush takes, up to the stable time of the flush, and notes the earliest
/// event that its row will need of the logs.
fn settling<'a>(
    stable: Hlc,
    policies: &'a Policies,
    fold: FoldSettings,
    needed: &'a mut Hlc,
) -> impl FnMut(&Key, &mut KeyState) + 'a {
    move |key, state| {
        state.take(stable, policies.of(key), &fold);
        *needed = state.needs_from().map_or(*needed, |from| from.min(*needed));
    }
}

/// A settled tail this long makes the row worth writing again.
const LONG_TAIL: u64 = 8;
