//! Faults planted on purpose, for the proof that drills notice them.
//!
//! Only in builds with the feature `planted-faults`, which nothing that is released has. What
//! always holds: such a build starts no region unless it is told which fault, so nobody runs one
//! by mistake; any other build never looks.

use anyhow::Result;
use linckia_model::Fault;

#[cfg(not(feature = "planted-faults"))]
pub(super) const fn fault() -> Result<Option<Fault>> {
    Ok(None)
}

/// The fault that the environment names.
///
/// # Errors
/// None is named, or none of that name can be planted in a process.
#[cfg(feature = "planted-faults")]
pub(super) fn fault() -> Result<Option<Fault>> {
    const VARIABLE: &str = "LINCKIA_PLANTED_FAULT";
    // Of the others some are not a region's: a disk that lies, a door that ignores tokens.
    const PLANTABLE: [Fault; 4] = [
        Fault::AcknowledgedBeforeSync,
        Fault::TombstoneDroppedEarly,
        Fault::DepsIgnored,
        Fault::SentCountsAsHeld,
    ];
    let name = std::env::var(VARIABLE).unwrap_or_default();
    let Some(fault) = PLANTABLE.into_iter().find(|fault| fault.name() == name) else {
        let names = PLANTABLE.map(Fault::name);
        anyhow::bail!(
            "this build breaks promises on purpose and is for proofs only: name the fault, \
             {VARIABLE}=NAME, one of {}; or build without the feature planted-faults",
            names.join(", ")
        );
    };
    tracing::warn!(fault = fault.name(), "PLANTED FAULT: this region breaks a promise on purpose");
    Ok(Some(fault))
}
