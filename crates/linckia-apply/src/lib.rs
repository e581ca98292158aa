//! Logs into state: causal order, the fold, records, stability, and what can be asked of it.
//!
//! Apply takes durable events of every origin, whole transactions at a time, and keeps the store.

mod query;

pub use query::{
    AggregateView, ConflictFilter, ConflictView, Digests, EventFilter, Found, Lag, Query, Range,
    Reading,
};
