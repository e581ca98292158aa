//! The store as apply sees it: six tables of sorted rows.
//!
//! Engines: [`FjallStore`](crate::FjallStore) in a region, [`MemoryStore`](crate::MemoryStore) in
//! the simulator; `contract.rs` holds both to what stands here. Reads see every batch written
//! before; writing is one thread's at a time, reading anybody's.

use std::ops::{Bound, Range};
use std::sync::Arc;

/// A table of sorted rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Key → its fold.
    States,
    /// Key and event id → the stamps of its copies.
    Identities,
    /// Key and stamp → nothing: an aggregate's history in order.
    History,
    /// Key and conflict → record.
    Records,
    /// The applied vector, digests, format.
    Meta,
    /// Dot → what is still needed of an event that its log has let go of.
    Events,
}

impl Table {
    pub const ALL: [Self; 6] =
        [Self::States, Self::Identities, Self::History, Self::Records, Self::Meta, Self::Events];

    /// The table after this one, in the order of [`Table::ALL`].
    pub fn next(self) -> Option<Self> {
        Self::ALL.get(self as usize + 1).copied()
    }

    /// The table of that place in [`Table::ALL`].
    pub fn from_place(place: u8) -> Option<Self> {
        Self::ALL.get(usize::from(place)).copied()
    }
}

/// Why the store did not do it. The region stops: a restart goes on where the store is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the store at {path} cannot be opened; close whoever has it open, or keep a copy of the \
             directory and remove it: it is rebuilt from the logs, or loaded from a peer"
    )]
    Open { path: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("the store failed to {action}")]
    Engine { action: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
}

pub type Result<T> = std::result::Result<T, Error>;

/// A row: its key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Rows to put and remove in one atomic step; of two changes of one row the later counts.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    /// Keys and values, one after the other: a batch of many rows is few allocations.
    bytes: Vec<u8>,
    changes: Vec<Change>,
}

/// A row put, or removed if it has no value, by where its bytes lie.
#[derive(Debug, Clone)]
struct Change {
    table: Table,
    key: Range<usize>,
    value: Option<Range<usize>>,
}

/// One change of a batch: table, key, and the value unless the row is removed.
pub type Changed<'a> = (Table, &'a [u8], Option<&'a [u8]>);

impl Batch {
    pub fn put(&mut self, table: Table, key: &[u8], value: &[u8]) {
        self.put_parts(table, &[key], value);
    }

    /// Puts a row whose key is made of these parts, one behind the other.
    pub fn put_parts(&mut self, table: Table, key: &[&[u8]], value: &[u8]) {
        let key = self.push(key);
        let value = Some(self.push(&[value]));
        self.changes.push(Change { table, key, value });
    }

    pub fn remove(&mut self, table: Table, key: &[u8]) {
        let key = self.push(&[key]);
        self.changes.push(Change { table, key, value: None });
    }

    fn push(&mut self, parts: &[&[u8]]) -> Range<usize> {
        let start = self.bytes.len();
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        start..self.bytes.len()
    }

    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Of keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// In the order made.
    pub fn changes(&self) -> impl Iterator<Item = Changed<'_>> {
        self.changes.iter().map(|change| self.changed(change))
    }

    /// By table and key, each row once, with what counts of it.
    pub fn sorted(&self) -> impl Iterator<Item = Changed<'_>> {
        let name = |change: &Change| (change.table, &self.bytes[change.key.clone()]);
        let mut order: Vec<&Change> = self.changes.iter().collect();
        order.sort_by(|a, b| name(a).cmp(&name(b)));
        // Sorting is stable: of equals the last is the latest.
        let mut kept: Vec<&Change> = Vec::with_capacity(order.len());
        for change in order {
            match kept.last_mut() {
                Some(last) if name(last) == name(change) => *last = change,
                _ => kept.push(change),
            }
        }
        kept.into_iter().map(|change| self.changed(change))
    }

    fn changed(&self, change: &Change) -> Changed<'_> {
        let value = change.value.clone().map(|value| &self.bytes[value]);
        (change.table, &self.bytes[change.key.clone()], value)
    }
}

/// The bounds of a scan, for the engines' own ranges.
type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// From one key up to another, which an empty `until` leaves open; none if nothing can lie between.
pub(crate) fn range<'a>(from: &'a [u8], until: &'a [u8]) -> Option<Bounds<'a>> {
    if until.is_empty() {
        return Some((Bound::Included(from), Bound::Unbounded));
    }
    (from < until).then_some((Bound::Included(from), Bound::Excluded(until)))
}

/// Something that can be read: the store now, or as it was at a snapshot.
pub trait View: Send {
    /// # Errors
    /// What the engine says.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Rows with `from <= key < until` (an empty `until` has no end), in order or backwards, at
    /// most `limit`.
    ///
    /// # Errors
    /// What the engine says.
    fn scan(
        &self,
        table: Table,
        from: &[u8],
        until: &[u8],
        limit: usize,
        backward: bool,
    ) -> Result<Vec<Pair>>;
}

/// Rows that can be written.
pub trait Rows: View + Sync {
    /// Writes all rows or none; visible to every read after it returned.
    ///
    /// # Errors
    /// What the engine says; then nothing more may be written until the store is opened again.
    fn write(&self, batch: &Batch) -> Result<()>;
}

/// The store of one region.
pub trait Store: Rows {
    /// The store as it is now, whatever is written later.
    fn snapshot(&self) -> Box<dyn View>;

    /// Makes durable what was written before.
    ///
    /// # Errors
    /// As [`Rows::write`].
    fn sync(&self) -> Result<()>;

    /// Rows on their way to replace those of the store: as far as they came in an earlier life, or
    /// none yet.
    ///
    /// # Errors
    /// As [`Rows::write`].
    fn incoming(&self) -> Result<Arc<dyn Rows>>;

    /// Lets go of the rows that were on their way.
    ///
    /// # Errors
    /// As [`Rows::write`].
    fn discard(&self) -> Result<()>;

    /// The rows that were on their way are the store's from here on, durably, or none of them is;
    /// those before are gone. Snapshots keep what they show.
    ///
    /// # Errors
    /// As [`Rows::write`].
    fn adopt(&self) -> Result<()>;

    /// Bytes that the store takes on its disk, about.
    fn disk_bytes(&self) -> u64;
}
