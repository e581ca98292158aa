//! The simulator's store: sorted maps that can lose their last batches, as a machine that dies
//! does.
//!
//! Deterministic and without I/O. What always holds: after a crash the rows are exactly those at
//! the end of some earlier batch.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::port::{Batch, Pair, Result, Store, Table, View, range};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Batches a crash may take back: more would only make the simulator slower.
const UNDO_MAX: usize = 64;

/// Rows in memory.
#[derive(Clone, Default)]
pub struct MemoryStore {
    tables: [Arc<Rows>; Table::ALL.len()],
    /// What undoes the last batches, the newest at the back.
    undo: VecDeque<Batch>,
}

impl MemoryStore {
    pub fn new() -> Self {
        Self::default()
    }

    /// Loses the last batches, at most as many as are remembered.
    pub fn crash(&mut self, batches: usize) {
        for _ in 0..batches {
            let Some(undo) = self.undo.pop_back() else {
                return;
            };
            self.apply(undo);
        }
    }

    /// How many of the last batches a crash could take.
    pub fn undoable(&self) -> usize {
        self.undo.len()
    }

    fn apply(&mut self, batch: Batch) -> Batch {
        let mut undo = Batch::default();
        for (table, key, value) in batch.rows {
            let rows = Arc::make_mut(&mut self.tables[table as usize]);
            let before = match value {
                Some(value) => rows.insert(key.clone(), value),
                None => rows.remove(&key),
            };
            undo.rows.push((table, key, before));
        }
        undo.rows.reverse();
        undo
    }
}

impl View for MemoryStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.tables[table as usize].get(key).cloned())
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
        let rows = self.tables[table as usize].range::<[u8], _>(range);
        let copy = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
        Ok(if backward {
            rows.rev().take(limit).map(copy).collect()
        } else {
            rows.take(limit).map(copy).collect()
        })
    }
}

impl Store for MemoryStore {
    fn write(&mut self, batch: Batch) -> Result<()> {
        let undo = self.apply(batch);
        if self.undo.len() == UNDO_MAX {
            self.undo.pop_front();
        }
        self.undo.push_back(undo);
        Ok(())
    }

    fn snapshot(&self) -> Box<dyn View> {
        Box::new(Self { tables: self.tables.clone(), undo: VecDeque::new() })
    }
}
