//! Hash maps for what is looked up at every event: by key, and by a key's identity.
//!
//! Hashes are seeded by whoever makes the map, so that clients cannot choose names that collide:
//! the first seed of a process makes its constants, each map's own seed its beginning. What always
//! holds: a map's order is that of what was done to it and never depends on a hash.

use std::hash::{Hash, Hasher};
use std::sync::OnceLock;

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use indexmap::{Equivalent, IndexMap};

use crate::event::Identity;
use crate::name::Key;

/// A map in order of insertion, until something is taken out of it.
pub type Map<K, V> = IndexMap<K, V, Hashing>;

/// How keys are hashed.
pub type Hashing = SeedableRandomState;

/// Hashing from a seed, which is secret where keys come from outside.
pub fn hashing(seed: u64) -> Hashing {
    static SHARED: OnceLock<SharedSeed> = OnceLock::new();
    let shared = SHARED.get_or_init(|| SharedSeed::from_u64(seed));
    SeedableRandomState::with_seed(seed, shared)
}

/// An empty map, with [`hashing`] from that seed.
pub fn map<K, V>(seed: u64) -> Map<K, V> {
    Map::with_hasher(hashing(seed))
}

/// An identity on its key: what no two events of the fleet share unless they are copies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    pub key: Key,
    pub identity: Identity,
}

/// A claim to look one up by.
#[derive(Clone, Copy)]
pub struct ClaimRef<'a> {
    pub key: &'a Key,
    pub identity: &'a Identity,
}

impl Hash for Claim {
    fn hash<H: Hasher>(&self, state: &mut H) {
        ClaimRef { key: &self.key, identity: &self.identity }.hash(state);
    }
}

impl Hash for ClaimRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity.hash(state);
        self.key.hash(state);
    }
}

impl Equivalent<Claim> for ClaimRef<'_> {
    fn equivalent(&self, claim: &Claim) -> bool {
        *self.identity == claim.identity && *self.key == claim.key
    }
}

impl ClaimRef<'_> {
    pub fn to_owned(self) -> Claim {
        Claim { key: self.key.clone(), identity: self.identity.clone() }
    }
}
