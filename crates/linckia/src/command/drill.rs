//! `drill`: rehearses a failure on a fleet and says what was lost.
//!
//! The drill itself is `linckia-drill`; here stand the words, in `shown.rs` what is printed, in
//! `means.rs` and `keeper.rs` the operator's means, in `attended.rs` how they are put back. What
//! always holds: exit code 1 if a promise was not kept; what a drill broke is healed when it ends,
//! also by Ctrl-C.

mod attended;
mod keeper;
mod means;
mod shown;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow, bail};
use attended::{Attended, Signals};
use clap::{Args, Subcommand, ValueEnum};
use keeper::Spare;
use linckia_drill::report::Report;
use linckia_drill::{Absence, DiskFull, DrillDoor, Mode, Plan, Restore, Soak};
use means::Means;
use shown::show;

use super::text::{print, remark};
use super::{Context, Outcome, wrong_use};
use crate::arguments::GlobalArguments;
use crate::config::units::parse_duration;

/// Shorter ones measure the start of things.
const SPAN_MIN: Duration = Duration::from_secs(3);

/// A soak's writes a second, if nothing else is asked for: what a laptop does beside other work.
const RATE: u64 = 500;

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
    /// In absence: the others are told to wait for the region no more.
    #[arg(long)]
    lapse: bool,
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
    /// In place of the local fleet's supervisor: a shell command that loses the region, or fills
    /// its disk.
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
    /// A region is away for long, perhaps for too long, and comes back.
    Absence,
    /// A region's disk is full, and has room again.
    DiskFull,
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
        DrillName::Absence => absence(global, arguments, clients).await?,
        DrillName::DiskFull => disk_full(global, arguments, clients).await?,
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
    only(arguments, &[MODE])?;
    let plan = Plan {
        region: region_of(global, &doors)?,
        mode: arguments.mode.unwrap_or(ModeName::Stop).into(),
        levels: arguments.ack.clone(),
        span: arguments.span,
        run: run_name("Drill"),
        ledger: arguments.ledger.clone(),
    };
    let means = Attended::by(means_of(global, arguments)?);
    means.attend(linckia_drill::run(&plan, doors, &means, &remark)).await
}

/// A region goes, and the others go on without it.
async fn absence(
    global: &GlobalArguments,
    arguments: &RunArguments,
    doors: Vec<DrillDoor>,
) -> anyhow::Result<Report> {
    only(arguments, &[LAPSE])?;
    let plan = Absence {
        region: region_of(global, &doors)?,
        lapse: arguments.lapse,
        levels: arguments.ack.clone(),
        span: arguments.span,
        run: run_name("Absence"),
        ledger: arguments.ledger.clone(),
    };
    let means = Attended::by(means_of(global, arguments)?);
    means.attend(linckia_drill::absence(&plan, doors, &means, &remark)).await
}

/// A region has no room left for a while.
async fn disk_full(
    global: &GlobalArguments,
    arguments: &RunArguments,
    doors: Vec<DrillDoor>,
) -> anyhow::Result<Report> {
    only(arguments, &[])?;
    let plan = DiskFull {
        region: region_of(global, &doors)?,
        levels: arguments.ack.clone(),
        span: arguments.span,
        run: run_name("DiskFull"),
        ledger: arguments.ledger.clone(),
    };
    let means = Attended::by(means_of(global, arguments)?);
    means.attend(linckia_drill::disk_full(&plan, doors, &means, &remark)).await
}

/// By the supervisor, or by the two commands that were named.
fn means_of<'a>(
    global: &'a GlobalArguments,
    arguments: &'a RunArguments,
) -> anyhow::Result<Means<'a>> {
    match (&arguments.break_with, &arguments.heal_with) {
        (Some(to_break), Some(to_heal)) => Ok(Means::Commands { to_break, to_heal }),
        _ if global.url.is_some() => Err(wrong_use(
            "a fleet behind --url is broken and healed by your own means: give --break-with and \
             --heal-with",
        )),
        _ => Ok(Means::Local { dir: &global.dir }),
    }
}

/// Words that not every drill takes, and whose they are.
const MODE: &str = "--mode (region-loss)";
const LAPSE: &str = "--lapse (absence)";
const BESIDE: &str = "--beside (restore)";
const SOAK: &str = "--seed, --rate, --destroy (soak)";
const COMMANDS: &str = "--break-with, --heal-with (region-loss, absence, disk-full)";

/// Refuses words of other drills; those that this one breaks things with are its own.
fn only(arguments: &RunArguments, own: &[&str]) -> anyhow::Result<()> {
    let soak = arguments.seed.is_some() || arguments.rate.is_some() || arguments.destroy;
    let breaks = !matches!(arguments.drill, DrillName::Restore | DrillName::Soak);
    let said = [
        (MODE, arguments.mode.is_some()),
        (LAPSE, arguments.lapse),
        (BESIDE, arguments.beside.is_some()),
        (SOAK, soak),
        (COMMANDS, arguments.break_with.is_some() && !breaks),
    ];
    let mut foreign = said.iter().filter(|(word, said)| *said && !own.contains(word));
    match foreign.next() {
        Some((word, _)) => {
            Err(wrong_use(format!("this drill does not take {word}: leave that out")))
        }
        None => Ok(()),
    }
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
    only(arguments, &[BESIDE])?;
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
    let mut signals = Signals::catch()?;
    let ran = tokio::select! {
        ran = linckia_drill::restore(&plan, doors, &spare, &remark) => ran,
        () = signals.next() => Err(anyhow!("the drill was given up")),
    };
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
    only(arguments, &[SOAK])?;
    if global.region.is_some() {
        return Err(wrong_use("a soak strikes all regions: leave --region out"));
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
    let means = Attended::by(Means::Local { dir: &global.dir });
    means.attend(linckia_drill::soak(&plan, doors, &means, &remark)).await
}

/// An aggregate type that no drill had before.
fn run_name(drill: &str) -> String {
    format!("{drill}{}", since_epoch().as_millis())
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
