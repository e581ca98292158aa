//! The way in to the core: orders, and the queue that they wait in.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use linckia_api::{Answers, Unavailable};
use linckia_apply::{Query, Reading};
use linckia_model::{Agreed, Dot, Holders, RegionName, Vector, Write};
use linckia_region::{DemandOrder, Input, NotPinned, Pinned, RepairView, Role, Status};
use linckia_ship::Frame;
use tokio::sync::{mpsc, oneshot};

/// What is asked of the core.
pub(in crate::house) enum Order {
    Write {
        write: Write,
        came: Instant,
        reply: oneshot::Sender<Answers>,
    },
    Read {
        query: Query,
        reply: oneshot::Sender<Result<Reading, Unavailable>>,
    },
    Holders {
        dot: Dot,
        reply: oneshot::Sender<Option<Holders>>,
    },
    /// What a backup may read: all, or what came after the vector.
    Backup {
        after: Option<Vector>,
        reply: oneshot::Sender<Result<Pinned, NotPinned>>,
    },
    /// A client waits until this is applied.
    Want {
        vector: Vector,
    },
    /// The fleet agreed on policies.
    Agreed(Agreed),
    Status {
        reply: oneshot::Sender<Status>,
    },
    /// What comparing has found.
    Repairs {
        reply: oneshot::Sender<RepairView>,
    },
    /// Compare now; answered by the number of the order, or none while another one is under way.
    Repair {
        order: DemandOrder,
        reply: oneshot::Sender<Option<u64>>,
    },
    /// A link came up; frames for it go to `frames`. `life` tells it from its predecessors.
    Opened {
        peer: RegionName,
        role: Role,
        life: u64,
        frames: mpsc::Sender<Frame>,
    },
    Closed {
        peer: RegionName,
        role: Role,
        life: u64,
    },
    Received {
        peer: RegionName,
        role: Role,
        life: u64,
        frame: Frame,
    },
    /// The hands are done.
    Done(Input),
    /// The hand of that name is gone.
    Panicked(String),
    Stop,
}

/// The way in to the core; clones are the same way.
#[derive(Clone)]
pub(in crate::house) struct Orders {
    pub(super) queue: SyncSender<Order>,
    pub(super) waiting: Arc<AtomicUsize>,
}

/// Why an order was not taken.
pub(in crate::house) enum NotTaken {
    Full,
    Ended,
}

impl Orders {
    pub(in crate::house) fn try_send(&self, order: Order) -> Result<(), NotTaken> {
        match self.pass(order) {
            None => Ok(()),
            Some((_, why)) => Err(why),
        }
    }

    /// Gives the order back if it was not taken.
    fn pass(&self, order: Order) -> Option<(Order, NotTaken)> {
        // Counted before it can be taken, so that the count is never below what waits.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let back = match self.queue.try_send(order) {
            Ok(()) => return None,
            Err(TrySendError::Full(back)) => (back, NotTaken::Full),
            Err(TrySendError::Disconnected(back)) => (back, NotTaken::Ended),
        };
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        Some(back)
    }

    /// Waits for room. False if the core has ended.
    pub(in crate::house) async fn send(&self, mut order: Order) -> bool {
        loop {
            match self.pass(order) {
                None => return true,
                Some((_, NotTaken::Ended)) => return false,
                Some((back, NotTaken::Full)) => order = back,
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
