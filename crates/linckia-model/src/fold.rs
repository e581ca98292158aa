//! The fold: a key's events, in (HLC, origin, sequence) order, made into its value.
//!
//! Apply feeds every event of a key to its [`KeyState`], in whatever order they arrive; the state
//! is always that of the fold in order. It keeps a base folded up to stable time, and above it a
//! tail (`tail.rs`), so that a late event is folded again with those it precedes. What always
//! holds: the current state is a pure function of the set of events applied, and what was dropped
//! below stable time cannot change it. Rulings: `docs/fold.md`.

mod as_of;
pub mod canonical;
mod copies;
mod dry_run;
mod encoding;
mod field;
mod member;
mod record;
mod replay;
mod sorted;
mod tail;
#[cfg(test)]
mod tests;
mod tree;
mod undo;
mod unread;
mod whole;

use std::sync::Arc;

use serde_json::Value;

pub use as_of::{AsOf, Was, as_of};
pub use copies::Copies;
pub use dry_run::{DryRun, dry_run};
pub use record::{Kind, Record, RecordKey, Status};
use record::{Ledger, Records};
use tail::{Tail, Unfolded};
use tree::{Floor, Held, Node, Path};
pub use undo::{Compensation, Left, Undo, undo};
pub use unread::{Cause, Unread};
use whole::Whole;

use crate::event::{Event, Operation};
use crate::hlc::Hlc;
use crate::name::Key;
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
    /// Events of a key after which its state is kept as a checkpoint. Fewer make more checkpoints
    /// than a tail needs; more are folded again when one is late by a moment.
    pub tail_portion: usize,
    pub fault: FoldFault,
}

impl Default for FoldSettings {
    fn default() -> Self {
        Self { window_milliseconds: 24 * 3600 * 1000, tail_portion: 32, fault: None }
    }
}

/// Where events that are not in memory are read from: the logs.
pub trait EventSource {
    /// The event of that dot, which was applied here. None only where its log let go of it.
    ///
    /// # Errors
    /// The store or the log is not readable.
    fn event(&self, dot: &Dot) -> std::result::Result<Option<Arc<Event>>, Cause>;

    /// Every event of that key that flushes took to the store, from one place in order to another,
    /// both included, in order.
    ///
    /// # Errors
    /// The store or a log is not readable, or lost one of them.
    fn between(
        &self,
        key: &Key,
        first: &Stamp,
        last: &Stamp,
    ) -> std::result::Result<Vec<Arc<Event>>, Cause>;
}

/// The fold of some prefix of a key's events.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct State {
    tree: Node,
    version: u64,
    /// In order.
    frontier: Vec<Stamp>,
    /// Records that wait for a person, by now.
    open: Records,
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
    /// Events that were read again, and are in memory from now on.
    pub reread: Vec<Arc<Event>>,
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

/// One key: its state, and what it takes to fold late events in.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct KeyState {
    /// The events above stable time, and what they are folded upon; absent while there are none.
    tail: Option<Box<Tail>>,
    current: Arc<State>,
    /// On record since the base, or open; others are confirmed and lie in the store only.
    records: Arc<Records>,
    copies: Copies,
}

impl State {
    /// Folds one event that is after all folded so far; answers what it puts on record, and what
    /// it settles of what was. Those records are this event's own: no other step makes one with
    /// equal losers and winner.
    ///
    /// # Errors
    /// The first event of the same id is not readable; the state is of no use then.
    fn step(
        &mut self,
        event: &Event,
        copies: &Copies,
        source: &dyn EventSource,
        epochs: &Epochs,
        settings: &FoldSettings,
    ) -> Result<Records, Unread> {
        let records = self.fold_in(event, copies, source, epochs, settings)?;
        let open = records.iter().filter(|(_, record)| record.is_open());
        self.open.extend(open.map(|(key, record)| (key.clone(), record.clone())));
        Ok(records)
    }

