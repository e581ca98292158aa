//! The course of the loss of a region: steady, broken, healed, converged, judged.
//!
//! Clients of every level belong to the region that is lost and use it from the start. The operator
//! breaks and heals by his own means. What always holds: the judgement comes after every region
//! shows the same, or after it is clear that they do not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::Operator;
use super::client::Caller;
use super::end::{converged, ends, read_all};
use super::ledger::{Ledger, Notes};
use super::visitor::{DrillDoor, Visitor};
use crate::account::{Final, Written, account, lost};
use crate::failure::Failure;
use crate::history::{self, Mark};
use crate::report::{Band, Outcome, Report, Timeline};

/// Clients of each level.
const CLIENTS: usize = 4;

/// A write that is under way at the end has this much longer.
const LAST_ATTEMPTS: Duration = Duration::from_secs(10);

/// How a region is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Its process is killed and started again.
    Stop,
    /// What it sends and is sent is swallowed.
    Cut,
    /// Its process is killed and its directory removed.
    Destroy,
}

impl Mode {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Cut => "cut",
            Self::Destroy => "destroy",
        }
    }

    fn of(self, region: &str) -> Failure {
        let region = region.to_owned();
        match self {
            Self::Stop => Failure::Stop { region },
            Self::Cut => Failure::Cut { from: region, to: None, one_way: false },
            Self::Destroy => Failure::Destroy { region, cut_off: false },
        }
    }
}

/// What is rehearsed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The region that is lost.
    pub region: String,
    pub mode: Mode,
    /// Acknowledgement levels, as `Linckia-Ack` has them.
    pub levels: Vec<String>,
    /// From the first write to the last.
    pub span: Duration,
    /// A name that no drill had before: letters, digits.
    pub run: String,
    /// The observer's own record of acknowledged ids.
    pub ledger: PathBuf,
}

/// Runs a drill; `say` is told how it goes.
///
/// # Errors
/// The operator's, or a ledger that cannot be written. What the fleet does wrong is in the report.
pub async fn run(
    plan: &Plan,
    doors: Vec<DrillDoor>,
    operator: &impl Operator,
    say: &dyn Fn(&str),
) -> anyhow::Result<Report> {
    let home = place_of(&doors, &plan.region)?;
    let crew = Crew::gather(doors, &plan.run, &plan.levels, &plan.ledger)?;
    let clients = crew.clients(|_| home, plan.span, plan.mode == Mode::Destroy);
    say(&format!("{} clients write and read in {}", clients.len(), plan.region));
    let band = drive(plan, &crew.ledger, operator, say).await;
    crew.end(clients).await?;
    let (outcome, _) = crew.judge(vec![band?], say).await?;
    Ok(Report::of_region_loss(plan, outcome))
}

/// The place of a region among the doors.
pub(super) fn place_of(doors: &[DrillDoor], region: &str) -> anyhow::Result<usize> {
    let place = doors.iter().position(|door| door.region == region);
    place.ok_or_else(|| anyhow::anyhow!("the fleet has no region {region}"))
}

/// What the clients of a drill share.
pub(super) struct Crew {
    pub(super) doors: Arc<[DrillDoor]>,
    /// The aggregate type of this drill.
    pub(super) kind: Arc<str>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) levels: Vec<String>,
}

pub(super) type Clients = JoinSet<anyhow::Result<()>>;

