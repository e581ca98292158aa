//! Documents that are one value: every version is kept, and all are looked at each time.
//!
//! Rulings 26 and 27.

use std::collections::BTreeSet;

use serde_json::{Map, Number, Value, json};

use super::replay::{Replay, child, integer};
use super::{Place, RefOperation, RefStrategy};

impl Replay<'_> {
    /// One event under a policy of whole documents.
    pub(super) fn version(&mut self, event: Place) {
        let said = self.history.ordered[event];
        let last_wins = self.policy.strategy == RefStrategy::LastWriterWinsWhole;
        let before = self.chosen();
        let document = match said.operation {
            RefOperation::Record => return,
            RefOperation::Put => Some(said.data.clone()),
            RefOperation::Delete => None,
            RefOperation::Patch if last_wins => {
                let mut document = self.seen(event).unwrap_or_default();
                merge(&mut document, &said.data);
                Some(document)
            }
            RefOperation::Increment if last_wins => {
                if !self.history.counts(event) {
                    return;
                }
                let mut document = self.seen(event).unwrap_or(json!({}));
                for path in count(&mut document, &[], &said.data) {
                    self.lose(BTreeSet::from([event]), self.base(event), &path, false);
                }
                Some(document)
            }
            _ => {
                let holder = before.filter(|before| self.versions[before].is_some());
                return self.lose(BTreeSet::from([event]), holder.unwrap_or(event), &[], false);
            }
        };
        self.versions.insert(event, document);
        let (Some(before), Some(now)) = (before, self.chosen()) else { return };
        let (loser, winner) = if now == event { (before, event) } else { (event, now) };
        let both = [&self.versions[&loser], &self.versions[&winner]];
        let absent = both.iter().filter(|document| document.is_none()).count();
        let covered = self.history.covers(event, loser);
        if absent < 2 && !covered {
            self.lose(BTreeSet::from([loser]), winner, &[], absent == 1);
        }
    }

    /// The version that the event's writer saw; its own place if there was none.
    fn base(&self, event: Place) -> Place {
        let mut seen = self.versions.keys().rev();
        seen.find(|version| self.history.covers(event, **version)).copied().unwrap_or(event)
    }

    fn seen(&self, event: Place) -> Option<Value> {
        self.versions.get(&self.base(event))?.clone()
    }

    /// The version that shows.
    pub(super) fn chosen(&self) -> Option<Place> {
        if self.policy.strategy == RefStrategy::LastWriterWinsWhole {
            return self.versions.keys().next_back().copied();
        }
        let covered = |version: &Place| {
            self.versions.keys().any(|other| self.history.covers(*other, *version))
        };
        let mut maximal: Vec<Place> = self.versions.keys().copied().collect();
        maximal.retain(|version| !covered(version));
        // From the latest to the earliest, the first of the best kind.
        maximal.reverse();
        let deleted = |version: &&Place| self.versions[*version].is_none();
        let best = match self.policy.strategy {
            RefStrategy::DeleteWins => maximal.iter().find(deleted),
            RefStrategy::UpdateWins => maximal.iter().find(|version| !deleted(version)),
            _ => {
                let regions = self.policy.regions.iter();
                let mut of_regions = regions.map(|region| {
                    let of = |version: &&Place| self.region(**version) == region;
                    maximal.iter().find(of)
                });
                of_regions.find_map(|found| found)
            }
        };
        best.or(maximal.first()).copied()
    }

    fn region(&self, event: Place) -> &str {
        let origin = &self.history.ordered[event].dot.0;
        origin.split('.').next().unwrap_or(origin)
    }
}

/// RFC 7396, section 2.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(members) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, member) in members {
        match (member, target.as_object_mut()) {
            (Value::Null, Some(document)) => drop(document.remove(name)),
            _ => merge(&mut target[name.as_str()], member),
        }
    }
}

/// Adds integers where integers or nothing are; the paths of the others.
fn count(target: &mut Value, path: &[String], amounts: &Value) -> Vec<Vec<String>> {
    let Some(members) = amounts.as_object() else { return vec![path.to_vec()] };
    let mut refused = Vec::new();
    for (name, amount) in members {
        let at = child(path, name);
        let found = target.get(name).cloned();
        let new = match (target.is_object(), found, amount) {
            (true, None, Value::Object(_)) => {
                let mut new = Value::Object(Map::new());
                refused.extend(count(&mut new, &at, amount));
                new
            }
            (true, None, amount) => amount.clone(),
            (true, Some(mut found), Value::Object(_)) => {
                refused.extend(count(&mut found, &at, amount));
                found
            }
            (true, Some(found), amount) => match (integer(&found), integer(amount)) {
                (Some(base), Some(more)) => Number::from_i128(base + more)
                    .or_else(|| Number::from_f64((base + more) as f64))
                    .map_or(Value::Null, Value::Number),
                _ => {
                    refused.push(at);
                    continue;
                }
            },
            (false, _, amount) => {
                refused.extend(leaves(&at, amount));
                continue;
            }
        };
        target[name.as_str()] = new;
    }
    refused
}

fn leaves(path: &[String], data: &Value) -> Vec<Vec<String>> {
    match data.as_object() {
        Some(members) => {
            members.iter().flat_map(|(name, data)| leaves(&child(path, name), data)).collect()
        }
        None => vec![path.to_vec()],
    }
}
