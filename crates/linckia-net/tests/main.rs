//! The hands, from outside: real sockets on loopback, real certificates, short limits.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod development_ca;
mod door;
mod peer;
mod peer_ends;
mod peer_refusals;
mod shutdown;
mod support;
