//! The transport between peers: one HTTP/2 request per link, over TLS with certificates on both
//! sides, its two body streams carrying frames.
//!
//! Where in the flow: `ship` dials the region it pulls from and is handed the links that others
//! dialled. `POST /linckia/peer/1`: the request body goes dialler → listener, the response body
//! listener → dialler, both open as long as the link.
//!
//! What always holds: one link per connection, so that no link waits behind another's bytes; a
//! slow reader stops the writer (HTTP/2 windows, then the bounded queue); a link on which nothing
//! is heard ends by itself; dropping both halves of a link ends its connection and its tasks.

mod dialler;
mod link;
mod listener;
mod queue;

use std::time::Duration;

pub use dialler::dial;
pub use link::{FrameReceiver, FrameSender, PeerLink};
pub use listener::{PeerCounters, PeerListener};

/// The version of the transport, not of the messages within: those are negotiated in frames.
const PATH: &str = "/linckia/peer/1";

/// What the dialler lets arrive unread. A link with 110 ms one way needs 50 MB/s × 0.22 s = 11 MB
/// under way.
const DIALLER_WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// What the listener lets arrive unread: small, because a puller sends little, and because what is
/// under way on a thin link delays the answer to a ping.
const LISTENER_WINDOW_BYTES: u32 = 2 * 1024 * 1024;

/// Of one HTTP/2 data frame: large enough that headers cost nothing, small enough that a ping does
/// not wait long behind one.
const DATA_FRAME_BYTES: u32 = 64 * 1024;

/// What HTTP/2 takes from the queue before the socket took it.
const SEND_BUFFER_BYTES: usize = 1024 * 1024;

/// hyper gives up on a ping that is not answered in time even while other bytes arrive, which on a
/// thin link full of data would end a healthy link. So its limit is out of reach, and silence is
/// judged by bytes heard.
const PING_ANSWER_LONGEST: Duration = Duration::from_secs(600);

/// After a link was dropped or the end announced, this long until its connection is cut.
const LINGER: Duration = Duration::from_secs(2);

/// How a link is watched. The default is the dialler's.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// From the first packet until the link stands; for a listener, until the handshake is done
    /// and, after it, until a link is asked for.
    pub handshake_longest: Duration,
    /// A ping is sent when nothing arrived for this long.
    pub ping_interval: Duration,
    /// The link ends with an error when nothing was heard for this long.
    pub silence_longest: Duration,
}

impl Default for LinkOptions {
    /// A cut is noticed after 6 s: a ping after 2 s, then 4 s for its answer.
    fn default() -> Self {
        Self {
            handshake_longest: Duration::from_secs(10),
            ping_interval: Duration::from_secs(2),
            silence_longest: Duration::from_secs(6),
        }
    }
}

impl LinkOptions {
    /// More patient than the dialler, who redials anyway: the listener sends the bulk, and its
    /// pings wait behind it (16 MiB take 13 s on a link of 10 Mbit/s).
    pub fn for_listener() -> Self {
        Self {
            handshake_longest: Duration::from_secs(10),
            ping_interval: Duration::from_secs(5),
            silence_longest: Duration::from_secs(15),
        }
    }
}
