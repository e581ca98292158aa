//! What can be asked of a region's state, and what it answers: values, no way of asking.
//!
//! A door fills a query, the region answers it at one applied vector, which the answer names.

use std::sync::Arc;

use linckia_model::{Event, Hlc, Key, Kind, Origin, Stamp, Strategy, Vector};
use serde_json::Value;

/// A question. Limits are checked by the door: at most 1000 items.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// Answered by [`Found::Aggregate`].
    Aggregate { key: Key },
    /// Aggregates of a type by id, after that id, answered by [`Found::Aggregates`].
    Aggregates {
        data_set: Arc<str>,
        aggregate_type: Arc<str>,
        prefix: String,
        after: Option<String>,
        /// The vector of the first page, for those that follow.
        at: Option<Vector>,
        limit: usize,
    },
    /// An aggregate's history in fold order, after that stamp, answered by [`Found::History`].
    History { key: Key, after: Option<Stamp>, limit: usize, backward: bool },
    /// All events of an aggregate that the logs have, copies too, in fold order, after that stamp,
    /// answered by [`Found::Past`].
    Past { key: Key, after: Option<Stamp>, limit: usize },
    /// The logs as applied here beyond a vector, answered by [`Found::Events`].
    Events { after: Vector, limit: usize, filter: EventFilter },
    /// Conflict records, newest last, answered by [`Found::Conflicts`].
    Conflicts { filter: ConflictFilter, after: Option<String>, limit: usize },
    /// One conflict record by its id, answered by [`Found::Conflict`].
    Conflict { id: String },
    /// Answered by [`Found::Vector`].
    Vector,
    /// Answered by [`Found::Digests`].
    Digests,
}

/// Which events are wanted; absent means any.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct EventFilter {
    /// Always one data set.
    pub data_set: Arc<str>,
    pub event_type: Option<String>,
    pub aggregate_type: Option<String>,
    pub aggregate_id: Option<String>,
    pub region: Option<String>,
    pub actor: Option<String>,
    pub correlation_id: Option<String>,
    pub causation_id: Option<String>,
    /// In milliseconds since 1970: from there on, and before.
    pub since: Option<u64>,
    pub until: Option<u64>,
}

/// Which records are wanted; absent means any.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ConflictFilter {
    pub data_set: Arc<str>,
    pub aggregate_type: Option<String>,
    pub aggregate_id: Option<String>,
    /// Some(true): those waiting for a person.
    pub open: Option<bool>,
}

/// An aggregate as it holds now.
#[derive(Clone, Debug, PartialEq)]
pub struct AggregateView {
    pub key: Key,
    pub version: u64,
    pub data: Value,
    /// Records of this aggregate.
    pub conflicts: u64,
    /// The latest event's time.
    pub updated_at: Hlc,
    /// Without quotes.
    pub entity_tag: String,
}

/// One conflict record with the events it names.
#[derive(Clone, Debug, PartialEq)]
pub struct ConflictView {
    pub id: String,
    pub kind: Kind,
    pub key: Key,
    /// RFC 6901 pointers.
    pub paths: Vec<String>,
    /// In order.
    pub losers: Vec<Arc<Event>>,
    pub winner: Arc<Event>,
    /// Of the policy under which they met.
    pub strategy: Strategy,
    /// It waits for a person.
    pub open: bool,
    /// What a person wrote to settle it.
    pub settled_by: Option<Arc<Event>>,
    /// Below stable time: replay cannot change it.
    pub confirmed: bool,
}

/// Keys of one of the 256 ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub count: u64,
    pub hash: [u8; 32],
}

/// Digests at exactly one vector: equal vectors, equal roots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    pub root: [u8; 32],
    /// 256 of them, by the first byte of the key's hash.
    pub ranges: Vec<Range>,
}

/// The answer to a query.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// With the dots of the events that a reader of it, or of its absence, has seen, but for those
    /// that every region has applied.
    Aggregate {
        view: Option<AggregateView>,
        shown: Vector,
    },
    /// The id to go on after, if there is more.
    Aggregates(Vec<AggregateView>, Option<String>),
    /// Events in the order asked for; the stamp to go on after, if there is more.
    History(Vec<Arc<Event>>, Option<Stamp>),
    /// Events in order, the stamp to go on after, if there is more, and how the aggregate stands.
    Past {
        events: Vec<Arc<Event>>,
        next: Option<Stamp>,
        version: u64,
        /// Without quotes; none where nothing is.
        entity_tag: Option<String>,
        /// Up to there no event is added to it any more.
        stable: Hlc,
    },
    /// Events, the vector to go on after (equal to the one asked when caught up), and what
    /// retention passed: per origin first and last missing sequence.
    Events {
        events: Vec<Arc<Event>>,
        next: Vector,
        missing: Vec<(Origin, u64, u64)>,
    },
    Conflicts(Vec<ConflictView>, Option<String>),
    Conflict(Option<Box<ConflictView>>),
    Vector,
    Digests(Digests),
    /// The pages of this vector are no longer kept.
    Expired,
    /// What was asked for lies in a log that cannot be read there: why.
    Unreadable(String),
}

/// An answer and the applied vector at which it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub vector: Vector,
    pub found: Found,
}

/// How far an origin is known to go, and how far it is applied here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    pub origin: Origin,
    /// Events known to exist beyond what is applied here.
    pub events: u64,
    /// Age of the oldest of them, or 0.
    pub milliseconds: u64,
}
