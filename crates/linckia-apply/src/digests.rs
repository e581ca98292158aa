//! Digests: 256 ranges of keys, each a count and the sum (by exclusive or) of its keys' hashes.
//!
//! Kept up to date by flushes, so reading them costs nothing. A key's range is the first byte of the
//! hash of its name, its hash that of its canonical form. What always holds: regions whose applied
//! vectors are equal have equal digests.

use linckia_model::{Key, canonical};

use crate::query::{Digests, Range};

const RANGES: usize = 256;

/// The ranges as of the last flush.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ranges(Vec<Range>);

impl Default for Ranges {
    fn default() -> Self {
        Self(vec![Range { count: 0, hash: [0; canonical::HASH_BYTES] }; RANGES])
    }
}

impl Ranges {
    /// A key's hash became another; none where nothing is.
    pub(crate) fn change(
        &mut self,
        key: &Key,
        before: Option<&[u8; canonical::HASH_BYTES]>,
        after: Option<&[u8; canonical::HASH_BYTES]>,
    ) {
        let place = blake3::hash(&key.to_bytes()).as_bytes()[0] as usize;
        let range = &mut self.0[place];
        for hash in before.into_iter().chain(after) {
            range.hash.iter_mut().zip(hash).for_each(|(sum, byte)| *sum ^= byte);
        }
        range.count += u64::from(after.is_some());
        range.count -= u64::from(before.is_some());
    }

    pub(crate) fn digests(&self) -> Digests {
        let mut hasher = blake3::Hasher::new();
        for range in &self.0 {
            hasher.update(&range.count.to_be_bytes());
            hasher.update(&range.hash);
        }
        Digests { root: *hasher.finalize().as_bytes(), ranges: self.0.clone() }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(RANGES * 40);
        for range in &self.0 {
            bytes.extend_from_slice(&range.count.to_be_bytes());
            bytes.extend_from_slice(&range.hash);
        }
        bytes
    }

    /// None if the bytes are not 256 ranges.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let ranges = bytes.chunks_exact(40).map(|chunk| {
            let (count, hash) = chunk.split_first_chunk::<8>()?;
            Some(Range { count: u64::from_be_bytes(*count), hash: hash.try_into().ok()? })
        });
        let ranges: Option<Vec<Range>> = ranges.collect();
        ranges.filter(|ranges| ranges.len() == RANGES && bytes.len() == RANGES * 40).map(Self)
    }
}
