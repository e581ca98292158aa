//! Between states in memory and the store: when a flush is due, what it takes, and that it is done.
//!
//! A flush is taken in portions, run beside the core, and landed in portions: the states hear what
//! became of them. What always holds: there is one job at a time, and what a flush took stays in
//! memory until it is done.

use std::sync::Arc;

use linckia_model::{Hlc, Now, Vector, map};
use linckia_store::Store;

use super::{Apply, settling};
use crate::digests::Ranges;
use crate::error::Result;
use crate::floors::Floors;
use crate::flush::{Claims, Flush, Flushed, Job, JobDone};
use crate::query::Digests;

/// Entries looked at for eviction at once.
const EVICTED_MAX: usize = 4_096;

/// What the store is doing.
pub(super) enum StoreStands {
    /// It is at the vector stored, with these digests.
    Still(Ranges),
    /// A flush began and takes what changed before.
    Taking(Flush),
    /// The flush is under way. It has the digests, and took these copies of identities.
    Moving(Arc<Claims>),
    /// The flush is done, and the states that it took hear of it.
    Landing(Flushed),
}

impl StoreStands {
    /// Copies of identities that are on their way to the store.
    pub(super) fn claims(&self) -> Option<&Claims> {
        match self {
            Self::Taking(flush) => Some(&flush.claims),
            Self::Moving(claims) => Some(claims),
            Self::Still(_) | Self::Landing(_) => None,
        }
    }

    /// True from a flush's beginning until it is done.
    pub(super) fn is_moving(&self) -> bool {
        matches!(self, Self::Taking(_) | Self::Moving(_))
    }
}

impl Apply {
    /// Something changed since the last flush began.
    fn changed(&self) -> bool {
        !self.keys.is_clean() || !self.rows.is_empty()
    }

    /// Stable time has grown since the last flush began, and some event waited for it.
    fn stable_grew(&self) -> bool {
        self.saved < self.latest && self.saved < self.stability.stable()
    }

    fn flush_due(&self, now: Now) -> bool {
        let new = || self.changed() || self.stable_grew();
        let old = || now.monotonic >= self.flush_at && new();
        self.wanted
            || self.since_flush.0 >= self.settings.flush_events_max
            || self.since_flush.1 >= self.settings.flush_bytes_max
            || old()
    }

    /// Goes on with the flush, or begins one that is due; answers the job to run, if there is one
    /// and none is under way.
    pub fn begin_job(&mut self, now: Now) -> Option<Job> {
        if self.has_job() {
            return None;
        }
        self.land(self.settings.flush_portion);
        if self.wanted && self.is_whole() {
            self.wanted = false;
        }
        if self.flush_due(now) {
            self.begin_flush(now);
        }
        if self.store.is_moving() {
            return self.take(self.settings.flush_portion).map(Job::Flush);
        }
        let portion = self.settings.sweep_portion;
        if let Some(sweep) = self.presence.sweep(portion) {
            return Some(Job::Sweep(sweep));
        }
        let (stable, window) = (self.saved, self.settings.fold.window_milliseconds);
        let expire = self.expiry.begin(now.monotonic, stable, window, portion, &self.applied);
        expire.map(Job::Expire)
    }

    /// Begins a flush, unless one began before and is not done.
    fn begin_flush(&mut self, now: Now) {
        let StoreStands::Still(ranges) = &mut self.store else { return };
        let ranges = std::mem::take(ranges);
        // Fibonacci hashing: the high half of the product looks random, and is the same everywhere.
        let sooner = (self.settings.seed ^ now.monotonic).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let longest = self.settings.flush_milliseconds;
        self.flush_at = now.monotonic + longest - sooner % (longest / 4 + 1);
        self.wanted = false;
        self.since_flush = (0, 0);
        self.saved = self.stability.stable();
        self.needed = Hlc::MAX;
        self.keys.begin_taking();
        let claims = Arc::new(std::mem::replace(&mut self.claims, map(self.settings.seed)));
        self.store = StoreStands::Taking(Flush {
            taken: Vec::new(),
            claims,
            rows: std::mem::take(&mut self.rows),
            ranges,
            applied: self.applied.clone(),
            stable: self.saved,
            floors: Floors::default(),
            _spent: self.spent.take(),
        });
    }

