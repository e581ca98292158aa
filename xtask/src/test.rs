//! `cargo xtask test`: everything that gates a change, as a list of steps run in order until one
//! fails. A step's output goes straight to the terminal; at the end stands a table of what passed,
//! what failed and what was not run, with wall times, and as last line the count. A step that could
//! not start, or that a signal ended, has failed.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::bench::{Profile, folder};
use crate::tidy;

/// How cargo is told to run the simulator; its own arguments follow.
pub const SIMULATOR: [&str; 6] = ["run", "--profile", "sim", "-p", "linckia-sim", "--"];

/// What the tests are built with builds the simulator too: built alone, it would resolve other
/// features, and build its dependencies again.
const BUILD: [&str; 6] = ["test", "--workspace", "--profile", "sim", "--no-run", "--quiet"];

/// Tests, seeds and black box share the `sim` profile, so that dependencies are built once for
/// all of them; lints and documentation share the metadata of the dev profile.
const STEPS: [Step; 7] = [
    Step { name: "fmt", what: "formatting", action: Action::Cargo(&["fmt", "--all", "--check"]) },
    Step {
        name: "clippy",
        what: "lints, warnings denied",
        action: Action::Cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    },
    Step { name: "tidy", what: "house rules", action: Action::Tidy },
    Step {
        name: "tests",
        what: "all tests, the black box among them",
        action: Action::Cargo(&["test", "--workspace", "--profile", "sim"]),
    },
    Step {
        name: "docs",
        what: "documentation, warnings denied",
        action: Action::Cargo(&["doc", "--workspace", "--no-deps"]),
    },
    Step {
        name: "seeds",
        what: "20,000 fixed seeds",
        action: Action::Simulate(&["run", "--from", "0", "--count", "20000"]),
    },
    Step { name: "kept", what: "every seed that once failed", action: Action::Simulate(&["kept"]) },
];

struct Step {
    name: &'static str,
    what: &'static str,
    action: Action,
}

enum Action {
    Cargo(&'static [&'static str]),
    Simulate(&'static [&'static str]),
    Tidy,
}

/// A step that ran: how long it took, and why it failed if it did.
struct Outcome {
    name: &'static str,
    took: Duration,
    failure: Option<String>,
}

pub fn run(root: &Path, arguments: &[String]) -> anyhow::Result<ExitCode> {
    let steps = chosen(&STEPS, arguments)?;
    let outcomes = run_all(&steps, |step| perform(step, root));
    print!("\n{}", summary(&steps, &outcomes));
    Ok(match outcomes.iter().any(|outcome| outcome.failure.is_some()) {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

/// The cargo that runs this very command.
pub fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn chosen<'a>(steps: &'a [Step], arguments: &[String]) -> anyhow::Result<Vec<&'a Step>> {
    let names = || steps.iter().map(|step| step.name).collect::<Vec<_>>().join(", ");
    match arguments {
        [] => Ok(steps.iter().collect()),
        [only, name] if only == "--only" => {
            let step = steps
                .iter()
                .find(|step| step.name == name)
                .with_context(|| format!("no step {name:?}; there are {}", names()))?;
            Ok(vec![step])
        }
        _ => bail!("test takes --only STEP, where STEP is one of {}", names()),
    }
}

fn run_all(steps: &[&Step], mut perform: impl FnMut(&Step) -> anyhow::Result<()>) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for step in steps {
        println!("\n=== {}: {}", step.name, step.what);
        let began = Instant::now();
        let failure = perform(step).err().map(|error| format!("{error:#}"));
        let took = began.elapsed();
        let word = if failure.is_some() { "FAILED" } else { "passed" };
        println!("=== {}: {word} after {:.1} s", step.name, took.as_secs_f64());
        let failed = failure.is_some();
        outcomes.push(Outcome { name: step.name, took, failure });
        if failed {
            break;
        }
    }
    outcomes
}

fn perform(step: &Step, root: &Path) -> anyhow::Result<()> {
    match step.action {
        Action::Cargo(arguments) => run_cargo(arguments, root),
        Action::Simulate(arguments) => {
            run_cargo(&BUILD, root)?;
            let simulator = folder(root, Profile::Sim).join("linckia-sim");
            let line = [&["linckia-sim"], arguments].concat().join(" ");
            println!("{line}");
            judge(&line, Command::new(simulator).current_dir(root).args(arguments).status())
        }
        Action::Tidy => tidy::check_all(root),
    }
}

