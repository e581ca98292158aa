//! Restoring: the directory of a region as it was at some time, from a line of backups.
//!
//! The state is the line's first; the logs are cut where they are later than the time, which leaves
//! a set that is closed under causes, because hybrid time extends causal order. What always holds:
//! the logs are those of closed incarnations, the region writes in another one; the directory is no
//! region's before all of it is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use linckia_control::Roster;
use linckia_log::{Identity, LocalDisk, Logs, Position, Record, Scope, Settings};
use linckia_model::{Dot, Hlc, Origin, RegionName, TypeName, Vector, decode_event};
use linckia_store::{Batch, FjallStore, Rows as _, Store as _};
use serde_json::json;

use super::place::Place;
use super::read_set;
use super::set::{Manifest, milliseconds, text};
use super::walk::{Piece, Walk};
use crate::backup::{Base, Head, unhex, write_restored};
use crate::command::text::{count, print, remark};
use crate::command::{Context, Outcome, wrong_use};
use crate::house::format;

/// Restored logs are synced after so many bytes.
const SYNC_BYTES: usize = 64 << 20;

/// What a restore keeps of the store in memory.
const CACHE_BYTES: u64 = 64 << 20;

/// A region hears from the others several times in so many milliseconds: no more is worth a word.
const HEARD_MILLISECONDS: u64 = 1_000;

/// Rows are written in batches of so many bytes.
const BATCH_BYTES: usize = 8 << 20;

/// Runs `restore`.
pub(super) async fn run(
    context: &Context,
    from: &str,
    dir: &Path,
    time: Option<u64>,
) -> anyhow::Result<Outcome> {
    let began = Instant::now();
    let place = Place::parse(from)?;
    let set = read_set(&place, from).await?;
    let (runs, until) = set.until(time)?;
    let region = context.addresses.region().unwrap_or(&runs[0].region).to_owned();
    let name = RegionName::parse(&region)
        .map_err(|error| wrong_use(format!("--region {region}: {error}")))?;
    make_empty(dir)?;
    let all = set.runs.iter().flat_map(|run| run.upto.keys().cloned());
    let mut restoring = Restoring::begin(dir, until, all.collect())?;
    let mut walk = Walk::default();
    for run in runs {
        let bytes = run.bytes() >> 20;
        remark(&format!("reading backup {:06}, {bytes} MiB", run.number));
        walk.run(&place, run, &mut |piece| restoring.take(piece)).await?;
    }
    let complete = runs.last().map_or(0, |run| milliseconds(run.complete));
    let (events, ends) = restoring.finish(dir, &name)?;
    let seconds = (began.elapsed().as_secs_f64() * 1_000.0).round() / 1_000.0;
    if context.json {
        let told = json!({
            "region": region, "directory": dir, "time": text(until), "events": events,
            "ends": ends, "completeTo": text(complete.min(until)), "seconds": seconds,
        });
        print(&told.to_string())?;
        return Ok(Outcome::Done);
    }
    if complete + HEARD_MILLISECONDS < until {
        remark(&format!(
            "the region that was backed up had heard from all others up to {}: what they wrote \
             between then and {} may be missing",
            text(complete),
            text(until)
        ));
    }
    print(&format!(
        "{} is as {} was at {}: {} in its logs, restored in {seconds:.1} s.\nStart {region} in it, \
         and the other regions of the new fleet in empty directories.",
        dir.display(),
        runs.last().map_or("", |run: &Manifest| run.region.as_str()),
        text(until),
        count(events, "event")
    ))?;
    Ok(Outcome::Done)
}

/// The directory is there, and nothing is in it.
fn make_empty(dir: &Path) -> anyhow::Result<()> {
    let shown = dir.display();
    fs::create_dir_all(dir).with_context(|| format!("{shown} cannot be made"))?;
    let mut entries = fs::read_dir(dir).with_context(|| format!("{shown} cannot be read"))?;
    if entries.next().is_some() {
        return Err(wrong_use(format!(
            "{shown} is not empty: a region is restored into a directory of its own"
        )));
    }
    Ok(())
}

/// A directory on its way.
struct Restoring {
    logs: Logs,
    store: FjallStore,
    batch: Batch,
    /// In milliseconds since 1970.
    until: u64,
    /// What the state has applied.
    at: BTreeMap<String, u64>,
    /// Logs that go on after the time.
    cut: BTreeSet<String>,
    /// Every log that any of the backups knows.
    known: BTreeSet<String>,
    hlc: Hlc,
    /// The highest epoch of each type under which an event was written.
    written: BTreeMap<TypeName, u64>,
    roster: Roster,
    unsynced: usize,
}

fn random() -> anyhow::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow::anyhow!("the system gives no random bytes: {error}"))?;
    Ok(bytes)
}

