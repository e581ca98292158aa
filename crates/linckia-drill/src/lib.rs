//! Rehearsed failures: what clients did and saw while things failed, and what must hold of it.
//!
//! Where in the flow: outside of everything, as a client is. In reading order: [`failure`] is what
//! fails and [`schedule`] when, [`history`] judges sessions by the definitions (the simulation
//! judges its clients by the same code), [`account`] says what became of every write, [`restored`]
//! what a fleet from a backup has of them, [`absent`] and [`full`] what else two drills measure,
//! [`report`] shows it, `io` holds the clients and the courses of drills. What always holds:
//! nothing here knows how the product works, only what it promises; what was acknowledged is on the
//! observer's own disk before it counts.

pub mod absent;
pub mod account;
pub mod failure;
pub mod full;
pub mod history;
mod io;
pub mod report;
pub mod restored;
pub mod schedule;

pub use io::{
    Absence, DiskFull, DrillDoor, Keeper, Mode, Operator, Plan, Restore, Soak, absence, disk_full,
    restore, run, soak,
};
