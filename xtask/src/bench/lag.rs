//! `bench lag`: a steady rate into three regions at once: when an append is answered, and when its
//! event stands in the live stream of each other region.
//!
//! What always holds: latencies count from when an event was due; the emulated one-way time is
//! asked of the fleet and taken off, so that what is left is what the program adds.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;

use super::Bench;
use super::fleet::Fleet;
use super::load;
use super::report::{Aim, Report};
use super::value::Value;

/// Events a second into each region.
const RATE: u64 = 1_000;

const PATIENCE: Duration = Duration::from_secs(30);

const ACK: Aim = Aim::Below(5.0);
/// Above the emulated one-way time.
const VISIBLE: Aim = Aim::Below(20.0);

pub fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let seconds = bench.pick((1.0, 4.0), (5.0, 20.0));
    let fleet = Fleet::start(bench, "three", &[])?;
    let one_way = one_way(&fleet)?;
    bench.say("three regions at a steady rate");
    let mut arguments = vec!["lag".to_owned(), format!("--rate={RATE}")];
    for region in &fleet.regions {
        arguments.push(format!("--region={}={}", region.name, region.address));
    }
    let outcome = load::run(bench, &arguments, seconds, &fleet.regions)?;
    acks(report, &outcome.answer)?;
    pairs(report, &outcome.answer, &one_way)?;
    for (region, cpu) in fleet.regions.iter().zip(&outcome.cpu_seconds) {
        report.figure(format!("CPU of {}", region.name), cpu / seconds.1, "cores");
    }
    let late = outcome.answer.get("late")?;
    report.figure("events left the load generator late, P50", late.number("p50")?, "ms");
    report.figure("events left the load generator late, P99", late.number("p99")?, "ms");
    report.figure("events that did not arrive", outcome.answer.number("missing")?, "");
    report.note(format!(
        "{RATE} events/s of 300 bytes into each region, open loop, for {} s after {} s; latencies \
         count from when an event was due, so they hold the lateness of the load generator too",
        seconds.1, seconds.0
    ));
    Ok(())
}

fn acks(report: &mut Report, answer: &Value) -> anyhow::Result<()> {
    for item in answer.list("acks")? {
        let (region, figures) = (item.text("region")?, item.get("figures")?);
        report.figure(format!("answered by {region}, P50"), figures.number("p50")?, "ms");
        report.aimed(format!("answered by {region}, P99"), figures.number("p99")?, "ms", ACK);
        report.figure(format!("answered by {region}, P99.9"), figures.number("p999")?, "ms");
    }
    Ok(())
}

fn pairs(
    report: &mut Report,
    answer: &Value,
    one_way: &BTreeMap<(String, String), f64>,
) -> anyhow::Result<()> {
    for item in answer.list("pairs")? {
        let (from, to) = (item.text("from")?, item.text("to")?);
        if from == to {
            continue;
        }
        let delay = one_way
            .get(&(from.to_owned(), to.to_owned()))
            .with_context(|| format!("no link from {from} to {to}"))?;
        let figures = item.get("figures")?;
        let (p50, p99) = (figures.number("p50")?, figures.number("p99")?);
        let name = format!("{from} seen in {to}");
        report.figure(format!("{name}, P50"), p50, "ms");
        report.figure(format!("{name}, P99"), p99, "ms");
        let less = format!("less {delay} ms one way");
        report.figure(format!("{name}, P50 {less}"), p50 - delay, "ms");
        report.aimed(format!("{name}, P99 {less}"), p99 - delay, "ms", VISIBLE);
    }
    Ok(())
}

/// The emulated delay of each directed link, in milliseconds.
pub fn one_way(fleet: &Fleet) -> anyhow::Result<BTreeMap<(String, String), f64>> {
    let answer = fleet.ask(&["wan", "show"], PATIENCE)?;
    let mut links = BTreeMap::new();
    for item in answer.list("items")? {
        let delay = item.text("delay")?;
        let milliseconds = milliseconds(delay).with_context(|| format!("no delay: {delay:?}"))?;
        let pair = (item.text("from")?.to_owned(), item.text("to")?.to_owned());
        links.insert(pair, milliseconds);
    }
    Ok(links)
}

fn milliseconds(text: &str) -> Option<f64> {
    let (digits, factor) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(digits), _) => (digits, 1.0),
        (None, Some(digits)) => (digits, 1_000.0),
        (None, None) => return None,
    };
    digits.parse::<f64>().ok().map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_read() {
        assert_eq!(milliseconds("110ms"), Some(110.0));
        assert_eq!(milliseconds("1.5s"), Some(1_500.0));
        assert_eq!(milliseconds("0ms"), Some(0.0));
        assert_eq!(milliseconds("fast"), None);
    }
}
