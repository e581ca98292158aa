//! Requests to stamped events: identity, preconditions, dots and hybrid time, in one atomic step.
//!
//! [`Capture`] judges a write against everything that was given a sequence in this region, applied
//! or not, and makes its events. The region appends them to its own log, and answers once they are
//! durable and applied. What always holds: sequences are gapless, every event's deps are the
//! applied vector at its birth with its own origin just before it, a transaction has one timestamp,
//! and a refused request changes nothing.

mod capture;
mod check;
mod port;
#[cfg(test)]
mod tests;

pub use capture::{Capture, Captured, Prepared};
pub use port::Standing;
