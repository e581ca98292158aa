//! The canonical form of a key: the same bytes in every region that folded the same events.
//!
//! Entity tags and digests are hashes of it. It holds value, version and frontier; never absences,
//! contexts or records, which regions forget at different times. Members of objects are sorted by
//! name, frontiers by dot.

use std::collections::BTreeSet;

use super::{Folded, KeyState};
use crate::name::Key;
use crate::vector::Dot;

/// Bytes of a canonical hash.
pub const HASH_BYTES: usize = 32;

/// The hash of a key and its state, or none where nothing is: what digests are made of.
pub fn digest(key: &Key, state: &KeyState) -> Option<[u8; HASH_BYTES]> {
    let folded = state.folded();
    folded.value.as_ref()?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&key.to_bytes());
    update(&mut hasher, &folded);
    Some(*hasher.finalize().as_bytes())
}

/// The entity tag of a state, without quotes; none where nothing is.
pub fn entity_tag(state: &KeyState) -> Option<String> {
    let folded = state.folded();
    folded.value.as_ref()?;
    let mut hasher = blake3::Hasher::new();
    update(&mut hasher, &folded);
    let hash = hasher.finalize().to_hex();
    Some(hash[..32].to_owned())
}

fn update(hasher: &mut blake3::Hasher, folded: &Folded<'_>) {
    hasher.update(&folded.version.to_be_bytes());
    let dots: BTreeSet<&Dot> = folded.frontier.iter().map(|stamp| &stamp.dot).collect();
    hasher.update(&(dots.len() as u64).to_be_bytes());
    for dot in dots {
        hasher.update(dot.origin.as_str().as_bytes());
        hasher.update(&[0]);
        hasher.update(&dot.sequence.to_be_bytes());
    }
    if let Some(value) = &folded.value {
        let bytes = serde_json::to_vec(value).expect("a JSON value has a text");
        hasher.update(&bytes);
    }
}