impl Crew {
    /// Of a drill that writes aggregates of the type `run`; the ledger is a new file.
    pub(super) fn gather(
        doors: Vec<DrillDoor>,
        run: &str,
        levels: &[String],
        ledger: &Path,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            doors: doors.into(),
            kind: run.into(),
            ledger: Arc::new(Ledger::create(ledger, levels.len())?),
            levels: levels.to_owned(),
        })
    }

    /// A session at the region of that place.
    pub(super) fn visitor(&self, ack: &str, at: usize) -> Visitor {
        Visitor {
            doors: Arc::clone(&self.doors),
            kind: Arc::clone(&self.kind),
            ack: ack.to_owned(),
            at,
            token: String::new(),
        }
    }

    /// Begins to write and read: clients of each level, each at `home` of its number.
    pub(super) fn clients(
        &self,
        home: impl Fn(usize) -> usize,
        span: Duration,
        reborn: bool,
    ) -> Clients {
        let mut clients = JoinSet::new();
        let last = (span + LAST_ATTEMPTS).as_millis() as u64;
        for (level, ack) in self.levels.iter().enumerate() {
            for number in 0..CLIENTS {
                let home = home(number);
                let caller = Caller {
                    ledger: Arc::clone(&self.ledger),
                    visitor: self.visitor(ack, home),
                    level,
                    number,
                    home,
                    session: self.ledger.session(),
                    deeds: 0,
                    own: BTreeMap::new(),
                    reborn,
                };
                clients.spawn(caller.run(last));
            }
        }
        clients
    }

    /// Nothing new is written from here on; returns when all have ended.
    pub(super) async fn end(&self, mut clients: Clients) -> anyhow::Result<()> {
        self.ledger.end();
        while let Some(ended) = clients.join_next().await {
            ended??;
        }
        Ok(())
    }

    /// Waits until all regions show the same, and accounts for everything.
    pub(super) async fn judge(
        &self,
        bands: Vec<Band>,
        say: &dyn Fn(&str),
    ) -> anyhow::Result<(Outcome, Vec<Written>)> {
        let notes = self.ledger.take()?;
        let seen = self.see(&notes.written, say).await?;
        let lost = lost(&notes.written, &seen.end);
        self.account(notes, &seen, &lost, bands).await
    }

    /// What all regions show once they show the same, or clearly do not.
    pub(super) async fn see(
        &self,
        written: &[Written],
        say: &dyn Fn(&str),
    ) -> anyhow::Result<Seen> {
        say("waiting until all regions show the same");
        let equal = converged(&self.doors).await;
        say("reading everything everywhere");
        Ok(Seen { equal, end: read_all(&self.doors, &self.kind, keys(written)).await? })
    }

    /// Accounts for everything that was noted; `lost` marks nobody had to see.
    pub(super) async fn account(
        &self,
        notes: Notes,
        Seen { equal, end }: &Seen,
        lost: &BTreeSet<Mark>,
        bands: Vec<Band>,
    ) -> anyhow::Result<(Outcome, Vec<Written>)> {
        let Notes { written, history, stale, surprises } = notes;
        let broken = history::check(&history, lost).err().map(|broken| broken.to_string());
        let levels = account(&self.levels, &written, &stale, end, &ends(&self.doors).await);
        let regions = self.doors.iter().map(|door| door.region.clone()).collect();
        let timeline = Timeline::of(regions, &written, bands, &self.levels);
        Ok((Outcome { levels, digests_equal: *equal, broken, surprises, timeline }, written))
    }
}

/// What the regions show at the end.
pub(super) struct Seen {
    /// They have equal digests at equal vectors.
    pub(super) equal: bool,
    pub(super) end: Final,
}

/// The aggregates that were written.
pub(super) fn keys(written: &[Written]) -> BTreeSet<&str> {
    written.iter().map(|write| write.key.as_str()).collect()
}

/// Breaks after three tenths of the time, heals after seven; when that was.
async fn drive(
    plan: &Plan,
    ledger: &Ledger,
    operator: &impl Operator,
    say: &dyn Fn(&str),
) -> anyhow::Result<Band> {
    let part = plan.span / 10;
    tokio::time::sleep(part * 3).await;
    let from = ledger.now();
    let failure = plan.mode.of(&plan.region);
    operator.strike(&failure).await?;
    say(&format!("{}: {} acknowledged so far", plan.mode.name(), ledger.acknowledged()));
    tokio::time::sleep(part * 4).await;
    operator.heal(&failure).await?;
    let until = ledger.now();
    ledger.heal();
    say(&format!("healed: {} acknowledged so far", ledger.acknowledged()));
    tokio::time::sleep(part * 3).await;
    Ok(Band { from, until, what: failure.to_string() })
}
