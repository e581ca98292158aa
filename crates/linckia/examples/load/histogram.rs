//! Latencies in little memory: buckets whose width grows with the value.
//!
//! Filled by `append` and `lag`. Pure. What always holds: a percentile is off by less than one
//! hundredth of its value, however many values there are.

use std::time::Duration;

/// Buckets to each doubling: a value is known to 1/128.
const BITS: u32 = 7;
const STEPS: usize = 1 << BITS;

/// Doublings above the first 128 nanoseconds: up to more than an hour.
const DOUBLINGS: usize = 36;

#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; STEPS * (DOUBLINGS + 1)], total: 0 }
    }
}

impl Histogram {
    pub fn add(&mut self, value: Duration) {
        let place = place(u64::try_from(value.as_nanos()).unwrap_or(u64::MAX));
        let last = self.counts.len() - 1;
        self.counts[place.min(last)] += 1;
        self.total += 1;
    }

    pub fn count(&self) -> u64 {
        self.total
    }

    /// In milliseconds, the upper end of the bucket; nothing of nothing.
    pub fn milliseconds_at(&self, share: f64) -> Option<f64> {
        let rank = ((self.total as f64 * share).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (place, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(upper_end(place) as f64 / 1e6);
            }
        }
        None
    }
}

/// The bucket of a number of nanoseconds.
fn place(nanos: u64) -> usize {
    let doublings = (u64::BITS - nanos.leading_zeros()).saturating_sub(BITS);
    match doublings {
        0 => nanos as usize,
        // The highest bit is known, the seven after it are the step.
        _ => {
            let step = (nanos >> (doublings - 1)) as usize & (STEPS - 1);
            STEPS * doublings as usize + step
        }
    }
}

fn upper_end(place: usize) -> u64 {
    match (place / STEPS, (place % STEPS) as u64) {
        (0, step) => step,
        (doublings, step) => (STEPS as u64 + step + 1) << (doublings - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_near() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.milliseconds_at(0.5), None);
        for microseconds in 1..=10_000 {
            histogram.add(Duration::from_micros(microseconds));
        }
        histogram.add(Duration::from_secs(1 << 40));
        for (share, expected) in [(0.0, 0.001), (0.5, 5.0), (0.99, 9.9), (0.9999, 10.0)] {
            let found = histogram.milliseconds_at(share).unwrap();
            assert!((found / expected - 1.0).abs() < 0.01, "{share}: {found}");
        }
        assert_eq!(histogram.count(), 10_001);
    }

    #[test]
    fn buckets_follow_each_other() {
        let mut last = 0;
        for nanos in 0..100_000 {
            let place = place(nanos);
            assert!(place == last || place == last + 1, "{nanos}");
            assert!(upper_end(place) >= nanos);
            last = place;
        }
    }
}
