//! From two folds, with and without the undone events, to the events that lead from one to what
//! shall be.
//!
//! Under `undo`. What always holds: what an event that stays wrote last is not touched, and every
//! change is made in the name of one of the undone events.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::leaves::{Leaves, Place, difference, document, leaves, put};
use super::writers::Writers;
use super::{Compensation, History, kind_at, unit};
use crate::event::{Identity, Operation};
use crate::fold::member::Member;
use crate::policy::{FieldKind, Policy, Strategy};

/// What is compared.
pub(super) struct Changes<'a> {
    pub(super) history: &'a History,
    pub(super) writers: &'a Writers,
    /// Who wrote what without the events that are undone and stay so; absent if there are none.
    pub(super) beneath: Option<&'a Writers>,
    pub(super) policy: &'a Policy,
    pub(super) with: Option<&'a Value>,
    pub(super) without: Option<&'a Value>,
}

/// What is to be done in the name of one undone event.
#[derive(Default)]
struct Share {
    /// What shall lie there, or nothing.
    set: BTreeMap<Place, Option<Value>>,
    /// A number that gives way to a worse one only if it is taken out before.
    cleared: BTreeSet<Place>,
    added: BTreeMap<Place, i64>,
    joined: BTreeMap<Place, Vec<Value>>,
    removed: BTreeMap<Place, Vec<Value>>,
}

