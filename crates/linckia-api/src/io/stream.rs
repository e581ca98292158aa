//! Events as they happen: first what was, then what comes, as server-sent events.
//!
//! A task of its own for each stream; it holds a vector and asks the region for what lies beyond,
//! so a slow reader costs nothing but its place. What always holds: a stream never skips: what
//! retention took is told as a gap; it ends itself when the region stops.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use linckia_apply::{EventFilter, Found, Query, Reading};
use linckia_model::{Event, Origin, Vector};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::respond::{self, Answered};
use super::service::House;
use crate::port::{Region, Unavailable};
use crate::render::event::EventForm;
use crate::render::stream::{PING, write_event, write_gap, write_place};

/// Events of one question: catching up needs few questions, and few events are held at once.
const PAGE_EVENTS: usize = 128;

/// A piece of the body is sent at this size, so that large events do not pile up.
const PIECE_BYTES: usize = 64 << 10;

/// Pieces that wait for a slow reader.
const PIECES_UNREAD: usize = 4;

/// Between two questions while there is a steady flow of events: many readers of a busy region
/// would otherwise wake it for every single one.
const GATHER: Duration = Duration::from_millis(2);

/// Until a region whose queue is full is asked again.
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// Where a stream begins.
pub(super) enum Start {
    /// With the first event that is retained.
    Beginning,
    After(Vector),
    Now,
}

/// Begins a stream.
pub(super) fn start<R: Region>(
    house: &Arc<House<R>>,
    filter: EventFilter,
    start: Start,
    form: EventForm,
) -> Answered {
    let (pieces, body) = mpsc::channel(PIECES_UNREAD);
    let stream = Stream {
        house: Arc::clone(house),
        stopping: house.stopping.clone(),
        filter,
        form,
        after: Vector::new(),
        told: Vector::new(),
        pieces,
        ping_at: Instant::now() + house.settings.limits.ping_every,
        asked_at: Instant::now(),
    };
    tokio::spawn(async move {
        // Whatever ends it, the client sees the body end, and comes back if it wants more.
        let _ = stream.run(start).await;
    });
    respond::stream(&respond::EVENT_STREAM, body)
}

/// The stream is over: its reader left, or the region stops.
struct Over;

struct Stream<R> {
    house: Arc<House<R>>,
    stopping: watch::Receiver<bool>,
    filter: EventFilter,
    form: EventForm,
    /// What was read so far.
    after: Vector,
    /// The last `id` that the reader was given.
    told: Vector,
    pieces: mpsc::Sender<Bytes>,
    ping_at: Instant,
    asked_at: Instant,
}

impl<R: Region> Stream<R> {
    async fn run(mut self, start: Start) -> Result<(), Over> {
        let mut applied = self.house.region.applied();
        let mut skips_missing = false;
        match start {
            Start::Beginning => skips_missing = true,
            Start::After(vector) => (self.after, self.told) = (vector.clone(), vector),
            Start::Now => {
                self.after = self.ask(Query::Vector).await?.vector;
                self.tell_place().await?;
            }
        }
        loop {
            applied.mark_unchanged();
            let query = Query::Events {
                after: self.after.clone(),
                limit: PAGE_EVENTS,
                filter: self.filter.clone(),
            };
            self.asked_at = Instant::now();
            let Reading { vector, found } = self.ask(query).await?;
            let Found::Events { events, next, missing } = found else { return Err(Over) };
            if !missing.is_empty() {
                self.tell_gap(&missing, skips_missing).await?;
            }
            skips_missing = false;
            self.tell(&events).await?;
            self.after = next;
            if Instant::now() >= self.ping_at {
                self.ping().await?;
            }
            if self.after.covers_all(&vector) {
                self.wait(&mut applied).await?;
            }
        }
    }

    /// Until more was applied; for the first event after a silence no longer.
    async fn wait(&mut self, applied: &mut watch::Receiver<Arc<Vector>>) -> Result<(), Over> {
        loop {
            tokio::select! {
                changed = applied.changed() => {
                    changed.map_err(|_| Over)?;
                    break;
                }
                () = tokio::time::sleep_until(self.ping_at) => {}
                _ = self.stopping.wait_for(|stopping| *stopping) => return Err(Over),
                () = self.pieces.closed() => return Err(Over),
            }
            self.ping().await?;
        }
        tokio::time::sleep_until(self.asked_at + GATHER).await;
        Ok(())
    }

    async fn ask(&self, query: Query) -> Result<Reading, Over> {
        loop {
            match self.house.region.read(query.clone()).await {
                Ok(reading) => return Ok(reading),
                Err(Unavailable::Stopping) => return Err(Over),
                Err(_) if self.is_over() => return Err(Over),
                Err(Unavailable::Busy | Unavailable::Entering) => {
                    tokio::time::sleep(BUSY_PAUSE).await
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        self.pieces.is_closed() || *self.stopping.borrow()
    }

    async fn tell(&mut self, events: &[Arc<Event>]) -> Result<(), Over> {
        let mut out = BytesMut::new();
        for event in events {
            // Filtered events before it were read, so they may be behind its vector too, but need
            // not: the reader's place is never beyond what it was shown.
            self.told.set(&event.dot.origin, event.dot.sequence);
            write_event(&mut out, &self.told, event, self.form);
            if out.len() >= PIECE_BYTES {
                self.send(out.split().freeze()).await?;
            }
        }
        if out.is_empty() { Ok(()) } else { self.send(out.freeze()).await }
    }

    /// What is gone is told once, and behind it the stream goes on; who began at the beginning
    /// asked for what is retained, and misses nothing.
    async fn tell_gap(
        &mut self,
        missing: &[(Origin, u64, u64)],
        silently: bool,
    ) -> Result<(), Over> {
        for (origin, _, last) in missing {
            self.told.set(origin, (*last).max(self.told.get(origin)));
        }
        if silently {
            return Ok(());
        }
        let mut out = BytesMut::new();
        write_gap(&mut out, &self.told, missing);
        self.send(out.freeze()).await
    }

    /// Gives the reader a place to come back to, without an event.
    async fn tell_place(&mut self) -> Result<(), Over> {
        self.told = self.after.clone();
        let mut out = BytesMut::new();
        write_place(&mut out, &self.told);
        self.send(out.freeze()).await
    }

    async fn ping(&mut self) -> Result<(), Over> {
        // Behind a filter much may have passed unseen: coming back need not read it again.
        if self.told != self.after {
            self.tell_place().await?;
        }
        self.send(Bytes::from_static(PING)).await
    }

    async fn send(&mut self, piece: Bytes) -> Result<(), Over> {
        tokio::select! {
            biased;
            sent = self.pieces.send(piece) => sent.map_err(|_| Over)?,
            _ = self.stopping.wait_for(|stopping| *stopping) => return Err(Over),
        }
        self.ping_at = Instant::now() + self.house.settings.limits.ping_every;
        Ok(())
    }
}
