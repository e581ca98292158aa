//! Why a tail could not be folded again: its events were not to be had.
//!
//! Whoever drives the region stops it with this; nothing of the event that asked for it is applied.

use std::error::Error;

use crate::name::Key;

/// What the store or a log says of a read that failed.
pub type Cause = Box<dyn Error + Send + Sync>;

/// Events that were applied here cannot be read again.
#[derive(Debug, thiserror::Error)]
#[error(
    "events of {key} that were applied cannot be read again, and a new one is folded with them; \
         see whether the disk is sound and restart"
)]
pub struct Unread {
    key: String,
    source: Cause,
}

impl Unread {
    /// What the store or a log said of the read.
    pub fn new(key: &Key, source: Cause) -> Self {
        let Key { data_set, aggregate_type, aggregate_id } = key;
        Self { key: format!("{data_set}/{aggregate_type}/{aggregate_id}"), source }
    }

    pub(super) fn lost(key: &Key, found: usize, wanted: u64) -> Self {
        Self::new(key, format!("{found} of {wanted} are there").into())
    }
}
