//! Bodies: what is sent, whole or as a stream, and how what comes is read within its limit.
//!
//! Under every resource. What always holds: no more of a body is held than its limit, and a stream
//! holds no more pieces than its channel.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::mpsc;

use crate::problem::{Kind, Outcome, Problem};

/// A client that is refused while it is still sending hears of it only if somebody goes on
/// reading; this much more is read for its sake.
const DRAINED_BYTES_MAX: usize = 64 << 20;

/// And for no longer than this.
const DRAINED_FOR: Duration = Duration::from_secs(5);

/// The body of an answer.
#[derive(Debug)]
pub struct DoorBody(Inner);

#[derive(Debug)]
enum Inner {
    Whole(Bytes),
    /// Ends when the sending task does.
    Stream(mpsc::Receiver<Bytes>),
}

impl DoorBody {
    pub(super) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self(Inner::Whole(bytes.into()))
    }

    /// True if it is still being written when its headers leave.
    pub(super) fn is_stream(&self) -> bool {
        matches!(self.0, Inner::Stream(_))
    }

    pub(super) fn stream(pieces: mpsc::Receiver<Bytes>) -> Self {
        Self(Inner::Stream(pieces))
    }
}

/// The body of a request: as it comes over the wire, or whole, where another region took it.
#[derive(Debug)]
pub(super) enum RequestBody {
    Incoming(Incoming),
    Whole(Bytes),
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Incoming(incoming) => Pin::new(incoming).poll_frame(context),
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Incoming(incoming) => incoming.is_end_stream(),
            Self::Whole(bytes) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Incoming(incoming) => incoming.size_hint(),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

impl Body for DoorBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.get_mut().0 {
            Inner::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Inner::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Inner::Stream(pieces) => {
                pieces.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Inner::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Stream(_) => SizeHint::default(),
        }
    }
}

/// Reads a body whole. Errors: 413 beyond the limit, 400 if it breaks off.
pub(super) async fn read(body: &mut RequestBody, bytes_max: usize) -> Outcome<Bytes> {
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large(bytes_max));
    }
    let Some(first) = next(body).await? else { return Ok(Bytes::new()) };
    // Small bodies come in one piece, which is then used where it lies.
    if body.is_end_stream() && first.len() <= bytes_max {
        return Ok(first);
    }
    let mut whole = BytesMut::from(first);
    while whole.len() <= bytes_max {
        match next(body).await? {
            Some(piece) => whole.extend_from_slice(&piece),
            None => return Ok(whole.freeze()),
        }
    }
    Err(too_large(bytes_max))
}

/// The next piece of data. Errors: 400, which nobody may be there to read.
pub(super) async fn next(body: &mut RequestBody) -> Outcome<Option<Bytes>> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            tracing::debug!(%error, "a request's body broke off");
            Problem::new(Kind::InvalidParameter, "the body broke off before its end")
        })?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// Reads on for a client that was refused before it had sent all.
pub(super) async fn drain(mut body: RequestBody) {
    let drained = async {
        let mut bytes = 0;
        while bytes < DRAINED_BYTES_MAX
            && let Ok(Some(piece)) = next(&mut body).await
        {
            bytes += piece.len();
        }
    };
    // Whether it came to the end or not, the answer goes out now.
    let _ = tokio::time::timeout(DRAINED_FOR, drained).await;
}

fn too_large(bytes_max: usize) -> Box<Problem> {
    let detail = format!("a body may have {bytes_max} bytes; send less at a time, or NDJSON");
    Problem::new(Kind::PayloadTooLarge, detail).with("limit", bytes_max)
}
