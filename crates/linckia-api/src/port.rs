//! What the door needs of the region behind it.
//!
//! The binary connects a region's core to this; tests connect a fake. Every call is bounded: a full
//! queue is answered at once, a caller that goes away cancels by dropping the future.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use linckia_apply::{Lag, Query, Reading};
use linckia_control::{Command, Outcome, Roster, Undecided};
use linckia_model::{
    Answer, Dot, Holders, Incarnations, Origin, Policies, Refusal, RegionName, Vector, Write,
};
use tokio::sync::{mpsc, watch};

use crate::repair::{RepairDemand, RepairsView};

/// Why the region did not answer at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// The queue in front of the region is full: try again soon.
    Busy,
    /// The region is stopping or its core has stopped.
    Stopping,
    /// Its directory is new, and the other members have not taken it in yet.
    Entering,
}

/// Why there is no backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoBackup {
    Unavailable(Unavailable),
    /// Another one is under way.
    UnderWay,
    /// What this log had since is not here any more, or was lost: a whole one is to be taken.
    Gap(Origin),
    /// This region has not applied yet what the one before had.
    Behind,
}

/// One answer per event of the write, in order.
pub type Answers = Vec<Result<Answer, Refusal>>;

/// A region as the fleet sees it from here.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionView {
    pub name: RegionName,
    pub url: Option<String>,
    pub is_self: bool,
    /// "healthy", "suspect" or "down".
    pub verdict: &'static str,
    pub membership: Membership,
    /// What it has applied, as last heard.
    pub vector: Vector,
    pub lag: Vec<Lag>,
    /// Its earlier logs, the latest first.
    pub closed: Vec<ClosedView>,
    /// Nobody waits for it, until it comes back.
    pub lapsed: Option<LapsedView>,
    /// It loads the state from another region; known of the region that is asked only.
    pub catch_up: Option<CatchUpView>,
}

/// How a region stands to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    Member,
    /// It is in the configuration, and has not joined yet: nobody waits for it.
    Expected,
    /// It has joined, and does not take requests yet.
    Joining,
    /// Nobody waits for it, until it comes back.
    Lapsed,
    /// It has come back after a lapse, and does not take requests yet.
    Returning,
}

impl Membership {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Expected => "expected",
            Self::Joining => "joining",
            Self::Lapsed => "lapsed",
            Self::Returning => "returning",
        }
    }
}

/// How far a region has come that loads the state from another one.
#[derive(Clone, Debug, PartialEq)]
pub struct CatchUpView {
    /// Once it is known from where.
    pub from: Option<RegionName>,
    /// Bytes of rows that have come.
    pub received_bytes: u64,
    /// About how many there are.
    pub of_bytes: u64,
    /// The rows are here, and the events since are not.
    pub awaits_logs: bool,
}

/// A region that was away for too long.
#[derive(Clone, Debug, PartialEq)]
pub struct LapsedView {
    /// In milliseconds since 1970.
    pub at: u64,
    pub reason: String,
}

/// The log of a directory that a region lost, or of one that lapsed.
#[derive(Clone, Debug, PartialEq)]
pub struct ClosedView {
    pub origin: Origin,
    /// Its last event; none while the members still say what they hold of it.
    pub end: Option<u64>,
    /// The last event of it that any member has heard of: what lies between is lost.
    pub heard: u64,
    /// In milliseconds since 1970.
    pub begun_at: u64,
    /// Members that are waited for: to say what they hold, then to hold all of it.
    pub awaited: Vec<String>,
}

/// One directed link: events flow from `from` to `to`.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkView {
    pub from: RegionName,
    pub to: RegionName,
    pub connected: bool,
    pub round_trip_milliseconds: Option<f64>,
    pub lag: Vec<Lag>,
}

/// A request that another region is to answer.
#[derive(Clone, Debug)]
pub struct ForwardRequest {
    pub method: Method,
    /// Path and query.
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Who asks, as this door has found.
    pub actor: Option<String>,
    /// The answer is waited for so long.
    pub longest: Duration,
}

/// Why another region did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotForwarded {
    /// There is no link to it, or no room on the link: nothing was sent.
    Unreachable,
    /// It was sent, and no answer came: what it asked for may have been done.
    Unanswered,
}

