//! What regions say to each other.
//!
//! The dialler of a link asks (`Hello`, `Pull`, `SnapshotPull`, `Compare`), the other end answers
//! (`Welcome`, `Refuse`, `Batch`, `Beat`, `Compared`; `Gap`, `Cut` and `Page` where logs no longer
//! reach back); `Forward` and `Consult`, and what comes back, pass the cores by. Protocol versions
//! are negotiated once per link.

use linckia_model::{Heartbeat, Origin, RegionName, Vector};

use crate::compare::{Ask, Tell};
use crate::snapshot::{Cut, Gap, Page, SnapshotPull};

/// The lowest and highest protocol this build speaks.
pub const PROTOCOL_MIN: u16 = 7;
pub const PROTOCOL_MAX: u16 = 7;

/// A request for everything beyond what the asker holds durably; repeated as acknowledgement.
#[derive(Clone, Debug, PartialEq)]
pub struct Pull {
    /// A new session starts from `logged`; the same one goes on.
    pub session: u64,
    /// The last batch of this session that arrived in order.
    pub received: u64,
    /// The log that the asker writes: a directory that was taken for lost is no holder.
    pub origin: Origin,
    /// What the asker holds durably in its logs.
    pub logged: Vector,
    /// What the asker has applied.
    pub applied: Vector,
    /// Regions the asker hears itself: their logs need not be relayed.
    pub direct: Vec<RegionName>,
    /// The asker's monotonic clock, to be echoed, in milliseconds.
    pub sent_at: u64,
    /// False while the state that goes with the logs is on its way: until then what is logged does
    /// not count as held.
    pub holds: bool,
}

/// What a region tells of itself and of others at every heartbeat.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct News {
    /// The last heartbeat applied here of every origin, and the last one heard of the region that
    /// is told.
    pub heartbeats: Vec<Heartbeat>,
    /// The sender's wall clock in milliseconds, unless it does not trust it.
    pub wall: Option<u64>,
    /// What the sender has applied.
    pub applied: Vector,
    /// What regions hold durably that pull from the sender, as they said themselves a moment ago:
    /// for acknowledgements where the link to one of them is broken.
    pub held: Vec<(RegionName, Vector)>,
}

/// A client's request that another region is to answer, as it came over HTTP.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forward {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    /// Who asks, as the region that took the request has found.
    pub actor: Option<Box<str>>,
}

/// The answer to a forwarded request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forwarded {
    pub status: u16,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// One message on a link.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// First on a link, from the dialler.
    Hello {
        region: RegionName,
        protocol_min: u16,
        protocol_max: u16,
        /// Host and path of the directory that the dialler lives in, in words that tell one from
        /// another.
        place: String,
    },
    /// The answer: the protocol both speak.
    Welcome {
        region: RegionName,
        protocol: u16,
    },
    /// The answer where there is no such protocol, the fleet does not know the dialler, or its
    /// region is alive elsewhere.
    Refuse {
        reason: String,
        /// The dialler's region is alive in another place.
        elsewhere: bool,
    },
    Pull(Pull),
    /// Consecutive records of one origin, whole transactions, as they lie in its log.
    Batch {
        session: u64,
        number: u64,
        origin: Origin,
        records: Vec<u8>,
        /// Somebody waits until they are durable at the other end.
        prompt: bool,
    },
    /// From the dialler, whose number it is: for the door at the other end, not for its core.
    Forward {
        number: u64,
        forward: Forward,
    },
    /// The answer to the request of that number.
    Forwarded {
        number: u64,
        forwarded: Forwarded,
    },
    /// From the dialler, whose number it is: for the agreement at the other end, which alone reads
    /// it.
    Consult {
        number: u64,
        question: Vec<u8>,
    },
    /// The answer to the question of that number.
    Consulted {
        number: u64,
        answer: Vec<u8>,
    },
    /// Sent at every heartbeat: where the session stands, and what is known of every origin.
    Beat {
        session: u64,
        /// The last batch sent in this session.
        number: u64,
        /// `sent_at` of the last pull that arrived, plus how long ago that was: what is left until
        /// now is the way there and back.
        echo: u64,
        news: News,
    },
    /// In place of records that are not held any more.
    Gap(Gap),
    /// From the dialler.
    SnapshotPull(SnapshotPull),
    Cut(Cut),
    Page(Page),
    /// The region has no such snapshot, or, where 0 was asked for, none to give.
    NoSnapshot {
        snapshot: u64,
    },
    /// From the dialler, whose number it is: what the other end holds.
    Compare {
        number: u64,
        /// The last lapse or return that the asker knows of.
        epoch: u64,
        ask: Ask,
    },
    /// The answer to the question of that number.
    Compared {
        number: u64,
        /// The last lapse or return that was known when it was read.
        epoch: u64,
        tell: Tell,
    },
}
