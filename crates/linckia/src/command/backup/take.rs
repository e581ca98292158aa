//! Taking a backup: a region's stream into parts, and a manifest once its end came.
//!
//! What always holds: without its manifest nothing of it counts, and what a broken one left is
//! removed by the next; about one part is in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use serde_json::json;

use super::place::Place;
use super::set::{Flaw, Manifest, Part, Set, milliseconds, part_name, run_name, text};
use super::{BackupArguments, as_json, kind};
use crate::backup::frame::{self, Kind, MAGIC};
use crate::backup::{End, FORMAT, Head, vector_of};
use crate::command::door::{Door, Failure, FailureKind, encode};
use crate::command::progress::{Progress, Reading};
use crate::command::retry::Patience;
use crate::command::text::{count, number, print, remark};
use crate::command::{Context, Outcome};

/// A part has about so many bytes.
const PART_BYTES: usize = 16 << 20;

/// Runs `backup TO`.
pub(super) async fn run(
    context: &Context,
    arguments: &BackupArguments,
    to: &str,
) -> anyhow::Result<Outcome> {
    let place = Place::parse(to)?;
    let _lock = place.lock()?;
    let door = context.addresses.one().await?;
    let mut full = arguments.full;
    loop {
        let began = Instant::now();
        let taken = tokio::select! {
            taken = patient(&door, &place, full, arguments.retry_for) => taken,
            interrupt = tokio::signal::ctrl_c() => {
                interrupt?;
                anyhow::bail!("interrupted: what was taken so far does not count; run it again");
            }
        };
        match (taken, arguments.every) {
            (Ok(manifest), _) => {
                full = false;
                tell(context, &manifest, began.elapsed())?;
            }
            (Err(error), Some(_)) if again(&error) => {
                remark(&format!("{error:#}; it is tried again next time"));
            }
            (Err(error), _) => return Err(error),
        }
        let Some(every) = arguments.every else { return Ok(Outcome::Done) };
        tokio::select! {
            () = tokio::time::sleep(every.saturating_sub(began.elapsed())) => {}
            interrupt = tokio::signal::ctrl_c() => {
                interrupt?;
                return Ok(Outcome::Done);
            }
        }
    }
}

fn again(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Failure>().is_some_and(Failure::again)
}

fn tell(context: &Context, run: &Manifest, took: Duration) -> anyhow::Result<()> {
    let seconds = (took.as_secs_f64() * 1_000.0).round() / 1_000.0;
    if context.json {
        let mut told = as_json(run);
        told["seconds"] = json!(seconds);
        return Ok(print(&told.to_string())?);
    }
    let vector = vector_of(&run.upto).unwrap_or_default();
    Ok(print(&format!(
        "Backup {} ({}) of {}: {}, {} bytes in {seconds:.1} s, up to {vector}.\nIt can be \
         restored to any time from {} to {}.",
        run_name(run.number),
        kind(run),
        run.region,
        count(run.records, "record"),
        number(run.bytes()),
        text(milliseconds(run.from)),
        text(milliseconds(run.latest)),
    ))?)
}

/// Takes one, and tries again where the region does not answer.
async fn patient(
    door: &Door,
    place: &Place,
    full: bool,
    retry_for: Duration,
) -> anyhow::Result<Manifest> {
    let mut patience = Patience::new(retry_for);
    loop {
        let error = match once(door, place, full).await {
            Ok(manifest) => return Ok(manifest),
            Err(error) => error,
        };
        let asked = error.downcast_ref::<Failure>().and_then(Failure::retry_after);
        if !again(&error) || !patience.wait(asked).await {
            return Err(error);
        }
    }
}

async fn once(door: &Door, place: &Place, full: bool) -> anyhow::Result<Manifest> {
    let set = Set::read(place).await.map_err(|error| match error.is::<Flaw>() {
        true => error.context(
            "what lies there is not whole (`linckia backup verify` says where): take the backup \
             into another place",
        ),
        false => error,
    })?;
    for name in &set.broken {
        place.remove(name).await?;
    }
    if !set.broken.is_empty() {
        remark("removed what a backup that was broken off had left");
    }
    let previous = set.runs.last().filter(|_| !full);
    let Some(previous) = previous else { return taken(door, place, &set, None).await };
    match taken(door, place, &set, Some(previous)).await {
        Err(error) if error.downcast_ref::<Failure>().is_some_and(|it| it.is_status(410)) => {
            remark(&format!("{error:#}"));
            remark("so this backup is a full one");
            taken(door, place, &set, None).await
        }
        done => done,
    }
}

/// A backup on its way in.
struct Taking<'a> {
    place: &'a Place,
    number: u64,
    part: Vec<u8>,
    parts: Vec<Part>,
    head: Option<Head>,
    end: Option<End>,
    bytes: Arc<AtomicU64>,
}

