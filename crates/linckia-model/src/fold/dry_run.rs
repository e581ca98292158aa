//! What another policy would have made of a key: the fold once more, and what differs.
//!
//! Before a type's policy is changed, its history is held against the new one. Pure: nothing is
//! written. What always holds: under the policies that its events were written under, nothing
//! differs.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::replay::Replay;
use super::{FoldSettings, Record, RecordKey};
use crate::event::Event;
use crate::policy::{Epochs, Policy};

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

fn folded(
    events: &[Arc<Event>],
    epochs: &Epochs,
    settings: &FoldSettings,
) -> (Option<Value>, Rows) {
    let mut ordered: Vec<&Arc<Event>> = events.iter().collect();
    ordered.sort_by_cached_key(|event| event.stamp());
    let mut replay = Replay::of(events, epochs, settings);
    for event in ordered {
        replay.step(event);
    }
    let state = replay.state;
    let rows = state.records().map(|(key, record)| (key.clone(), record.clone())).collect();
    (state.folded().value, rows)
}