    fn fold_in(
        &mut self,
        event: &Event,
        copies: &Copies,
        source: &dyn EventSource,
        epochs: &Epochs,
        settings: &FoldSettings,
    ) -> Result<Records, Unread> {
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
            _ => record::settle(&mut self.open, event, copies),
        };
        let manual = policy.strategy() == Strategy::Manual;
        let mut ledger = Ledger::new(event, copies, &mut records, manual, settings);
        if !counts && let Some(first) = copies.counted_before(&event.identity, &stamp, window) {
            let first_event = source.event(&first.dot);
            let first_event = first_event.map_err(|cause| Unread::new(&event.key, cause))?;
            if first_event.is_some_and(|first| !first.same_content(event)) {
                ledger.id_reused(first.clone());
            }
        }
        if let Some(whole) = &mut self.whole {
            whole.step(event, counts, policy, &mut ledger);
            return Ok(records);
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
        Ok(records)
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

    /// A vector that covers the events that what is seen of the key rests on, but for those that
    /// every region has applied. A frontier is not enough: an event that covers one copy of an id
    /// covers all of them, and the other copies' deps are not its own.
    pub fn shown(&self) -> Vector {
        let mut shown = self.tail.as_ref().map_or_else(Vector::new, |tail| tail.shown.clone());
        self.current.frontier.iter().for_each(|s| shown.raise(&s.dot.origin, s.dot.sequence));
        shown
    }

    pub fn version(&self) -> u64 {
        self.current.version
    }

    pub fn exists(&self) -> bool {
        self.current.exists()
    }

    /// Records that replay may still change, or that were put since the base.
    pub fn records(&self) -> impl Iterator<Item = (&RecordKey, &Record)> {
        self.records.iter()
    }

    /// The policy epoch of its last event.
    pub fn epoch(&self) -> u64 {
        self.current.epoch
    }

    /// Events above the base known here.
    pub fn tail_length(&self) -> u64 {
        self.tail.as_ref().map_or(0, |tail| tail.length())
    }

    /// The highest timestamp in the tail: at stable times from there on the key settles whole.
    pub fn unsettled_until(&self) -> Option<Hlc> {
        self.tail.as_ref()?.last_hlc()
    }

    /// The lowest timestamp of an event that may have to be read again: at stable times from
    /// [`KeyState::unsettled_until`] on none has to be.
    pub fn needs_from(&self) -> Option<Hlc> {
        let first = &self.tail.as_ref()?.first;
        let copies = self.copies.0.values().filter_map(|copies| copies.first());
        copies.chain([first]).map(|stamp| stamp.hlc).min()
    }

    /// Takes a new event, wherever in the order it falls; `earlier` are the copies of its identity
    /// that were applied before, `epochs` the policies of its type. Says which records came and
    /// went.
    ///
    /// # Errors
    /// It falls among events that are not in memory and cannot be read, or the first event of its
    /// identity cannot; the state is of no use then.
    pub fn apply(
        &mut self,
        event: &Arc<Event>,
        earlier: &[Stamp],
        source: &dyn EventSource,
        epochs: &Epochs,
        settings: &FoldSettings,
    ) -> Result<RecordChange, Unread> {
        let stamp = event.stamp();
        if !earlier.is_empty() {
            let all = earlier.iter().cloned().chain([stamp.clone()]);
            self.copies.note(&event.identity, all);
        }
        let first = || Box::new(Tail::new(Arc::clone(&self.current), stamp.clone()));
        let tail = self.tail.get_or_insert_with(first);
        let in_order = tail.last().is_none_or(|last| last < stamp);
        tail.shown.raise(&stamp.dot.origin, stamp.dot.sequence);
        if !in_order && settings.fault != Some(Fault::TiesByArrival) {
            return self.apply_late(event, &stamp, source, epochs, settings);
        }
        let state = Arc::make_mut(&mut self.current);
        let put = state.step(event, &self.copies, source, epochs, settings)?;
        tail.push(event, &self.current, settings.tail_portion);
        if put.is_empty() {
            return Ok(RecordChange::default());
        }
        let before = self.records.len();
        let records = Arc::make_mut(&mut self.records);
        records.extend(put.iter().map(|(key, record)| (key.clone(), record.clone())));
        let growth = (records.len() - before) as i64;
        Ok(RecordChange { put: put.into_iter().collect(), growth, ..RecordChange::default() })
    }

    /// Folds again what comes after the last checkpoint before an event, with it among them.
    fn apply_late(
        &mut self,
        event: &Arc<Event>,
        stamp: &Stamp,
        source: &dyn EventSource,
        epochs: &Epochs,
        settings: &FoldSettings,
    ) -> Result<RecordChange, Unread> {
        let Some(tail) = &mut self.tail else { return Ok(RecordChange::default()) };
        let late = settings.fault != Some(Fault::LateAfterCheckpoint);
        let checkpoints = if late { tail.before(stamp) } else { tail.chain.len() };
        let Unfolded { base: mut state, mut events, reread } =
            tail.unfold(checkpoints, &event.key, source)?;
        tail.first = tail.first.clone().min(stamp.clone());
        let place = events.partition_point(|known| known.stamp() < *stamp);
        events.insert(place, Arc::clone(event));
        // What was on record before is not touched, unless it waited for somebody then.
        let kept = |key: &RecordKey| match tail.chain.last() {
            Some(checkpoint) => *key.at() <= checkpoint.last,
            None => *key.at() < tail.first,
        };
        let (mut before, mut now) = (Records::new(), state.open.clone());
        if !self.records.is_empty() {
            Arc::make_mut(&mut self.records).retain(|key, record| {
                let stays = kept(key) && !now.contains_key(key);
                if !stays {
                    before.insert(key.clone(), record.clone());
                }
                stays
            });
        }
        for event in &events {
            let current = Arc::make_mut(&mut state);
            now.extend(current.step(event, &self.copies, source, epochs, settings)?);
            tail.push(event, &state, settings.tail_portion);
        }
        self.current = state;
        let new = now.iter().filter(|(key, record)| before.get(key) != Some(record));
        let change = RecordChange {
            growth: now.len() as i64 - before.len() as i64,
            put: new.map(|(key, record)| (key.clone(), record.clone())).collect(),
            removed: before.keys().filter(|key| !now.contains_key(key)).cloned().collect(),
            reread,
        };
        if !now.is_empty() {
            Arc::make_mut(&mut self.records).extend(now);
        }
        Ok(change)
    }

    /// How many events are in memory.
    pub fn bodies(&self) -> usize {
        self.tail.as_ref().map_or(0, |tail| tail.in_memory())
    }

    /// [`KeyState::settle`], and a flush takes the state as it is then.
    pub fn take(&mut self, stable: Hlc, epochs: &Epochs, settings: &FoldSettings) {
        self.settle(stable, epochs, settings);
        if let Some(tail) = &mut self.tail {
            tail.close(&self.current, settings.tail_portion);
            tail.take();
        }
    }

    /// What flushes took is in the store: its events can be read again.
    pub fn stored(&mut self) {
        if let Some(tail) = &mut self.tail {
            tail.stored();
        }
    }

    /// Moves the base up to the last checkpoint at or below stable time and forgets what nothing
    /// to come can meet; nothing while the key's policy is not known. Cheap when there is nothing
    /// to do, and reads nothing.
    pub fn settle(&mut self, stable: Hlc, epochs: &Epochs, settings: &FoldSettings) -> Settled {
        let early = settings.fault == Some(Fault::TombstoneDroppedEarly) && !self.exists();
        let Some(last) = self.unsettled_until() else {
            return if self.exists() { Settled::Whole } else { Settled::Gone };
        };
        if !epochs.knows(self.current.epoch) {
            return Settled::Unsettled;
        }
        if last <= stable || early {
            self.tail = None;
            self.copies = Copies::default();
            return self.settle_whole(if early { Hlc::MAX } else { stable }, epochs);
        }
        self.settle_part(stable, epochs);
        Settled::Unsettled
    }

    fn settle_whole(&mut self, stable: Hlc, epochs: &Epochs) -> Settled {
        if !self.records.is_empty() {
            Arc::make_mut(&mut self.records).retain(|_, record| record.is_open());
        }
        // What nobody else holds is not copied for nothing.
        let current = &self.current;
        if current.whole.is_some() || current.tree.prunable(stable, Floor(None)) {
            Arc::make_mut(&mut self.current).prune(stable, Floor(None), epochs);
        }
        if self.exists() {
            return Settled::Whole;
        }
        Arc::make_mut(&mut self.current).frontier.clear();
        Settled::Gone
    }

    fn settle_part(&mut self, stable: Hlc, epochs: &Epochs) {
        let Some(tail) = &mut self.tail else { return };
        if !tail.settle(stable) {
            return;
        }
        if !self.records.is_empty() {
            let records = Arc::make_mut(&mut self.records);
            records.retain(|key, record| record.is_pending(key, &tail.first));
        }
        if let Some(floor) = tail.floor() {
            Arc::make_mut(&mut tail.base).prune(stable, Floor(Some(&floor)), epochs);
            Arc::make_mut(&mut self.current).prune(stable, Floor(Some(&floor)), epochs);
        }
        if let (true, Some(last)) = (tail.open.is_empty(), tail.chain.last_mut()) {
            last.state = Arc::clone(&self.current);
        }
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
