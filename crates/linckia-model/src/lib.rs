//! The words and the laws of Linckia, pure: no clock, disk, socket, task or random source.
//!
//! Everything else stands on this crate. In reading order: `name` (regions, origins, keys), `hlc`
//! (hybrid time and the clock rules), `vector` (dots and vectors), `event` (what happened) and its
//! bytes in `codec`, `policy` (the rule of a type), then `fold` (a key's events made into its
//! value, frontier and records). What always holds: equal inputs give equal outputs, on every
//! machine.

mod ack;
mod clock;
mod codec;
mod error;
mod event;
mod fold;
mod hlc;
mod incarnation;
mod map;
mod name;
mod policy;
mod request;
mod session;
mod vector;

pub use ack::{Ack, Holders, Level, Unattainable};
pub use clock::{Clock, ClockSettings, Now};
pub use codec::{Reader, Writer, decode_event, encode_event};
pub use error::{Error, Result, with_causes};
pub use event::{
    Abridged, ContentHash, Event, Extras, Heartbeat, Identity, Operation, Transaction, content_hash,
};
pub use fold::{
    AsOf, Cause, Compensation, Copies, DryRun, EventSource, FoldFault, FoldSettings, Folded,
    KeyState, Kind, Left, Record, RecordChange, RecordKey, Settled, State, Status, Undo, Unread,
    Was, as_of, canonical, dry_run, undo,
};
pub use hlc::Hlc;
pub use incarnation::{Agreed, Closing, Incarnations};
pub use map::{Claim, ClaimRef, Hashing, Map, hashing, map};
pub use name::{Key, NAME_BYTES_MAX, Origin, RegionName};
pub use policy::{
    AgreedPolicies, Epochs, FieldKind, Inadmissible, Policies, Policy, PolicyError, Strategy,
    TypeName,
};
pub use request::{Answer, Fault, NewEvent, Precondition, Refusal, Write};
pub use session::{SESSION_KEY_BYTES, SessionError, SessionKeys, Token};
pub use vector::{Dot, Stamp, Vector};
