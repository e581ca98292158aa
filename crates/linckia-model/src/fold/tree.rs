//! A key's document as a tree of paths, each knowing which event holds it.
//!
//! One event at a time is folded in, in order; what it hides without covering goes to the ledger.
//! The rulings, by number, are in `docs/fold.md`. What always holds: the tree after n events is the
//! same whatever was pruned before, and no path is hidden twice.

use std::sync::Arc;

use serde_json::{Map, Number, Value};

use super::record::Ledger;
use super::sorted::Sorted;
use crate::hlc::Hlc;
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
}

impl<'a> Path<'a> {
    pub(super) const ROOT: Path<'static> = Path { parent: None, name: "" };

    fn child(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), name }
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
    fn holds(&self) -> bool {
        matches!(self.held, Held::Value(_) | Held::Object)
    }

    fn shows(&self) -> bool {
        match self.held {
            Held::Never | Held::Absent => false,
            Held::Value(_) => true,
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
            self.children.for_each_mut(|name, child| {
                if child.holds_anywhere() {
                    Arc::make_mut(child).assert(None, &path.child(name), ledger);
                }
            });
            if self.holds() {
                self.set(Held::Absent, ledger);
            }
            return;
        };
        if self.held == Held::Absent {
            ledger.hide_absence(self.by.as_ref(), path);
        }
        let empty = Map::new();
        let members = value.as_object().unwrap_or(&empty);
        self.children.for_each_mut(|name, child| {
            let member = members.get(&**name);
            if member.is_some() || child.holds_anywhere() {
                Arc::make_mut(child).assert(member, &path.child(name), ledger);
            }
        });
        for (name, member) in members {
            if self.children.get(name.as_str()).is_none() {
                let path = path.child(name);
                self.child(name).assert(Some(member), &path, ledger);
            }
        }
        let held = if value.is_object() { Held::Object } else { Held::Value(value.clone()) };
        self.set(held, ledger);
    }

    fn set(&mut self, held: Held, ledger: &Ledger<'_>) {
        self.held = held;
        self.by = Some(ledger.stamp().clone());
        self.counter = None;
    }

    /// Puts on record what this path shows, where the event does not cover it (6, 12).
    fn hide(&self, emptied: bool, path: &Path<'_>, ledger: &mut Ledger<'_>) {
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
    fn assert_object(&mut self, path: &Path<'_>, ledger: &mut Ledger<'_>) {
        match self.held {
            Held::Value(_) => self.hide(false, path, ledger),
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
            match value {
                Value::Null => {
                    if let Some(child) = self.children.get_mut(name.as_str()) {
                        Arc::make_mut(child).assert(None, &path, ledger);
                    }
                }
                Value::Object(members) => self.child(name).patch(members, &path, ledger),
                scalar => self.child(name).assert(Some(scalar), &path, ledger),
            }
        }
    }

    fn child(&mut self, name: &str) -> &mut Node {
        Arc::make_mut(self.children.entry(name, || (name.into(), Arc::default())))
    }

    /// Rule 11.
    pub(super) fn increment(
        &mut self,
        amounts: &Map<String, Value>,
        path: &Path<'_>,
        ledger: &mut Ledger<'_>,
    ) {
        if let (Held::Value(_), Some(by)) = (&self.held, &self.by) {
            ineffective(amounts, by, path, ledger);
            return;
        }
        self.assert_object(path, ledger);
        for (name, amount) in amounts {
            let path = path.child(name);
            match amount {
                Value::Object(members) => self.child(name).increment(members, &path, ledger),
                leaf => {
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
            Held::Value(_) | Held::Object => {
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
                    *settled += i128::from(*amount);
                }
                keep
            });
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
            || self.children.values().any(|child| child.prunable(stable, floor))
    }

    /// True if a value or an object is here or below.
    fn holds_anywhere(&self) -> bool {
        self.holds() || self.children.values().any(|child| child.holds_anywhere())
    }

    /// Where `amounts` meets what is not an integer (true) or would leave 64 bits (false).
    pub(super) fn check_increment(
        &self,
        amounts: &Map<String, Value>,
        path: &Path<'_>,
    ) -> Result<(), (String, bool)> {
        if matches!(self.held, Held::Value(_)) {
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
            Held::Object => wrong(true),
            Held::Value(value) => {
                let Some(base) = integer(value) else { return wrong(true) };
                let sum = self.counter.as_ref().map_or(base, |counter| counter.sum(value));
                let sum = sum + i128::from(amount.as_i64().unwrap_or(0));
                if i64::try_from(sum).is_err() { wrong(false) } else { Ok(()) }
            }
        }
    }
}

impl Counter {
    fn sum(&self, base: &Value) -> i128 {
        let live: i128 = self.increments.iter().map(|(_, amount)| i128::from(*amount)).sum();
        integer(base).unwrap_or(0) + self.settled + live
    }
}

/// What every event above stable time that is known here covers; without a vector, everything.
#[derive(Clone, Copy)]
pub(super) struct Floor<'a>(pub(super) Option<&'a Vector>);

impl Floor<'_> {
    fn covers(&self, dot: &Dot) -> bool {
        self.0.is_none_or(|vector| vector.covers(dot))
    }

    fn settles(&self, stamp: &Stamp, stable: Hlc) -> bool {
        stamp.hlc <= stable && self.covers(&stamp.dot)
    }
}

fn ineffective(amounts: &Map<String, Value>, by: &Stamp, path: &Path<'_>, ledger: &mut Ledger<'_>) {
    for (name, amount) in amounts {
        let path = path.child(name);
        match amount {
            Value::Object(members) => ineffective(members, by, &path, ledger),
            _ => ledger.ineffective(by, &path),
        }
    }
}

fn integer(value: &Value) -> Option<i128> {
    let number = value.as_number()?;
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

/// An exact integer as JSON; beyond 64 bits the nearest floating-point number.
fn number(sum: i128) -> Value {
    if let Ok(number) = i64::try_from(sum) {
        return Value::from(number);
    }
    if let Ok(number) = u64::try_from(sum) {
        return Value::from(number);
    }
    Number::from_f64(sum as f64).map_or(Value::Null, Value::Number)
}
