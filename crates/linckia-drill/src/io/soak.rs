//! The course of a soak: a load of hopping sessions, while whatever the seed says fails and heals.
//!
//! What always holds: everything is healed before the end is judged, also where the operator's
//! means fail in between.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::Operator;
use super::end::{converged, ends, read_all};
use super::graves::dig;
use super::ledger::Ledger;
use super::visitor::DrillDoor;
use super::wanderer::{MEMBERS, READS, Wandering, circles};
use crate::account::account;
use crate::report::{Band, Outcome, Report, Timeline};
use crate::schedule::{Planned, schedule};

/// A write that is under way at the end has this much longer.
const LAST_ATTEMPTS: Duration = Duration::from_secs(20);

/// Deeds a second of one client: one that waits for other regions' disks can do so many.
const DEEDS_A_SECOND: u64 = 3;

/// Circles at least, however low the rate.
const CIRCLES_MIN: u64 = 2;

/// Between two words about how it goes.
const SAY: Duration = Duration::from_secs(5);

/// What is rehearsed.
#[derive(Clone, Debug)]
pub struct Soak {
    /// What fails when is drawn from it.
    pub seed: u64,
    /// Writes a second, of all clients together.
    pub rate: u64,
    /// Acknowledgement levels, as `Linckia-Ack` has them.
    pub levels: Vec<String>,
    /// Disks are lost too.
    pub destroys: bool,
    /// From the first write to the last.
    pub span: Duration,
    /// A name that no drill had before: letters, digits.
    pub run: String,
    /// The observer's own record of acknowledged ids.
    pub ledger: PathBuf,
}

impl Soak {
    fn circles(&self) -> u64 {
        let clients = (self.rate * READS / (READS - 1)).div_ceil(DEEDS_A_SECOND);
        clients.div_ceil(MEMBERS as u64).max(CIRCLES_MIN)
    }

    /// Between two deeds of one client.
    fn pace(&self) -> Duration {
        let clients = self.circles() * MEMBERS as u64;
        let deeds_a_second = (self.rate * READS) as f64 / (READS - 1) as f64;
        Duration::from_secs_f64(clients as f64 / deeds_a_second.max(1.0))
    }
}

/// Runs a soak; `say` is told how it goes.
///
/// # Errors
/// The operator's, or a ledger that cannot be written. What the fleet does wrong is in the report.
pub async fn soak(
    plan: &Soak,
    doors: Vec<DrillDoor>,
    operator: &impl Operator,
    say: &dyn Fn(&str),
) -> anyhow::Result<Report> {
    anyhow::ensure!(doors.len() > 1, "a fleet of one region has nothing to survive with");
    let regions: Vec<String> = doors.iter().map(|door| door.region.clone()).collect();
    let wandering = Arc::new(Wandering {
        ledger: Ledger::create(&plan.ledger, plan.levels.len())?,
        kind: Arc::from(&*plan.run),
        levels: plan.levels.clone(),
        pace: plan.pace(),
        seed: plan.seed,
        last: (plan.span + LAST_ATTEMPTS).as_millis() as u64,
        destroys: plan.destroys,
        births: doors.iter().map(|_| AtomicU64::new(0)).collect(),
        doors: doors.into(),
        circles: AtomicU64::new(0),
        given_up: AtomicU64::new(0),
    });
    let mut clients = JoinSet::new();
    for place in 0..plan.circles() as usize {
        clients.spawn(circles(Arc::clone(&wandering), place));
    }
    let graves = tokio::spawn(dig(Arc::clone(&wandering)));
    let planned = schedule(plan.seed, plan.span.as_millis() as u64, &regions, plan.destroys);
    say(&format!(
        "seed {}: {} clients hop between {} regions, {} failures to come",
        plan.seed,
        clients.len() * MEMBERS,
        regions.len(),
        planned.len()
    ));
    let bands = drive(plan, &wandering, &planned, operator, say).await;
    wandering.ledger.end();
    let mut broken = None;
    while let Some(ended) = clients.join_next().await {
        broken = broken.or(ended??);
    }
    let deletions = graves.await?;
    let bands = bands?;
    say("waiting until all regions show the same");
    let digests_equal = converged(&wandering.doors).await;
    let notes = wandering.ledger.take()?;
    say("reading everything everywhere");
    let keys = notes.written.iter().map(|write| write.key.as_str()).collect();
    let end = read_all(&wandering.doors, &plan.run, keys).await?;
    let closed = ends(&wandering.doors).await;
    let levels = account(&plan.levels, &notes.written, &notes.stale, &end, &closed);
    let timeline = Timeline::of(regions, &notes.written, bands, &plan.levels);
    let outcome = Outcome { levels, digests_equal, broken, surprises: notes.surprises, timeline };
    let given_up = wandering.given_up.load(Ordering::Relaxed);
    Ok(Report::of_soak(plan, outcome, deletions, given_up))
}