impl Changes<'_> {
    /// The compensating events, and what shows once they are applied.
    pub(super) fn plan(&self) -> (Vec<Compensation>, Option<Value>) {
        let (with, without) = (leaves(self.with), leaves(self.without));
        let mut shares: BTreeMap<&Identity, Share> = BTreeMap::new();
        let places: BTreeSet<&Place> = with.keys().chain(without.keys()).collect();
        let differ = |place: &&&Place| with.get(**place) != without.get(**place);
        for place in places.iter().filter(differ) {
            let (now, then) = (with.get(*place), without.get(*place));
            self.judge(place, now, then, &mut shares);
        }
        self.uncover(&with, &without, &mut shares);
        yield_to_kept(&with, &mut shares);
        self.events(&with, shares)
    }

    fn root(&self, identity: &Identity) -> Option<&Identity> {
        self.history.taken.get(identity)
    }

    fn is_live(&self, root: &Identity) -> bool {
        self.history.roots.contains(root)
    }

    /// The last of the undone events: where it cannot be said whose change it is.
    fn any(&self) -> &Identity {
        self.history.roots.last().expect("something is to be undone")
    }

    /// Where what was written last only compensates for what is undone, that counts which lies
    /// beneath.
    fn writers_at(&self, place: &Place) -> &Writers {
        let covers = |last: &Identity| self.history.void.contains(last);
        match self.beneath {
            Some(beneath) if self.writers.last.get(place).is_some_and(covers) => beneath,
            _ => self.writers,
        }
    }

    fn judge<'s>(
        &'s self,
        place: &Place,
        now: Option<&Value>,
        then: Option<&Value>,
        shares: &mut BTreeMap<&'s Identity, Share>,
    ) {
        let writers = self.writers_at(place);
        let owner = writers.last.get(place).and_then(|writer| self.root(writer));
        let kind = kind_at(self.policy, place);
        if owner.is_some_and(|owner| !self.is_live(owner)) && kind != Some(FieldKind::Set) {
            return;
        }
        let name = owner.filter(|owner| self.is_live(owner)).unwrap_or_else(|| self.any());
        match (kind, now, then) {
            (Some(FieldKind::Set), Some(Value::Array(now)), Some(Value::Array(then))) => {
                let beyond = |these: &[Value], those: &[Value]| -> Vec<Value> {
                    these.iter().filter(|one| !those.contains(one)).cloned().collect()
                };
                let share = shares.entry(name).or_default();
                let (more, fewer) = (beyond(then, now), beyond(now, then));
                share.joined.extend((!more.is_empty()).then(|| (place.clone(), more)));
                share.removed.extend((!fewer.is_empty()).then(|| (place.clone(), fewer)));
            }
            (Some(FieldKind::Counter), Some(now), Some(then)) if integers(now, then).is_some() => {
                let amount = integers(now, then).unwrap_or_default();
                shares.entry(name).or_default().added.insert(place.clone(), amount);
            }
            (Some(FieldKind::Max | FieldKind::Min), now, then) => {
                let share = shares.entry(name).or_default();
                if now.is_some() && then.is_some() {
                    share.cleared.insert(place.clone());
                }
                share.set.insert(place.clone(), then.cloned());
            }
            (Some(FieldKind::Set | FieldKind::Flag | FieldKind::Counter), _, _) => {
                shares.entry(name).or_default().set.insert(place.clone(), then.cloned());
            }
            _ => match owner {
                Some(owner) => {
                    shares.entry(owner).or_default().set.insert(place.clone(), then.cloned());
                }
                None => self.negate(place, writers, shares),
            },
        }
    }

    /// The undone increments that count on top of what others put there.
    fn negate<'s>(
        &'s self,
        place: &Place,
        writers: &Writers,
        shares: &mut BTreeMap<&'s Identity, Share>,
    ) {
        let mut amounts: BTreeMap<&Identity, i64> = BTreeMap::new();
        for (event, amount) in writers.increments.get(place).into_iter().flatten() {
            if let Some(root) =
                self.history.taken.get(&unit(event)).filter(|root| self.is_live(root))
            {
                let sum = amounts.entry(root).or_default();
                *sum = sum.saturating_sub(*amount);
            }
        }
        for (root, amount) in amounts.into_iter().filter(|(_, amount)| *amount != 0) {
            shares.entry(root).or_default().added.insert(place.clone(), amount);
        }
    }

    /// An object without members shows again where all that lay in it goes.
    fn uncover<'s>(
        &'s self,
        with: &Leaves,
        without: &Leaves,
        shares: &mut BTreeMap<&'s Identity, Share>,
    ) {
        let empty =
            without.iter().filter(|(place, value)| value.is_object() && !with.contains_key(*place));
        for (place, value) in empty {
            let below =
                || with.keys().filter(|one| one.len() > place.len() && one.starts_with(place));
            let gone = |one: &Place| {
                shares.iter().find(|(_, share)| matches!(share.set.get(one), Some(None)))
            };
            let all = below().all(|one| gone(one).is_some());
            let Some(root) = below().next().filter(|_| all).and_then(gone).map(|(root, _)| *root)
            else {
                continue;
            };
            shares.entry(root).or_default().set.insert(place.clone(), Some(value.clone()));
        }
    }

    fn events(
        &self,
        with: &Leaves,
        mut shares: BTreeMap<&Identity, Share>,
    ) -> (Vec<Compensation>, Option<Value>) {
        let (mut now, mut out) = (with.clone(), Vec::new());
        gather_nested(&self.history.roots, &mut shares);
        let whole = !matches!(
            self.policy.strategy(),
            Strategy::LastWriterWins | Strategy::Manual | Strategy::LastWriterWinsWhole
        );
        let set = |share: &Share| share.set.values().any(Option::is_none);
        let shrinks = shares.values().any(set);
        let ordered: Vec<&Identity> =
            self.history.roots.iter().filter(|root| shares.contains_key(*root)).collect();
        for root in &ordered {
            let share = &shares[*root];
            let before = document(&now);
            share.make(&mut now);
            if !whole {
                let said = share.said(before.as_ref(), document(&now).as_ref());
                out.extend(said.into_iter().map(|said| self.compensation(root, said)));
            }
        }
        let target = document(&now);
        let counted = |place: &Place| shares.values().any(|share| share.added.contains_key(place));
        let gone = self.without.is_none() && now.keys().all(counted) && shrinks;
        match ordered.last() {
            // What created it is undone, and nothing else shows.
            Some(root) if gone => {
                let said = (Operation::Delete, Value::Object(Map::new()));
                (vec![self.compensation(root, said)], None)
            }
            Some(root) if whole && target.as_ref() != self.with => {
                let said = match &target {
                    Some(document) => (Operation::Put, document.clone()),
                    None => (Operation::Delete, Value::Object(Map::new())),
                };
                (vec![self.compensation(root, said)], target)
            }
            _ => (out, target),
        }
    }

    fn compensation(&self, root: &Identity, (operation, data): (Operation, Value)) -> Compensation {
        let (undoes, event_id) = (root.event_id.clone(), self.history.new_id(root));
        Compensation { undoes, event_id, operation, data }
    }
}

impl Share {
    /// Makes the change in a document.
    fn make(&self, now: &mut Leaves) {
        for (place, value) in &self.set {
            match value {
                Some(value) => drop(now.insert(place.clone(), value.clone())),
                None => drop(now.remove(place)),
            }
        }
        for (place, amount) in &self.added {
            let sum = now.get(place).and_then(Value::as_i64).unwrap_or(0).saturating_add(*amount);
            now.insert(place.clone(), sum.into());
        }
        for (place, members) in self.joined.iter().chain(&self.removed) {
            if let Some(Value::Array(all)) = now.get_mut(place) {
                all.retain(|one| !members.contains(one));
            }
        }
        for (place, members) in &self.joined {
            if let Some(Value::Array(all)) = now.get_mut(place) {
                all.extend(members.iter().cloned());
                all.sort_by_key(Member::new);
            }
        }
    }

