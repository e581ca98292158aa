//! What agreement needs of the outside: a way to the other members.

use std::future::Future;
use std::time::Duration;

use linckia_model::RegionName;

/// The other members, by name.
pub trait Peers: Send + Sync + 'static {
    /// Brings a question to a member and its answer back. None if it cannot be reached, has not
    /// answered within `longest`, or has no room: it may have taken the question all the same.
    fn ask(
        &self,
        to: &RegionName,
        question: Vec<u8>,
        longest: Duration,
    ) -> impl Future<Output = Option<Vec<u8>>> + Send;
}
