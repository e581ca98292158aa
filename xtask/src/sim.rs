//! `cargo xtask sim`: the simulation over a range of seeds chosen by the time of day, so that every
//! run explores something new. It gates nothing: a seed that fails prints the command that replays
//! it, and is then kept with the fixed ones.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;

use crate::test::{SIMULATOR, cargo};

/// Seeds a run when no `--count` is given: about as many as the test command's fixed ones.
const COUNT: &str = "10000";

/// Distance between the first seeds of two runs a second apart, so that no two runs share seeds.
const SEEDS_A_SECOND: u64 = 1_000_000;

pub fn run(root: &Path, arguments: &[String]) -> anyhow::Result<ExitCode> {
    let now =
        SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?;
    let status = Command::new(cargo())
        .current_dir(root)
        .args(SIMULATOR)
        .args(with_range(arguments, now.as_secs()))
        .status()
        .context("cannot start cargo")?;
    Ok(match status.success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// The simulator's arguments: what the caller gave, and a fresh range for what they left open.
fn with_range(given: &[String], seconds: u64) -> Vec<String> {
    let has = |name: &str| {
        let with_value = format!("{name}=");
        given.iter().any(|argument| argument == name || argument.starts_with(&with_value))
    };
    let mut arguments = vec!["run".to_owned()];
    if !has("--from") {
        let first = seconds.wrapping_mul(SEEDS_A_SECOND);
        arguments.extend(["--from".to_owned(), first.to_string()]);
    }
    if !has("--count") {
        arguments.extend(["--count".to_owned(), COUNT.to_owned()]);
    }
    arguments.extend(given.iter().cloned());
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(given: &str, expected: &str) {
        let given: Vec<String> = given.split_whitespace().map(str::to_owned).collect();
        assert_eq!(with_range(&given, 7).join(" "), expected);
    }

    #[test]
    fn a_fresh_range_fills_what_the_caller_left_open() {
        check("", "run --from 7000000 --count 10000");
        check("--count 5", "run --from 7000000 --count 5");
        check("--count=5 --trace", "run --from 7000000 --count=5 --trace");
        check("--from 3", "run --count 10000 --from 3");
    }
}
