//! The HTTP door of a region: JSON over HTTP/1.1 and HTTP/2, as `/openapi.json` describes it.
//!
//! Where in the flow: above the region, whose port it calls, and behind a listener, which hands it
//! requests. In reading order: `port` (what it needs of a region), `route` (what a request means),
//! `problem` (every way to say no), `event` (what comes in), `render` (what goes out), then `io`,
//! where requests are answered.
//!
//! What always holds:
//! - what the table of `route` lists is served and described, what it does not list is refused;
//! - nothing that a client sends is ignored: it is honoured, or refused with a reason;
//! - every body, line, page, queue and wait has a limit;
//! - a 201 is sent only for what the region has said is durable.

mod auth;
mod base64;
mod cursor;
mod event;
mod headers;
mod io;
mod json;
mod media;
mod metrics;
mod ndjson;
mod openapi;
mod percent;
mod port;
mod problem;
mod query;
mod refusal;
mod render;
mod repair;
pub mod returned;
mod route;
mod schema;
mod session;
mod settings;
mod time;

pub use auth::ClientIdentity;
pub use event::accept_arbitrary;
pub use io::{Door, DoorBody};
pub use port::{
    Answers, CatchUpView, ClosedView, ForwardRequest, LapsedView, LinkView, Membership, NoBackup,
    NotForwarded, Region, RegionView, RequestSpan, Unavailable,
};
pub use repair::{DemandShown, FindingShown, PassShown, RepairDemand, RepairsView};
pub use settings::{DoorSettings, Limits};
pub use time::{Timestamp, parse_timestamp};
