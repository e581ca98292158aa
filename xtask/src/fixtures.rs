//! `cargo xtask fixtures`: writes what is kept of the present formats, where it is not kept yet.
//!
//! Frames of the newest peer protocol (`crates/linckia-ship/tests/protocols`), and directories and
//! a backup of the present format (`crates/linckia/tests/fixtures`), made by a fleet that lives.
//! The tests that read them write them when they are told to here. What always holds: a file that
//! is there is not touched, so what was released stays as it was.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

use crate::test::cargo;

/// Tells the tests to write what is missing.
const WRITE: &str = "LINCKIA_WRITE_FIXTURES";

/// By package: the tests that read what is kept.
const TESTS: [&[&str]; 2] =
    [&["-p", "linckia-ship", "--test", "main"], &["-p", "linckia", "--test", "main", "formats::"]];

pub fn run(root: &Path, arguments: &[String]) -> anyhow::Result<ExitCode> {
    if let [extra, ..] = arguments {
        bail!("fixtures takes no argument, got {extra:?}");
    }
    for words in TESTS {
        let mut command = Command::new(cargo());
        command.current_dir(root).args(["test", "--profile", "sim"]).args(words);
        let status = command.env(WRITE, "1").status().context("cannot start cargo")?;
        anyhow::ensure!(status.success(), "what was written is not read back: {status}");
    }
    Ok(ExitCode::SUCCESS)
}
