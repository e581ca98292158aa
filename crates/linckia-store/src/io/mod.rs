//! Hands of the store: fjall, a log-structured tree on the local disk.
//!
//! All tables lie in one keyspace, a row's key led by its table's byte, so that a batch is one
//! atomic step however it is written. A batch of many rows becomes a sorted file of its own, which
//! costs a fraction of passing them through memory tables and fjall's journal; a small one goes
//! through those, which costs no file. No sync is relied on (fjall does some): the region's log is
//! what makes writes durable. What always holds: a crash loses batches from the end only.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use fjall::compaction::Leveled;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};

use crate::port::{Batch, Error, Pair, Result, Rows, Store, Table, View};

/// Rows of small batches in memory before they become a file.
const MEMTABLE_BYTES_MAX: u64 = 8 << 20;

/// fjall's own journal on disk before it forces flushes.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;

/// One thread for flushes and compactions: the region's core has the other processor.
const WORKERS: usize = 1;

/// A batch of so many rows becomes a file. Taking one in holds up readers for a few syncs.
const FILE_ROWS_MIN: usize = 16_384;

/// So does one of so many bytes.
const FILE_BYTES_MIN: usize = 4 << 20;

/// So many files as they were written are merged at once with the first level, which holds about as
/// much. Each of them is one more place where a read looks; the fewer they are, the more often the
/// same rows are merged anew, which is what a large store costs.
const UNMERGED_FILES_MAX: u8 = 16;

/// Of a merged file.
const FILE_BYTES: u64 = 16 << 20;

/// A level holds so many times the bytes of the one before.
const LEVEL_RATIO: f32 = 4.0;

/// After so many bytes in fjall's journal the next file lets it begin a new one.
const JOURNALED_BYTES_MAX: u64 = 2 << 20;

const KEYSPACE: &str = "rows";

/// Says which keyspace has the store's rows: its number, or nothing for the first.
const CURRENT_KEYSPACE: &str = "current";
const CURRENT_KEY: &str = "rows";

/// The store of a region on disk.
pub struct FjallStore {
    database: Database,
    rows: RwLock<Arc<FjallRows>>,
    /// Names the rows that are the store's.
    current: Keyspace,
}

/// All tables, in one keyspace.
struct FjallRows {
    database: Database,
    rows: Keyspace,
    /// Counts up with every adoption.
    generation: u64,
    /// Written by way of the journal since it could begin anew.
    journaled: AtomicU64,
}

fn engine(action: &'static str) -> impl Fn(fjall::Error) -> Error {
    move |source| Error::Engine { action, source: Box::new(source) }
}

/// What the keyspace of a generation is called.
fn keyspace_name(generation: u64) -> String {
    match generation {
        0 => KEYSPACE.to_owned(),
        _ => format!("{KEYSPACE}.{generation}"),
    }
}

impl FjallStore {
    /// Opens or creates the store in a directory; `cache_bytes` bounds its block cache.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn open(path: &Path, cache_bytes: u64) -> Result<Self> {
        Self::try_open(path, cache_bytes).map_err(|source| Error::Open {
            path: path.display().to_string(),
            source: Box::new(source),
        })
    }

    fn try_open(path: &Path, cache_bytes: u64) -> fjall::Result<Self> {
        let database = Database::builder(path)
            .cache_size(cache_bytes)
            .worker_threads(WORKERS)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .open()?;
        let current = database.keyspace(CURRENT_KEYSPACE, KeyspaceCreateOptions::default)?;
        let number = |row: fjall::UserValue| row.as_ref().try_into().map(u64::from_be_bytes);
        let generation = current.get(CURRENT_KEY)?.map_or(Ok(0), number).unwrap_or(0);
        let rows = FjallRows::open(&database, generation)?;
        // What an adoption replaced and a crash kept.
        for earlier in 0..generation {
            drop_keyspace(&database, earlier)?;
        }
        Ok(Self { database, rows: RwLock::new(Arc::new(rows)), current })
    }

    fn rows(&self) -> Arc<FjallRows> {
        Arc::clone(&self.rows.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn try_adopt(&self) -> fjall::Result<()> {
        let before = self.rows();
        let generation = before.generation + 1;
        let incoming = FjallRows::open(&self.database, generation)?;
        self.database.persist(PersistMode::SyncAll)?;
        self.current.insert(CURRENT_KEY, generation.to_be_bytes())?;
        self.database.persist(PersistMode::SyncAll)?;
        *self.rows.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(incoming);
        self.database.delete_keyspace(before.rows.clone())
    }
}

fn drop_keyspace(database: &Database, generation: u64) -> fjall::Result<()> {
    let name = keyspace_name(generation);
    if database.keyspace_exists(&name) {
        let keyspace = database.keyspace(&name, KeyspaceCreateOptions::default)?;
        database.delete_keyspace(keyspace)?;
    }
    Ok(())
}

/// Of a keyspace that is made. One that is there keeps those it was made with.
fn options() -> KeyspaceCreateOptions {
    let compaction = Leveled::default()
        .with_l0_threshold(UNMERGED_FILES_MAX)
        .with_table_target_size(FILE_BYTES)
        .with_level_ratio_policy(vec![LEVEL_RATIO]);
    KeyspaceCreateOptions::default()
        .max_memtable_size(MEMTABLE_BYTES_MAX)
        .compaction_strategy(Arc::new(compaction))
}

impl FjallRows {
    fn open(database: &Database, generation: u64) -> fjall::Result<Self> {
        let rows = database.keyspace(&keyspace_name(generation), options)?;
        Ok(Self { database: database.clone(), rows, generation, journaled: AtomicU64::new(0) })
    }

    /// As one sorted file, which fjall takes in as a whole or not at all.
    fn write_file(&self, batch: &Batch) -> fjall::Result<()> {
        // A file empties the memory tables behind fjall's back, which would never rotate its
        // journal.
        if self.journaled.load(Ordering::Relaxed) > JOURNALED_BYTES_MAX {
            self.rows.rotate_memtable()?;
            self.journaled.store(0, Ordering::Relaxed);
        }
        // Fails where fjall's worker has failed, which files do not notice.
        self.database.persist(PersistMode::Buffer)?;
        let mut file = self.rows.start_ingestion()?;
        for (table, key, value) in batch.sorted() {
            let name = row_name(table, key);
            match value {
                Some(value) => file.write(name, value)?,
                None => file.write_tombstone(name)?,
            }
        }
        file.finish()
    }

    fn write_journaled(&self, batch: &Batch) -> fjall::Result<()> {
        self.journaled.fetch_add(batch.bytes() as u64, Ordering::Relaxed);
        let mut commit = self.database.batch();
        for (table, key, value) in batch.sorted() {
            let name = row_name(table, key);
            match value {
                Some(value) => commit.insert(&self.rows, name, value),
                None => commit.remove(&self.rows, name),
            }
        }
        commit.commit()
    }
}

fn row_name(table: Table, key: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(1 + key.len());
    name.push(table as u8);
    name.extend_from_slice(key);
    name
}

/// The bounds of a scan within its table.
fn bounds(table: Table, from: &[u8], until: &[u8]) -> Option<std::ops::Range<Vec<u8>>> {
    let end = match until {
        [] => vec![table as u8 + 1],
        until => row_name(table, until),
    };
    let start = row_name(table, from);
    (start < end).then_some(start..end)
}

fn collect(rows: fjall::Iter, limit: usize, backward: bool) -> Result<Vec<Pair>> {
    let pair = |guard: fjall::Guard| {
        let (name, value) = guard.into_inner().map_err(engine("scan"))?;
        Ok((name[1..].to_vec(), value.to_vec()))
    };
    if backward {
        rows.rev().take(limit).map(pair).collect()
    } else {
        rows.take(limit).map(pair).collect()
    }
}

impl View for FjallRows {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let value = self.rows.get(row_name(table, key)).map_err(engine("read"))?;
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
        let Some(range) = bounds(table, from, until) else { return Ok(Vec::new()) };
        collect(self.rows.range(range), limit, backward)
    }
}

