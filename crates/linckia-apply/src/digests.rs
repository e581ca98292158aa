//! Digests: 256 ranges of keys, each a count and the sum (by exclusive or) of its keys' hashes.
//!
//! Flushed up to date by flushes, so reading them costs nothing. A key's range is the first byte of
//! the hash of its name, its hash that of its canonical form. What always holds: regions whose
//! applied vectors are equal have equal digests.

use std::collections::BTreeSet;

use linckia_model::canonical;
use linckia_store::{Table, View};

use crate::error::{Result, row};
use crate::query::{Digests, Range};
use crate::rows;

const RANGES: usize = 256;

/// The ranges as of the last flush.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Ranges {
    /// Empty until something is put in.
    ranges: Vec<Range>,
    /// Those that changed since their rows were taken.
    changed: BTreeSet<u8>,
}

/// What a range lacks: a count, that wraps, and a sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amendment {
    place: u8,
    range: Range,
}

impl Range {
    fn row(&self) -> Vec<u8> {
        [&self.count.to_be_bytes()[..], &self.hash].concat()
    }
}

const EMPTY: Range = Range { count: 0, hash: [0; canonical::HASH_BYTES] };

impl Ranges {
    /// A key's hash became another; none where nothing is. `key` is the key's bytes.
    pub(crate) fn change(
        &mut self,
        key: &[u8],
        before: Option<&[u8; canonical::HASH_BYTES]>,
        after: Option<&[u8; canonical::HASH_BYTES]>,
    ) {
        let place = blake3::hash(key).as_bytes()[0];
        self.changed.insert(place);
        let range = self.range(place);
        for hash in before.into_iter().chain(after) {
            range.hash.iter_mut().zip(hash).for_each(|(sum, byte)| *sum ^= byte);
        }
        range.count += u64::from(after.is_some());
        range.count -= u64::from(before.is_some());
    }

    /// The ranges as a store has them.
    ///
    /// # Errors
    /// The store's, or a row that is not ours.
    pub(crate) fn read(view: &dyn View) -> Result<Self> {
        let mut ranges = Self::default();
        let end = [rows::RANGE, &[0xff, 0xff]].concat();
        for (key, bytes) in view.scan(Table::Meta, rows::RANGE, &end, usize::MAX, false)? {
            if !ranges.restore(*key.last().unwrap_or(&0), &bytes) {
                return Err(row("meta")(linckia_model::Error::Short("range")));
            }
        }
        Ok(ranges)
    }

    /// What lacks in the other ones, where they differ.
    pub(crate) fn beyond(mut self, other: &Self) -> Vec<Amendment> {
        self.ranges.resize(RANGES, EMPTY);
        let mut amendments = Vec::new();
        for (place, range) in self.ranges.iter_mut().enumerate() {
            let said = other.ranges.get(place).unwrap_or(&EMPTY);
            if said != range {
                range.hash.iter_mut().zip(said.hash).for_each(|(sum, byte)| *sum ^= byte);
                range.count = range.count.wrapping_sub(said.count);
                amendments.push(Amendment { place: place as u8, range: range.clone() });
            }
        }
        amendments
    }

    /// Adds what lacks; answers the rows of what changed.
    pub(crate) fn amend(&mut self, amendments: &[Amendment]) -> Vec<(u8, Vec<u8>)> {
        let amend = |Amendment { place, range: lacks }: &Amendment| {
            let range = self.range(*place);
            range.hash.iter_mut().zip(lacks.hash).for_each(|(sum, byte)| *sum ^= byte);
            range.count = range.count.wrapping_add(lacks.count);
            (*place, range.row())
        };
        amendments.iter().map(amend).collect()
    }

    fn range(&mut self, place: u8) -> &mut Range {
        self.ranges.resize(RANGES, EMPTY);
        &mut self.ranges[place as usize]
    }

    pub(crate) fn digests(&self) -> Digests {
        let mut ranges = self.ranges.clone();
        ranges.resize(RANGES, EMPTY);
        let mut hasher = blake3::Hasher::new();
        for range in &ranges {
            hasher.update(&range.count.to_be_bytes());
            hasher.update(&range.hash);
        }
        Digests { root: *hasher.finalize().as_bytes(), ranges }
    }

    /// The rows of the ranges that changed: place and bytes.
    pub(crate) fn take_rows(&mut self) -> impl Iterator<Item = (u8, Vec<u8>)> {
        std::mem::take(&mut self.changed)
            .into_iter()
            .map(|place| (place, self.ranges[place as usize].row()))
    }

    /// Takes a range's row. False if it is none.
    pub(crate) fn restore(&mut self, place: u8, row: &[u8]) -> bool {
        let parts = row.split_first_chunk::<8>();
        let range = parts.and_then(|(count, hash)| {
            Some(Range { count: u64::from_be_bytes(*count), hash: hash.try_into().ok()? })
        });
        let Some(range) = range else { return false };
        *self.range(place) = range;
        true
    }
}
