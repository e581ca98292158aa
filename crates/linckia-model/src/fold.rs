//! The fold: a key's events, in (HLC, origin, sequence) order, made into its value.
//!
//! Apply feeds every event of a key to its [`KeyState`], in whatever order they arrive; the state
//! is always that of the fold in order. It keeps a base folded up to stable time and the events
//! above it, so that a late event is folded again with those it precedes. What always holds: the
//! current state is a pure function of the set of events applied, and what was dropped below stable
//! time cannot change it. Rulings: `docs/fold.md`.

pub mod canonical;
mod copies;
mod dry_run;
mod encoding;
mod field;
mod member;
mod record;
mod sorted;
#[cfg(test)]
mod tests;
mod tree;
mod undo;
mod whole;

use std::sync::Arc;

use serde_json::Value;

pub use copies::Copies;
pub use dry_run::{DryRun, dry_run};
pub use record::{Kind, Record, RecordKey, Status};
use record::{Ledger, Records};
use sorted::Sorted;
use tree::{Floor, Held, Node, Path};
pub use undo::{Compensation, Left, Undo, undo};
use whole::Whole;

use crate::event::{Event, Operation};
use crate::hlc::Hlc;
use crate::policy::{Epochs, Policy, Strategy};
use crate::request::{Fault, Refusal};
use crate::vector::{Dot, Stamp, Vector};

/// A planted fault, or none: the fold's share of [`Fault`].
pub type FoldFault = Option<Fault>;

/// What the fold is told beside the events.
#[derive(Clone, Copy, Debug)]
pub struct FoldSettings {
    /// Copies of an id within this time before it make a copy not count, in milliseconds.
    pub window_milliseconds: u64,
    pub fault: FoldFault,
}

impl Default for FoldSettings {
    fn default() -> Self {
        Self { window_milliseconds: 24 * 3600 * 1000, fault: None }
    }
}

/// Where events that are not in memory are read from: the logs.
pub trait EventSource {
    /// The event of that dot; it is durable and was applied here. None only if the log lost it.
    fn event(&self, dot: &Dot) -> Option<Arc<Event>>;
}

/// The fold of some prefix of a key's events.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct State {
    tree: Node,
    version: u64,
    /// In order.
    frontier: Vec<Stamp>,
    /// On record above the base, or open; other records are confirmed and lie in the store only.
    records: Records,
    /// The policy epoch of the last event; 0 is the default policy.
    epoch: u64,
    /// Under a policy for which a document is one value; the tree is empty then.
    whole: Option<Box<Whole>>,
}

/// What a step back from the fold's caller looks like: which records came and went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecordChange {
    pub put: Vec<(RecordKey, Record)>,
    pub removed: Vec<RecordKey>,
    /// How many more records there are than before.
    pub growth: i64,
}

/// What settling made of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Events above stable time remain.
    Unsettled,
    /// Everything is stable: no tail.
    Whole,
    /// Everything is stable and nothing is there: only the version remains.
    Gone,
}

/// What a caller sees of a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Folded<'a> {
    pub value: Option<Value>,
    pub version: u64,
    /// Its maximal events, in order.
    pub frontier: &'a [Stamp],
}

/// One key: a stable base, the events above it, and the fold of both.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct KeyState {
    /// The fold up to stable time; absent while there is no tail, when it equals the current state.
    base: Option<Arc<State>>,
    /// Events above the base, in order; those not in memory are read from the logs when needed.
    tail: Sorted<Stamp, Option<Arc<Event>>>,
    current: Arc<State>,
    copies: Copies,
    /// The tail's length when it was last settled in part, so that settling costs little per event.
    settled_at: usize,
}

/// A tail this much longer than when it was last looked at is worth settling in part.
const TAIL_GROWTH: usize = 32;

