//! Whose turn it is: which transaction of an origin can be applied next, or why none can.
//!
//! An event waits for what it depends on and for the policy of its epoch; whatever follows it in
//! its log waits with it. What always holds: what waits is durable, and is read again from the log
//! when its queue was let go of.

use std::collections::VecDeque;
use std::sync::Arc;

use linckia_model::{Event, Fault, Hlc, Origin};

use super::Apply;
use crate::port::Events;

/// How much is read from the log at once to fill a queue.
const REFILL_BYTES: u64 = 1 << 20;

impl Apply {
    /// Where the next whole transaction of an origin stands at the front of its queue and its deps
    /// are applied: its time and its size.
    pub(super) fn next(
        &mut self,
        origin: &Origin,
        durable: u64,
        events: &dyn Events,
    ) -> Option<(Hlc, usize)> {
        let applied = self.applied.get(origin);
        if applied >= durable {
            return None;
        }
        if !self.queues.contains_key(origin) {
            self.queues.insert(origin.clone(), VecDeque::new());
        }
        let queue = self.queues.get_mut(origin)?;
        while queue.front().is_some_and(|first| first.dot.sequence <= applied) {
            queue.pop_front();
        }
        let gap = queue.front().is_some_and(|first| first.dot.sequence != applied + 1);
        if gap {
            queue.clear();
        }
        if queue.is_empty() {
            queue.extend(events.events(origin, applied + 1, REFILL_BYTES));
        }
        let first = queue.front()?;
        let fault = self.settings.fold.fault;
        let ready = fault == Some(Fault::DepsIgnored) || first.depends_within(&self.applied);
        if !ready {
            return None;
        }
        let (hlc, size) = (first.hlc, first.transaction.size as usize);
        while queue.len() < size {
            let from = queue.back().map_or(applied, |last| last.dot.sequence) + 1;
            let more = events.events(origin, from, REFILL_BYTES);
            if more.is_empty() {
                return None;
            }
            queue.extend(more);
        }
        let policies = &self.policies;
        let known = |e: &Arc<Event>| policies.of(&e.key).get(e.policy_epoch).is_some();
        if !queue.iter().take(size).all(known) && fault != Some(Fault::EpochIgnored) {
            self.unknown.insert(origin.clone());
            return None;
        }
        Some((hlc, size))
    }

    /// Held events are relayed: whole transactions of the queue whose deps can be offered too.
    pub(super) fn offer_held(&mut self, origin: &Origin) {
        let Some(queue) = self.queues.get(origin) else { return };
        for event in queue {
            if !event.depends_within(&self.offerable) {
                return;
            }
            if event.dot.sequence == event.transaction.last() {
                self.offerable.raise(origin, event.dot.sequence);
            }
        }
    }
}
