//! The door's hands: requests in, the region asked, answers out; streams and their tasks.
//!
//! `service` finds what a request means and hands it to the file of its resource. What always
//! holds: everything that waits, spawns, reads a clock or draws a random id is below here.

mod aggregates;
mod append;
mod asked;
mod backup;
mod body;
mod conflicts;
mod dry_run;
mod events;
mod fleet;
mod forward;
mod lapse;
mod lines;
mod locks;
mod pages;
mod past;
mod policies;
mod repairs;
mod resolve;
mod respond;
mod returned;
mod service;
mod sessions;
mod stream;
mod undo;

pub use body::DoorBody;
pub use service::Door;
