//! A key's document as a tree of paths, each knowing which event holds it.
//!
//! One event at a time is folded in, in order; what it hides without covering goes to the ledger.
//! The rulings, by number, are in `docs/fold.md`. What always holds: the tree after n events is the
//! same whatever was pruned before, and no path is hidden twice.

use std::sync::Arc;

use serde_json::{Map, Number, Value};

use super::field::Field;
use super::record::Ledger;
use super::sorted::Sorted;
use crate::hlc::Hlc;
use crate::policy::Shape;
use crate::vector::{Dot, Stamp, Vector};

/// What a path holds.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) enum Held {
    /// Nothing was ever here, or nobody needs to know any more that something was.
    #[default]
    Never,
    /// Emptied by the node's event.
    Absent,
    /// A scalar or an array.
    Value(Value),
    Object,
    /// A field of the policy with a memory of its own.
    Field(Box<Field>),
}

/// The increments of an integer path since its assertion.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) struct Counter {
    /// The path was made by an increment: it has no assertion of its own.
    pub(super) made: bool,
    /// The sum of increments that every event to come covers.
    pub(super) settled: i128,
    pub(super) increments: Vec<(Stamp, i64)>,
}

/// One path of a document.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) struct Node {
    pub(super) held: Held,
    /// The event that last asserted what is held; for a counter made by increments, the first one.
    pub(super) by: Option<Stamp>,
    pub(super) counter: Option<Box<Counter>>,
    /// Shared with earlier states of the key: what an event does not touch is not copied.
    pub(super) children: Sorted<Arc<str>, Arc<Node>>,
}

/// Where in the document a step is, as a chain of names up to the root.
#[derive(Clone, Copy)]
pub(super) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    name: &'a str,
    /// What it is to the policy's fields.
    pub(super) shape: Shape<'a>,
}

impl<'a> Path<'a> {
    pub(super) const ROOT: Path<'static> = Path::root(Shape::Plain);

    pub(super) const fn root(shape: Shape<'a>) -> Self {
        Path { parent: None, name: "", shape }
    }

    pub(super) fn child(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), name, shape: self.shape.child(name) }
    }

    /// The RFC 6901 pointer.
    pub(super) fn pointer(&self) -> String {
        let Some(parent) = self.parent else { return String::new() };
        let mut pointer = parent.pointer();
        pointer.push('/');
        pointer.push_str(&self.name.replace('~', "~0").replace('/', "~1"));
        pointer
    }
}

impl Node {
    pub(super) fn holds(&self) -> bool {
        matches!(self.held, Held::Value(_) | Held::Object | Held::Field(_))
    }

    /// The event that holds this path, if it holds anything.
    pub(super) fn holder(&self) -> Option<&Stamp> {
        self.by.as_ref().filter(|_| self.holds())
    }

    fn shows(&self) -> bool {
        match self.held {
            Held::Never | Held::Absent => false,
            Held::Value(_) | Held::Field(_) => true,
            Held::Object => !self.children.values().any(|child| child.holds()),
        }
    }

    /// The document from here down; absent where nothing is.
    pub(super) fn value(&self) -> Option<Value> {
        match &self.held {
            Held::Never | Held::Absent => None,
            Held::Value(value) => Some(match &self.counter {
                Some(counter) => number(counter.sum(value)),
                None => value.clone(),
            }),
            Held::Field(field) => Some(field.value()),
            Held::Object => {
                let members = self.children.iter();
                let shown = members.filter_map(|(name, n)| Some((name.to_string(), n.value()?)));
                Some(Value::Object(shown.collect()))
            }
        }
    }

    /// Rules 6, 7, 8, 9 and the scalars of 10: this path becomes `new`, everything shown is hidden.
    pub(super) fn assert(&mut self, new: Option<&Value>, path: &Path<'_>, ledger: &mut Ledger<'_>) {
        if self.shows() {
            self.hide(new.is_none(), path, ledger);
        }
        let Some(value) = new else {
            self.empty_below(path, ledger);
            if self.holds() {
                self.set(Held::Absent, ledger);
            }
            return;
        };
        if self.held == Held::Absent {
            ledger.hide_absence(self.by.as_ref(), path);
        }
        let Some(members) = value.as_object() else {
            self.empty_below(path, ledger);
            return self.set(Held::Value(value.clone()), ledger);
        };
        self.children.for_each_mut(|name, child| {
            let member = members.get(&**name);
            if member.is_some() || child.holds_anywhere() {
                Arc::make_mut(child).put(member, &path.child(name), ledger);
            }
        });
        for (name, member) in members {
            if self.children.get(name.as_str()).is_none() {
                let path = path.child(name);
                self.child(name).put(Some(member), &path, ledger);
            }
        }
        self.set(Held::Object, ledger);
    }

    /// What a put says of this path, which lies in an object of it.
    fn put(&mut self, new: Option<&Value>, path: &Path<'_>, ledger: &mut Ledger<'_>) {
        match path.shape {
            Shape::Plain | Shape::Above(_) => self.assert(new, path, ledger),
            Shape::Member if new.is_none() => self.take_out(ledger),
            Shape::Member => self.assert(new, path, ledger),
            Shape::Field(kind) => self.write_field(kind, new, true, path, ledger),
        }
    }

