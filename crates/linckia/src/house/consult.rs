//! The agreement among the members, over the links: what must be decided by a majority.
//!
//! Its journal lies beside the logs, its messages are frames of their own (`calls.rs`). What always
//! holds: the core does not wait for it, and a region whose agreement ends while it runs goes on.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, Result};
use linckia_control::{Agreement, AgreementSettings, Peers};
use linckia_log::LocalDisk;
use linckia_model::RegionName;
use linckia_ship::Frame;
use tokio::sync::{Semaphore, mpsc};

use super::calls::Calls;
use super::time::Clocks;

/// What a frame holds.
const QUESTION_BYTES_MAX: usize = 12 << 20;

/// Where the journal lies in the region's directory.
const DIRECTORY: &str = "agreement";

/// The fleet's time here: this machine's clock and how far the core found it to be off.
#[derive(Clone)]
pub(super) struct FleetTime {
    clocks: Clocks,
    /// What to add to the wall clock, in milliseconds.
    offset: Arc<AtomicI64>,
}

impl FleetTime {
    pub(super) fn new(clocks: Clocks) -> Self {
        Self { clocks, offset: Arc::default() }
    }

    pub(super) fn set(&self, offset: i64) {
        self.offset.store(offset, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> u64 {
        self.clocks.now().wall.saturating_add_signed(self.offset.load(Ordering::Relaxed))
    }
}

/// Who begins, or goes on.
pub(super) struct Beginning {
    pub(super) name: RegionName,
    pub(super) members: Vec<RegionName>,
    /// Its logs hold events.
    pub(super) has_history: bool,
    /// An operator says that what was decided is lost.
    pub(super) begin_anew: bool,
    /// Its directory was restored from a backup.
    pub(super) restored: bool,
    /// It takes part once it is known not to be an old copy.
    pub(super) asleep: bool,
}

/// The way to the other members, and this member's part once it has begun.
#[derive(Default)]
pub(super) struct Consults {
    pub(super) calls: Calls<Vec<u8>>,
    agreement: OnceLock<Agreement<Consults>>,
}

impl Peers for Consults {
    async fn ask(&self, to: &RegionName, question: Vec<u8>, longest: Duration) -> Option<Vec<u8>> {
        if question.len() > QUESTION_BYTES_MAX {
            tracing::error!(%to, bytes = question.len(), "a message of the agreement is too long");
            return None;
        }
        let frame = |number| Frame::Consult { number, question };
        self.calls.ask(to, longest, frame).await.ok()
    }
}

impl Consults {
    /// Begins, or goes on from the journal in the directory.
    pub(super) async fn begin(
        self: &Arc<Self>,
        dir: &Path,
        beginning: Beginning,
        time: FleetTime,
    ) -> Result<Agreement<Self>> {
        let dir = dir.join(DIRECTORY);
        let disk = Arc::new(LocalDisk::open(&dir)?);
        let Beginning { name, members, has_history, begin_anew, restored, asleep } = beginning;
        let time = Arc::new(move || time.now());
        let settings =
            AgreementSettings { name, members, has_history, begin_anew, restored, asleep, time };
        let fresh = || super::random().map_err(std::io::Error::other);
        let agreement = Agreement::open(settings, disk, Arc::clone(self), fresh)
            .await
            .with_context(|| format!("the agreement's journal in {}", dir.display()))?;
        // Begun once, at the start.
        let _ = self.agreement.set(agreement.clone());
        Ok(agreement)
    }

    /// Answers a question of a peer, in a task of its own. One beyond its bound is left unanswered:
    /// the asker tries again.
    pub(super) fn answer(
        self: &Arc<Self>,
        from: &RegionName,
        number: u64,
        question: Vec<u8>,
        frames: &mpsc::WeakSender<Frame>,
        room: &Arc<Semaphore>,
    ) {
        let Some(frames) = frames.upgrade() else { return };
        let Some(agreement) = self.agreement.get().cloned() else { return };
        let Ok(place) = Arc::clone(room).try_acquire_owned() else { return };
        let from = from.clone();
        tokio::spawn(async move {
            let answer = agreement.answer(&from, &question).await;
            let _ = frames.send(Frame::Consulted { number, answer }).await;
            drop(place);
        });
    }
}
