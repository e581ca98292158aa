//! Everything that touches a file, a socket, a clock or a task.
//!
//! Where in the flow: files are read once at the start; sockets live from then to the shutdown.
//!
//! What always holds: `shutdown` is the only way in which the end is announced, and whoever holds
//! a socket listens for it.

pub(crate) mod client;
pub(crate) mod development_ca;
pub(crate) mod door;
pub(crate) mod identity_files;
pub(crate) mod peer;
pub(crate) mod shutdown;
mod stream;
mod tcp;
