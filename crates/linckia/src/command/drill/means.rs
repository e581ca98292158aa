//! How a drill lets things fail and heals them: by the local fleet's supervisor, or by two commands
//! for any other fleet.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::Method;
use linckia_drill::Operator;
use linckia_drill::failure::Failure;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::config::units::offset_text;
use crate::fleet::{
    CutOrder, DiskOrder, Fleet, FleetState, HealOrder, RegionState, StartOrder, StopOrder,
};

/// A region that died by itself is started again within this, and ready.
const AGAIN_LONGEST: Duration = Duration::from_secs(60);

/// A region that was away is ready within this: it may have much to catch up with.
const BACK_LONGEST: Duration = Duration::from_secs(600);

/// A region that burns, or leaves, is cut off for so long before it dies.
const CUT_OFF: Duration = Duration::from_millis(300);

/// Between two looks whether it is.
const LOOK: Duration = Duration::from_millis(100);

pub(super) enum Means<'a> {
    Local { dir: &'a Path },
    Commands { to_break: &'a str, to_heal: &'a str },
}

impl Operator for Means<'_> {
    async fn strike(&self, failure: &Failure) -> anyhow::Result<()> {
        let dir = match self {
            Self::Commands { to_break, .. } => return shell(to_break).await,
            Self::Local { dir } => *dir,
        };
        let fleet = Fleet::find(dir)?;
        match failure {
            Failure::Stop { region } => stop(&fleet, region, true).await,
            Failure::Restart { region } => stop(&fleet, region, false).await,
            Failure::Die { region } => die(dir, region).await,
            Failure::Leave { region } => leave(&fleet, region).await,
            Failure::Fill { region } => leave_free(&fleet, region, Some(0)).await,
            Failure::Destroy { region, cut_off } => {
                match cut_off {
                    true => leave(&fleet, region).await?,
                    false => stop(&fleet, region, true).await?,
                }
                let data = state_of(dir, region)?.dir.join("data");
                fs::remove_dir_all(&data)
                    .with_context(|| format!("cannot remove {}", data.display()))
            }
            Failure::Clock { region, offset } => {
                stop(&fleet, region, true).await?;
                start(&fleet, region, Some(offset_text(*offset))).await
            }
            Failure::Cut { from, to, one_way } => {
                let order = CutOrder { from: from.clone(), to: to.clone(), one_way: *one_way };
                fleet.ask(Method::POST, "/links/cut", Some(&json!(order))).await.map(drop)
            }
        }
    }

    async fn heal(&self, failure: &Failure) -> anyhow::Result<()> {
        let dir = match self {
            Self::Commands { to_heal, .. } => return shell(to_heal).await,
            Self::Local { dir } => *dir,
        };
        let fleet = Fleet::find(dir)?;
        match failure {
            Failure::Stop { region } | Failure::Restart { region } => {
                start(&fleet, region, None).await
            }
            Failure::Destroy { region, cut_off } => {
                // It may have been given up half way.
                if *cut_off {
                    heal_links(&fleet, region).await?;
                }
                start(&fleet, region, None).await
            }
            Failure::Die { region } => again(&fleet, dir, region).await,
            Failure::Leave { region } => come_back(dir, region).await,
            Failure::Fill { region } => leave_free(&fleet, region, None).await,
            Failure::Clock { region, .. } => {
                stop(&fleet, region, true).await?;
                start(&fleet, region, None).await
            }
            Failure::Cut { from, to, .. } => {
                let order = HealOrder { from: Some(from.clone()), to: to.clone() };
                fleet.ask(Method::POST, "/links/heal", Some(&json!(order))).await.map(drop)
            }
        }
    }
}

fn state_of(dir: &Path, region: &str) -> anyhow::Result<RegionState> {
    let state = FleetState::read(dir)?.context("the fleet has ended")?;
    let found = state.regions.into_iter().find(|known| known.name == region);
    found.context("the fleet has lost the region")
}

/// Cuts it off, kills it a moment later, and heals its links.
async fn leave(fleet: &Fleet<'_>, region: &str) -> anyhow::Result<()> {
    let links = json!({"from": region});
    fleet.ask(Method::POST, "/links/cut", Some(&links)).await?;
    tokio::time::sleep(CUT_OFF).await;
    stop(fleet, region, true).await?;
    heal_links(fleet, region).await
}

async fn heal_links(fleet: &Fleet<'_>, region: &str) -> anyhow::Result<()> {
    let links = json!({"from": region});
    fleet.ask(Method::POST, "/links/heal", Some(&links)).await.map(drop)
}

/// Starts it until it is ready: one that lapsed ends on its way, and one that has much to catch up
/// with takes longer than a start waits.
async fn come_back(dir: &Path, region: &str) -> anyhow::Result<()> {
    // It may have been given up half way.
    heal_links(&Fleet::find(dir)?, region).await?;
    let deadline = tokio::time::Instant::now() + BACK_LONGEST;
    loop {
        // A fleet that has ended starts nothing.
        match start(&Fleet::find(dir)?, region, None).await {
            Err(_) if tokio::time::Instant::now() < deadline => tokio::time::sleep(LOOK).await,
            started => return started,
        }
    }
}

async fn leave_free(fleet: &Fleet<'_>, region: &str, free: Option<u64>) -> anyhow::Result<()> {
    let order = json!(DiskOrder { free });
    fleet.ask(Method::POST, &format!("/regions/{region}/disk"), Some(&order)).await.map(drop)
}

/// Kills it behind its supervisor's back, and waits until that has noticed.
async fn die(dir: &Path, region: &str) -> anyhow::Result<()> {
    let Some(number) = state_of(dir, region)?.pid else { return Ok(()) };
    let pid = i32::try_from(number).ok().and_then(Pid::from_raw);
    let pid = pid.with_context(|| format!("{number} is no process"))?;
    kill_process(pid, Signal::KILL).with_context(|| format!("cannot kill {region}"))?;
    for _ in 0..looks() {
        if state_of(dir, region)?.pid != Some(number) {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
    bail!("the supervisor does not notice that {region} is dead")
}

const fn looks() -> u128 {
    AGAIN_LONGEST.as_millis() / LOOK.as_millis()
}

async fn stop(fleet: &Fleet<'_>, region: &str, kill: bool) -> anyhow::Result<()> {
    let order = json!(StopOrder { kill });
    fleet.ask(Method::POST, &format!("/regions/{region}/stop"), Some(&order)).await.map(drop)
}

/// Returns when it is ready.
async fn start(
    fleet: &Fleet<'_>,
    region: &str,
    clock_offset: Option<String>,
) -> anyhow::Result<()> {
    let order = json!(StartOrder { clock_offset });
    fleet.ask(Method::POST, &format!("/regions/{region}/start"), Some(&order)).await.map(drop)
}

/// Waits until a region that died is up again and ready: a start of what runs waits for that.
async fn again(fleet: &Fleet<'_>, dir: &Path, region: &str) -> anyhow::Result<()> {
    for _ in 0..looks() {
        if state_of(dir, region)?.pid.is_some() {
            return start(fleet, region, None).await;
        }
        tokio::time::sleep(LOOK).await;
    }
    bail!("{region} is not started again: give `linckia up` a --restart-after")
}

async fn shell(command: &str) -> anyhow::Result<()> {
    // What it prints is no answer of ours.
    let mut shell = tokio::process::Command::new("sh");
    let status = shell.arg("-c").arg(command).stdout(std::io::stderr()).status().await;
    let status = status.with_context(|| format!("`{command}` cannot be run"))?;
    anyhow::ensure!(status.success(), "`{command}` failed: {status}");
    Ok(())
}
