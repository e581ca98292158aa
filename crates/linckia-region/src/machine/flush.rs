//! Work with the store beside the core, jobs that the driver runs on some thread or at some later
//! moment, and the readers that wait for them.

use std::sync::Arc;

use linckia_apply::{Found, Job, JobDone, Query, Reading};
use linckia_log::{TruncateDone, TruncateJob};
use linckia_model::{Now, Vector, with_causes};
use linckia_store::Store;

use super::compare::{CompareDone, CompareJob};
use super::donate::{PageJob, PageRead};
use super::keep::{KeepJob, Kept};
use super::retire::{RetireJob, Retired};
use super::{Machine, Reader};
use crate::error::Result;
use crate::input::Output;
use crate::rooms::Durable;

/// Readers that wait for a flush: beyond it they are told to try again.
const READERS_MAX: usize = 1_024;

/// Readers answered for one input: the others wait their turn behind clients.
const READS_MAX: usize = 8;

/// Rows on their way to the store, or from it.
pub struct StoreJob {
    work: Work,
    store: Arc<dyn Store>,
}

enum Work {
    Apply(Job),
    Retire(Box<RetireJob>),
    Truncate(TruncateJob),
    Page(PageJob),
    Keep(KeepJob),
    Compare(CompareJob),
}

/// What came of it.
pub struct StoreDone(Result<Done>);

enum Done {
    Applied(JobDone),
    Retired(Retired),
    Truncated(TruncateDone),
    PageRead(PageRead),
    Kept(Kept),
    Compared(CompareDone),
}

impl StoreJob {
    pub fn run(self) -> StoreDone {
        let store = self.store.as_ref();
        StoreDone(match self.work {
            Work::Apply(job) => job.run(store).map(Done::Applied).map_err(Into::into),
            Work::Retire(job) => job.run(store).map(Done::Retired),
            Work::Truncate(job) => Ok(Done::Truncated(job.run())),
            Work::Page(job) => job.run().map(Done::PageRead),
            Work::Keep(job) => job.run().map(Done::Kept),
            Work::Compare(job) => job.run(store).map(Done::Compared),
        })
    }
}

/// A log that cannot be read somewhere ends no region before that is needed: whoever asked hears
/// of it.
fn unreadable(error: linckia_apply::Error, at: &Vector) -> Result<Reading> {
    match error {
        error @ linckia_apply::Error::Log(_) => {
            let found = Found::Unreadable(with_causes(&error));
            Ok(Reading { vector: at.clone(), found })
        }
        error => Err(error.into()),
    }
}

impl Machine {
    /// Answers a query at once, or once its rows are in the store.
    pub(super) fn ask(
        &mut self,
        now: Now,
        ticket: u64,
        query: Query,
        outputs: &mut Vec<Output>,
    ) -> Result<()> {
        let events = Durable {
            logs: &self.logs,
            known: &self.region.durable,
            view: Some(self.store.as_ref()),
        };
        let apply = &mut self.region.apply;
        let read = apply.read(now, &query, self.store.as_ref(), &events, &mut self.pages);
        match read.or_else(|error| unreadable(error, apply.applied()).map(Some))? {
            Some(reading) => outputs.push(Output::Reading { ticket, reading: Some(reading) }),
            None if self.readers.len() >= READERS_MAX => {
                outputs.push(Output::Reading { ticket, reading: None });
            }
            None => {
                let asked_at = apply.applied().clone();
                self.readers.push_back(Reader { ticket, query, asked_at });
            }
        }
        Ok(())
    }

    /// The work with the store that is due now, if any: the driver runs it and hands the result in.
    /// Readers of the last flush come before the next one.
    pub fn begin_store(&mut self, now: Now) -> Option<StoreJob> {
        if self.store_in_flight || self.reads() || self.cuts() {
            return None;
        }
        let work = self.begin_work(now)?;
        self.store_in_flight = true;
        Some(StoreJob { work, store: Arc::clone(&self.store) })
    }

    fn begin_work(&mut self, now: Now) -> Option<Work> {
        if self.is_short(1) {
            // What frees room goes on.
            return self.begin_truncate().map(Work::Truncate);
        }
        // Pages and flushes take turns.
        self.pages_turn = !self.pages_turn;
        if self.pages_turn
            && let Some(work) = self.begin_transfer()
        {
            return Some(work);
        }
        if let Some(job) = self.region.apply.begin_job(now) {
            return Some(Work::Apply(job));
        }
        if self.cuts() {
            return None;
        }
        if let Some(work) = self.begin_transfer() {
            return Some(work);
        }
        if self.region.apply.goes_on() || self.region.catch_up.wanted {
            return None;
        }
        if let Some(job) = self.begin_compare() {
            return Some(Work::Compare(job));
        }
        match self.begin_truncate() {
            Some(job) => Some(Work::Truncate(job)),
            None => self.begin_retire(now).map(|job| Work::Retire(Box::new(job))),
        }
    }

    /// The page of a snapshot that is to be kept or read next.
    fn begin_transfer(&mut self) -> Option<Work> {
        match self.begin_keep() {
            Ok(None) => self.begin_page().map(Work::Page),
            Ok(Some(job)) => Some(Work::Keep(job)),
            Err(error) => {
                self.failure.get_or_insert(with_causes(&error));
                None
            }
        }
    }

    pub(super) fn stored(
        &mut self,
        now: Now,
        StoreDone(done): StoreDone,
        outputs: &mut Vec<Output>,
    ) -> Result<()> {
        self.store_in_flight = false;
        match done? {
            Done::Applied(done) => self.region.apply.done(done),
            Done::Retired(retired) => self.retired(retired),
            Done::Truncated(done) => self.truncated(done),
            Done::PageRead(read) => self.page_read(read, outputs),
            Done::Kept(kept) => self.page_kept(now, kept, outputs)?,
            Done::Compared(done) => self.compare_read(now, done, outputs)?,
        }
        Ok(())
    }

    fn is_enough_for(&self, reader: &Reader) -> bool {
        self.region.apply.stored().covers_all(&reader.asked_at)
    }

    /// True while readers wait for their turn only.
    pub(super) fn reads(&self) -> bool {
        self.region.apply.is_still()
            && self.readers.front().is_some_and(|reader| self.is_enough_for(reader))
    }

    /// Answers some of the readers whose rows are in the store.
    pub(super) fn answer_readers(&mut self, now: Now, outputs: &mut Vec<Output>) -> Result<()> {
        for _ in 0..READS_MAX {
            if !self.reads() {
                return Ok(());
            }
            let Some(reader) = self.readers.pop_front() else { return Ok(()) };
            let events = Durable {
                logs: &self.logs,
                known: &self.region.durable,
                view: Some(self.store.as_ref()),
            };
            let (store, apply) = (self.store.as_ref(), &self.region.apply);
            let read = apply.read_rows(now, &reader.query, store, &events, &mut self.pages);
            let reading = read.or_else(|error| unreadable(error, apply.stored()))?;
            outputs.push(Output::Reading { ticket: reader.ticket, reading: Some(reading) });
        }
        Ok(())
    }

    /// Brings the store up to the applied vector; while no flush is under way.
    ///
    /// # Errors
    /// The store's.
    ///
    /// # Panics
    /// If a flush is under way.
    pub fn flush(&mut self, now: Now) -> Result<()> {
        let flushed = self.region.apply.flush(now, self.store.as_ref())?;
        assert!(flushed, "a flush is done before the next one begins");
        Ok(())
    }
}
