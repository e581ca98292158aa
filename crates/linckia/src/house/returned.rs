//! What a directory put aside is put on record: every event beyond the end of a closed log.
//!
//! Beside the core, once the region takes writes: an event at a time is read from what was put
//! aside and written, in parts, into the fleet's own data set. What always holds: an event is on
//! record once, however often this begins anew, and no other one keeps it from there; nothing that
//! was put aside is changed or removed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use linckia_api::Region;
use linckia_api::returned::{on_record, on_record_apart};
use linckia_apply::{Found, Query};
use linckia_log::{Disk as _, EntryKind, LocalDisk};
use linckia_model::{
    Ack, Dot, Event, Incarnations, Key, NewEvent, Operation, Origin, Precondition, Refusal, Vector,
    Write, decode_event,
};
use tokio::sync::mpsc;

/// The folder that makes a directory a log's.
const LOGS: &str = "logs";

/// Says that everything in the folder beside it is on record.
const MARK: &str = "on-record";

/// Between two looks at what waits for a log to be closed, or for the region to take writes.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A part that the region refuses is tried again so often, after this, and twice that, up to that;
/// then everything that waits is looked at anew.
const TRIES: u32 = 8;
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_LAST: Duration = Duration::from_secs(15);

/// Written at once: so many events, of so many bytes.
const PART: usize = 100;
const PART_BYTES: usize = 1 << 20;

/// Parts that are read ahead.
const PARTS_AHEAD: usize = 2;

