//! How long a command goes on trying while a region does not answer.
//!
//! `import`, `export` and `events --follow` meet regions that are killed and restarted under them.
//! Each holds one `Patience`, tells it of every success, and asks it before every new try.
//! What always holds: a wait is at most `DELAY_LONGEST` (or what the region asked for, up to
//! `ASKED_LONGEST`), and without a success the tries end when the limit is used up.

use std::time::{Duration, Instant};

/// A region that is killed is back within two seconds; asking sooner than this gains nothing.
const DELAY_SHORTEST: Duration = Duration::from_millis(100);

/// Longer waits would leave a region idle that is back already.
const DELAY_LONGEST: Duration = Duration::from_secs(2);

/// A `Retry-After` above this is cut: the limit given by the user decides, not the region.
const ASKED_LONGEST: Duration = Duration::from_secs(10);

/// The default of `--retry-for`: a restart with a million events to reopen fits many times over.
pub(crate) const RETRY_FOR_DEFAULT: &str = "60s";

/// Tries left of one outage.
pub(crate) struct Patience {
    limit: Duration,
    since: Option<Instant>,
    delay: Duration,
}

impl Patience {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, since: None, delay: DELAY_SHORTEST }
    }

    /// Something was achieved: the next failure begins a new outage.
    pub(crate) fn succeeded(&mut self) {
        self.since = None;
        self.delay = DELAY_SHORTEST;
    }

    /// Waits before the next try; `false`, at once, if the limit is used up.
    pub(crate) async fn wait(&mut self, asked: Option<Duration>) -> bool {
        match self.next_delay(Instant::now(), asked) {
            Some(delay) => {
                tokio::time::sleep(delay).await;
                true
            }
            None => false,
        }
    }

    fn next_delay(&mut self, now: Instant, asked: Option<Duration>) -> Option<Duration> {
        let since = *self.since.get_or_insert(now);
        let left = self.limit.checked_sub(now.saturating_duration_since(since))?;
        if left.is_zero() {
            return None;
        }
        let delay = self.delay.max(asked.unwrap_or_default().min(ASKED_LONGEST)).min(left);
        self.delay = (self.delay * 2).min(DELAY_LONGEST);
        Some(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end_with_the_limit() {
        let start = Instant::now();
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut patience = Patience::new(Duration::from_secs(3));
        assert_eq!(patience.next_delay(start, None), Some(Duration::from_millis(100)));
        assert_eq!(patience.next_delay(after(100), None), Some(Duration::from_millis(200)));
        let asked = Some(Duration::from_secs(1));
        assert_eq!(patience.next_delay(after(300), asked), Some(Duration::from_secs(1)));
        assert_eq!(patience.next_delay(after(2_900), None), Some(Duration::from_millis(100)));
        assert_eq!(patience.next_delay(after(3_000), None), None);
        patience.succeeded();
        assert_eq!(patience.next_delay(after(9_000), None), Some(Duration::from_millis(100)));
    }
}
