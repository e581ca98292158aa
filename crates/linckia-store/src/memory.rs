//! The simulator's store: sorted maps that can lose their last batches, as a machine that dies
//! does.
//!
//! Deterministic and without I/O. What always holds: after a crash the rows are exactly those at
//! the end of some earlier batch.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::port::{Batch, Changed, Pair, Result, Rows, Store, Table, View, range};

type Sorted = BTreeMap<Vec<u8>, Vec<u8>>;

/// Rows as they are at one moment; clones share them until one is written.
#[derive(Clone, Default)]
struct Tables([Arc<Sorted>; Table::ALL.len()]);

/// Batches a crash may take back: more would only make the simulator slower.
const UNDO_MAX: usize = 64;

/// Rows in memory; clones are the same store.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    tables: Tables,
    /// What undoes the last batches, the newest at the back.
    undo: VecDeque<Batch>,
    /// Rows on their way to replace these.
    incoming: Option<MemoryStore>,
}

impl MemoryStore {
    pub fn new() -> Self {
        Self::default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loses the last batches, at most as many as are remembered.
    pub fn crash(&self, batches: usize) {
        let mut inner = self.inner();
        if let Some(incoming) = &inner.incoming {
            incoming.crash(batches);
        }
        for _ in 0..batches {
            let Some(undo) = inner.undo.pop_back() else {
                return;
            };
            inner.apply(undo.changes());
        }
    }

    /// How many of the last batches a crash could take.
    pub fn undoable(&self) -> usize {
        self.inner().undo.len()
    }
}

impl Inner {
    /// Makes the changes; answers what undoes them.
    fn apply<'a>(&mut self, changes: impl Iterator<Item = Changed<'a>>) -> Batch {
        let mut undo = Batch::default();
        for (table, key, value) in changes {
            let rows = Arc::make_mut(&mut self.tables.0[table as usize]);
            let before = match value {
                Some(value) => rows.insert(key.to_vec(), value.to_vec()),
                None => rows.remove(key),
            };
            match before {
                Some(before) => undo.put(table, key, &before),
                None => undo.remove(table, key),
            }
        }
        undo
    }
}

impl View for MemoryStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.inner().tables.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        until: &[u8],
        limit: usize,
        backward: bool,
    ) -> Result<Vec<Pair>> {
        self.inner().tables.scan(table, from, until, limit, backward)
    }
}

impl Rows for MemoryStore {
    fn write(&self, batch: &Batch) -> Result<()> {
        let mut inner = self.inner();
        // Each row once, so that the order of undoing does not matter.
        let undo = inner.apply(batch.sorted());
        if inner.undo.len() == UNDO_MAX {
            inner.undo.pop_front();
        }
        inner.undo.push_back(undo);
        Ok(())
    }
}

impl Store for MemoryStore {
    fn snapshot(&self) -> Box<dyn View> {
        Box::new(self.inner().tables.clone())
    }

    fn sync(&self) -> Result<()> {
        self.inner().undo.clear();
        Ok(())
    }

    fn incoming(&self) -> Result<Arc<dyn Rows>> {
        Ok(Arc::new(self.inner().incoming.get_or_insert_default().clone()))
    }

    fn discard(&self) -> Result<()> {
        self.inner().incoming = None;
        Ok(())
    }

    fn adopt(&self) -> Result<()> {
        let mut inner = self.inner();
        let incoming = inner.incoming.take();
        inner.tables = incoming.map(|it| it.inner().tables.clone()).unwrap_or_default();
        inner.undo.clear();
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        let inner = self.inner();
        let rows = inner.tables.0.iter().flat_map(|rows| rows.iter());
        rows.map(|(key, value)| key.len() + value.len()).sum::<usize>() as u64
    }
}

impl View for Tables {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.0[table as usize].get(key).cloned())
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        until: &[u8],
        limit: usize,
        backward: bool,
    ) -> Result<Vec<Pair>> {
        let Some(range) = range(from, until) else { return Ok(Vec::new()) };
        let rows = self.0[table as usize].range::<[u8], _>(range);
        let copy = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
        Ok(if backward {
            rows.rev().take(limit).map(copy).collect()
        } else {
            rows.take(limit).map(copy).collect()
        })
    }
}
