//! What the clients of a drill noted: every write, every read, and the acknowledged ids on a disk
//! of the observer's own.
//!
//! Shared by all clients. What always holds: an id is in the file before its write counts as
//! acknowledged.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context as _;

use crate::account::{Receipt, Written};
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

impl Notes {
    fn of(levels: usize) -> Self {
        Self { stale: vec![0; levels], ..Self::default() }
    }
}

/// Surprises that are shown.
const SURPRISES_MAX: usize = 5;

/// What all clients of a drill share.
struct Shared {
    start: Instant,
    file: Mutex<File>,
    sessions: AtomicUsize,
    acknowledged: AtomicUsize,
    /// Clients write nothing new any more.
    over: AtomicBool,
    /// Clients go back to the region they lost.
    healed: AtomicBool,
}

pub(super) struct Ledger {
    shared: Arc<Shared>,
    notes: Mutex<Notes>,
}

impl Ledger {
    pub(super) fn create(path: &Path, levels: usize) -> anyhow::Result<Self> {
        let file = File::create(path)
            .with_context(|| format!("the ledger {} cannot be made", path.display()))?;
        let shared = Shared {
            start: Instant::now(),
            file: Mutex::new(file),
            sessions: AtomicUsize::new(0),
            acknowledged: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            healed: AtomicBool::new(false),
        };
        Ok(Self { shared: Arc::new(shared), notes: Mutex::new(Notes::of(levels)) })
    }

    /// Another set of notes of the same drill, in the same file.
    pub(super) fn branch(&self, levels: usize) -> Self {
        Self { shared: Arc::clone(&self.shared), notes: Mutex::new(Notes::of(levels)) }
    }

    /// Takes over what was noted elsewhere, but for its history.
    pub(super) fn gather(&self, other: Notes) {
        self.with(|notes| {
            notes.written.extend(other.written);
            for (all, more) in notes.stale.iter_mut().zip(other.stale) {
                *all += more;
            }
            notes.surprises.extend(other.surprises);
            notes.surprises.truncate(SURPRISES_MAX);
        });
    }

    fn with<R>(&self, act: impl FnOnce(&mut Notes) -> R) -> R {
        act(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Milliseconds since the start.
    pub(super) fn now(&self) -> u64 {
        self.shared.start.elapsed().as_millis() as u64
    }

    fn microseconds(&self) -> u64 {
        self.shared.start.elapsed().as_micros() as u64
    }

    /// A session that was not there before.
    pub(super) fn session(&self) -> usize {
        self.shared.sessions.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn is_over(&self) -> bool {
        self.shared.over.load(Ordering::Relaxed)
    }

    pub(super) fn end(&self) {
        self.shared.over.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_healed(&self) -> bool {
        self.shared.healed.load(Ordering::Relaxed)
    }

    pub(super) fn heal(&self) {
        self.shared.healed.store(true, Ordering::Relaxed);
    }

    /// When a read begins, in the unit of the history.
    pub(super) fn begin(&self) -> u64 {
        self.with(|_| self.microseconds())
    }

    pub(super) fn note(&self, session: usize, deed: Deed) {
        self.with(|notes| {
            let at = self.microseconds();
            notes.history.push(Entry { session, at, deed });
        });
    }

    /// Notes a write that came to its end; an acknowledged one goes to the disk first.
    pub(super) fn written(&self, level: &str, write: Written) -> anyhow::Result<()> {
        if let Some(Receipt { when, region, .. }) = &write.acknowledged {
            let mut file = self.shared.file.lock().unwrap_or_else(PoisonError::into_inner);
            writeln!(file, "{when} {level} {region} {} {}", write.key, write.id)
                .context("the ledger cannot be written")?;
            self.shared.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        self.with(|notes| notes.written.push(write));
        Ok(())
    }

    pub(super) fn stale(&self, level: usize) {
        self.with(|notes| notes.stale[level] += 1);
    }

    pub(super) fn surprise(&self, what: String) {
        self.with(|notes| {
            if notes.surprises.len() < SURPRISES_MAX {
                notes.surprises.push(what);
            }
        });
    }

    pub(super) fn acknowledged(&self) -> usize {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Everything, once all clients have ended. The file is on the disk then.
    pub(super) fn take(&self) -> anyhow::Result<Notes> {
        let file = self.shared.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.sync_all().context("the ledger cannot be written")?;
        Ok(self.notes())
    }

    /// What was noted here so far.
    pub(super) fn notes(&self) -> Notes {
        self.with(std::mem::take)
    }
}
