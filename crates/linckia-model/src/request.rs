//! What a client asks to be written and what it is answered, as the doors and capture speak of it.
//!
//! Pure values: a door fills them, capture judges them in one atomic step, the answer travels back
//! once the event is durable and applied here.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::ack::{Ack, Holders, Unattainable};
use crate::event::{Extras, Operation};
use crate::hlc::Hlc;
use crate::name::Key;
use crate::policy::Inadmissible;
use crate::vector::Dot;

/// One event a client wants written; names and limits are checked by the door.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    pub key: Key,
    pub event_type: Arc<str>,
    pub operation: Operation,
    pub data: Value,
    pub event_id: Arc<str>,
    pub extras: Extras,
}

/// What must hold in this region for the write to happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Precondition {
    /// `If-Match` with an entity tag (without quotes).
    Match(String),
    /// `If-Match: *`.
    Exists,
    /// `If-None-Match: *`.
    Absent,
    /// A DELETE of nothing is an answer of its own, not a failed precondition.
    Deletable,
    /// It is as it was judged, absent or not; the entity tag without quotes.
    Unchanged { version: u64, entity_tag: Option<String> },
    /// Each of these is as it was judged, of this version and entity tag; of others nothing is
    /// asked.
    UnchangedEach(BTreeMap<Key, (u64, Option<String>)>),
}

/// A request to write. Without `atomic` each event stands alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    pub events: Vec<NewEvent>,
    /// All or nothing, as one transaction.
    pub atomic: bool,
    /// Holds for every aggregate of the request as it is before: of an atomic request's events for
    /// the first of each; in practice requests about one aggregate carry it.
    pub precondition: Option<Precondition>,
    /// Answers carry the entity tag after the write (it costs a hash).
    pub entity_tag: bool,
    /// Where it must be durable before it is answered.
    pub ack: Ack,
}

/// The answer to one event that was written or had been.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub event_id: Arc<str>,
    pub dot: Dot,
    pub hlc: Hlc,
    pub version: u64,
    pub duplicate: bool,
    /// The aggregate did not exist before.
    pub created: bool,
    pub entity_tag: Option<String>,
}

/// Why one event did not come to what was asked. But for [`Refusal::AckTimeout`] nothing of it was
/// written.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// The id was used on this aggregate with other content; the dot of the first copy.
    IdReused(Dot),
    /// The precondition does not hold; the aggregate as it is here, absent if there is none.
    VersionConflict { version: u64, entity_tag: Option<String> },
    /// A DELETE found nothing.
    NotFound,
    /// An increment meets, at this pointer, what is not an integer.
    NotAnInteger(String),
    /// An increment would leave the range of 64-bit integers at this pointer.
    Overflow(String),
    /// The type's policy does not let this be written.
    Inadmissible(Inadmissible),
    /// The type's policy is being changed, or is not known here yet; try again soon.
    PolicyChanging,
    /// A sibling in an atomic batch was refused.
    Sibling,
    /// The log is at its bound.
    LogFull { used: u64, bound: u64 },
    /// The disk has less room left than is kept free.
    DiskFull { free: u64, kept: u64 },
    /// More writes are waiting for the disk than the region holds; try again soon.
    Busy,
    /// The directory is new: it takes writes once the members have closed its earlier log and it
    /// has again what they hold.
    Entering,
    /// The directory was taken for lost: its log is closed, and the region lives on in another.
    Closed,
    /// The log met an I/O error and takes nothing until the region restarts.
    Poisoned(String),
    /// The id was used on this aggregate, and its first copy cannot be read: why.
    Unreadable(String),
    /// The fleet can never hold the event as it was asked for.
    Unattainable(Unattainable),
    /// The event is written and stays written; it is not known to be durable where it was asked to
    /// be. The answer that it would have got, and who holds it.
    AckTimeout(Box<(Answer, Holders)>),
}

