//! What a flush takes to the store: copies of what changed, made into rows on any thread.
//!
//! [`Apply::begin_job`](crate::Apply::begin_job) takes it, whoever drives the region runs it beside
//! the core, and [`Apply::done`](crate::Apply::done) hears of it. What always holds: one job is
//! under way at a time; a flush's batch brings the store from the vector of the last one to its
//! own, whole or not at all.

use std::sync::Arc;

use linckia_model::{Claim, Hlc, Key, KeyState, Map, Stamp, Vector, canonical};
use linckia_store::{Batch, Store, Table};

use crate::digests::Ranges;
use crate::error::Result;
use crate::expire::{Expire, Expired};
use crate::floors::Floors;
use crate::keys;
use crate::presence::{Sweep, Swept};
use crate::rows;

/// Work with the store that goes on beside the core.
pub enum Job {
    Flush(Flush),
    /// Rows are read to know what the store holds.
    Sweep(Sweep),
    /// Identities that nobody can repeat any more are taken away.
    Expire(Expire),
}

/// What came of it.
pub enum JobDone {
    Flushed(Flushed),
    Swept(Swept),
    Expired(Expired),
}

impl Job {
    /// # Errors
    /// The store's, or a row that is not ours.
    pub fn run(self, store: &dyn Store) -> Result<JobDone> {
        Ok(match self {
            Self::Flush(flush) => JobDone::Flushed(flush.run(store)?),
            Self::Sweep(sweep) => JobDone::Swept(sweep.run(store)?),
            Self::Expire(expire) => JobDone::Expired(expire.run(store)?),
        })
    }
}

/// Copies of identities, by the identities' keys.
pub(crate) type Claims = Map<Claim, Vec<Stamp>>;

/// A key that changed, as it was when the flush began.
pub(crate) struct Taken {
    pub(crate) key: Key,
    pub(crate) state: KeyState,
    pub(crate) conflicts: u64,
    /// What it put into the digests before.
    pub(crate) digest: Option<[u8; canonical::HASH_BYTES]>,
    /// Its events since the last flush.
    pub(crate) stamps: Vec<Stamp>,
}

/// One flush on its way to the store.
pub struct Flush {
    pub(crate) taken: Vec<Taken>,
    pub(crate) claims: Arc<Claims>,
    /// Rows that were made when their events were applied.
    pub(crate) rows: Batch,
    pub(crate) ranges: Ranges,
    pub(crate) applied: Vector,
    /// Stable time when it was at that vector.
    pub(crate) stable: Hlc,
    /// What its rows need of the logs, and those before.
    pub(crate) floors: Floors,
    /// The claims of the flush before: letting go of so many is work for the same thread.
    pub(crate) _spent: Option<Arc<Claims>>,
}

/// A key whose row is in the store.
pub(crate) struct FlushedKey {
    pub(crate) key: Key,
    pub(crate) digest: Option<[u8; canonical::HASH_BYTES]>,
    pub(crate) row_bytes: usize,
}

/// A flush that is in the store.
pub struct Flushed {
    pub(crate) keys: Vec<FlushedKey>,
    pub(crate) ranges: Ranges,
    pub(crate) applied: Vector,
}

impl Flush {
    /// Makes the rows and writes them as one batch.
    ///
    /// # Errors
    /// The store's.
    pub(crate) fn run(self, store: &dyn Store) -> Result<Flushed> {
        let Self { taken, claims, rows: mut batch, mut ranges, applied, stable, floors, .. } = self;
        let mut keys = Vec::with_capacity(taken.len());
        for Taken { key, state, conflicts, digest: before, stamps } in taken {
            let digest = canonical::digest(&key, &state);
            let key_bytes = key.to_bytes();
            ranges.change(&key_bytes, before.as_ref(), digest.as_ref());
            let row = keys::encode(conflicts, digest.as_ref(), &state);
            batch.put(Table::States, &key_bytes, &row);
            for stamp in stamps {
                batch.put(Table::History, &rows::history_key(&key_bytes, &stamp), &[]);
            }
            keys.push(FlushedKey { key, digest, row_bytes: row.len() });
        }
        for (Claim { key, identity }, stamps) in claims.iter() {
            batch.put(Table::Identities, &rows::identity_key(key, identity), &rows::stamps(stamps));
        }
        batch.put(Table::Meta, rows::APPLIED, applied.to_string().as_bytes());
        batch.put(Table::Meta, rows::STABLE, &stable.bits().to_be_bytes());
        batch.put(Table::Meta, rows::FLOORS, &floors.encode());
        for (place, row) in ranges.take_rows() {
            batch.put_parts(Table::Meta, &[rows::RANGE, &[place]], &row);
        }
        store.write(&batch)?;
        Ok(Flushed { keys, ranges, applied })
    }
}
