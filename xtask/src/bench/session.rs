//! `bench session`: what a session's token costs a request.
//!
//! One region alone takes single events, in turns with a token and without. What always holds: the
//! two are measured one after the other many times, because a shared machine drifts by more than
//! what is looked for; the median of the ratios is the figure.

use super::Bench;
use super::fleet::Fleet;
use super::load;
use super::report::{Aim, Report, median};

/// Requests a second: less than the region can take, so that as many share a sync of the disk with
/// a token as without.
const RATE: u64 = 6_000;

/// Of a request's processor time, in per cent.
const COST: Aim = Aim::Below(2.0);

pub fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let (turns, seconds) = bench.pick((3, (0.5, 1.0)), (12, (1.0, 5.0)));
    let fleet = Fleet::start(bench, "solo", &["solo"])?;
    let region = &fleet.regions[0];
    let spent = |session: bool| -> anyhow::Result<f64> {
        let mut arguments = vec!["append".to_owned(), format!("--address={}", region.address)];
        arguments.push("--connections=16".to_owned());
        arguments.push(format!("--rate={RATE}"));
        if session {
            arguments.push("--session".to_owned());
        }
        let outcome = load::run(bench, &arguments, seconds, std::slice::from_ref(region))?;
        anyhow::ensure!(outcome.answer.number("refused")? == 0.0, "something was refused");
        Ok(1e6 * outcome.cpu_seconds[0] / outcome.answer.number("events")?)
    };
    let (mut plain, mut within, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..turns {
        bench.say(&format!("turn {} of {turns}", turn + 1));
        // Who is first changes, so that a drift favours neither.
        let (without, with) = match turn % 2 {
            0 => (spent(false)?, spent(true)?),
            _ => {
                let with = spent(true)?;
                (spent(false)?, with)
            }
        };
        ratios.push(100.0 * (with / without - 1.0));
        plain.push(without);
        within.push(with);
    }
    report.figure("processor time of a request, without a token", median(&mut plain), "us");
    report.figure("processor time of a request, with a token", median(&mut within), "us");
    report.aimed("a token costs", median(&mut ratios), "%", COST);
    report.figure("the lowest ratio", ratios[0], "%");
    report.figure("the highest ratio", ratios[ratios.len() - 1], "%");
    report.note(format!(
        "{turns} turns of {} s each after {} s; 16 connections, {RATE} requests/s of one event of \
         300 bytes; the token is checked, and signed anew for the answer",
        seconds.1, seconds.0
    ));
    Ok(())
}
