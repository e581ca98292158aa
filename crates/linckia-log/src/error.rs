//! What can go wrong with a log, in one small enum. Every room above meets these and nothing else
//! of this crate's failures. Causes stay as sources. What always holds: `Poisoned` is final for
//! the `Logs` that returned it, and `Corrupt` means that bytes once known durable are not what
//! they were; neither is ever returned for an ordinary crash.

use std::io;
use std::sync::Arc;

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The disk refused an operation that promised nothing yet (opening, listing, reading).
    #[error("{operation} {path}")]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// On which path, relative to the log's directory.
        path: String,
        /// What the disk said.
        source: io::Error,
    },
    /// A write or sync failed earlier. What was durable can still be read; nothing more can be
    /// written until the directory is opened again. An fsync is never retried: the kernel may have
    /// dropped the pages that it could not write.
    #[error("the log stopped at its first failed write; reopen it")]
    Poisoned {
        /// The first failure.
        #[source]
        cause: Arc<Error>,
    },
    /// The bound on disk is reached.
    #[error("the log is full: {used} of {bound} bytes are allocated")]
    Full {
        /// Bytes allocated over all origins.
        used: u64,
        /// The bound that the refused append is held to.
        bound: u64,
    },
    /// The disk itself has no room for another segment. Nothing was lost; the same append
    /// succeeds once there is room.
    #[error("the disk has no room for {path}")]
    NoSpace {
        /// The file that could not be allocated.
        path: String,
        /// What the disk said.
        source: io::Error,
    },
    /// A record, group or small file is larger than its bound.
    #[error("{bytes} bytes exceed the bound of {bound}")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// What is allowed.
        bound: u64,
    },
    /// The sequence is not the one after the tail.
    #[error("{origin}: expected sequence {expected}, found {found}")]
    OutOfOrder {
        /// The log.
        origin: String,
        /// The tail plus one.
        expected: u64,
        /// What was given.
        found: u64,
    },
    /// A foreign record does not continue the chain that is held here: somewhere there are two
    /// different events under one dot.
    #[error("{origin}: the record of sequence {sequence} does not continue the chain held here")]
    ChainBroken {
        /// The log.
        origin: String,
        /// The sequence of the refused record.
        sequence: u64,
    },
    /// Bytes that are not a record.
    #[error("not a record: {why}")]
    Malformed {
        /// What is wrong with them.
        why: &'static str,
    },
    /// No log of this origin is here.
    #[error("no log of origin {origin}")]
    UnknownOrigin {
        /// The name that was asked for.
        origin: String,
    },
    /// The origin has a log already.
    #[error("origin {origin} has a log already")]
    OriginExists {
        /// The name.
        origin: String,
    },
    /// A name that cannot be a file's.
    #[error("{name:?} is not a usable name")]
    BadName {
        /// The name.
        name: String,
    },
    /// The records asked for were removed by retention.
    #[error("{origin}: sequence {asked} was truncated; the log begins at {first}")]
    Truncated {
        /// The log.
        origin: String,
        /// The sequence asked for.
        asked: u64,
        /// The first sequence held.
        first: u64,
    },
    /// Bytes that were durable are damaged or missing. Opening refuses rather than lose them
    /// silently.
    #[error("{file} is corrupt at offset {offset} (sequence {sequence}): {advice}")]
    Corrupt {
        /// The damaged file.
        file: String,
        /// Where in it.
        offset: u64,
        /// The first sequence that cannot be read; 0 where it is no segment.
        sequence: u64,
        /// What is known about it, and what to do.
        advice: &'static str,
    },
    /// The file was written by a version that this one does not know.
    #[error(
        "{file} is of format {found}, and this version reads format {known}: start the version \
         that wrote it; nothing was changed"
    )]
    Version {
        /// The file.
        file: String,
        /// Its version.
        found: u32,
        /// The version that is read here.
        known: u32,
    },
    /// Another process has the directory open.
    #[error("{path} is in use by {holder}")]
    Locked {
        /// The directory.
        path: String,
        /// What the holder wrote about itself.
        holder: String,
    },
    /// Settings that contradict each other.
    #[error("settings: {why}")]
    Settings {
        /// The contradiction.
        why: &'static str,
    },
}

/// Who has to act on an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The code that called: sequence, size or name.
    Caller,
    /// The peer that sent the record.
    Peer,
    /// This region: its disk, its directory, its settings.
    Us,
}

/// Whether the same call can succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// Once something was made room for, released or reopened.
    Later,
    /// Never as it stands.
    Never,
}

impl Error {
    /// Who has to act.
    #[must_use]
    pub fn whose(&self) -> Whose {
        match self {
            Error::ChainBroken { .. } | Error::Malformed { .. } => Whose::Peer,
            Error::TooLarge { .. }
            | Error::OutOfOrder { .. }
            | Error::UnknownOrigin { .. }
            | Error::OriginExists { .. }
            | Error::BadName { .. }
            | Error::Truncated { .. } => Whose::Caller,
            _ => Whose::Us,
        }
    }

    /// Whether trying again can help.
    #[must_use]
    pub fn again(&self) -> Again {
        match self {
            Error::Full { .. }
            | Error::NoSpace { .. }
            | Error::Locked { .. }
            | Error::Poisoned { .. }
            | Error::Io { .. } => Again::Later,
            _ => Again::Never,
        }
    }

    pub(crate) fn io(operation: &'static str, path: &str) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { operation, path: path.to_owned(), source }
    }
}
