//! The store as apply sees it: five tables of sorted rows.
//!
//! Engines: [`FjallStore`](crate::FjallStore) in a region, [`MemoryStore`](crate::MemoryStore) in
//! the simulator; `contract.rs` holds both to what stands here. Reads see every batch written
//! before.

use std::ops::Bound;

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
}

impl Table {
    pub const ALL: [Self; 5] =
        [Self::States, Self::Identities, Self::History, Self::Records, Self::Meta];

    pub const fn name(self) -> &'static str {
        match self {
            Self::States => "states",
            Self::Identities => "identities",
            Self::History => "history",
            Self::Records => "records",
            Self::Meta => "meta",
        }
    }
}

/// Why the store did not do it. The region stops: its state is rebuilt from the log on restart.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the store at {path} cannot be opened; close whoever has it open, or remove the \
             directory: it is rebuilt from the log"
    )]
    Open { path: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("the store failed to {action}")]
    Engine { action: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
}

pub type Result<T> = std::result::Result<T, Error>;

/// A row: its key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Rows to put (Some) and remove (None) in one atomic step.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    pub rows: Vec<(Table, Vec<u8>, Option<Vec<u8>>)>,
}

impl Batch {
    pub fn put(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) {
        self.rows.push((table, key, Some(value)));
    }

    pub fn remove(&mut self, table: Table, key: Vec<u8>) {
        self.rows.push((table, key, None));
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

/// The store of one region.
pub trait Store: View {
    /// Writes all rows or none; visible to every read after it returned.
    ///
    /// # Errors
    /// What the engine says; then nothing more may be written until the store is opened again.
    fn write(&mut self, batch: Batch) -> Result<()>;

    /// The store as it is now, whatever is written later.
    fn snapshot(&self) -> Box<dyn View>;
}
