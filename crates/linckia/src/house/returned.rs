//! What a directory put aside is put on record: every event beyond the end of a closed log.
//!
//! Beside the core, once the region takes writes: an event at a time is read from what was put
//! aside and written, in parts, into the fleet's own data set. What always holds: an event is on
//! record once, however often this begins anew; nothing that was put aside is changed or removed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use linckia_api::Region;
use linckia_api::returned::on_record;
use linckia_log::{Disk as _, EntryKind, LocalDisk};
use linckia_model::{
    Ack, Dot, Event, Incarnations, Origin, Precondition, Refusal, Vector, Write, decode_event,
};
use tokio::sync::mpsc;

/// The folder that makes a directory a log's.
const LOGS: &str = "logs";

/// Says that everything in the folder beside it is on record.
const MARK: &str = "on-record";

/// Between two looks at what waits for a log to be closed, or for the region to take writes.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Written at once: so many events, of so many bytes.
const PART: usize = 100;
const PART_BYTES: usize = 1 << 20;

/// Parts that are read ahead.
const PARTS_AHEAD: usize = 2;

/// Puts on record what lies under `aside`, as soon as that is possible.
pub(super) async fn follow<R: Region>(dir: PathBuf, region: Arc<R>) {
    let dir = dir.join(super::leaving::ASIDE);
    loop {
        let left = match waiting(&dir) {
            Ok(left) => left,
            Err(error) => return tracing::warn!("{error:#}; what was put aside is on no record"),
        };
        if left.is_empty() {
            return;
        }
        for place in left {
            if region.ready().is_err() {
                break;
            }
            match publish(&place, region.as_ref()).await {
                Ok(Some(0)) => {}
                Ok(Some(events)) => tracing::warn!(
                    place = %place.display(),
                    events,
                    "events beyond the end of a closed log are on record: `linckia returned` \
                     lists them, and admits those that are wanted"
                ),
                // A log is not closed yet, or the region is busy.
                Ok(None) => {}
                Err(error) => {
                    tracing::error!("{error:#}; what lies there is on no record, see `log dump`");
                    return;
                }
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Folders with logs that are not on record yet.
fn waiting(dir: &Path) -> Result<Vec<PathBuf>> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let places = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let has_logs = |place: &PathBuf| place.join("log").join(LOGS).is_dir();
    Ok(places.filter(|place| has_logs(place) && !place.join(MARK).exists()).collect())
}

/// What an origin is to the fleet now.
enum End {
    /// Everything beyond it is to go on record.
    At(u64),
    /// The log lives: nothing of it is lost.
    Alive,
    /// The members still say what they hold of it.
    Sought,
}

fn end_of(lives: &Incarnations, origin: &Origin) -> End {
    match lives.closings.get(origin) {
        None => End::Alive,
        Some(closing) => closing.end.map_or(End::Sought, End::At),
    }
}

/// Puts on record what lies in one folder; none if it has to be tried again later.
async fn publish<R: Region>(place: &Path, region: &R) -> Result<Option<usize>> {
    let lives = region.incarnations().borrow().clone();
    let log = place.join("log");
    let origins = {
        let log = log.clone();
        tokio::task::spawn_blocking(move || -> Result<Vec<String>> {
            Ok(LocalDisk::open_to_read(&log)?.list(LOGS)?)
        })
        .await??
    };
    let mut total = 0;
    for name in origins {
        let origin = Origin::parse(&name)
            .with_context(|| format!("{} holds `{name}`, which is no log", log.display()))?;
        let end = match end_of(&lives, &origin) {
            End::At(end) => end,
            End::Alive => continue,
            End::Sought => return Ok(None),
        };
        let (parts, mut read) = mpsc::channel(PARTS_AHEAD);
        let log = log.clone();
        let reading = tokio::task::spawn_blocking(move || read_parts(&log, &origin, end, &parts));
        while let Some(events) = read.recv().await {
            total += events.len();
            if !write(region, &events).await? {
                return Ok(None);
            }
        }
        reading.await??;
    }
    File::create(place.join(MARK)).and_then(|mark| mark.sync_all())?;
    File::open(place)?.sync_all()?;
    Ok(Some(total))
}

/// Reads a log that was put aside beyond its end, part by part.
fn read_parts(
    log: &Path,
    origin: &Origin,
    end: u64,
    parts: &mpsc::Sender<Vec<Event>>,
) -> Result<()> {
    let disk = LocalDisk::open_to_read(log)?;
    let (mut events, mut bytes) = (Vec::new(), 0);
    for entry in linckia_log::dump(&disk, origin.as_str())? {
        let entry = match entry {
            Ok(entry) => entry,
            // Told once for a file, a torn end too; the next file follows.
            Err(error) => {
                tracing::warn!(%error, %origin, "what was put aside is not readable to its end");
                continue;
            }
        };
        if entry.sequence <= end || entry.kind != EntryKind::Event {
            continue;
        }
        bytes += entry.payload.len();
        let dot = Dot::new(origin.clone(), entry.sequence);
        let event = decode_event(dot, &entry.payload, &Vector::new())
            .with_context(|| format!("{} holds what is no event", entry.file))?;
        events.push(event);
        if events.len() >= PART || bytes >= PART_BYTES {
            bytes = 0;
            // Whoever reads may have given up.
            if parts.blocking_send(std::mem::take(&mut events)).is_err() {
                return Ok(());
            }
        }
    }
    if !events.is_empty() {
        let _ = parts.blocking_send(events);
    }
    Ok(())
}

/// False if it has to be tried again later.
async fn write<R: Region>(region: &R, events: &[Event]) -> Result<bool> {
    let write = Write {
        events: events.iter().map(on_record).collect(),
        atomic: false,
        precondition: Some(Precondition::Absent),
        entity_tag: false,
        ack: Ack::default(),
    };
    let Ok(answers) = region.write(write).await else { return Ok(false) };
    for answer in answers {
        match answer {
            // Another region, or an earlier start of this one, had it before.
            Ok(_) | Err(Refusal::VersionConflict { .. } | Refusal::IdReused(_)) => {}
            Err(Refusal::Inadmissible(why)) => {
                anyhow::bail!("the policy of the fleet's own data set refuses it: {why:?}")
            }
            Err(_) => return Ok(false),
        }
    }
    Ok(true)
}
