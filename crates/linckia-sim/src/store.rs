//! A region's store that outlives its process: the world keeps it, the machine writes it.
//!
//! When the process is killed the world takes back the last batches, as an unsynced store may.

use std::sync::{Arc, Mutex, PoisonError};

use linckia_store::{Batch, MemoryStore, Pair, Result, Store, Table, View};

/// One store, seen by the world and by the machine of the moment.
#[derive(Clone, Default)]
pub(crate) struct SharedStore(Arc<Mutex<MemoryStore>>);

impl SharedStore {
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut MemoryStore) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl View for SharedStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.with(|store| store.get(table, key))
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        until: &[u8],
        limit: usize,
        backward: bool,
    ) -> Result<Vec<Pair>> {
        self.with(|store| store.scan(table, from, until, limit, backward))
    }
}

impl Store for SharedStore {
    fn write(&mut self, batch: Batch) -> Result<()> {
        self.with(|store| store.write(batch))
    }

    fn snapshot(&self) -> Box<dyn View> {
        self.with(|store| store.snapshot())
    }
}
