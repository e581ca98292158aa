//! What can stop apply: the store, or rows that are not ours. Either way the region stops, and its
//! state is brought up to the logs again at its next start.

/// Why state could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] linckia_store::Error),
    #[error(transparent)]
    Unread(#[from] linckia_model::Unread),
    #[error("a log cannot be read; see whether the disk is sound")]
    Log(#[source] linckia_model::Cause),
    #[error(
        "a row of table {table} is not readable; keep a copy of the region's store directory, \
             remove it and restart: it is rebuilt from the logs, or loaded from a peer"
    )]
    Row { table: &'static str, source: linckia_model::Error },
}

pub type Result<T> = std::result::Result<T, Error>;

pub(crate) fn row(table: &'static str) -> impl Fn(linckia_model::Error) -> Error {
    move |source| Error::Row { table, source }
}
