//! Documents that are one value: of concurrent versions one shows, whole.
//!
//! Rulings 26 to 28 of `docs/fold.md`. What always holds: versions lie in order, and none is let go
//! of before every event to come covers it, unless it could never show again.

use serde_json::{Map, Value};

use super::record::Ledger;
use super::tree::{Floor, Path, integer, number};
use crate::event::{Event, Operation};
use crate::hlc::Hlc;
use crate::name::RegionName;
use crate::policy::{Policy, Strategy};
use crate::request::Fault;
use crate::vector::Stamp;

/// A document as one event left it; absent after a delete.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Version {
    pub(super) by: Stamp,
    pub(super) document: Option<Value>,
}

/// The versions of a key that an event to come may build on or lay open again, in order.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) struct Whole {
    pub(super) versions: Vec<Version>,
    /// The place of the one that shows.
    pub(super) shown: usize,
}

impl Whole {
    /// A document put by that event, over nothing (25).
    pub(super) fn planted(document: Value, by: &Stamp) -> Self {
        let document = Some(document);
        Self { versions: vec![Version { by: by.clone(), document }], shown: 0 }
    }

    fn version(&self) -> Option<&Version> {
        self.versions.get(self.shown)
    }

    pub(super) fn document(&self) -> Option<&Value> {
        self.version()?.document.as_ref()
    }

    /// Folds one event in.
    pub(super) fn step(
        &mut self,
        event: &Event,
        counts: bool,
        policy: &Policy,
        ledger: &mut Ledger<'_>,
    ) {
        if policy.admits(event.operation, &event.data).is_err() {
            let shown = self.version().filter(|version| version.document.is_some());
            return ledger.out_of_place(shown.map(|version| &version.by), &Path::ROOT);
        }
        if policy.strategy() == Strategy::LastWriterWinsWhole {
            self.step_last(event, counts, ledger);
        } else {
            self.step_maximal(event, policy, ledger);
        }
    }

    /// Ruling 26: what its writer saw, with its change, is the version that shows.
    fn step_last(&mut self, event: &Event, counts: bool, ledger: &mut Ledger<'_>) {
        let seen = self.versions.iter().rfind(|version| ledger.covers(&version.by));
        let seen_document = || seen.and_then(|version| version.document.clone());
        let document = match (event.operation, event.data.as_object()) {
            (Operation::Put, Some(_)) => Some(event.data.clone()),
            (Operation::Delete, _) => None,
            (Operation::Patch, Some(_)) => {
                let mut document = seen_document().unwrap_or_default();
                merge(&mut document, &event.data);
                Some(document)
            }
            (Operation::Increment, Some(amounts)) if counts => {
                let by = seen.map(|version| &version.by);
                let mut document = seen_document().unwrap_or(Value::Object(Map::new()));
                add(&mut document, amounts, by, &Path::ROOT, ledger);
                Some(document)
            }
            _ => return,
        };
        if let Some(Version { by, document: hidden }) = self.version()
            && (hidden.is_some() || document.is_some())
        {
            ledger.hide(by, hidden.is_none() || document.is_none(), &Path::ROOT);
        }
        self.versions.push(Version { by: ledger.stamp().clone(), document });
        self.shown = self.versions.len() - 1;
    }

    /// Ruling 27: of the versions that no other covers, the policy's choice shows.
    fn step_maximal(&mut self, event: &Event, policy: &Policy, ledger: &mut Ledger<'_>) {
        let document = match (event.operation, event.data.is_object()) {
            (Operation::Put, true) => Some(event.data.clone()),
            (Operation::Delete, _) => None,
            _ => return,
        };
        let before = self.version().cloned();
        self.versions.retain(|version| !ledger.covers(&version.by));
        let by = ledger.stamp().clone();
        self.versions.push(Version { by: by.clone(), document: document.clone() });
        self.shown = choice(&self.versions, policy);
        let shown = &self.versions[self.shown];
        let other = if shown.by == by { before.as_ref() } else { Some(shown) };
        if let Some(other) = other
            && (other.document.is_some() || document.is_some())
        {
            let emptied = other.document.is_none() || document.is_none();
            match shown.by == by {
                true => ledger.hide(&other.by, emptied, &Path::ROOT),
                false => ledger.yield_to(&other.by, emptied, &Path::ROOT),
            }
        }
        if ledger.fault == Some(Fault::MaximalVersionDropped) {
            self.versions = vec![self.versions.swap_remove(self.shown)];
            self.shown = 0;
        }
    }