/// A request that is traced, from its head on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestSpan {
    /// The W3C trace context of the events that the request writes.
    pub events: String,
    pub trace: [u8; 16],
    pub id: [u8; 8],
    /// The client's span.
    pub parent: Option<[u8; 8]>,
    /// Since the Unix epoch, in nanoseconds.
    pub began: u64,
}

/// The region behind the door.
pub trait Region: Send + Sync + 'static {
    /// Its name.
    fn name(&self) -> &RegionName;

    /// Resolves once every written event is applied here and durable where it was asked to be, was
    /// refused, or had no more time.
    fn write(&self, write: Write) -> impl Future<Output = Result<Answers, Unavailable>> + Send;

    fn read(&self, query: Query) -> impl Future<Output = Result<Reading, Unavailable>> + Send;

    /// Who holds an event durably, as far as is known here; none if no such event is known.
    fn holders(
        &self,
        dot: Dot,
    ) -> impl Future<Output = Result<Option<Holders>, Unavailable>> + Send;

    /// The applied vector, whenever it grows.
    fn applied(&self) -> watch::Receiver<Arc<Vector>>;

    /// The applied vector now, or a moment ago.
    fn applied_now(&self) -> Arc<Vector>;

    /// What every region has applied, as far as is known here.
    fn everywhere(&self) -> Arc<Vector>;

    /// A client waits until this is applied: what lacks is asked of whoever has it.
    fn want(&self, vector: &Vector);

    /// Has another region answer a request.
    fn forward(
        &self,
        to: &RegionName,
        request: ForwardRequest,
    ) -> impl Future<Output = Result<Response<Bytes>, NotForwarded>> + Send;

    /// Begins a backup, whole or of what came after this vector: its pieces, which end with one
    /// that says so. Who drops them ends it.
    fn backup(
        &self,
        after: Option<Vector>,
    ) -> impl Future<Output = Result<mpsc::Receiver<Bytes>, NoBackup>> + Send {
        drop(after);
        std::future::ready(Err(NoBackup::Unavailable(Unavailable::Stopping)))
    }

    /// The incarnations of the regions, whenever what was agreed on them changes.
    fn incarnations(&self) -> watch::Receiver<Arc<Incarnations>>;

    /// The policies as they hold here, whenever they change: types that are not written now are
    /// closed.
    fn policies(&self) -> watch::Receiver<Arc<Policies>>;

    /// The regions of the fleet, this one included.
    fn members(&self) -> &[RegionName];

    /// What the fleet has decided, as far as is known here.
    fn roster(&self) -> watch::Receiver<Arc<Roster>>;

    /// Has a majority of the members decide.
    fn decide(
        &self,
        command: Command,
        longest: Duration,
    ) -> impl Future<Output = Result<Outcome, Undecided>> + Send;

    fn regions(&self) -> impl Future<Output = Result<Vec<RegionView>, Unavailable>> + Send;

    /// The links of this region, both directions.
    fn links(&self) -> impl Future<Output = Result<Vec<LinkView>, Unavailable>> + Send;

    /// What comparing with other regions has found, and where it stands.
    fn repairs(&self) -> impl Future<Output = Result<RepairsView, Unavailable>> + Send;

    /// Begins to compare; the number of the order, or none while another one is under way.
    fn repair(
        &self,
        demand: RepairDemand,
    ) -> impl Future<Output = Result<Option<u64>, Unavailable>> + Send;

    /// What a local fleet's supervisor emulates on its links: the JSON it serves; none elsewhere.
    fn emulated(&self) -> impl Future<Output = Option<serde_json::Value>> + Send;

    /// Begins the span of a request, where it is traced; `parent` is the client's trace context.
    fn begin_span(&self, parent: Option<&str>) -> Option<RequestSpan> {
        let _ = parent;
        None
    }

    /// Ends it: what was asked for, by its template, and the status of the answer.
    fn end_span(&self, span: RequestSpan, verb: &'static str, path: &'static str, status: u16) {
        let _ = (span, verb, path, status);
    }

    /// True once recovery is done and the region takes writes; else the reason it does not.
    fn ready(&self) -> Result<(), String>;
}
