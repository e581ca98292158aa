//! What apply needs of the log: durable events, by name and in order.
//!
//! The region connects it to the log's readers. Nothing is readable here before it is durable.

use std::sync::Arc;

use linckia_model::{Cause, Event, EventSource, Origin};

/// Durable events of every origin, with those that their logs let go of and that records name.
pub trait Events: EventSource {
    /// Consecutive events of an origin from that sequence on, at least one if there is one: at most
    /// about `bytes_max` of them. Empty when nothing more is durable, or what is asked for was let
    /// go of.
    ///
    /// # Errors
    /// The log is not readable there.
    fn events(&self, origin: &Origin, from: u64, bytes_max: u64) -> Result<Vec<Arc<Event>>, Cause>;

    /// The lowest sequence still held of an origin; 1 while nothing was dropped.
    fn first(&self, origin: &Origin) -> u64;
}
