//! `cargo xtask soak`: a local fleet under load, kills, cuts and wrong clocks drawn from a seed.
//!
//! A thin caller of `linckia drill run soak`: it builds, starts fleets in a directory of its own,
//! and runs first a soak of all levels, then a short one in which disks are lost. With `--planted`
//! it runs builds that break a promise on purpose, and fails unless their soaks do. What always
//! holds: everything that was started is ended, and every directory removed.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};

use crate::bench::{Fleet, Profile, Scratch, build_program, folder};

const HELP: &str = "\
cargo xtask soak [OPTIONS]

  --for 2m               from the first write to the last
  --rate 2100            writes a second: what the last failure holds back is not caught up
  --seed N               what fails when; the time of day without it, and printed
  --report FILE          a page with a timeline
  --profile sim|release  the build, sim by default
  --no-build             soaks what was built before
  --planted              builds that break a promise on purpose; fails unless each is found out
";

/// A part of the time is for the loss of disks, at a rate at which a region that starts from
/// nothing catches up.
const DISKS_SPAN: &str = "25s";
const DISKS_RATE: &str = "1000";

/// The faults that a soak has to find, and what else fails then. An answer that comes too early is
/// seen where a disk is lost: a process that is killed leaves to the kernel what it has written.
const PLANTED: [(&str, &[&str]); 2] = [
    ("acknowledged-before-sync", &["--ack", "any", "--destroy"]),
    ("tombstone-dropped-early", &["--ack", "local,any"]),
];
const PLANTED_SPAN: &str = "30s";
const PLANTED_RATE: &str = "1000";

/// After the last write: until everything is equal and read.
const END_PATIENCE: Duration = Duration::from_secs(900);

#[derive(Debug, PartialEq)]
struct Options {
    span: String,
    rate: String,
    seed: Option<String>,
    report: Option<PathBuf>,
    profile: Profile,
    no_build: bool,
    planted: bool,
}

pub fn run(root: &Path, arguments: &[String]) -> anyhow::Result<ExitCode> {
    let options = Options::parse(arguments)?;
    let seed = match &options.seed {
        Some(seed) => seed.clone(),
        None => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs().to_string(),
    };
    if options.planted {
        return planted(root, &options, &seed);
    }
    if !options.no_build {
        build_program(root, options.profile, &[])?;
    }
    let program = folder(root, options.profile).join("linckia");
    let Options { span, rate, .. } = &options;
    let mut words = vec!["--for", span, "--rate", rate, "--ack", "local,any,quorum"];
    let page = options.report.as_ref().map(|page| page.display().to_string());
    if let Some(page) = &page {
        words.extend(["--report", page]);
    }
    let sound = soak(&program, None, &seed, &words)?;
    println!("\nThe same while disks are destroyed:");
    let disks = ["--for", DISKS_SPAN, "--rate", DISKS_RATE, "--ack", "any", "--destroy"];
    let whole = soak(&program, None, &seed, &disks)?;
    Ok(if sound && whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Builds with a planted fault, each of which must fail.
fn planted(root: &Path, options: &Options, seed: &str) -> anyhow::Result<ExitCode> {
    // Under a name of its own: what is released must never be one of these.
    const NAME: &str = "linckia-planted";
    if !options.no_build {
        let words = ["--features", "planted-faults", "--bin", NAME];
        build_program(root, options.profile, &words)?;
    }
    let program = folder(root, options.profile).join(NAME);
    let mut unnoticed = Vec::new();
    for (fault, more) in PLANTED {
        println!("\nPlanted: {fault}");
        let words = [&["--for", PLANTED_SPAN, "--rate", PLANTED_RATE], more].concat();
        if soak(&program, Some(fault), seed, &words)? {
            unnoticed.push(fault);
        }
    }
    if unnoticed.is_empty() {
        println!("\nEvery planted fault was found out.");
        return Ok(ExitCode::SUCCESS);
    }
    println!("\nNOT FOUND OUT: {}", unnoticed.join(", "));
    Ok(ExitCode::FAILURE)
}

/// One soak of a fleet of its own. True if it passed.
fn soak(program: &Path, fault: Option<&str>, seed: &str, words: &[&str]) -> anyhow::Result<bool> {
    let scratch = Scratch::new()?;
    let fault = fault.map(|fault| ("LINCKIA_PLANTED_FAULT", fault));
    let fleet = Fleet::start_again(program, &scratch, fault)?;
    let ledger = scratch.join("ledger.txt");
    let mut command = fleet.command_for_people(&["drill", "run", "soak", "--seed", seed]);
    command.args(words).arg("--ledger").arg(&ledger);
    let patience = END_PATIENCE + span_of(words)?;
    fleet.watch(command, patience)
}

/// How long a soak was asked to last.
fn span_of(words: &[&str]) -> anyhow::Result<Duration> {
    let text =
        words.iter().skip_while(|word| **word != "--for").nth(1).context("--for is given")?;
    let (number, unit) = match (text.strip_suffix("min"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 60),
        (None, Some(number)) => (number, 1),
        (None, None) => bail!("--for takes seconds or minutes, \"120s\" or \"2min\", not {text:?}"),
    };
    let number: u64 = number.parse().with_context(|| format!("{text:?} is no time"))?;
    Ok(Duration::from_secs(number * unit))
}

impl Options {
    fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let mut options = Self {
            span: "2min".to_owned(),
            rate: "2100".to_owned(),
            seed: None,
            report: None,
            profile: Profile::Sim,
            no_build: false,
            planted: false,
        };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} takes a value"));
            match word.as_str() {
                "--for" => {
                    let value = value()?;
                    // Two minutes are written in both ways.
                    options.span = match value.strip_suffix('m') {
                        Some(minutes) => format!("{minutes}min"),
                        None => value.clone(),
                    };
                    span_of(&["--for", &options.span])?;
                }
                "--rate" => options.rate = value()?.clone(),
                "--seed" => options.seed = Some(value()?.clone()),
                "--report" => options.report = Some(value()?.into()),
                "--profile" => options.profile = Profile::parse(value()?)?,
                "--no-build" => options.no_build = true,
                "--planted" => options.planted = true,
                _ => bail!("soak does not know {word:?}\n\n{HELP}"),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> anyhow::Result<Options> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Options::parse(&words)
    }

    #[test]
    fn options_are_what_was_said_and_nothing_else() {
        let plain = parse("").unwrap();
        assert_eq!((plain.span.as_str(), plain.profile), ("2min", Profile::Sim));
        let all = parse("--for 10m --rate 5 --seed 7 --report x --planted --no-build").unwrap();
        assert_eq!((all.span.as_str(), all.seed.as_deref()), ("10min", Some("7")));
        assert!(all.planted && all.no_build);
        for bad in ["--for", "--for 2", "--for xs", "--fast", "--profile dev"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_are_seconds_or_minutes() {
        assert_eq!(span_of(&["--for", "2min"]).unwrap(), Duration::from_secs(120));
        assert_eq!(span_of(&["--rate", "1", "--for", "8s"]).unwrap(), Duration::from_secs(8));
        assert!(span_of(&["--for", "2h"]).is_err());
    }
}
