//! A link as its user holds it: a sender and a receiver of frames.
//!
//! Where in the flow: made by the dialler and by the listener, given to `ship`.
//!
//! What always holds: frames arrive whole and in order, or the link ends; after an error nothing
//! further is received; when sender (all clones) and receiver are dropped, the connection ends,
//! and frames still on their way may be lost. [`PeerLink::close`] ends it without losing them.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::oneshot;

use super::queue::{Entrance, Refused};
use crate::error::{Error, Result};
use crate::frame::{FrameDecoder, check_length};

/// A link with one peer, whoever dialled it.
#[derive(Debug)]
pub struct PeerLink {
    /// The region at the other end, from its verified certificate.
    pub peer: String,
    /// Where it is reached, or came from.
    pub address: SocketAddr,
    pub sender: FrameSender,
    pub receiver: FrameReceiver,
}

/// Sends frames. Clones send into the same queue; the direction ends when all are dropped.
#[derive(Clone)]
pub struct FrameSender {
    entrance: Entrance,
    shared: Arc<Shared>,
}

/// Receives frames.
pub struct FrameReceiver {
    body: Incoming,
    decoder: FrameDecoder,
    is_over: bool,
    shared: Arc<Shared>,
}

/// Set by whoever watches the connection, before it gives the connection up.
pub(super) type Silence = Arc<OnceLock<Duration>>;

struct Shared {
    peer: String,
    silence: Silence,
    /// Dropped with the last handle, which tells the connection's task.
    _held: oneshot::Sender<()>,
}

impl Shared {
    fn closed(&self) -> Error {
        let peer = self.peer.clone();
        match self.silence.get() {
            Some(after) => Error::Silent { peer, after: *after },
            None => Error::LinkClosed { peer },
        }
    }
}

impl PeerLink {
    pub(super) fn new(
        (peer, address): (String, SocketAddr),
        (entrance, body): (Entrance, Incoming),
        silence: Silence,
        held: oneshot::Sender<()>,
    ) -> Self {
        let shared = Arc::new(Shared { peer: peer.clone(), silence, _held: held });
        Self {
            peer,
            address,
            sender: FrameSender { entrance, shared: Arc::clone(&shared) },
            receiver: FrameReceiver {
                body,
                decoder: FrameDecoder::default(),
                is_over: false,
                shared,
            },
        }
    }
}

impl PeerLink {
    /// Ends the link with the last words still heard: sends what is queued, then waits until the
    /// peer ends its direction too, at most `longest`. What arrives meanwhile is discarded. Clones
    /// of the sender that are still held keep this waiting.
    pub async fn close(self, longest: Duration) {
        let Self { sender, mut receiver, .. } = self;
        drop(sender);
        let ended = async { while let Ok(Some(_)) = receiver.recv().await {} };
        // Past the limit the link is dropped like any other.
        let _ = tokio::time::timeout(longest, ended).await;
    }
}

impl FrameSender {
    /// Puts a frame into the queue, waiting for room. Returning means queued, not arrived. If the
    /// call is dropped before it returns, nothing was queued.
    pub async fn send(&self, frame: impl Into<Bytes>) -> Result<()> {
        let frame = frame.into();
        check_length(frame.len())?;
        self.entrance.send(frame).await.map_err(|refused| self.error(&refused))
    }

    /// Puts a frame into the queue if there is room now.
    pub fn try_send(&self, frame: impl Into<Bytes>) -> Result<()> {
        let frame = frame.into();
        check_length(frame.len())?;
        self.entrance.try_send(frame).map_err(|refused| self.error(&refused))
    }

    /// Returns when nothing can be sent any more.
    pub async fn closed(&self) {
        self.entrance.closed().await;
    }

    fn error(&self, refused: &Refused) -> Error {
        match refused {
            Refused::Full => Error::QueueFull { peer: self.shared.peer.clone() },
            Refused::Closed => self.shared.closed(),
        }
    }
}

impl FrameReceiver {
    /// The next frame; `None` when the peer ended its direction between two frames. May be dropped
    /// and called again without losing anything.
    pub async fn recv(&mut self) -> Result<Option<Bytes>> {
        if self.is_over {
            return Err(self.shared.closed());
        }
        let received = self.receive().await;
        self.is_over = !matches!(received, Ok(Some(_)));
        received
    }

    async fn receive(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(Some(frame));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    // Trailers say nothing here.
                    if let Ok(chunk) = frame.into_data() {
                        self.decoder.push(chunk);
                    }
                }
                Some(Err(source)) if self.shared.silence.get().is_none() => {
                    return Err(Error::Http { address: self.shared.peer.clone(), source });
                }
                Some(Err(_)) => return Err(self.shared.closed()),
                None if self.decoder.is_between_frames() => return Ok(None),
                None => return Err(Error::FrameTorn { peer: self.shared.peer.clone() }),
            }
        }
    }
}

impl std::fmt::Debug for FrameSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameSender").field("peer", &self.shared.peer).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for FrameReceiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameReceiver").field("peer", &self.shared.peer).finish_non_exhaustive()
    }
}
