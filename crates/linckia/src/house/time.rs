//! The region's two clocks: the only place of a running region where time is read.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use linckia_model::Now;

/// Wall clock and monotonic clock, the latter since the start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    start: Instant,
    /// Added to the wall clock, in milliseconds, in rehearsals.
    offset: i64,
}

impl Clocks {
    pub(super) fn start(offset: i64) -> Self {
        Self { start: Instant::now(), offset }
    }

    /// The wall clock in nanoseconds since the Unix epoch.
    pub(super) fn nanoseconds(&self) -> u64 {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        (wall as u64).saturating_add_signed(self.offset.saturating_mul(1_000_000))
    }

    pub(super) fn now(&self) -> Now {
        // A wall clock before 1970 counts as 1970: the fleet's time then rules.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
        let monotonic = self.start.elapsed().as_millis() as u64 + 1;
        Now { wall: (wall as u64).saturating_add_signed(self.offset), monotonic }
    }
}
