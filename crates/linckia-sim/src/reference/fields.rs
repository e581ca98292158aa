//! Fields: all that was ever said to one is kept, and what stands of it is found by looking at what
//! was said later.
//!
//! Rulings 17 to 24. A counter and a map are ordinary slots of the replay.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Number, Value};

use super::policy::is_members;
use super::replay::{Holds, Path, Replay, child, counts_from, flatten, value_asserted};
use super::{Place, RefField};

/// What one event said to a field.
pub(super) enum Said {
    /// A put's value.
    Put(Value),
    /// A patch's value, or the members of an add.
    Give(Value),
    Add(Value),
    Remove(Value),
    /// A put without the field, or a patch's null.
    Out,
}

/// Numbers by value; of one value the fraction first.
fn order(left: &Number, right: &Number) -> std::cmp::Ordering {
    let (l, r) = (left.as_f64().unwrap_or(f64::NAN), right.as_f64().unwrap_or(f64::NAN));
    l.total_cmp(&r).then(left.as_i128().cmp(&right.as_i128()))
}

fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => order(left, right).is_eq(),
        _ => left == right,
    }
}

fn holds(list: &Value, member: &Value) -> bool {
    list.as_array().is_some_and(|members| members.iter().any(|known| same(known, member)))
}

impl Said {
    fn members(&self) -> &[Value] {
        let value = match self {
            Self::Put(value) | Self::Give(value) | Self::Add(value) => value,
            Self::Remove(_) | Self::Out => return &[],
        };
        value.as_array().map_or(&[], Vec::as_slice)
    }

    fn given(&self) -> Option<&Value> {
        match self {
            Self::Put(value) | Self::Give(value) => Some(value),
            _ => None,
        }
    }
}

