//! What serving needs of the log: durable records, whole transactions, in their order.

use linckia_model::Origin;

/// Consecutive records of one origin.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// As they lie in the log, one after the other.
    pub bytes: Vec<u8>,
    /// The sequence of the last of them.
    pub last: u64,
}

/// Durable records by origin.
pub trait Records {
    /// The lowest sequence still held of an origin; 1 while nothing was let go of.
    fn first(&self, origin: &Origin) -> u64;

    /// Whole transactions from `from` on, none beyond `until`, about `bytes_max` and at least one
    /// if there is one. None if there is none, or the log does not hold `from` any more.
    fn records(&self, origin: &Origin, from: u64, until: u64, bytes_max: u64) -> Option<Chunk>;
}
