//! The project's only automation, called as `cargo xtask <command>`: `test` is what CI runs, `tidy`
//! its check of the house rules, `sim` a walk through fresh seeds, `soak` a real fleet under
//! failures, `mixed` a fleet of two builds, `fixtures` keeps the present formats, `bench` the
//! figures. Each command is a module; this file only chooses one. Nothing else in the repository
//! starts a build or a check, so what a developer runs and what CI runs cannot differ.

mod bench;
mod fixtures;
mod fuzz;
mod mixed;
mod sim;
mod soak;
mod test;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

const HELP: &str = "\
cargo xtask <command>

  test [--only STEP]   everything CI checks, in order, stopping at the first failure
  tidy                 the house rules: sizes, floors, heads and hands, names, pages
  sim [ARGUMENTS]      the simulation over seeds nobody has run yet; gates nothing
  soak [OPTIONS]       a fleet under load while it is killed, cut, and its clocks are set wrong
  mixed [--older REV]  a fleet of an older build and of this one, replaced forward and back
  fixtures             keeps the present formats for the tests of later versions
  fuzz [TARGET ...]    arbitrary bytes for what reads bytes of others; needs a C++ compiler
  bench [NAME ...]     the figures of docs/measurements/; alone it lists them
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cargo xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("xtask lies in a folder of the workspace")?;
    match arguments.split_first() {
        None => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        Some((command, rest)) => match (command.as_str(), rest) {
            ("help" | "--help" | "-h", _) => {
                print!("{HELP}");
                Ok(ExitCode::SUCCESS)
            }
            ("test", rest) => test::run(root, rest),
            ("tidy", []) => tidy::run(root),
            ("tidy", [extra, ..]) => anyhow::bail!("tidy takes no argument, got {extra:?}"),
            ("sim", rest) => sim::run(root, rest),
            ("soak", rest) => soak::run(root, rest),
            ("mixed", rest) => mixed::run(root, rest),
            ("fixtures", rest) => fixtures::run(root, rest),
            ("fuzz", rest) => fuzz::run(root, rest),
            ("bench", rest) => bench::run(root, rest),
            (unknown, _) => anyhow::bail!("no command {unknown:?}\n\n{HELP}"),
        },
    }
}
