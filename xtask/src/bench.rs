//! `cargo xtask bench`: the figures that are promised, each measured by one command.
//!
//! A measurement is a module under `bench/`: it builds what it needs, starts a fleet in a directory
//! of its own, loads it with the program in `crates/linckia/examples/load`, and reads the regions'
//! CPU and memory from `/proc`. What always holds: everything that was started is ended and every
//! directory removed, however a measurement ends; figures are printed with the machine, the commit
//! and the command; the Markdown is ready for `docs/measurements/`.

mod ack;
mod append;
mod build;
mod catch_up;
mod compare;
mod conflicts;
mod connections;
mod door;
mod fleet;
mod growth;
mod import;
mod lag;
mod load;
mod machine;
mod plot;
mod postgres;
mod process;
mod recover;
mod report;
mod scratch;
mod session;
mod sim;
mod value;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

pub use build::{Profile, build_program, folder};
pub use fleet::Fleet;
use report::Report;
pub use scratch::Scratch;

pub const HELP: &str = "\
cargo xtask bench append|ack|session|conflicts|connections|lag|import|recover|catch-up|
                  growth|compare|sim [OPTIONS]

  append   durable appends a CPU-second with two peers pulling, then beside PostgreSQL
           (--without-postgres: not beside it)
  ack      how long an answer takes that waits for other regions
  session  what a session's token costs a request
  conflicts    what recording and confirming conflicts costs appends
  connections  10,000 connections, 1,000 of which write 5,000 events/s
  lag      1,000 events/s into each of three regions: answered when, seen elsewhere when
  import   all flights into three regions: time and memory
  recover  1,000,000 events, kill -9, time until ready again
  catch-up     5,000,000 events behind: from the logs, then from a snapshot
  growth   what an event costs with up to 10,000,000 of them in the store, and what the disk
           holds while a region is away (--svg FILE: a plot of the first)
  compare  1,000,000 equal keys in two regions
  sim      handled inputs a CPU-second of the simulation

  --quick                a few seconds each, to see that it works; no figures to publish
  --profile release|sim  the build to measure, release by default
  --no-build             measures what was built before
  --json FILE            writes the figures to FILE too
";

/// What the words after `bench` ask for.
#[derive(Debug, PartialEq)]
pub struct Options {
    pub quick: bool,
    pub profile: Profile,
    pub json: Option<PathBuf>,
    pub svg: Option<PathBuf>,
    pub without_postgres: bool,
    pub no_build: bool,
}

/// What every measurement gets.
pub struct Bench<'a> {
    pub root: &'a Path,
    pub options: &'a Options,
    pub scratch: &'a Scratch,
}

type Measure = fn(&Bench, &mut Report) -> anyhow::Result<()>;

const MEASURES: [(&str, Measure); 12] = [
    ("append", append::measure),
    ("ack", ack::measure),
    ("session", session::measure),
    ("conflicts", conflicts::measure),
    ("connections", connections::measure),
    ("lag", lag::measure),
    ("import", import::measure),
    ("recover", recover::measure),
    ("catch-up", catch_up::measure),
    ("growth", growth::measure),
    ("compare", compare::measure),
    ("sim", sim::measure),
];

pub fn run(root: &Path, arguments: &[String]) -> anyhow::Result<ExitCode> {
    let Some((name, rest)) = arguments.split_first() else {
        print!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    };
    let Some((name, measure)) = MEASURES.iter().find(|(known, _)| known == name) else {
        bail!("no measurement {name:?}\n\n{HELP}");
    };
    let options = Options::parse(rest)?;
    anyhow::ensure!(
        !options.without_postgres || *name == "append",
        "--without-postgres is about append"
    );
    anyhow::ensure!(options.svg.is_none() || *name == "growth", "--svg is about growth");
    let scratch = Scratch::new()?;
    let command = format!("cargo xtask bench {}", arguments.join(" "));
    let mut report = Report::default();
    if options.quick {
        report.note("measured with --quick: it works, but these are no figures to publish");
    }
    if options.no_build {
        report.note("measured what was built before, perhaps of another commit");
    } else {
        build::build(root, options.profile)?;
    }
    let facts = machine::facts(root, scratch.path(), options.profile.name(), &command);
    let bench = Bench { root, options: &options, scratch: &scratch };
    measure(&bench, &mut report)?;
    println!("\n{}", report.table());
    println!("{}", report.markdown(name, &facts));
    if let Some(path) = &options.json {
        std::fs::write(path, report.json(name, &facts))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Options {
    fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let mut options = Self {
            quick: false,
            profile: Profile::Release,
            json: None,
            svg: None,
            without_postgres: false,
            no_build: false,
        };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} takes a value"));
            match word.as_str() {
                "--quick" => options.quick = true,
                "--no-build" => options.no_build = true,
                "--without-postgres" => options.without_postgres = true,
                "--profile" => options.profile = Profile::parse(value()?)?,
                "--json" => options.json = Some(value()?.into()),
                "--svg" => options.svg = Some(value()?.into()),
                _ => bail!("bench does not know {word:?}\n\n{HELP}"),
            }
        }
        Ok(options)
    }
}

impl Bench<'_> {
    /// One of two values, by whether it has to be quick.
    pub fn pick<T>(&self, quick: T, full: T) -> T {
        if self.options.quick { quick } else { full }
    }

    /// Says what is being done, apart from the figures.
    pub fn say(&self, what: &str) {
        eprintln!("bench: {what}");
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
        assert!(!plain.quick && plain.profile == Profile::Release && plain.json.is_none());
        let all =
            parse("--json x.json --quick --without-postgres --profile sim --no-build").unwrap();
        let expected = Options {
            quick: true,
            profile: Profile::Sim,
            json: Some("x.json".into()),
            svg: None,
            without_postgres: true,
            no_build: true,
        };
        assert_eq!(all, expected);
        for bad in ["--json", "--profile", "--profile dev", "--fast", "x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
