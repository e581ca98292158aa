//! `bench conflicts`: what recording and confirming conflicts costs a region that takes appends.
//!
//! One region takes events as fast as it can, another a steady rate: of the same few aggregates,
//! so that nearly all of the latter are concurrent to something, or of another type. What always
//! holds: the two are measured one after the other many times; the median of the ratios is the
//! figure.

use super::fleet::{Fleet, Region};
use super::report::{Aim, Report, median};
use super::{Bench, door, load};

/// Aggregates that both write.
const AGGREGATES: usize = 500;

/// Events a second into the other region.
const RATE: usize = 1_000;

/// Of the processor time of an append, in per cent.
const COST: Aim = Aim::Below(10.0);

const CONFLICTS: &str = "linckia_apply_conflicts_total";

pub fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let (turns, seconds) = bench.pick((2, (0.5, 1.5)), (8, (1.0, 14.0)));
    let fleet = Fleet::start(bench, "three", &[])?;
    let (mut without, mut with, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut met, mut rates) = (0.0, Vec::new());
    for turn in 0..turns {
        bench.say(&format!("turn {} of {turns}", turn + 1));
        let before = conflicts(&fleet.regions[0])?;
        // Who is first changes, so that a drift favours neither.
        let (apart, together) = match turn % 2 {
            0 => (spent(bench, &fleet, "Else", seconds)?, spent(bench, &fleet, "Load", seconds)?),
            _ => {
                let together = spent(bench, &fleet, "Load", seconds)?;
                (spent(bench, &fleet, "Else", seconds)?, together)
            }
        };
        met += conflicts(&fleet.regions[0])? - before;
        ratios.push(100.0 * (together.0 / apart.0 - 1.0));
        rates.push(together.1);
        without.push(apart.0);
        with.push(together.0);
    }
    report.figure("processor time of an append, without conflicts", median(&mut without), "us");
    report.figure("processor time of an append, with conflicts", median(&mut with), "us");
    report.aimed("conflicts cost", median(&mut ratios), "%", COST);
    report.figure("the lowest ratio", ratios[0], "%");
    report.figure("the highest ratio", ratios[ratios.len() - 1], "%");
    report.figure("appends a second, with conflicts", median(&mut rates), "events/s");
    let each = turns as f64 * (seconds.0 + seconds.1);
    report.figure("conflicts a second", met / each, "");
    report.note(format!(
        "{turns} turns of {} s each after {} s; 16 connections into {}, one event of 300 bytes a \
         request, and {RATE} events/s into {}, over {AGGREGATES} aggregates of one type or of two; \
         what one region writes is concurrent to what the other writes within the emulated delay, \
         goes on record, and is confirmed by stable time meanwhile",
        seconds.1, seconds.0, fleet.regions[0].name, fleet.regions[1].name
    ));
    Ok(())
}

/// Microseconds of processor time an append costs, and appends a second, while another region
/// writes that type.
fn spent(
    bench: &Bench,
    fleet: &Fleet,
    kind: &str,
    seconds: (f64, f64),
) -> anyhow::Result<(f64, f64)> {
    let (first, second) = (&fleet.regions[0], &fleet.regions[1]);
    let arguments = |region: &Region, kind: &str, more: &[String]| {
        let all = [
            "append".to_owned(),
            format!("--address={}", region.address),
            format!("--aggregates={AGGREGATES}"),
            format!("--kind={kind}"),
        ];
        [&all[..], more].concat()
    };
    let paced = [format!("--rate={RATE}"), "--connections=32".to_owned()];
    let beside = load::beside(bench, &arguments(second, kind, &paced), seconds.0 + seconds.1)?;
    let few = ["--connections=16".to_owned()];
    let own = std::slice::from_ref(first);
    let outcome = load::run(bench, &arguments(first, "Load", &few), seconds, own)?;
    beside.end()?;
    let events = outcome.answer.number("events")?;
    Ok((1e6 * outcome.cpu_seconds[0] / events, events / seconds.1))
}

fn conflicts(region: &Region) -> anyhow::Result<f64> {
    let (_, text) = door::get(region.address, "/metrics")?;
    let line = text.lines().find(|line| line.starts_with(CONFLICTS));
    let value = line.and_then(|line| line.rsplit(' ').next());
    Ok(value.and_then(|value| value.parse().ok()).unwrap_or(0.0))
}
