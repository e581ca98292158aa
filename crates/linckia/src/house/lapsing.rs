//! Regions that were away for longer than the configuration lets them: this one says that they
//! lapse, and a majority decides it.
//!
//! What always holds: a region is away only if nothing of its own log has come here by any way, nor
//! was its link alive; this one judges only after it has listened for a while itself; and one that
//! is on its way back, whose log tells nothing yet, is judged by its link alone.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use linckia_control::{Command, Roster, names};
use linckia_model::RegionName;
use linckia_region::{RegionStatus, Verdict};

use super::agreed::Own;

/// Before it has listened for so long, a region that starts says nothing of the others.
const LISTENS: Duration = Duration::from_secs(60);

/// Time between looks.
const EVERY: Duration = Duration::from_secs(5);

/// When regions were looked at.
pub(super) struct Lapsing {
    after: Duration,
    started: Instant,
    looked: Instant,
    /// When the link of each region was last alive, in the fleet's milliseconds.
    alive: BTreeMap<RegionName, u64>,
}

impl Lapsing {
    /// `after` of zero: never.
    pub(super) fn new(after: Duration) -> Self {
        let now = Instant::now();
        Self { after, started: now, looked: now, alive: BTreeMap::new() }
    }

    /// True if it is time to look.
    pub(super) fn is_due(&mut self) -> bool {
        let listened = self.started.elapsed() >= LISTENS.min(self.after);
        let due =
            !self.after.is_zero() && listened && self.looked.elapsed() >= EVERY.min(self.after);
        if due {
            self.looked = Instant::now();
        }
        due
    }

    /// Who has been away for too long, at the fleet's time in milliseconds.
    pub(super) fn due(
        &mut self,
        own: &Own,
        regions: &[RegionStatus],
        roster: &Roster,
        now: u64,
    ) -> Vec<Command> {
        let alive = regions.iter().filter(|region| region.verdict != Verdict::Down);
        self.alive.extend(alive.map(|region| (region.name.clone(), now)));
        let after = self.after.as_millis() as u64;
        let began = now.saturating_sub(self.started.elapsed().as_millis() as u64);
        let lives = roster.incarnations();
        let is_back =
            |region: &RegionStatus| lives.returning().any(|it| it == region.name.as_str());
        let heard = |region: &RegionStatus| {
            let told = if region.told == 0 || is_back(region) { began } else { region.told };
            told.max(self.alive.get(&region.name).copied().unwrap_or(0))
        };
        let away = regions.iter().filter(|region| {
            !region.is_self
                && now.saturating_sub(heard(region)) >= after
                && !lives.lapsed().contains_key(region.name.as_str())
        });
        let lapse = |region: &RegionStatus| Command::Lapse {
            region: region.name.to_string(),
            reason: format!("not heard of for {} s", after / 1_000),
            members: names(&own.regions),
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

    fn lapsing(lapsing: &mut Lapsing, roster: &Roster, of_b: RegionStatus, now: u64) -> usize {
        let own = Own {
            name: name("a"),
            origin: Origin::new(&name("a"), 1, 0),
            regions: ["a", "b"].map(name).to_vec(),
            held: Vec::new(),
            lapse_after: lapsing.after,
        };
        let regions = [seen("a", Verdict::Healthy, now), of_b];
        lapsing.due(&own, &regions, roster, now).len()
    }

    #[test]
    fn whoever_was_neither_heard_nor_linked_for_so_long_is_away() {
        let (mut judge, roster) = (Lapsing::new(Duration::from_secs(3_600)), Roster::default());
        let down = |told| seen("b", Verdict::Down, told);
        assert_eq!(lapsing(&mut judge, &roster, down(9 * HOUR + 1), 10 * HOUR), 0);
        assert_eq!(lapsing(&mut judge, &roster, down(9 * HOUR), 10 * HOUR), 1);
        assert_eq!(lapsing(&mut judge, &roster, down(0), 10 * HOUR), 0, "it was never heard");
        // It rebuilds what it lost, and its log tells nothing meanwhile.
        let suspect = seen("b", Verdict::Suspect, HOUR);
        assert_eq!(lapsing(&mut judge, &roster, suspect, 10 * HOUR), 0);
        assert_eq!(lapsing(&mut judge, &roster, down(HOUR), 11 * HOUR - 1), 0);
        assert_eq!(lapsing(&mut judge, &roster, down(HOUR), 11 * HOUR), 1);
    }
}
