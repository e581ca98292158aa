//! The key as it is while its events are replayed over a flat map of paths.
//!
//! Rulings 6 to 14, 25 and 29; what fields and whole documents do differently lies beside.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Number, Value};

use super::fields::Said;
use super::{
    History, Place, RefEvent, RefField, RefKind, RefOperation, RefPolicies, RefPolicy, RefRecord,
    RefStatus, RefStrategy,
};

/// The names of the members from the root down.
pub(super) type Path = Vec<String>;

/// What a path holds, and by which event; one that is *never* has no slot.
pub(super) type Slot = (Place, Holds);

pub(super) enum Holds {
    Absence,
    Object,
    /// A scalar or an array: the assertion (none, where an increment made it), the increments.
    Value(Option<Value>, BTreeMap<Place, i128>),
    /// A field that is no ordinary path, and all that was said to it.
    Field(RefField, Vec<(Place, Said)>),
}

/// Paths, kind, and whether a person is asked.
type Hiding = (BTreeSet<String>, RefKind, bool);

/// The key while its events are replayed.
pub(super) struct Replay<'a> {
    pub(super) history: &'a History<'a>,
    policies: &'a RefPolicies,
    /// That of the event being replayed.
    pub(super) policy: RefPolicy,
    pub(super) tree: BTreeMap<Path, Slot>,
    /// What every put and delete left, where a document is one value.
    pub(super) versions: BTreeMap<Place, Option<Value>>,
    /// The records by losers and winner.
    hidings: BTreeMap<(BTreeSet<Place>, Place), Hiding>,
}

impl<'a> Replay<'a> {
    pub(super) fn new(history: &'a History<'a>, policies: &'a RefPolicies) -> Self {
        Self {
            history,
            policies,
            policy: RefPolicy::default(),
            tree: BTreeMap::new(),
            versions: BTreeMap::new(),
            hidings: BTreeMap::new(),
        }
    }

    /// (25)
    fn turn(&mut self, event: Place) {
        let epoch = self.history.ordered[event].epoch;
        let before = event.checked_sub(1).map_or(0, |before| self.history.ordered[before].epoch);
        if epoch == before {
            return;
        }
        let shown = self.value();
        self.policy = match epoch {
            0 => RefPolicy::default(),
            epoch => self.policies[&epoch].clone(),
        };
        self.tree.clear();
        self.versions.clear();
        let Some(document) = shown else { return };
        let Some(last) = event.checked_sub(1) else { panic!("what shows was written") };
        if self.policy.strategy.is_whole() {
            self.versions.insert(last, Some(document));
        } else {
            self.plant(last, &document);
        }
    }

    pub(super) fn apply(&mut self, event: Place) {
        self.turn(event);
        let said = self.history.ordered[event];
        let data = &said.data;
        let bare = matches!(said.operation, RefOperation::Delete | RefOperation::Record);
        assert!(bare || data.is_object(), "what sets members is an object");
        if self.policy.strategy.is_whole() {
            return self.version(event);
        }
        match said.operation {
            RefOperation::Put => self.put(event, data),
            RefOperation::Delete => self.delete(event),
            RefOperation::Patch => self.patch(event, &[], data),
            RefOperation::Increment if self.history.counts(event) => {
                self.increment(event, &[], data);
            }
            RefOperation::Increment | RefOperation::Record => {}
            RefOperation::Add => self.add_members(event, &[], data),
            RefOperation::Remove => self.remove_members(event, &[], data),
        }
    }

    /// (8), and (18) for fields of whose parents the document speaks.
    fn put(&mut self, event: Place, document: &Value) {
        let addressed = self.addressed(document);
        let field = |path: &[String]| addressed.iter().any(|field| path.starts_with(field));
        let mut asserted = BTreeMap::new();
        flatten(&[], document, &mut asserted);
        asserted.retain(|path, _| !field(path));
        let shown = self.shown(&[]);
        for path in shown.iter().filter(|path| !field(path)) {
            self.hide(event, path, !asserted.contains_key(path));
        }
        for path in asserted.keys() {
            self.hide_absence(event, path);
        }
        for path in self.live(&[]).iter().filter(|path| !field(path)) {
            self.set(event, path, Holds::Absence);
        }
        for (path, holds) in asserted {
            self.set(event, &path, holds);
        }
        for path in addressed {
            let said = path.iter().try_fold(document, |at, name| at.get(name));
            self.write_field(event, &path, said, true);
        }
    }