    /// Forgets versions that nothing to come can build on or lay open.
    pub(super) fn prune(&mut self, stable: Hlc, floor: Floor<'_>, policy: &Policy) {
        let settles = |version: &Version| floor.settles(&version.by, stable);
        if policy.strategy() == Strategy::LastWriterWinsWhole {
            // Whoever comes covers it, and so builds on it or on a later one.
            let last = self.versions.iter().rposition(settles).unwrap_or(0);
            self.versions.drain(..last);
            self.shown = self.versions.len().saturating_sub(1);
        } else {
            let shown = self.version().map(|version| version.by.clone());
            self.versions
                .retain(|version| Some(&version.by) == shown.as_ref() || !settles(version));
            let place = self.versions.iter().position(|v| Some(&v.by) == shown.as_ref());
            self.shown = place.unwrap_or(0);
        }
        if let [only] = &self.versions[..]
            && only.document.is_none()
            && settles(only)
        {
            self.versions.clear();
        }
    }

    /// Judges an increment against what shows: where it meets what is not an integer (true) or
    /// would leave 64 bits (false).
    pub(super) fn check_increment(
        &self,
        amounts: &Map<String, Value>,
    ) -> Result<(), (String, bool)> {
        match self.document() {
            Some(document) => check(document, amounts, &Path::ROOT),
            None => Ok(()),
        }
    }
}

/// The place of the version that shows; of equals the latest.
fn choice(versions: &[Version], policy: &Policy) -> usize {
    let of = |name: &RegionName, version: &Version| version.by.dot.origin.is_of(name);
    let worth = |version: &Version| match policy.strategy() {
        Strategy::RegionPriority => {
            let regions = policy.regions();
            let rank = regions.iter().position(|name| of(name, version));
            regions.len() - rank.unwrap_or(regions.len())
        }
        Strategy::DeleteWins => usize::from(version.document.is_none()),
        _ => usize::from(version.document.is_some()),
    };
    let best = versions.iter().enumerate().max_by_key(|(place, version)| (worth(version), *place));
    best.map_or(0, |(place, _)| place)
}

/// RFC 7396, section 2.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(members) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            members.remove(name);
        } else {
            merge(members.entry(name.as_str()).or_insert(Value::Null), value);
        }
    }
}

/// Adds integers path by path; what is in the way stays, and the leaves below go on record (11).
fn add(
    target: &mut Value,
    amounts: &Map<String, Value>,
    holder: Option<&Stamp>,
    path: &Path<'_>,
    ledger: &mut Ledger<'_>,
) {
    let Value::Object(members) = target else {
        for (name, amount) in amounts {
            let path = path.child(name);
            match amount {
                Value::Object(amounts) => add(target, amounts, holder, &path, ledger),
                _ => ledger.out_of_place(holder, &path),
            }
        }
        return;
    };
    for (name, amount) in amounts {
        let path = path.child(name);
        match (amount, members.get_mut(name)) {
            (Value::Object(amounts), found) => {
                let new = Value::Object(Map::new());
                let target = match found {
                    Some(found) => found,
                    None => members.entry(name.as_str()).or_insert(new),
                };
                add(target, amounts, holder, &path, ledger);
            }
            (amount, None) => drop(members.insert(name.clone(), amount.clone())),
            (amount, Some(found)) => match (integer(found), amount.as_i64()) {
                (Some(base), Some(amount)) => *found = number(base + i128::from(amount)),
                _ => ledger.out_of_place(holder, &path),
            },
        }
    }
}

fn check(
    target: &Value,
    amounts: &Map<String, Value>,
    path: &Path<'_>,
) -> Result<(), (String, bool)> {
    let Some(members) = target.as_object() else { return Err((path.pointer(), true)) };
    for (name, amount) in amounts {
        let path = path.child(name);
        match (amount, members.get(name)) {
            (_, None) => {}
            (Value::Object(amounts), Some(found)) => check(found, amounts, &path)?,
            (amount, Some(found)) => {
                let Some(base) = integer(found) else { return Err((path.pointer(), true)) };
                if i64::try_from(base + i128::from(amount.as_i64().unwrap_or(0))).is_err() {
                    return Err((path.pointer(), false));
                }
            }
        }
    }
    Ok(())
}
