//! From written to durable: `begin_sync` gathers, some thread runs the job, `complete_sync` takes
//! note. What always holds: a log has at most one job in flight, and what is appended meanwhile
//! waits for the next, so one fsync serves all who wrote during the one before; a job that failed
//! makes nothing durable and ends writing.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::logs::Logs;
use crate::port::{Disk, DiskFile};
use crate::segment::Segment;

/// What a sync is to cover.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    /// Every log and the clock.
    All,
    /// The named logs and the clock: what this region writes itself.
    Own(&'a [&'a str]),
    /// Every log that is not named, without the clock: the mirrors.
    Others(&'a [&'a str]),
}

impl Scope<'_> {
    fn has(self, origin: &str) -> bool {
        match self {
            Scope::All => true,
            Scope::Own(own) => own.contains(&origin),
            Scope::Others(own) => !own.contains(&origin),
        }
    }

    fn has_clock(self) -> bool {
        !matches!(self, Scope::Others(_))
    }
}

/// One log's part of a job.
struct Part {
    origin: Arc<str>,
    segments: Vec<Arc<Segment>>,
    dir: Option<String>,
    upto: u64,
}

/// What a job covers.
struct Gathered {
    parts: Vec<Part>,
    clock: Option<(Arc<dyn DiskFile>, u64)>,
}

/// What the hands do: one fdatasync per file that was written, one fsync per directory that
/// changed. It must be run and completed, or its logs are never synced again.
#[must_use = "run it, and give the result to complete_sync"]
pub struct SyncJob {
    disk: Arc<dyn Disk>,
    life: Arc<()>,
    parts: Vec<Part>,
    clock: Option<(Arc<dyn DiskFile>, u64)>,
}

/// A job that was run.
#[must_use = "give it to complete_sync"]
pub struct SyncDone {
    life: Arc<()>,
    upto: Vec<(Arc<str>, u64)>,
    clock: Option<u64>,
    outcome: Result<()>,
}

impl SyncJob {
    /// Syncs. Blocks for as long as the disk takes.
    pub fn run(self) -> SyncDone {
        let outcome = self.sync();
        SyncDone {
            life: self.life,
            upto: self.parts.into_iter().map(|part| (part.origin, part.upto)).collect(),
            clock: self.clock.map(|(_, hlc)| hlc),
            outcome,
        }
    }

    fn sync(&self) -> Result<()> {
        for part in &self.parts {
            for segment in &part.segments {
                segment.file.sync_data().map_err(Error::io("sync", &segment.path))?;
            }
            if let Some(dir) = &part.dir {
                self.disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
            }
        }
        if let Some((file, _)) = &self.clock {
            file.sync_data().map_err(Error::io("sync", crate::clock::FILE))?;
        }
        Ok(())
    }
}

impl Logs {
    /// Flushes what is in scope and gathers what is not yet durable. `None` if there is nothing, or
    /// if all of it waits for a job that is in flight.
    ///
    /// # Errors
    /// [`Error::Poisoned`].
    pub fn begin_sync(&mut self, scope: Scope<'_>) -> Result<Option<SyncJob>> {
        self.alive()?;
        let Gathered { parts, clock } = match self.gather(scope) {
            Ok(gathered) => gathered,
            Err(error) => return Err(self.poison(error)),
        };
        if parts.is_empty() && clock.is_none() {
            return Ok(None);
        }
        let (disk, life) = (Arc::clone(&self.disk), Arc::clone(&self.life));
        Ok(Some(SyncJob { disk, life, parts, clock }))
    }

    fn gather(&mut self, scope: Scope<'_>) -> Result<Gathered> {
        let mut parts = Vec::new();
        for log in self.logs.values_mut().filter(|log| scope.has(&log.origin)) {
            if log.in_flight {
                continue;
            }
            log.flush()?;
            if log.dirty.is_empty() {
                continue;
            }
            log.in_flight = true;
            let dir = std::mem::take(&mut log.dir_dirty).then(|| log.dir.clone());
            parts.push(Part {
                origin: Arc::clone(&log.origin),
                segments: std::mem::take(&mut log.dirty),
                dir,
                upto: log.complete,
            });
        }
        let clock = if scope.has_clock() { self.clock.begin()? } else { None };
        Ok(Gathered { parts, clock })
    }

    /// Takes note of a job's outcome. Returns the logs whose durable sequence advanced, with it.
    ///
    /// # Errors
    /// [`Error::Poisoned`], if the job failed or an earlier write had; then nothing has become
    /// durable.
    ///
    /// # Panics
    /// If the job was begun by another opening.
    pub fn complete_sync(&mut self, done: SyncDone) -> Result<Vec<(Arc<str>, u64)>> {
        assert!(
            Arc::ptr_eq(&done.life, &self.life),
            "a sync job is completed by the opening that began it"
        );
        self.alive()?;
        if let Err(error) = done.outcome {
            return Err(self.poison(error));
        }
        if let Some(hlc) = done.clock {
            self.clock.complete(hlc);
        }
        let mut advanced = Vec::with_capacity(done.upto.len());
        for (origin, upto) in done.upto {
            let log = self.log_mut(&origin)?;
            log.in_flight = false;
            if upto > log.durable {
                log.durable = upto;
                log.shared.set_durable(upto);
                advanced.push((origin, upto));
            }
        }
        Ok(advanced)
    }
}
