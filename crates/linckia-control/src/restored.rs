//! What a directory is restored with from a backup, beside its logs and its state: what the fleet
//! that is begun with it takes over.
//!
//! The logs are those of closed incarnations, and end where they were restored to. What always
//! holds: a fleet begins with one such thing, or with none.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::policies::PolicyBooks;

/// What a fleet that is begun from a backup takes over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restored {
    /// Where each log ends, also of those of which nothing was restored.
    pub ends: BTreeMap<String, u64>,
    pub policies: PolicyBooks,
    /// The last fence given, as far as the backup knows.
    pub fence: u64,
    /// Nothing that was restored is later.
    pub hlc: u64,
}
