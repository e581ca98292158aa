//! The core's part of a backup: it says what there is to read, once the store is far enough.
//!
//! What always holds: one waits at most, and one that nobody waits for is forgotten.

use linckia_model::Vector;
use linckia_region::{NotPinned, Pinned};
use tokio::sync::oneshot;

use super::Driver;

impl Driver {
    pub(super) fn backup(
        &mut self,
        after: Option<Vector>,
        reply: oneshot::Sender<Result<Pinned, NotPinned>>,
    ) {
        let refused = match after {
            Some(after) => return drop(reply.send(self.machine.pin_logs(&after))),
            None => self.machine.want_state(),
        };
        match refused {
            Ok(()) => self.backup = Some(reply),
            Err(why) => drop(reply.send(Err(why))),
        }
    }

    /// Gives the state to the backup that waits for it.
    pub(super) fn cut_backup(&mut self) -> anyhow::Result<()> {
        let Some(reply) = &self.backup else { return Ok(()) };
        if reply.is_closed() {
            self.machine.forget_state();
            self.backup = None;
        } else if let Some(pinned) = self.machine.cut_state()?
            && let Some(reply) = self.backup.take()
        {
            // Who went away meanwhile drops it.
            let _ = reply.send(Ok(pinned));
        }
        Ok(())
    }
}
