//! `bench connections`: many clients at once, of which some write at a steady rate.
//!
//! Into the first of three regions. What always holds: latencies count from when an event was due;
//! memory is that of the region's process, and at most so far.

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
    let fleet = Fleet::start(bench, "three", &[])?;
    let first = &fleet.regions[0];
    report.figure("memory before", process::memory(first.pid, "VmRSS")?, "MiB");
    bench.say(&format!("{OPEN} connections, {ACTIVE} of them write"));
    let arguments = [
        "append".to_owned(),
        format!("--address={}", first.address),
        format!("--connections={ACTIVE}"),
        format!("--idle={}", OPEN - ACTIVE),
        format!("--rate={RATE}"),
    ];
    let outcome = load::run(bench, &arguments, seconds, &fleet.regions)?;
    let answer = &outcome.answer;
    report.figure("answered a second", answer.number("events")? / seconds.1, "events/s");
    report.figure("answered, P50", answer.number("p50")?, "ms");
    report.aimed("answered, P99", answer.number("p99")?, "ms", P99);
    report.figure("answered, P99.9", answer.number("p999")?, "ms");
    report.figure("memory, at most", process::memory(first.pid, "VmHWM")?, "MiB");
    for (region, cpu) in fleet.regions.iter().zip(&outcome.cpu_seconds) {
        report.figure(format!("CPU of {}", region.name), cpu / seconds.1, "cores");
    }
    report.note(format!(
        "{OPEN} connections to {}, {ACTIVE} of which write one event of 300 bytes after the other, \
         {RATE} a second together, for {} s after {} s; two peers pull over emulated links; the \
         load generator, and the peers, share the cores, and its clock ticks in milliseconds",
        first.name, seconds.1, seconds.0
    ));
    Ok(())
}