    /// (9)
    fn delete(&mut self, event: Place) {
        self.hide_shown(event, &[], |_| true);
        self.empty(event, &[]);
    }

    /// (10)
    pub(super) fn patch(&mut self, event: Place, path: &[String], patch: &Value) {
        if self.policy.field(path).is_some() {
            let said = Some(patch).filter(|patch| !patch.is_null());
            return self.write_field(event, path, said, false);
        }
        self.patch_plain(event, path, patch);
    }

    pub(super) fn patch_plain(&mut self, event: Place, path: &[String], patch: &Value) {
        match patch {
            Value::Null if self.policy.in_map(path) => self.take_out(event, path),
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
            value => self.overwrite(event, path, value_asserted(value)),
        }
    }

    /// A value takes the place of whatever is there and below.
    pub(super) fn overwrite(&mut self, event: Place, path: &[String], holds: Holds) {
        self.hide_shown(event, path, |shown| shown != path);
        self.hide_absence(event, path);
        self.empty(event, path);
        self.set(event, path, holds);
    }

    /// (11)
    fn increment(&mut self, event: Place, path: &[String], data: &Value) {
        if self.policy.field(path).is_some_and(|kind| !kind.counts(data)) {
            return self.out_of_place(event, path);
        }
        let Value::Object(members) = data else {
            return self.add(event, path, data);
        };
        if let Some((by, Holds::Value(..) | Holds::Field(..))) = self.tree.get(path) {
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
    pub(super) fn refuse(&mut self, event: Place, holder: Place, path: &[String], data: &Value) {
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
    pub(super) fn assert_object(&mut self, event: Place, path: &[String]) {
        if !matches!(self.tree.get(path), Some((_, Holds::Object))) {
            self.hide(event, path, false);
        }
        self.set(event, path, Holds::Object);
    }

    pub(super) fn set(&mut self, event: Place, path: &[String], holds: Holds) {
        self.tree.insert(path.to_vec(), (event, holds));
    }

    /// The paths at or below this one that hold a value or an object, in order.
    pub(super) fn live(&self, path: &[String]) -> Vec<Path> {
        let slots = self.tree.range(path.to_vec()..);
        let known = slots.take_while(|(at, _)| at.starts_with(path));
        let live = known.filter(|(_, (_, holds))| !matches!(holds, Holds::Absence));
        live.map(|(at, _)| at.clone()).collect()
    }

    /// The paths at or below this one that show: values, and objects with nothing live below.
    pub(super) fn shown(&self, path: &[String]) -> Vec<Path> {
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
    pub(super) fn hide_shown(
        &mut self,
        event: Place,
        path: &[String],
        emptied: impl Fn(&[String]) -> bool,
    ) {
        for shown in self.shown(path) {
            self.hide(event, &shown, emptied(&shown));
        }
    }

    /// For an event that gives the path a value or an object (7).
    pub(super) fn hide_absence(&mut self, event: Place, path: &[String]) {
        if let Some((_, Holds::Absence)) = self.tree.get(path) {
            self.hide(event, path, false);
        }
    }

    /// Hides what the path holds: what the event does not cover of it goes on record (6, 12).
    pub(super) fn hide(&mut self, event: Place, path: &[String], emptied: bool) {
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
            Holds::Field(kind, said) => {
                let standing = self.standing(*kind, said).into_iter();
                (standing.map(|by| BTreeSet::from([by])).collect(), emptied)
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
    pub(super) fn lose(
        &mut self,
        losers: BTreeSet<Place>,
        winner: Place,
        path: &[String],
        absence: bool,
    ) {
        let manual = self.policy.strategy == RefStrategy::Manual;
        let nothing_yet = (BTreeSet::new(), RefKind::UpdateUpdate, manual);
        let (paths, kind, _) = self.hidings.entry((losers, winner)).or_insert(nothing_yet);
        paths.insert(pointer(path));
        if absence {
            *kind = RefKind::UpdateDelete;
        }
    }

    /// Every path at or below this one that holds a value or an object becomes absent by the event;
    /// an absence stays that of the event that emptied the path (7).
    pub(super) fn empty(&mut self, event: Place, path: &[String]) {
        for live in self.live(path) {
            self.set(event, &live, Holds::Absence);
        }
    }

    /// (14)
    pub(super) fn records(&self) -> BTreeSet<RefRecord> {
        let mut records = BTreeSet::new();
        for ((losers, winner), (paths, kind, manual)) in &self.hidings {
            let sides: BTreeSet<Place> = losers.iter().chain([winner]).copied().collect();
            let status = if *manual { self.status(&sides, paths) } else { RefStatus::Settled };
            let losers = losers.iter().map(|loser| self.history.dot(*loser));
            records.insert(RefRecord {
                losers: losers.collect(),
                winner: self.history.dot(*winner),
                paths: paths.clone(),
                kind: *kind,
                status,
            });
        }
        records
    }

    /// (29)
    fn status(&self, sides: &BTreeSet<Place>, paths: &BTreeSet<String>) -> RefStatus {
        let history = self.history;
        let settles = |event: &Place| {
            history.ordered[*event].epoch != 0
                && sides.iter().all(|side| history.covers(*event, *side))
                && paths.iter().all(|path| sets(history.ordered[*event], path))
        };
        let after = sides.last().map_or(0, |last| last + 1);
        match (after..history.ordered.len()).find(settles) {
            Some(event) => RefStatus::SettledBy(history.dot(event)),
            None => RefStatus::Open,
        }
    }

    /// What the tree shows, as one document.
    pub(super) fn value(&self) -> Option<Value> {
        if self.policy.strategy.is_whole() {
            return self.versions.get(&self.chosen()?)?.clone();
        }
        let mut root = None;
        for (path, (_, holds)) in &self.tree {
            let shown = match holds {
                Holds::Absence => continue,
                Holds::Object => Value::Object(Map::new()),
                Holds::Value(assertion, increments) => sum(assertion, increments),
                Holds::Field(kind, said) => self.field_value(*kind, said),
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
pub(super) fn flatten(path: &[String], document: &Value, into: &mut BTreeMap<Path, Holds>) {
    let Value::Object(members) = document else {
        into.insert(path.to_vec(), value_asserted(document));
        return;
    };
    into.insert(path.to_vec(), Holds::Object);
    for (name, member) in members {
        flatten(&child(path, name), member, into);
    }
}

pub(super) fn value_asserted(value: &Value) -> Holds {
    Holds::Value(Some(value.clone()), BTreeMap::new())
}

pub(super) fn child(path: &[String], name: &str) -> Path {
    [path, &[name.to_owned()]].concat()
}

/// RFC 6901.
pub(super) fn pointer(path: &[String]) -> String {
    path.iter().map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1"))).collect()
}

/// A number without fraction and exponent.
pub(super) fn integer(value: &Value) -> Option<i128> {
    value.as_number().and_then(Number::as_i128)
}

/// What the increments of a value are added to: its assertion, where that is an integer, or 0.
pub(super) fn counts_from(assertion: &Option<Value>) -> Option<i128> {
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

/// A put, a delete, or a patch with something at the path or with no object above it (29).
fn sets(event: &RefEvent, path: &str) -> bool {
    match event.operation {
        RefOperation::Put | RefOperation::Delete => true,
        RefOperation::Patch => {
            // Above the path, from the root down, until the patch says something that is no object.
            let ends = path.char_indices().filter(|(_, c)| *c == '/').map(|(end, _)| end);
            let mut above = ends.map(|end| event.data.pointer(&path[..end]));
            event.data.pointer(path).is_some()
                || above.any(|said| said.is_some_and(|said| !said.is_object()))
        }
        _ => false,
    }
}
