//! What comparing with other regions has found, and what an operator asks of it, as the door knows
//! it.
//!
//! Filled by whoever connects a region; `io/repairs.rs` reads and `render/repair.rs` writes it.

use linckia_model::{Key, RegionName};

/// What is to be compared, and whether what is wrong in this region is put right.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RepairDemand {
    /// These keys; none: all.
    pub keys: Option<Vec<Key>>,
    pub repair: bool,
    /// The keys are taken from there, whoever is right.
    pub from: Option<RegionName>,
    /// By the digests that rows carry, without holding them against their states.
    pub quick: bool,
}

/// One comparing with one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassShown {
    pub peer: RegionName,
    pub keys: u64,
    pub differed: u64,
    pub behind: u64,
    /// In milliseconds since 1970; none while it goes on.
    pub ended_at: Option<u64>,
}

/// An operator's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemandShown {
    pub number: u64,
    pub running: bool,
    pub passes: Vec<PassShown>,
    pub unreachable: Vec<RegionName>,
}

/// A key of which regions that rest on the same events show different things.
#[derive(Clone, Debug, PartialEq)]
pub struct FindingShown {
    pub key: Key,
    /// In milliseconds since 1970.
    pub at: u64,
    /// Each region's digest of the key; none where nothing shows.
    pub sides: Vec<(RegionName, Option<[u8; 32]>)>,
    /// "logs", "majority" or "operator"; none where nobody can say.
    pub judged_by: Option<&'static str>,
    pub wrong: Vec<RegionName>,
    /// From where this region took the key, and when.
    pub repaired: Option<(RegionName, u64)>,
}

/// Everything there is to tell.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct RepairsView {
    pub keys_per_second: u64,
    pub demand: Option<DemandShown>,
    pub passes: Vec<PassShown>,
    /// The latest first.
    pub findings: Vec<FindingShown>,
    /// Since the start: keys compared, found different, put right here.
    pub compared: u64,
    pub differences: u64,
    pub repairs: u64,
}
