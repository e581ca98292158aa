//! Rows as they are held against those of other regions.
//!
//! Reads a store, on any thread; `apply/replacing.rs` puts right what is wrong. What makes this
//! sound while everybody writes: a row is the fold of its key's events up to the vector that the
//! store is at. Where each of two regions has applied what the other one's row rests on
//! ([`KeySeen::is_one_with`]) both have folded the same events, and their digests are equal or one
//! of them is wrong. A row does not say what it rests on below stable time, because every member
//! has applied that.

use std::collections::BTreeMap;

use linckia_model::{
    Epochs, EventSource, FoldSettings, Hlc, Identity, Key, KeyState, Reader, Stamp, Vector,
    canonical,
};
use linckia_store::{Pair, Table, View};

use crate::error::{Result, row};
use crate::keys::{self, Entry};
use crate::rows;

/// Bytes of a digest that rows are compared by.
const BRIEF_BYTES: usize = 16;

/// Rows read from the store at once: more than a section has, so that it is one look.
const ROWS_AT_ONCE: usize = 512;

/// Events of a key that are folded anew: more would hold up the store for too long.
const REFOLDED_MAX: usize = 100_000;

/// Events after which a fold lets go of those behind it.
const LET_GO: usize = 512;

/// The digest of a key in a store.
type Digest = [u8; canonical::HASH_BYTES];

/// Keys that show something, in order.
#[derive(Debug, Default)]
pub struct ReadRows {
    /// Each with the beginning of its digest.
    pub rows: Vec<(Vec<u8>, [u8; BRIEF_BYTES])>,
    /// Those whose row does not have the digest of its own state.
    pub stale: Vec<Vec<u8>>,
    /// Rows read, those that show nothing too.
    pub read: usize,
    /// Where to go on, if not all was read.
    pub next: Option<Vec<u8>>,
}

/// The vector that a store is at.
///
/// # Errors
/// The store's, or a row that is not ours.
pub fn stored_at(view: &dyn View) -> Result<Vector> {
    let bytes = view.get(Table::Meta, rows::APPLIED)?.unwrap_or_default();
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| row("meta")(linckia_model::Error::Utf8("vector")))?;
    Vector::parse(text).map_err(row("meta"))
}

/// Reads rows from `from` up to `until` (an empty one has no end), about so many of so many bytes
/// of keys. `verify`: each is held against its own digest; `known` lends names of origins.
///
/// # Errors
/// The store's, or a row that is not ours.
pub fn read_rows(
    view: &dyn View,
    from: &[u8],
    until: &[u8],
    (rows_max, bytes_max): (usize, usize),
    verify: Option<&Vector>,
) -> Result<ReadRows> {
    let (mut found, mut from, mut bytes) = (ReadRows::default(), from.to_vec(), 0);
    while found.read < rows_max && bytes < bytes_max {
        let limit = ROWS_AT_ONCE.min(rows_max - found.read);
        let pairs = view.scan(Table::States, &from, until, limit, false)?;
        let through = pairs.len() < limit;
        found.read += pairs.len();
        if let Some((last, _)) = pairs.last() {
            from = [&last[..], &[0]].concat();
        }
        for (key, value) in pairs {
            let (digest, stale) = digest_of(&key, &value, verify)?;
            if stale {
                found.stale.push(key.clone());
            }
            if let Some(digest) = digest {
                bytes += key.len();
                found.rows.push((key, brief(&digest)));
            }
        }
        if through {
            return Ok(found);
        }
    }
    found.next = Some(from);
    Ok(found)
}

fn brief(digest: &Digest) -> [u8; BRIEF_BYTES] {
    let mut brief = [0; BRIEF_BYTES];
    brief.copy_from_slice(&digest[..BRIEF_BYTES]);
    brief
}

/// A row's digest, of its state where it is verified, and whether the row says another one than its
/// state has.
fn digest_of(key: &[u8], value: &[u8], verify: Option<&Vector>) -> Result<(Option<Digest>, bool)> {
    let (_, said) = keys::head(&mut Reader(value)).map_err(row("states"))?;
    let Some(known) = verify else { return Ok((said, false)) };
    let key = Key::from_bytes(key).map_err(row("states"))?;
    let state = Entry::decode(value, known)?.state;
    Ok((compared(&key, &state), canonical::digest(&key, &state) != said))
}

/// What is compared of a key: its digest, or, where nothing shows, how often it was written.
pub(crate) fn compared(key: &Key, state: &KeyState) -> Option<Digest> {
    canonical::digest(key, state).or_else(|| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&key.to_bytes());
        hasher.update(&state.version().to_be_bytes());
        (state.version() > 0).then(|| *hasher.finalize().as_bytes())
    })
}

