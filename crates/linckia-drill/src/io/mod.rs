//! The hands of a drill: clients over sockets, the clock, the observer's ledger.

mod client;
mod course;
mod ledger;

pub use client::DrillDoor;
pub use course::{Mode, Operator, Plan, run};
