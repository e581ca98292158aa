//! The threads that work for the core: they wait for the disk, make rows and read them.
//!
//! Each takes one job at a time and hands what came of it in as an order. They end with the core.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use linckia_log::{SpareJob, SyncJob};
use linckia_region::{Input, StoreJob, SyncKind};

use super::core::Order;
use super::measures;

/// What the hand at the store adds to its niceness: its flushes are bursts of work.
const STORE_NICENESS: i32 = 10;

/// Between two pieces of a spare segment the disk rests so many times what the last one took, and
/// never longer than this.
const SPARE_PAUSE_FACTOR: u32 = 4;
const SPARE_PAUSE_MAX: Duration = Duration::from_millis(200);

/// The threads that wait for the disk.
pub(super) struct Hands {
    syncs: [SyncSender<SyncJob>; 2],
    spares: SyncSender<SpareJob>,
    stores: SyncSender<StoreJob>,
}

/// Tells the core if its thread panics: work that never comes back would hold up everything.
struct Guard(SyncSender<Order>);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let name = std::thread::current().name().unwrap_or("a hand").to_owned();
            let _ = self.0.send(Order::Panicked(name));
        }
    }
}

impl Hands {
    pub(super) fn start(orders: &SyncSender<Order>) -> Result<Self> {
        Ok(Self {
            syncs: [
                Self::syncing("sync-own", SyncKind::Own, orders.clone())?,
                Self::syncing("sync-mirrors", SyncKind::Mirrors, orders.clone())?,
            ],
            spares: Self::working("spare", orders.clone(), |job: SpareJob| {
                let mut began = Instant::now();
                let done = job.run(|| {
                    std::thread::sleep((began.elapsed() * SPARE_PAUSE_FACTOR).min(SPARE_PAUSE_MAX));
                    began = Instant::now();
                });
                Input::Spared { done }
            })?,
            stores: {
                let mut stepped_back = false;
                Self::working("store", orders.clone(), move |job: StoreJob| {
                    // Clients wait for the others, never for this one.
                    if !std::mem::replace(&mut stepped_back, true) {
                        let _ = rustix::process::nice(STORE_NICENESS);
                    }
                    Input::Stored { done: job.run() }
                })?
            },
        })
    }

    /// A thread that takes one job at a time and hands in what came of it.
    fn working<J: Send + 'static>(
        name: &str,
        orders: SyncSender<Order>,
        mut work: impl FnMut(J) -> Input + Send + 'static,
    ) -> Result<SyncSender<J>> {
        let (jobs, queue) = sync_channel::<J>(1);
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _guard = Guard(orders.clone());
                while let Ok(job) = queue.recv() {
                    if orders.send(Order::Done(work(job))).is_err() {
                        return;
                    }
                }
            })
            .with_context(|| format!("the thread {name} cannot be started"))?;
        Ok(jobs)
    }

    fn syncing(
        name: &str,
        kind: SyncKind,
        orders: SyncSender<Order>,
    ) -> Result<SyncSender<SyncJob>> {
        Self::working(name, orders, move |job: SyncJob| {
            let started = Instant::now();
            let done = job.run();
            if kind == SyncKind::Own {
                measures::synced(started.elapsed().as_secs_f64());
            }
            Input::Synced { kind, done }
        })
    }

    /// They take one job of a kind at a time, and the machine gives no more: there is room.
    pub(super) fn sync(&self, kind: SyncKind, job: SyncJob) {
        let _ = self.syncs[kind as usize].send(job);
    }

    pub(super) fn make_spare(&self, job: SpareJob) {
        let _ = self.spares.send(job);
    }

    pub(super) fn store(&self, job: StoreJob) {
        let _ = self.stores.send(job);
    }
}
