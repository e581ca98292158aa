//! What capture needs to know of the region's state: what is applied here.
//!
//! The region connects it to apply. An error means that the region must stop.

use std::sync::Arc;

use linckia_model::{Abridged, Cause, Dot, Event, Identity, Key, KeyState, Stamp, Unread, Vector};

/// The state as applied.
pub trait Standing {
    type Error: From<Unread>;

    fn applied(&self) -> &Vector;

    /// The state of a key.
    ///
    /// # Errors
    /// The store's.
    fn state(&mut self, key: &Key) -> Result<KeyState, Self::Error>;

    /// The applied copies of an identity.
    ///
    /// # Errors
    /// The store's.
    fn copies(&mut self, key: &Key, identity: &Identity) -> Result<Vec<Stamp>, Self::Error>;

    /// An applied event; none only where its log let go of it.
    ///
    /// # Errors
    /// The store or the log is not readable.
    fn event(&self, dot: &Dot) -> Result<Option<Arc<Event>>, Cause>;

    /// Applied events of a key that are in the store, as [`EventSource::between`] gives them.
    ///
    /// [`EventSource::between`]: linckia_model::EventSource::between
    ///
    /// # Errors
    /// As there.
    fn between(&self, key: &Key, first: &Stamp, last: &Stamp) -> Result<Vec<Arc<Event>>, Cause>;

    /// What is left of an applied event that its log dropped, while its id may be repeated.
    ///
    /// # Errors
    /// The store's.
    fn abridged(&self, stamp: &Stamp) -> Result<Option<Abridged>, Self::Error>;
}
