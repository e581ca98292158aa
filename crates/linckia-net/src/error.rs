//! What can fail in this crate, named for what failed.
//!
//! Where in the flow: every fallible function here returns it; `ship` and the binary read
//! [`Error::whose`] and [`Error::again`] to decide on retry and alert, people read the text.
//!
//! What always holds: the cause is kept as `source`, never flattened into the text, and a message
//! about a file names the file and what to do.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub type Result<T> = std::result::Result<T, Error>;

/// Whose doing a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The code or configuration that called.
    Caller,
    /// The other side of a connection, or the way to it.
    Peer,
    /// This process or its machine.
    Us,
}

/// Whether the same attempt can succeed, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    Now,
    Later,
    Never,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("the region name {name:?} cannot be used: {reason}")]
    RegionName { name: String, reason: &'static str },

    #[error("could not {action} {path}; check that it exists and who may read and write it",
        path = path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },

    #[error("{path}: {problem}; {advice}", path = path.display())]
    Pem {
        path: PathBuf,
        problem: &'static str,
        advice: &'static str,
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },

    #[error("a certificate names no region: {reason}")]
    NoRegion { reason: &'static str },

    #[error("could not make a certificate")]
    Issue {
        #[from]
        source: rcgen::Error,
    },

    #[error("the TLS settings are not usable")]
    Tls {
        #[from]
        source: rustls::Error,
    },

    #[error("could not listen on {address}; is another process there?")]
    Bind { address: SocketAddr, source: io::Error },

    #[error("could not reach {address}")]
    Connect { address: String, source: io::Error },

    #[error("{address} did not answer within {after:?} ({step})")]
    Timeout { address: String, step: &'static str, after: Duration },

    #[error("the TLS handshake with {address} failed")]
    Handshake { address: String, source: io::Error },

    #[error("{address} is region {found}, not {expected}")]
    WrongRegion { address: String, expected: String, found: String },

    #[error("{address} refused: {status} {reason}")]
    Refused { address: String, status: u16, reason: String },

    #[error("a frame of {bytes} bytes exceeds the limit of {limit}")]
    FrameTooLarge { bytes: usize, limit: usize },

    #[error("the link to {peer} ended inside a frame")]
    FrameTorn { peer: String },

    #[error("nothing was heard from {peer} for {after:?}")]
    Silent { peer: String, after: Duration },

    #[error("the link to {peer} is closed")]
    LinkClosed { peer: String },

    #[error("the outgoing queue to {peer} is full")]
    QueueFull { peer: String },

    #[error("the connection with {address} failed")]
    Http { address: String, source: hyper::Error },

    #[error("{url:?} cannot be used as an address: {reason}")]
    Url { url: String, reason: &'static str },

    #[error("the request cannot be sent")]
    Request {
        #[from]
        source: http::Error,
    },

    #[error("the answer of {address} is larger than {limit} bytes")]
    AnswerTooLarge { address: String, limit: usize },
}

impl Error {
    /// Whose doing it is.
    pub fn whose(&self) -> Whose {
        match self {
            Self::RegionName { .. }
            | Self::Pem { .. }
            | Self::Tls { .. }
            | Self::QueueFull { .. }
            | Self::Url { .. }
            | Self::Request { .. } => Whose::Caller,
            Self::File { .. } | Self::Issue { .. } | Self::Bind { .. } => Whose::Us,
            Self::FrameTooLarge { .. }
            | Self::NoRegion { .. }
            | Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Handshake { .. }
            | Self::WrongRegion { .. }
            | Self::Refused { .. }
            | Self::FrameTorn { .. }
            | Self::Silent { .. }
            | Self::LinkClosed { .. }
            | Self::Http { .. }
            | Self::AnswerTooLarge { .. } => Whose::Peer,
        }
    }

    /// Whether trying again can help, and when.
    pub fn again(&self) -> Again {
        match self {
            Self::LinkClosed { .. } | Self::FrameTorn { .. } | Self::Silent { .. } => Again::Now,
            // A certificate can be replaced while the other side goes on dialling.
            Self::Bind { .. }
            | Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Handshake { .. }
            | Self::WrongRegion { .. }
            | Self::QueueFull { .. }
            | Self::Http { .. } => Again::Later,
            Self::Refused { status, .. } if *status == 429 || *status >= 500 => Again::Later,
            Self::Refused { .. }
            | Self::RegionName { .. }
            | Self::File { .. }
            | Self::Pem { .. }
            | Self::NoRegion { .. }
            | Self::Issue { .. }
            | Self::Tls { .. }
            | Self::FrameTooLarge { .. }
            | Self::Url { .. }
            | Self::Request { .. }
            | Self::AnswerTooLarge { .. } => Again::Never,
        }
    }
}
