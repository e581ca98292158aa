//! What the store may hold, kept in memory: what is new is not looked up on the disk.
//!
//! Filters (Bloom) of keys and identities. After a start a sweep over the store's rows fills them,
//! portion by portion beside the core; whatever is applied meanwhile and later joins them. What
//! always holds: once the sweep is through, what the store holds, or will hold with the flush under
//! way, is never said to be absent. Before that, and beyond the bound, everything may be there.

use std::hash::{BuildHasher, Hash};

use fastbloom::BloomFilter;
use linckia_model::{ClaimRef, Hashing, Identity, Key, Stamp, Vector, hashing};
use linckia_store::{Table, View};

use crate::error::{Result, row};
use crate::keys::Entry;
use crate::rows;

/// Room for entries in the first filter; each further one has room for twice as many as the one
/// before.
const FIRST_ENTRIES: usize = 1 << 16;

/// Filters in memory at most: 33 million entries, 60 MB. What is more is looked up.
const FILTERS_MAX: usize = 9;

/// How many lookups of what is absent go to the store all the same.
const FALSE_POSITIVES: f64 = 0.001;

/// Where a sweep goes on.
struct Place {
    table: Table,
    from: Vec<u8>,
}

/// How far the sweep is.
enum Stands {
    /// Rows from here on are still to be read.
    Before(Place),
    /// A portion is being read.
    Sweeping,
    Through,
}

pub(crate) struct Presence {
    hashing: Hashing,
    /// They take our hashes as they are.
    filters: Vec<BloomFilter>,
    /// Entries that the first filter has room for, and that the last one still has.
    first: usize,
    room: usize,
    /// There is more than there is room for, and nothing is kept.
    full: bool,
    stands: Stands,
}

/// A portion of the rows that the store held when the region started.
pub struct Sweep {
    place: Place,
    rows: usize,
    hashing: Hashing,
}

/// What a portion holds.
pub struct Swept {
    hashes: Vec<u64>,
    next: Option<Place>,
}

impl Presence {
    pub(crate) fn new(seed: u64, store_is_empty: bool) -> Self {
        let start = Place { table: Table::States, from: Vec::new() };
        let stands = if store_is_empty { Stands::Through } else { Stands::Before(start) };
        Self {
            hashing: hashing(seed),
            filters: Vec::new(),
            first: FIRST_ENTRIES,
            room: 0,
            full: false,
            stands,
        }
    }

    /// False if the store does not hold this key, or this identity of a key.
    pub(crate) fn may_hold(&self, entry: &impl Hash) -> bool {
        self.full
            || !matches!(self.stands, Stands::Through)
            || self.contains(self.hashing.hash_one(entry))
    }

    fn contains(&self, hash: u64) -> bool {
        self.filters.iter().any(|filter| filter.contains_hash(hash))
    }

    /// The store will hold this.
    pub(crate) fn add(&mut self, entry: &impl Hash) {
        self.add_hash(self.hashing.hash_one(entry));
    }

    fn add_hash(&mut self, hash: u64) {
        if self.full || self.contains(hash) {
            return;
        }
        if self.room == 0 {
            if self.filters.len() == FILTERS_MAX {
                self.filters = Vec::new();
                self.full = true;
                return;
            }
            self.room = self.first << self.filters.len();
            let filter = BloomFilter::with_false_pos(FALSE_POSITIVES);
            self.filters.push(filter.expected_items(self.room));
        }
        if let Some(filter) = self.filters.last_mut() {
            filter.insert_hash(hash);
            self.room -= 1;
        }
    }

    /// The next portion to read, if none is being read.
    pub(crate) fn sweep(&mut self, rows: usize) -> Option<Sweep> {
        match std::mem::replace(&mut self.stands, Stands::Sweeping) {
            Stands::Before(place) => Some(Sweep { place, rows, hashing: self.hashing.clone() }),
            other => {
                self.stands = other;
                None
            }
        }
    }

    /// A portion was read.
    pub(crate) fn swept(&mut self, swept: Swept) {
        swept.hashes.into_iter().for_each(|hash| self.add_hash(hash));
        let next = swept.next.filter(|_| !self.full);
        self.stands = next.map_or(Stands::Through, Stands::Before);
    }

    /// True while a portion is being read.
    pub(crate) fn is_sweeping(&self) -> bool {
        matches!(self.stands, Stands::Sweeping)
    }
}

