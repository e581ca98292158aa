//! The course of the loss of a region: steady, broken, healed, converged, judged.
//!
//! Clients of every level belong to the region that is lost and use it from the start. The operator
//! breaks and heals by his own means. What always holds: the judgement comes after every region
//! shows the same, or after it is clear that they do not.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::Operator;
use super::client::Caller;
use super::end::{converged, ends, read_all};
use super::ledger::Ledger;
use super::visitor::{DrillDoor, Visitor};
use crate::account::{account, lost};
use crate::failure::Failure;
use crate::history;
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
    let home = doors.iter().position(|door| door.region == plan.region);
    let home = home.ok_or_else(|| anyhow::anyhow!("the fleet has no region {}", plan.region))?;
    let (doors, kind): (Arc<[DrillDoor]>, Arc<str>) = (doors.into(), Arc::from(&*plan.run));
    let ledger = Arc::new(Ledger::create(&plan.ledger, plan.levels.len())?);
    let mut clients = JoinSet::new();
    let last = (plan.span + LAST_ATTEMPTS).as_millis() as u64;
    for (level, ack) in plan.levels.iter().enumerate() {
        for number in 0..CLIENTS {
            let visitor = Visitor {
                doors: Arc::clone(&doors),
                kind: Arc::clone(&kind),
                ack: ack.clone(),
                at: home,
                token: String::new(),
            };
            let caller = Caller {
                ledger: Arc::clone(&ledger),
                visitor,
                level,
                number,
                home,
                session: ledger.session(),
                deeds: 0,
                own: BTreeMap::new(),
                reborn: plan.mode == Mode::Destroy,
            };
            clients.spawn(caller.run(last));
        }
    }
    say(&format!("{} clients write and read in {}", clients.len(), plan.region));
    let band = drive(plan, &ledger, operator, say).await;
    ledger.end();
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    let band = band?;
    say("waiting until all regions show the same");
    let digests_equal = converged(&doors).await;
    let notes = ledger.take()?;
    say("reading everything everywhere");
    let keys = notes.written.iter().map(|write| write.key.as_str()).collect();
    let end = read_all(&doors, &kind, keys).await?;
    let lost = lost(&notes.written, &end);
    let broken = history::check(&notes.history, &lost).err().map(|broken| broken.to_string());
    let levels = account(&plan.levels, &notes.written, &notes.stale, &end, &ends(&doors).await);
    let regions = doors.iter().map(|door| door.region.clone()).collect();
    let timeline = Timeline::of(regions, &notes.written, vec![band], &plan.levels);
    let outcome = Outcome { levels, digests_equal, broken, surprises: notes.surprises, timeline };
    Ok(Report::of_region_loss(plan, outcome))
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
