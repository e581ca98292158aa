//! Whole regions under faults from a seed, judged by a naive reference.
//!
//! A seed makes a [`Plan`]: regions, writes and faults. The [`World`] drives the very machine that
//! the binary drives (`linckia_region::Machine`, with the real segment code on a disk in memory)
//! through it, and the judge holds what every region shows against the plain fold of `reference`,
//! which knows nothing of the implementation. What always holds: equal seeds give equal runs, to
//! the byte.

mod judge;
mod lying;
mod network;
mod plan;
mod queue;
mod random;
pub mod reference;
mod translate;
mod world;

pub use plan::{Happening, Plan, PlanSize};
pub use random::Random;
pub use world::{Call, Outcome, World, run_seed};
