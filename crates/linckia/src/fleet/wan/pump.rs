//! One direction of one emulated connection: bytes in, bytes out later, or never.
//!
//! Where it stands: two of these per connection, run by `connection.rs`; `shape.rs` says when a
//! chunk comes out. What always holds:
//! - a chunk is written under the lock of the rule that lets it pass, so that once a cut is
//!   answered nothing more passes;
//! - a cut discards what is read and what is on the way, and closes nothing: the end of the stream
//!   is swallowed like its bytes;
//! - a stream that lost bytes carries no more of them, and is closed when no way is cut any longer;
//! - bytes on the way are bounded; at the bound the source is not read.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};

use super::rule::Rule;
use super::shape::{Bottleneck, PACKET_BYTES, Shaper};

/// What one read takes at most: few system calls at full speed, little memory when idle.
const READ_BYTES_MAX: usize = 64 << 10;

/// With less room than this left in the buffer, a new one is begun.
const READ_BYTES_MIN: usize = 4 << 10;

/// How much of a narrow link's time one read may take, so that its bytes come out as a flow.
const READ_SLICES_PER_SECOND: u64 = 200;

/// Chunks handed to the kernel in one call.
const WRITE_CHUNKS_MAX: usize = 32;

/// Timers have a resolution of a millisecond and are late rather than early; what is due within
/// half of it goes out now.
const EARLY: Duration = Duration::from_micros(500);

/// Which way a direction ended.
pub enum End {
    /// The source closed, and everything it sent was delivered.
    Closed,
    /// The source closed during a cut: the other side must not notice before the cut is healed.
    Swallowed(Box<(OwnedReadHalf, OwnedWriteHalf)>),
    /// The connection cannot go on: the source broke off, the sink is gone, or the cut that made a
    /// hole in the stream is healed.
    Broken,
}

/// What shapes one direction: its own rule, the other direction's, and the shared narrow part.
#[derive(Clone)]
pub struct Way {
    pub forward: watch::Receiver<Rule>,
    pub reverse: watch::Receiver<Rule>,
    pub bottleneck: Arc<Bottleneck>,
    pub seed: u64,
}

impl Way {
    /// Returns once neither way is cut (at once if none is), or the emulator ends.
    pub async fn healed(&mut self) {
        loop {
            let forward = self.forward.borrow_and_update().cut;
            let reverse = self.reverse.borrow_and_update().cut;
            if !forward && !reverse {
                return;
            }
            let changed = if forward { self.forward.changed() } else { self.reverse.changed() };
            if changed.await.is_err() {
                return;
            }
        }
    }
}

/// How the source ended, and when the sink learns it.
#[derive(Clone, Copy)]
struct Ending {
    at: Instant,
    broken: bool,
}

pub struct Pump {
    source: OwnedReadHalf,
    sink: OwnedWriteHalf,
    way: Way,
    shaper: Shaper,
    buffer: BytesMut,
    queue: VecDeque<(Instant, Bytes)>,
    queued_bytes: usize,
    ending: Option<Ending>,
    /// Bytes were lost: nothing that follows may be delivered.
    hole: bool,
    /// The sink's buffer is full: wait until it says otherwise.
    blocked: bool,
}

/// What one turn of the loop waits for.
enum Wake {
    Rule,
    Gone,
    Readable,
    Writable,
    Due,
}

impl Pump {
    pub fn new(source: OwnedReadHalf, sink: OwnedWriteHalf, way: Way) -> Self {
        let shaper = Shaper::new(way.seed);
        Self {
            source,
            sink,
            way,
            shaper,
            buffer: BytesMut::with_capacity(READ_BYTES_MAX),
            queue: VecDeque::new(),
            queued_bytes: 0,
            ending: None,
            hole: false,
            blocked: false,
        }
    }

    /// Runs until the direction ends.
    pub async fn run(mut self) -> End {
        let mut timer = Box::pin(sleep_until(Instant::now()));
        loop {
            let rule = *self.way.forward.borrow_and_update();
            if rule.cut {
                self.discard();
            }
            if self.hole {
                if !rule.cut && !self.way.reverse.borrow_and_update().cut {
                    return End::Broken;
                }
                if self.ending.is_some() {
                    return End::Swallowed(Box::new((self.source, self.sink)));
                }
            }
            if let Some(end) = self.delivered() {
                return end;
            }
            let wake = self.wait(&rule, timer.as_mut()).await;
            let worked = match wake {
                Wake::Rule => Ok(()),
                Wake::Gone => return End::Broken,
                Wake::Readable => {
                    self.read(&rule);
                    self.write()
                }
                Wake::Writable => {
                    self.blocked = false;
                    self.write()
                }
                Wake::Due => self.write(),
            };
            if worked.is_err() && self.sink_is_gone() {
                return End::Broken;
            }
        }
    }

