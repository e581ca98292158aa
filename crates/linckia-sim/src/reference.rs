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

use serde_json::{Map, Number, Value};

#[cfg(test)]
mod tests;

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

/// Folds the events of one key, handed in in any order, each dot once.
pub fn fold(events: &[RefEvent], window_milliseconds: u64) -> RefState {
    let history = History::new(events, window_milliseconds);
    let mut replay = Replay { history: &history, tree: BTreeMap::new(), hidings: BTreeMap::new() };
    for event in 0..history.ordered.len() {
        replay.apply(event);
    }
    let mut records = replay.records();
    records.extend(history.reused());
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

/// The names of the members from the root down.
type Path = Vec<String>;

/// What a path holds, and by which event; one that is *never* has no slot.
type Slot = (Place, Holds);

enum Holds {
    Absence,
    Object,
    /// A scalar or an array: the assertion (none, where an increment made it), the increments.
    Value(Option<Value>, BTreeMap<Place, i128>),
}

/// The key while its events are replayed.
struct Replay<'a> {
    history: &'a History<'a>,
    tree: BTreeMap<Path, Slot>,
    /// The records by losers and winner.
    hidings: BTreeMap<(BTreeSet<Place>, Place), (BTreeSet<String>, RefKind)>,
}

impl Replay<'_> {
    fn apply(&mut self, event: Place) {
        let said = self.history.ordered[event];
        let data = &said.data;
        let bare = matches!(said.operation, RefOperation::Delete | RefOperation::Record);
        assert!(bare || data.is_object(), "what sets members is an object");
        match said.operation {
            RefOperation::Put => self.put(event, data),
            RefOperation::Delete => self.delete(event),
            RefOperation::Patch => self.patch(event, &[], data),
            RefOperation::Increment if self.history.counts(event) => {
                self.increment(event, &[], data);
            }
            RefOperation::Increment | RefOperation::Record => {}
            RefOperation::Add | RefOperation::Remove => {}
        }
    }

    /// (8)
    fn put(&mut self, event: Place, document: &Value) {
        let mut asserted = BTreeMap::new();
        flatten(&[], document, &mut asserted);
        self.hide_shown(event, &[], |path| !asserted.contains_key(path));
        for path in asserted.keys() {
            self.hide_absence(event, path);
        }
        self.empty(event, &[]);
        for (path, holds) in asserted {
            self.set(event, &path, holds);
        }
    }

    /// (9)
    fn delete(&mut self, event: Place) {
        self.hide_shown(event, &[], |_| true);
        self.empty(event, &[]);
    }

    /// (10)
    fn patch(&mut self, event: Place, path: &[String], patch: &Value) {
        match patch {
            Value::Object(members) => {
                self.assert_object(event, path);
                for (name, member) in members {
                    self.patch(event, &child(path, name), member);
                }
            }
            Value::Null => {
                self.hide_shown(event, path, |_| true);
                self.empty(event, path);
            }
            value => {
                self.hide_shown(event, path, |shown| shown != path);
                self.hide_absence(event, path);
                self.empty(event, path);
                self.set(event, path, value_asserted(value));
            }
        }
    }

    /// (11)
    fn increment(&mut self, event: Place, path: &[String], data: &Value) {
        let Value::Object(members) = data else {
            return self.add(event, path, data);
        };
        if let Some((by, Holds::Value(..))) = self.tree.get(path) {
            return self.refuse(event, *by, path, data);
        }
        self.assert_object(event, path);
        for (name, member) in members {
            self.increment(event, &child(path, name), member);
        }
    }

    /// One leaf of an increment (11).
    fn add(&mut self, event: Place, path: &[String], leaf: &Value) {
        let Some(amount) = integer(leaf) else {
            panic!("the leaves of an increment are integers");
        };
        match self.tree.get_mut(path) {
            None | Some((_, Holds::Absence)) => {
                self.hide_absence(event, path);
                let increments = BTreeMap::from([(event, amount)]);
                self.set(event, path, Holds::Value(None, increments));
            }
            Some((_, Holds::Value(assertion, increments))) if counts_from(assertion).is_some() => {
                increments.insert(event, amount);
            }
            Some((by, _)) => {
                let holder = *by;
                self.refuse(event, holder, path, leaf);
            }
        }
    }

    /// Every leaf at or below the path has no effect, because of what the holder holds (11).
    fn refuse(&mut self, event: Place, holder: Place, path: &[String], data: &Value) {
        match data {
            Value::Object(members) => {
                for (name, member) in members {
                    self.refuse(event, holder, &child(path, name), member);
                }
            }
            _ => self.lose(BTreeSet::from([event]), holder, path, false),
        }
    }

    /// An object of a patch or an increment: one that is there goes on under the event's name.
    fn assert_object(&mut self, event: Place, path: &[String]) {
        if !matches!(self.tree.get(path), Some((_, Holds::Object))) {
            self.hide(event, path, false);
        }
        self.set(event, path, Holds::Object);
    }

    fn set(&mut self, event: Place, path: &[String], holds: Holds) {
        self.tree.insert(path.to_vec(), (event, holds));
    }

    /// The paths at or below this one that hold a value or an object, in order.
    fn live(&self, path: &[String]) -> Vec<Path> {
        let slots = self.tree.range(path.to_vec()..);
        let known = slots.take_while(|(at, _)| at.starts_with(path));
        let live = known.filter(|(_, (_, holds))| !matches!(holds, Holds::Absence));
        live.map(|(at, _)| at.clone()).collect()
    }

    /// The paths at or below this one that show: values, and objects with nothing live below.
    fn shown(&self, path: &[String]) -> Vec<Path> {
        let live = self.live(path);
        // Sorted, what is live below a path follows it at once; nothing is live below a value.
        let shows = |(place, path): &(usize, &Path)| {
            let next = live.get(place + 1);
            !next.is_some_and(|next| next.starts_with(path))
        };
        let shown = live.iter().enumerate().filter(shows);
        shown.map(|(_, path)| path.clone()).collect()
    }

    /// Hides all that shows at or below the path; `emptied` says where absence takes its place.
    fn hide_shown(&mut self, event: Place, path: &[String], emptied: impl Fn(&[String]) -> bool) {
        for shown in self.shown(path) {
            self.hide(event, &shown, emptied(&shown));
        }
    }

    /// For an event that gives the path a value or an object (7).
    fn hide_absence(&mut self, event: Place, path: &[String]) {
        if let Some((_, Holds::Absence)) = self.tree.get(path) {
            self.hide(event, path, false);
        }
    }

    /// Hides what the path holds: what the event does not cover of it goes on record (6, 12).
    fn hide(&mut self, event: Place, path: &[String], emptied: bool) {
        let Some((by, holds)) = self.tree.get(path) else {
            return;
        };
        let own = BTreeSet::from([*by]);
        let (hidden, absence) = match holds {
            Holds::Absence => (vec![own], true),
            Holds::Object => (vec![own], emptied),
            Holds::Value(assertion, increments) => {
                let asserted = assertion.iter().map(|_| own.clone());
                let added = increments.keys().copied().collect();
                (asserted.chain([added]).collect(), emptied)
            }
        };
        for mut losers in hidden {
            losers.retain(|loser| !self.history.covers(event, *loser));
            if !losers.is_empty() {
                self.lose(losers, event, path, absence);
            }
        }
    }

    /// Puts the losers on record at the path.
    fn lose(&mut self, losers: BTreeSet<Place>, winner: Place, path: &[String], absence: bool) {
        let nothing_yet = (BTreeSet::new(), RefKind::UpdateUpdate);
        let (paths, kind) = self.hidings.entry((losers, winner)).or_insert(nothing_yet);
        paths.insert(pointer(path));
        if absence {
            *kind = RefKind::UpdateDelete;
        }
    }

    /// Every path at or below this one that holds a value or an object becomes absent by the event;
    /// an absence stays that of the event that emptied the path (7).
    fn empty(&mut self, event: Place, path: &[String]) {
        for live in self.live(path) {
            self.set(event, &live, Holds::Absence);
        }
    }

    /// (14)
    fn records(&self) -> BTreeSet<RefRecord> {
        let mut records = BTreeSet::new();
        for ((losers, winner), (paths, kind)) in &self.hidings {
            let losers = losers.iter().map(|loser| self.history.dot(*loser));
            records.insert(RefRecord {
                losers: losers.collect(),
                winner: self.history.dot(*winner),
                paths: paths.clone(),
                kind: *kind,
            });
        }
        records
    }

    /// What the tree shows, as one document.
    fn value(&self) -> Option<Value> {
        let mut root = None;
        for (path, (_, holds)) in &self.tree {
            let shown = match holds {
                Holds::Absence => continue,
                Holds::Object => Value::Object(Map::new()),
                Holds::Value(assertion, increments) => sum(assertion, increments),
            };
            let Some((name, parents)) = path.split_last() else {
                root = Some(shown);
                continue;
            };
            let names = parents.iter();
            let parent = names.fold(root.as_mut(), |at, name| at?.get_mut(name.as_str()));
            let Some(Value::Object(members)) = parent else {
                panic!("what shows stands below an object");
            };
            members.insert(name.clone(), shown);
        }
        root
    }
}

