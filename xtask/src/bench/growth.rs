//! `bench growth`: what an event costs while ever more of them are in the store; and what the disk
//! holds while a region is away for a month and ten thousand aggregates are written over and over.
//!
//! What always holds: CPU time is the region's own, from the first of these events until it has
//! nothing more to do for them; a region that was away has everything in the end, or the
//! measurement fails.

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

/// So long is a region away, and so many events are written on each day.
const DAYS: u64 = 30;
const QUICK_DAYS: u64 = 6;
const A_DAY: u64 = 100_000;
const QUICK_DAY: u64 = 10_000;

/// Then the others do not wait for it any more.
const LAPSED: u64 = 3;

/// The disk behind the month against that behind a week: all that is live was there then.
const WEEK: u64 = 5;
const LIVE: Aim = Aim::Below(1.25);

/// A process that takes less than this of a processor, for so long, has nothing left to do.
const IDLE: f64 = 0.03;
const IDLE_SPAN: Duration = Duration::from_secs(2);

/// A region has written what it applied to its store after so long at most.
const FLUSHED: Duration = Duration::from_secs(11);

pub fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let steps = bench.pick(&QUICK[..], &STEPS[..]);
    let fleet = Fleet::start(bench, "solo", &["solo"])?;
    let region = &fleet.regions[0];
    let (mut there, mut points) = (0, Vec::new());
    for upto in steps {
        bench.say(&format!("appending up to {upto} events"));
        let before = process::cpu_seconds(region.pid)?;
        load::fill(bench, region, upto - there, PATIENCE)?;
        thread::sleep(FLUSHED);
        rest(region.pid)?;
        let cpu = process::cpu_seconds(region.pid)? - before;
        let cost = cpu * 1e6 / (upto - there) as f64;
        bench.say(&format!("{cost:.1} CPU-microseconds an event"));
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

/// One of three regions is away, and a day passes between two portions of events: the clocks of all
/// are set that far ahead.
fn away(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    // History is kept by choice, so that none of it is what a month needs.
    let settings = ["--set", "log.history_bytes_max=0B", "--set", "log.segment_bytes_first=64KiB"];
    let mut fleet = Fleet::start_with(bench, "three", &["here", "near", "away"], &settings)?;
    fleet.ask(&["stop", "away"], PATIENCE)?;
    let data = fleet.dir.join("here").join("data");
    let (days, a_day) = (bench.pick(QUICK_DAYS, DAYS), bench.pick(QUICK_DAY, A_DAY));
    let mut first = None;
    for day in 1..=days {
        bench.say(&format!("day {day} of {days}"));
        load::fill(bench, &fleet.regions[0], a_day, PATIENCE)?;
        if day == LAPSED {
            fleet.ask(&["region", "lapse", "away", "--yes"], PATIENCE)?;
        }
        let held = settled(&data)?;
        bench.say(&format!("{held:.0} MiB on the disk"));
        if day <= WEEK || day % WEEK == 0 {
            report.figure(format!("on the disk behind day {day}"), held, "MiB");
        }
        if day >= WEEK {
            let first = *first.get_or_insert(held);
            if day == days {
                report.aimed("the last day against day 5", held / first, "", LIVE);
            }
        }
        let offset = format!("--clock-offset={}h", 24 * day);
        for region in ["here", "near"] {
            fleet.ask(&["stop", region], PATIENCE)?;
        }
        for region in ["here", "near"] {
            fleet.ask(&["start", region, &offset], PATIENCE)?;
        }
    }
    bench.say("starting the region that was away");
    let begun = Instant::now();
    let start = ["start", "away", &format!("--clock-offset={}h", 24 * days)];
    // It may hear first that it has lapsed, and end to leave its log.
    if fleet.ask(&start, PATIENCE).is_err() {
        fleet.ask(&start, PATIENCE)?;
    }
    fleet.look()?;
    fleet.settle(days * a_day, PATIENCE)?;
    report.figure("back, and equal, after", begun.elapsed().as_secs_f64(), "s");
    report.note(format!(
        "away: 10,000 aggregates, {a_day} events a day; what is away has lapsed on day {LAPSED}"
    ));
    Ok(())
}

/// Waits until a process does nothing any more.
fn rest(pid: u32) -> anyhow::Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let before = process::cpu_seconds(pid)?;
        thread::sleep(IDLE_SPAN);
        if process::cpu_seconds(pid)? - before < IDLE * IDLE_SPAN.as_secs_f64() {
            return Ok(());
        }
    }
    anyhow::bail!("a process does not come to rest within {} s", PATIENCE.as_secs())
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
