//! The rules by which a region takes hybrid time from clocks that may lie.
//!
//! Capture asks for the next timestamp of an event, ship tells what clocks the peers show, apply
//! asks whether an origin is too far ahead. What always holds: a timestamp is above every one this
//! region gave or applied before (only the wall clock is clamped, never the result), so the HLC
//! order extends the causal order whatever the clocks do.

use std::collections::BTreeMap;

use crate::hlc::Hlc;
use crate::name::RegionName;

/// The two clocks of the machine at one moment, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Since the Unix epoch; may jump either way.
    pub wall: u64,
    /// Since any fixed moment of this process's life; never goes back.
    pub monotonic: u64,
}

/// How far clocks may stray.
#[derive(Clone, Copy, Debug)]
pub struct ClockSettings {
    /// ε: the wall clock counts only within this distance of the fleet's time, in milliseconds.
    pub epsilon_milliseconds: u64,
    /// A peer's clock enters the fleet's time while it was heard this recently, in milliseconds.
    pub heard_milliseconds: u64,
}

impl Default for ClockSettings {
    fn default() -> Self {
        Self { epsilon_milliseconds: 500, heard_milliseconds: 5_000 }
    }
}

/// A peer's wall clock as last heard, and when that was on our monotonic clock.
#[derive(Clone, Copy, Debug)]
struct Heard {
    wall: u64,
    monotonic: u64,
}

/// A region's hybrid clock.
#[derive(Clone, Debug)]
pub struct Clock {
    settings: ClockSettings,
    /// The highest timestamp given or applied here.
    last: Hlc,
    heard: BTreeMap<RegionName, Heard>,
    /// The fleet's time when it was last agreed with somebody, carried on monotonically when alone.
    fleet: Option<Heard>,
    /// A planted fault for the simulator: the clamp bounds the whole stamp.
    clamp_whole: bool,
}

impl Clock {
    /// A clock that never gives a timestamp at or below `durable`.
    pub fn new(settings: ClockSettings, durable: Hlc) -> Self {
        Self { settings, last: durable, heard: BTreeMap::new(), fleet: None, clamp_whole: false }
    }

    /// Plants the fault that the clamp bounds the whole stamp, for the simulator's proof that it
    /// would find it.
    pub fn plant_clamp_whole(&mut self) {
        self.clamp_whole = true;
    }

    pub fn last(&self) -> Hlc {
        self.last
    }

    /// Takes note of an applied event's timestamp.
    pub fn observe(&mut self, hlc: Hlc) {
        self.last = self.last.max(hlc);
    }

    /// Takes note of a peer's wall clock, which it sent because it was not behind its own log.
    pub fn hear(&mut self, peer: &RegionName, wall: u64, now: Now) {
        self.heard.insert(peer.clone(), Heard { wall, monotonic: now.monotonic });
    }

    /// What to tell peers of our wall clock: nothing while it is behind our own log by more than ε.
    pub fn told(&self, now: Now) -> Option<u64> {
        self.trusted(now).then_some(now.wall)
    }

    fn trusted(&self, now: Now) -> bool {
        now.wall + self.settings.epsilon_milliseconds >= self.last.milliseconds()
    }

    /// F: the lower median of the clocks heard lately and our own; alone, carried on from before.
    pub fn fleet_time(&mut self, now: Now) -> u64 {
        let fresh = |h: &&Heard| {
            now.monotonic.saturating_sub(h.monotonic) <= self.settings.heard_milliseconds
        };
        let carried = |h: &Heard| h.wall + now.monotonic.saturating_sub(h.monotonic);
        let mut clocks: Vec<u64> = self.heard.values().filter(fresh).map(carried).collect();
        if clocks.is_empty() {
            let start = Heard { wall: now.wall, monotonic: now.monotonic };
            return carried(self.fleet.get_or_insert(start));
        }
        if self.trusted(now) {
            clocks.push(now.wall);
        }
        clocks.sort_unstable();
        let median = clocks[(clocks.len() - 1) / 2];
        self.fleet = Some(Heard { wall: median, monotonic: now.monotonic });
        median
    }

    /// The timestamp of a new event or heartbeat: above everything given or applied here.
    pub fn next(&mut self, now: Now) -> Hlc {
        let fleet = self.fleet_time(now);
        let epsilon = self.settings.epsilon_milliseconds;
        let wall = now.wall.clamp(fleet.saturating_sub(epsilon), fleet + epsilon);
        let mut next = self.last.max(Hlc::from_milliseconds(wall)).next();
        if self.clamp_whole {
            next = next.min(Hlc::from_milliseconds(fleet + epsilon));
        }
        self.last = if self.clamp_whole { next } else { self.last.max(next) };
        next
    }