impl State {
    /// Folds one event that is after all folded so far; answers what it puts on record. Those
    /// records are this event's own: no other step makes one with equal losers and winner.
    fn step(
        &mut self,
        event: &Event,
        copies: &Copies,
        source: &dyn EventSource,
        epochs: &Epochs,
        settings: &FoldSettings,
    ) -> Records {
        let stamp = event.stamp();
        let (epoch, policy) = epochs.rule(event.policy_epoch);
        if epoch != self.epoch {
            self.switch(epoch, policy);
        }
        let window = settings.window_milliseconds;
        let counts = copies.counts(&event.identity, &stamp, window)
            || settings.fault == Some(Fault::CopyCounted);
        self.frontier.retain(|known| !copies.covers(event, known));
        self.frontier.push(stamp.clone());
        self.version += u64::from(counts);
        let mut records = match epoch {
            0 => Records::new(),
            _ => record::settle(&mut self.records, event, copies),
        };
        let manual = policy.strategy() == Strategy::Manual;
        let mut ledger = Ledger::new(event, copies, &mut records, manual, settings);
        if !counts && let Some(first) = copies.counted_before(&event.identity, &stamp, window) {
            let same = source.event(&first.dot).is_none_or(|first| first.same_content(event));
            if !same {
                ledger.id_reused(first.clone());
            }
        }
        if let Some(whole) = &mut self.whole {
            whole.step(event, counts, policy, &mut ledger);
            return records;
        }
        let root = Path::root(policy.shape());
        match (event.operation, event.data.as_object()) {
            (Operation::Put, Some(_)) => {
                self.tree.assert(Some(&event.data), &root, &mut ledger);
            }
            (Operation::Delete, _) => self.tree.assert(None, &root, &mut ledger),
            (Operation::Patch, Some(patch)) => {
                self.tree.patch(patch, &root, &mut ledger);
            }
            (Operation::Increment, Some(amounts)) if counts => {
                self.tree.increment(amounts, &root, &mut ledger);
            }
            (Operation::Add, Some(data)) => self.tree.add_members(data, &root, &mut ledger),
            (Operation::Remove, Some(data)) => {
                self.tree.remove_members(data, &root, &mut ledger);
            }
            _ => {}
        }
        records
    }

    /// Ruling 25: what shows goes on as put whole by the last event, under the new policy.
    fn switch(&mut self, epoch: u64, policy: &Policy) {
        let shown = self.value().zip(self.frontier.last());
        let by_path = policy.strategy().by_path();
        (self.epoch, self.tree, self.whole) = match shown {
            Some((document, by)) if by_path => {
                (epoch, Node::planted(&document, by, policy.shape()), None)
            }
            Some((document, by)) => {
                (epoch, Node::default(), Some(Box::new(Whole::planted(document, by))))
            }
            None if by_path => (epoch, Node::default(), None),
            None => (epoch, Node::default(), Some(Box::default())),
        };
    }

    fn value(&self) -> Option<Value> {
        match &self.whole {
            Some(whole) => whole.document().cloned(),
            None => self.tree.value(),
        }
    }

    fn exists(&self) -> bool {
        match &self.whole {
            Some(whole) => whole.document().is_some(),
            None => matches!(self.tree.held, Held::Value(_) | Held::Object),
        }
    }

    fn prune(&mut self, stable: Hlc, floor: Floor<'_>, epochs: &Epochs) {
        self.tree.prune(stable, floor);
        if let Some(whole) = &mut self.whole {
            whole.prune(stable, floor, epochs.rule(self.epoch).1);
        }
    }

    fn folded(&self) -> Folded<'_> {
        Folded { value: self.value(), version: self.version, frontier: &self.frontier }
    }
}

