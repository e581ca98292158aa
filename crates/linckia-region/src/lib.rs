//! One region as a state machine: the rooms connected, driven by inputs, without a clock, a socket
//! or a task of its own.
//!
//! [`Machine`] is what the binary and the simulator drive: `handle(now, input) → outputs`. Inside,
//! the head ([`Region`]) decides and says what to append, keep and send; the machine executes that
//! on the log and the store, whatever disk is under them. What always holds: an output never speaks
//! of an event that is not durable here, and the same inputs at the same times give the same
//! outputs.

mod barrier;
mod error;
mod incarnations;
mod input;
mod leaving;
mod link;
mod machine;
mod promises;
mod region;
mod rooms;
mod tick;
mod trace;
mod view;
mod write;

pub use error::{Error, Result};
pub use input::{Alarm, Input, Output, Promise, Role};
pub use leaving::{LEAVING_FILE, Leaving};
pub use machine::{
    CatchUp, DemandOrder, DemandView, Finding, JudgedBy, Machine, NotPinned, PassView, Pinned,
    PinnedLog, RepairView, Side, StoreDone, StoreJob, SyncKind, Totals, read_rows, take_rows,
};
pub use region::{Region, RegionSettings};
pub use trace::Traced;
pub use view::{ClockStatus, LinkStatus, RegionStatus, Status, Verdict};
