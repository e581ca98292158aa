//! The hands of a drill: clients over sockets, the clock, the observer's ledger.
//!
//! `course.rs` loses one region, `absence.rs` does without one for long, `disk_full.rs` leaves one
//! no room, `restore.rs` brings a fleet back from a backup, `soak.rs` lets many things fail; all
//! end in `end.rs`.

mod absence;
mod client;
mod course;
mod disk_full;
mod end;
mod gauges;
mod graves;
mod ledger;
mod restore;
mod returned;
mod soak;
mod visitor;
mod wanderer;

use std::future::Future;

pub use absence::{Absence, absence};
pub use course::{Mode, Plan, run};
pub use disk_full::{DiskFull, disk_full};
pub use restore::{Restore, restore};
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

/// Who takes backups and makes fleets of them, by an operator's means.
pub trait Keeper {
    /// Adds to the backup what came since, or begins it.
    fn back_up(&self) -> impl Future<Output = anyhow::Result<()>>;
    /// Reads the whole backup; what is damaged is an error.
    fn verify(&self) -> impl Future<Output = anyhow::Result<()>>;
    /// Makes a fleet as it was at that time, beside the running one; its doors, once it is ready.
    fn restore(&self, time: &str) -> impl Future<Output = anyhow::Result<Vec<DrillDoor>>>;
}