impl KeyState {
    pub fn folded(&self) -> Folded<'_> {
        self.current.folded()
    }

    /// The stamps of the events that what is seen of the key rests on, but for those that every
    /// region has applied. A frontier is not enough: an event that covers one copy of an id covers
    /// all of them, and the other copies' deps are not its own.
    pub fn shown(&self) -> impl Iterator<Item = &Stamp> {
        self.current.frontier.iter().chain(self.tail.keys())
    }

    pub fn version(&self) -> u64 {
        self.current.version
    }

    pub fn exists(&self) -> bool {
        self.current.exists()
    }

    /// Records that replay may still change, or that were put since the base.
    pub fn records(&self) -> impl Iterator<Item = (&RecordKey, &Record)> {
        self.current.records.iter()
    }

    /// The policy epoch of its last event.
    pub fn epoch(&self) -> u64 {
        self.current.epoch
    }

    /// Events above stable time known here.
    pub fn tail_length(&self) -> usize {
        self.tail.len()
    }

    /// The highest timestamp in the tail: at stable times from there on the key settles whole.
    pub fn unsettled_until(&self) -> Option<Hlc> {
        self.tail.last_key().map(|stamp| stamp.hlc)
    }

    /// The lowest timestamp of an event that may have to be read again: at stable times from
    /// [`KeyState::unsettled_until`] on none has to be.
    pub fn needs_from(&self) -> Option<Hlc> {
        let first = self.tail.first_key()?;
        let copies = self.copies.0.values().filter_map(|copies| copies.first());
        copies.chain([first]).map(|stamp| stamp.hlc).min()
    }

    /// Takes a new event, wherever in the order it falls; `earlier` are the copies of its identity
    /// that were applied before, `epochs` the policies of its type. Says which records came and
    /// went.
    pub fn apply(
        &mut self,
        event: &Arc<Event>,
        earlier: &[Stamp],
        source: &dyn EventSource,
        epochs: &Epochs,
        settings: &FoldSettings,
    ) -> RecordChange {
        let stamp = event.stamp();
        if !earlier.is_empty() {
            let all = earlier.iter().cloned().chain([stamp.clone()]);
            self.copies.note(&event.identity, all);
        }
        let in_order = self.tail.last_key().is_none_or(|last| *last < stamp);
        if self.tail.is_empty() {
            self.base = Some(Arc::clone(&self.current));
        }
        self.tail.insert(stamp.clone(), Some(Arc::clone(event)));
        if in_order || settings.fault == Some(Fault::TiesByArrival) {
            let current = Arc::make_mut(&mut self.current);
            let new = current.step(event, &self.copies, source, epochs, settings);
            let put: Vec<_> = new.iter().map(|(key, r)| (key.clone(), r.clone())).collect();
            let before = current.records.len();
            current.records.extend(new);
            let growth = (current.records.len() - before) as i64;
            return RecordChange { put, removed: Vec::new(), growth };
        }
        self.fold_again(source, epochs, settings)
    }

    /// Folds the tail over the base anew.
    fn fold_again(
        &mut self,
        source: &dyn EventSource,
        epochs: &Epochs,
        settings: &FoldSettings,
    ) -> RecordChange {
        let mut state = self.base.as_deref().cloned().unwrap_or_default();
        self.read_tail(source);
        self.tail.for_each_mut(|_, event| {
            let event = event.as_ref().expect("a tail was read before it is folded");
            let new = state.step(event, &self.copies, source, epochs, settings);
            state.records.extend(new);
        });
        let before = std::mem::replace(&mut self.current, Arc::new(state));
        let (before, now) = (&before.records, &self.current.records);
        let new = now.iter().filter(|(key, record)| before.get(key) != Some(record));
        let growth = now.len() as i64 - before.len() as i64;
        RecordChange {
            growth,
            put: new.map(|(key, record)| (key.clone(), record.clone())).collect(),
            removed: before.keys().filter(|key| !now.contains_key(key)).cloned().collect(),
        }
    }

    /// About how many events of the tail are in memory.
    pub fn bodies(&self) -> usize {
        // They are read and let go of all at once, and new ones come at the end.
        self.tail.last_value().map_or(0, |last| if last.is_some() { self.tail.len() } else { 0 })
    }

    /// The events of the tail are in memory from here on.
    fn read_tail(&mut self, source: &dyn EventSource) {
        if !self.tail.values().any(Option::is_none) {
            return;
        }
        self.tail.for_each_mut(|stamp, event| {
            if event.is_none() {
                *event = source.event(&stamp.dot);
                assert!(event.is_some(), "{} is in a tail and not in its log", stamp.dot);
            }
        });
    }

    /// [`KeyState::settle`], and a tail that remains begins above stable time.
    pub fn settle_through(
        &mut self,
        stable: Hlc,
        source: &dyn EventSource,
        epochs: &Epochs,
        settings: &FoldSettings,
    ) {
        let settled = self.settle(stable, source, epochs, settings);
        let below = || self.tail.first_key().is_some_and(|first| first.hlc <= stable);
        if settled == Settled::Unsettled && epochs.knows(self.current.epoch) && below() {
            self.settle_part(stable, source, epochs, settings);
            self.settled_at = self.tail.len();
        }
    }

    /// Moves what is at or below stable time into the base and forgets what nothing to come can
    /// meet; nothing while the key's policy is not known. Cheap when there is nothing to do.
    pub fn settle(
        &mut self,
        stable: Hlc,
        source: &dyn EventSource,
        epochs: &Epochs,
        settings: &FoldSettings,
    ) -> Settled {
        let early = settings.fault == Some(Fault::TombstoneDroppedEarly) && !self.exists();
        let Some(last) = self.unsettled_until() else {
            return if self.exists() { Settled::Whole } else { Settled::Gone };
        };
        if !epochs.knows(self.current.epoch) {
            return Settled::Unsettled;
        }
        if last <= stable || early {
            self.base = None;
            self.tail.clear();
            self.copies = Copies::default();
            self.settled_at = 0;
            return self.settle_whole(if early { Hlc::MAX } else { stable }, epochs);
        }
        // Looking at a tail costs its length: a long one is looked at ever more rarely.
        if self.tail.len() >= self.settled_at + self.settled_at / 2 + TAIL_GROWTH {
            self.settle_part(stable, source, epochs, settings);
            self.settled_at = self.tail.len();
        }
        Settled::Unsettled
    }

    fn settle_whole(&mut self, stable: Hlc, epochs: &Epochs) -> Settled {
        // What nobody else holds is not copied for nothing.
        let current = &self.current;
        if !current.records.is_empty()
            || current.whole.is_some()
            || current.tree.prunable(stable, Floor(None))
        {
            let current = Arc::make_mut(&mut self.current);
            current.records.retain(|_, record| record.is_open());
            current.prune(stable, Floor(None), epochs);
        }
        if self.exists() {
            return Settled::Whole;
        }
        Arc::make_mut(&mut self.current).frontier.clear();
        Settled::Gone
    }

    fn settle_part(
        &mut self,
        stable: Hlc,
        source: &dyn EventSource,
        epochs: &Epochs,
        settings: &FoldSettings,
    ) {
        let mut base = self.base.take().unwrap_or_default();
        for (stamp, event) in self.tail.split_front(|stamp| stamp.hlc <= stable) {
            let event = event.or_else(|| source.event(&stamp.dot));
            let event = event.expect("a tail was read before it is folded");
            let base = Arc::make_mut(&mut base);
            let mut new = base.step(&event, &self.copies, source, epochs, settings);
            new.retain(|_, record| record.is_open());
            base.records.extend(new);
            base.records.retain(|_, record| record.is_open());
        }
        let first = self.tail.first_key().cloned();
        let current = Arc::make_mut(&mut self.current);
        current.records.retain(|key, record| record.is_pending(key, first.as_ref()));
        if let Some(floor) = self.floor() {
            Arc::make_mut(&mut base).prune(stable, Floor(Some(&floor)), epochs);
            Arc::make_mut(&mut self.current).prune(stable, Floor(Some(&floor)), epochs);
        }
        self.base = Some(base);
    }

    /// What every event of the tail covers, if all of them are in memory and say so by their deps.
    fn floor(&self) -> Option<Vector> {
        let mut floor: Option<Vector> = None;
        for event in self.tail.values() {
            let event = event.as_ref().filter(|event| event.ctx.is_none())?;
            match &mut floor {
                Some(floor) => floor.meet(&event.deps),
                None => floor = Some(event.deps.clone()),
            }
        }
        floor
    }

    /// Judges an increment against what is here now. Errors: [`Refusal::NotAnInteger`],
    /// [`Refusal::Overflow`].
    pub fn check_increment(&self, data: &Value) -> Result<(), Refusal> {
        let Some(amounts) = data.as_object() else {
            return Err(Refusal::NotAnInteger(String::new()));
        };
        let checked = match &self.current.whole {
            Some(whole) => whole.check_increment(amounts),
            None => self.current.tree.check_increment(amounts, &Path::ROOT),
        };
        checked.map_err(|(pointer, kind)| {
            if kind { Refusal::NotAnInteger(pointer) } else { Refusal::Overflow(pointer) }
        })
    }
}
