//! `cargo xtask mixed`: a fleet of an older revision's regions and of this tree's, under load.
//!
//! Builds the older revision in a worktree of its own below the target directory, and runs the
//! black box's scenario with it (`crates/linckia/tests/blackbox/mixed.rs`): one region after the
//! other is replaced by this tree's build, back by the older one, and forward again. What always
//! holds: this tree is left as it is; both builds share the target directory, so that what they
//! depend on is built once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

use crate::bench::{Profile, folder};
use crate::test::cargo;

const HELP: &str = "\
cargo xtask mixed [OPTIONS]

  --older REVISION       the older build: without it the newest release's tag, or, where there is
                         none, the commit before this one
";

/// How tags of releases are called.
const RELEASES: &str = "v*";

/// Tells the scenario where the older program lies.
const OLDER: &str = "LINCKIA_OLDER";

pub fn run(root: &Path, arguments: &[String]) -> anyhow::Result<ExitCode> {
    let older = match arguments {
        [] => newest_release(root),
        [word, revision] if word == "--older" => revision.clone(),
        _ => bail!("mixed takes --older REVISION\n\n{HELP}"),
    };
    let commit = git(root, &["rev-parse", "--short", &format!("{older}^{{commit}}")])
        .with_context(|| format!("{older} is no revision of this repository"))?;
    println!("older: {older}, commit {commit}");
    let program = build_older(root, &commit)?;
    let mut command = Command::new(cargo());
    command.current_dir(root).args(["test", "--profile", Profile::Sim.name()]);
    command.args(["-p", "linckia", "--test", "main", "mixed::", "--", "--nocapture"]);
    let status = command.env(OLDER, program).status().context("cannot start cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn newest_release(root: &Path) -> String {
    let words = ["describe", "--tags", "--abbrev=0", "--match", RELEASES, "HEAD~1"];
    git(root, &words).unwrap_or_else(|_| "HEAD~1".to_owned())
}

/// The program of that commit; built once.
fn build_older(root: &Path, commit: &str) -> anyhow::Result<PathBuf> {
    let built = folder(root, Profile::Sim);
    let dir = built.parent().context("a profile lies in the target directory")?.join("mixed");
    let program = dir.join(format!("linckia-{commit}"));
    if program.exists() {
        return Ok(program);
    }
    fs::create_dir_all(&dir)?;
    let tree = dir.join(commit);
    let path = tree.to_str().context("the target directory has a name that is no text")?;
    if !tree.exists() {
        git(root, &["worktree", "add", "--detach", path, commit])?;
    }
    let target = built.parent().context("a profile lies in the target directory")?;
    let made = Command::new(cargo())
        .current_dir(&tree)
        .env("CARGO_TARGET_DIR", target)
        .args(["build", "--profile", Profile::Sim.name(), "-p", "linckia", "--bin", "linckia"])
        .status();
    // What lies there is this tree's again with its next build.
    let copied =
        made.map(|status| status.success().then(|| fs::copy(built.join("linckia"), &program)));
    git(root, &["worktree", "remove", "--force", path])?;
    copied?.context("the older revision does not build")??;
    Ok(program)
}

fn git(root: &Path, words: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("git").current_dir(root).args(words).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "git {}: {}", words.join(" "), said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