/// The document's own paths, as the put asserts them.
fn flatten(path: &[String], document: &Value, into: &mut BTreeMap<Path, Holds>) {
    let Value::Object(members) = document else {
        into.insert(path.to_vec(), value_asserted(document));
        return;
    };
    into.insert(path.to_vec(), Holds::Object);
    for (name, member) in members {
        flatten(&child(path, name), member, into);
    }
}

fn value_asserted(value: &Value) -> Holds {
    Holds::Value(Some(value.clone()), BTreeMap::new())
}

fn child(path: &[String], name: &str) -> Path {
    [path, &[name.to_owned()]].concat()
}

/// RFC 6901.
fn pointer(path: &[String]) -> String {
    path.iter().map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1"))).collect()
}

/// A number without fraction and exponent.
fn integer(value: &Value) -> Option<i128> {
    value.as_number().and_then(Number::as_i128)
}

/// What the increments of a value are added to: its assertion, where that is an integer, or 0.
fn counts_from(assertion: &Option<Value>) -> Option<i128> {
    assertion.as_ref().map_or(Some(0), integer)
}

/// The assertion plus the increments, exact where an integer of JSON can hold it here.
fn sum(assertion: &Option<Value>, increments: &BTreeMap<Place, i128>) -> Value {
    let added: i128 = increments.values().sum();
    match (assertion, counts_from(assertion)) {
        (Some(value), _) if increments.is_empty() => value.clone(),
        (_, Some(base)) => Number::from_i128(base + added)
            .or_else(|| Number::from_f64((base + added) as f64))
            .map_or(Value::Null, Value::Number),
        (_, None) => panic!("only an integer has increments"),
    }
}
