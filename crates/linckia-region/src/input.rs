//! What comes into a region and what goes out of it, as values.

use linckia_apply::{Query, Reading};
use linckia_log::{SpareDone, SyncDone};
use linckia_model::{
    Agreed, Answer, Hlc, Key, Origin, Refusal, RegionName, TypeName, Vector, Write,
};
use linckia_ship::Frame;

use crate::machine::{Finding, JudgedBy, StoreDone};

/// Which end of a link this region is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// We dialled: we pull from the peer.
    Pull,
    /// The peer dialled: it pulls from us.
    Serve,
}

/// Something happened.
pub enum Input {
    /// A client wants to write; the answer names the ticket.
    Write { ticket: u64, write: Write },
    /// A client wants to know; the reading names the ticket.
    Read { ticket: u64, query: Query },
    /// The fleet agreed: this holds here from now on.
    Agreed(Agreed),
    /// A client waits until this is applied.
    Want { vector: Vector },
    /// A link came up.
    Opened { peer: RegionName, role: Role },
    /// A link went down.
    Closed { peer: RegionName, role: Role },
    /// A frame came in.
    Received { peer: RegionName, role: Role, frame: Frame },
    /// The disk is done with a sync.
    Synced { kind: crate::machine::SyncKind, done: SyncDone },
    /// A job with the store is done.
    Stored { done: StoreDone },
    /// A segment was made ahead, or not.
    Spared { done: SpareDone },
    /// So many bytes are left on the disk.
    Disk { free: u64 },
    /// Time passed, or there is work left.
    Tick,
}

/// Something to do for whoever drives the region.
#[derive(Debug, PartialEq)]
pub enum Output {
    Answer {
        ticket: u64,
        answers: Vec<Result<Answer, Refusal>>,
    },
    /// No reading: too many wait already.
    Reading {
        ticket: u64,
        reading: Option<Reading>,
    },
    Send {
        peer: RegionName,
        role: Role,
        frame: Frame,
    },
    /// The type is no longer written here, for the epoch that begins, and what was written is
    /// durable up to there.
    Stopped {
        name: TypeName,
        epoch: u64,
        written: Vector,
    },
    /// Nothing more is taken of this log, which is being closed, in this life or the next.
    Promised {
        origin: Origin,
        attempt: u64,
        promise: Promise,
    },
    /// The log, which is closed, is held here to its end; if it is an earlier one of this region,
    /// so is all that the members held then.
    Levelled {
        origin: Origin,
        attempt: u64,
    },
    /// This event of a closed log depends on what is lost, and can never be applied.
    Void {
        origin: Origin,
        first: u64,
    },
    /// A log is held here that no region writes.
    Stray {
        origin: Origin,
    },
    /// This region came back after a lapse, and has heard from all that count that they know.
    Returned,
    Alarm(Alarm),
}

/// What a region promises of a log that is being closed.
#[derive(Clone, Debug, PartialEq)]
pub struct Promise {
    /// Whole transactions that are durable here, of all logs.
    pub held: Vector,
    /// The last event of the log that was heard of here.
    pub heard: u64,
    /// The latest time of the log that counts for stable time here.
    pub hlc: Hlc,
}

/// Something an operator must know.
#[derive(Clone, Debug, PartialEq)]
pub enum Alarm {
    /// A peer holds another event under a dot that is held here.
    ChainBroken { peer: RegionName, detail: String },
    /// A peer sent what is no record, or of an origin that is no member's.
    Malformed { peer: RegionName, detail: String },
    /// The peer refused us.
    Refused { peer: RegionName, reason: String },
    /// Our wall clock is this far from the fleet's, in milliseconds.
    ClockDrift { milliseconds: i64 },
    /// A peer's records do not fit on the disk: they are asked for again later.
    MirrorFull { peer: RegionName, detail: String },
    /// The logs take half of their bound: somebody should look before writes are refused.
    LogHalfFull { used: u64, bound: u64 },
    /// The disk has less room left than is kept free: nothing new is written until there is.
    DiskFull { free: u64, kept: u64 },
    /// This directory was taken for lost: its log is closed, and ends there if that is known.
    Closed { origin: String, end: Option<u64> },
    /// A peer knows more of this region's own log than this directory holds: it is an old copy. It
    /// takes nothing more, and is to be left for another incarnation.
    OldCopy { peer: RegionName, detail: String },
    /// This region was away for too long: the others have closed its log there. What it holds
    /// beyond is put aside, and the region goes on in another incarnation.
    Lapsed { origin: String, end: u64, held: u64 },
    /// This region holds more of a log than there is: it had lost its state when it was asked. What
    /// it holds beyond is put aside, and its state made anew.
    Beyond { origin: String, end: u64, held: u64 },
    /// An event of that log is of a time that no event was to come of any more: it is not applied,
    /// and neither is what depends on it.
    BelowStable { origin: String },
    /// Regions that rest on the same events show different things of a key.
    Differs(Box<Finding>),
    /// A key was wrong here, and was taken from there.
    Repaired { key: Box<Key>, from: RegionName, by: JudgedBy },
    /// An event of that log, which is closed, is of a time that no event was to come of any more:
    /// the state here is made anew.
    StateLeft { origin: String },
    /// Durable bytes of the own log are not what they were.
    OwnLogDamaged { detail: String },
    /// Writing has ended until restart.
    Poisoned { reason: String },
}