    /// Everything below becomes absent.
    fn empty_below(&mut self, path: &Path<'_>, ledger: &mut Ledger<'_>) {
        self.children.for_each_mut(|name, child| {
            if child.holds_anywhere() {
                Arc::make_mut(child).assert(None, &path.child(name), ledger);
            }
        });
    }

    pub(super) fn set(&mut self, held: Held, ledger: &Ledger<'_>) {
        self.held = held;
        self.by = Some(ledger.stamp().clone());
        self.counter = None;
    }

    /// Puts on record what this path shows, where the event does not cover it (6, 12).
    pub(super) fn hide(&self, emptied: bool, path: &Path<'_>, ledger: &mut Ledger<'_>) {
        if let Held::Field(field) = &self.held {
            field.stamps().into_iter().for_each(|stamp| ledger.hide(stamp, emptied, path));
            return;
        }
        match &self.counter {
            Some(counter) => {
                if let (false, Some(by)) = (counter.made, &self.by) {
                    ledger.hide(by, emptied, path);
                }
                let increments = counter.increments.iter().map(|(stamp, _)| stamp);
                ledger.hide_increments(increments, emptied, path);
            }
            None => {
                if let Some(by) = &self.by {
                    ledger.hide(by, emptied, path);
                }
            }
        }
    }

    /// Rule 10: an object is asserted here; an object already here only changes hands.
    pub(super) fn assert_object(&mut self, path: &Path<'_>, ledger: &mut Ledger<'_>) {
        match self.held {
            Held::Value(_) | Held::Field(_) => self.hide(false, path, ledger),
            Held::Absent => ledger.hide_absence(self.by.as_ref(), path),
            Held::Never | Held::Object => {}
        }
        self.set(Held::Object, ledger);
    }

    /// Rule 10.
    pub(super) fn patch(
        &mut self,
        patch: &Map<String, Value>,
        path: &Path<'_>,
        ledger: &mut Ledger<'_>,
    ) {
        self.assert_object(path, ledger);
        for (name, value) in patch {
            let path = path.child(name);
            match (value, path.shape) {
                (Value::Null, shape) => {
                    let Some(child) = self.children.get_mut(name.as_str()) else { continue };
                    let child = Arc::make_mut(child);
                    match shape {
                        Shape::Plain | Shape::Above(_) => child.assert(None, &path, ledger),
                        Shape::Member => child.take_out(ledger),
                        Shape::Field(kind) => child.write_field(kind, None, false, &path, ledger),
                    }
                }
                (value, Shape::Field(kind)) => {
                    let holder = self.children.get(name.as_str()).and_then(|c| c.holder());
                    match kind.takes(value) {
                        true => {
                            self.child(name).write_field(kind, Some(value), false, &path, ledger)
                        }
                        false => ledger.out_of_place(holder, &path),
                    }
                }
                (Value::Object(members), _) => self.child(name).patch(members, &path, ledger),
                (scalar, _) => self.child(name).assert(Some(scalar), &path, ledger),
            }
        }
    }

    pub(super) fn child(&mut self, name: &str) -> &mut Node {
        Arc::make_mut(self.children.entry(name, || (name.into(), Arc::default())))
    }

    /// Rule 11.
    pub(super) fn increment(
        &mut self,
        amounts: &Map<String, Value>,
        path: &Path<'_>,
        ledger: &mut Ledger<'_>,
    ) {
        if let (Held::Value(_) | Held::Field(_), Some(by)) = (&self.held, &self.by) {
            ineffective(amounts, by, path, ledger);
            return;
        }
        self.assert_object(path, ledger);
        for (name, amount) in amounts {
            let path = path.child(name);
            match (amount, path.shape) {
                (amount, Shape::Field(kind)) if !kind.counts(amount) => {
                    let child = self.children.get(name.as_str());
                    ledger.out_of_place(child.and_then(|child| child.holder()), &path);
                }
                (Value::Object(members), _) => self.child(name).increment(members, &path, ledger),
                (leaf, _) => {
                    if let Some(amount) = leaf.as_i64() {
                        self.child(name).add(amount, &path, ledger);
                    }
                }
            }
        }
    }

    fn add(&mut self, amount: i64, path: &Path<'_>, ledger: &mut Ledger<'_>) {
        let made = match &self.held {
            Held::Never => true,
            Held::Absent => {
                ledger.hide_absence(self.by.as_ref(), path);
                true
            }
            Held::Value(value) if integer(value).is_some() => false,
            Held::Value(_) | Held::Object | Held::Field(_) => {
                if let Some(by) = &self.by {
                    ledger.ineffective(by, path);
                }
                return;
            }
        };
        if made {
            self.set(Held::Value(Value::from(0)), ledger);
        }
        let counter = self
            .counter
            .get_or_insert_with(|| Box::new(Counter { made, settled: 0, increments: Vec::new() }));
        counter.increments.push((ledger.stamp().clone(), amount));
    }

