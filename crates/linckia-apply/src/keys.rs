//! The states of keys in memory: those written since the last flush, and those lately used.
//!
//! A state is folded here and reaches the store by flushes. What always holds: a state that is not
//! in the store as it is here (dirty, or on its way there) is never evicted.

use linckia_model::{Key, KeyState, Map, Reader, Stamp, Vector, Writer, canonical, map};
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
    /// Events whose rows of history were not taken by a flush.
    pub(crate) stamps: Vec<Stamp>,
    /// It waits to be settled.
    pub(crate) settles: bool,
    /// Changed since a flush took it.
    dirty: bool,
    /// Taken by a flush that is not in the store yet.
    flushing: bool,
    recent: bool,
    weight: usize,
}

/// The row of a key's state.
pub(crate) fn encode(
    conflicts: u64,
    digest: Option<&[u8; canonical::HASH_BYTES]>,
    state: &KeyState,
) -> Vec<u8> {
    let mut out = Writer::default();
    out.byte(FORMAT);
    out.number(conflicts);
    out.byte(u8::from(digest.is_some()));
    if let Some(digest) = digest {
        out.0.extend_from_slice(digest);
    }
    out.0.extend_from_slice(&state.encode());
    out.0
}

impl Entry {
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
pub(crate) struct Keys {
    entries: Map<Key, Entry>,
    /// Keys written since the last flush; each of their entries is dirty.
    dirty: Vec<Key>,
    /// Where the search for entries to evict goes on.
    hand: usize,
    weight: usize,
}

impl Keys {
    pub(crate) fn new(seed: u64) -> Self {
        Self { entries: map(seed), dirty: Vec::new(), hand: 0, weight: 0 }
    }

    /// The key's entry, from the store if it is not in memory; an empty one if there is none.
    pub(crate) fn load(
        &mut self,
        key: &Key,
        view: &dyn View,
        known: &Vector,
    ) -> Result<&mut Entry> {
        let place = self.place(key, view, known)?;
        Ok(&mut self.entries[place])
    }

    /// [`Keys::load`] of a key that is about to change.
    pub(crate) fn change(
        &mut self,
        key: &Key,
        view: &dyn View,
        known: &Vector,
    ) -> Result<&mut Entry> {
        let place = self.place(key, view, known)?;
        let entry = &mut self.entries[place];
        if !entry.dirty {
            entry.dirty = true;
            self.dirty.push(key.clone());
        }
        Ok(entry)
    }

    fn place(&mut self, key: &Key, view: &dyn View, known: &Vector) -> Result<usize> {
        let place = match self.entries.get_index_of(key) {
            Some(place) => place,
            None => {
                let row = view.get(Table::States, &key.to_bytes())?;
                let mut entry = match row {
                    Some(bytes) => Entry::decode(&bytes, known)?,
                    None => Entry::default(),
                };
                entry.weight = WEIGHT_MIN.max(entry.weight * WEIGHT_FACTOR);
                self.weight += entry.weight;
                self.entries.insert_full(key.clone(), entry).0
            }
        };
        self.entries[place].recent = true;
        Ok(place)
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

    /// Every dirty entry once, in the order in which they became dirty; they are on their way to
    /// the store then.
    pub(crate) fn take(&mut self, mut each: impl FnMut(Key, &mut Entry)) {
        for key in std::mem::take(&mut self.dirty) {
            let entry = self.entries.get_mut(&key).expect("a dirty entry is never evicted");
            entry.dirty = false;
            entry.flushing = true;
            each(key, entry);
        }
    }

    /// What a flush took is in the store, in a row of so many bytes.
    pub(crate) fn flushed(
        &mut self,
        key: &Key,
        digest: Option<[u8; canonical::HASH_BYTES]>,
        bytes: usize,
    ) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.flushing = false;
        entry.digest = digest;
        let weight = WEIGHT_MIN.max(bytes * WEIGHT_FACTOR);
        self.weight = self.weight + weight - entry.weight;
        entry.weight = weight;
    }

    /// Evicts entries not lately used until the rest weighs at most `bytes`, looking at so many at
    /// most.
    pub(crate) fn evict(&mut self, bytes: usize, steps: usize) {
        let mut steps = steps.min(self.entries.len());
        while self.weight > bytes && steps > 0 {
            steps -= 1;
            if self.hand >= self.entries.len() {
                self.hand = 0;
            }
            let Some((_, entry)) = self.entries.get_index_mut(self.hand) else { return };
            if entry.dirty || entry.flushing || entry.recent {
                entry.recent = false;
                self.hand += 1;
            } else {
                // The last entry takes its place and is looked at next.
                self.weight -= entry.weight;
                self.entries.swap_remove_index(self.hand);
            }
        }
    }
}