/// Puts on record what lies under `aside`, as soon as that is possible.
pub(super) async fn follow<R: Region>(dir: PathBuf, region: Arc<R>) {
    let dir = dir.join(super::leaving::ASIDE);
    // Not all of these can be read: they are tried again at the next start.
    let mut given_up = BTreeSet::new();
    loop {
        let mut left = match waiting(&dir) {
            Ok(left) => left,
            Err(error) => return tracing::warn!("{error:#}; what was put aside is on no record"),
        };
        left.retain(|place| !given_up.contains(place));
        if left.is_empty() {
            return;
        }
        for place in left {
            if region.ready().is_err() {
                break;
            }
            match publish(&place, region.as_ref()).await {
                Ok(Some(done)) => {
                    told(&place, &done);
                    if !done.clean {
                        given_up.insert(place);
                    }
                }
                // A log is not closed yet, or the region is busy.
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(
                        place = %place.display(),
                        "{error:#}; not all that lies there is on record, see `log dump`; it is \
                         tried again at the next start"
                    );
                    given_up.insert(place);
                }
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn told(place: &Path, done: &Done) {
    let place = place.display();
    if done.events > 0 {
        tracing::warn!(
            %place,
            events = done.events,
            "events beyond the end of a closed log are on record: `linckia returned` lists them, \
             and admits those that are wanted"
        );
    }
    if !done.clean {
        tracing::warn!(
            %place,
            "not all that was put aside there can be read: the rest is on no record; `linckia log \
             dump` shows what there is, and it is tried again at the next start"
        );
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

/// What was put on record of one folder.
struct Done {
    events: usize,
    /// All of it was read.
    clean: bool,
}

/// Puts on record what lies in one folder; none if it has to be tried again later.
async fn publish<R: Region>(place: &Path, region: &R) -> Result<Option<Done>> {
    let lives = region.incarnations().borrow().clone();
    let log = place.join("log");
    let origins = {
        let log = log.clone();
        tokio::task::spawn_blocking(move || -> Result<Vec<String>> {
            Ok(LocalDisk::open_to_read(&log)?.list(LOGS)?)
        })
        .await??
    };
    let mut done = Done { events: 0, clean: true };
    for name in origins {
        let Ok(origin) = Origin::parse(&name) else {
            tracing::warn!(place = %log.display(), name, "this is no log, and is passed over");
            done.clean = false;
            continue;
        };
        let end = match end_of(&lives, &origin) {
            End::At(end) => end,
            End::Alive => continue,
            End::Sought => return Ok(None),
        };
        let (parts, mut read) = mpsc::channel(PARTS_AHEAD);
        let log = log.clone();
        let reading = tokio::task::spawn_blocking(move || read_parts(&log, &origin, end, &parts));
        while let Some(events) = read.recv().await {
            done.events += events.len();
            if !write_again(region, &events).await? {
                return Ok(None);
            }
        }
        done.clean &= reading.await??;
    }
    if !done.clean {
        return Ok(Some(done));
    }
    File::create(place.join(MARK)).and_then(|mark| mark.sync_all())?;
    File::open(place)?.sync_all()?;
    Ok(Some(done))
}

/// Reads a log that was put aside beyond its end, part by part. False if not all can be read.
fn read_parts(
    log: &Path,
    origin: &Origin,
    end: u64,
    parts: &mpsc::Sender<Vec<Event>>,
) -> Result<bool> {
    let disk = LocalDisk::open_to_read(log)?;
    let (mut events, mut bytes, mut clean) = (Vec::new(), 0, true);
    for entry in linckia_log::dump(&disk, origin.as_str())? {
        let entry = match entry {
            Ok(entry) => entry,
            // Told once for a file, a torn end too; the next file follows.
            Err(error) => {
                tracing::warn!(%error, %origin, "what was put aside is not readable to its end");
                clean = false;
                continue;
            }
        };
        if entry.sequence <= end || entry.kind != EntryKind::Event {
            continue;
        }
        let dot = Dot::new(origin.clone(), entry.sequence);
        match decode_event(dot, &entry.payload, &Vector::new()) {
            Ok(event) => events.push(event),
            Err(error) => {
                let (file, sequence) = (&entry.file, entry.sequence);
                tracing::warn!(%error, %origin, %file, sequence, "this is no event: passed over");
                clean = false;
                continue;
            }
        }
        bytes += entry.payload.len();
        if events.len() >= PART || bytes >= PART_BYTES {
            bytes = 0;
            // Whoever reads may have given up.
            if parts.blocking_send(std::mem::take(&mut events)).is_err() {
                return Ok(clean);
            }
        }
    }
    if !events.is_empty() {
        let _ = parts.blocking_send(events);
    }
    Ok(clean)
}

/// False if it has to be tried again later.
async fn write_again<R: Region>(region: &R, events: &[Event]) -> Result<bool> {
    // Records that return, as they were, need not be absent: what they note would be lost.
    let (notes, records): (Vec<NewEvent>, Vec<NewEvent>) =
        events.iter().map(on_record).partition(|new| new.operation == Operation::Patch);
    let absent = || Some(Precondition::Absent);
    let Some(taken) = write_patiently(region, &records, absent()).await? else {
        return Ok(false);
    };
    let mut forks = Vec::new();
    for new in taken {
        let Some(there) = document(region, &new.key).await else { return Ok(false) };
        forks.extend(on_record_apart(&new, &there));
    }
    if let Some(fork) = forks.first() {
        tracing::error!(
            record = &*fork.key.aggregate_id,
            events = forks.len(),
            "another event has its dot: two directories wrote the same log, and both are on record"
        );
    }
    let apart = write_patiently(region, &forks, absent()).await?;
    Ok(apart.is_some() && write_patiently(region, &notes, None).await?.is_some())
}

/// Those whose place is taken; none if it has to be tried again later.
async fn write_patiently<R: Region>(
    region: &R,
    events: &[NewEvent],
    precondition: Option<Precondition>,
) -> Result<Option<Vec<NewEvent>>> {
    if events.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let mut pause = RETRY_FIRST;
    for _ in 1..TRIES {
        let taken = write(region, events.to_vec(), precondition.clone()).await?;
        if taken.is_some() {
            return Ok(taken);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_LAST);
    }
    write(region, events.to_vec(), precondition).await
}

/// Those whose place is taken; none if not all of the others are written.
async fn write<R: Region>(
    region: &R,
    events: Vec<NewEvent>,
    precondition: Option<Precondition>,
) -> Result<Option<Vec<NewEvent>>> {
    let (sent, mut taken) = (events.clone(), Vec::new());
    let write =
        Write { events, atomic: false, precondition, entity_tag: false, ack: Ack::default() };
    let Ok(answers) = region.write(write).await else { return Ok(None) };
    for (new, answer) in sent.into_iter().zip(answers) {
        let sent_id = Arc::clone(&new.event_id);
        match answer {
            Ok(_) => {}
            // Another region, or an earlier start of this one, had it before: or another event.
            Err(Refusal::VersionConflict { .. } | Refusal::IdReused(_)) => taken.push(new),
            Err(Refusal::Inadmissible(why)) => {
                anyhow::bail!("the policy of the fleet's own data set refuses it: {why:?}")
            }
            Err(Refusal::Unreadable(why)) => {
                anyhow::bail!("what is on record for {} cannot be read: {why}", sent_id)
            }
            Err(_) => return Ok(None),
        }
    }
    Ok(Some(taken))
}

/// What stands on record there; none if that cannot be read for now.
async fn document<R: Region>(region: &R, key: &Key) -> Option<serde_json::Value> {
    let reading = region.read(Query::Aggregate { key: key.clone() }).await.ok()?;
    match reading.found {
        Found::Aggregate { view, .. } => Some(view?.data),
        _ => None,
    }
}
