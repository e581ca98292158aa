//! Who wrote what shows: the events of a key once more in order, and who changed which path.
//!
//! Under `undo`. Nothing is known here of how the fold keeps its state: each step is judged by what
//! shows before and after it. What always holds: a path that shows and has no writer was written
//! before the first event of interest, or is made of increments alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::leaves::{Leaves, Place, leaves};
use super::{kind_at, unit};
use crate::event::{Event, Identity, Operation};
use crate::fold::replay::Replay;
use crate::fold::{Copies, FoldSettings, KeyState};
use crate::policy::{Epochs, FieldKind, Policy};

/// Of every path its last writer, increments aside, and the increments that count on top.
#[derive(Default)]
pub(super) struct Writers {
    pub(super) last: BTreeMap<Place, Identity>,
    pub(super) increments: BTreeMap<Place, Vec<(Arc<Event>, i64)>>,
    /// Leaves compared so far.
    compared: usize,
}

/// Leaves that are compared at most, over all events.
const LEAVES_MAX: usize = 4_000_000;

/// The fold of all events with its leaves, and who wrote what since the first event of interest.
pub(super) fn replay(
    events: &[Arc<Event>],
    of_interest: &dyn Fn(&Event) -> bool,
    epochs: &Epochs,
    settings: &FoldSettings,
) -> (KeyState, Writers) {
    let (mut replay, mut writers) = (Replay::of(events, epochs, settings), Writers::default());
    let mut known = Copies::default();
    let mut before: Option<Leaves> = None;
    for event in events {
        if before.is_none() && of_interest(event) {
            before = Some(leaves(replay.state.folded().value.as_ref()));
        }
        let copies = replay.step(event);
        if copies.len() > 1 {
            known.note(&event.identity, copies.iter().cloned());
        }
        if let Some(before) = before.as_mut().filter(|_| !writers.gave_up()) {
            let after = leaves(replay.state.folded().value.as_ref());
            let policy = epochs.rule(event.policy_epoch).1;
            writers.compared += after.len();
            writers.note(event, before, &after, policy, &known);
            *before = after;
        }
    }
    (replay.state, writers)
}

impl Writers {
    /// It would have taken too long: the rest is not known.
    pub(super) fn gave_up(&self) -> bool {
        self.compared > LEAVES_MAX
    }

    fn note(
        &mut self,
        event: &Arc<Event>,
        before: &Leaves,
        after: &Leaves,
        policy: &Policy,
        copies: &Copies,
    ) {
        let said = leaves(Some(&event.data));
        let gone = before.keys().filter(|place| !after.contains_key(*place));
        let new = after.iter().filter(|(place, value)| before.get(*place) != Some(value));
        let mut touched: Vec<&Place> = gone.chain(new.map(|(place, _)| place)).collect();
        if matches!(event.operation, Operation::Put | Operation::Patch) {
            let equal = said.iter().filter(|(place, value)| {
                after.get(*place) == Some(value) && before.get(*place) == Some(value)
            });
            touched.extend(equal.map(|(place, _)| place));
        }
        for place in touched {
            let added = (event.operation == Operation::Increment)
                .then(|| added(said.get(place), before.get(place), after.get(place)))
                .flatten();
            if let Some(amount) = added {
                if !before.contains_key(place) {
                    self.last.remove(place);
                    self.increments.remove(place);
                }
                let all = self.increments.entry(place.clone()).or_default();
                all.push((Arc::clone(event), amount));
                continue;
            }
            self.last.insert(place.clone(), unit(event));
            let counter = kind_at(policy, place) == Some(FieldKind::Counter);
            if let Some(all) = self.increments.get_mut(place) {
                all.retain(|(one, _)| counter && !copies.covers(event, &one.stamp()));
            }
        }
    }
}

/// The amount, if that is what was added.
fn added(said: Option<&Value>, before: Option<&Value>, after: Option<&Value>) -> Option<i64> {
    let (amount, after) = (said?.as_i64()?, after?.as_i64()?);
    let before = before.map_or(Some(0), Value::as_i64)?;
    (before.checked_add(amount)? == after).then_some(amount)
}