    /// True if an origin's timestamp is too far ahead of the fleet for its events to be applied
    /// yet. One that this clock has passed already moves nothing: were it held after a restart with
    /// a bad clock, the region would no longer have applied what its own log says it had.
    pub fn holds_back(&mut self, hlc: Hlc, now: Now) -> bool {
        if hlc <= self.last {
            return false;
        }
        let fleet = self.fleet_time(now);
        hlc.milliseconds() > fleet + 2 * self.settings.epsilon_milliseconds
    }

    /// How far each peer's wall clock, as last heard and carried on, is ahead of ours, in
    /// milliseconds.
    pub fn offsets(&self, now: Now) -> impl Iterator<Item = (&RegionName, i64)> {
        self.heard.iter().map(move |(peer, heard)| {
            let there = heard.wall + now.monotonic.saturating_sub(heard.monotonic);
            (peer, there as i64 - now.wall as i64)
        })
    }

    /// How far our wall clock is from the fleet's time, in milliseconds; beyond 2ε it alarms.
    pub fn drift(&mut self, now: Now) -> i64 {
        now.wall as i64 - self.fleet_time(now) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(wall: u64, monotonic: u64) -> Now {
        Now { wall, monotonic }
    }

    fn region(name: &str) -> RegionName {
        RegionName::parse(name).unwrap()
    }

    #[test]
    fn timestamps_only_grow_when_the_wall_clock_jumps_back() {
        let mut clock = Clock::new(ClockSettings::default(), Hlc::ZERO);
        let first = clock.next(now(10_000, 0));
        let second = clock.next(now(3_000, 1));
        assert!(second > first);
        assert_eq!(second, first.next());
    }

    #[test]
    fn alone_a_jump_ahead_is_clamped_to_the_time_carried_on() {
        let mut clock = Clock::new(ClockSettings::default(), Hlc::ZERO);
        clock.next(now(10_000, 0));
        let after = clock.next(now(90_000, 100));
        assert_eq!(after.milliseconds(), 10_600);
    }

    #[test]
    fn fleet_time_is_the_lower_median() {
        let mut clock = Clock::new(ClockSettings::default(), Hlc::ZERO);
        clock.hear(&region("a"), 20_000, now(10_000, 0));
        clock.hear(&region("b"), 10_500, now(10_000, 0));
        assert_eq!(clock.fleet_time(now(10_000, 0)), 10_500);
        assert_eq!(clock.fleet_time(now(10_010, 10)), 10_510);
    }

    #[test]
    fn offsets_are_carried_on() {
        let mut clock = Clock::new(ClockSettings::default(), Hlc::ZERO);
        clock.hear(&region("a"), 10_700, now(10_000, 5));
        let offsets: Vec<_> = clock.offsets(now(10_100, 105)).collect();
        assert_eq!(offsets, [(&region("a"), 700)]);
    }

    #[test]
    fn a_clock_behind_its_own_log_does_not_enter() {
        let mut clock = Clock::new(ClockSettings::default(), Hlc::from_milliseconds(50_000));
        assert_eq!(clock.told(now(10_000, 0)), None);
        clock.hear(&region("a"), 50_100, now(10_000, 0));
        assert_eq!(clock.fleet_time(now(10_000, 0)), 50_100);
    }

    #[test]
    fn an_applied_event_ahead_is_passed_not_clamped() {
        let mut clock = Clock::new(ClockSettings::default(), Hlc::ZERO);
        assert!(clock.holds_back(Hlc::from_milliseconds(11_001), now(10_000, 0)));
        assert!(!clock.holds_back(Hlc::from_milliseconds(11_000), now(10_000, 0)));
        clock.observe(Hlc::from_milliseconds(99_000));
        assert!(clock.next(now(10_000, 0)) > Hlc::from_milliseconds(99_000));
        assert!(!clock.holds_back(Hlc::from_milliseconds(99_000), now(10_000, 0)));
    }

    #[test]
    fn a_full_counter_carries_into_the_millisecond() {
        let full = Hlc::from_bits((7 << 16) | 0xffff);
        assert_eq!(full.next(), Hlc::from_milliseconds(8));
    }
}