impl Sweep {
    /// Reads the portion.
    ///
    /// # Errors
    /// The store's, or a row that is not ours.
    pub(crate) fn run(self, view: &dyn View) -> Result<Swept> {
        let Self { place: Place { table, from }, rows, hashing } = self;
        let pairs = view.scan(table, &from, &[], rows, false)?;
        let hash = |bytes: &[u8]| match table {
            Table::States => {
                Key::from_bytes(bytes).map(|key| hashing.hash_one(key)).map_err(row("states"))
            }
            _ => rows::claim(bytes).map(|claim| hashing.hash_one(claim)),
        };
        let hashes: Result<Vec<u64>> = pairs.iter().map(|(bytes, _)| hash(bytes)).collect();
        let next = match pairs.last() {
            Some((last, _)) if pairs.len() == rows => {
                Some(Place { table, from: [&last[..], &[0]].concat() })
            }
            _ if table == Table::States => {
                Some(Place { table: Table::Identities, from: Vec::new() })
            }
            _ => None,
        };
        Ok(Swept { hashes: hashes?, next })
    }
}

/// The store, looked into only where it may hold what is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Stored<'a> {
    pub(crate) view: &'a dyn View,
    pub(crate) presence: &'a Presence,
    /// The applied vector: it has every origin that a row names.
    pub(crate) known: &'a Vector,
}

impl Stored<'_> {
    /// The entry of a key; an empty one if there is no row.
    pub(crate) fn entry(&self, key: &Key) -> Result<Entry> {
        if !self.presence.may_hold(key) {
            return Ok(Entry::default());
        }
        match self.view.get(Table::States, &key.to_bytes())? {
            Some(bytes) => Entry::decode(&bytes, self.known),
            None => Ok(Entry::default()),
        }
    }

    /// The copies of an identity of a key.
    pub(crate) fn copies(&self, key: &Key, identity: &Identity) -> Result<Vec<Stamp>> {
        if !self.presence.may_hold(&ClaimRef { key, identity }) {
            return Ok(Vec::new());
        }
        match self.view.get(Table::Identities, &rows::identity_key(key, identity))? {
            Some(bytes) => rows::read_stamps(&bytes, self.known),
            None => Ok(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use linckia_store::{Batch, MemoryStore, Rows as _};

    use super::*;

    fn key(number: usize) -> Key {
        Key::new("default", "T", &number.to_string())
    }

    fn identity(number: usize) -> Identity {
        Identity { event_id: format!("e{number}").as_str().into(), place: number as u32 }
    }

    #[test]
    fn what_was_added_may_be_held_and_what_was_not_is_hardly_ever_looked_up() {
        let mut presence = Presence { first: 64, ..Presence::new(7, true) };
        for number in 0..10_000 {
            presence.add(&key(number));
        }
        assert_eq!(presence.filters.len(), 8);
        assert!((0..10_000).all(|number| presence.may_hold(&key(number))));
        let mistaken = (10_000..110_000).filter(|number| presence.may_hold(&key(*number))).count();
        assert!(mistaken < 2_000, "{mistaken} of 100,000 keys that are absent");
    }

    #[test]
    fn beyond_its_bound_everything_may_be_held() {
        let mut presence = Presence { first: 1, ..Presence::new(7, true) };
        assert!(!presence.may_hold(&key(1_000_000)));
        (0..1_000).for_each(|number| presence.add(&key(number)));
        assert!(presence.may_hold(&key(1_000_000)));
        assert!(presence.filters.is_empty());
    }

    #[test]
    fn a_sweep_under_way_is_one_until_it_is_done_though_the_bound_is_reached_meanwhile() {
        let (store, mut batch) = (MemoryStore::new(), Batch::default());
        for number in 0..100 {
            batch.put(Table::States, &key(number).to_bytes(), &[]);
        }
        store.write(&batch).unwrap();
        let mut presence = Presence { first: 1, ..Presence::new(7, false) };
        let sweep = presence.sweep(30).unwrap();
        (0..1_000).for_each(|number| presence.add(&key(number)));
        assert!(presence.is_sweeping() && presence.sweep(30).is_none());
        presence.swept(sweep.run(&store).unwrap());
        assert!(!presence.is_sweeping());
        assert!(presence.sweep(30).is_none(), "what is read now would not be kept");
        assert!(presence.may_hold(&key(1_000_000)));
    }

    #[test]
    fn a_sweep_finds_every_row_and_until_it_is_through_everything_may_be_held() {
        let (store, mut batch) = (MemoryStore::new(), Batch::default());
        for number in 0..100 {
            batch.put(Table::States, &key(number).to_bytes(), &[]);
            let row = rows::identity_key(&key(number), &identity(number));
            batch.put(Table::Identities, &row, &[]);
        }
        store.write(&batch).unwrap();
        let mut presence = Presence::new(7, false);
        let mut portions = 0;
        while let Some(sweep) = presence.sweep(30) {
            assert!(presence.is_sweeping() && presence.sweep(30).is_none());
            assert!(presence.may_hold(&key(100)));
            presence.swept(sweep.run(&store).unwrap());
            portions += 1;
        }
        assert_eq!(portions, 8);
        for number in 0..100 {
            let (key, identity) = (key(number), identity(number));
            assert!(presence.may_hold(&key));
            assert!(presence.may_hold(&ClaimRef { key: &key, identity: &identity }));
        }
        assert!(!presence.may_hold(&key(100)));
    }
}
