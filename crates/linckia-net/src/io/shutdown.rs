//! The one signal by which everything in the process ends.
//!
//! Where in the flow: the binary triggers it (SIGINT, SIGTERM, a fatal error); whoever holds a
//! socket or a loop waits for it beside its work.
//!
//! What always holds: once triggered it stays so; work that must finish holds a [`Guard`], and
//! whoever drains waits for all guards, but never longer than it said.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

#[derive(Debug)]
struct Signal {
    triggered: watch::Sender<bool>,
    guards: watch::Sender<usize>,
}

/// Announces the end. Dropping it announces nothing.
#[derive(Clone, Debug)]
pub struct Trigger {
    signal: Arc<Signal>,
}

/// Hears of the end.
#[derive(Clone, Debug)]
pub struct Shutdown {
    signal: Arc<Signal>,
    triggered: watch::Receiver<bool>,
}

/// Work that the end waits for, until this is dropped.
#[derive(Debug)]
pub struct Guard {
    signal: Arc<Signal>,
}

impl Shutdown {
    /// A signal not yet given.
    pub fn new() -> (Trigger, Shutdown) {
        let (triggered, receiver) = watch::channel(false);
        let (guards, _) = watch::channel(0);
        let signal = Arc::new(Signal { triggered, guards });
        (Trigger { signal: Arc::clone(&signal) }, Shutdown { signal, triggered: receiver })
    }

    /// Returns once the end was announced. May be dropped and called again at any time.
    pub async fn wait(&self) {
        let mut triggered = self.triggered.clone();
        // It cannot fail: the signal, and with it the sender, lives as long as `self`.
        let _ = triggered.wait_for(|triggered| *triggered).await;
    }

    pub fn is_triggered(&self) -> bool {
        *self.triggered.borrow()
    }

    /// Makes the drain wait for this guard.
    pub fn guard(&self) -> Guard {
        self.signal.guards.send_modify(|guards| *guards += 1);
        Guard { signal: Arc::clone(&self.signal) }
    }
}

impl Trigger {
    /// Announces the end; again changes nothing.
    pub fn trigger(&self) {
        self.signal.triggered.send_replace(true);
    }

    /// Announces the end and waits for the guards; false if some were left after `longest`.
    pub async fn drain(&self, longest: Duration) -> bool {
        self.trigger();
        let mut guards = self.signal.guards.subscribe();
        tokio::time::timeout(longest, guards.wait_for(|guards| *guards == 0)).await.is_ok()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.signal.guards.send_modify(|guards| *guards -= 1);
    }
}
