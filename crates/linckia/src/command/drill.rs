//! `drill`: rehearses a failure on a fleet and says what was lost.
//!
//! The drill itself is `linckia-drill`; here stand the words and what is printed, in `means.rs` and
//! `keeper.rs` the operator's means. What always holds: exit code 1 if a promise was not kept.

mod keeper;
mod means;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use keeper::Spare;
use linckia_drill::report::{Drill, Report, Times};
use linckia_drill::restored::Restored;
use linckia_drill::{DrillDoor, Mode, Plan, Restore, Soak};
use means::Means;

use super::text::{number, print, remark, table};
use super::{Context, Outcome, wrong_use};
use crate::arguments::GlobalArguments;
use crate::config::units::parse_duration;

/// Shorter ones measure the start of things.
const SPAN_MIN: Duration = Duration::from_secs(3);

/// A soak's writes a second, if nothing else is asked for: what a laptop does beside other work.
const RATE: u64 = 500;

/// Ids that are printed of what was lost; all are in the JSON and on the page.
const LOST_SHOWN: usize = 10;

/// Rehearsed failures.
#[derive(Debug, Subcommand)]
pub enum DrillCommand {
    /// Lets regions fail under load, heals them, and accounts for every acknowledged write.
    Run(RunArguments),
}

/// What is rehearsed, and how.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// The drill.
    #[arg(value_enum)]
    drill: DrillName,
    /// How the region is lost, in region-loss.
    #[arg(long, value_enum)]
    mode: Option<ModeName>,
    /// Acknowledgement levels to compare.
    #[arg(long, value_delimiter = ',', default_value = "local,any")]
    ack: Vec<String>,
    /// From the first write to the last.
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    #[arg(default_value = "20s")]
    span: Duration,
    /// What fails when, in a soak; without it another every time.
    #[arg(long)]
    seed: Option<u64>,
    /// Writes a second, in a soak; 500 without it.
    #[arg(long)]
    rate: Option<u64>,
    /// In a soak, disks are lost too: only for levels that survive it.
    #[arg(long)]
    destroy: bool,
    /// Writes a page with a timeline.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Where the observer keeps the ids that were acknowledged.
    #[arg(long, value_name = "FILE", default_value = "drill-ledger.txt")]
    ledger: PathBuf,
    /// In restore: the directory that the backup and the restored fleet lie in, which is made, and
    /// removed if the drill passes; drill-restore without it.
    #[arg(long, value_name = "DIR")]
    beside: Option<PathBuf>,
    /// In place of the local fleet's supervisor: a shell command that loses the region.
    #[arg(long, value_name = "COMMAND", requires = "heal_with")]
    break_with: Option<String>,
    /// A shell command that brings it back.
    #[arg(long, value_name = "COMMAND", requires = "break_with")]
    heal_with: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DrillName {
    /// A region is lost and comes back.
    RegionLoss,
    /// A fleet is restored from a backup, beside the one that runs on.
    Restore,
    /// Kills, cuts and wrong clocks, drawn from a seed, while sessions hop between regions.
    Soak,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ModeName {
    /// Its process is killed and started again.
    Stop,
    /// It is cut off from all other regions.
    Cut,
    /// Its process is killed and its directory removed.
    Destroy,
}

impl From<ModeName> for Mode {
    fn from(name: ModeName) -> Self {
        match name {
            ModeName::Stop => Self::Stop,
            ModeName::Cut => Self::Cut,
            ModeName::Destroy => Self::Destroy,
        }
    }
}

/// Runs `drill`.
pub async fn run(
    context: &Context,
    global: &GlobalArguments,
    command: &DrillCommand,
) -> anyhow::Result<Outcome> {
    let DrillCommand::Run(arguments) = command;
    if arguments.span < SPAN_MIN {
        return Err(wrong_use(format!("--for takes at least {} s", SPAN_MIN.as_secs())));
    }
    let doors = context.addresses.every().await?;
    let clients = doors.iter().map(|door| Ok(DrillDoor::new(door.label(), door.url())?));
    let clients: Vec<DrillDoor> = clients.collect::<anyhow::Result<_>>()?;
    let mut report = match arguments.drill {
        DrillName::RegionLoss => region_loss(global, arguments, clients).await?,
        DrillName::Restore => restore(global, arguments, clients).await?,
        DrillName::Soak => soak(global, arguments, clients).await?,
    };
    if let Some(path) = &arguments.report {
        fs::write(path, report.html())
            .with_context(|| format!("cannot write {}", path.display()))?;
        report.report = Some(path.display().to_string());
    }
    if context.json {
        print(&serde_json::to_string(&report)?)?;
    } else {
        print(&show(&report))?;
    }
    Ok(if report.passed { Outcome::Done } else { Outcome::Refused })
}

async fn region_loss(
    global: &GlobalArguments,
    arguments: &RunArguments,
    doors: Vec<DrillDoor>,
) -> anyhow::Result<Report> {
    no_soak(arguments)?;
    if arguments.beside.is_some() {
        return Err(wrong_use("--beside is of restore"));
    }
    let plan = Plan {
        region: region_of(global, &doors)?,
        mode: arguments.mode.unwrap_or(ModeName::Stop).into(),
        levels: arguments.ack.clone(),
        span: arguments.span,
        run: run_name("Drill"),
        ledger: arguments.ledger.clone(),
    };
    let means = match (&arguments.break_with, &arguments.heal_with) {
        (Some(to_break), Some(to_heal)) => Means::Commands { to_break, to_heal },
        _ if global.url.is_some() => {
            return Err(wrong_use(
                "a fleet behind --url is broken and healed by your own means: give --break-with \
                 and --heal-with",
            ));
        }
        _ => Means::Local { dir: &global.dir },
    };
    linckia_drill::run(&plan, doors, &means, &remark).await
}

fn no_soak(arguments: &RunArguments) -> anyhow::Result<()> {
    if arguments.seed.is_some() || arguments.rate.is_some() || arguments.destroy {
        return Err(wrong_use("--seed, --rate and --destroy are a soak's: leave them out"));
    }
    Ok(())
}

/// The region that a drill is about: the named one, or the first.
fn region_of(global: &GlobalArguments, doors: &[DrillDoor]) -> anyhow::Result<String> {
    let region = match (&global.region, doors.first()) {
        (Some(region), _) => region.clone(),
        (None, Some(first)) => first.region.clone(),
        (None, None) => bail!("the fleet has no region"),
    };
    let names: Vec<&str> = doors.iter().map(|door| door.region.as_str()).collect();
    if !names.contains(&region.as_str()) {
        let names = names.join(", ");
        return Err(wrong_use(format!("there is no region `{region}`: the regions are {names}")));
    }
    Ok(region)
}

/// A fleet is restored beside the running one.
async fn restore(
    global: &GlobalArguments,
    arguments: &RunArguments,
    doors: Vec<DrillDoor>,
) -> anyhow::Result<Report> {
    no_soak(arguments)?;
    if arguments.mode.is_some() || arguments.break_with.is_some() {
        return Err(wrong_use("--mode and --break-with are of region-loss: leave them out"));
    }
    let plan = Restore {
        region: region_of(global, &doors)?,
        levels: arguments.ack.clone(),
        span: arguments.span,
        run: run_name("Restore"),
        ledger: arguments.ledger.clone(),
    };
    let regions = doors.iter().map(|door| door.region.clone()).collect();
    let dir = arguments.beside.as_deref().unwrap_or_else(|| Path::new("drill-restore"));
    let spare = Spare::create(global, &plan.region, regions, dir)?;
    let ran = linckia_drill::restore(&plan, doors, &spare, &remark).await;
    let ended = spare.end(ran.as_ref().is_ok_and(|report| report.passed)).await;
    let report = ran?;
    ended?;
    Ok(report)
}

async fn soak(
    global: &GlobalArguments,
    arguments: &RunArguments,
    doors: Vec<DrillDoor>,
) -> anyhow::Result<Report> {
    let region_loss = arguments.mode.is_some() || arguments.break_with.is_some();
    if region_loss || arguments.beside.is_some() || global.region.is_some() {
        return Err(wrong_use("--mode, --break-with, --beside and --region are of other drills"));
    }
    if global.url.is_some() {
        return Err(wrong_use("a soak breaks a local fleet by its supervisor: name it by --dir"));
    }
    if arguments.destroy && arguments.ack.iter().any(|ack| ack == "local") {
        return Err(wrong_use("what `local` acknowledged is lost with a disk: add --ack any"));
    }
    let plan = Soak {
        seed: arguments.seed.unwrap_or_else(|| since_epoch().as_millis() as u64),
        rate: arguments.rate.unwrap_or(RATE).max(1),
        levels: arguments.ack.clone(),
        destroys: arguments.destroy,
        span: arguments.span,
        run: run_name("Soak"),
        ledger: arguments.ledger.clone(),
    };
    linckia_drill::soak(&plan, doors, &Means::Local { dir: &global.dir }, &remark).await
}

/// An aggregate type that no drill had before.
fn run_name(drill: &str) -> String {
    format!("{drill}{}", since_epoch().as_millis())
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn show(report: &Report) -> String {
    let rows = report.levels.iter().map(|level| {
        vec![
            level.ack.clone(),
            number(level.acknowledged),
            number(level.lost),
            number(level.declared_lost),
            number(level.duplicated),
            number(level.interrupted),
            number(level.rto_milliseconds.p50),
            number(level.rto_milliseconds.p99),
            number(level.stale_reads),
        ]
    });
    let header = [
        "ACK",
        "ACKNOWLEDGED",
        "LOST",
        "DECLARED",
        "TWICE",
        "INTERRUPTED",
        "RTO P50 MS",
        "P99",
        "STALE READS",
    ];
    let mut text = table(&header, &[1, 2, 3, 4, 5, 6, 7, 8], rows.collect());
    for level in report.levels.iter().filter(|level| level.lost > 0) {
        text.push_str(&format!("\n\nLost of `{}`:", level.ack));
        for id in level.lost_ids.iter().take(LOST_SHOWN) {
            text.push_str(&format!("\n  {id}"));
        }
        if level.lost_ids.len() > LOST_SHOWN {
            text.push_str(&format!("\n  and {} more", level.lost_ids.len() - LOST_SHOWN));
        }
    }
    if let Some(broken) = &report.broken_guarantee {
        text.push_str(&format!("\n\nA session guarantee was broken: {broken}"));
    }
    for surprise in &report.surprises {
        text.push_str(&format!("\n\nNot expected: {surprise}"));
    }
    if let Drill::Soak { deletions, sessions_given_up, .. } = &report.drill {
        text.push_str(&format!(
            "\n\n{} deletions met a write that did not know of them; {} sessions were given up.",
            number(*deletions),
            number(*sessions_given_up)
        ));
    }
    if let Drill::Restore { times, restored, restored_equal, .. } = &report.drill {
        text.push_str(&show_restored(times, restored, *restored_equal));
    }
    let equal = if report.digests_equal { "are equal" } else { "DIFFER" };
    let verdict = if report.passed { "Passed" } else { "FAILED" };
    text.push_str(&format!(
        "\n\n{verdict}: {}; digests {equal}; acknowledged ids in {}.",
        report.drill.name(),
        report.ledger
    ));
    if let Some(path) = &report.report {
        text.push_str(&format!(" The page: {path}"));
    }
    text
}

fn show_restored(times: &Times, restored: &Restored, equal: bool) -> String {
    let Times { time, backup, verify, restore, age } = times;
    let mut text = format!(
        "\n\nRestored as of {time}: ready after {} ms (RTO), {} ms after that moment (RPO); the \
         second backup took {} ms, `backup verify` {} ms.\nOf {} writes acknowledged by then {} \
         are missing in the restored fleet; of {} begun later {} are in it; its digests {}.",
        number(*restore),
        number(*age),
        number(*backup),
        number(*verify),
        number(restored.owed),
        number(restored.missing_ids.len() as u64),
        number(restored.later),
        number(restored.too_late_ids.len() as u64),
        if equal { "are equal" } else { "DIFFER" },
    );
    for (what, ids) in [("missing", &restored.missing_ids), ("too late", &restored.too_late_ids)] {
        for id in ids.iter().take(LOST_SHOWN) {
            text.push_str(&format!("\n  {what}: {id}"));
        }
    }
    text
}
