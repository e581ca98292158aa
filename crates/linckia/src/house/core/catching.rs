//! Catching up from a snapshot, in the region's log: that it began, how far it is, that it is done.

use std::time::{Duration, Instant};

use linckia_region::CatchUp;

use crate::house::port::in_words;

/// Time between two lines.
const TELL: Duration = Duration::from_secs(10);

/// What was told last.
#[derive(Default)]
pub(super) struct Catching {
    told: Option<(CatchUp, Instant)>,
    begun: Option<Instant>,
    /// Bytes of rows that had come when it was looked last.
    bytes: u64,
}

impl Catching {
    /// Tells how far the region is, where that is worth a line.
    pub(super) fn tell(&mut self, now: Option<CatchUp>) {
        let Some(now) = now else {
            if let Some(begun) = self.begun.take() {
                let seconds = begun.elapsed().as_secs_f64();
                let bytes = self.bytes;
                tracing::info!(
                    bytes,
                    seconds,
                    "the state of another region is loaded: the logs go on"
                );
            }
            self.told = None;
            return;
        };
        self.bytes = now.bytes;
        let begun = *self.begun.get_or_insert_with(Instant::now);
        let due = self.told.as_ref().is_none_or(|(told, at)| {
            let turned = told.donor != now.donor || told.awaits_logs != now.awaits_logs;
            turned || at.elapsed() >= TELL
        });
        if due {
            let seconds = begun.elapsed().as_secs();
            tracing::info!(seconds, bytes = now.bytes, "{}", in_words(&now));
            self.told = Some((now, Instant::now()));
        }
    }
}
