//! Fields: paths whose concurrent writes are merged by a rule of their own.
//!
//! Rulings 18 to 24 of `docs/fold.md`. A set, a greatest or least number and a flag remember which
//! event gave what; a counter is an integer whose resets leave what they do not cover; a map is
//! ordinary paths out of which only what is covered can be taken. What always holds: what an event
//! does not cover it does not take out of a field.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::record::Ledger;
use super::tree::{Counter, Floor, Held, Node, Path, ineffective, integer};
use crate::hlc::Hlc;
use crate::policy::{FieldKind, Shape, is_members};
use crate::request::Fault;
use crate::vector::Stamp;

use super::member::Member;

/// What is remembered of a field beside a document's own memory. Lists are in order of the fold.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Field {
    /// Members, each with the adds that hold it.
    Set(BTreeMap<Member, Vec<Stamp>>),
    /// Numbers given; the greatest or the least shows.
    Most(Vec<(Stamp, Member)>),
    Least(Vec<(Stamp, Member)>),
    /// The maximal writes.
    Flag(Vec<(Stamp, bool)>),
}

impl FieldKind {
    /// True for what an increment may bring to such a field.
    pub(super) fn counts(self, amount: &Value) -> bool {
        match self {
            Self::Counter => amount.as_i64().is_some(),
            Self::Map => amount.is_object(),
            Self::Set | Self::Max | Self::Min | Self::Flag => false,
        }
    }
}

/// The members of an array, as the shape has checked it.
fn members(value: &Value) -> impl Iterator<Item = Member> {
    value.as_array().into_iter().flatten().filter_map(Member::new)
}

/// The write that shows: an enabling one, else any; of several the latest.
fn shown(writes: &[(Stamp, bool)]) -> Option<&(Stamp, bool)> {
    writes.iter().rfind(|(_, on)| *on).or(writes.last())
}

impl Field {
    /// What one event's value makes of a field that remembers nothing; none for fields that are
    /// ordinary paths, and for what they do not take.
    pub(super) fn new(kind: FieldKind, value: &Value, by: &Stamp) -> Option<Self> {
        if !kind.takes(value) {
            return None;
        }
        let given = || Some(vec![(by.clone(), Member::new(value)?)]);
        match kind {
            FieldKind::Set => {
                Some(Self::Set(members(value).map(|m| (m, vec![by.clone()])).collect()))
            }
            FieldKind::Max => Some(Self::Most(given()?)),
            FieldKind::Min => Some(Self::Least(given()?)),
            FieldKind::Flag => Some(Self::Flag(vec![(by.clone(), value.as_bool()?)])),
            FieldKind::Counter | FieldKind::Map => None,
        }
    }

    pub(super) fn value(&self) -> Value {
        match self {
            Self::Set(members) => Value::Array(members.keys().map(Member::value).collect()),
            Self::Most(given) => {
                given.iter().map(|(_, n)| n).max().map_or(Value::Null, Member::value)
            }
            Self::Least(given) => {
                given.iter().map(|(_, n)| n).min().map_or(Value::Null, Member::value)
            }
            Self::Flag(writes) => Value::Bool(shown(writes).is_some_and(|(_, on)| *on)),
        }
    }

    /// The events that hold something of it.
    pub(super) fn stamps(&self) -> BTreeSet<&Stamp> {
        match self {
            Self::Set(members) => members.values().flatten().collect(),
            Self::Most(given) | Self::Least(given) => given.iter().map(|(by, _)| by).collect(),
            Self::Flag(writes) => writes.iter().map(|(by, _)| by).collect(),
        }
    }

    /// The event takes out what it covers. True if something is left.
    fn take_out(&mut self, ledger: &Ledger<'_>) -> bool {
        match self {
            Self::Set(members) => {
                members.retain(|_, adds| {
                    adds.retain(|by| !ledger.covers(by));
                    !adds.is_empty()
                });
                !members.is_empty()
            }
            Self::Most(given) | Self::Least(given) => {
                given.retain(|(by, _)| !ledger.covers(by));
                !given.is_empty()
            }
            Self::Flag(writes) => {
                writes.retain(|(by, _)| !ledger.covers(by));
                !writes.is_empty()
            }
        }
    }

    fn add(&mut self, value: &Value, ledger: &Ledger<'_>) {
        let Self::Set(known) = self else { return };
        for member in members(value) {
            let adds = known.entry(member).or_default();
            adds.retain(|by| !ledger.covers(by) && by != ledger.stamp());
            adds.push(ledger.stamp().clone());
        }
    }

    fn remove(&mut self, value: &Value, ledger: &Ledger<'_>) {
        let Self::Set(known) = self else { return };
        let all = ledger.fault == Some(Fault::ConcurrentAddRemoved);
        for member in members(value) {
            if let Some(adds) = known.get_mut(&member) {
                adds.retain(|by| !all && !ledger.covers(by));
                if adds.is_empty() {
                    known.remove(&member);
                }
            }
        }
    }

