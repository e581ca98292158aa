//! `bench catch-up`: a region comes back to a backlog of events; then its store is lost, its logs
//! have let go of their beginning, and it loads a snapshot.
//!
//! What always holds: in the end the region has applied everything, or the measurement fails; the
//! snapshot is known by the region's own log, so that nothing else is measured in its place.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::fleet::{Fleet, Region};
use super::process::{self, Process};
use super::report::{Aim, Report};
use super::{Bench, door, load};

/// To fill a region, to catch up with it, and to let go of history.
const PATIENCE: Duration = Duration::from_secs(900);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);

const EVENTS: Aim = Aim::AtLeast(200_000.0);
const SNAPSHOT: Aim = Aim::AtLeast(100.0);

/// What the region's log says when a snapshot is loaded.
const LOADED: &str = "the state of another region is loaded";

pub fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let count = bench.pick(50_000, 5_000_000);
    let settings = ["--set", "log.history_bytes_max=0B", "--set", "log.segment_bytes_first=64KiB"];
    let mut fleet = Fleet::start_with(bench, "pair", &["here", "there"], &settings)?;
    fleet.ask(&["stop", "there"], PATIENCE)?;
    bench.say(&format!("appending {count} events while a region is away"));
    load::fill(bench, &fleet.regions[0], count, PATIENCE)?;
    report.figure("events", count as f64, "");
    bench.say("starting the region that was away");
    let (seconds, cpu) = back(&mut fleet, count)?;
    report.figure("caught up from the logs within", seconds, "s");
    report.figure("events a second", count as f64 / seconds, "");
    report.aimed("events a CPU-second of the region", count as f64 / cpu, "", EVENTS);
    bench.say("waiting until the logs have let go of their beginning");
    let dir = fleet.dir.join("there").join("data");
    wait_short(&dir.join("log").join("logs"))?;
    fleet.ask(&["stop", "there"], PATIENCE)?;
    fs::remove_dir_all(dir.join("store")).context("the store cannot be removed")?;
    bench.say("starting the region without its store");
    let (_, cpu) = back(&mut fleet, count)?;
    let (bytes, seconds) = loaded(&fleet.dir.join("there").join("region.log"))?;
    let mebibytes = bytes / f64::from(1 << 20);
    report.figure("rows of the snapshot", mebibytes, "MiB");
    report.figure("snapshot loaded within", seconds, "s");
    report.aimed(
        "of it a second, loopback, both ends on this machine",
        mebibytes / seconds,
        "MiB",
        SNAPSHOT,
    );
    report.figure("CPU of the region until it had applied all", cpu, "CPU-s");
    Ok(())
}

/// Starts the region that is away; how long until it has applied so many events, and its CPU time.
fn back(fleet: &mut Fleet, count: u64) -> anyhow::Result<(f64, f64)> {
    let begun = Instant::now();
    let start = Process::start(fleet.command(&["start", "there"]), "linckia start", "TERM")?;
    let there = fleet.regions[1].clone();
    while applied(&there) < count {
        anyhow::ensure!(begun.elapsed() < PATIENCE, "it does not catch up");
        thread::sleep(LOOK);
    }
    let seconds = begun.elapsed().as_secs_f64();
    start.finish(PATIENCE)?;
    fleet.look()?;
    Ok((seconds, process::cpu_seconds(fleet.regions[1].pid)?))
}

/// None while it does not answer.
fn applied(region: &Region) -> u64 {
    let ready = door::get(region.address, "/readyz").is_ok_and(|(status, _)| status == 200);
    if ready { region.applied().unwrap_or(0) } else { 0 }
}

/// Waits until some log below the folder has no first segment any more.
fn wait_short(logs: &Path) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let whole = fs::read_dir(logs)?.filter_map(Result::ok).all(|log| {
            let first = log.path().join(format!("{:020}.segment", 1));
            first.exists()
        });
        if !whole {
            return Ok(());
        }
        anyhow::ensure!(begun.elapsed() < PATIENCE, "no log lets go of anything");
        thread::sleep(LOOK);
    }
}

/// Bytes and seconds, as the region's log tells them.
fn loaded(log: &Path) -> anyhow::Result<(f64, f64)> {
    let text = fs::read_to_string(log)?;
    let line = text.lines().rfind(|line| line.contains(LOADED));
    let line = line.context("the region did not load a snapshot")?;
    let number = |name: &str| -> anyhow::Result<f64> {
        let found = line.split_whitespace().find_map(|word| word.strip_prefix(name));
        Ok(found.with_context(|| format!("no {name} in {line:?}"))?.parse()?)
    };
    Ok((number("bytes=")?, number("seconds=")?))
}
