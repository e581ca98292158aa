//! Logs into state: causal order, the fold, records, stability, and what can be asked of it.
//!
//! The region hands over durable events of every origin; [`Apply`] folds them in causal order,
//! whole transactions at a time and exactly once, into states in memory, and says which rows to
//! write behind the log, with the applied vector they bring the store to. What always holds:
//! nothing is applied before everything it depends on; nothing that was applied is lost by a crash,
//! because the log has it and the store knows how far it got. Absent here: any way to read the log
//! but `port`.

mod apply;
mod compare;
mod digests;
mod error;
mod expire;
mod floors;
mod flush;
mod keys;
mod past;
mod port;
mod presence;
mod query;
mod read;
mod retire;
mod rows;
mod stability;

pub use apply::{Apply, ApplySettings, Recount, Recounted, Replaced, Replacement, Turn, rotten};
pub use compare::{
    KeyCopy, KeySeen, ReadRows, copy_of, hash_of, look_at, read_rows, records_of, refold, stored_at,
};
pub use digests::Amendment;
pub use error::{Error, Result};
pub use flush::{Job, JobDone};
pub use keys::shows_nothing;
pub use port::Events;
pub use query::{
    AggregateView, ConflictFilter, ConflictView, Digests, EventFilter, Found, Lag, Query, Range,
    Reading,
};
pub use read::Pages;
pub use retire::{Named, Retirement, kept_whole};
pub use rows::{history_between, history_event};
