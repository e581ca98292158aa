//! The outgoing queue of a link: frames in, body chunks out.
//!
//! Where in the flow: [`FrameSender`](super::FrameSender) puts frames in, hyper takes chunks out
//! as fast as the HTTP/2 window lets it.
//!
//! What always holds: at most [`QUEUE_FRAMES_MAX`] frames and [`QUEUE_BYTES_MAX`] bytes wait; a
//! frame's room is given back only when HTTP/2 took its last byte; frames leave whole and in the
//! order they entered.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use hyper::body::{Body, Frame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::frame::{FRAME_BYTES_MAX, header};

/// Enough that the writer is not woken for every frame.
pub(super) const QUEUE_FRAMES_MAX: usize = 64;

/// Two of the largest frames: one leaving, one being prepared.
pub(super) const QUEUE_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;

/// Frames up to this are copied together into one chunk; larger ones leave uncopied.
const GATHERED_FRAME_BYTES_MAX: usize = 4 * 1024;

/// A chunk handed to HTTP/2, so that its own buffer stays near its limit.
const CHUNK_BYTES: usize = super::DATA_FRAME_BYTES as usize;

struct Queued {
    frame: Bytes,
    _room: OwnedSemaphorePermit,
}

/// Why a frame could not enter.
pub(super) enum Refused {
    Full,
    Closed,
}

/// The entrance of the queue.
#[derive(Clone)]
pub(super) struct Entrance {
    frames: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
}

/// The exit of the queue: the body of the request or response.
pub(super) struct OutgoingBody {
    frames: mpsc::Receiver<Queued>,
    /// The rest of a large frame whose header has left.
    leaving: Option<Queued>,
}

pub(super) fn queue() -> (Entrance, OutgoingBody) {
    let (sender, receiver) = mpsc::channel(QUEUE_FRAMES_MAX);
    let room = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
    (Entrance { frames: sender, room }, OutgoingBody { frames: receiver, leaving: None })
}

/// The frame was checked against [`FRAME_BYTES_MAX`], which is below both `u32` and the room.
fn room_needed(frame: &Bytes) -> u32 {
    frame.len() as u32
}

impl Entrance {
    /// Waits for room. Nothing entered if this is dropped before it returns.
    pub(super) async fn send(&self, frame: Bytes) -> Result<(), Refused> {
        let room = Arc::clone(&self.room).acquire_many_owned(room_needed(&frame));
        let entering = async {
            let room = room.await.map_err(|_| Refused::Closed)?;
            self.frames.send(Queued { frame, _room: room }).await.map_err(|_| Refused::Closed)
        };
        tokio::select! {
            biased;
            entered = entering => entered,
            // Frames that will never leave keep their room while their body is being given up.
            () = self.frames.closed() => Err(Refused::Closed),
        }
    }

    pub(super) fn try_send(&self, frame: Bytes) -> Result<(), Refused> {
        if self.frames.is_closed() {
            return Err(Refused::Closed);
        }
        let room = Arc::clone(&self.room)
            .try_acquire_many_owned(room_needed(&frame))
            .map_err(|_| Refused::Full)?;
        self.frames.try_send(Queued { frame, _room: room }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refused::Full,
            mpsc::error::TrySendError::Closed(_) => Refused::Closed,
        })
    }

    pub(super) async fn closed(&self) {
        self.frames.closed().await;
    }
}

impl OutgoingBody {
    fn next_of_leaving(&mut self) -> Option<Bytes> {
        let leaving = self.leaving.as_mut()?;
        let chunk = leaving.frame.split_to(leaving.frame.len().min(CHUNK_BYTES));
        if leaving.frame.is_empty() {
            self.leaving = None;
        }
        Some(chunk)
    }

    /// Begins with `first` and adds what else waits, up to a chunk or a large frame.
    fn gather(&mut self, first: Queued) -> Bytes {
        let mut chunk = BytesMut::new();
        let mut next = Some(first);
        while let Some(queued) = next {
            let Ok(header) = header(queued.frame.len()) else {
                unreachable!("frames are checked before they enter the queue");
            };
            chunk.put_slice(&header);
            if queued.frame.len() > GATHERED_FRAME_BYTES_MAX {
                self.leaving = Some(queued);
                break;
            }
            chunk.put_slice(&queued.frame);
            if chunk.len() >= CHUNK_BYTES {
                break;
            }
            next = self.frames.try_recv().ok();
        }
        chunk.freeze()
    }
}

impl Body for OutgoingBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if let Some(chunk) = this.next_of_leaving() {
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        let Some(first) = ready!(this.frames.poll_recv(context)) else {
            return Poll::Ready(None);
        };
        Poll::Ready(Some(Ok(Frame::data(this.gather(first)))))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn frames_leave_whole_and_in_order() {
        let (entrance, mut body) = queue();
        let large = Bytes::from(vec![7; 200_000]);
        for frame in [Bytes::from("a"), Bytes::new(), large.clone(), Bytes::from("b")] {
            assert!(entrance.send(frame).await.is_ok());
        }
        drop(entrance);
        let mut decoder = crate::frame::FrameDecoder::default();
        let mut frames = Vec::new();
        while let Some(chunk) = body.frame().await {
            let chunk = chunk.unwrap().into_data().unwrap();
            assert!(chunk.len() <= CHUNK_BYTES + GATHERED_FRAME_BYTES_MAX);
            decoder.push(chunk);
            while let Some(frame) = decoder.next_frame().unwrap() {
                frames.push(frame);
            }
        }
        assert_eq!(frames, [Bytes::from("a"), Bytes::new(), large, Bytes::from("b")]);
        assert!(decoder.is_between_frames());
    }

    #[tokio::test]
    async fn bytes_bound_the_queue_before_frames_do() {
        let (entrance, mut body) = queue();
        let frame = Bytes::from(vec![0; FRAME_BYTES_MAX]);
        assert!(entrance.try_send(frame.clone()).is_ok());
        assert!(entrance.try_send(frame.clone()).is_ok());
        assert!(matches!(entrance.try_send(Bytes::from("x")), Err(Refused::Full)));
        // Room comes back with the last byte of a frame, not with the first.
        for _ in 0..=FRAME_BYTES_MAX / CHUNK_BYTES {
            assert!(entrance.try_send(frame.clone()).is_err());
            body.frame().await;
        }
        assert!(entrance.try_send(frame).is_ok());
    }

    #[tokio::test]
    async fn frames_bound_the_queue() {
        let (entrance, body) = queue();
        for _ in 0..QUEUE_FRAMES_MAX {
            assert!(entrance.try_send(Bytes::new()).is_ok());
        }
        assert!(matches!(entrance.try_send(Bytes::new()), Err(Refused::Full)));
        drop(body);
        assert!(matches!(entrance.try_send(Bytes::new()), Err(Refused::Closed)));
        assert!(matches!(entrance.send(Bytes::new()).await, Err(Refused::Closed)));
    }
}
