//! One region's place in the supervisor: whether it should run, whether it does, what to say.
//!
//! Where it stands: the deciding half of `supervisor.rs`. What always holds: pure, time is an
//! argument; a region stopped by an operator stays down until it is started; one that ends by
//! itself is started again after a constant time, and one that does not stay up is told of once.

use std::time::Duration;

use tokio::time::Instant;

/// A life shorter than this is no life: what ends it will end the next one too.
const SHORT_LIFE: Duration = Duration::from_secs(5);

/// This many short lives in a row are a loop.
const SHORT_LIVES: u32 = 2;

/// Whether the operator wants the region to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Running,
    Stopped,
}

/// What to tell the operator about an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// It was asked for, or has been told of already.
    Nothing,
    /// One line.
    Ended,
    /// It does not stay up: one line, and the last lines of its log.
    Loop,
}

#[derive(Debug)]
pub struct Slot {
    pub wanted: Wanted,
    pub restarts: u64,
    /// When to start it again.
    pub restart_at: Option<Instant>,
    short_lives: u32,
    told: bool,
}

impl Slot {
    #[must_use]
    pub fn new() -> Self {
        Self { wanted: Wanted::Running, restarts: 0, restart_at: None, short_lives: 0, told: false }
    }

    /// An operator starts it: what was wrong may be mended, so ends are told of anew.
    pub fn start(&mut self) {
        *self = Self { restarts: self.restarts, ..Self::new() };
    }

    /// An operator stops it.
    pub fn stop(&mut self) {
        self.wanted = Wanted::Stopped;
        self.restart_at = None;
    }

    /// It is being started again after an end of its own.
    pub fn restart(&mut self) {
        self.restart_at = None;
        self.restarts += 1;
    }

    /// Its process ended after `lived`.
    pub fn ended(
        &mut self,
        now: Instant,
        lived: Duration,
        restart_after: Option<Duration>,
    ) -> Notice {
        if self.wanted == Wanted::Stopped {
            return Notice::Nothing;
        }
        self.restart_at = restart_after.map(|after| now + after);
        if lived >= SHORT_LIFE {
            (self.short_lives, self.told) = (0, false);
            return Notice::Ended;
        }
        self.short_lives += 1;
        if self.told {
            return Notice::Nothing;
        }
        // Without a restart there is no second life to wait for.
        if self.short_lives < SHORT_LIVES && restart_after.is_some() {
            return Notice::Ended;
        }
        self.told = true;
        Notice::Loop
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Option<Duration> = Some(Duration::from_secs(1));

    #[test]
    fn a_loop_is_told_of_once_and_again_after_a_life() {
        let now = Instant::now();
        let mut slot = Slot::new();
        let mut ended = |seconds| slot.ended(now, Duration::from_secs(seconds), AFTER);
        let seen = [ended(0), ended(0), ended(1), ended(0), ended(60), ended(0), ended(0)];
        use Notice::{Ended, Loop, Nothing};
        assert_eq!(seen, [Ended, Loop, Nothing, Nothing, Ended, Ended, Loop]);
        assert_eq!(slot.restart_at, Some(now + Duration::from_secs(1)));
    }

    #[test]
    fn a_stopped_region_stays_down_until_it_is_started() {
        let now = Instant::now();
        let mut slot = Slot::new();
        slot.stop();
        assert_eq!(slot.ended(now, Duration::ZERO, AFTER), Notice::Nothing);
        assert_eq!((slot.restart_at, slot.restarts), (None, 0));
        slot.start();
        assert_eq!(slot.wanted, Wanted::Running);
        assert_eq!(slot.ended(now, Duration::ZERO, AFTER), Notice::Ended);
        slot.restart();
        assert_eq!((slot.restart_at, slot.restarts), (None, 1));
    }

    #[test]
    fn never_means_never() {
        let mut slot = Slot::new();
        assert_eq!(slot.ended(Instant::now(), Duration::ZERO, None), Notice::Loop);
        assert_eq!(slot.restart_at, None);
    }
}
