//! Hands of the store: fjall, a log-structured tree on the local disk.
//!
//! Each table is a keyspace; a batch is one atomic commit over all of them. Nothing is synced here:
//! the region's log is what makes writes durable. What always holds: fjall's own journal keeps
//! commits in order, so a crash loses batches from the end only.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, Readable, Snapshot};

use crate::port::{Batch, Error, Pair, Result, Store, Table, View, range};

/// Unflushed rows of one table in memory: five tables stay far below the memory bound of a region.
const MEMTABLE_BYTES_MAX: u64 = 8 << 20;

/// fjall's own journal on disk before it forces flushes.
const JOURNAL_BYTES_MAX: u64 = 128 << 20;

/// One thread for flushes and compactions: the region's core has the other processor.
const WORKERS: usize = 1;

/// The store of a region on disk.
pub struct FjallStore {
    database: Database,
    tables: Vec<Keyspace>,
}

fn engine(action: &'static str) -> impl Fn(fjall::Error) -> Error {
    move |source| Error::Engine { action, source: Box::new(source) }
}

impl FjallStore {
    /// Opens or creates the store in a directory; `cache_bytes` bounds its block cache.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn open(path: &Path, cache_bytes: u64) -> Result<Self> {
        let failed = |source: fjall::Error| Error::Open {
            path: path.display().to_string(),
            source: Box::new(source),
        };
        let database = Database::builder(path)
            .cache_size(cache_bytes)
            .worker_threads(WORKERS)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .open()
            .map_err(failed)?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES_MAX);
        let tables: fjall::Result<Vec<Keyspace>> =
            Table::ALL.iter().map(|table| database.keyspace(table.name(), options)).collect();
        Ok(Self { database, tables: tables.map_err(failed)? })
    }

    fn table(&self, table: Table) -> &Keyspace {
        &self.tables[table as usize]
    }
}

fn collect(rows: fjall::Iter, limit: usize, backward: bool) -> Result<Vec<Pair>> {
    let pair = |guard: fjall::Guard| {
        let (key, value) = guard.into_inner().map_err(engine("scan"))?;
        Ok((key.to_vec(), value.to_vec()))
    };
    if backward {
        rows.rev().take(limit).map(pair).collect()
    } else {
        rows.take(limit).map(pair).collect()
    }
}

impl View for FjallStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let value = self.table(table).get(key).map_err(engine("read"))?;
        Ok(value.map(|value| value.to_vec()))
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
        collect(self.table(table).range::<&[u8], _>(range), limit, backward)
    }
}

impl Store for FjallStore {
    fn write(&mut self, batch: Batch) -> Result<()> {
        let mut commit = self.database.batch();
        for (table, key, value) in batch.rows {
            let table = &self.tables[table as usize];
            match value {
                Some(value) => commit.insert(table, key, value),
                None => commit.remove(table, key),
            }
        }
        commit.commit().map_err(engine("write"))
    }

    fn snapshot(&self) -> Box<dyn View> {
        Box::new(At { snapshot: self.database.snapshot(), tables: self.tables.clone() })
    }
}

/// The store as it was.
struct At {
    snapshot: Snapshot,
    tables: Vec<Keyspace>,
}

impl View for At {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let value = self.snapshot.get(&self.tables[table as usize], key);
        Ok(value.map_err(engine("read"))?.map(|value| value.to_vec()))
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
        let table = &self.tables[table as usize];
        collect(self.snapshot.range::<&[u8], _>(table, range), limit, backward)
    }
}
