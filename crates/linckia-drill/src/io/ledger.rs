//! What the clients of a drill noted: every write, every read, and the acknowledged ids on a disk
//! of the observer's own.
//!
//! Shared by all clients. What always holds: an id is in the file before its write counts as
//! acknowledged.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context as _;

use crate::account::Written;
use crate::history::{Deed, Entry};

/// All that was noted.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) written: Vec<Written>,
    pub(super) history: Vec<Entry>,
    /// Stale reads by level.
    pub(super) stale: Vec<u64>,
    /// Answers that no client should get, the first few.
    pub(super) surprises: Vec<String>,
}

/// Surprises that are shown.
const SURPRISES_MAX: usize = 5;

pub(super) struct Ledger {
    start: Instant,
    notes: Mutex<(Notes, File)>,
    sessions: AtomicUsize,
    /// Clients write nothing new any more.
    over: AtomicBool,
    /// Clients go back to the region they lost.
    healed: AtomicBool,
}

impl Ledger {
    pub(super) fn create(path: &Path, levels: usize) -> anyhow::Result<Self> {
        let file = File::create(path)
            .with_context(|| format!("the ledger {} cannot be made", path.display()))?;
        let notes = Notes { stale: vec![0; levels], ..Notes::default() };
        Ok(Self {
            start: Instant::now(),
            notes: Mutex::new((notes, file)),
            sessions: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            healed: AtomicBool::new(false),
        })
    }

    fn with<R>(&self, act: impl FnOnce(&mut Notes, &mut File) -> R) -> R {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let (notes, file) = &mut *notes;
        act(notes, file)
    }

    /// Milliseconds since the start.
    pub(super) fn now(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    fn microseconds(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    /// A session that was not there before.
    pub(super) fn session(&self) -> usize {
        self.sessions.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_healed(&self) -> bool {
        self.healed.load(Ordering::Relaxed)
    }

    pub(super) fn heal(&self) {
        self.healed.store(true, Ordering::Relaxed);
    }

    /// When a read begins, in the unit of the history.
    pub(super) fn begin(&self) -> u64 {
        self.with(|_, _| self.microseconds())
    }

    pub(super) fn note(&self, session: usize, deed: Deed) {
        self.with(|notes, _| {
            let at = self.microseconds();
            notes.history.push(Entry { session, at, deed });
        });
    }

    /// Notes a write that came to its end; an acknowledged one goes to the disk first.
    pub(super) fn written(&self, level: &str, write: Written) -> anyhow::Result<()> {
        self.with(|notes, file| {
            if let Some((when, region)) = &write.acknowledged {
                writeln!(file, "{when} {level} {region} {} {}", write.key, write.id)
                    .context("the ledger cannot be written")?;
            }
            notes.written.push(write);
            Ok(())
        })
    }

    pub(super) fn stale(&self, level: usize) {
        self.with(|notes, _| notes.stale[level] += 1);
    }

    pub(super) fn surprise(&self, what: String) {
        self.with(|notes, _| {
            if notes.surprises.len() < SURPRISES_MAX {
                notes.surprises.push(what);
            }
        });
    }

    pub(super) fn acknowledged(&self) -> usize {
        self.with(|notes, _| notes.written.iter().filter(|w| w.acknowledged.is_some()).count())
    }

    /// Everything, once all clients have ended. The file is on the disk then.
    pub(super) fn take(&self) -> anyhow::Result<Notes> {
        self.with(|notes, file| {
            file.sync_all().context("the ledger cannot be written")?;
            Ok(std::mem::take(notes))
        })
    }
}
