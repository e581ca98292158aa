//! `drill`: rehearses a failure on a fleet and says what was lost.
//!
//! The drill itself is `linckia-drill`; here stand the words, the operator's means (the local
//! fleet's supervisor, or two commands for any other fleet) and what is printed. What always holds:
//! exit code 1 if a promise was not kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use linckia_drill::report::Report;
use linckia_drill::{DrillDoor, Mode, Operator, Plan};
use serde_json::json;

use super::text::{number, print, remark, table};
use super::{Context, Outcome, wrong_use};
use crate::arguments::GlobalArguments;
use crate::config::units::parse_duration;
use crate::fleet::{Fleet, FleetState};

/// Shorter ones measure the start of things.
const SPAN_MIN: Duration = Duration::from_secs(3);

/// Ids that are printed of what was lost; all are in the JSON and on the page.
const LOST_SHOWN: usize = 10;

/// Rehearsed failures.
#[derive(Debug, Subcommand)]
pub enum DrillCommand {
    /// Loses a region under load, brings it back, and accounts for every acknowledged write.
    Run(RunArguments),
}

/// What is rehearsed, and how.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// The drill.
    #[arg(value_enum)]
    drill: DrillName,
    /// How the region is lost.
    #[arg(long, value_enum, default_value_t = ModeName::Stop)]
    mode: ModeName,
    /// Acknowledgement levels to compare.
    #[arg(long, value_delimiter = ',', default_value = "local,any")]
    ack: Vec<String>,
    /// From the first write to the last.
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    #[arg(default_value = "20s")]
    span: Duration,
    /// Writes a page with a timeline.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Where the observer keeps the ids that were acknowledged.
    #[arg(long, value_name = "FILE", default_value = "drill-ledger.txt")]
    ledger: PathBuf,
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
    let DrillName::RegionLoss = arguments.drill;
    if arguments.span < SPAN_MIN {
        return Err(wrong_use(format!("--for takes at least {} s", SPAN_MIN.as_secs())));
    }
    let doors = context.addresses.every().await?;
    let region = match (&global.region, doors.first()) {
        (Some(region), _) => region.clone(),
        (None, Some(first)) => first.label().to_owned(),
        (None, None) => bail!("the fleet has no region"),
    };
    let names: Vec<&str> = doors.iter().map(|door| door.label()).collect();
    if !names.contains(&region.as_str()) {
        let names = names.join(", ");
        return Err(wrong_use(format!("there is no region `{region}`: the regions are {names}")));
    }
    let clients = doors.iter().map(|door| Ok(DrillDoor::new(door.label(), door.url())?));
    let clients: Vec<DrillDoor> = clients.collect::<anyhow::Result<_>>()?;
    let plan = Plan {
        region: region.clone(),
        mode: arguments.mode.into(),
        levels: arguments.ack.clone(),
        span: arguments.span,
        run: run_name(),
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
        _ => Means::Local { dir: &global.dir, region: &region, mode: plan.mode },
    };
    let mut report = linckia_drill::run(&plan, clients, &means, &remark).await?;
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

/// An aggregate type that no drill had before.
fn run_name() -> String {
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("Drill{}", time.as_millis())
}

/// How a region is lost and comes back.
enum Means<'a> {
    Local { dir: &'a Path, region: &'a str, mode: Mode },
    Commands { to_break: &'a str, to_heal: &'a str },
}

impl Operator for Means<'_> {
    async fn break_it(&self) -> anyhow::Result<()> {
        let (dir, region, mode) = match self {
            Self::Commands { to_break, .. } => return shell(to_break).await,
            Self::Local { dir, region, mode } => (*dir, *region, *mode),
        };
        let fleet = Fleet::find(dir)?;
        match mode {
            Mode::Cut => {
                let order = json!({"from": region});
                fleet.ask(Method::POST, "/links/cut", Some(&order)).await?;
            }
            Mode::Stop | Mode::Destroy => {
                let path = format!("/regions/{region}/stop");
                fleet.ask(Method::POST, &path, Some(&json!({"kill": true}))).await?;
            }
        }
        if mode == Mode::Destroy {
            let state = FleetState::read(dir)?.context("the fleet has ended")?;
            let found = state.regions.iter().find(|known| known.name == region);
            let data = found.context("the fleet has lost the region")?.dir.join("data");
            fs::remove_dir_all(&data)
                .with_context(|| format!("cannot remove {}", data.display()))?;
        }
        Ok(())
    }

    async fn heal(&self) -> anyhow::Result<()> {
        let (dir, region, mode) = match self {
            Self::Commands { to_heal, .. } => return shell(to_heal).await,
            Self::Local { dir, region, mode } => (*dir, *region, *mode),
        };
        let fleet = Fleet::find(dir)?;
        match mode {
            Mode::Cut => {
                let order = json!({"from": region});
                fleet.ask(Method::POST, "/links/heal", Some(&order)).await?;
            }
            Mode::Stop | Mode::Destroy => {
                fleet.ask(Method::POST, &format!("/regions/{region}/start"), None).await?;
            }
        }
        Ok(())
    }
}

async fn shell(command: &str) -> anyhow::Result<()> {
    // What it prints is no answer of ours.
    let mut shell = tokio::process::Command::new("sh");
    let status = shell.arg("-c").arg(command).stdout(std::io::stderr()).status().await;
    let status = status.with_context(|| format!("`{command}` cannot be run"))?;
    anyhow::ensure!(status.success(), "`{command}` failed: {status}");
    Ok(())
}

fn show(report: &Report) -> String {
    let rows = report.levels.iter().map(|level| {
        vec![
            level.ack.clone(),
            number(level.acknowledged),
            number(level.lost),
            number(level.duplicated),
            number(level.interrupted),
            number(level.rto_milliseconds.p50),
            number(level.rto_milliseconds.p99),
            number(level.stale_reads),
        ]
    });
    let header =
        ["ACK", "ACKNOWLEDGED", "LOST", "TWICE", "INTERRUPTED", "RTO P50 MS", "P99", "STALE READS"];
    let mut text = table(&header, &[1, 2, 3, 4, 5, 6, 7], rows.collect());
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
    let equal = if report.digests_equal { "are equal" } else { "DIFFER" };
    let verdict = if report.passed { "Passed" } else { "FAILED" };
    text.push_str(&format!(
        "\n\n{verdict}: {} of {}; digests {equal}; acknowledged ids in {}.",
        report.mode, report.region, report.ledger
    ));
    if let Some(path) = &report.report {
        text.push_str(&format!(" The page: {path}"));
    }
    text
}
