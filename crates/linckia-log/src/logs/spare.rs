//! The next segment, zeroed ahead of need on another thread, so that rolling over costs a rename
//! and not the writing of 64 MiB. Optional: without it the append that rolls over writes the zeros.
//! It is written in pieces with pauses between, so that the syncs that clients wait for find the
//! disk free, unless the segment before it is nearly full.
//! What always holds: a spare is synced before it is used, holds no record until it has a
//! segment's name, and is thrown away at opening.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};
use crate::log::{self, OriginLog, Spare};
use crate::logs::Logs;
use crate::port::{Disk, DiskFile};
use crate::segment::Segment;

/// Written and synced at once.
const PIECE_BYTES: u64 = 128 << 10;

/// Makes one spare.
#[must_use = "run it, and give the result to complete_spare"]
pub struct SpareJob {
    disk: Arc<dyn Disk>,
    life: Arc<()>,
    origin: Arc<str>,
    path: String,
    capacity: u64,
    /// The segment that is being filled.
    active: Arc<Segment>,
    hurry: Arc<AtomicBool>,
}

/// A spare that was made, or not.
#[must_use = "give it to complete_spare"]
pub struct SpareDone {
    disk: Arc<dyn Disk>,
    life: Arc<()>,
    origin: Arc<str>,
    path: String,
    capacity: u64,
    outcome: std::io::Result<Arc<dyn DiskFile>>,
}

impl SpareJob {
    /// Writes the zeros and syncs them, piece by piece. Blocks for as long as the disk takes, and
    /// for what `rest` does between two pieces; it is not called while somebody waits for the
    /// spare.
    pub fn run(self, mut rest: impl FnMut()) -> SpareDone {
        let outcome = self.write(&mut rest);
        SpareDone {
            disk: self.disk,
            life: self.life,
            origin: self.origin,
            path: self.path,
            capacity: self.capacity,
            outcome,
        }
    }
}

impl SpareJob {
    fn write(&self, rest: &mut dyn FnMut()) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.create(&self.path)?;
        let mut at = 0;
        while at < self.capacity {
            let end = (at + PIECE_BYTES).min(self.capacity);
            log::zero(&*file, at, end)?;
            file.sync_data()?;
            at = end;
            if !self.is_pressing() {
                rest();
            }
        }
        Ok(file)
    }

    fn is_pressing(&self) -> bool {
        let nearly_full = self.active.written() > self.active.capacity / 4 * 3;
        nearly_full || self.hurry.load(Ordering::Relaxed)
    }
}

impl Logs {
    /// The spare being made is made without pauses from now on: somebody waits for the job.
    pub fn hurry(&self) {
        self.hurry.store(true, Ordering::Relaxed);
    }

    /// True if a log waits for the job to be done with another's spare.
    pub fn spare_due(&self) -> bool {
        self.logs.values().any(OriginLog::wants_spare)
    }

    /// A job for the first log that is more than half through its segment and has no spare, if the
    /// bound leaves room for one.
    ///
    /// # Errors
    /// [`Error::Poisoned`].
    pub fn begin_spare(&mut self) -> Result<Option<SpareJob>> {
        self.alive()?;
        let bound = self.settings.bytes_max;
        let Some(origin) =
            self.logs.values().find_map(|log| log.wants_spare().then(|| Arc::clone(&log.origin)))
        else {
            return Ok(None);
        };
        let Ok(capacity) = self.next_capacity(&origin, 0, bound) else { return Ok(None) };
        let (disk, life) = (Arc::clone(&self.disk), Arc::clone(&self.life));
        self.hurry.store(false, Ordering::Relaxed);
        let hurry = Arc::clone(&self.hurry);
        let log = self.log_mut(&origin)?;
        log.spare = Spare::Making(capacity);
        let path = log::spare_path(&log.dir);
        let active = Arc::clone(&log.active);
        Ok(Some(SpareJob { disk, life, origin, path, capacity, active, hurry }))
    }

    /// Takes the spare, or notes that there is none.
    ///
    /// # Errors
    /// [`Error::NoSpace`] if the disk has no room for it, which costs nothing yet;
    /// [`Error::Poisoned`].
    ///
    /// # Panics
    /// If the job was begun by another opening.
    pub fn complete_spare(&mut self, done: SpareDone) -> Result<()> {
        assert!(
            Arc::ptr_eq(&done.life, &self.life),
            "a spare is taken by the opening that asked for it"
        );
        self.alive()?;
        let log = self.log_mut(&done.origin)?;
        if !matches!(log.spare, Spare::Making(_)) {
            // The log was started anew meanwhile; opening throws away what is left of a spare.
            drop(done.disk.remove(&done.path));
            return Ok(());
        }
        match done.outcome {
            Ok(file) => {
                log.spare = Spare::Ready(file, done.capacity);
                Ok(())
            }
            Err(error) if log::no_room(&error) && done.disk.remove(&done.path).is_ok() => {
                log.spare = Spare::None;
                Err(Error::NoSpace { path: done.path, source: error })
            }
            Err(error) => Err(self.poison(Error::io("write", &done.path)(error))),
        }
    }
}