/// What a key's row says, and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySeen {
    /// Of its state, or of its version where nothing shows; none of a key that was never written.
    pub digest: Option<Digest>,
    /// Covers its events, but for those that every member has applied.
    pub shown: Vector,
    /// The row has another digest than its state.
    pub stale: bool,
}

impl KeySeen {
    /// True if this row, of a store at `at`, and that one rest on the same events.
    pub fn is_one_with(&self, at: &Vector, shown: &Vector, shown_at: &Vector) -> bool {
        at.covers_all(shown) && shown_at.covers_all(&self.shown)
    }
}

/// Looks at one key's row.
///
/// # Errors
/// The store's, or a row that is not ours.
pub fn look_at(view: &dyn View, key: &[u8], known: &Vector) -> Result<KeySeen> {
    let Some(value) = view.get(Table::States, key)? else {
        return Ok(KeySeen { digest: None, shown: Vector::new(), stale: false });
    };
    let (digest, stale) = digest_of(key, &value, Some(known))?;
    let shown = Entry::decode(&value, known)?.state.shown();
    Ok(KeySeen { digest, shown, stale })
}

/// A key's row, and the rows of its records; none if there are more of these.
///
/// # Errors
/// The store's.
pub fn copy_of(view: &dyn View, key: &[u8], records_max: usize) -> Result<Option<KeyCopy>> {
    let row = view.get(Table::States, key)?.unwrap_or_default();
    let records = records_of(view, key, records_max + 1)?;
    Ok((records.len() <= records_max).then_some(KeyCopy { row, records }))
}

/// The rows of a key's records.
///
/// # Errors
/// The store's.
pub fn records_of(view: &dyn View, key: &[u8], limit: usize) -> Result<Vec<Pair>> {
    let until = [key, &[0xff; 9]].concat();
    Ok(view.scan(Table::Records, key, &until, limit, false)?)
}

/// A key's state and records as they lie in some store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyCopy {
    /// Empty where there is none.
    pub row: Vec<u8>,
    pub records: Vec<Pair>,
}

/// The digest that the logs give for a key, folded from its first event on. None if an event is
/// not there any more, or there are too many: then they say nothing. Where events are missing that
/// not even the history names, another digest comes out than that of any right row.
///
/// # Errors
/// The store's, or a row that is not ours.
pub fn refold(
    view: &dyn View,
    bytes: &[u8],
    source: &dyn EventSource,
    epochs: &Epochs,
    settings: &FoldSettings,
    known: &Vector,
) -> Result<Option<Option<Digest>>> {
    let key = Key::from_bytes(bytes).map_err(row("states"))?;
    let (mut state, mut count) = (KeyState::default(), 0);
    let mut copies: BTreeMap<Identity, Vec<Stamp>> = BTreeMap::new();
    let (mut from, until) = (bytes.to_vec(), [bytes, &[0xff; 9]].concat());
    loop {
        let pairs = view.scan(Table::History, &from, &until, LET_GO, false)?;
        for (name, _) in &pairs {
            let stamp = rows::history_stamp(name, bytes.len(), known)?;
            let Ok(Some(event)) = source.event(&stamp.dot) else { return Ok(None) };
            if event.key != key || epochs.get(event.policy_epoch).is_none() {
                return Ok(None);
            }
            let earlier = copies.entry(event.identity.clone()).or_default();
            state.apply(&event, earlier, source, epochs, settings)?;
            earlier.push(stamp);
        }
        count += pairs.len();
        let Some((last, _)) = pairs.last().filter(|_| pairs.len() == LET_GO) else { break };
        from = [&last[..], &[0]].concat();
        if count >= REFOLDED_MAX {
            return Ok(None);
        }
        state.take(Hlc::ZERO, epochs, settings);
        state.stored();
    }
    Ok((count > 0).then(|| compared(&key, &state)))
}

/// The hash over keys and their digests, in order.
pub fn hash_of(rows: &[(Vec<u8>, [u8; BRIEF_BYTES])]) -> [u8; BRIEF_BYTES] {
    // In one piece: a hash over many small ones takes several times as long.
    let size = |(key, digest): &(Vec<u8>, [u8; BRIEF_BYTES])| 8 + key.len() + digest.len();
    let mut bytes = Vec::with_capacity(rows.iter().map(size).sum());
    for (key, digest) in rows {
        bytes.extend_from_slice(&(key.len() as u64).to_be_bytes());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(digest);
    }
    let mut hash = [0; BRIEF_BYTES];
    hash.copy_from_slice(&blake3::hash(&bytes).as_bytes()[..BRIEF_BYTES]);
    hash
}

#[cfg(test)]
#[path = "compare/tests.rs"]
mod tests;
