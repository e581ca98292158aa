//! The hands of a drill: clients over sockets, the clock, the observer's ledger.
//!
//! `course.rs` loses one region, `soak.rs` lets many things fail; both end in `end.rs`.

mod client;
mod course;
mod end;
mod graves;
mod ledger;
mod soak;
mod visitor;
mod wanderer;

use std::future::Future;

pub use course::{Mode, Plan, run};
pub use soak::{Soak, soak};
pub use visitor::DrillDoor;

use crate::failure::Failure;

/// Who lets things fail and heals them, by an operator's means.
pub trait Operator {
    /// Returns when the failure is there.
    fn strike(&self, failure: &Failure) -> impl Future<Output = anyhow::Result<()>>;
    /// Returns when a region that was down is ready.
    fn heal(&self, failure: &Failure) -> impl Future<Output = anyhow::Result<()>>;
}
