//! `bench growth`: what an event costs while ever more of them are in the store; and what the disk
//! holds while a region is away for as long as ten thousand aggregates are written over and over.
//!
//! What always holds: CPU time is the region's own, from the first of these events to the last; a
//! region that was away has everything in the end, or the measurement fails.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::fleet::Fleet;
use super::plot::{self, Axes};
use super::process;
use super::report::{Aim, Report};
use super::{Bench, load};

/// For each part.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// How many are in the store, from one figure to the next.
const STEPS: [u64; 7] = [10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000];
const QUICK: [u64; 3] = [10_000, 20_000, 40_000];

/// The last ones against those behind the first step, which has the warming-up.
const FLAT: Aim = Aim::Below(1.25);

/// While a region is away.
const AWAY: [u64; 4] = [100_000, 300_000, 1_000_000, 3_000_000];

/// The disk behind thirty times as many events.
const LIVE: Aim = Aim::Below(2.0);

pub fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let steps = bench.pick(&QUICK[..], &STEPS[..]);
    let fleet = Fleet::start(bench, "solo", &["solo"])?;
    let region = &fleet.regions[0];
    let (mut there, mut points) = (0, Vec::new());
    for upto in steps {
        bench.say(&format!("appending up to {upto} events"));
        let before = process::cpu_seconds(region.pid)?;
        load::fill(bench, region, upto - there, PATIENCE)?;
        let cpu = process::cpu_seconds(region.pid)? - before;
        let cost = cpu * 1e6 / (upto - there) as f64;
        report.figure(format!("an event, from {there} to {upto}"), cost, "CPU-µs");
        points.push((*upto as f64, cost));
        there = *upto;
    }
    let (second, last) = (points[1].1, points[points.len() - 1].1);
    report.aimed("the last ones against the second step", last / second, "", FLAT);
    report.figure("memory in the end", process::memory(region.pid, "VmRSS")?, "MiB");
    let data = fleet.dir.join("solo").join("data");
    report.figure("on the disk in the end", mebibytes(&data)?, "MiB");
    if let Some(path) = &bench.options.svg {
        let axes = Axes { across: "events in the store", up: "CPU-microseconds per event" };
        fs::write(path, plot::svg(&axes, &points))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    drop(fleet);
    away(bench, report)
}

/// One of three regions lapses and is away.
fn away(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let settings = [
        "--set",
        "log.history_bytes_max=0B",
        "--set",
        "log.segment_bytes_first=64KiB",
        "--set",
        "ship.lapse_after=5s",
    ];
    let mut fleet = Fleet::start_with(bench, "three", &["here", "near", "away"], &settings)?;
    fleet.ask(&["stop", "away"], PATIENCE)?;
    let (data, mut there, mut first) = (fleet.dir.join("here").join("data"), 0, None);
    for upto in bench.pick(&QUICK[..], &AWAY[..]) {
        bench.say(&format!("appending up to {upto} events while a region is away"));
        load::fill(bench, &fleet.regions[0], upto - there, PATIENCE)?;
        there = *upto;
        let held = settled(&data)?;
        let first = first.get_or_insert(held);
        report.figure(format!("on the disk behind {upto} events"), held, "MiB");
        if Some(upto) == bench.pick(&QUICK[..], &AWAY[..]).last() {
            report.aimed("against the first figure", held / *first, "", LIVE);
        }
    }
    bench.say("starting the region that was away");
    let begun = Instant::now();
    // It may hear first that it has lapsed, and end to leave its log.
    if fleet.ask(&["start", "away"], PATIENCE).is_err() {
        fleet.ask(&["start", "away"], PATIENCE)?;
    }
    fleet.look()?;
    fleet.settle(there, PATIENCE)?;
    report.figure("back, and equal, after", begun.elapsed().as_secs_f64(), "s");
    report.note("10,000 aggregates, written over and over; what is away has lapsed after 5 s");
    Ok(())
}

/// What a directory holds once it does not become smaller any more: logs let go of what they need
/// not hold some time behind the last event.
fn settled(dir: &Path) -> anyhow::Result<f64> {
    const QUIET: Duration = Duration::from_secs(10);
    let (mut least, mut since, begun) = (mebibytes(dir)?, Instant::now(), Instant::now());
    while since.elapsed() < QUIET && begun.elapsed() < PATIENCE {
        thread::sleep(LOOK);
        let now = mebibytes(dir)?;
        if now < least {
            (least, since) = (now, Instant::now());
        }
    }
    Ok(least)
}

/// Of all blocks that files below it take. Files that end meanwhile count for nothing.
fn mebibytes(dir: &Path) -> anyhow::Result<f64> {
    use std::os::unix::fs::MetadataExt;
    /// Of `st_blocks`, whatever the file system's own are.
    const BLOCK: f64 = 512.0;
    let mut bytes = 0.0;
    let mut left = vec![dir.to_owned()];
    while let Some(folder) = left.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let Ok(entry) = entry else { continue };
            let Ok(facts) = entry.metadata() else { continue };
            if facts.is_dir() {
                left.push(entry.path());
            }
            bytes += facts.blocks() as f64 * BLOCK;
        }
    }
    anyhow::ensure!(bytes > 0.0, "nothing is in {}", dir.display());
    Ok(bytes / f64::from(1 << 20))
}
