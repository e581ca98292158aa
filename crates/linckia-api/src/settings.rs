//! What an operator may set at the door, and the limits of every request.
//!
//! Parsed by the binary, read by everything here. What always holds: no request is read, held or
//! answered beyond these limits.

use std::sync::Arc;
use std::time::Duration;

use linckia_model::{NAME_BYTES_MAX, SessionKeys};
use tokio::sync::watch;

/// Enough for 10,000 events of 800 bytes; more belongs into NDJSON, which is not held in memory.
const BODY_BYTES: usize = 8 << 20;

/// The largest event as one line: a document of a mebibyte is large for a key that is folded whole.
const LINE_BYTES: usize = 1 << 20;

/// As many as one group commit takes without holding others up for long.
const ARRAY_EVENTS: usize = 10_000;

/// Deeper documents are mistakes or attacks; folding walks them by recursion.
const DEPTH: usize = 64;

/// Proxies close connections that are silent for 30 s or 60 s.
const PING_EVERY: Duration = Duration::from_secs(15);

/// The JSON parser's own bound on nesting, minus the envelope's: a depth beyond is never reached.
pub(crate) const DEPTH_MAX: usize = 120;

/// Limits of requests, the defaults of `api.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A body that is read whole.
    pub body_bytes: usize,
    /// A line of NDJSON.
    pub line_bytes: usize,
    /// Events of one array.
    pub array_events: usize,
    /// Nesting of an event's data; at most 120 has an effect.
    pub depth: usize,
    /// A name: data set, aggregate type and id, event type; at most the model's bound.
    pub name_bytes: usize,
    /// The longest silence of a stream of events.
    pub ping_every: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: BODY_BYTES,
            line_bytes: LINE_BYTES,
            array_events: ARRAY_EVENTS,
            depth: DEPTH,
            name_bytes: NAME_BYTES_MAX,
            ping_every: PING_EVERY,
        }
    }
}

/// Who may come in, and how much he may bring.
#[derive(Clone, Default)]
pub struct DoorSettings {
    /// Where given, every call but `/livez` brings it as a bearer token or comes with a verified
    /// client certificate.
    pub token: Option<Vec<u8>>,
    /// Calls need a token or a certificate even where no token is set: outside loopback.
    pub require_auth: bool,
    pub limits: Limits,
    /// The keys of session tokens, as they are now; without them there are no sessions.
    pub session_keys: Option<watch::Receiver<Arc<SessionKeys>>>,
}

impl std::fmt::Debug for DoorSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DoorSettings")
            .field("token", &self.token.as_ref().map(|_| "(secret)"))
            .field("require_auth", &self.require_auth)
            .field("limits", &self.limits)
            .field("session_keys", &self.session_keys.is_some())
            .finish()
    }
}