impl Replay<'_> {
    /// The fields that a put speaks to (18): those of whose parents its document has an object.
    pub(super) fn addressed(&self, document: &Value) -> Vec<Path> {
        let names = |pointer: &String| -> Path {
            let parts = pointer.split('/').skip(1);
            parts.map(|part| part.replace("~1", "/").replace("~0", "~")).collect()
        };
        let fields = self.policy.fields.keys().map(names);
        let spoken = |path: &Path| {
            let parents = path.split_last().map_or(&[][..], |(_, parents)| parents);
            let parent = parents.iter().try_fold(document, |at, name| at.get(name));
            parent.is_some_and(Value::is_object)
        };
        fields.filter(spoken).collect()
    }

    /// (17)
    pub(super) fn out_of_place(&mut self, event: Place, path: &[String]) {
        let holder = match self.tree.get(path) {
            None | Some((_, Holds::Absence)) => event,
            Some((by, _)) => *by,
        };
        self.lose(BTreeSet::from([event]), holder, path, false);
    }

    /// What a put or a patch says of a field: its value or absence (18).
    pub(super) fn write_field(
        &mut self,
        event: Place,
        path: &[String],
        said: Option<&Value>,
        puts: bool,
    ) {
        let Some(kind) = self.policy.field(path) else { panic!("a field is here") };
        if said.is_some_and(|said| !kind.takes(said)) {
            return self.out_of_place(event, path);
        }
        let ours = match (kind, self.tree.get(path)) {
            (RefField::Counter, Some((_, Holds::Value(assertion, _)))) => {
                counts_from(assertion).is_some()
            }
            (RefField::Map, Some((_, Holds::Object))) => true,
            (_, Some((_, Holds::Field(..)))) => true,
            _ => false,
        };
        match (kind, said) {
            (RefField::Map, Some(members)) if puts => self.put_member(event, path, members),
            (RefField::Map, Some(members)) => self.patch_plain(event, path, members),
            (RefField::Map, None) if ours => self.take_out(event, path),
            (RefField::Counter, said) if ours => self.reset(event, path, said),
            (kind, Some(value)) if !ours => {
                let holds = match kind {
                    RefField::Counter => value_asserted(value),
                    kind => Holds::Field(kind, vec![(event, Said::Put(value.clone()))]),
                };
                self.overwrite(event, path, holds);
            }
            (_, None) if !ours => {
                self.hide_shown(event, path, |_| true);
                self.empty(event, path);
            }
            (RefField::Flag, Some(on)) => self.turn_flag(event, path, on),
            (kind, said) => self.say(event, path, kind, said, puts),
        }
    }

    /// To a field with a memory of its own.
    fn say(
        &mut self,
        event: Place,
        path: &[String],
        kind: RefField,
        said: Option<&Value>,
        puts: bool,
    ) {
        let Some((by, Holds::Field(_, all))) = self.tree.get_mut(path) else {
            panic!("the field is its own")
        };
        all.push(match said {
            Some(value) if puts => (event, Said::Put(value.clone())),
            Some(value) => (event, Said::Give(value.clone())),
            None => (event, Said::Out),
        });
        if said.is_some() {
            *by = event;
            return;
        }
        let Some((_, Holds::Field(_, all))) = self.tree.get(path) else { return };
        if self.standing(kind, all).is_empty() {
            self.tree.remove(path);
        }
    }

    /// (23)
    fn turn_flag(&mut self, event: Place, path: &[String], on: &Value) {
        let Some((_, Holds::Field(_, all))) = self.tree.get(path) else { return };
        let before = self.flag(all);
        let Some((by, Holds::Field(_, all))) = self.tree.get_mut(path) else { return };
        *by = event;
        all.push((event, Said::Put(on.clone())));
        let Some((_, Holds::Field(_, all))) = self.tree.get(path) else { return };
        let now = self.flag(all);
        let (Some((before, was)), Some((now, is))) = (before, now) else { return };
        if now == event && was != is && !self.history.covers(event, before) {
            self.lose(BTreeSet::from([before]), event, path, false);
        }
        if now != event && Value::Bool(is) != *on {
            self.lose(BTreeSet::from([event]), now, path, false);
        }
    }

    /// The write of a flag that shows.
    fn flag(&self, all: &[(Place, Said)]) -> Option<(Place, bool)> {
        let standing = self.standing(RefField::Flag, all);
        let value = |by: &Place| {
            let said = all.iter().find(|(event, _)| event == by);
            said.and_then(|(_, said)| said.given()).and_then(Value::as_bool).unwrap_or(false)
        };
        let on = standing.iter().rev().find(|by| value(by));
        on.or(standing.last()).map(|by| (*by, value(by)))
    }

    /// The members of a set that are there, each with the adds that hold it.
    fn members(&self, all: &[(Place, Said)]) -> Vec<(Value, BTreeSet<Place>)> {
        let mut found: Vec<(Value, BTreeSet<Place>)> = Vec::new();
        for (number, (event, said)) in all.iter().enumerate() {
            for member in said.members() {
                let gone = all[number + 1..].iter().any(|(later, said)| {
                    let speaks = match said {
                        Said::Put(_) | Said::Give(_) | Said::Out => true,
                        Said::Add(list) | Said::Remove(list) => holds(list, member),
                    };
                    speaks && self.history.covers(*later, *event)
                });
                if gone {
                    continue;
                }
                match found.iter_mut().find(|(known, _)| same(known, member)) {
                    Some((_, adds)) => drop(adds.insert(*event)),
                    None => found.push((member.clone(), BTreeSet::from([*event]))),
                }
            }
        }
        found
    }

    /// The events that hold something of a field.
    pub(super) fn standing(&self, kind: RefField, all: &[(Place, Said)]) -> BTreeSet<Place> {
        if kind == RefField::Set {
            return self.members(all).into_iter().flat_map(|(_, adds)| adds).collect();
        }
        let better = |new: &Value, old: &Value| {
            let (Value::Number(new), Value::Number(old)) = (new, old) else { return true };
            match kind {
                RefField::Max => order(new, old).is_ge(),
                _ => order(new, old).is_le(),
            }
        };
        let mut standing = BTreeSet::new();
        for (number, (event, said)) in all.iter().enumerate() {
            let Some(value) = said.given() else { continue };
            let gone = all[number + 1..].iter().any(|(later, said)| {
                let over = match said {
                    Said::Give(new) if kind != RefField::Flag => better(new, value),
                    _ => true,
                };
                over && self.history.covers(*later, *event)
            });
            if !gone {
                standing.insert(*event);
            }
        }
        standing
    }

    pub(super) fn field_value(&self, kind: RefField, all: &[(Place, Said)]) -> Value {
        match kind {
            RefField::Set => {
                let mut members: Vec<Value> =
                    self.members(all).into_iter().map(|(member, _)| member).collect();
                let rank = |value: &Value| match value {
                    Value::Bool(_) => 0,
                    Value::Number(_) => 1,
                    _ => 2,
                };
                members.sort_by(|left, right| match (left, right) {
                    (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
                    (Value::Number(left), Value::Number(right)) => order(left, right),
                    (Value::String(left), Value::String(right)) => left.cmp(right),
                    _ => rank(left).cmp(&rank(right)),
                });
                Value::Array(members)
            }
            RefField::Flag => Value::Bool(self.flag(all).is_some_and(|(_, on)| on)),
            kind => {
                let standing = self.standing(kind, all);
                let said = all.iter().filter(|(event, _)| standing.contains(event));
                let mut numbers: Vec<&Number> =
                    said.filter_map(|(_, said)| said.given()?.as_number()).collect();
                numbers.sort_by(|left, right| order(left, right));
                let best = if kind == RefField::Max { numbers.last() } else { numbers.first() };
                best.map_or(Value::Null, |number| Value::Number((*number).clone()))
            }
        }
    }

    /// (19)
    fn reset(&mut self, event: Place, path: &[String], said: Option<&Value>) {
        let history = self.history;
        let Some((by, Holds::Value(assertion, increments))) = self.tree.remove(path) else {
            panic!("a counter is here")
        };
        let left: BTreeMap<Place, i128> =
            increments.into_iter().filter(|(added, _)| !history.covers(event, *added)).collect();
        let kept = assertion.filter(|_| !history.covers(event, by));
        match (said, kept, left.first_key_value()) {
            (Some(value), kept, _) => {
                if kept.is_some() {
                    self.lose(BTreeSet::from([by]), event, path, false);
                }
                self.set(event, path, Holds::Value(Some(value.clone()), left));
            }
            (None, Some(kept), _) => self.set(by, path, Holds::Value(Some(kept), left)),
            (None, None, Some((first, _))) => {
                let first = *first;
                self.set(first, path, Holds::Value(None, left));
            }
            (None, None, None) => {}
        }
    }

    /// (21): everything covered at and below the path, from the leaves up.
    pub(super) fn take_out(&mut self, event: Place, path: &[String]) {
        let covers = |other: &Place| self.history.covers(event, *other);
        let mut gone: Vec<Path> = Vec::new();
        for at in self.live(path).into_iter().rev() {
            let covered = match &self.tree[&at] {
                (by, Holds::Value(Some(_), added)) => covers(by) && added.keys().all(covers),
                (_, Holds::Value(None, added)) => added.keys().all(covers),
                (by, _) => {
                    let below = self.live(&at);
                    covers(by) && below.iter().all(|below| *below == at || gone.contains(below))
                }
            };
            if covered {
                gone.push(at);
            }
        }
        for path in gone {
            self.tree.remove(&path);
        }
    }

    /// A map, or what lies in one, as a put says it (8, 21).
    fn put_member(&mut self, event: Place, path: &[String], value: &Value) {
        let Value::Object(members) = value else {
            return self.overwrite(event, path, value_asserted(value));
        };
        if self.shown(path).iter().any(|shown| shown == path) {
            self.hide(event, path, false);
        }
        self.hide_absence(event, path);
        let known: BTreeSet<String> =
            self.live(path).iter().filter_map(|at| at.get(path.len()).cloned()).collect();
        for name in known.iter().filter(|name| !members.contains_key(*name)) {
            self.take_out(event, &child(path, name));
        }
        for (name, member) in members {
            self.put_member(event, &child(path, name), member);
        }
        self.set(event, path, Holds::Object);
    }

    /// (20)
    pub(super) fn add_members(&mut self, event: Place, path: &[String], data: &Value) {
        let Value::Object(members) = data else { return };
        if let Some((by, Holds::Value(..) | Holds::Field(..))) = self.tree.get(path) {
            return self.refuse(event, *by, path, data);
        }
        if !self.leads(path, data) {
            return self.stray(event, path, data);
        }
        self.assert_object(event, path);
        for (name, data) in members {
            let at = child(path, name);
            match (self.policy.field(&at), data) {
                (Some(RefField::Set), list) if is_members(list) => match self.tree.get_mut(&at) {
                    Some((by, Holds::Field(_, all))) => {
                        *by = event;
                        all.push((event, Said::Add(list.clone())));
                    }
                    None | Some((_, Holds::Absence)) => {
                        let said = vec![(event, Said::Add(list.clone()))];
                        self.overwrite(event, &at, Holds::Field(RefField::Set, said));
                    }
                    _ => self.out_of_place(event, &at),
                },
                (_, Value::Object(_)) if self.leads(&at, data) => {
                    self.add_members(event, &at, data);
                }
                _ => self.stray(event, &at, data),
            }
        }
    }

    /// (20)
    pub(super) fn remove_members(&mut self, event: Place, path: &[String], data: &Value) {
        match (self.policy.field(path), data) {
            (Some(RefField::Set), list) if is_members(list) => match self.tree.get_mut(path) {
                Some((_, Holds::Field(_, all))) => all.push((event, Said::Remove(list.clone()))),
                None | Some((_, Holds::Absence)) => {}
                Some(_) => self.out_of_place(event, path),
            },
            (_, Value::Object(members)) => {
                for (name, data) in members {
                    self.remove_members(event, &child(path, name), data);
                }
            }
            _ => self.out_of_place(event, path),
        }
    }

    /// True if members for a set are among the data.
    fn leads(&self, path: &[String], data: &Value) -> bool {
        match (self.policy.field(path), data) {
            (Some(RefField::Set), list) if is_members(list) => true,
            (None, Value::Object(members)) => {
                members.iter().any(|(name, data)| self.leads(&child(path, name), data))
            }
            _ => false,
        }
    }

    /// Every leaf is out of place (17).
    fn stray(&mut self, event: Place, path: &[String], data: &Value) {
        match data {
            Value::Object(members) => {
                for (name, data) in members {
                    self.stray(event, &child(path, name), data);
                }
            }
            _ => self.out_of_place(event, path),
        }
    }

    /// (25)
    pub(super) fn plant(&mut self, last: Place, document: &Value) {
        let mut asserted = BTreeMap::new();
        flatten(&[], document, &mut asserted);
        for path in self.addressed(document) {
            let Some(kind) = self.policy.field(&path) else { continue };
            let value = path.iter().try_fold(document, |at, name| at.get(name));
            let own = !matches!(kind, RefField::Counter | RefField::Map);
            if let Some(value) = value.filter(|value| own && kind.takes(value)) {
                let said = vec![(last, Said::Put(value.clone()))];
                asserted.insert(path, Holds::Field(kind, said));
            }
        }
        for (path, holds) in asserted {
            self.set(last, &path, holds);
        }
    }
}
