//! Between states in memory and the store: when a flush is due, what it takes, and that it is done.
//! What always holds: one flush is under way at most, and what it took stays in memory until then.

use std::sync::Arc;

use linckia_model::{Now, Vector, map};
use linckia_store::Store;

use super::{Apply, StoreStands};
use crate::error::Result;
use crate::flush::{Flush, Flushed, Taken};
use crate::query::Digests;

/// Entries looked at for eviction at once.
const EVICTED_MAX: usize = 4_096;

impl Apply {
    /// Something changed that no flush has taken.
    fn unflushed(&self) -> bool {
        self.keys.dirty_count() > 0 || !self.rows.is_empty()
    }

    fn flush_due(&self, now: Now) -> bool {
        let old = || {
            now.monotonic.saturating_sub(self.flushed_at) >= self.settings.flush_milliseconds
                && self.unflushed()
        };
        self.wanted
            || self.since_flush.0 >= self.settings.flush_events_max
            || self.since_flush.1 >= self.settings.flush_bytes_max
            || old()
    }

    /// Takes what changed since the last flush, if one is due and none is under way.
    pub fn begin_flush(&mut self, now: Now) -> Option<Flush> {
        if self.wanted && self.is_whole() {
            self.wanted = false;
        }
        if !self.flush_due(now) {
            return None;
        }
        self.take(now)
    }

    /// Takes what changed, unless a flush is under way.
    fn take(&mut self, now: Now) -> Option<Flush> {
        let StoreStands::Still(ranges) = &mut self.store else { return None };
        let ranges = std::mem::take(ranges);
        self.flushed_at = now.monotonic;
        self.wanted = false;
        self.since_flush = (0, 0);
        let mut taken = Vec::with_capacity(self.keys.dirty_count());
        self.keys.take(|key, entry| {
            taken.push(Taken {
                key,
                state: entry.state.clone(),
                conflicts: entry.conflicts,
                digest: entry.digest,
                stamps: std::mem::take(&mut entry.stamps),
            });
        });
        let claims = Arc::new(std::mem::replace(&mut self.claims, map(self.settings.seed)));
        self.store = StoreStands::Moving(Arc::clone(&claims));
        let rows = std::mem::take(&mut self.rows);
        let (spent, applied) = (self.spent.take(), self.applied.clone());
        Some(Flush { taken, claims, rows, ranges, applied, _spent: spent })
    }

    /// A flush is in the store.
    pub fn flushed(&mut self, flushed: Flushed) {
        for key in &flushed.keys {
            self.keys.flushed(&key.key, key.digest, key.row_bytes);
        }
        let before = std::mem::replace(&mut self.store, StoreStands::Still(flushed.ranges));
        if let StoreStands::Moving(claims) = before {
            self.spent = Some(claims);
        }
        self.stored = flushed.applied;
        self.evict();
    }

    /// Lets go of states not lately used, as far as the bound of memory asks for it.
    pub fn evict(&mut self) {
        self.keys.evict(self.settings.cache_bytes, EVICTED_MAX);
    }

    /// Brings the store to the applied vector now, if no flush is under way. False if one is.
    ///
    /// # Errors
    /// The store's.
    pub fn flush(&mut self, now: Now, store: &dyn Store) -> Result<bool> {
        if self.is_whole() {
            return Ok(true);
        }
        let Some(flush) = self.take(now) else { return Ok(false) };
        let flushed = flush.run(store)?;
        self.flushed(flushed);
        Ok(true)
    }

    /// True if the store has all there is.
    fn is_whole(&self) -> bool {
        self.is_stored() && !self.unflushed()
    }

    /// True while a flush is under way.
    pub fn is_flushing(&self) -> bool {
        matches!(self.store, StoreStands::Moving(_))
    }

    /// True if the store is at the applied vector, and stays there until something is applied.
    pub(crate) fn is_stored(&self) -> bool {
        !self.is_flushing() && self.stored == self.applied
    }

    /// How far the store is.
    pub fn stored(&self) -> &Vector {
        &self.stored
    }

    /// Digests of what is stored; none while a flush is under way.
    pub(crate) fn digests(&self) -> Option<Digests> {
        match &self.store {
            StoreStands::Still(ranges) => Some(ranges.digests()),
            StoreStands::Moving(_) => None,
        }
    }
}
