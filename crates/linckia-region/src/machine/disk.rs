//! The disk's work: jobs that the driver runs beside the machine, and what came of them.

use linckia_log::{Scope, SpareJob, SyncDone, SyncJob};
use linckia_model::{Hlc, Now, with_causes};

use super::{Machine, SyncKind};
use crate::error::{Error, Result};
use crate::region::{Rooms, Step};

/// Logs that nothing became durable in for so long are idle, in milliseconds.
const IDLE_MILLISECONDS: u64 = 1_000;

impl Machine {
    /// The sync that is due now, if any: the driver runs it and hands the result in.
    pub fn begin_sync(&mut self, now: Now) -> Option<(SyncKind, SyncJob)> {
        let own = self.region.settings.origin.clone();
        let names = [own.as_str()];
        if self.own_dirty && !self.in_flight[SyncKind::Own as usize] {
            self.own_dirty = false;
            if let Some(job) = self.begin(SyncKind::Own, Scope::Own(&names)) {
                return Some((SyncKind::Own, job));
            }
        }
        // Where somebody waits for what came, it does not wait for company.
        let linger = match self.region.prompted.is_empty() {
            true => self.region.settings.linger_milliseconds,
            false => 0,
        };
        let due = |since: u64| now.monotonic.saturating_sub(since) >= linger;
        if self.mirrors_dirty_since.is_some_and(due) && !self.in_flight[SyncKind::Mirrors as usize]
        {
            self.mirrors_dirty_since = None;
            if let Some(job) = self.begin(SyncKind::Mirrors, Scope::Others(&names)) {
                return Some((SyncKind::Mirrors, job));
            }
        }
        None
    }

    fn begin(&mut self, kind: SyncKind, scope: Scope<'_>) -> Option<SyncJob> {
        match self.logs.begin_sync(scope) {
            Ok(job) => {
                self.in_flight[kind as usize] = job.is_some();
                job
            }
            Err(error) => {
                self.failure.get_or_insert(with_causes(&error));
                None
            }
        }
    }

    /// The making of a segment that is due, if any: the driver runs it and hands the result in.
    pub fn begin_spare(&mut self) -> Option<SpareJob> {
        if self.spare_in_flight {
            if self.logs.spare_due() {
                self.logs.hurry();
            }
            return None;
        }
        if self.disk_free < self.kept_free() {
            return None;
        }
        let job = self.logs.begin_spare().ok().flatten();
        self.spare_in_flight = job.is_some();
        job
    }

    /// Nothing that the disk does for this machine pauses any more: it is about to be closed.
    pub fn hurry(&self) {
        self.logs.hurry();
    }

    pub(super) fn synced(
        &mut self,
        now: Now,
        kind: SyncKind,
        done: SyncDone,
        steps: &mut Vec<Step>,
    ) -> Result<()> {
        self.in_flight[kind as usize] = false;
        match self.logs.complete_sync(done) {
            Err(error) => {
                self.region.poison(with_causes(&error), steps);
                Ok(())
            }
            Ok(advanced) => {
                let known = &self.region.known;
                let advanced = advanced.into_iter().map(|(name, upto)| {
                    let origin = known.origin(&name);
                    origin.map(|origin| (origin, upto)).map_err(|_| Error::Origin(name.to_string()))
                });
                let advanced: Result<Vec<_>> = advanced.collect();
                let clock = Hlc::from_bits(self.logs.clock());
                let rooms = Rooms { logs: &self.logs, view: self.store.as_ref() };
                self.region.synced(now, advanced?, clock, rooms, steps)
            }
        }
    }

    /// States behind the last records of an idle log that they are durable, so that damage to them
    /// is not taken for a torn write later.
    pub(super) fn mark_when_idle(&mut self, now: Now) {
        let total = self.region.durable.total();
        if total != self.marked.0 {
            self.marked = (total, now.monotonic, false);
        }
        let (_, since, done) = self.marked;
        if done || now.monotonic.saturating_sub(since) < IDLE_MILLISECONDS {
            return;
        }
        self.marked.2 = true;
        match self.logs.mark() {
            Ok(0) => {}
            Ok(_) => {
                self.own_dirty = true;
                self.mirrors_dirty_since.get_or_insert(now.monotonic);
            }
            Err(error) => drop(self.failure.get_or_insert(with_causes(&error))),
        }
    }
}
