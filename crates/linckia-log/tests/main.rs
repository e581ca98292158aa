//! The integration tests of the log, in one binary: the contract over both disks, random histories
//! with crashes against a naive model, damage, faults, and bounds.

#![allow(clippy::unwrap_used, reason = "a test says by panicking what it expected")]

mod bounds;
mod contract;
mod damage;
mod faults;
mod history;
mod large;
mod support;
mod threads;
