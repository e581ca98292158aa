//! The hands, from outside: real sockets on loopback, real certificates, short limits.

mod client;
mod development_ca;
mod door;
mod peer;
mod peer_ends;
mod peer_refusals;
mod shutdown;
mod support;
