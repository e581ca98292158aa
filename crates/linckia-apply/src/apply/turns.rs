//! Whose turn it is: which transaction of an origin can be applied next, or why none can.
//!
//! An event waits for what it depends on and for the policy of its epoch; whatever follows it in
//! its log waits with it. What always holds: what waits is durable, and is read again from the log
//! when its queue was let go of.

use std::collections::VecDeque;
use std::sync::Arc;

use linckia_model::{Clock, Event, Fault, Hlc, KeyState, Now, Origin, RecordChange, Vector};
use linckia_store::View;

use super::Apply;
use crate::error::{Error, Result};
use crate::port::Events;

/// How much is read from the log at once to fill a queue.
const REFILL_BYTES: u64 = 1 << 20;

/// What one call of [`Apply::run`] did.
pub struct Turn {
    /// In the order applied.
    pub applied: Vec<Arc<Event>>,
    /// The budget ended it: there may be more to do.
    pub more: bool,
}

impl Apply {
    /// Applies what can be applied of everything that is durable, as far as the budget goes: an
    /// event, or one that is read again, costs one of it. `prepared` gives the state after an
    /// event, and what it puts on record, where that is known already.
    ///
    /// # Errors
    /// The store's, a log's, or a row that is not ours: the region must stop.
    pub fn run(
        &mut self,
        now: Now,
        clock: &mut Clock,
        durable: &Vector,
        view: &dyn View,
        events: &dyn Events,
        prepared: &mut dyn FnMut(&Event) -> Option<(KeyState, RecordChange)>,
    ) -> Result<Turn> {
        let budget = self.settings.budget.min(self.room());
        let (mut done, mut spent) = (Vec::new(), 0);
        let mut progress = true;
        while progress && spent < budget {
            progress = false;
            for (origin, last) in durable.iter() {
                let last = self.incarnations.end(origin).map_or(last, |end| last.min(end));
                while spent < budget {
                    let Some((first, size)) = self.next(origin, last, events)? else { break };
                    if !origin.is_of(&self.own) && clock.holds_back(first, now) {
                        self.offer_held(origin);
                        break;
                    }
                    for _ in 0..size {
                        let queue = self.queues.get_mut(origin);
                        let Some(event) = queue.and_then(VecDeque::pop_front) else { break };
                        clock.observe(event.hlc);
                        spent += 1 + self.apply(&event, view, events, prepared(&event))?;
                        done.push(event);
                    }
                    progress = true;
                }
            }
        }
        self.settle(events)?;
        Ok(Turn { applied: done, more: spent >= self.settings.budget })
    }

    /// Events that may be applied before the flush under way is done.
    fn room(&self) -> usize {
        let (events, bytes) = self.since_flush;
        if !self.store.is_moving() {
            return usize::MAX;
        }
        if bytes >= self.settings.flush_bytes_max {
            return 0;
        }
        self.settings.flush_events_max.saturating_sub(events)
    }

    /// Where the next whole transaction of an origin stands at the front of its queue and its deps
    /// are applied: its time and its size.
    ///
    /// # Errors
    /// The log is not readable there.
    fn next(
        &mut self,
        origin: &Origin,
        durable: u64,
        events: &dyn Events,
    ) -> Result<Option<(Hlc, usize)>> {
        let applied = self.applied.get(origin);
        if applied >= durable {
            return Ok(None);
        }
        if !self.queues.contains_key(origin) {
            self.queues.insert(origin.clone(), VecDeque::new());
        }
        let Some(queue) = self.queues.get_mut(origin) else { return Ok(None) };
        while queue.front().is_some_and(|first| first.dot.sequence <= applied) {
            queue.pop_front();
        }
        let gap = queue.front().is_some_and(|first| first.dot.sequence != applied + 1);
        if gap {
            queue.clear();
        }
        if queue.is_empty() {
            queue.extend(events.events(origin, applied + 1, REFILL_BYTES).map_err(Error::Log)?);
        }
        let Some(first) = queue.front() else { return Ok(None) };
        let fault = self.settings.fold.fault;
        let ready = fault == Some(Fault::DepsIgnored) || first.depends_within(&self.applied);
        if !ready {
            return Ok(None);
        }
        let (hlc, size) = (first.hlc, first.transaction.size as usize);
        // What it would be folded with may be gone.
        if hlc <= self.stability.stable() {
            if !self.below.contains(origin) {
                self.below.insert(origin.clone());
            }
            return Ok(None);
        }
        while queue.len() < size {
            let from = queue.back().map_or(applied, |last| last.dot.sequence) + 1;
            let more = events.events(origin, from, REFILL_BYTES).map_err(Error::Log)?;
            if more.is_empty() {
                return Ok(None);
            }
            queue.extend(more);
        }
        let policies = &self.policies;
        let known = |e: &Arc<Event>| policies.of(&e.key).get(e.policy_epoch).is_some();
        if !queue.iter().take(size).all(known) && fault != Some(Fault::EpochIgnored) {
            self.unknown.insert(origin.clone());
            return Ok(None);
        }
        Ok(Some((hlc, size)))
    }

    /// Held events are relayed: whole transactions of the queue whose deps can be offered too.
    fn offer_held(&mut self, origin: &Origin) {
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
