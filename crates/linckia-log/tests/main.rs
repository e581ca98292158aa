//! The integration tests of the log, in one binary: the contract over both disks, random histories
//! with crashes against a naive model, damage, faults, and bounds.

mod bounds;
mod contract;
mod damage;
mod faults;
mod history;
mod support;