    /// Forgets what no event to come can meet: absences and increments at or below `stable` that
    /// `floor` covers. True if nothing is left of this path.
    pub(super) fn prune(&mut self, stable: Hlc, floor: Floor<'_>) -> bool {
        self.children.retain(|_, child| {
            !child.prunable(stable, floor) || !Arc::make_mut(child).prune(stable, floor)
        });
        if let Some(counter) = &mut self.counter {
            let settled = &mut counter.settled;
            counter.increments.retain(|(stamp, amount)| {
                let keep = !floor.settles(stamp, stable);
                if !keep {
                    *settled = settled.saturating_add(i128::from(*amount));
                }
                keep
            });
        }
        if let Held::Field(field) = &mut self.held {
            field.prune(stable, floor);
        }
        if self.held == Held::Absent && self.by.as_ref().is_none_or(|by| floor.settles(by, stable))
        {
            self.held = Held::Never;
            self.by = None;
        }
        self.held == Held::Never && self.children.is_empty()
    }

    /// True if pruning would find something here or below.
    pub(super) fn prunable(&self, stable: Hlc, floor: Floor<'_>) -> bool {
        let settles = |stamp: &Stamp| floor.settles(stamp, stable);
        let counter = self.counter.as_ref();
        let absent = self.held == Held::Absent && self.by.as_ref().is_none_or(settles);
        absent
            || (self.held == Held::Never && self.children.is_empty())
            || counter.is_some_and(|c| c.increments.iter().any(|(stamp, _)| settles(stamp)))
            || matches!(&self.held, Held::Field(field) if field.prunable(stable, floor))
            || self.children.values().any(|child| child.prunable(stable, floor))
    }

    /// True if a value or an object is here or below.
    pub(super) fn holds_anywhere(&self) -> bool {
        self.holds() || self.children.values().any(|child| child.holds_anywhere())
    }

    /// Where `amounts` meets what is not an integer (true) or would leave 64 bits (false).
    pub(super) fn check_increment(
        &self,
        amounts: &Map<String, Value>,
        path: &Path<'_>,
    ) -> Result<(), (String, bool)> {
        if matches!(self.held, Held::Value(_) | Held::Field(_)) {
            return Err((path.pointer(), true));
        }
        for (name, amount) in amounts {
            let path = path.child(name);
            let child = self.children.get(name.as_str());
            match (amount, child) {
                (Value::Object(members), Some(child)) => child.check_increment(members, &path)?,
                (Value::Object(_), None) => {}
                (amount, child) => child.map_or(Ok(()), |c| c.check_amount(amount, &path))?,
            }
        }
        Ok(())
    }

    fn check_amount(&self, amount: &Value, path: &Path<'_>) -> Result<(), (String, bool)> {
        let wrong = |not_integer| Err((path.pointer(), not_integer));
        match &self.held {
            Held::Never | Held::Absent => Ok(()),
            Held::Object | Held::Field(_) => wrong(true),
            Held::Value(value) => {
                let Some(base) = integer(value) else { return wrong(true) };
                let sum = self.counter.as_ref().map_or(base, |counter| counter.sum(value));
                let sum = sum.saturating_add(i128::from(amount.as_i64().unwrap_or(0)));
                if i64::try_from(sum).is_err() { wrong(false) } else { Ok(()) }
            }
        }
    }
}

impl Counter {
    fn sum(&self, base: &Value) -> i128 {
        let live: i128 = self.increments.iter().map(|(_, amount)| i128::from(*amount)).sum();
        // Whoever reads a damaged row meets any number.
        integer(base).unwrap_or(0).saturating_add(self.settled).saturating_add(live)
    }
}

/// What every event above stable time that is known here covers; without a vector, everything.
#[derive(Clone, Copy)]
pub(super) struct Floor<'a>(pub(super) Option<&'a Vector>);

impl Floor<'_> {
    fn covers(&self, dot: &Dot) -> bool {
        self.0.is_none_or(|vector| vector.covers(dot))
    }

    pub(super) fn settles(&self, stamp: &Stamp, stable: Hlc) -> bool {
        stamp.hlc <= stable && self.covers(&stamp.dot)
    }
}

pub(super) fn ineffective(
    amounts: &Map<String, Value>,
    by: &Stamp,
    path: &Path<'_>,
    ledger: &mut Ledger<'_>,
) {
    for (name, amount) in amounts {
        let path = path.child(name);
        match amount {
            Value::Object(members) => ineffective(members, by, &path, ledger),
            _ => ledger.ineffective(by, &path),
        }
    }
}

pub(super) fn integer(value: &Value) -> Option<i128> {
    let number = value.as_number()?;
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

/// An exact integer as JSON; beyond 64 bits the nearest floating-point number.
pub(super) fn number(sum: i128) -> Value {
    if let Ok(number) = i64::try_from(sum) {
        return Value::from(number);
    }
    if let Ok(number) = u64::try_from(sum) {
        return Value::from(number);
    }
    Number::from_f64(sum as f64).map_or(Value::Null, Value::Number)
}
