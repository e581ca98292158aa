//! Copies: events of a key that carry one identity, because a client wrote twice.
//!
//! Only identities with two copies or more stand here; that is rare, so this is small. Rules 2 and
//! 3 of `docs/fold.md`.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{Event, Identity};
use crate::hlc::Hlc;
use crate::vector::Stamp;

/// Per repeated identity of one key, its copies in order.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Copies(pub(super) BTreeMap<Identity, BTreeSet<Stamp>>);

impl Copies {
    /// Takes note that these events share an identity.
    pub fn note(&mut self, identity: &Identity, stamps: impl IntoIterator<Item = Stamp>) {
        self.0.entry(identity.clone()).or_default().extend(stamps);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn nearest_before(&self, identity: &Identity, stamp: &Stamp) -> Option<&Stamp> {
        self.0.get(identity)?.range(..stamp).next_back()
    }

    fn within(earlier: &Stamp, later: &Stamp, window_milliseconds: u64) -> bool {
        later.hlc.bits() - earlier.hlc.bits() <= Hlc::from_milliseconds(window_milliseconds).bits()
    }

    /// True if no other copy lies within the window before it.
    pub fn counts(&self, identity: &Identity, stamp: &Stamp, window_milliseconds: u64) -> bool {
        self.nearest_before(identity, stamp)
            .is_none_or(|earlier| !Self::within(earlier, stamp, window_milliseconds))
    }

    /// The latest counted copy before this one.
    pub fn counted_before(
        &self,
        identity: &Identity,
        stamp: &Stamp,
        window_milliseconds: u64,
    ) -> Option<&Stamp> {
        let copies = self.0.get(identity)?;
        let mut before = copies.range(..stamp).rev();
        before.find(|copy| self.counts(identity, copy, window_milliseconds))
    }

    /// True if the event covers that one, itself or by a later copy of it.
    pub fn covers(&self, event: &Event, stamp: &Stamp) -> bool {
        if event.covers_directly(&stamp.dot) {
            return true;
        }
        let copies = self.0.values().find(|copies| copies.contains(stamp));
        copies.is_some_and(|copies| {
            copies.range(stamp..).skip(1).any(|copy| event.covers_directly(&copy.dot))
        })
    }
}
