//! Logs between regions: what is said on a link, and what each end of it does.
//!
//! A region pulls from each peer over a link of its own: [`Pulling`] is the end that asks,
//! [`Serving`] the one that answers with every event beyond the asker's logged vector. Frames may
//! be lost, repeated or late; the hands carry their bytes. What always holds: only what is durable
//! and has all it depends on is offered; a receiver takes an origin's records without a gap or
//! starts a new session from what it holds; what is in flight is bounded.

mod coding;
mod compare;
mod frame;
mod port;
mod pulling;
mod serving;
mod snapshot;
#[cfg(test)]
mod tests;

pub use coding::{Encoder, Error, decode, decode_cut, encode_cut};
pub use compare::{
    Ask, BRIEF_BYTES, Brief, Copied, Differing, LISTED_BYTES_MAX, LISTED_ROWS_MAX, LOOKED_MAX,
    Listed, RECORDS_MAX, SECTION_ROWS, SECTIONS_MAX, Section, Seen, Tell,
};
pub use frame::{Forward, Forwarded, Frame, News, PROTOCOL_MAX, PROTOCOL_MIN, Pull};
pub use port::{Chunk, Records};
pub use pulling::{Pulling, RELAY_MILLISECONDS, Reaction};
pub use serving::Serving;
pub use snapshot::{Base, Cut, Gap, Page, SnapshotPull, WINDOW_PAGES};
