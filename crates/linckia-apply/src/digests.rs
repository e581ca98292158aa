//! Digests: 256 ranges of keys, each a count and the sum (by exclusive or) of its keys' hashes.
//!
//! Flushed up to date by flushes, so reading them costs nothing. A key's range is the first byte of
//! the hash of its name, its hash that of its canonical form. What always holds: regions whose
//! applied vectors are equal have equal digests.

use std::collections::BTreeSet;

use linckia_model::canonical;

use crate::query::{Digests, Range};

const RANGES: usize = 256;

/// The ranges as of the last flush.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Ranges {
    /// Empty until something is put in.
    ranges: Vec<Range>,
    /// Those that changed since their rows were taken.
    changed: BTreeSet<u8>,
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
        std::mem::take(&mut self.changed).into_iter().map(|place| {
            let range = &self.ranges[place as usize];
            (place, [&range.count.to_be_bytes()[..], &range.hash].concat())
        })
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
