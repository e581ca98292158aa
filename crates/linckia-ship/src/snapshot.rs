//! What is said where a log no longer reaches back: a snapshot of the state, page by page.
//!
//! The joiner asks, the donor cuts its state at a vector and sends pages of rows in the order of
//! their tables; whoever lost the thread asks again from the last row it has. What always holds:
//! all pages of a snapshot show the state at one vector, and each is complete up to its place.

use linckia_model::{Hlc, Origin, Vector};

/// The chain of a log after some sequence.
pub type Chain = [u8; 16];

/// Pages under way to a joiner at most.
pub const WINDOW_PAGES: u64 = 16;

/// Asks for a snapshot, or for what follows in one; repeated as acknowledgement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SnapshotPull {
    /// The donor's number of the snapshot; 0 for a new one.
    pub snapshot: u64,
    /// The last page of it that was kept.
    pub received: u64,
    /// Where that page ended.
    pub place: Vec<u8>,
    /// Pages after it were lost: send them again.
    pub again: bool,
    /// With a new snapshot: of each log that is here the last event that is not, because it was let
    /// go of.
    pub gone: Vector,
}

/// Where a log is continued from, beside a state that has all before.
#[derive(Clone, Debug, PartialEq)]
pub struct Base {
    pub origin: Origin,
    pub sequence: u64,
    pub chain: Chain,
}

/// A donor has cut a snapshot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cut {
    pub snapshot: u64,
    /// What the state has applied.
    pub at: Vector,
    /// Where every log is continued: of what is before, the rows have all that is needed.
    pub bases: Vec<Base>,
    /// No event of the state is later.
    pub hlc: Hlc,
    /// What the state takes on the donor's disk, about, in bytes.
    pub bytes: u64,
}

/// Rows of a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    pub snapshot: u64,
    /// From 1.
    pub number: u64,
    /// Rows of one table, one after the other.
    pub rows: Vec<u8>,
    /// Where the page ends; empty after the last one.
    pub place: Vec<u8>,
}

/// A log is held from `first` on only; who lacks what is before needs a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct Gap {
    pub session: u64,
    pub origin: Origin,
    pub first: u64,
}