async fn taken(
    door: &Door,
    place: &Place,
    set: &Set,
    previous: Option<&Manifest>,
) -> anyhow::Result<Manifest> {
    let after = previous.map(|it| vector_of(&it.upto).unwrap_or_default().to_string());
    let query = after.map(|after| format!("?after={}", encode(&after))).unwrap_or_default();
    let bytes = Arc::new(AtomicU64::new(0));
    let read = Arc::clone(&bytes);
    let progress = Progress::start(None, move || {
        let bytes = read.load(Ordering::Relaxed);
        Reading { position: bytes, events: bytes >> 20, note: "in MiB".to_owned() }
    });
    let mut taking = Taking {
        place,
        number: set.last + 1,
        part: MAGIC.to_vec(),
        parts: Vec::new(),
        head: None,
        end: None,
        bytes,
    };
    let came = taking.stream(door, &format!("/v1/backup{query}")).await;
    progress.finish().await;
    came?;
    let (Some(head), Some(end)) = (taking.head.take(), taking.end.take()) else {
        return Err(door.fail(FailureKind::Unreadable("a backup without its end".into())).into());
    };
    taking.put().await?;
    let from = head.state.as_ref().map(|state| state.hlc);
    let previous = previous.filter(|_| from.is_none());
    let goes_on = |previous: &Manifest| head.after == previous.upto;
    if from.is_none() && !previous.is_some_and(goes_on) {
        let what = "it goes on from another backup than it was asked to";
        return Err(door.fail(FailureKind::Unreadable(what.into())).into());
    }
    let taken_at = SystemTime::now().duration_since(UNIX_EPOCH);
    let manifest = Manifest {
        format: FORMAT,
        number: taking.number,
        previous: previous.map(|previous| previous.blake3.clone()),
        region: head.region,
        taken_at: taken_at.map_or(0, |since| since.as_millis() as u64),
        from: from.or(previous.map(|previous| previous.from)).unwrap_or(0),
        after: head.after,
        upto: head.upto,
        complete: head.complete,
        latest: head.latest,
        pages: end.pages,
        records: end.records,
        parts: taking.parts,
        blake3: String::new(),
    };
    let manifest = manifest.sealed()?;
    manifest.write(place).await?;
    Ok(manifest)
}

impl Taking<'_> {
    async fn stream(&mut self, door: &Door, path: &str) -> anyhow::Result<()> {
        let mut pieces = door.stream(path, &[]).await?;
        let mut waiting = BytesMut::new();
        while let Some(piece) = pieces.next().await.map_err(|broken| door.broken(broken))? {
            self.bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
            waiting.extend_from_slice(&piece);
            while let Some((kind, raw, length)) = self.front(door, &waiting)? {
                self.frame(door, kind, &raw, waiting.split_to(length).freeze())?;
                if self.part.len() >= PART_BYTES {
                    self.put().await?;
                }
            }
        }
        if self.end.is_none() || !waiting.is_empty() {
            // It was stopped, or could not read: its log says why.
            return Err(door.broken(crate::command::client::Broken::Ended).into());
        }
        Ok(())
    }

    /// The frame in front, if it is all there: its kind, what it holds if that is looked at, its
    /// length.
    fn front(&self, door: &Door, bytes: &[u8]) -> Result<Option<(Kind, Vec<u8>, usize)>, Failure> {
        let unreadable = |damage: frame::Damage| {
            door.fail(FailureKind::Unreadable(format!("its backup does not read: {damage}")))
        };
        let Some(frame) = frame::front(bytes).map_err(unreadable)? else { return Ok(None) };
        let looked_at = matches!(frame.kind, Kind::Head | Kind::End);
        let raw = if looked_at { frame.open().map_err(unreadable)? } else { Vec::new() };
        Ok(Some((frame.kind, raw, frame.bytes())))
    }

    fn frame(&mut self, door: &Door, kind: Kind, raw: &[u8], bytes: Bytes) -> Result<(), Failure> {
        let unreadable = |error| {
            let text = format!("its backup is none that this version reads: {error}");
            door.fail(FailureKind::Unreadable(text))
        };
        match kind {
            Kind::Head => self.head = Some(serde_json::from_slice(raw).map_err(unreadable)?),
            Kind::End => self.end = Some(serde_json::from_slice(raw).map_err(unreadable)?),
            Kind::Rows | Kind::Records => {}
        }
        self.part.extend_from_slice(&bytes);
        Ok(())
    }

    /// What is gathered becomes a part.
    async fn put(&mut self) -> anyhow::Result<()> {
        if self.part.len() == MAGIC.len() {
            return Ok(());
        }
        let name = format!("part-{:06}", self.parts.len() + 1);
        let part = std::mem::replace(&mut self.part, MAGIC.to_vec());
        let blake3 = blake3::hash(&part).to_hex().to_string();
        let bytes = part.len() as u64;
        self.place.put(&part_name(self.number, &name), part).await?;
        self.parts.push(Part { name, bytes, blake3 });
        Ok(())
    }
}