    /// A value that the field takes.
    fn write(&mut self, new: &Value, resets: bool, path: &Path<'_>, ledger: &mut Ledger<'_>) {
        let by = ledger.stamp().clone();
        match (&mut *self, Member::new(new)) {
            (Self::Set(_), _) => {
                self.take_out(ledger);
                self.add(new, ledger);
            }
            (Self::Most(given), Some(new)) => {
                given.retain(|(by, n)| !ledger.covers(by) || (!resets && *n > new));
                given.push((by, new));
            }
            (Self::Least(given), Some(new)) => {
                given.retain(|(by, n)| !ledger.covers(by) || (!resets && *n < new));
                given.push((by, new));
            }
            (Self::Flag(writes), Some(Member::Bool(on))) => {
                let before = shown(writes).cloned();
                writes.retain(|(by, _)| !ledger.covers(by));
                writes.push((by.clone(), on));
                match shown(writes) {
                    Some((winner, _)) if *winner == by => {
                        let other = before.filter(|(_, was)| *was != on);
                        other.iter().for_each(|(loser, _)| ledger.hide(loser, false, path));
                    }
                    Some((winner, is)) if *is != on => ledger.yield_to(winner, false, path),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// Of the numbers that every event to come covers, the one that shows is enough.
    pub(super) fn prune(&mut self, stable: Hlc, floor: Floor<'_>) {
        let most = matches!(self, Self::Most(_));
        let (Self::Most(given) | Self::Least(given)) = self else { return };
        let settled = given.iter().filter(|(by, _)| floor.settles(by, stable)).map(|(_, n)| n);
        let Some(best) = (if most { settled.max() } else { settled.min() }).cloned() else {
            return;
        };
        let mut kept = false;
        given.retain(|(by, number)| {
            let settled = floor.settles(by, stable);
            let first = settled && !kept && *number == best;
            kept |= first;
            first || !settled
        });
    }

    pub(super) fn prunable(&self, stable: Hlc, floor: Floor<'_>) -> bool {
        let (Self::Most(given) | Self::Least(given)) = self else { return false };
        given.iter().filter(|(by, _)| floor.settles(by, stable)).count() > 1
    }
}

impl Node {
    /// What a put or a patch says of a field; `resets` where a put says it (18).
    pub(super) fn write_field(
        &mut self,
        kind: FieldKind,
        new: Option<&Value>,
        resets: bool,
        path: &Path<'_>,
        ledger: &mut Ledger<'_>,
    ) {
        if new.is_some_and(|value| !kind.takes(value)) {
            return ledger.out_of_place(self.holder(), path);
        }
        match (kind, &mut self.held, new) {
            (FieldKind::Counter, Held::Value(value), new) if integer(value).is_some() => {
                self.reset_counter(new, path, ledger);
            }
            (FieldKind::Map, Held::Object, None) => self.take_out(ledger),
            (FieldKind::Map, _, Some(Value::Object(members))) if !resets => {
                self.patch(members, path, ledger);
            }
            (_, Held::Field(field), Some(new)) => {
                field.write(new, resets, path, ledger);
                self.by = Some(ledger.stamp().clone());
            }
            (_, Held::Field(field), None) => {
                if !field.take_out(ledger) {
                    self.forget();
                }
            }
            _ => self.begin_field(kind, new, path, ledger),
        }
    }

    /// Whatever is no such field's yet gives way as any path does (18).
    fn begin_field(
        &mut self,
        kind: FieldKind,
        new: Option<&Value>,
        path: &Path<'_>,
        ledger: &mut Ledger<'_>,
    ) {
        self.assert(new, path, ledger);
        let field = new.and_then(|value| Field::new(kind, value, ledger.stamp()));
        if let Some(field) = field {
            self.held = Held::Field(Box::new(field));
        }
    }

    fn forget(&mut self) {
        self.held = Held::Never;
        self.by = None;
        self.counter = None;
    }

    /// Ruling 19: increments that the event does not cover stay.
    fn reset_counter(&mut self, new: Option<&Value>, path: &Path<'_>, ledger: &mut Ledger<'_>) {
        let made = self.counter.as_ref().is_some_and(|counter| counter.made);
        let mut increments = self.counter.take().map_or(Vec::new(), |c| c.increments);
        increments.retain(|(by, _)| !ledger.covers(by));
        let counter = |made| Counter { made, settled: 0, increments: increments.clone() };
        match (new, &self.by) {
            (Some(value), by) => {
                if let (false, Some(by)) = (made, by) {
                    ledger.hide(by, false, path);
                }
                self.set(Held::Value(value.clone()), ledger);
            }
            (None, Some(by)) if !made && !ledger.covers(by) => {}
            (None, _) => match increments.first() {
                Some((first, _)) => {
                    self.by = Some(first.clone());
                    self.held = Held::Value(Value::from(0));
                    self.counter = Some(Box::new(counter(true)));
                    return;
                }
                None => return self.forget(),
            },
        }
        if !increments.is_empty() {
            self.counter = Some(Box::new(counter(false)));
        }
    }

    /// Ruling 21: of a map's member, everything that the event covers.
    pub(super) fn take_out(&mut self, ledger: &Ledger<'_>) {
        self.children.for_each_mut(|_, child| {
            if child.holds_anywhere() {
                std::sync::Arc::make_mut(child).take_out(ledger);
            }
        });
        let increments = self.counter.iter().flat_map(|counter| &counter.increments);
        let asserted = self.by.iter().filter(|_| self.counter.as_ref().is_none_or(|c| !c.made));
        let mut holders = increments.map(|(by, _)| by).chain(asserted);
        let covered = holders.all(|by| ledger.covers(by));
        let empty = !self.children.values().any(|child| child.holds());
        if self.holds() && covered && empty {
            self.forget();
        }
    }

    /// Ruling 20: members come into sets.
    pub(super) fn add_members(
        &mut self,
        data: &Map<String, Value>,
        path: &Path<'_>,
        ledger: &mut Ledger<'_>,
    ) {
        if let (Held::Value(_) | Held::Field(_), Some(by)) = (&self.held, &self.by) {
            return ineffective(data, by, path, ledger);
        }
        if !leads(data, path.shape) {
            return strays(data, Some(self), path, ledger);
        }
        self.assert_object(path, ledger);
        for (name, value) in data {
            let path = path.child(name);
            match (path.shape, value) {
                (Shape::Field(FieldKind::Set), value) if is_members(value) => {
                    self.child(name).add_to_set(value, &path, ledger);
                }
                (Shape::Above(_), Value::Object(data)) if leads(data, path.shape) => {
                    self.child(name).add_members(data, &path, ledger);
                }
                (_, value) => stray(value, self.children.get(name.as_str()), &path, ledger),
            }
        }
    }

    fn add_to_set(&mut self, value: &Value, path: &Path<'_>, ledger: &mut Ledger<'_>) {
        match &mut self.held {
            Held::Field(field) => {
                field.add(value, ledger);
                self.by = Some(ledger.stamp().clone());
            }
            Held::Never | Held::Absent => {
                self.begin_field(FieldKind::Set, Some(value), path, ledger);
            }
            Held::Value(_) | Held::Object => ledger.out_of_place(self.holder(), path),
        }
    }

    /// Ruling 20: members go out of sets; nothing is made by it.
    pub(super) fn remove_members(
        &mut self,
        data: &Map<String, Value>,
        path: &Path<'_>,
        ledger: &mut Ledger<'_>,
    ) {
        for (name, value) in data {
            let path = path.child(name);
            let child = self.children.get_mut(name.as_str());
            match (path.shape, value, child) {
                (Shape::Field(FieldKind::Set), value, child) if is_members(value) => {
                    let Some(child) = child.filter(|child| child.holds()) else { continue };
                    match &mut std::sync::Arc::make_mut(child).held {
                        Held::Field(field) => field.remove(value, ledger),
                        _ => ledger.out_of_place(child.holder(), &path),
                    }
                }
                (Shape::Above(_), Value::Object(data), Some(child)) => {
                    std::sync::Arc::make_mut(child).remove_members(data, &path, ledger);
                }
                (Shape::Above(_), Value::Object(data), None) => {
                    Self::default().remove_members(data, &path, ledger);
                }
                (_, value, child) => stray(value, child, &path, ledger),
            }
        }
    }

    /// A document put whole by that event, over nothing (25).
    pub(super) fn planted(value: &Value, by: &Stamp, shape: Shape<'_>) -> Self {
        let field = match shape {
            Shape::Field(kind) => Field::new(kind, value, by),
            _ => None,
        };
        let mut node = Self { by: Some(by.clone()), ..Self::default() };
        node.held = match (field, value) {
            (Some(field), _) => Held::Field(Box::new(field)),
            (None, Value::Object(members)) => {
                for (name, member) in members {
                    *node.child(name) = Self::planted(member, by, shape.child(name));
                }
                Held::Object
            }
            (None, value) => Held::Value(value.clone()),
        };
        node
    }
}

/// True if members for a set are among the data.
fn leads(data: &Map<String, Value>, shape: Shape<'_>) -> bool {
    data.iter().any(|(name, value)| match (shape.child(name), value) {
        (Shape::Field(FieldKind::Set), value) => is_members(value),
        (shape @ Shape::Above(_), Value::Object(data)) => leads(data, shape),
        _ => false,
    })
}

/// Ruling 17, for members where no set is.
fn stray<N: AsRef<Node>>(value: &Value, node: Option<N>, path: &Path<'_>, ledger: &mut Ledger<'_>) {
    let node = node.as_ref().map(AsRef::as_ref);
    match value {
        Value::Object(data) => strays(data, node, path, ledger),
        _ => ledger.out_of_place(node.and_then(Node::holder), path),
    }
}

fn strays(
    data: &Map<String, Value>,
    node: Option<&Node>,
    path: &Path<'_>,
    ledger: &mut Ledger<'_>,
) {
    for (name, value) in data {
        let path = path.child(name);
        let child = node.and_then(|node| node.children.get(name.as_str()));
        stray(value, child, &path, ledger);
    }
}
