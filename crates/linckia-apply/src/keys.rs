//! The states of keys in memory: those written since the last flush, and those lately used.
//!
//! A state is folded here and reaches the store by flushes, which take copies, some at a time. What
//! always holds: a state that is not in the store as it is here (dirty, or on its way there) is
//! never evicted; a flush takes every state as it was when the flush began, so one that is written
//! before its turn comes is taken first.

use linckia_model::{Key, KeyState, Map, Reader, Stamp, Vector, Writer, canonical, map};

use linckia_store::Table;

use crate::error::{Result, row};
use crate::flush::{FlushedKey, Taken};
use crate::presence::Stored;

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
    /// The generation it changed in, unless a flush took it since.
    dirty_in: Option<u64>,
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

/// True for the row of a key of which nothing shows.
pub fn shows_nothing(table: Table, bytes: &[u8]) -> bool {
    table == Table::States && matches!(head(&mut Reader(bytes)), Ok((_, None)))
}

/// How many records the key of a row has.
pub(crate) fn conflicts(bytes: &[u8]) -> Result<u64> {
    head(&mut Reader(bytes)).map(|(conflicts, _)| conflicts).map_err(row("states"))
}

/// What a state's row begins with: how many records there are, and the key's digest.
pub(crate) fn head(
    reader: &mut Reader<'_>,
) -> linckia_model::Result<(u64, Option<[u8; canonical::HASH_BYTES]>)> {
    let format = reader.byte("format")?;
    if format != FORMAT {
        return Err(linckia_model::Error::Format(format));
    }
    let conflicts = reader.number("conflicts")?;
    if reader.byte("digest")? == 0 {
        return Ok((conflicts, None));
    }
    let short = linckia_model::Error::Short("digest");
    let (digest, rest) = reader.0.split_first_chunk().ok_or(short)?;
    reader.0 = rest;
    Ok((conflicts, Some(*digest)))
}

impl Entry {
    pub(crate) fn decode(bytes: &[u8], known: &Vector) -> Result<Self> {
        let read = || -> linckia_model::Result<Self> {
            let mut reader = Reader(bytes);
            let (conflicts, digest) = head(&mut reader)?;
            let state = KeyState::decode(reader.0, known)?;
            Ok(Self { state, conflicts, digest, weight: bytes.len(), ..Self::default() })
        };
        read().map_err(row("states"))
    }

    /// A copy for the store; the entry is on its way there then.
    fn take(&mut self, key: Key) -> Taken {
        self.dirty_in = None;
        self.flushing = true;
        Taken {
            key,
            state: self.state.clone(),
            conflicts: self.conflicts,
            digest: self.digest,
            stamps: std::mem::take(&mut self.stamps),
        }
    }
}

/// What an entry weighs beyond its row: tree nodes and map places in memory are wider than bytes in
/// a row by about this factor.
const WEIGHT_FACTOR: usize = 6;

/// What an event weighs that is in memory.
const BODY_WEIGHT: usize = 768;

/// The least an entry weighs.
const WEIGHT_MIN: usize = 512;

/// States by key.
pub(crate) struct Keys {
    entries: Map<Key, Entry>,
    /// The flushes begun.
    generation: u64,
    /// Keys written since the last flush began; each of their entries is dirty in this generation.
    dirty: Vec<Key>,
    /// Keys written before it began, some of which were taken already.
    awaited: Vec<Key>,
    taken: Vec<Taken>,
    /// Where the search for entries to evict goes on.
    hand: usize,
    weight: usize,
}

impl Keys {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            entries: map(seed),
            generation: 0,
            dirty: Vec::new(),
            awaited: Vec::new(),
            taken: Vec::new(),
            hand: 0,
            weight: 0,
        }
    }

    /// The key's entry, from the store if it is not in memory; an empty one if there is none.
    pub(crate) fn load(&mut self, key: &Key, stored: Stored<'_>) -> Result<&mut Entry> {
        let place = self.place(key, stored)?;
        Ok(&mut self.entries[place])
    }

    /// [`Keys::load`] of a key that is about to change; where a flush is to take it as it is, it
    /// does now, after `settle` has seen it.
    pub(crate) fn change(
        &mut self,
        key: &Key,
        stored: Stored<'_>,
        settle: impl FnOnce(&Key, &mut KeyState),
    ) -> Result<&mut Entry> {
        let place = self.place(key, stored)?;
        let entry = &mut self.entries[place];
        if entry.dirty_in != Some(self.generation) {
            if entry.dirty_in.is_some() {
                settle(key, &mut entry.state);
                self.taken.push(entry.take(key.clone()));
            }
            entry.dirty_in = Some(self.generation);
            self.dirty.push(key.clone());
        }
        Ok(entry)
    }

    fn place(&mut self, key: &Key, stored: Stored<'_>) -> Result<usize> {
        let place = match self.entries.get_index_of(key) {
            Some(place) => place,
            None => {
                let mut entry = stored.entry(key)?;
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
            && entry.dirty_in.is_none()
        {
            entry.dirty_in = Some(self.generation);
            self.dirty.push(key.clone());
        }
    }

    /// True if no entry changed since the last flush began.
    pub(crate) fn is_clean(&self) -> bool {
        self.dirty.is_empty()
    }

    /// A flush begins; everything of the last one was taken.
    pub(crate) fn begin_taking(&mut self) {
        self.generation += 1;
        self.awaited = std::mem::take(&mut self.dirty);
        self.taken = Vec::with_capacity(self.awaited.len());
    }

    /// Takes so many of the states that changed before the flush began, each after `settle` has
    /// seen it. Answers all that were taken, each once, when there are no more.
    pub(crate) fn take(
        &mut self,
        count: usize,
        mut settle: impl FnMut(&Key, &mut KeyState),
    ) -> Option<Vec<Taken>> {
        for _ in 0..count {
            let Some(key) = self.awaited.pop() else { break };
            let entry = self.entries.get_mut(&key).expect("a dirty entry is never evicted");
            if entry.dirty_in.is_some_and(|generation| generation < self.generation) {
                settle(&key, &mut entry.state);
                self.taken.push(entry.take(key));
            }
        }
        self.awaited.is_empty().then(|| std::mem::take(&mut self.taken))
    }

    /// What a flush took is in the store.
    pub(crate) fn flushed(&mut self, FlushedKey { key, digest, row_bytes }: FlushedKey) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.flushing = false;
        entry.state.stored();
        entry.digest = digest;
        let weight = WEIGHT_MIN.max(row_bytes * WEIGHT_FACTOR) + entry.state.bodies() * BODY_WEIGHT;
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
            if entry.dirty_in.is_some() || entry.flushing || entry.recent {
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
