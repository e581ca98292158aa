//! When a chunk of bytes that enters a link comes out of it.
//!
//! Where it stands: asked by `pump.rs` for every chunk it reads. What always holds: pure, time is
//! an argument and chance a seed; what comes out of one connection comes out in the order in which
//! it went in.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::rule::Rule;

/// What one packet carries on an ordinary path; loss is drawn per packet.
pub const PACKET_BYTES: usize = 1_460;

/// A lost packet comes back after at least this: the shortest retransmission time of Linux's TCP.
const RETRANSMISSION_MIN: Duration = Duration::from_millis(200);

/// A packet is lost at most this often in a row, so that no chunk waits for ever.
const RETRANSMISSIONS_MAX: u32 = 12;

/// When the narrow part of a link is free again; shared by all connections of the link.
#[derive(Debug, Default)]
pub struct Bottleneck {
    free_at: Mutex<Option<Instant>>,
}

impl Bottleneck {
    /// Sends `bytes` through after everything that came before, and says when the last is through.
    fn pass(&self, now: Instant, bytes: usize, bits_per_second: u64) -> Instant {
        let takes = Duration::from_secs_f64(bytes as f64 * 8.0 / bits_per_second as f64);
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let through = free_at.map_or(now, |free| free.max(now)) + takes;
        *free_at = Some(through);
        through
    }
}

/// The shaping of one direction of one connection.
#[derive(Debug)]
pub struct Shaper {
    random: u64,
    last: Option<Instant>,
}

impl Shaper {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { random: seed, last: None }
    }

    /// When `bytes` that enter at `now` come out.
    pub fn deliver_at(
        &mut self,
        rule: &Rule,
        bottleneck: &Bottleneck,
        now: Instant,
        bytes: usize,
    ) -> Instant {
        let mut at = match rule.bandwidth {
            Some(bits) => bottleneck.pass(now, bytes, bits),
            None => now,
        };
        at += self.jittered(rule) + self.lost(rule, bytes);
        if let Some(last) = self.last {
            at = at.max(last);
        }
        self.last = Some(at);
        at
    }

    /// The delay, up to the jitter more or less.
    fn jittered(&mut self, rule: &Rule) -> Duration {
        if rule.jitter.is_zero() {
            return rule.delay;
        }
        let longest = rule.delay + rule.jitter;
        longest.saturating_sub(rule.jitter.mul_f64(2.0 * self.chance()))
    }

    /// What retransmissions add: a stream waits for what was lost.
    fn lost(&mut self, rule: &Rule, bytes: usize) -> Duration {
        if rule.loss == 0 || bytes == 0 {
            return Duration::ZERO;
        }
        let one = f64::from(rule.loss) / 1e6;
        let packets = i32::try_from(bytes.div_ceil(PACKET_BYTES)).unwrap_or(i32::MAX);
        let mut lost = 1.0 - (1.0 - one).powi(packets);
        let again = RETRANSMISSION_MIN.max(rule.delay * 2);
        let mut added = Duration::ZERO;
        for _ in 0..RETRANSMISSIONS_MAX {
            if self.chance() >= lost {
                break;
            }
            added += again;
            lost = one;
        }
        added
    }

    /// A number in 0..1 (splitmix64).
    fn chance(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long each of `chunks` (at, bytes) is on the way, in milliseconds.
    fn times(rule: Rule, chunks: &[(u64, usize)]) -> Vec<u128> {
        let start = Instant::now();
        let (mut shaper, bottleneck) = (Shaper::new(1), Bottleneck::default());
        let mut last = start;
        let at = |(after, bytes): &(u64, usize)| {
            let now = start + Duration::from_millis(*after);
            let out = shaper.deliver_at(&rule, &bottleneck, now, *bytes);
            assert!(out >= last, "order is kept");
            last = out;
            (out - now).as_millis()
        };
        chunks.iter().map(at).collect()
    }

    #[test]
    fn delay_is_pipelined_and_bandwidth_is_not() {
        let delay = Duration::from_millis(40);
        let plain = Rule { delay, ..Rule::default() };
        assert_eq!(times(plain, &[(0, 9), (1, 9), (50, 9)]), [40, 40, 40]);
        let narrow = Rule { bandwidth: Some(8_000_000), ..plain };
        assert_eq!(times(narrow, &[(0, 10_000), (0, 10_000), (90, 1_000)]), [50, 60, 41]);
    }

    #[test]
    fn jitter_stays_in_bounds() {
        let (delay, jitter) = (Duration::from_millis(40), Duration::from_millis(10));
        let chunks: Vec<_> = (0..1_000).map(|n| (n * 100, 9)).collect();
        let seen = times(Rule { delay, jitter, ..Rule::default() }, &chunks);
        assert!(seen.iter().all(|time| (30..=50).contains(time)));
        assert!(seen.iter().min() < Some(&32) && seen.iter().max() > Some(&48));
    }

    #[test]
    fn a_lost_packet_costs_a_retransmission() {
        let rule = Rule { delay: Duration::from_millis(40), loss: 20_000, ..Rule::default() };
        let chunks: Vec<_> = (0..10_000).map(|n| (n * 10_000, 100)).collect();
        let seen = times(rule, &chunks);
        let late = seen.iter().filter(|time| **time >= 240).count();
        assert!((120..300).contains(&late), "{late} of 10,000 at 2 %");
        assert!(seen.iter().all(|time| *time <= 40 + 12 * 200));
    }
}