    /// The sink refuses bytes. While its side cannot be heard that must not show: bytes are
    /// swallowed instead.
    fn sink_is_gone(&mut self) -> bool {
        if !self.way.reverse.borrow_and_update().cut {
            return true;
        }
        self.hole = true;
        self.discard();
        false
    }

    /// Drops what is on the way; the end of the stream counts as a loss too.
    fn discard(&mut self) {
        if !self.queue.is_empty() || self.ending.is_some() {
            self.hole = true;
        }
        self.queue.clear();
        self.queued_bytes = 0;
        self.blocked = false;
    }

    /// Whether everything, the end included, has reached the sink.
    fn delivered(&self) -> Option<End> {
        let ending = self.ending?;
        if !self.queue.is_empty() || self.hole || Instant::now() + EARLY < ending.at {
            return None;
        }
        Some(if ending.broken { End::Broken } else { End::Closed })
    }

    async fn wait(&mut self, rule: &Rule, mut timer: Pin<&mut Sleep>) -> Wake {
        let Self { source, sink, way, queue, queued_bytes, ending, hole, blocked, .. } = self;
        let next = queue.front().map(|(at, _)| *at).or(ending.map(|ending| ending.at));
        if let Some(at) = next
            && !*blocked
        {
            // The wheel rounds up to the next millisecond: aim half of one early.
            let at = at.checked_sub(EARLY).unwrap_or(at);
            if timer.deadline() != at {
                timer.as_mut().reset(at);
            }
        }
        let may_read = ending.is_none() && *queued_bytes < rule.queue_bytes_max();
        tokio::select! {
            changed = way.forward.changed() => {
                if changed.is_ok() { Wake::Rule } else { Wake::Gone }
            }
            changed = way.reverse.changed(), if *hole => {
                if changed.is_ok() { Wake::Rule } else { Wake::Gone }
            }
            // An error shows again, with its reason, when the socket is used.
            _ = sink.writable(), if *blocked => Wake::Writable,
            () = timer, if next.is_some() && !*blocked => Wake::Due,
            _ = source.readable(), if may_read => Wake::Readable,
        }
    }

    /// Takes what the source has, into the queue or, during a cut, nowhere.
    fn read(&mut self, rule: &Rule) {
        self.buffer.reserve(READ_BYTES_MIN);
        let room = self.buffer.capacity().min(read_bytes_max(rule));
        let result = self.source.try_read_buf(&mut (&mut self.buffer).limit(room));
        let now = Instant::now();
        let broken = match result {
            Ok(0) => false,
            Ok(count) if rule.cut || self.hole => {
                debug_assert_eq!(count, self.buffer.len(), "the buffer is empty between reads");
                self.hole = true;
                self.buffer.clear();
                return;
            }
            Ok(count) => {
                let at = self.shaper.deliver_at(rule, &self.way.bottleneck, now, count);
                self.queue.push_back((at, self.buffer.split().freeze()));
                self.queued_bytes += count;
                return;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => true,
        };
        self.hole |= rule.cut;
        let at = self.shaper.deliver_at(rule, &self.way.bottleneck, now, 0);
        self.ending = Some(Ending { at, broken });
    }

    /// Writes everything that is due, as far as the sink takes it.
    fn write(&mut self) -> io::Result<()> {
        // Held while writing: a cut is in force when its sender returns.
        let rule = self.way.forward.borrow();
        while !rule.cut && !self.blocked && !self.hole {
            let due = Instant::now() + EARLY;
            let mut slices = [IoSlice::new(&[]); WRITE_CHUNKS_MAX];
            let mut chunks = 0;
            for (slice, (_, bytes)) in
                slices.iter_mut().zip(self.queue.iter().take_while(|(at, _)| *at <= due))
            {
                *slice = IoSlice::new(bytes);
                chunks += 1;
            }
            if chunks == 0 {
                break;
            }
            match self.sink.try_write_vectored(&slices[..chunks]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.queued_bytes -= written;
                    forget(&mut self.queue, written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.blocked = true,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Takes `written` bytes off the front.
fn forget(queue: &mut VecDeque<(Instant, Bytes)>, mut written: usize) {
    while let Some((_, bytes)) = queue.front_mut() {
        if written < bytes.len() {
            bytes.advance(written);
            return;
        }
        written -= bytes.len();
        queue.pop_front();
    }
}

fn read_bytes_max(rule: &Rule) -> usize {
    let Some(bits) = rule.bandwidth else {
        return READ_BYTES_MAX;
    };
    usize::try_from(bits / 8 / READ_SLICES_PER_SECOND)
        .unwrap_or(READ_BYTES_MAX)
        .clamp(PACKET_BYTES, READ_BYTES_MAX)
}
