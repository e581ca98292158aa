//! What can be wrong with words and bytes that come from outside this crate.
//!
//! Every variant names the input that failed; the caller adds where it came from. Never a panic:
//! a panic in this crate is a broken invariant of ours.

/// Why a name, a vector or an event's bytes were not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("region {0:?} is not of the form [a-z0-9-]{{1,32}}")]
    Region(String),
    #[error("origin {0:?} is not of the form <region>.<16 hex>[.<partition>]")]
    Origin(String),
    #[error("dot {0:?} is not of the form <origin>:<sequence>")]
    Dot(String),
    #[error("vector {0:?} is not of the form <origin>:<sequence>,… with sequences from 1")]
    Vector(String),
    #[error("HLC {0:?} is not 16 lower-case hex digits")]
    Hlc(String),
    #[error("the bytes end inside {0}")]
    Short(&'static str),
    #[error("{what} has {bytes} bytes, more than the {bound} that are allowed")]
    Long { what: &'static str, bytes: usize, bound: usize },
    #[error("format {0} was written by a newer version: start that version")]
    Format(u8),
    #[error("unknown {what} {code}")]
    Code { what: &'static str, code: u64 },
    #[error("{0} is not UTF-8")]
    Utf8(&'static str),
    #[error("the data of an event is not JSON: {0}")]
    Json(String),
}

/// An error with its causes, in one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// A result whose error is about words or bytes from outside.
pub type Result<T> = std::result::Result<T, Error>;
