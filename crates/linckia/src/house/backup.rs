//! Reads a backup beside the core, and gives it to the door piece by piece.
//!
//! The core says what there is to read (`Machine::pin_logs`, `Machine::cut_state`); a thread of its
//! own, which stands back behind all others, reads and compresses it. What always holds: a few
//! pieces wait for a slow client, and no more is read; the last frame says that all was given.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use linckia_api::NoBackup;
use linckia_control::Roster;
use linckia_model::{Origin, RegionName, Vector};
use linckia_region::{NotPinned, Pinned, PinnedLog, read_rows};
use linckia_store::View;
use tokio::sync::mpsc;

use super::core::{NotTaken, Order, Orders};
use crate::backup::frame::{self, Kind};
use crate::backup::{Base, End, FORMAT, Head, State, hex, logs_of};

/// What the thread adds to its niceness: clients come first.
const NICENESS: i32 = 10;

/// Pieces read ahead of the door.
const PIECES_AHEAD: usize = 2;

/// A frame holds about so much before it is compressed.
const FRAME_BYTES: usize = 1 << 20;

/// Records read from a log at once.
const RECORDS_MAX: usize = 4_096;

/// Begins a backup; the roster is asked for once the state is cut, so that it knows all epochs.
pub(super) async fn begin(
    region: RegionName,
    orders: &Orders,
    roster: impl FnOnce() -> Roster,
    after: Option<Vector>,
) -> Result<mpsc::Receiver<Bytes>, NoBackup> {
    use linckia_api::Unavailable::{Busy, Entering, Stopping};
    let (reply, pinned) = tokio::sync::oneshot::channel();
    let order = Order::Backup { after: after.clone(), reply };
    orders.try_send(order).map_err(|error| match error {
        NotTaken::Full => NoBackup::Unavailable(Busy),
        NotTaken::Ended => NoBackup::Unavailable(Stopping),
    })?;
    let pinned = pinned.await.map_err(|_| NoBackup::Unavailable(Stopping))?;
    let pinned = pinned.map_err(|why| match why {
        NotPinned::Busy => NoBackup::UnderWay,
        NotPinned::Entering => NoBackup::Unavailable(Entering),
        NotPinned::Gap(origin) => NoBackup::Gap(origin),
        NotPinned::Behind => NoBackup::Behind,
    })?;
    let head = head(&region, &pinned, after.unwrap_or_default(), roster());
    let (pieces, given) = mpsc::channel(PIECES_AHEAD);
    let thread = std::thread::Builder::new().name("backup".to_owned()).spawn(move || {
        let _ = rustix::process::nice(NICENESS);
        let reading = Reading { pieces, end: End::default() };
        // A stream without its end says that it failed; why stands in the region's log.
        if let Err(error) = reading.run(&head, pinned) {
            tracing::error!(error = format!("{error:#}"), "a backup could not be read");
        }
    });
    thread.map_err(|error| {
        tracing::error!(%error, "the thread of a backup cannot be started");
        NoBackup::Unavailable(Busy)
    })?;
    Ok(given)
}

fn head(region: &RegionName, pinned: &Pinned, after: Vector, roster: Roster) -> Head {
    let (mut after, mut state) = (logs_of(&after), None);
    if let Some((cut, _)) = &pinned.state {
        let base = |base: &linckia_ship::Base| Base {
            origin: base.origin.to_string(),
            sequence: base.sequence,
            chain: hex(&base.chain),
        };
        let bases: Vec<Base> = cut.bases.iter().map(base).collect();
        after = bases.iter().map(|base| (base.origin.clone(), base.sequence)).collect();
        state = Some(State { hlc: cut.hlc.bits(), bytes: cut.bytes, bases });
    }
    Head {
        format: FORMAT,
        region: region.to_string(),
        state,
        after,
        upto: logs_of(&pinned.upto),
        complete: pinned.complete.bits(),
        latest: pinned.latest.bits(),
        roster,
    }
}

/// The client is gone.
struct Gone;

struct Reading {
    pieces: mpsc::Sender<Bytes>,
    end: End,
}

impl Reading {
    fn run(mut self, head: &Head, pinned: Pinned) -> Result<()> {
        let Pinned { state, logs, .. } = &pinned;
        if self.send(Kind::Head, &serde_json::to_vec(head)?)?.is_err() {
            return Ok(());
        }
        if let Some((_, view)) = state
            && self.rows(view.as_ref())?.is_err()
        {
            return Ok(());
        }
        for log in logs {
            if self.records(log)?.is_err() {
                return Ok(());
            }
        }
        let end = serde_json::to_vec(&self.end)?;
        let _ = self.send(Kind::End, &end)?;
        Ok(())
    }

    fn send(&mut self, kind: Kind, raw: &[u8]) -> Result<Result<(), Gone>> {
        let piece = Bytes::from(frame::encode(kind, raw)?);
        Ok(self.pieces.blocking_send(piece).map_err(|_| Gone))
    }

    fn rows(&mut self, view: &dyn View) -> Result<Result<(), Gone>> {
        let mut place = Vec::new();
        loop {
            let rows = read_rows(view, &mut place, FRAME_BYTES)?;
            if rows.is_empty() {
                return Ok(Ok(()));
            }
            self.end.pages += 1;
            if self.send(Kind::Rows, &rows)?.is_err() {
                return Ok(Err(Gone));
            }
        }
    }

    fn records(&mut self, log: &PinnedLog) -> Result<Result<(), Gone>> {
        let PinnedLog { origin, reader, after, last } = log;
        let mut next = after + 1;
        while next <= *last {
            let batch = reader.read(next, FRAME_BYTES as u64, RECORDS_MAX)?;
            let mut raw = front(origin);
            for record in batch.iter().take_while(|record| record.sequence() <= *last) {
                raw.extend_from_slice(record.wire());
                next = record.sequence() + 1;
                self.end.records += 1;
            }
            batch.first().with_context(|| format!("{origin} ends before {next}"))?;
            if self.send(Kind::Records, &raw)?.is_err() {
                return Ok(Err(Gone));
            }
        }
        Ok(Ok(()))
    }
}

/// Records are led by whose they are.
fn front(origin: &Origin) -> Vec<u8> {
    let name = origin.as_str().as_bytes();
    [&(name.len() as u16).to_le_bytes()[..], name].concat()
}
