//! Regions that were away for longer than the configuration lets them: this one says that they
//! lapse, and a majority decides it.
//!
//! What always holds: a region is away only if nothing of its own log has come here by any way, nor
//! was its link alive, for as long as this one has listened without a break; and most others are
//! heard, or it is this one that is away.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use linckia_control::{Command, Roster, names};
use linckia_model::RegionName;
use linckia_region::{RegionStatus, Status, Verdict};

use super::agreed::Own;

/// Longer than this between looks, and it begins to listen anew, in milliseconds.
const BREAK_MILLISECONDS: u64 = 60_000;

/// Time between looks.
const EVERY: Duration = Duration::from_secs(5);

/// However full the disk is, nobody lapses who was heard of within this, in milliseconds.
const HEARD_MILLISECONDS: u64 = 60_000;

/// What was seen of the others.
pub(super) struct Lapsing {
    after: Duration,
    /// The share of the logs' bound from which whoever is away lapses at once, in parts per
    /// million.
    at: u32,
    looked: Instant,
    /// Since when it looks without a break, and when it did last, in the fleet's milliseconds.
    began: u64,
    looked_at: u64,
    /// When the link of each region was last alive, in the fleet's milliseconds.
    alive: BTreeMap<RegionName, u64>,
}

impl Lapsing {
    /// `after` or `at` of zero: never for that reason.
    pub(super) fn new(after: Duration, at: u32) -> Self {
        let looked = Instant::now();
        Self { after, at, looked, began: 0, looked_at: 0, alive: BTreeMap::new() }
    }

    /// True if it is time to look.
    pub(super) fn is_due(&mut self) -> bool {
        let every = if self.after.is_zero() { EVERY } else { EVERY.min(self.after / 2) };
        let wanted = !self.after.is_zero() || self.at > 0;
        let due = wanted && self.looked.elapsed() >= every;
        if due {
            self.looked = Instant::now();
        }
        due
    }

    /// Who has been away for too long, or is away while the logs fill, at the fleet's time in
    /// milliseconds.
    pub(super) fn due(
        &mut self,
        own: &Own,
        Status { regions, log_share, .. }: &Status,
        roster: &Roster,
        now: u64,
    ) -> Vec<Command> {
        if now.saturating_sub(self.looked_at) > BREAK_MILLISECONDS {
            // It has just begun, or its machine has slept.
            self.began = now;
        }
        self.looked_at = now;
        let alive = regions.iter().filter(|region| region.verdict != Verdict::Down);
        self.alive.extend(alive.map(|region| (region.name.clone(), now)));
        let lives = roster.incarnations();
        let counts = |region: &&RegionStatus| {
            let name = region.name.as_str();
            !lives.lapsed().contains_key(name) && !lives.is_expected(name)
        };
        let counting: Vec<&RegionStatus> = regions.iter().filter(counts).collect();
        let down = counting.iter().filter(|region| region.verdict == Verdict::Down).count();
        if counting.len() > 2 && 2 * down >= counting.len() {
            return Vec::new();
        }
        let full = self.at > 0 && *log_share >= self.at;
        let age = if self.after.is_zero() { u64::MAX } else { self.after.as_millis() as u64 };
        let after = if full { age.min(HEARD_MILLISECONDS) } else { age };
        // What was told before it listened says when a log was written, not when it was heard.
        let heard = |region: &RegionStatus| {
            let alive = self.alive.get(&region.name).copied().unwrap_or(0);
            region.told.max(self.began).max(alive)
        };
        let away = counting
            .into_iter()
            .filter(|region| !region.is_self && now.saturating_sub(heard(region)) >= after);
        let lapse = |region: &RegionStatus| Command::Lapse {
            region: region.name.to_string(),
            reason: match full {
                true => format!("away while logs take {} % of their bound", log_share / 10_000),
                false => format!("not heard of for {} s", after / 1_000),
            },
            members: names(&own.regions),
            by: Some(own.origin.to_string()),
        };
        away.map(lapse).collect()
    }
}

#[cfg(test)]
mod tests {
    use linckia_model::{Origin, Vector};

    use super::*;

    const HOUR: u64 = 3_600_000;

    fn name(text: &str) -> RegionName {
        RegionName::parse(text).unwrap()
    }

    fn seen(region: &str, verdict: Verdict, told: u64) -> RegionStatus {
        let (name, is_self) = (name(region), region == "a");
        RegionStatus { name, is_self, verdict, vector: Vector::new(), lag: Vec::new(), told }
    }

    fn lapsing(judge: &mut Lapsing, share: u32, of_b: RegionStatus, now: u64) -> usize {
        let own = Own {
            place: None,
            name: name("a"),
            origin: Origin::new(&name("a"), 1, 0),
            regions: ["a", "b"].map(name).to_vec(),
            held: Vec::new(),
            lapse_after: judge.after,
            lapse_at: judge.at,
            dir: std::path::PathBuf::new(),
            restored: None,
        };
        let status = Status {
            regions: vec![seen("a", Verdict::Healthy, now), of_b],
            log_share: share,
            ..Status::default()
        };
        judge.due(&own, &status, &Roster::default(), now).len()
    }

    /// Looks every half minute from one time to another; how many lapse at the last look.
    fn between(judge: &mut Lapsing, from: u64, to: u64, of_b: &RegionStatus) -> usize {
        let mut last = 0;
        for now in (from..=to).step_by(30_000) {
            last = lapsing(judge, 0, of_b.clone(), now);
        }
        last
    }

    #[test]
    fn whoever_was_neither_heard_nor_linked_for_so_long_is_away() {
        let mut judge = Lapsing::new(Duration::from_secs(3_600), 0);
        let down = seen("b", Verdict::Down, HOUR);
        assert_eq!(between(&mut judge, 10 * HOUR, 11 * HOUR - 30_000, &down), 0, "it just began");
        assert_eq!(between(&mut judge, 11 * HOUR, 11 * HOUR, &down), 1);
        // It rebuilds what it lost, and its log tells nothing meanwhile.
        let suspect = seen("b", Verdict::Suspect, HOUR);
        assert_eq!(between(&mut judge, 11 * HOUR + 30_000, 12 * HOUR, &suspect), 0);
        assert_eq!(between(&mut judge, 12 * HOUR + 30_000, 13 * HOUR - 30_000, &down), 0);
        assert_eq!(between(&mut judge, 13 * HOUR, 13 * HOUR, &down), 1);
        // The machine sleeps for a day.
        assert_eq!(between(&mut judge, 37 * HOUR, 38 * HOUR - 30_000, &down), 0);
    }

    #[test]
    fn while_logs_fill_whoever_is_away_lapses_sooner() {
        let mut judge = Lapsing::new(Duration::ZERO, 750_000);
        let (down, minute) = (seen("b", Verdict::Down, HOUR), 60_000);
        assert_eq!(between(&mut judge, 10 * HOUR, 11 * HOUR, &down), 0, "there is room");
        assert_eq!(lapsing(&mut judge, 749_999, down.clone(), 11 * HOUR + 30_000), 0);
        assert_eq!(lapsing(&mut judge, 750_000, down.clone(), 11 * HOUR + minute), 1);
        let up = seen("b", Verdict::Healthy, 11 * HOUR);
        assert_eq!(lapsing(&mut judge, 900_000, up, 11 * HOUR + 2 * minute), 0, "it is there");
        assert_eq!(lapsing(&mut judge, 900_000, down.clone(), 11 * HOUR + 2 * minute + 30_000), 0);
        assert_eq!(lapsing(&mut judge, 900_000, down, 11 * HOUR + 3 * minute), 1);
    }
}
