//! Flushes beside the core, a job that the driver runs on some thread or at some later moment, and
//! the readers that wait for them.

use std::sync::Arc;

use linckia_apply::{Flush, Kept, Query};
use linckia_model::Now;
use linckia_store::Store;

use super::{Machine, Reader};
use crate::error::Result;
use crate::input::Output;
use crate::rooms::Durable;

/// Rows on their way to the store.
pub struct KeepJob {
    flush: Flush,
    store: Arc<dyn Store>,
}

/// What came of it.
pub struct KeepDone(linckia_store::Result<Kept>);

impl KeepJob {
    pub fn run(self) -> KeepDone {
        KeepDone(self.flush.run(self.store.as_ref()))
    }
}

impl Machine {
    /// Answers a query at once, or once its rows are in the store.
    pub(super) fn ask(
        &mut self,
        ticket: u64,
        query: Query,
        outputs: &mut Vec<Output>,
    ) -> Result<()> {
        let events = Durable { logs: &self.logs, known: &self.region.durable };
        let apply = &mut self.region.apply;
        match apply.read(&query, self.store.as_ref(), &events, &mut self.pages)? {
            Some(reading) => outputs.push(Output::Reading { ticket, reading }),
            None => {
                let asked_at = apply.applied().clone();
                self.readers.push_back(Reader { ticket, query, asked_at });
            }
        }
        Ok(())
    }

    /// The flush that is due now, if any: the driver runs it and hands the result in.
    pub fn begin_keep(&mut self, now: Now) -> Option<KeepJob> {
        let flush = self.region.apply.begin_flush(now)?;
        self.keep_in_flight = true;
        Some(KeepJob { flush, store: Arc::clone(&self.store) })
    }

    /// A flush is in the store: answers whom it is enough for, and wants another for the others.
    pub(super) fn kept(
        &mut self,
        KeepDone(kept): KeepDone,
        outputs: &mut Vec<Output>,
    ) -> Result<()> {
        self.keep_in_flight = false;
        let apply = &mut self.region.apply;
        apply.kept(kept?);
        let events = Durable { logs: &self.logs, known: &self.region.durable };
        while let Some(reader) = self.readers.pop_front() {
            if !apply.kept_until().covers_all(&reader.asked_at) {
                self.readers.push_front(reader);
                apply.want_flush();
                break;
            }
            let store = self.store.as_ref();
            let reading = apply.read_rows(&reader.query, store, &events, &mut self.pages)?;
            outputs.push(Output::Reading { ticket: reader.ticket, reading });
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
