//! The naive reference of the fold: what the events of one key come to, by the book.
//!
//! The simulator holds every region's state of a key against this one. It is written from
//! `docs/fold.md` alone (the numbers in brackets are its rulings), shares no type and no code with
//! the crates it judges, and prefers the plainest way to the fast one: it sorts all events, replays
//! them from nothing over a flat map of paths, and keeps no state from one call to the next.
//!
//! What always holds: the answer depends on the set of events only, never on the order in which
//! they are handed in; whatever stands below a path that is not an object is absent; a path that
//! never held a value or an object is not in the map.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

mod fields;
mod policy;
mod replay;
#[cfg(test)]
mod tests;
mod versions;

pub use policy::{RefField, RefPolicies, RefPolicy, RefStrategy};
use replay::Replay;

/// Origin, as text, and sequence.
pub type RefDot = (Arc<str>, u64);

/// One event of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefEvent {
    pub dot: RefDot,
    /// 48 bits of milliseconds, then 16 bits of counter.
    pub hlc: u64,
    pub deps: BTreeMap<Arc<str>, u64>,
    pub ctx: Option<BTreeSet<RefDot>>,
    /// Event id and place in the atomic batch.
    pub identity: (String, u32),
    pub event_type: String,
    pub operation: RefOperation,
    pub data: Value,
    /// Of its type, at its birth; 0 is the default policy.
    pub epoch: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefOperation {
    Put,
    Patch,
    Delete,
    Increment,
    Record,
    Add,
    Remove,
}

/// Something that lost, on record (14).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefRecord {
    pub losers: BTreeSet<RefDot>,
    pub winner: RefDot,
    /// RFC 6901 pointers.
    pub paths: BTreeSet<String>,
    pub kind: RefKind,
    pub status: RefStatus,
}

/// Whether a record waits for a person (29).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefStatus {
    Settled,
    Open,
    SettledBy(RefDot),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefKind {
    UpdateUpdate,
    UpdateDelete,
    IdReused,
}

/// What a key's events come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefState {
    pub value: Option<Value>,
    pub version: u64,
    pub frontier: BTreeSet<RefDot>,
    pub records: BTreeSet<RefRecord>,
}

/// Folds the events of one key, handed in in any order, each dot once, under the default policy.
pub fn fold(events: &[RefEvent], window_milliseconds: u64) -> RefState {
    fold_under(&RefPolicies::new(), events, window_milliseconds)
}

/// [`fold`] under the policies of the key's type, by epoch.
pub fn fold_under(
    policies: &RefPolicies,
    events: &[RefEvent],
    window_milliseconds: u64,
) -> RefState {
    let history = History::new(events, window_milliseconds);
    let mut replay = Replay::new(&history, policies);
    for event in 0..history.ordered.len() {
        replay.apply(event);
    }
    let mut records = replay.records();
    for mut reused in history.reused() {
        // Of one loser and one winner there is one record (14).
        let same = |r: &&RefRecord| r.losers == reused.losers && r.winner == reused.winner;
        if let Some(other) = records.iter().find(same).cloned() {
            records.remove(&other);
            reused.paths = other.paths;
        }
        records.insert(reused);
    }
    RefState {
        value: replay.value(),
        version: history.version(),
        frontier: history.frontier(),
        records,
    }
}

/// The place of an event in the order of replay; stands for the event from here on.
type Place = usize;

/// The events in order, and what they are to each other.
struct History<'a> {
    ordered: Vec<&'a RefEvent>,
    copies: BTreeMap<&'a (String, u32), Vec<Place>>,
    /// In the unit of an HLC.
    window: u64,
}

impl<'a> History<'a> {
    /// Sorts by HLC, origin, sequence (1).
    fn new(events: &'a [RefEvent], window_milliseconds: u64) -> Self {
        let mut ordered: Vec<&RefEvent> = events.iter().collect();
        ordered.sort_by_key(|event| (event.hlc, &event.dot));
        let dots: BTreeSet<&RefDot> = ordered.iter().map(|event| &event.dot).collect();
        assert!(dots.len() == ordered.len(), "no dot stands for two events");
        let mut copies: BTreeMap<_, Vec<Place>> = BTreeMap::new();
        for (place, event) in ordered.iter().enumerate() {
            copies.entry(&event.identity).or_default().push(place);
        }
        let window = window_milliseconds.saturating_mul(1 << 16);
        Self { ordered, copies, window }
    }

    fn dot(&self, event: Place) -> RefDot {
        self.ordered[event].dot.clone()
    }

    /// The event and its copies, in order.
    fn copies(&self, event: Place) -> &[Place] {
        &self.copies[&self.ordered[event].identity]
    }

    /// (2): no other copy lies before it within the window.
    fn counts(&self, event: Place) -> bool {
        let hlc = self.ordered[event].hlc;
        let mut before = self.copies(event).iter().filter(|copy| **copy < event);
        !before.any(|copy| hlc - self.ordered[*copy].hlc <= self.window)
    }

    /// (3): directly, or through a later copy of the other.
    fn covers(&self, event: Place, other: Place) -> bool {
        let mut other_or_later = self.copies(other).iter().filter(|copy| **copy >= other);
        event != other && other_or_later.any(|copy| self.covers_directly(event, *copy))
    }

    fn covers_directly(&self, event: Place, other: Place) -> bool {
        let (origin, sequence) = &self.ordered[other].dot;
        let RefEvent { deps, ctx, .. } = self.ordered[event];
        event != other
            && match ctx {
                Some(dots) => dots.contains(&self.ordered[other].dot),
                None => deps.get(origin).is_some_and(|highest| sequence <= highest),
            }
    }

    /// (4): what no other event covers.
    fn frontier(&self) -> BTreeSet<RefDot> {
        let places = || 0..self.ordered.len();
        let covered = |event: &Place| places().any(|other| self.covers(other, *event));
        let open = places().filter(|event| !covered(event));
        open.map(|event| self.dot(event)).collect()
    }

    /// (5): how many events count.
    fn version(&self) -> u64 {
        let counted = (0..self.ordered.len()).filter(|event| self.counts(*event));
        counted.count() as u64
    }

    /// The copies that say something else than the counted one they repeat (2).
    fn reused(&self) -> BTreeSet<RefRecord> {
        let mut records = BTreeSet::new();
        for event in (0..self.ordered.len()).filter(|event| !self.counts(*event)) {
            let before = self.copies(event).iter().filter(|copy| **copy < event);
            let Some(counted) = before.copied().rfind(|copy| self.counts(*copy)) else {
                panic!("the first copy of an event counts");
            };
            if content(self.ordered[event]) != content(self.ordered[counted]) {
                records.insert(RefRecord {
                    losers: BTreeSet::from([self.dot(event)]),
                    winner: self.dot(counted),
                    paths: BTreeSet::new(),
                    kind: RefKind::IdReused,
                    status: RefStatus::Settled,
                });
            }
        }
        records
    }
}

/// What two copies have to have in common.
fn content(event: &RefEvent) -> (&str, RefOperation, &Value) {
    (&event.event_type, event.operation, &event.data)
}
