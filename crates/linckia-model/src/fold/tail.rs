//! A key's tail: its events above the base, told by how long they are and where their folds stand.
//!
//! Kept are a base, some states between it and the present (checkpoints: the nearer to the present,
//! the closer together), and the events that no flush has taken to the store. All others are read
//! again where a late event falls among them: the store has their stamps and the logs have them.
//! What always holds: a checkpoint is the fold of everything up to its last event; the way from the
//! checkpoint before an event to the present is at most a few times as long as that from the event.

use std::sync::Arc;

use super::{EventSource, State, Unread};
use crate::event::Event;
use crate::hlc::Hlc;
use crate::name::Key;
use crate::vector::{Dot, Stamp, Vector};

/// Two neighbours become one where they are together at most so many times as long as all that
/// comes after them: what is read for an event is then in proportion to how late it is.
const GROWTH: u64 = 2;

/// Consecutive events of a tail.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Segment {
    pub(super) length: u64,
    /// What every one of them covers; nothing is known where one says itself what it replaces.
    pub(super) floor: Option<Vector>,
    /// In order; away once the store has their stamps.
    pub(super) events: Option<Arc<Vec<Arc<Event>>>>,
    /// A flush has taken them.
    pub(super) taken: bool,
}

/// The fold of everything up to some event of the tail.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Checkpoint {
    /// The events since the checkpoint before, or the base.
    pub(super) segment: Segment,
    pub(super) last: Stamp,
    pub(super) state: Arc<State>,
}

/// What lies above a key's base; at least one event.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tail {
    pub(super) base: Arc<State>,
    /// No event of the tail comes before it.
    pub(super) first: Stamp,
    /// Covers every event of the tail.
    pub(super) shown: Vector,
    pub(super) chain: Vec<Checkpoint>,
    /// Events after the last checkpoint, in order.
    pub(super) open: Vec<Arc<Event>>,
}

/// What comes after a checkpoint, taken out to be folded again.
pub(super) struct Unfolded {
    pub(super) base: Arc<State>,
    /// In order.
    pub(super) events: Vec<Arc<Event>>,
    /// Those of them that were not in memory.
    pub(super) reread: Vec<Arc<Event>>,
}

/// What all of these cover.
fn floor_of(events: &[Arc<Event>]) -> Option<Vector> {
    let mut floor: Option<Vector> = None;
    for event in events {
        if event.ctx.is_some() {
            return None;
        }
        match &mut floor {
            Some(floor) => floor.meet(&event.deps),
            None => floor = Some(event.deps.clone()),
        }
    }
    floor
}

fn met(one: Option<Vector>, other: Option<&Vector>) -> Option<Vector> {
    let mut floor = one?;
    floor.meet(other?);
    Some(floor)
}

/// The first place in order after that one.
pub(super) fn after(stamp: &Stamp) -> Stamp {
    let Stamp { hlc, dot } = stamp;
    Stamp { hlc: *hlc, dot: Dot::new(dot.origin.clone(), dot.sequence + 1) }
}

impl Segment {
    /// The two as one, unless only of one of them the events are in memory.
    pub(super) fn join(&mut self, later: &Self) -> bool {
        match (&mut self.events, &later.events) {
            (Some(events), Some(more)) => Arc::make_mut(events).extend(more.iter().cloned()),
            (None, None) => {}
            _ => return false,
        }
        self.length += later.length;
        self.taken &= later.taken;
        self.floor = met(self.floor.take(), later.floor.as_ref());
        true
    }
}

impl Tail {
    pub(super) fn new(base: Arc<State>, first: Stamp) -> Self {
        let (shown, chain, open) = (Vector::new(), Vec::new(), Vec::new());
        Self { base, first, shown, chain, open }
    }

    pub(super) fn last(&self) -> Option<Stamp> {
        let closed = || self.chain.last().map(|checkpoint| checkpoint.last.clone());
        self.open.last().map(|event| event.stamp()).or_else(closed)
    }

    pub(super) fn last_hlc(&self) -> Option<Hlc> {
        let closed = || self.chain.last().map(|checkpoint| checkpoint.last.hlc);
        self.open.last().map(|event| event.hlc).or_else(closed)
    }

    pub(super) fn length(&self) -> u64 {
        let closed: u64 = self.chain.iter().map(|checkpoint| checkpoint.segment.length).sum();
        closed + self.open.len() as u64
    }

