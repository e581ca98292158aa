//! Records as callers and peers see them: a view of one, and a batch that was read at once. Made by
//! the reader and by [`Record::parse`]; taken by `append_mirror`. What always holds: the wire bytes
//! of a record are the stored bytes themselves, so that a mirror of a mirror is the same log.

use std::fmt;

use crate::chain::{self, Chain, Commitment, Salt};
use crate::error::{Error, Result};
use crate::format::{FLAG_MORE, KIND_EVENT, WIRE_HEADER, array_at, u32_at, u64_at};

/// One event's record: a view of its wire bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    wire: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record at the front of `bytes`, and what follows it. Whether it continues a log is
    /// decided by `append_mirror`.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is cut short or not an event's record.
    pub fn parse(bytes: &'a [u8]) -> Result<(Record<'a>, &'a [u8])> {
        let header = bytes.get(..WIRE_HEADER).ok_or(Error::Malformed { why: "cut short" })?;
        let (kind, flags) = (header[4], header[5]);
        if kind != KIND_EVENT || flags & !FLAG_MORE != 0 || header[6..8] != [0, 0] {
            return Err(Error::Malformed { why: "unknown kind or flag" });
        }
        let end = WIRE_HEADER + u32_at(header, 0) as usize;
        match bytes.split_at_checked(end) {
            Some((wire, rest)) => Ok((Record { wire }, rest)),
            None => Err(Error::Malformed { why: "cut short" }),
        }
    }

    /// A view of bytes that were checked when they were read from a segment.
    pub(crate) fn stored(wire: &'a [u8]) -> Self {
        debug_assert!(wire.len() >= WIRE_HEADER, "a stored record has a header");
        Record { wire }
    }

    /// Its place in its log.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        u64_at(self.wire, 8)
    }

    /// The event's bytes.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        &self.wire[WIRE_HEADER..]
    }

    /// Whether the next record belongs to the same group (transaction).
    #[must_use]
    pub fn more(&self) -> bool {
        self.flags() & FLAG_MORE != 0
    }

    /// What hides the payload behind its commitment.
    #[must_use]
    pub fn salt(&self) -> Salt {
        array_at(self.wire, 16)
    }

    /// The chain after this record.
    #[must_use]
    pub fn chain(&self) -> Chain {
        array_at(self.wire, 32)
    }

    /// What stands for it in the chain; computed.
    #[must_use]
    pub fn commitment(&self) -> Commitment {
        let salt = self.salt();
        chain::commitment(self.wire[4], self.flags(), self.sequence(), &salt, self.payload())
    }

    /// What a peer needs for `append_mirror`. Self-delimiting: records may be concatenated.
    #[must_use]
    pub fn wire(&self) -> &'a [u8] {
        self.wire
    }

    pub(crate) fn flags(&self) -> u8 {
        self.wire[5]
    }
}

impl fmt::Debug for Record<'_> {
    /// Payloads are never printed.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Record")
            .field("sequence", &self.sequence())
            .field("bytes", &self.payload().len())
            .field("more", &self.more())
            .finish_non_exhaustive()
    }
}

/// Consecutive records of one log, read together.
#[derive(Clone, Default)]
pub struct Batch {
    pub(crate) bytes: Vec<u8>,
    /// Where the wire bytes of each record stand in `bytes`.
    pub(crate) spans: Vec<(u32, u32)>,
    pub(crate) wire_bytes: u64,
}

impl Batch {
    /// The records, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Record<'_>> + DoubleEndedIterator {
        self.spans.iter().map(|span| self.record(*span))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none: the reader has reached what is durable.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The wire bytes of all of them together.
    #[must_use]
    pub fn wire_bytes(&self) -> u64 {
        self.wire_bytes
    }

    /// The first record.
    #[must_use]
    pub fn first(&self) -> Option<Record<'_>> {
        self.spans.first().map(|span| self.record(*span))
    }

    /// The last record.
    #[must_use]
    pub fn last(&self) -> Option<Record<'_>> {
        self.spans.last().map(|span| self.record(*span))
    }

    fn record(&self, (start, length): (u32, u32)) -> Record<'_> {
        Record::stored(&self.bytes[start as usize..(start + length) as usize])
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.iter()).finish()
    }
}
