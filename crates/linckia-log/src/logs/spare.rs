//! The next segment, zeroed ahead of need on another thread, so that rolling over costs a rename
//! and not the writing of 64 MiB. Optional: without it the append that rolls over writes the zeros.
//! What always holds: a spare is synced before it is used, holds no record until it has a
//! segment's name, and is thrown away at opening.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::log::{self, Spare};
use crate::logs::Logs;
use crate::port::{Disk, DiskFile};

/// Makes one spare.
#[must_use = "run it, and give the result to complete_spare"]
pub struct SpareJob {
    disk: Arc<dyn Disk>,
    life: Arc<()>,
    origin: Arc<str>,
    path: String,
    capacity: u64,
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
    /// Writes the zeros and syncs them. Blocks for as long as the disk takes.
    pub fn run(self) -> SpareDone {
        let outcome = log::allocate(&*self.disk, &self.path, self.capacity)
            .and_then(|file| file.sync_data().map(|()| file));
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

impl Logs {
    /// A job for the first log that is more than half through its segment and has no spare, if the
    /// bound leaves room for one.
    ///
    /// # Errors
    /// [`Error::Poisoned`].
    pub fn begin_spare(&mut self) -> Result<Option<SpareJob>> {
        self.alive()?;
        let bound = self.settings.bytes_max;
        let Some(origin) = self.logs.values().find_map(|log| {
            let due = matches!(log.spare, Spare::None) && log.written > log.active.capacity / 2;
            due.then(|| Arc::clone(&log.origin))
        }) else {
            return Ok(None);
        };
        let Ok(capacity) = self.next_capacity(&origin, 0, bound) else { return Ok(None) };
        let (disk, life) = (Arc::clone(&self.disk), Arc::clone(&self.life));
        let log = self.log_mut(&origin)?;
        log.spare = Spare::Making(capacity);
        let path = log::spare_path(&log.dir);
        Ok(Some(SpareJob { disk, life, origin, path, capacity }))
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