    /// How many of its events are in memory.
    pub(super) fn in_memory(&self) -> usize {
        let kept = self.chain.iter().filter_map(|checkpoint| checkpoint.segment.events.as_ref());
        kept.map(|events| events.len()).sum::<usize>() + self.open.len()
    }

    /// Takes the event that comes last, folded into `current`.
    pub(super) fn push(&mut self, event: &Arc<Event>, current: &Arc<State>, portion: usize) {
        self.open.push(Arc::clone(event));
        if self.open.len() >= portion {
            self.close(current, portion);
        }
    }

    /// Where everything up to the last event stands becomes a checkpoint.
    pub(super) fn close(&mut self, current: &Arc<State>, portion: usize) {
        let Some(last) = self.open.last().map(|event| event.stamp()) else { return };
        let events = std::mem::take(&mut self.open);
        let (length, floor) = (events.len() as u64, floor_of(&events));
        let segment = Segment { length, floor, events: Some(Arc::new(events)), taken: false };
        self.chain.push(Checkpoint { segment, last, state: Arc::clone(current) });
        self.thin(portion as u64 / 2);
    }

    /// Gives up checkpoints that lie closer together than their distance asks for; short tails
    /// need none.
    fn thin(&mut self, few: u64) {
        let mut later = 0;
        for place in (1..self.chain.len()).rev() {
            let (before, behind) = self.chain.split_at_mut(place);
            let (earlier, this) = (&mut before[place - 1].segment, &behind[0].segment);
            let length = this.length;
            if earlier.length + length <= few.max(GROWTH * later) && earlier.join(this) {
                let removed = self.chain.remove(place);
                let kept = &mut self.chain[place - 1];
                (kept.last, kept.state) = (removed.last, removed.state);
            } else {
                later += length;
            }
        }
    }

    /// A flush takes the tail as it is.
    pub(super) fn take(&mut self) {
        self.chain.iter_mut().for_each(|checkpoint| checkpoint.segment.taken = true);
    }

    /// What flushes took is in the store.
    pub(super) fn stored(&mut self) {
        for Checkpoint { segment, .. } in &mut self.chain {
            if segment.taken {
                segment.events = None;
            }
        }
    }

    /// How many checkpoints come before that place.
    pub(super) fn before(&self, stamp: &Stamp) -> usize {
        self.chain.partition_point(|checkpoint| checkpoint.last < *stamp)
    }

    /// Takes out the events after so many checkpoints.
    pub(super) fn unfold(
        &mut self,
        checkpoints: usize,
        key: &Key,
        source: &dyn EventSource,
    ) -> Result<Unfolded, Unread> {
        let mut from = self.first.clone();
        let mut base = &self.base;
        if let Some(checkpoint) = checkpoints.checked_sub(1).map(|place| &self.chain[place]) {
            (from, base) = (after(&checkpoint.last), &checkpoint.state);
        }
        let base = Arc::clone(base);
        let (mut events, mut reread) = (Vec::new(), Vec::new());
        for Checkpoint { segment, last, .. } in &self.chain[checkpoints..] {
            match &segment.events {
                Some(kept) => events.extend(kept.iter().cloned()),
                None => {
                    let read = source.between(key, &from, last);
                    let read = read.map_err(|cause| Unread::new(key, cause))?;
                    if read.len() as u64 != segment.length {
                        return Err(Unread::lost(key, read.len(), segment.length));
                    }
                    events.extend(read.iter().cloned());
                    reread.extend(read);
                }
            }
            from = after(last);
        }
        self.chain.truncate(checkpoints);
        events.append(&mut self.open);
        Ok(Unfolded { base, events, reread })
    }

    /// Moves the base to the last checkpoint at or below stable time. False if there is none.
    pub(super) fn settle(&mut self, stable: Hlc) -> bool {
        let count = self.chain.partition_point(|checkpoint| checkpoint.last.hlc <= stable);
        let Some(Checkpoint { last, state, .. }) = self.chain.drain(..count).next_back() else {
            return false;
        };
        self.base = state;
        self.first = after(&last);
        true
    }

    /// What every event of it covers, if all of them say so by their deps.
    pub(super) fn floor(&self) -> Option<Vector> {
        let mut parts = self.chain.iter().map(|checkpoint| checkpoint.segment.floor.as_ref());
        let open = (!self.open.is_empty()).then(|| floor_of(&self.open));
        let floor = match &open {
            Some(floor) => floor.clone(),
            None => parts.next()?.cloned(),
        };
        parts.fold(floor, met)
    }
}
