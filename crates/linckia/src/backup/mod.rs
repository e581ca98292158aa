//! What a backup consists of, as bytes: what a region's door gives and what lies in a directory.
//!
//! A backup is a stream of frames: a head that says what it is, pages of rows, records of logs, and
//! an end that says that nothing is missing. The house writes it (`house/backup.rs`), the commands
//! keep and read it (`command/backup/`). What always holds: every frame carries its checksum, and a
//! stream without its end is no backup.

pub(crate) mod frame;
mod head;
mod restored;

pub(crate) use head::{
    Base, End, FORMAT, Head, Logs, State, hex, logs_of, other_format, unhex, vector_of,
};
pub(crate) use restored::{forget_restored, read_restored, write_restored};
