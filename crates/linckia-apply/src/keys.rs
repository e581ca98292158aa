//! The states of keys in memory: those written since the last flush, and those lately used.
//!
//! A state is folded here and reaches the store by flushes. What always holds: a state that is not
//! in the store as it is here (dirty) is never evicted.

use std::collections::BTreeMap;
use std::ops::Bound;

use linckia_model::{Key, KeyState, Reader, Vector, Writer, canonical};
use linckia_store::{Table, View};

use crate::error::{Result, row};

const FORMAT: u8 = 1;

/// One key in memory.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub(crate) state: KeyState,
    /// Records of this key in the store and in rows on their way there.
    pub(crate) conflicts: u64,
    /// What this key put into the digests when it was last flushed.
    pub(crate) digest: Option<[u8; canonical::HASH_BYTES]>,
    pub(crate) dirty: bool,
    recent: bool,
    weight: usize,
}

impl Entry {
    /// The row for the store.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.byte(FORMAT);
        out.number(self.conflicts);
        out.byte(u8::from(self.digest.is_some()));
        if let Some(digest) = &self.digest {
            out.0.extend_from_slice(digest);
        }
        out.0.extend_from_slice(&self.state.encode());
        out.0
    }

    pub(crate) fn decode(bytes: &[u8], known: &Vector) -> Result<Self> {
        let read = || -> linckia_model::Result<Self> {
            let mut reader = Reader(bytes);
            let format = reader.byte("format")?;
            if format != FORMAT {
                return Err(linckia_model::Error::Format(format));
            }
            let conflicts = reader.number("conflicts")?;
            let digest = if reader.byte("digest")? == 0 {
                None
            } else {
                let short = linckia_model::Error::Short("digest");
                let (digest, rest) = reader.0.split_first_chunk().ok_or(short)?;
                reader.0 = rest;
                Some(*digest)
            };
            let state = KeyState::decode(reader.0, known)?;
            Ok(Self { state, conflicts, digest, weight: bytes.len(), ..Self::default() })
        };
        read().map_err(row("states"))
    }
}

/// What an entry weighs beyond its row: tree nodes and map places in memory are wider than bytes in
/// a row by about this factor.
const WEIGHT_FACTOR: usize = 6;

/// The least an entry weighs.
const WEIGHT_MIN: usize = 512;

/// States by key.
#[derive(Default)]
pub(crate) struct Keys {
    entries: BTreeMap<Key, Entry>,
    /// Keys written since the last flush; each of their entries is dirty.
    dirty: Vec<Key>,
    /// Where the search for entries to evict goes on.
    hand: Option<Key>,
    weight: usize,
}

impl Keys {
    /// The key's entry, from the store if it is not in memory; an empty one if there is none.
    pub(crate) fn load(
        &mut self,
        key: &Key,
        view: &dyn View,
        known: &Vector,
    ) -> Result<&mut Entry> {
        if !self.entries.contains_key(key) {
            let row = view.get(Table::States, &key.to_bytes())?;
            let mut entry = match row {
                Some(bytes) => Entry::decode(&bytes, known)?,
                None => Entry::default(),
            };
            entry.weight = WEIGHT_MIN.max(entry.weight * WEIGHT_FACTOR);
            self.weight += entry.weight;
            self.entries.insert(key.clone(), entry);
        }
        let entry = self.entries.get_mut(key).expect("the entry was just put there");
        entry.recent = true;
        Ok(entry)
    }

    pub(crate) fn cached(&mut self, key: &Key) -> Option<&mut Entry> {
        self.entries.get_mut(key)
    }

    /// Marks an entry that is in memory as changed.
    pub(crate) fn touch(&mut self, key: &Key) {
        if let Some(entry) = self.entries.get_mut(key)
            && !entry.dirty
        {
            entry.dirty = true;
            self.dirty.push(key.clone());
        }
    }

    pub(crate) fn dirty_count(&self) -> usize {
        self.dirty.len()
    }

    /// Every dirty entry once; they are clean afterwards.
    pub(crate) fn flush(&mut self, mut each: impl FnMut(&Key, &mut Entry) -> usize) {
        for key in std::mem::take(&mut self.dirty) {
            let entry = self.entries.get_mut(&key).expect("a dirty entry is never evicted");
            entry.dirty = false;
            let weight = WEIGHT_MIN.max(each(&key, entry) * WEIGHT_FACTOR);
            self.weight = self.weight + weight - entry.weight;
            entry.weight = weight;
        }
    }

    /// Evicts entries not lately used until the rest weighs at most `bytes`, going round once at
    /// most.
    pub(crate) fn evict(&mut self, bytes: usize) {
        let mut steps = self.entries.len();
        while self.weight > bytes && steps > 0 {
            steps -= 1;
            let from = self.hand.take().map_or(Bound::Unbounded, Bound::Excluded);
            let next = self.entries.range_mut((from, Bound::Unbounded)).next();
            let Some((key, entry)) = next else { continue };
            let key = key.clone();
            if entry.dirty || entry.recent {
                entry.recent = false;
            } else {
                self.weight -= entry.weight;
                self.entries.remove(&key);
            }
            self.hand = Some(key);
        }
    }
}