    /// The operations that make it, in this order.
    fn said(&self, before: Option<&Value>, after: Option<&Value>) -> Vec<(Operation, Value)> {
        let tree = |leaves: Leaves| document(&leaves).unwrap_or_else(|| Value::Object(Map::new()));
        let mut out = Vec::new();
        if !self.cleared.is_empty() {
            let nulls = self.cleared.iter().map(|place| (place.clone(), Value::Null)).collect();
            out.push((Operation::Patch, tree(nulls)));
        }
        if !self.set.is_empty() {
            out.extend(self.setting(before, after));
        }
        let amounts: Leaves =
            self.added.iter().map(|(place, amount)| (place.clone(), (*amount).into())).collect();
        let lists = |all: &BTreeMap<Place, Vec<Value>>| -> Leaves {
            all.iter().map(|(place, all)| (place.clone(), Value::Array(all.clone()))).collect()
        };
        for (operation, leaves) in [
            (Operation::Increment, amounts),
            (Operation::Remove, lists(&self.removed)),
            (Operation::Add, lists(&self.joined)),
        ] {
            if !leaves.is_empty() {
                out.push((operation, tree(leaves)));
            }
        }
        out
    }

    /// What others and other operations do to the document is no part of the patch.
    fn setting(&self, before: Option<&Value>, after: Option<&Value>) -> Option<(Operation, Value)> {
        let Some(after) = after else {
            return Some((Operation::Delete, Value::Object(Map::new())));
        };
        let mut wanted = after.clone();
        let others = self.added.keys().chain(self.removed.keys()).chain(self.joined.keys());
        let empty = Value::Object(Map::new());
        let before = before.unwrap_or(&empty);
        for place in others {
            if let Some(found) = before.pointer(&pointer(place)) {
                put(&mut wanted, place, found.clone());
            }
        }
        Some(match difference(before, &wanted) {
            Some(patch) => (Operation::Patch, Value::Object(patch)),
            None => (Operation::Put, wanted),
        })
    }
}

fn pointer(place: &[String]) -> String {
    place.iter().map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1"))).collect()
}

/// What is to be added to make one of the other.
fn integers(now: &Value, then: &Value) -> Option<i64> {
    then.as_i64()?.checked_sub(now.as_i64()?)
}

/// What stays has the room: nothing comes back where it would have to go above or below that.
fn yield_to_kept(with: &Leaves, shares: &mut BTreeMap<&Identity, Share>) {
    let changed: BTreeSet<Place> =
        shares.values().flat_map(|share| share.set.keys().cloned()).collect();
    let kept: Vec<&Place> = with.keys().filter(|place| !changed.contains(*place)).collect();
    for share in shares.values_mut() {
        share.set.retain(|place, value| {
            let in_the_way = |one: &&&Place| {
                let empty = with.get(**one).is_some_and(Value::is_object);
                let above = place.starts_with(one) && !empty;
                above || (one.starts_with(place) && one.len() > place.len())
            };
            value.is_none() || !kept.iter().any(|one| in_the_way(&one))
        });
    }
    shares.retain(|_, share| {
        let Share { set, added, joined, removed, .. } = &*share;
        !(set.is_empty() && added.is_empty() && joined.is_empty() && removed.is_empty())
    });
}

/// Changes above and below one another are made at once, in the name of the latest event.
fn gather_nested(roots: &[Identity], shares: &mut BTreeMap<&Identity, Share>) {
    let owners: Vec<(Place, &Identity)> = shares
        .iter()
        .flat_map(|(root, share)| share.set.keys().map(|place| (place.clone(), *root)))
        .collect();
    let rank = |root: &Identity| roots.iter().position(|one| one == root);
    for (upper, above) in &owners {
        for (lower, below) in &owners {
            if upper.len() < lower.len() && lower.starts_with(upper) && above != below {
                let (to, from) =
                    if rank(above) > rank(below) { (above, below) } else { (below, above) };
                let Some(share) = shares.get_mut(from) else { continue };
                let moved: Vec<(Place, Option<Value>)> = [upper, lower]
                    .into_iter()
                    .filter_map(|place| share.set.remove_entry(place))
                    .collect();
                if let Some(share) = shares.get_mut(to) {
                    share.set.extend(moved);
                }
            }
        }
    }
}
