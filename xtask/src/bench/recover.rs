//! `bench recover`: a million events in one region, its process killed, and how long until it is
//! ready again.
//!
//! What always holds: the kill comes at once after the last acknowledgement, and everything
//! acknowledged is there afterwards, or the measurement fails.

use std::thread;
use std::time::{Duration, Instant};

use super::fleet::{Fleet, Region};
use super::process::{self, Process};
use super::report::{Aim, Report};
use super::{Bench, door, load};

/// To fill a region, and to reopen it.
const PATIENCE: Duration = Duration::from_secs(600);

/// Between two looks whether it is ready.
const LOOK: Duration = Duration::from_millis(5);

const READY: Aim = Aim::Below(5.0);

pub fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let count = bench.pick(50_000, 1_000_000);
    let mut fleet = Fleet::start(bench, "solo", &["solo"])?;
    bench.say(&format!("appending {count} events"));
    let filled = load::fill(bench, &fleet.regions[0], count, PATIENCE)?;
    report.figure("events", count as f64, "");
    report.figure("appended in batches of 100 within", filled, "s");
    let name = "memory before the kill";
    report.figure(name, process::memory(fleet.regions[0].pid, "VmRSS")?, "MiB");
    fleet.ask(&["stop", "--kill", "solo"], PATIENCE)?;
    bench.say("starting the killed region");
    let begun = Instant::now();
    let start = Process::start(fleet.command(&["start", "solo"]), "linckia start", "TERM")?;
    wait_ready(&fleet.regions[0])?;
    let ready = begun.elapsed().as_secs_f64();
    start.finish(PATIENCE)?;
    report.aimed("ready again after", ready, "s", READY);
    fleet.look()?;
    let region = &fleet.regions[0];
    report.figure("CPU of it until then", process::cpu_seconds(region.pid)?, "CPU-s");
    report.figure("memory then", process::memory(region.pid, "VmRSS")?, "MiB");
    let there = region.applied()?;
    anyhow::ensure!(there == count, "{count} events were acknowledged, {there} are there");
    report.note("kill -9 at once after the last acknowledgement; its files are in the page cache");
    Ok(())
}

fn wait_ready(region: &Region) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !door::get(region.address, "/readyz").is_ok_and(|(status, _)| status == 200) {
        anyhow::ensure!(begun.elapsed() < PATIENCE, "{} does not get ready", region.name);
        thread::sleep(LOOK);
    }
    Ok(())
}
