//! Rehearsed failures: what clients did and saw while a region died, and what must hold of it.
//!
//! Where in the flow: outside of everything, as a client is. [`history`] judges sessions by the
//! definitions; the simulation judges its clients by the same code. What always holds: nothing here
//! knows how the product works, only what it promises.

pub mod history;
