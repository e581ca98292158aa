//! Flushes beside the core: a job that the driver runs on some thread or at some later moment.

use std::sync::Arc;

use linckia_apply::{Flush, Kept};
use linckia_store::Store;

/// Rows on their way to the store.
pub struct KeepJob {
    pub(crate) flush: Flush,
    pub(crate) store: Arc<dyn Store>,
}

/// What came of it.
pub struct KeepDone(pub(crate) linckia_store::Result<Kept>);

impl KeepJob {
    pub fn run(self) -> KeepDone {
        KeepDone(self.flush.run(self.store.as_ref()))
    }
}
