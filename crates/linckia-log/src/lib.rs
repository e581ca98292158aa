//! One ordered durable log per origin, in segment files of its own: floor 1, between capture and
//! ship, which append, and apply and ship, which read.
//!
//! The flow of an append: `append_own` or `append_mirror` encodes a record into a buffer and chains
//! it to the one before; `flush` hands the buffers to the disk; `begin_sync` gathers what is not
//! yet durable into a [`SyncJob`], which some thread runs; `complete_sync` says what has become
//! durable. Only then does a [`Reader`] see it. What always holds:
//!
//! - **Nothing leaves before fsync.** No read returns a record beyond the durable sequence.
//! - Sequences are gapless, each record continues the chain of the one before, and a foreign record
//!   that does not is refused.
//! - A group (transaction) is durable, and found again after a crash, as a whole or not at all.
//! - A crash loses only what was not durable. Damage to what was durable is refused at opening or
//!   at reading; it is never skipped.
//! - The first failed write or sync ends writing until the directory is opened again.
//! - Everything has a bound: see [`Settings`].
//!
//! Absent on purpose: threads, clocks, randomness and `async`; they are the caller's. So are the
//! meaning of payloads and the parts of an origin's name.
//!
//! ```text
//! LOCK                                      who has the directory open
//! clock                                     the highest hybrid time given away, twice two slots
//! small/<name>                              identity and other small files, replaced as a whole
//! logs/<origin>/<first sequence>.segment    records
//! logs/<origin>/spare                       the next segment, zeroed ahead
//! ```

mod chain;
mod clock;
pub mod contract;
mod error;
mod format;
mod identity;
mod io;
mod log;
mod logs;
mod memory;
mod port;
mod reader;
mod record;
mod recover;
mod scan;
mod segment;
mod settings;
mod small;
mod verify;

pub use chain::{Chain, Commitment, Salt, chain_after, genesis};
pub use error::{Again, Error, Result, Whose};
pub use identity::Identity;
pub use io::disk::LocalDisk;
pub use logs::spare::{SpareDone, SpareJob};
pub use logs::sync::{Scope, SyncDone, SyncJob};
pub use logs::truncate::{TruncateDone, TruncateJob};
pub use logs::{Logs, Position, SEQUENCE_MAX};
pub use memory::MemoryDisk;
pub use port::{Disk, DiskFile};
pub use reader::{Batches, Reader};
pub use record::{Batch, Record};
pub use recover::{Recovered, Recovery, TornTail};
pub use settings::{Settings, Usage};
pub use verify::{Bad, Dump, Entry, EntryKind, FileReport, OriginReport, Report, dump, verify};