    /// Takes so many states. The flush, once it has them all.
    fn take(&mut self, count: usize) -> Option<Flush> {
        let StoreStands::Taking(flush) = &self.store else { return None };
        let fold = self.settings.fold;
        let settle = settling(self.saved, &self.policies, fold, &mut self.needed);
        let taken = self.keys.take(count, settle)?;
        self.floors.floor(self.saved);
        if self.needed < Hlc::MAX {
            self.floors.hold(self.needed, self.latest);
        }
        let (floors, claims) = (self.floors.clone(), Arc::clone(&flush.claims));
        match std::mem::replace(&mut self.store, StoreStands::Moving(claims)) {
            StoreStands::Taking(flush) => Some(Flush { taken, floors, ..flush }),
            _ => None,
        }
    }

    /// A job is done.
    pub fn done(&mut self, done: JobDone) {
        match done {
            JobDone::Flushed(flushed) => {
                let before = std::mem::replace(&mut self.store, StoreStands::Landing(flushed));
                if let StoreStands::Moving(claims) = before {
                    self.spent = Some(claims);
                }
                self.land(self.settings.flush_portion);
            }
            JobDone::Swept(swept) => self.presence.swept(swept),
            JobDone::Expired(expired) => self.expiry.done(expired),
        }
    }

    /// Lets so many states hear that they are in the store.
    fn land(&mut self, count: usize) {
        let StoreStands::Landing(flushed) = &mut self.store else { return };
        for _ in 0..count {
            let Some(key) = flushed.keys.pop() else { break };
            self.keys.flushed(key);
        }
        if flushed.keys.is_empty() {
            self.stored = std::mem::take(&mut flushed.applied);
            self.flushes += 1;
            self.store = StoreStands::Still(std::mem::take(&mut flushed.ranges));
            self.evict();
        }
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
        loop {
            self.land(usize::MAX);
            if self.is_whole() && !self.stable_grew() {
                return Ok(true);
            }
            self.begin_flush(now);
            let Some(flush) = self.take(usize::MAX) else { return Ok(false) };
            self.done(JobDone::Flushed(flush.run(store)?));
        }
    }

    /// [`Apply::flush`] if one is due.
    ///
    /// # Errors
    /// The store's.
    pub fn flush_if_due(&mut self, now: Now, store: &dyn Store) -> Result<()> {
        if self.flush_due(now) {
            self.flush(now, store)?;
        }
        Ok(())
    }

    /// True if the store has all there is.
    fn is_whole(&self) -> bool {
        self.is_stored() && !self.changed()
    }

    /// True while a job is under way.
    pub fn has_job(&self) -> bool {
        let reads = self.presence.is_sweeping() || self.expiry.is_walking();
        matches!(self.store, StoreStands::Moving(_)) || reads
    }

    /// True if a flush waits only for [`Apply::begin_job`] to go on.
    pub fn goes_on(&self) -> bool {
        matches!(self.store, StoreStands::Taking(_) | StoreStands::Landing(_)) && !self.has_job()
    }

    /// The store is wanted at what is applied now.
    pub fn want_stored(&mut self) {
        self.wanted = true;
    }

    /// True while the store is at the vector stored, exactly.
    pub fn is_still(&self) -> bool {
        matches!(self.store, StoreStands::Still(_))
    }

    /// True if the store is at the applied vector, and stays there until something is applied.
    pub(crate) fn is_stored(&self) -> bool {
        self.is_still() && self.stored == self.applied
    }

    /// How far the store is.
    pub fn stored(&self) -> &Vector {
        &self.stored
    }

    /// Digests of what is stored; only while the store is still.
    pub(crate) fn digests(&self) -> Option<Digests> {
        match &self.store {
            StoreStands::Still(ranges) => Some(ranges.digests()),
            _ => None,
        }
    }
}