fn run_cargo(arguments: &[&str], root: &Path) -> anyhow::Result<()> {
    let line = format!("cargo {}", arguments.join(" "));
    println!("{line}");
    let mut command = Command::new(cargo());
    let command = command.current_dir(root).args(arguments).env("RUSTDOCFLAGS", "-D warnings");
    judge(&line, command.status())
}

/// Only a command that ran and said so itself has passed.
fn judge(line: &str, status: io::Result<ExitStatus>) -> anyhow::Result<()> {
    let status = status.with_context(|| format!("cannot start {line}"))?;
    match status.success() {
        true => Ok(()),
        false => bail!("{line}: {status}"),
    }
}

/// The table, then what failed and how to run it again, then the count.
fn summary(steps: &[&Step], outcomes: &[Outcome]) -> String {
    let mut text = format!("{:<8} {:<8} {:>9}\n", "step", "result", "seconds");
    for (place, step) in steps.iter().enumerate() {
        let (result, seconds) = match outcomes.get(place) {
            None => ("not run", "-".to_owned()),
            Some(Outcome { failure: Some(_), took, .. }) => ("FAILED", seconds(*took)),
            Some(Outcome { took, .. }) => ("passed", seconds(*took)),
        };
        text += &format!("{:<8} {result:<8} {seconds:>9}\n", step.name);
    }
    let total: Duration = outcomes.iter().map(|outcome| outcome.took).sum();
    text += &format!("{:<8} {:<8} {:>9}\n", "all", "", seconds(total));
    let mut failed = 0;
    for Outcome { name, failure, .. } in outcomes {
        if let Some(failure) = failure {
            failed += 1;
            text += &format!("\n{name} failed: {failure}\n");
            text += &format!("run it alone with: cargo xtask test --only {name}\n");
        }
    }
    text += &format!("\n{} passed, {failed} failed\n", outcomes.len() - failed);
    text
}

fn seconds(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn report(failing: &str) -> String {
        let steps: Vec<&Step> = STEPS.iter().collect();
        let mut outcomes = run_all(&steps, |step| match step.name == failing {
            true => bail!("because"),
            false => Ok(()),
        });
        for outcome in &mut outcomes {
            outcome.took = Duration::from_millis(1500);
        }
        summary(&steps, &outcomes)
    }

    #[test]
    fn a_failure_stops_the_rest_and_says_how_to_run_it_alone() {
        assert_eq!(
            report("clippy"),
            "step     result     seconds\n\
             fmt      passed         1.5\n\
             clippy   FAILED         1.5\n\
             tidy     not run          -\n\
             tests    not run          -\n\
             docs     not run          -\n\
             seeds    not run          -\n\
             kept     not run          -\n\
             all                     3.0\n\
             \n\
             clippy failed: because\n\
             run it alone with: cargo xtask test --only clippy\n\
             \n\
             1 passed, 1 failed\n"
        );
    }

    #[test]
    fn without_a_failure_every_step_counts() {
        assert!(report("none").ends_with("\n7 passed, 0 failed\n"));
    }

    #[test]
    fn only_names_one_step_and_knows_them_all() {
        let only = chosen(&STEPS, &arguments("--only docs")).unwrap();
        assert_eq!(only.iter().map(|step| step.name).collect::<Vec<_>>(), ["docs"]);
        let unknown = chosen(&STEPS, &arguments("--only dcos")).err().unwrap().to_string();
        assert!(unknown.contains("no step \"dcos\"; there are fmt, clippy, tidy"), "{unknown}");
        assert!(chosen(&STEPS, &arguments("docs")).is_err());
    }

    #[test]
    #[cfg(unix)]
    fn a_command_that_fails_dies_or_cannot_start_is_a_failure() {
        use std::os::unix::process::ExitStatusExt;

        let verdict = |status| judge("x", status).map_err(|error| format!("{error:#}"));
        let (failed, killed) = (256, 9);
        assert_eq!(verdict(Ok(ExitStatus::from_raw(0))), Ok(()));
        let expected = "x: exit status: 1";
        assert_eq!(verdict(Ok(ExitStatus::from_raw(failed))), Err(expected.to_owned()));
        assert!(verdict(Ok(ExitStatus::from_raw(killed))).unwrap_err().contains("signal: 9"));
        assert!(verdict(Err(io::ErrorKind::NotFound.into())).unwrap_err().contains("cannot start"));
    }
}
