//! Regions that were away for longer than the configuration lets them: this one says that they
//! lapse, and a majority decides it.
//!
//! What always holds: a region is away only if nothing of its own log has come here by any way,
//! nor is its link alive; and this one judges only after it has listened for a while itself.

use std::time::{Duration, Instant};

use linckia_control::{Command, Roster, names};
use linckia_region::{Status, Verdict};

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
}

impl Lapsing {
    /// `after` of zero: never.
    pub(super) fn new(after: Duration) -> Self {
        let now = Instant::now();
        Self { after, started: now, looked: now }
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
        &self,
        own: &Own,
        status: &Status,
        roster: &Roster,
        now: u64,
    ) -> Vec<Command> {
        let after = self.after.as_millis() as u64;
        let began = now.saturating_sub(self.started.elapsed().as_millis() as u64);
        let lives = roster.incarnations();
        let away = status.regions.iter().filter(|region| {
            let told = if region.told == 0 { began } else { region.told };
            !region.is_self
                && region.verdict == Verdict::Down
                && now.saturating_sub(told) >= after
                && !lives.lapsed().contains_key(region.name.as_str())
        });
        let lapse = |region: &linckia_region::RegionStatus| Command::Lapse {
            region: region.name.to_string(),
            reason: format!("not heard of for {} s", after / 1_000),
            members: names(&own.regions),
        };
        away.map(lapse).collect()
    }
}
