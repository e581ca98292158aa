//! What goes out, written straight into the body: answers, events, state, records, the fleet.
//!
//! The last step of a request. What always holds: the shapes are those of `schema`, which the
//! integration tests hold against real answers.

pub(crate) mod answer;
pub(crate) mod conflict;
pub(crate) mod event;
pub(crate) mod fleet;
pub(crate) mod repair;
pub(crate) mod state;
pub(crate) mod stream;
