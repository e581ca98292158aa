//! Questions to a peer over the link that leads there, and their answers.
//!
//! Frames of their own on the links (`links.rs`), past the core: what is forwarded (`forward.rs`),
//! what the agreement asks (`consult.rs`). What always holds: a bounded number is under way on each
//! link; one whose link ends is told so; the answer goes to whoever asked.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use linckia_model::RegionName;
use linckia_ship::Frame;
use tokio::sync::{mpsc, oneshot};

/// Questions under way to one peer, and from one.
pub(super) const UNDER_WAY_MAX: usize = 64;

/// The way to one peer.
struct Way<A> {
    life: u64,
    /// Weak: the link ends when the core lets go of it.
    frames: mpsc::WeakSender<Frame>,
    waiting: BTreeMap<u64, oneshot::Sender<A>>,
}

/// Every way, for questions of one kind whose answers are `A`.
pub(super) struct Calls<A> {
    ways: Mutex<BTreeMap<RegionName, Way<A>>>,
    number: AtomicU64,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silent {
    /// There is no link, or no room on it: nothing was sent.
    Unreachable,
    /// It was sent, and no answer came in time.
    Unanswered,
}

impl<A> Default for Calls<A> {
    fn default() -> Self {
        Self { ways: Mutex::default(), number: AtomicU64::new(0) }
    }
}

impl<A> Calls<A> {
    fn ways<T>(&self, act: impl FnOnce(&mut BTreeMap<RegionName, Way<A>>) -> T) -> T {
        act(&mut self.ways.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A link to a peer came up.
    pub(super) fn opened(&self, peer: &RegionName, life: u64, frames: &mpsc::WeakSender<Frame>) {
        let way = Way { life, frames: frames.clone(), waiting: BTreeMap::new() };
        self.ways(|ways| ways.insert(peer.clone(), way));
    }

    /// It ended: what waits on it hears so.
    pub(super) fn closed(&self, peer: &RegionName, life: u64) {
        self.ways(|ways| {
            if ways.get(peer).is_some_and(|way| way.life == life) {
                ways.remove(peer);
            }
        });
    }

    /// The answer to a question of ours.
    pub(super) fn answered(&self, peer: &RegionName, number: u64, answer: A) {
        let waiting = self.ways(|ways| ways.get_mut(peer)?.waiting.remove(&number));
        if let Some(waiting) = waiting {
            // Whoever asked may have left.
            let _ = waiting.send(answer);
        }
    }

    /// Sends a question, made with its number, to a peer and waits for its answer.
    pub(super) async fn ask(
        &self,
        to: &RegionName,
        longest: Duration,
        question: impl FnOnce(u64) -> Frame,
    ) -> Result<A, Silent> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        let sent = self.ways(|ways| {
            let way = ways.get_mut(to)?;
            if way.waiting.len() >= UNDER_WAY_MAX {
                return None;
            }
            way.frames.upgrade()?.try_send(question(number)).ok()?;
            way.waiting.insert(number, sender);
            Some(())
        });
        sent.ok_or(Silent::Unreachable)?;
        // Whoever asked may leave meanwhile: its place is given back all the same.
        let _place = Place { calls: self, to, number };
        match tokio::time::timeout(longest, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            _ => Err(Silent::Unanswered),
        }
    }
}

/// The place of a question that is waited for.
struct Place<'a, A> {
    calls: &'a Calls<A>,
    to: &'a RegionName,
    number: u64,
}

impl<A> Drop for Place<'_, A> {
    fn drop(&mut self) {
        self.calls.ways(|ways| ways.get_mut(self.to)?.waiting.remove(&self.number));
    }
}
