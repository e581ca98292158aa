//! A key folded anew from events that are all at hand: nothing is read from elsewhere.
//!
//! For judging what would have been, beside what is: dry runs of policies, and undo. What always
//! holds: events are stepped in order, so that none of them is late.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Cause, EventSource, FoldSettings, KeyState};
use crate::event::{Event, Identity};
use crate::name::Key;
use crate::policy::Epochs;
use crate::vector::{Dot, Stamp};

/// All events that there are.
struct Given<'a>(BTreeMap<&'a Dot, &'a Arc<Event>>);

impl EventSource for Given<'_> {
    fn event(&self, dot: &Dot) -> Result<Option<Arc<Event>>, Cause> {
        Ok(self.0.get(dot).map(|event| Arc::clone(event)))
    }

    fn between(&self, _: &Key, first: &Stamp, last: &Stamp) -> Result<Vec<Arc<Event>>, Cause> {
        let within = |stamp: &Stamp| first <= stamp && stamp <= last;
        let mut events: Vec<_> = self.0.values().filter(|e| within(&e.stamp())).collect();
        events.sort_by_cached_key(|event| event.stamp());
        Ok(events.into_iter().map(|event| Arc::clone(event)).collect())
    }
}

/// The fold of those stepped so far.
pub(super) struct Replay<'a> {
    source: Given<'a>,
    copies: BTreeMap<&'a Identity, Vec<Stamp>>,
    epochs: &'a Epochs,
    settings: &'a FoldSettings,
    pub(super) state: KeyState,
}

impl<'a> Replay<'a> {
    /// Of these events, in whatever order.
    pub(super) fn of(
        events: &'a [Arc<Event>],
        epochs: &'a Epochs,
        settings: &'a FoldSettings,
    ) -> Self {
        let source = Given(events.iter().map(|event| (&event.dot, event)).collect());
        Self { source, copies: BTreeMap::new(), epochs, settings, state: KeyState::default() }
    }

    /// Folds the next one in order; answers the copies of its identity so far, with it.
    pub(super) fn step(&mut self, event: &'a Arc<Event>) -> &[Stamp] {
        let Self { source, copies, epochs, settings, state } = self;
        let known = copies.entry(&event.identity).or_default();
        let change = state.apply(event, known, source, epochs, settings);
        change.expect("nothing is read of what is folded in order");
        known.push(event.stamp());
        known
    }
}
