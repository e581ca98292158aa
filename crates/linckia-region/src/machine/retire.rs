//! Logs let go of what nobody needs: history beyond its share of the disk.
//!
//! One segment at a time, the one that ends earliest. First what stays of its events goes to the
//! store, which is synced; then its file is removed. What always holds: an event leaves a log only
//! when every member has applied it, the store here has it, and no key is folded from it again.

use linckia_apply::{Named, Retirement};
use linckia_log::{Reader, TruncateDone, TruncateJob};
use linckia_model::{Fault, Hlc, Now, Origin, Vector};
use linckia_store::Store;

use super::{Machine, event_at};
use crate::error::Result;
use crate::rooms::event_of;

/// Records read at once.
const RECORDS_MAX: usize = 1_024;
const BYTES_MAX: u64 = 1 << 20;

/// Where nothing could be let go of, it is looked again after so many milliseconds.
const LOOK_MILLISECONDS: u64 = 1_000;

/// What the logs are letting go of.
#[derive(Default)]
pub(super) struct Retiring {
    /// Files to be removed.
    files: Option<TruncateJob>,
    /// When to look again, on the monotonic clock.
    look_at: u64,
}

/// A segment whose events go to the store as far as they are needed.
pub(super) struct RetireJob {
    origin: Origin,
    reader: Reader,
    first: u64,
    last: u64,
    known: Vector,
    retirement: Retirement,
    /// A planted fault.
    forgets: bool,
}

/// What came of it: the log may let go of everything up to there.
pub(super) struct Retired {
    origin: Origin,
    last: u64,
}

impl RetireJob {
    pub(super) fn run(mut self, store: &dyn Store) -> Result<Retired> {
        let named = Named::read(store, &self.known)?;
        for batch in self.reader.batches(self.first, BYTES_MAX, RECORDS_MAX) {
            let batch = batch?;
            let through = batch.last().is_none_or(|record| record.sequence() >= self.last);
            for record in batch.iter().take_while(|record| record.sequence() <= self.last) {
                let event = event_of(&self.origin, &record, &self.known)?;
                if !self.forgets {
                    self.retirement.take(&event, &named, store)?;
                }
            }
            self.retirement.write_many(store)?;
            if through {
                break;
            }
        }
        self.retirement.finish(store)?;
        Ok(Retired { origin: self.origin, last: self.last })
    }
}

impl Machine {
    /// The removal of files that is due.
    pub(super) fn begin_truncate(&mut self) -> Option<TruncateJob> {
        self.retiring.files.take()
    }

    /// The next segment to let go of, if the logs have more than their share.
    pub(super) fn begin_retire(&mut self, now: Now) -> Option<RetireJob> {
        let share = self.region.settings.history_bytes;
        if now.monotonic < self.retiring.look_at || self.logs.usage().used <= share {
            return None;
        }
        let Some((origin, first, last)) = self.retirable() else {
            self.retiring.look_at = now.monotonic + LOOK_MILLISECONDS;
            return None;
        };
        let reader = self.logs.reader(origin.as_str()).ok()?;
        let known = self.region.durable.clone();
        let retirement = self.region.apply.retirement();
        let forgets = self.region.settings.fault == Some(Fault::RetiredForgotten);
        Some(RetireJob { origin, reader, first, last, known, retirement, forgets })
    }

    /// Of the segments that can go the one that ends earliest.
    fn retirable(&mut self) -> Option<(Origin, u64, u64)> {
        let floor = self.region.apply.floor();
        let apply = &self.region.apply;
        let ends = |origin: &Origin| {
            let (first, last) = self.logs.oldest_segment(origin.as_str()).ok().flatten()?;
            let needed = |bound: u64| bound < last;
            let early = self.region.settings.fault == Some(Fault::TruncatedUnstable);
            if needed(apply.stored().get(origin))
                || !early && needed(apply.everywhere().get(origin))
                || !early && needed(self.pinned(origin))
            {
                return None;
            }
            let hlc = event_at(&self.logs, origin, last).ok().flatten()?.hlc;
            (hlc <= floor || early).then(|| (hlc, origin.clone(), first, last))
        };
        let found = self.region.durable.iter().filter_map(|(origin, _)| ends(origin)).min();
        found.map(|(_, origin, first, last): (Hlc, _, _, _)| (origin, first, last))
    }

    pub(super) fn retired(&mut self, Retired { origin, last }: Retired) {
        // A backup that began meanwhile reads it first.
        if self.backups.pinned(&origin) < last {
            return;
        }
        match self.logs.begin_truncate(origin.as_str(), last + 1) {
            Ok(job) => self.retiring.files = job,
            Err(error) => drop(self.failure.get_or_insert(linckia_model::with_causes(&error))),
        }
    }

    pub(super) fn truncated(&mut self, done: TruncateDone) {
        if let Err(error) = self.logs.complete_truncate(done) {
            self.failure.get_or_insert(linckia_model::with_causes(&error));
        }
    }
}
