//! What another policy would have made of a key: the fold once more, and what differs.
//!
//! Before a type's policy is changed, its history is held against the new one. Pure: nothing is
//! written. What always holds: under the policies that its events were written under, nothing
//! differs.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::{Cause, EventSource, FoldSettings, KeyState, Record, RecordKey};
use crate::event::{Event, Identity};
use crate::name::Key;
use crate::policy::{Epochs, Policy};
use crate::vector::{Dot, Stamp};

/// What a policy would change of one key.
#[derive(Clone, Debug, PartialEq)]
pub struct DryRun {
    /// The value now, and under the other policy.
    pub before: Option<Value>,
    pub after: Option<Value>,
    /// Records that the other policy would make, and those it would not. One that it would make
    /// otherwise is among both.
    pub appear: Vec<(RecordKey, Record)>,
    pub disappear: Vec<(RecordKey, Record)>,
}

/// Folds all events of a key, in whatever order, under the policies they were written under and
/// under another one in their place. What it compares rests on the events given: without those
/// that history has forgotten, both sides are without them.
pub fn dry_run(
    events: &[Arc<Event>],
    epochs: &Epochs,
    policy: &Policy,
    settings: &FoldSettings,
) -> DryRun {
    let (before, was) = folded(events, epochs, settings);
    let (after, is) = folded(events, &Epochs::always(policy.clone()), settings);
    let beyond = |these: &Rows, those: &Rows| {
        let new = these.iter().filter(|(key, record)| those.get(key) != Some(record));
        new.map(|(key, record)| (key.clone(), record.clone())).collect()
    };
    DryRun { before, after, appear: beyond(&is, &was), disappear: beyond(&was, &is) }
}

type Rows = BTreeMap<RecordKey, Record>;

/// Everything is at hand: nothing is read.
pub(super) struct Given<'a>(BTreeMap<&'a Dot, &'a Arc<Event>>);

impl<'a> Given<'a> {
    pub(super) fn of(events: &'a [Arc<Event>]) -> Self {
        Self(events.iter().map(|event| (&event.dot, event)).collect())
    }
}

impl EventSource for Given<'_> {
    fn event(&self, dot: &Dot) -> Option<Arc<Event>> {
        self.0.get(dot).map(|event| Arc::clone(event))
    }

    fn between(&self, _: &Key, first: &Stamp, last: &Stamp) -> Result<Vec<Arc<Event>>, Cause> {
        let within = |stamp: &Stamp| first <= stamp && stamp <= last;
        let mut events: Vec<_> = self.0.values().filter(|e| within(&e.stamp())).collect();
        events.sort_by_cached_key(|event| event.stamp());
        Ok(events.into_iter().map(|event| Arc::clone(event)).collect())
    }
}

fn folded(
    events: &[Arc<Event>],
    epochs: &Epochs,
    settings: &FoldSettings,
) -> (Option<Value>, Rows) {
    let source = Given::of(events);
    let mut ordered: Vec<&Arc<Event>> = events.iter().collect();
    ordered.sort_by_cached_key(|event| event.stamp());
    let mut copies: BTreeMap<&Identity, Vec<Stamp>> = BTreeMap::new();
    let mut state = KeyState::default();
    for event in ordered {
        let earlier = copies.entry(&event.identity).or_default();
        let change = state.apply(event, earlier, &source, epochs, settings);
        change.expect("nothing is read of what is folded in order");
        earlier.push(event.stamp());
    }
    let rows = state.records().map(|(key, record)| (key.clone(), record.clone())).collect();
    (state.folded().value, rows)
}
