//! What happened: an event, as it is born in one region and folded in all.
//!
//! Capture makes them, the log and ship carry their bytes, apply folds them. An event is never
//! changed after its birth.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::hlc::Hlc;
use crate::name::{Key, Origin};
use crate::vector::{Dot, Stamp, Vector};

/// How an event changes its key; it alone decides the fold, the event type never.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Operation {
    /// The document entire; resets everything before it.
    Put,
    /// An RFC 7396 merge patch.
    Patch,
    /// Resets everything before it to absence.
    Delete,
    /// Adds integers path by path.
    Increment,
    /// History and version only.
    Record,
    /// Puts members into sets, path by path.
    Add,
    /// Takes members out of sets, path by path, as far as it covers their adds.
    Remove,
}

impl Operation {
    pub const ALL: [Self; 7] = [
        Self::Put,
        Self::Patch,
        Self::Delete,
        Self::Increment,
        Self::Record,
        Self::Add,
        Self::Remove,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::Increment => "increment",
            Self::Record => "record",
            Self::Add => "add",
            Self::Remove => "remove",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name() == name)
    }
}

/// The transaction an event belongs to: its first sequence, this event's index in it, and its size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transaction {
    pub first: u64,
    pub index: u32,
    pub size: u32,
}

impl Transaction {
    pub const fn single(sequence: u64) -> Self {
        Self { first: sequence, index: 0, size: 1 }
    }

    pub const fn last(&self) -> u64 {
        self.first + self.size as u64 - 1
    }
}

/// Within its key, what makes two events copies of one: the client's id and, where an atomic batch
/// names one id of an aggregate several times, which of those this is (from 0).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Identity {
    pub event_id: Arc<str>,
    pub place: u32,
}

/// What a writer may say about an event beside its content.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Extras {
    pub actor: Option<Box<str>>,
    pub correlation_id: Option<Box<str>>,
    pub causation_id: Option<Box<str>>,
    /// W3C trace context.
    pub traceparent: Option<Box<str>>,
    /// A CloudEvent's own `source`.
    pub source: Option<Box<str>>,
    /// The residency label.
    pub label: Option<Box<str>>,
}

/// One event of one key.
#[derive(Clone, PartialEq, Debug)]
pub struct Event {
    pub dot: Dot,
    pub hlc: Hlc,
    /// The applied vector at its birth; its own origin stands at `sequence - 1`.
    pub deps: Vector,
    pub transaction: Transaction,
    pub key: Key,
    pub event_type: Arc<str>,
    pub operation: Operation,
    pub data: Value,
    /// Exactly what it replaced, only where a writer names it; then it alone decides covering.
    pub ctx: Option<BTreeSet<Dot>>,
    pub identity: Identity,
    /// The aggregate's version at birth, in the region of birth.
    pub version: u64,
    /// Of its type, at its birth; 0 is the default policy.
    pub policy_epoch: u64,
    pub schema_version: u32,
    pub extras: Extras,
}

fn weight_of(value: &Value) -> usize {
    const NODE_BYTES: usize = 32;
    NODE_BYTES
        + match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(weight_of).sum(),
            Value::Object(members) => {
                members.iter().map(|(name, member)| name.len() + weight_of(member)).sum()
            }
            _ => 0,
        }
}

impl Event {
    /// About how many bytes of memory its document takes.
    pub fn weight(&self) -> usize {
        weight_of(&self.data)
    }

    pub fn stamp(&self) -> Stamp {
        Stamp { hlc: self.hlc, dot: self.dot.clone() }
    }

    /// True if this event was written knowing `dot`, by what it says itself (copies aside).
    pub fn covers_directly(&self, dot: &Dot) -> bool {
        match &self.ctx {
            Some(ctx) => ctx.contains(dot),
            None => self.deps.covers(dot),
        }
    }

    /// True if that vector holds what this event depends on of other origins; its own log is in
    /// order anyway.
    pub fn depends_within(&self, vector: &Vector) -> bool {
        let mut deps = self.deps.iter();
        deps.all(|(origin, last)| *origin == self.dot.origin || vector.get(origin) >= last)
    }

    /// True if a repeated id brings the same content: event type, operation and data.
    pub fn same_content(&self, other: &Self) -> bool {
        self.operation == other.operation
            && self.event_type == other.event_type
            && self.data == other.data
    }

    pub fn abridged(&self) -> Abridged {
        let content = content_hash(self.operation, &self.event_type, &self.data);
        Abridged { hlc: self.hlc, version: self.version, content }
    }
}

/// What is left of an event for whoever repeats its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abridged {
    pub hlc: Hlc,
    /// The version that the key had with it.
    pub version: u64,
    pub content: ContentHash,
}

/// A hash of an event's type, operation and data.
pub type ContentHash = [u8; 16];

/// The hash of an event with this content.
pub fn content_hash(operation: Operation, event_type: &str, data: &Value) -> ContentHash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(operation.name().as_bytes());
    hasher.update(&[0]);
    hasher.update(event_type.as_bytes());
    hasher.update(&[0]);
    // Members of objects are sorted by name.
    hasher.update(&serde_json::to_vec(data).expect("a JSON value has a text"));
    let mut hash = ContentHash::default();
    hasher.finalize_xof().fill(&mut hash);
    hash
}

/// A promise that no event with a lower timestamp follows from its origin: after sequence `after`,
/// knowing `deps` (the origin itself at `after`).
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    pub origin: Origin,
    pub after: u64,
    pub hlc: Hlc,
    pub deps: Vector,
    /// The last lapse or return that its region knew of.
    pub epoch: u64,
}
