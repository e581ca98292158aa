//! `bench ack`: how long an answer takes that waits for other regions' disks.
//!
//! A few connections write one event after the other into the first of three regions with emulated
//! links. What always holds: the emulated one-way times are asked of the fleet, so that what the
//! program adds to the way there and back is what is left.

use super::Bench;
use super::fleet::Fleet;
use super::lag::one_way;
use super::load;
use super::report::{Aim, Report};

/// Connections, each with one event under way.
const CONNECTIONS: usize = 8;

/// What the program may add to the way there and back, in milliseconds.
const ADDED: f64 = 10.0;

pub fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let seconds = bench.pick((1.0, 2.0), (3.0, 15.0));
    let fleet = Fleet::start(bench, "three", &[])?;
    let (first, all) = (&fleet.regions[0], one_way(&fleet)?);
    let mut ways: Vec<f64> = Vec::new();
    for peer in &fleet.regions[1..] {
        let way = |from: &str, to: &str| {
            let pair = (from.to_owned(), to.to_owned());
            all.get(&pair).copied().ok_or_else(|| anyhow::anyhow!("no link {from} to {to}"))
        };
        ways.push(way(&first.name, &peer.name)? + way(&peer.name, &first.name)?);
    }
    ways.sort_by(f64::total_cmp);
    let (nearest, farthest) = (ways[0], ways[ways.len() - 1]);
    for (level, way) in [("local", 0.0), ("any", nearest), ("quorum", nearest), ("all", farthest)] {
        bench.say(&format!("{level}: an answer waits for {way} ms of way"));
        let arguments = [
            "append".to_owned(),
            format!("--address={}", first.address),
            format!("--connections={CONNECTIONS}"),
            format!("--ack={level};timeout=10s"),
        ];
        let outcome = load::run(bench, &arguments, seconds, &fleet.regions)?;
        let (p50, p99) = (outcome.answer.number("p50")?, outcome.answer.number("p99")?);
        if way > 0.0 {
            report.aimed(format!("{level}, P50"), p50, "ms", Aim::Below(way + ADDED));
            report.figure(format!("{level}, P50 less {way} ms there and back"), p50 - way, "ms");
        } else {
            report.figure(format!("{level}, P50"), p50, "ms");
        }
        report.figure(format!("{level}, P99"), p99, "ms");
        report.figure(format!("{level}, refused"), outcome.answer.number("refused")?, "");
    }
    report.note(format!(
        "{CONNECTIONS} connections, each writing one event of 300 bytes after the other into {}, \
         for {} s after {} s at each level; the emulated links have jitter",
        first.name, seconds.1, seconds.0
    ));
    Ok(())
}
