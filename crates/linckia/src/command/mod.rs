//! The client's commands: each asks one or more regions through their HTTP doors.
//!
//! `main.rs` parses the words and calls one `run` here; `address.rs` finds the doors, `door.rs`
//! talks to them, `text.rs` prints. In reading order after those: `aggregate` (append, get),
//! `events`, `conflicts`, `regions`, `status`, `digests`, `compare`, `export`, `import`;
//! `config` and `log` read files instead of doors.
//! What always holds: exit code 0 is done, 1 refused or failed, 2 wrong use; stdout carries only
//! what was asked for, everything else goes to stderr.

pub mod acks;
pub mod address;
pub mod aggregate;
pub mod backup;
mod client;
pub mod compare;
pub mod config;
pub mod conflicts;
pub mod digests;
mod door;
pub mod drill;
pub mod events;
pub mod export;
pub mod import;
pub mod keys;
pub mod lock;
pub mod log;
pub mod policy;
mod progress;
pub mod regions;
mod retry;
pub mod returned;
mod sse;
pub mod status;
mod text;
pub mod undo;

use std::fmt;
use std::io;
use std::process::ExitCode;

use crate::arguments::GlobalArguments;
use address::{AccessArguments, Addresses};
use door::Failure;

/// The exit code of a command that was refused or failed.
const FAILED: u8 = 1;

/// The exit code of a command line that means nothing; clap's own as well.
const WRONG_USE: u8 = 2;

/// What every client command gets: where doors are, and whether a program reads the answer.
pub struct Context {
    addresses: Addresses,
    json: bool,
}

impl Context {
    /// Checks the words; asks nobody yet.
    pub fn new(global: &GlobalArguments, access: &AccessArguments) -> anyhow::Result<Self> {
        Ok(Self { addresses: Addresses::new(global, access)?, json: global.json })
    }
}

/// How a command ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done as asked.
    Done,
    /// The answer is a no, already printed: unequal digests, failed lines.
    Refused,
}

/// A command line that means nothing, found after clap was satisfied.
#[derive(Debug)]
struct WrongUse(String);

impl fmt::Display for WrongUse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for WrongUse {}

/// An error that exits with 2.
pub(crate) fn wrong_use(text: impl Into<String>) -> anyhow::Error {
    WrongUse(text.into()).into()
}

/// Ends a command: the error, if there is one, on stderr, and the exit code.
pub fn finish(result: anyhow::Result<Outcome>, json: bool) -> ExitCode {
    let error = match result {
        Ok(Outcome::Done) => return ExitCode::SUCCESS,
        Ok(Outcome::Refused) => return ExitCode::from(FAILED),
        Err(error) => error,
    };
    if error.chain().any(is_hang_up) {
        return ExitCode::SUCCESS;
    }
    if json && let Some(body) = error.downcast_ref::<Failure>().and_then(Failure::body) {
        // Whoever reads stdout may be gone; the sentence below still says what happened.
        let _ = text::print_bytes(body);
    }
    text::remark(&format!("{error:#}"));
    let wrong = error.downcast_ref::<WrongUse>().is_some();
    ExitCode::from(if wrong { WRONG_USE } else { FAILED })
}

/// `linckia events | head`: the reader has what it wanted.
fn is_hang_up(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
