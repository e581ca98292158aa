//! The course of an absence: a region goes, the others go on, perhaps without waiting for it, and
//! it comes back, catches up, and brings what it had not passed on.
//!
//! What always holds: what came back on record is written again before anything is judged, so that
//! every acknowledged write is owed by every region in the end; sessions are judged by what was
//! there while they ran.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use serde_json::json;

use super::Operator;
use super::course::{Crew, place_of};
use super::gauges::{Disks, Vector, described, farthest, missing, said, vector};
use super::returned::{admit, on_record};
use super::visitor::DrillDoor;
use crate::absent::{Absent, CatchUp, unrecorded, writes_again};
use crate::account::{Final, Written, lost};
use crate::failure::Failure;
use crate::report::{Band, Report};

/// A region is back within this, with everything that it missed.
const BACK_LONGEST: Duration = Duration::from_secs(600);

/// One that does not answer for so long after it was started is started again: a region that
/// learns of its lapse ends, and not everybody has something that starts it.
const SILENT_LONGEST: Duration = Duration::from_secs(10);

/// A lapse is decided within this: a majority may have to find a leader first.
const LAPSE_LONGEST: Duration = Duration::from_secs(30);

/// Between two looks at a region that comes back: a small snapshot is over soon.
const LOOK: Duration = Duration::from_millis(20);

/// What came back is admitted at most so often, while more of it comes.
const ADMISSIONS_MAX: usize = 10;

/// Between two attempts at a lapse.
const AGAIN: Duration = Duration::from_millis(500);

/// What is rehearsed.
#[derive(Clone, Debug)]
pub struct Absence {
    /// The region that goes.
    pub region: String,
    /// The others are told to wait for it no more.
    pub lapse: bool,
    /// Acknowledgement levels, as `Linckia-Ack` has them.
    pub levels: Vec<String>,
    /// From the first write to the last, and longer where coming back takes longer.
    pub span: Duration,
    /// A name that no drill had before: letters, digits.
    pub run: String,
    /// The observer's own record of acknowledged ids.
    pub ledger: PathBuf,
}

/// Runs a drill; `say` is told how it goes.
///
/// # Errors
/// The operator's, a ledger that cannot be written, a lapse that nobody decides, or a region that
/// does not come back. What the fleet does wrong is in the report.
pub async fn absence(
    plan: &Absence,
    doors: Vec<DrillDoor>,
    operator: &impl Operator,
    say: &dyn Fn(&str),
) -> anyhow::Result<Report> {
    anyhow::ensure!(doors.len() > 1, "a fleet of one region has nobody who stays");
    let home = place_of(&doors, &plan.region)?;
    let crew = Crew::gather(doors, &plan.run, &plan.levels, &plan.ledger)?;
    let disks = Disks::watch(others(&crew, home).cloned().collect());
    let all = crew.doors.len();
    let clients = crew.clients(|number| (home + number) % all, plan.span, plan.lapse);
    say(&format!("{} clients write and read in all regions", clients.len()));
    let driven = drive(plan, &crew, home, &disks, operator, say).await;
    crew.end(clients).await?;
    let Driven { mut absent, since, band } = driven?;
    let notes = crew.ledger.take()?;
    absent.writes_milliseconds = writes_again(&notes.written, &plan.region, since);
    let mut seen = crew.see(&notes.written, say).await?;
    let excused = lost(&notes.written, &seen.end);
    if absent.lapsed.is_some() {
        say("looking for what it brought back");
        take_back(&crew, home, &notes.written, &seen.end, &mut absent).await?;
        say(&format!("{} events were on record, {} admitted", absent.returned, absent.admitted));
        seen = crew.see(&notes.written, say).await?;
    }
    let (outcome, _) = crew.account(notes, &seen, &excused, vec![band]).await?;
    absent.disks = disks.end().await;
    Ok(Report::of_absence(plan, outcome, absent))
}

fn others(crew: &Crew, home: usize) -> impl Iterator<Item = &DrillDoor> {
    crew.doors.iter().enumerate().filter(move |(place, _)| *place != home).map(|(_, door)| door)
}

struct Driven {
    absent: Absent,
    /// When it was started again, in milliseconds from the start.
    since: u64,
    band: Band,
}

/// The region goes after two tenths of the time, lapses after three, if it does, and is started
/// after seven.
async fn drive(
    plan: &Absence,
    crew: &Crew,
    home: usize,
    disks: &Disks,
    operator: &impl Operator,
    say: &dyn Fn(&str),
) -> anyhow::Result<Driven> {
    let (part, ledger) = (plan.span / 10, &crew.ledger);
    tokio::time::sleep(part * 2).await;
    disks.begin().await;
    let before = said(&crew.doors[home]).await?;
    let from = ledger.now();
    let failure = Failure::Leave { region: plan.region.clone() };
    operator.strike(&failure).await?;
    say(&format!("{failure}: {} acknowledged so far", ledger.acknowledged()));
    let left =
        |tenths: u32| (part * tenths).saturating_sub(Duration::from_millis(ledger.now() - from));
    tokio::time::sleep(left(1)).await;
    if plan.lapse {
        lapse(crew, home, &plan.region).await?;
        say(&format!("{} has lapsed: nobody waits for it", plan.region));
    }
    tokio::time::sleep(left(5)).await;
    let lapsed = lapsed(crew, home, &plan.region).await;
    let target = farthest(others(crew, home)).await?;
    let events_behind = missing(&target, &before);
    let since = ledger.now();
    say(&format!("it is started, {events_behind} events behind"));
    let back = back(crew, home, &failure, &target, operator).await?;
    let until = ledger.now();
    ledger.heal();
    let by = back.catch_up.name();
    say(&format!("it is back by {by}: {} acknowledged so far", ledger.acknowledged()));
    tokio::time::sleep(part * 3).await;
    let absent = Absent {
        away_milliseconds: since - from,
        events_behind,
        lapsed: lapsed.or(back.lapsed),
        catch_up: back.catch_up,
        rto_milliseconds: back.answers - since,
        level_milliseconds: until - since,
        ..Absent::default()
    };
    Ok(Driven { absent, since, band: Band { from, until, what: failure.to_string() } })
}

