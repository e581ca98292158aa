//! `bench compare`: what it costs two regions to find that they hold the same million keys.
//!
//! Runs `crates/linckia-apply/examples/compare.rs`, which counts the CPU time of its own thread.
//! What always holds: both ends' reading is counted, stores and all, and nothing else.

use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use super::Bench;
use super::process;
use super::report::{Aim, Report};

const PATIENCE: Duration = Duration::from_secs(1_800);

const CPU: Aim = Aim::Below(1.0);

pub fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let keys = bench.pick("50000", "1000000");
    let mut command = Command::new("cargo");
    command.current_dir(bench.root).args(["run", "--quiet", "--profile"]);
    command.arg(bench.options.profile.name());
    command.args(["-p", "linckia-apply", "--example", "compare", "--", keys]);
    bench.say(&format!("comparing {keys} keys"));
    let printed = process::output(command, "the example compare", PATIENCE)?;
    let seconds = seconds(&printed);
    let [quick, verified] = seconds[..] else {
        anyhow::bail!("two lines with CPU-s are expected, not {printed:?}");
    };
    report.figure("equal keys", keys.parse().context("a number of keys")?, "");
    report.aimed("compared, CPU of both ends", quick, "CPU-s", CPU);
    report.figure("and every row held against its digest", verified, "CPU-s");
    report.note("two stores on the disk of this machine, read by one thread; no network in it");
    Ok(())
}

/// "1000000 equal keys compared … in 0.512 CPU-s of both ends", line by line.
fn seconds(printed: &str) -> Vec<f64> {
    let of_line = |line: &str| line.split(" CPU-s").next()?.rsplit(' ').next()?.parse().ok();
    printed.lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_the_number_before_the_unit() {
        let printed = "9 equal keys compared by their rows' digests in 0.500 CPU-s of both ends\n\
                       9 equal keys compared and verified in 2.250 CPU-s of both ends\n";
        assert_eq!(seconds(printed), [0.5, 2.25]);
        assert!(seconds("nothing").is_empty());
    }
}