/// Lets everything fail and heal in its time; what failed when.
async fn drive(
    plan: &Soak,
    wandering: &Wandering,
    planned: &[Planned],
    operator: &impl Operator,
    say: &dyn Fn(&str),
) -> anyhow::Result<Vec<Band>> {
    let lane = |of_links: bool| {
        let failures = planned.iter().filter(move |each| each.failure.is_of_links() == of_links);
        one_lane(wandering, failures, operator, say)
    };
    let lanes = async {
        let (processes, links) = tokio::join!(lane(false), lane(true));
        let mut bands = processes?;
        bands.extend(links?);
        bands.sort_by_key(|band| band.from);
        until(wandering, plan.span.as_millis() as u64).await;
        Ok(bands)
    };
    let progress = async {
        let mut before = 0;
        loop {
            tokio::time::sleep(SAY).await;
            let acknowledged = wandering.ledger.acknowledged();
            let rate = (acknowledged - before) as u64 / SAY.as_secs();
            let seconds = wandering.ledger.now() / 1_000;
            say(&format!("{seconds} s: {acknowledged} acknowledged, {rate}/s"));
            before = acknowledged;
        }
    };
    tokio::select! {
        bands = lanes => bands,
        () = progress => Ok(Vec::new()),
    }
}

async fn one_lane<'a>(
    wandering: &Wandering,
    planned: impl Iterator<Item = &'a Planned>,
    operator: &impl Operator,
    say: &dyn Fn(&str),
) -> anyhow::Result<Vec<Band>> {
    let mut bands = Vec::new();
    for Planned { at, until: healed_at, failure } in planned {
        until(wandering, *at).await;
        let from = wandering.ledger.now();
        say(&format!("{:.1} s: {failure}", from as f64 / 1_000.0));
        let struck = operator.strike(failure).await;
        if let Some(region) = failure.destroyed() {
            let place = wandering.doors.iter().position(|door| door.region == region);
            if let Some(place) = place {
                wandering.births[place].fetch_add(1, Ordering::SeqCst);
            }
        }
        if struck.is_ok() {
            until(wandering, *healed_at).await;
        }
        let healed = operator.heal(failure).await;
        struck?;
        healed?;
        bands.push(Band { from, until: wandering.ledger.now(), what: failure.to_string() });
    }
    Ok(bands)
}

/// Sleeps until so many milliseconds from the start.
async fn until(wandering: &Wandering, milliseconds: u64) {
    let left = milliseconds.saturating_sub(wandering.ledger.now());
    tokio::time::sleep(Duration::from_millis(left)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_makes_the_rate() {
        for rate in [1, 100, 2_000] {
            let plan = Soak {
                seed: 1,
                rate,
                levels: Vec::new(),
                destroys: false,
                span: Duration::ZERO,
                run: String::new(),
                ledger: PathBuf::new(),
            };
            let clients = (plan.circles() * MEMBERS as u64) as f64;
            let deeds = clients / plan.pace().as_secs_f64();
            let writes = deeds * (READS - 1) as f64 / READS as f64;
            assert!((writes - rate as f64).abs() < 1.0, "{rate}: {writes}");
        }
    }
}
