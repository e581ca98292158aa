//! The course of a restore: a backup under load, a moment, a further backup, and a fleet as it was
//! at that moment beside the one that runs on.
//!
//! What always holds: the restored fleet is judged by the observer's own record of what was
//! acknowledged when, once nothing is written any more; the running one is judged as ever.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::Keeper;
use super::course::{Crew, keys, place_of};
use super::end::{converged, read_all};
use super::visitor::{DrillDoor, Tried, Visitor, path};
use crate::report::{Band, Report, Times};
use crate::restored::{Moment, restored};

/// The aggregate whose events say what time it is.
const CLOCK: &str = "moment";

/// A region takes a write within so many attempts, a moment apart.
const ATTEMPTS_MAX: usize = 200;
const AGAIN: Duration = Duration::from_millis(50);

/// What is rehearsed.
#[derive(Clone, Debug)]
pub struct Restore {
    /// The region that is backed up.
    pub region: String,
    /// Acknowledgement levels, as `Linckia-Ack` has them.
    pub levels: Vec<String>,
    /// From the first write to the last, and longer where restoring takes longer.
    pub span: Duration,
    /// A name that no drill had before: letters, digits.
    pub run: String,
    /// The observer's own record of acknowledged ids.
    pub ledger: PathBuf,
}

/// Runs a drill; `say` is told how it goes.
///
/// # Errors
/// The keeper's, a ledger that cannot be written, or a region that takes no writes at all. What the
/// fleets do wrong is in the report.
pub async fn restore(
    plan: &Restore,
    doors: Vec<DrillDoor>,
    keeper: &impl Keeper,
    say: &dyn Fn(&str),
) -> anyhow::Result<Report> {
    let home = place_of(&doors, &plan.region)?;
    let crew = Crew::gather(doors, &plan.run, &plan.levels, &plan.ledger)?;
    let clients = crew.clients(|_| home, plan.span, false);
    // A client that was sent elsewhere comes back for its next deed.
    crew.ledger.heal();
    say(&format!("{} clients write and read in {}", clients.len(), plan.region));
    let driven = drive(plan, &crew, home, keeper, say).await;
    crew.end(clients).await?;
    let Driven { moment, times, beside, band } = driven?;
    let (outcome, written) = crew.judge(vec![band], say).await?;
    say("reading everything in the restored fleet");
    let equal = converged(&beside).await;
    let end = read_all(&beside, &plan.run, keys(&written)).await?;
    let found = restored(&written, &plan.region, moment, &end);
    Ok(Report::of_restore(plan, outcome, times, found, equal))
}

struct Driven {
    moment: Moment,
    times: Times,
    /// The restored fleet.
    beside: Vec<DrillDoor>,
    /// While it was restored.
    band: Band,
}

/// Backs up after two tenths of the time, notes the moment after four, backs up again after six,
/// and restores.
async fn drive(
    plan: &Restore,
    crew: &Crew,
    home: usize,
    keeper: &impl Keeper,
    say: &dyn Fn(&str),
) -> anyhow::Result<Driven> {
    let part = plan.span / 10;
    let ledger = &crew.ledger;
    tokio::time::sleep(part * 2).await;
    keeper.back_up().await?;
    say(&format!("backed up: {} acknowledged so far", ledger.acknowledged()));
    tokio::time::sleep(part * 2).await;
    let (time, moment) = note(crew, home).await?;
    say(&format!("the moment is {time}: {} acknowledged so far", ledger.acknowledged()));
    tokio::time::sleep(part * 2).await;
    let backup = took(keeper.back_up()).await?;
    let verify = took(keeper.verify()).await?;
    let from = ledger.now();
    say(&format!("restoring a fleet beside: {} acknowledged so far", ledger.acknowledged()));
    let began = Instant::now();
    let beside = keeper.restore(&time).await?;
    let restore = began.elapsed().as_millis() as u64;
    let until = ledger.now();
    say(&format!("it is ready after {restore} ms: {} acknowledged so far", ledger.acknowledged()));
    let left = plan.span.saturating_sub(Duration::from_millis(until));
    tokio::time::sleep(left.max(part)).await;
    let times = Times { time, backup, verify, restore, age: from - moment.before };
    let band = Band { from, until, what: "a fleet is restored beside".to_owned() };
    Ok(Driven { moment, times, beside, band })
}

/// What it took, in milliseconds.
async fn took(doing: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<u64> {
    let began = Instant::now();
    doing.await?;
    Ok(began.elapsed().as_millis() as u64)
}

/// A time, and when it was by the observer's clock.
async fn note(crew: &Crew, home: usize) -> anyhow::Result<(String, Moment)> {
    let mut visitor = crew.visitor("local", home);
    let before = crew.ledger.now();
    let mut first: Option<String> = None;
    for number in 0..ATTEMPTS_MAX {
        mark(&mut visitor, home, &format!("{}-moment-{number}", crew.kind)).await?;
        let latest = stamp(&crew.doors[home], &crew.kind).await?;
        match &first {
            // What is stamped from here on is later, also where the clock had been ahead.
            Some(time) if latest > *time => {
                return Ok((time.clone(), Moment { before, after: crew.ledger.now() }));
            }
            Some(_) => {}
            None => first = Some(latest),
        }
        tokio::time::sleep(AGAIN).await;
    }
    bail!("the time of {} stands still", visitor.region())
}

async fn mark(visitor: &mut Visitor, home: usize, id: &str) -> anyhow::Result<()> {
    for _ in 0..ATTEMPTS_MAX {
        visitor.at = home;
        match visitor.mark(CLOCK, id).await {
            Tried::Acknowledged(..) => return Ok(()),
            Tried::Refused(why) => bail!("{} refuses a write: {why}", visitor.region()),
            Tried::Behind | Tried::Elsewhere | Tried::Lost => tokio::time::sleep(AGAIN).await,
        }
    }
    bail!("{} takes no writes", visitor.region())
}

/// The latest stamp of the clock's events.
async fn stamp(door: &DrillDoor, kind: &str) -> anyhow::Result<String> {
    for _ in 0..ATTEMPTS_MAX {
        let Some((200, body)) = door.get(&format!("{}/events", path(kind, CLOCK))).await else {
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        let items = body["items"].as_array().into_iter().flatten();
        let stamps = items.filter_map(|item| item["metadata"]["timestamp"].as_str());
        return stamps.max().map(str::to_owned).context("an event has no timestamp");
    }
    bail!("{} does not show its own events", door.region)
}
