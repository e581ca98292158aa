//! Runs the load generator and reads CPU clocks at the ends of the time that it measures.
//!
//! Used by `append`, `lag` and `recover`. What always holds: CPU seconds and counted events are of
//! the same span of time, to a few milliseconds; a refused event is an error, never a slow one.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

use super::fleet::Region;
use super::process::{self, Process};
use super::value::Value;
use super::{Bench, build};

/// Beyond the time that the load takes by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came of one load.
pub struct Outcome {
    pub answer: Value,
    /// Of each region asked about, in the measured time.
    pub cpu_seconds: Vec<f64>,
}

/// What an append measured.
pub struct Appended {
    pub events_a_second: f64,
    pub events_a_cpu_second: f64,
    /// Cores that the region's process used.
    pub cores: f64,
    pub p50: f64,
    pub p99: f64,
    /// Acknowledged in all, the warm-up included.
    pub acknowledged: u64,
}

/// Runs it for a time; `seconds` is the warm-up and what is measured.
pub fn run(
    bench: &Bench,
    arguments: &[String],
    seconds: (f64, f64),
    regions: &[Region],
) -> anyhow::Result<Outcome> {
    let mut load = start(bench, arguments, seconds)?;
    let clocks = || -> anyhow::Result<Vec<f64>> {
        regions.iter().map(|region| process::cpu_seconds(region.pid)).collect()
    };
    let patience = |seconds: f64| Duration::from_secs_f64(seconds) + PATIENCE;
    expect(&mut load, "measuring", patience(seconds.0))?;
    let before = clocks()?;
    expect(&mut load, "measured", patience(seconds.1))?;
    let after = clocks()?;
    let cpu_seconds = after.iter().zip(&before).map(|(after, before)| after - before).collect();
    Ok(Outcome { answer: answer(load)?, cpu_seconds })
}

/// A load beside another one.
pub struct Beside(Process, f64);

/// Starts one that runs for so many seconds.
pub fn beside(bench: &Bench, arguments: &[String], seconds: f64) -> anyhow::Result<Beside> {
    let mut load = start(bench, arguments, (0.0, seconds))?;
    expect(&mut load, "measuring", PATIENCE)?;
    Ok(Beside(load, seconds))
}

impl Beside {
    /// Waits for its end.
    pub fn end(mut self) -> anyhow::Result<Value> {
        expect(&mut self.0, "measured", Duration::from_secs_f64(self.1) + PATIENCE)?;
        answer(self.0)
    }
}

/// Appends events to one region as fast as they are answered.
pub fn append(
    bench: &Bench,
    region: &Region,
    batch: usize,
    seconds: (f64, f64),
) -> anyhow::Result<Appended> {
    let arguments = ["append".to_owned(), format!("--address={}", region.address)];
    let arguments = [&arguments[..], &[format!("--batch={batch}")]].concat();
    let outcome = run(bench, &arguments, seconds, std::slice::from_ref(region))?;
    let events = outcome.answer.number("events")?;
    let span = outcome.answer.number("seconds")?;
    let cpu = outcome.cpu_seconds.iter().sum::<f64>();
    anyhow::ensure!(events > 0.0 && cpu > 0.0, "nothing was appended");
    Ok(Appended {
        events_a_second: events / span,
        events_a_cpu_second: events / cpu,
        cores: cpu / span,
        p50: outcome.answer.number("p50")?,
        p99: outcome.answer.number("p99")?,
        acknowledged: outcome.answer.number("acknowledged")? as u64,
    })
}

/// Appends so many events in batches, however long it takes; how long, in seconds.
pub fn fill(bench: &Bench, region: &Region, count: u64, patience: Duration) -> anyhow::Result<f64> {
    let mut command = command(bench);
    command.args(["append", "--batch=100", "--connections=16"]);
    command.arg(format!("--address={}", region.address)).arg(format!("--count={count}"));
    let printed = process::output(command, "the load generator", patience)?;
    let answer = judged(&printed)?;
    anyhow::ensure!(answer.number("acknowledged")? as u64 == count, "not all were acknowledged");
    answer.number("seconds")
}

fn start(bench: &Bench, arguments: &[String], seconds: (f64, f64)) -> anyhow::Result<Process> {
    let mut command = command(bench);
    command.args(arguments);
    command.arg(format!("--warm={}", seconds.0)).arg(format!("--seconds={}", seconds.1));
    Process::start(command, "the load generator", "TERM")
}

fn command(bench: &Bench) -> std::process::Command {
    let program: PathBuf =
        build::folder(bench.root, bench.options.profile).join("examples").join("load");
    process::bound(program, "TERM", None)
}

fn expect(load: &mut Process, word: &str, patience: Duration) -> anyhow::Result<()> {
    let line = load.line(patience)?;
    anyhow::ensure!(line == word, "the load generator says {line:?} in place of {word:?}");
    Ok(())
}

fn answer(load: Process) -> anyhow::Result<Value> {
    judged(&load.finish(PATIENCE)?.join("\n"))
}

fn judged(line: &str) -> anyhow::Result<Value> {
    let answer = Value::parse(line).context("the load generator's last line")?;
    let refused = answer.number("refused")?;
    anyhow::ensure!(
        refused == 0.0,
        "{refused} events were refused, the first with {}",
        answer.text("firstRefusal").unwrap_or("no reason")
    );
    Ok(answer)
}
