//! What ends a region: its log or its store. The region stops and says why; a restart recovers.

/// Why a region cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Log(#[from] linckia_log::Error),
    #[error(transparent)]
    Apply(#[from] linckia_apply::Error),
    #[error(transparent)]
    Store(#[from] linckia_store::Error),
    #[error("the log of {origin} holds, at sequence {sequence}, what is no event")]
    Event { origin: String, sequence: u64, source: linckia_model::Error },
    #[error("the file small/promises does not read ({0}); restore it from a backup")]
    Promises(&'static str),
    #[error("the log directory {0:?} does not have the name of an origin")]
    Origin(String),
    #[error(
        "the store has applied {origin} up to {applied}, but its log ends at {durable}: durable \
             bytes were lost. Keep the directory; docs/operate.md says what to do"
    )]
    StoreAhead { origin: String, applied: u64, durable: u64 },
}

pub type Result<T> = std::result::Result<T, Error>;
