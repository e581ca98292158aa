//! `bench sim`: inputs that the simulation handles a CPU-second, in the scenario of the figures, in
//! the release build and in the one that tests run.
//!
//! What always holds: CPU seconds are of the whole process, its start included, so the figure is a
//! little low rather than high.

use std::time::Duration;

use anyhow::Context;

use super::build::{self, Profile};
use super::report::{Aim, Report};
use super::{Bench, process};

const PATIENCE: Duration = Duration::from_secs(1_800);

const INPUTS: Aim = Aim::AtLeast(1_000_000.0);

pub fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let count = bench.pick("300", "3000");
    let profiles = match bench.options.profile {
        Profile::Release => vec![Profile::Release, Profile::Sim],
        Profile::Sim => vec![Profile::Sim],
    };
    for profile in profiles {
        if !bench.options.no_build {
            build::build_simulator(bench.root, profile)?;
        }
        let name = profile.name();
        bench.say(&format!("simulation, {name} build"));
        let program = build::folder(bench.root, profile).join("linckia-sim");
        let mut command = process::bound(program, "TERM", None);
        command.args(["bench", "--count", count]);
        let before = process::cpu_seconds_waited_for()?;
        let printed = process::output(command, "linckia-sim bench", PATIENCE)?;
        let cpu = process::cpu_seconds_waited_for()? - before;
        let inputs = inputs(&printed).with_context(|| format!("no inputs in {printed:?}"))?;
        let rate = inputs / cpu;
        report.aimed(format!("inputs a CPU-second, {name} build"), rate, "inputs/CPU-s", INPUTS);
        report.figure(format!("inputs, {name} build"), inputs, "");
        report.figure(format!("CPU, {name} build"), cpu, "CPU-s");
    }
    report.note(format!("{count} seeds: three regions, 60 writes, 8 keys, one crash, one cut"));
    Ok(())
}

/// "3000 seeds, 1234567 inputs in …"
fn inputs(printed: &str) -> Option<f64> {
    let words: Vec<&str> = printed.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "inputs")?;
    words.get(at.checked_sub(1)?)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_the_number_before_the_word() {
        let printed =
            "300 seeds, 145000 inputs in 0.20 s on one thread: 725000 inputs/s, 9 seeds/s";
        assert_eq!(inputs(printed), Some(145_000.0));
        assert_eq!(inputs("inputs"), None);
    }
}
