//! The course of a full disk: one region has no room left for a while, and then has.
//!
//! What always holds: one client asks that region alone, whatever it answers, and moves nowhere;
//! what it acknowledged to that client is owed as well.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::bail;
use tokio::task::JoinSet;

use super::Operator;
use super::course::{Crew, place_of};
use super::gauges::{farthest, missing, vector};
use super::ledger::Ledger;
use super::visitor::{ACK_TIMEOUT, DrillDoor, marking, path};
use crate::account::{Receipt, Written};
use crate::failure::Failure;
use crate::full::{Full, Probe, Span};
use crate::report::{Band, Report};

/// Between two questions of the client that asks the region alone.
const EVERY: Duration = Duration::from_millis(100);

/// Marks of one of its aggregates: more make each write fold a large document.
const MARKS_MAX: usize = 40;

/// With room again, a region has applied what the others have within this.
const LEVEL_LONGEST: Duration = Duration::from_secs(600);

/// Between two looks whether it has.
const LOOK: Duration = Duration::from_millis(50);

/// What is rehearsed.
#[derive(Clone, Debug)]
pub struct DiskFull {
    /// The region whose disk is full.
    pub region: String,
    /// Acknowledgement levels, as `Linckia-Ack` has them.
    pub levels: Vec<String>,
    /// From the first write to the last, and longer where catching up takes longer.
    pub span: Duration,
    /// A name that no drill had before: letters, digits.
    pub run: String,
    /// The observer's own record of acknowledged ids.
    pub ledger: PathBuf,
}

/// Runs a drill; `say` is told how it goes.
///
/// # Errors
/// The operator's, a ledger that cannot be written, or a region that does not catch up once there
/// is room. What the fleet does wrong is in the report.
pub async fn disk_full(
    plan: &DiskFull,
    doors: Vec<DrillDoor>,
    operator: &impl Operator,
    say: &dyn Fn(&str),
) -> anyhow::Result<Report> {
    anyhow::ensure!(doors.len() > 1, "a fleet of one region has no others that take writes");
    let home = place_of(&doors, &plan.region)?;
    let crew = Crew::gather(doors, &plan.run, &plan.levels, &plan.ledger)?;
    let all = crew.doors.len();
    let clients = crew.clients(|number| (home + number) % all, plan.span, false);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut asking = JoinSet::new();
    asking.spawn(ask(Asker {
        door: crew.doors[home].clone(),
        kind: Arc::clone(&crew.kind),
        ack: plan.levels.first().cloned().unwrap_or_default(),
        ledger: Arc::clone(&crew.ledger),
        seen: Arc::clone(&seen),
    }));
    say(&format!("{} clients write and read in all regions", clients.len()));
    let driven = drive(plan, &crew, home, operator, say).await;
    crew.end(clients).await?;
    while let Some(ended) = asking.join_next().await {
        ended??;
    }
    let (span, level) = driven?;
    let band = Band { from: span.from, until: span.until, what: failure(plan).to_string() };
    let (outcome, written) = crew.judge(vec![band], say).await?;
    let probes = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    let names = crew.doors.iter().map(|door| &*door.region);
    let others: Vec<&str> = names.filter(|name| *name != plan.region).collect();
    let full = Full::of(&probes, &written, &others, span, level);
    Ok(Report::of_disk_full(plan, outcome, full))
}

fn failure(plan: &DiskFull) -> Failure {
    Failure::Fill { region: plan.region.clone() }
}

/// The disk is full after three tenths of the time, and has room after seven; when that was, and
/// how long the region then took to be level with the others.
async fn drive(
    plan: &DiskFull,
    crew: &Crew,
    home: usize,
    operator: &impl Operator,
    say: &dyn Fn(&str),
) -> anyhow::Result<(Span, u64)> {
    let (part, ledger, failure) = (plan.span / 10, &crew.ledger, failure(plan));
    tokio::time::sleep(part * 3).await;
    let from = ledger.now();
    operator.strike(&failure).await?;
    say(&format!("{failure}: {} acknowledged so far", ledger.acknowledged()));
    tokio::time::sleep(part * 4).await;
    let others = crew.doors.iter().enumerate().filter(|(place, _)| *place != home);
    let target = farthest(others.map(|(_, door)| door)).await?;
    let until = ledger.now();
    operator.heal(&failure).await?;
    say(&format!("there is room again: {} acknowledged so far", ledger.acknowledged()));
    let door = &crew.doors[home];
    let level = async {
        while vector(door).await.is_none_or(|applied| missing(&target, &applied) > 0) {
            tokio::time::sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(LEVEL_LONGEST, level).await.is_err() {
        bail!("{} has room and lacks what the others have", plan.region);
    }
    let level = ledger.now() - until;
    ledger.heal();
    say(&format!(
        "{} has what the others have: {} acknowledged",
        plan.region,
        ledger.acknowledged()
    ));
    tokio::time::sleep(part * 3).await;
    Ok((Span { from, until }, level))
}

/// A client that asks one region, whatever it answers.
struct Asker {
    door: DrillDoor,
    kind: Arc<str>,
    ack: String,
    ledger: Arc<Ledger>,
    /// Its questions, in order.
    seen: Arc<Mutex<Vec<(u64, Probe)>>>,
}

/// Reads and writes until the drill is over.
async fn ask(asker: Asker) -> anyhow::Result<()> {
    let mut number = 0;
    while !asker.ledger.is_over() {
        number += 1;
        let key = format!("alone-{}", number / MARKS_MAX);
        let read = asker.read(&key).await;
        asker.note(read);
        let id = format!("{}-alone-{number}", asker.kind);
        let wrote = asker.write(&key, &id).await?;
        asker.note(wrote);
        tokio::time::sleep(EVERY).await;
    }
    Ok(())
}

impl Asker {
    fn note(&self, probe: Probe) {
        let at = self.ledger.now();
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push((at, probe));
    }

    /// What is not there yet is answered too.
    async fn read(&self, key: &str) -> Probe {
        match self.door.get(&path(&self.kind, key)).await {
            Some((200 | 404, _)) => Probe::Read,
            _ => Probe::ReadFailed,
        }
    }

    async fn write(&self, key: &str, id: &str) -> anyhow::Result<Probe> {
        let ack = format!("{};timeout={ACK_TIMEOUT}", self.ack);
        let (begun, body) = (self.ledger.now(), marking(&self.kind, key, id));
        let answer = self.door.post("/v1/events", &[("linckia-ack", &ack)], &body).await;
        let (probe, acknowledged) = match answer {
            Some((200 | 201, answer)) => {
                let origin = answer["origin"].as_str().unwrap_or_default().to_owned();
                let sequence = answer["sequence"].as_u64().unwrap_or(0);
                let (when, region) = (self.ledger.now(), self.door.region.clone());
                (Probe::Taken, Some(Receipt { when, region, origin, sequence }))
            }
            // It was not written, so it is no write of the account.
            Some((503, problem)) if problem["type"] == "/problems/disk-full" => {
                return Ok(Probe::Refused);
            }
            _ => (Probe::WriteFailed, None),
        };
        let (key, id) = (key.to_owned(), id.to_owned());
        let write = Written { level: 0, key, id, begun, acknowledged, attempts: 1 };
        self.ledger.written(&self.ack, write)?;
        Ok(probe)
    }
}
