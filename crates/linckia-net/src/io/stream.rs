//! A byte stream that counts what passes, and what is decided from the count alone.
//!
//! Where in the flow: between the socket (or TLS over it) and hyper, on every connection of the
//! door and of the peer transport.
//!
//! What always holds: counting costs two relaxed additions and no clock; whether a connection is
//! silent is judged beside it, by a timer that wakes a few times per limit.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// How many times per limit silence is looked at: it is noticed at most a quarter late.
const LOOKS_PER_LIMIT: u32 = 4;

/// What passed on one connection so far.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
    handlers: AtomicUsize,
}

/// A request that somebody is working on, until dropped.
pub(crate) struct Handling(Arc<Traffic>);

impl Traffic {
    pub(crate) fn handling(self: &Arc<Self>) -> Handling {
        self.handlers.fetch_add(1, Relaxed);
        Handling(Arc::clone(self))
    }

    /// Returns when nothing was read for `longest`.
    pub(crate) async fn heard_nothing_for(&self, longest: Duration) {
        unchanged_for(longest, || self.read_bytes.load(Relaxed)).await;
    }

    /// Returns when nothing passed either way for `idle` with nobody working on a request, or for
    /// `stalled` even so.
    pub(crate) async fn nothing_passed_for(&self, idle: Duration, stalled: Duration) {
        let passed = || {
            let read = self.read_bytes.load(Relaxed);
            read.wrapping_add(self.written_bytes.load(Relaxed))
        };
        let idling = async {
            // A request being worked on is not idleness: look again, as often as it takes.
            loop {
                unchanged_for(idle, || (passed(), self.handlers.load(Relaxed))).await;
                if self.handlers.load(Relaxed) == 0 {
                    return;
                }
            }
        };
        tokio::select! {
            () = idling => {}
            () = unchanged_for(stalled, passed) => {}
        }
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        self.0.handlers.fetch_sub(1, Relaxed);
    }
}

async fn unchanged_for<V: PartialEq>(longest: Duration, value: impl Fn() -> V) {
    let step = longest / LOOKS_PER_LIMIT;
    let mut last = value();
    let mut since = Instant::now();
    while since.elapsed() < longest {
        tokio::time::sleep(step).await;
        let current = value();
        if current != last {
            last = current;
            since = Instant::now();
        }
    }
}

/// A stream with a count, and with bytes that were read ahead given back first.
pub(crate) struct Counted<T> {
    inner: T,
    ahead: Bytes,
    traffic: Arc<Traffic>,
}

impl<T> Counted<T> {
    pub(crate) fn new(inner: T, ahead: Bytes, traffic: Arc<Traffic>) -> Self {
        Self { inner, ahead, traffic }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.ahead.is_empty() {
            let taken = this.ahead.len().min(buffer.remaining());
            buffer.put_slice(&this.ahead[..taken]);
            this.ahead.advance(taken);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.inner).poll_read(context, buffer);
        let read = buffer.filled().len() - before;
        this.traffic.read_bytes.fetch_add(read as u64, Relaxed);
        polled
    }
}

impl<T: AsyncWrite + Unpin> Counted<T> {
    fn wrote(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(written)) = &polled {
            self.traffic.written_bytes.fetch_add(*written as u64, Relaxed);
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_write(context, bytes);
        this.wrote(polled)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_write_vectored(context, slices);
        this.wrote(polled)
    }
}