/// Faults planted by a runtime value, so that the simulator can prove that it would find them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Equal or not, the event that arrives last wins.
    TiesByArrival,
    /// Tombstones are dropped as soon as they are alone, stable or not.
    TombstoneDroppedEarly,
    /// A write is answered before its bytes are durable.
    AcknowledgedBeforeSync,
    /// Events are applied as they come, whatever they depend on.
    DepsIgnored,
    /// Hidden concurrent values do not go on record.
    LoserDropped,
    /// After a crash the sequence goes on from what was given, not from what is durable.
    DotReused,
    /// The clock clamp bounds the whole timestamp.
    ClampWhole,
    /// A second copy of an id accumulates again.
    CopyCounted,
    /// A region counts as a holder of what was sent to it.
    SentCountsAsHeld,
    /// A region answers whatever the client has seen elsewhere.
    SessionIgnored,
    /// A token leaves out what the answering region has, though others may lack it.
    TokenPrunedByApplied,
    /// What a client reads does not go into its token.
    ReadsNotInToken,
    /// A region takes a token that was cut short by a lapse of which it does not know.
    TokenOfAnyEpoch,
    /// Taking a member out of a set takes out adds that were not seen too.
    ConcurrentAddRemoved,
    /// Of the versions that none covers only the winner is kept.
    MaximalVersionDropped,
    /// An event of an epoch that is not known is folded under the policy that is.
    EpochIgnored,
    /// A type is written on while its policy changes.
    BarrierSkipped,
    /// A region takes more of a log that is being closed than it has promised to hold.
    PromiseBroken,
    /// A region that lost its directory writes before it has again what the others hold.
    SuccessorWritesAtOnce,
    /// A region that lost its directory takes its time from its own clock alone.
    SuccessorTimeUnbounded,
    /// A member that lapsed is waited for no more before its log is closed and applied.
    LapsedUnclosed,
    /// A region that comes back after a lapse writes before the others have said that they know.
    ReturnedUnheard,
    /// A region that joins a fleet that has begun writes before all others know of it.
    JoinedUnheard,
    /// A log lets go of what not every member has applied.
    TruncatedUnstable,
    /// Of events that a log lets go of nothing is kept.
    RetiredForgotten,
    /// A snapshot leaves out the keys of which nothing shows.
    AbsenceNotDonated,
    /// A snapshot replaces the state before the logs hold what it has applied.
    AdoptedBeforeLogs,
    /// A late event is folded in behind the last checkpoint, wherever in the order it falls.
    LateAfterCheckpoint,
    /// Rows of two regions are compared whatever each of them has applied.
    ComparedWithoutVectors,
    /// Of two rows that differ the one that is right gives way.
    RepairTakesTheWrongSide,
}

impl Fault {
    pub const ALL: [Self; 30] = [
        Self::TiesByArrival,
        Self::TombstoneDroppedEarly,
        Self::AcknowledgedBeforeSync,
        Self::DepsIgnored,
        Self::LoserDropped,
        Self::DotReused,
        Self::ClampWhole,
        Self::CopyCounted,
        Self::SentCountsAsHeld,
        Self::SessionIgnored,
        Self::TokenPrunedByApplied,
        Self::ReadsNotInToken,
        Self::TokenOfAnyEpoch,
        Self::ConcurrentAddRemoved,
        Self::MaximalVersionDropped,
        Self::EpochIgnored,
        Self::BarrierSkipped,
        Self::PromiseBroken,
        Self::SuccessorWritesAtOnce,
        Self::SuccessorTimeUnbounded,
        Self::LapsedUnclosed,
        Self::ReturnedUnheard,
        Self::JoinedUnheard,
        Self::TruncatedUnstable,
        Self::RetiredForgotten,
        Self::AbsenceNotDonated,
        Self::AdoptedBeforeLogs,
        Self::LateAfterCheckpoint,
        Self::ComparedWithoutVectors,
        Self::RepairTakesTheWrongSide,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::TiesByArrival => "ties-by-arrival",
            Self::TombstoneDroppedEarly => "tombstone-dropped-early",
            Self::AcknowledgedBeforeSync => "acknowledged-before-sync",
            Self::DepsIgnored => "deps-ignored",
            Self::LoserDropped => "loser-dropped",
            Self::DotReused => "dot-reused",
            Self::ClampWhole => "clamp-whole",
            Self::CopyCounted => "copy-counted",
            Self::SentCountsAsHeld => "sent-counts-as-held",
            Self::SessionIgnored => "session-ignored",
            Self::TokenPrunedByApplied => "token-pruned-by-applied",
            Self::ReadsNotInToken => "reads-not-in-token",
            Self::TokenOfAnyEpoch => "token-of-any-epoch",
            Self::ConcurrentAddRemoved => "concurrent-add-removed",
            Self::MaximalVersionDropped => "maximal-version-dropped",
            Self::EpochIgnored => "epoch-ignored",
            Self::BarrierSkipped => "barrier-skipped",
            Self::PromiseBroken => "promise-broken",
            Self::SuccessorWritesAtOnce => "successor-writes-at-once",
            Self::SuccessorTimeUnbounded => "successor-time-unbounded",
            Self::LapsedUnclosed => "lapsed-unclosed",
            Self::ReturnedUnheard => "returned-unheard",
            Self::JoinedUnheard => "joined-unheard",
            Self::TruncatedUnstable => "truncated-unstable",
            Self::RetiredForgotten => "retired-forgotten",
            Self::AbsenceNotDonated => "absence-not-donated",
            Self::AdoptedBeforeLogs => "adopted-before-logs",
            Self::LateAfterCheckpoint => "late-after-checkpoint",
            Self::ComparedWithoutVectors => "compared-without-vectors",
            Self::RepairTakesTheWrongSide => "repair-takes-the-wrong-side",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.name() == name)
    }
}
