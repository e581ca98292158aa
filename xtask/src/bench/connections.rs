//! `bench connections`: many clients at once, of which some write at a steady rate.
//!
//! Into a region alone, and into the first of three. What always holds: latencies count from when
//! an event was due; memory is that of the region's process, and at most so far.

use super::Bench;
use super::fleet::Fleet;
use super::report::{Aim, Report};
use super::{load, process};

/// Connections that are open, those that write, and events a second of all of them.
const OPEN: usize = 10_000;
const ACTIVE: usize = 1_000;
const RATE: usize = 5_000;

/// In milliseconds.
const P99: Aim = Aim::Below(20.0);

pub fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let seconds = bench.pick((2.0, 4.0), (5.0, 30.0));
    one(bench, report, ("alone", &["solo"]), seconds)?;
    one(bench, report, ("with two peers", &[]), seconds)?;
    report.note(format!(
        "{OPEN} connections to one region, {ACTIVE} of which write one event of 300 bytes after \
         the other, {RATE} a second together, for {} s after {} s; latencies count from when an \
         event was due, so they hold the lateness of the load generator, whose clock ticks in \
         milliseconds; it shares the cores, and so do the peers, which pull over emulated links",
        seconds.1, seconds.0
    ));
    Ok(())
}

fn one(
    bench: &Bench,
    report: &mut Report,
    (name, regions): (&str, &[&str]),
    seconds: (f64, f64),
) -> anyhow::Result<()> {
    let fleet = Fleet::start(bench, &name.replace(' ', "-"), regions)?;
    let first = &fleet.regions[0];
    report.figure(format!("{name}, memory before"), process::memory(first.pid, "VmRSS")?, "MiB");
    bench.say(&format!("{name}: {OPEN} connections, {ACTIVE} of them write"));
    let arguments = [
        "append".to_owned(),
        format!("--address={}", first.address),
        format!("--connections={ACTIVE}"),
        format!("--idle={}", OPEN - ACTIVE),
        format!("--rate={RATE}"),
    ];
    let outcome = load::run(bench, &arguments, seconds, &fleet.regions)?;
    let answer = &outcome.answer;
    let rate = answer.number("events")? / seconds.1;
    report.figure(format!("{name}, answered a second"), rate, "events/s");
    report.figure(format!("{name}, P50"), answer.number("p50")?, "ms");
    report.aimed(format!("{name}, P99"), answer.number("p99")?, "ms", P99);
    report.figure(format!("{name}, P99.9"), answer.number("p999")?, "ms");
    report.figure(format!("{name}, left late, P99"), answer.number("lateP99")?, "ms");
    let memory = process::memory(first.pid, "VmHWM")?;
    report.figure(format!("{name}, memory at most"), memory, "MiB");
    report.figure(format!("{name}, CPU"), outcome.cpu_seconds[0] / seconds.1, "cores");
    Ok(())
}