impl Rows for FjallRows {
    fn write(&self, batch: &Batch) -> Result<()> {
        let written = if batch.len() < FILE_ROWS_MIN && batch.bytes() < FILE_BYTES_MIN {
            self.write_journaled(batch)
        } else {
            self.write_file(batch)
        };
        written.map_err(engine("write"))
    }
}

impl View for FjallStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.rows().get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        until: &[u8],
        limit: usize,
        backward: bool,
    ) -> Result<Vec<Pair>> {
        self.rows().scan(table, from, until, limit, backward)
    }
}

impl Rows for FjallStore {
    fn write(&self, batch: &Batch) -> Result<()> {
        self.rows().write(batch)
    }
}

impl Store for FjallStore {
    fn snapshot(&self) -> Box<dyn View> {
        Box::new(At { snapshot: self.database.snapshot(), rows: self.rows().rows.clone() })
    }

    fn sync(&self) -> Result<()> {
        self.database.persist(PersistMode::SyncAll).map_err(engine("sync"))
    }

    fn incoming(&self) -> Result<Arc<dyn Rows>> {
        let next = self.rows().generation + 1;
        let rows = FjallRows::open(&self.database, next).map_err(engine("take rows in"))?;
        Ok(Arc::new(rows))
    }

    fn discard(&self) -> Result<()> {
        let next = self.rows().generation + 1;
        drop_keyspace(&self.database, next).map_err(engine("let go of rows"))
    }

    fn adopt(&self) -> Result<()> {
        self.try_adopt().map_err(engine("replace its rows"))
    }

    fn disk_bytes(&self) -> u64 {
        self.rows().rows.disk_space()
    }
}

/// The store as it was.
struct At {
    snapshot: Snapshot,
    rows: Keyspace,
}

impl View for At {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let value = self.snapshot.get(&self.rows, row_name(table, key));
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
        let Some(range) = bounds(table, from, until) else { return Ok(Vec::new()) };
        collect(self.snapshot.range(&self.rows, range), limit, backward)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(rows: usize, value: &[u8]) -> Batch {
        let mut batch = Batch::default();
        for number in 0..rows {
            batch.put(Table::States, &(number as u64).to_be_bytes(), value);
        }
        batch
    }

    /// fjall lets a journal become 64 MB before it begins another.
    #[test]
    fn the_journal_begins_anew_though_files_come_between() {
        let directory = tempfile::tempdir().unwrap();
        let store = FjallStore::open(directory.path(), 8 << 20).unwrap();
        let (small, large) = (batch(1_000, &[7; 3_500]), batch(FILE_ROWS_MIN, b"row"));
        let (mut journaled, mut most) = (0, 0);
        while journaled < 280_000_000 {
            store.write(&small).unwrap();
            store.write(&large).unwrap();
            journaled += small.bytes();
            most = most.max(store.database.journal_disk_space().unwrap());
        }
        assert!(most < 200_000_000, "the journal grows to {most} bytes");
        let row = store.get(Table::States, &0u64.to_be_bytes()).unwrap();
        assert_eq!(row.as_deref(), Some(&b"row"[..]));
    }
}
