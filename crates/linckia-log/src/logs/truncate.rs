//! Letting go of what a log no longer needs: whole segments from its front, by a job, because the
//! disk takes its time; and of a mirror that begins anew further on.
//! What always holds: what is left is a gapless suffix, before and after any crash; readers that
//! had a segment keep it until they are done.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::log;
use crate::logs::{Logs, Position, SEQUENCE_MAX};
use crate::port::Disk;
use crate::reader::Shared;
use crate::segment::Segment;

/// Removes segments that nobody finds any more.
#[must_use = "run it, and give the result to complete_truncate"]
pub struct TruncateJob {
    disk: Arc<dyn Disk>,
    life: Arc<()>,
    log: Arc<Shared>,
    dir: String,
    segments: Vec<Arc<Segment>>,
}

/// Segments that were removed, or not.
#[must_use = "give it to complete_truncate"]
pub struct TruncateDone {
    life: Arc<()>,
    log: Arc<Shared>,
    freed: u64,
    outcome: Result<()>,
}

impl TruncateJob {
    /// Removes the files. Blocks for as long as the disk takes.
    pub fn run(self) -> TruncateDone {
        let freed = self.segments.iter().map(|segment| segment.capacity).sum();
        let outcome = remove(&*self.disk, &self.dir, &self.segments);
        TruncateDone { life: self.life, log: self.log, freed, outcome }
    }
}

/// One by one, oldest first, each durable before the next: a crash leaves no hole.
fn remove(disk: &dyn Disk, dir: &str, segments: &[Arc<Segment>]) -> Result<()> {
    for segment in segments {
        disk.remove(&segment.path)
            .and_then(|()| disk.sync_dir(dir))
            .map_err(Error::io("remove", &segment.path))?;
    }
    Ok(())
}

impl Logs {
    /// Takes from the readers the segments that hold only durable records below `sequence`; the
    /// job removes their files. None if there is no such segment. The active segment stays.
    ///
    /// # Errors
    /// [`Error::Poisoned`], [`Error::UnknownOrigin`].
    pub fn begin_truncate(&mut self, origin: &str, sequence: u64) -> Result<Option<TruncateJob>> {
        self.alive()?;
        let log = self.log(origin)?;
        let below = sequence.min(log.durable + 1);
        let segments: Vec<Arc<Segment>> = log.shared.with_segments(|segments| {
            let ends = segments.iter().skip(1).take_while(|next| next.first <= below);
            let count = ends.count();
            segments.drain(..count).collect()
        });
        if segments.is_empty() {
            return Ok(None);
        }
        let (disk, life) = (Arc::clone(&self.disk), Arc::clone(&self.life));
        let (log, dir) = (Arc::clone(&log.shared), log.dir.clone());
        Ok(Some(TruncateJob { disk, life, log, dir, segments }))
    }

    /// Takes note that segments were removed. Returns the bytes freed.
    ///
    /// # Errors
    /// [`Error::Poisoned`].
    ///
    /// # Panics
    /// If the job was begun by another opening.
    pub fn complete_truncate(&mut self, done: TruncateDone) -> Result<u64> {
        assert!(
            Arc::ptr_eq(&done.life, &self.life),
            "segments are removed for the opening that asked for it"
        );
        self.alive()?;
        if let Err(error) = done.outcome {
            return Err(self.poison(error));
        }
        let log = self.log_mut(&done.log.origin)?;
        // One that was started anew meanwhile never had them.
        if Arc::ptr_eq(&log.shared, &done.log) {
            log.allocated -= done.freed;
        }
        Ok(done.freed)
    }

    /// Removes the segments that hold only durable records below `sequence`. Returns the bytes
    /// freed. The active segment stays.
    ///
    /// # Errors
    /// [`Error::Poisoned`], [`Error::UnknownOrigin`].
    pub fn truncate_below(&mut self, origin: &str, sequence: u64) -> Result<u64> {
        match self.begin_truncate(origin, sequence)? {
            Some(job) => self.complete_truncate(job.run()),
            None => Ok(0),
        }
    }

    /// The first and the last sequence of a log's oldest segment, unless it is the active one.
    ///
    /// # Errors
    /// [`Error::UnknownOrigin`].
    pub fn oldest_segment(&self, origin: &str) -> Result<Option<(u64, u64)>> {
        let log = self.log(origin)?;
        Ok(log.shared.with_segments(|segments| match &segments[..] {
            [oldest, next, ..] => Some((oldest.first, next.first - 1)),
            _ => None,
        }))
    }

    /// Lets go of all of a mirror and goes on behind `position`, which is beyond its tail: what
    /// lies between is not needed here. Durable when it returns; after a crash before that, the log
    /// is as it was or as it is then.
    ///
    /// # Errors
    /// [`Error::OutOfOrder`] unless the position is beyond the tail, and as
    /// [`create_after`](Logs::create_after).
    ///
    /// # Panics
    /// If a sync of the log is in flight.
    pub fn restart_after(&mut self, origin: &str, position: Position) -> Result<()> {
        self.alive()?;
        let Ok(before) = self.log(origin) else { return self.create_after(origin, position) };
        assert!(!before.in_flight, "a mirror is restarted while none of its syncs is under way");
        if position.sequence <= before.tail || position.sequence >= SEQUENCE_MAX {
            return Err(Error::OutOfOrder {
                origin: origin.to_owned(),
                expected: before.tail + 1,
                found: position.sequence,
            });
        }
        let dir = before.dir.clone();
        let segments = before.shared.with_segments(|segments| segments.clone());
        let had_spare = before.spare.bytes() > 0;
        // The new one first: recovery sees by its header that those before are let go of.
        self.created += 1;
        let secret = self.secret.branch(origin, self.created);
        let log = self.create_log(origin, position, secret)?;
        self.logs.insert(Arc::clone(&log.origin), log);
        if had_spare {
            // One that is still being made is thrown away when it is done, or at opening.
            drop(self.disk.remove(&log::spare_path(&dir)));
        }
        if let Err(error) = remove(&*self.disk, &dir, &segments) {
            return Err(self.poison(error));
        }
        Ok(())
    }
}
