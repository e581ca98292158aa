//! `bench import`: every flight of the examples into three regions, each airport into its own,
//! until all three have applied all of them; and what a region holds in memory before and after.
//!
//! What always holds: the clock stops when the vectors of all regions are equal and hold every
//! event that the import says it wrote.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::fleet::Fleet;
use super::process::memory;
use super::report::{Aim, Report};
use super::value::Value;
use super::{Bench, process};

/// Which airport's events go where: as in the README's walk.
const BY: &str = "/eventData/origin=EWR:us-east-1,JFK:eu-west-1,LGA:ap-southeast-1";

const FLIGHTS: &str = "examples/flights";
/// The smallest of the three, for a quick run.
const QUICK: &str = "LGA.ndjson.zst";

const PATIENCE: Duration = Duration::from_secs(900);

/// A fresh region is idle after this.
const IDLE: Duration = Duration::from_secs(3);

const APPLIED: Aim = Aim::Below(30.0);
const MEMORY: Aim = Aim::Below(400.0);
const MEMORY_IDLE: Aim = Aim::Below(64.0);

pub fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let files = files(bench)?;
    let fleet = Fleet::start(bench, "three", &[])?;
    thread::sleep(IDLE);
    for region in &fleet.regions {
        let name = format!("{}, idle", region.name);
        report.aimed(name, memory(region.pid, "VmRSS")?, "MiB", MEMORY_IDLE);
    }
    bench.say("importing the flights");
    let mut command = fleet.command(&["import", "--by", BY]);
    command.args(&files);
    let begun = Instant::now();
    let before = cpu(&fleet)?;
    let printed = process::output(command, "linckia import", PATIENCE)?;
    let imported = begun.elapsed().as_secs_f64();
    let answer = Value::parse(&printed)?;
    let written = answer.number("written")?;
    anyhow::ensure!(answer.number("failed")? == 0.0, "some events failed: {printed}");
    fleet.settle(written as u64, PATIENCE)?;
    let applied = begun.elapsed().as_secs_f64();
    report.figure("events", written, "");
    report.figure("import returned after", imported, "s");
    report.aimed("applied in all three after", applied, "s", APPLIED);
    report.figure("rate, each event applied three times", written / applied, "events/s");
    for ((region, before), after) in fleet.regions.iter().zip(before).zip(cpu(&fleet)?) {
        report.figure(format!("CPU of {}", region.name), after - before, "CPU-s");
    }
    for region in &fleet.regions {
        let now = memory(region.pid, "VmRSS")?;
        report.aimed(format!("{}, after the import", region.name), now, "MiB", MEMORY);
        report.figure(format!("{}, at most", region.name), memory(region.pid, "VmHWM")?, "MiB");
    }
    Ok(())
}

fn cpu(fleet: &Fleet) -> anyhow::Result<Vec<f64>> {
    fleet.regions.iter().map(|region| process::cpu_seconds(region.pid)).collect()
}

fn files(bench: &Bench) -> anyhow::Result<Vec<std::path::PathBuf>> {
    let folder = bench.root.join(FLIGHTS);
    if bench.options.quick {
        return Ok(vec![folder.join(QUICK)]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("no {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "zst") {
            files.push(path);
        }
    }
    files.sort();
    anyhow::ensure!(!files.is_empty(), "no flights in {}", folder.display());
    Ok(files)
}