/// Tells the others that nobody waits for it any more.
async fn lapse(crew: &Crew, home: usize, region: &str) -> anyhow::Result<()> {
    let (path, body) = (format!("/v1/regions/{region}/lapse"), json!({"reason": "a drill"}));
    let mut why = "no region answers".to_owned();
    for _ in 0..LAPSE_LONGEST.as_millis() / AGAIN.as_millis() {
        for door in others(crew, home) {
            match door.post(&path, &[], &body).await {
                Some((200, _)) => return Ok(()),
                Some((_, problem)) => problem["detail"].as_str().unwrap_or("").clone_into(&mut why),
                None => {}
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
    bail!("{region} does not lapse: {why}")
}

/// Why nobody waits for a region, as some other one says.
async fn lapsed(crew: &Crew, home: usize, region: &str) -> Option<String> {
    for door in others(crew, home) {
        let Some(described) = described(door, region).await else { continue };
        if let Some(reason) = described["lapsed"]["reason"].as_str() {
            return Some(reason.to_owned());
        }
    }
    None
}

/// How a region came back.
#[derive(Default)]
struct Back {
    catch_up: CatchUp,
    /// It was found to have lapsed only now.
    lapsed: Option<String>,
    /// When it answered, in milliseconds from the start.
    answers: u64,
}

/// Starts it, as often as it takes, and waits until it has applied what the others had.
async fn back(
    crew: &Crew,
    home: usize,
    failure: &Failure,
    target: &Vector,
    operator: &impl Operator,
) -> anyhow::Result<Back> {
    let door = &crew.doors[home];
    let starting = async {
        loop {
            operator.heal(failure).await?;
            silent(door).await;
        }
    };
    let mut back = Back::default();
    let coming = tokio::time::timeout(BACK_LONGEST, comes(crew, home, target, &mut back));
    tokio::select! {
        failed = starting => failed,
        came = coming => match came {
            Ok(()) => Ok(back),
            Err(_) => {
                let why = door.get("/readyz").await;
                let why = why.and_then(|(_, body)| body["detail"].as_str().map(str::to_owned));
                let why = why.unwrap_or_else(|| "it does not answer".to_owned());
                bail!("{} is not back after {} s: {why}", door.region, BACK_LONGEST.as_secs())
            }
        },
    }
}

/// Returns when a region has not answered for a while.
async fn silent(door: &DrillDoor) {
    let mut heard = tokio::time::Instant::now();
    while heard.elapsed() < SILENT_LONGEST {
        tokio::time::sleep(AGAIN).await;
        if door.get("/livez").await.is_some() {
            heard = tokio::time::Instant::now();
        }
    }
}

async fn comes(crew: &Crew, home: usize, target: &Vector, back: &mut Back) {
    let door = &crew.doors[home];
    loop {
        tokio::time::sleep(LOOK).await;
        let Some((status, _)) = door.get("/readyz").await else { continue };
        let itself = described(door, &door.region).await.unwrap_or_default();
        if itself["catchUp"].is_object() {
            back.catch_up = CatchUp::Snapshot;
        }
        if status != 200 {
            continue;
        }
        // One that does not know yet that it lapsed is ready, and is about to leave.
        if let Some(reason) = lapsed(crew, home, &door.region).await {
            back.lapsed = Some(reason);
            back.answers = 0;
            continue;
        }
        if back.answers == 0 {
            back.answers = crew.ledger.now();
        }
        let applied = vector(door).await;
        if applied.is_some_and(|applied| missing(target, &applied) == 0) {
            return;
        }
    }
}

/// Finds on record what is missing, and has it written again.
async fn take_back(
    crew: &Crew,
    home: usize,
    written: &[Written],
    end: &Final,
    absent: &mut Absent,
) -> anyhow::Result<()> {
    let missing = lost(written, end);
    let is_missing = |it: &Written| missing.contains(&(it.key.clone(), it.id.clone()));
    let nothing = BTreeSet::new();
    let owed = unrecorded(written, is_missing, &nothing).into_iter().map(str::to_owned).collect();
    let mut found = on_record(&crew.doors, &crew.kind, &owed).await;
    let unrecorded = unrecorded(written, is_missing, &found).into_iter().map(str::to_owned);
    absent.unrecorded_ids = unrecorded.collect();
    let (mut admitted, mut waiting) = (BTreeSet::new(), found.clone());
    // What no client was told of may come on record later.
    for _ in 0..ADMISSIONS_MAX {
        let Some(door) = others(crew, home).next().filter(|_| !waiting.is_empty()) else { break };
        admitted.append(&mut admit(door, &crew.kind).await?);
        waiting = on_record(&crew.doors, &crew.kind, &nothing).await;
        found.extend(waiting.iter().cloned());
    }
    found.extend(admitted.iter().cloned());
    (absent.returned, absent.admitted) = (found.len() as u64, admitted.len() as u64);
    Ok(())
}
