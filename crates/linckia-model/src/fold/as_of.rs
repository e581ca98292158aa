//! A key as it was: the fold of some of its events, beside that of all of them.
//!
//! For looks into the past. Pure: all events are given. What always holds: the fold of all of them
//! is told too, so that whoever asks can see whether events are missing.

use std::sync::Arc;

use serde_json::Value;

use super::replay::Replay;
use super::{FoldSettings, KeyState, canonical};
use crate::event::Event;
use crate::hlc::Hlc;
use crate::policy::Epochs;

/// What was there.
#[derive(Clone, Debug, PartialEq)]
pub struct Was {
    pub value: Value,
    pub version: u64,
    /// Without quotes.
    pub entity_tag: String,
    /// Records of this key by then.
    pub conflicts: u64,
    pub updated_at: Hlc,
}

/// A key as it was and as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct AsOf {
    /// None where nothing was.
    pub was: Option<Was>,
    /// Of all events; these say whether the state is made of others too.
    pub version: u64,
    pub entity_tag: Option<String>,
}

/// Folds those of a key's events that `counted` names, and all of them, in whatever order given.
pub fn as_of(
    events: &[Arc<Event>],
    counted: &dyn Fn(&Event) -> bool,
    epochs: &Epochs,
    settings: &FoldSettings,
) -> AsOf {
    let mut all: Vec<Arc<Event>> = events.to_vec();
    all.sort_by_cached_key(|event| event.stamp());
    let some: Vec<Arc<Event>> = all.iter().filter(|event| counted(event)).cloned().collect();
    let then = folded(&some, epochs, settings);
    let was = then.folded().value.zip(some.last()).map(|(value, last)| Was {
        value,
        version: then.version(),
        entity_tag: canonical::entity_tag(&then).unwrap_or_default(),
        conflicts: then.records().count() as u64,
        updated_at: last.hlc,
    });
    let now = if some.len() == all.len() { then } else { folded(&all, epochs, settings) };
    AsOf { was, version: now.version(), entity_tag: canonical::entity_tag(&now) }
}

/// The fold of events in order.
pub(super) fn folded(events: &[Arc<Event>], epochs: &Epochs, settings: &FoldSettings) -> KeyState {
    let mut replay = Replay::of(events, epochs, settings);
    for event in events {
        replay.step(event);
    }
    replay.state
}