impl Restoring {
    fn begin(dir: &Path, until: u64, known: BTreeSet<String>) -> anyhow::Result<Self> {
        let disk = LocalDisk::open(dir.join("log"))?;
        // What a region had is what is restored: its own bound holds from its start on.
        let settings = Settings { bytes_max: u64::MAX / 4, ..Settings::default() };
        let mut salts = vec![random()?, random()?];
        let (logs, _) =
            Logs::open(Arc::new(disk), settings, &mut || salts.pop().unwrap_or_default())?;
        let path = dir.join("store");
        fs::create_dir_all(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(Self {
            logs,
            store: FjallStore::open(&path, CACHE_BYTES)?,
            batch: Batch::default(),
            until,
            at: BTreeMap::new(),
            cut: BTreeSet::new(),
            known,
            hlc: Hlc::ZERO,
            written: BTreeMap::new(),
            roster: Roster::default(),
            unsynced: 0,
        })
    }

    fn take(&mut self, piece: Piece<'_>) -> anyhow::Result<()> {
        match piece {
            Piece::Head(head) => self.head(head),
            Piece::Rows(batch) => self.rows(&batch),
            Piece::Records(origin, records) => self.records(origin, &records),
        }
    }

    fn head(&mut self, head: &Head) -> anyhow::Result<()> {
        self.roster = head.roster.clone();
        let Some(state) = &head.state else { return Ok(()) };
        self.at = head.upto.clone();
        self.hlc = Hlc::from_bits(state.hlc);
        for Base { origin, sequence, chain } in &state.bases {
            let chain = unhex(chain).context("a chain does not read")?;
            self.logs.create_after(origin, Position { sequence: *sequence, chain })?;
        }
        // What the state was made under was agreed before it.
        for (name, epoch) in self.roster.policies().epochs() {
            self.written.insert(name.clone(), epoch);
        }
        Ok(())
    }

    fn rows(&mut self, rows: &Batch) -> anyhow::Result<()> {
        for (table, key, value) in rows.changes() {
            self.batch.put(table, key, value.unwrap_or_default());
        }
        if self.batch.bytes() >= BATCH_BYTES { self.write_rows() } else { Ok(()) }
    }

    fn write_rows(&mut self) -> anyhow::Result<()> {
        Ok(self.store.write(&std::mem::take(&mut self.batch))?)
    }

    fn records(&mut self, log: &str, records: &[Record<'_>]) -> anyhow::Result<()> {
        if self.cut.contains(log) {
            return Ok(());
        }
        let origin = Origin::parse(log)?;
        let at = self.at.get(log).copied().unwrap_or(0);
        for record in records {
            if record.sequence() > at {
                let dot = Dot::new(origin.clone(), record.sequence());
                let event = decode_event(dot, record.payload(), &Vector::new())
                    .with_context(|| format!("{log}:{} is no event", record.sequence()))?;
                if event.hlc.milliseconds() > self.until {
                    self.cut.insert(log.to_owned());
                    return Ok(());
                }
                self.hlc = self.hlc.max(event.hlc);
                let epoch = self.written.entry(TypeName::of(&event.key)).or_default();
                *epoch = (*epoch).max(event.policy_epoch);
            }
            if self.logs.tail(log).is_err() {
                self.logs.create(log)?;
            }
            self.logs.append_mirror(log, record)?;
            self.unsynced += record.wire().len();
        }
        if self.unsynced >= SYNC_BYTES { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> anyhow::Result<()> {
        self.unsynced = 0;
        if let Some(job) = self.logs.begin_sync(Scope::All)? {
            self.logs.complete_sync(job.run())?;
        }
        Ok(())
    }

    /// Makes it the region's, last of all; how many events its logs have, and where they end.
    fn finish(
        mut self,
        dir: &Path,
        region: &RegionName,
    ) -> anyhow::Result<(u64, BTreeMap<String, u64>)> {
        self.write_rows()?;
        self.store.sync()?;
        self.logs.put_clock(self.hlc.bits())?;
        self.sync()?;
        let mut ends: BTreeMap<String, u64> =
            self.known.iter().map(|origin| (origin.clone(), 0)).collect();
        let mut events = 0;
        let origins: Vec<String> = self.logs.origins().map(str::to_owned).collect();
        for origin in origins {
            let (first, end) =
                (self.logs.reader(&origin)?.first(), self.logs.tail(&origin)?.sequence);
            events += (end + 1).saturating_sub(first.max(1));
            ends.insert(origin, end);
        }
        let restored = self.roster.restored(ends.clone(), self.hlc, self.until, &self.written);
        format::keep(dir)?;
        write_restored(dir, &restored)?;
        drop(self.store);
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let incarnation = u64::from_be_bytes(*random()?.first_chunk().context("random bytes")?);
        self.logs.write_identity(&Identity {
            region: region.to_string(),
            incarnation,
            created_ms: since.map_or(0, |since| since.as_millis() as u64),
        })?;
        self.logs.close()?;
        let sync = || -> io::Result<()> { fs::File::open(dir)?.sync_all() };
        sync().with_context(|| format!("{} cannot be synced", dir.display()))?;
        Ok((events, ends))
    }
}
