//! The course of a drill: steady, broken, healed, converged, judged.
//!
//! Clients of every level belong to the region that is lost and use it from the start. The operator
//! breaks and heals by his own means. What always holds: the judgement comes after every region
//! shows the same, or after it is clear that they do not.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;

use super::client::{Caller, DrillDoor, marks, path};
use super::ledger::Ledger;
use crate::account::{Final, Shown, account, lost};
use crate::history;
use crate::report::{Report, Timeline};

/// Clients of each level.
const CLIENTS: usize = 4;

/// A write that is under way at the end has this much longer.
const LAST_ATTEMPTS: Duration = Duration::from_secs(10);

/// Regions are equal within this after the end.
const CONVERGED_LONGEST: Duration = Duration::from_secs(60);

/// Between two looks at digests.
const LOOK: Duration = Duration::from_millis(250);

/// A read at the end is tried so often.
const READS_MAX: usize = 20;

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

/// Who breaks and heals, by an operator's means.
pub trait Operator {
    fn break_it(&self) -> impl Future<Output = anyhow::Result<()>>;
    fn heal(&self) -> impl Future<Output = anyhow::Result<()>>;
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
            let caller = Caller {
                ledger: Arc::clone(&ledger),
                doors: Arc::clone(&doors),
                kind: Arc::clone(&kind),
                level,
                ack: ack.clone(),
                number,
                home,
                at: home,
                token: String::new(),
                session: ledger.session(),
                deeds: 0,
                own: BTreeMap::new(),
                reborn: plan.mode == Mode::Destroy,
            };
            clients.spawn(caller.run(last));
        }
    }
    say(&format!("{} clients write and read in {}", clients.len(), plan.region));
    let moments = drive(plan, &ledger, operator, say).await;
    ledger.end();
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    let (broken_at, healed_at) = moments?;
    say("waiting until all regions show the same");
    let digests_equal = converged(&doors).await;
    let notes = ledger.take()?;
    say("reading everything everywhere");
    let keys: BTreeSet<&str> = notes.written.iter().map(|write| write.key.as_str()).collect();
    let end = read_all(&doors, &kind, &keys).await;
    let lost = lost(&notes.written, &end);
    let broken = history::check(&notes.history, &lost).err().map(|broken| broken.to_string());
    let levels = account(&plan.levels, &notes.written, &notes.stale, &end);
    let regions = doors.iter().map(|door| door.region.clone()).collect();
    let timeline = Timeline::of(regions, &notes.written, broken_at, healed_at, &plan.levels);
    Ok(Report::new(plan, levels, digests_equal, broken, notes.surprises, timeline))
}

/// Breaks after three tenths of the time, heals after seven; when that was, in milliseconds.
async fn drive(
    plan: &Plan,
    ledger: &Ledger,
    operator: &impl Operator,
    say: &dyn Fn(&str),
) -> anyhow::Result<(u64, u64)> {
    let part = plan.span / 10;
    tokio::time::sleep(part * 3).await;
    let broken_at = ledger.now();
    operator.break_it().await?;
    say(&format!("{}: {} acknowledged so far", plan.mode.name(), ledger.acknowledged()));
    tokio::time::sleep(part * 4).await;
    operator.heal().await?;
    let healed_at = ledger.now();
    ledger.heal();
    say(&format!("healed: {} acknowledged so far", ledger.acknowledged()));
    tokio::time::sleep(part * 3).await;
    Ok((broken_at, healed_at))
}

/// True once all regions have equal digests at equal vectors.
async fn converged(doors: &[DrillDoor]) -> bool {
    let looks = CONVERGED_LONGEST.as_millis() / LOOK.as_millis();
    for _ in 0..looks {
        let mut digests: Vec<(Value, Value)> = Vec::new();
        for door in doors {
            if let Some((200, body)) = door.get("/v1/digests").await {
                digests.push((body["vector"].clone(), body["root"].clone()));
            }
        }
        if digests.len() == doors.len() && digests.windows(2).all(|pair| pair[0] == pair[1]) {
            return true;
        }
        tokio::time::sleep(LOOK).await;
    }
    false
}

/// What every region shows of every aggregate; a region that does not answer shows nothing.
async fn read_all(doors: &[DrillDoor], kind: &str, keys: &BTreeSet<&str>) -> Final {
    let mut end = Final::new();
    for door in doors {
        let shown = end.entry(door.region.clone()).or_default();
        for key in keys {
            for _ in 0..READS_MAX {
                match door.get(&path(kind, key)).await {
                    Some((200, body)) => {
                        let version = body["version"].as_u64().unwrap_or(0);
                        let marks = marks(&body["data"]);
                        shown.insert((*key).to_owned(), Shown { marks, version });
                        break;
                    }
                    Some((404, _)) => break,
                    _ => tokio::time::sleep(LOOK).await,
                }
            }
        }
    }
    end
}
