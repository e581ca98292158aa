//! Builds what is measured and what measures it, and knows where it lies.
//!
//! Used by `bench.rs` before anything is timed. What always holds: what is measured is built as a
//! user would build it, by a command of its own, so that nothing the load generator needs can
//! change it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::test::cargo;

/// How what is measured is built.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Profile {
    Release,
    Sim,
}

impl Profile {
    pub fn parse(name: &str) -> anyhow::Result<Self> {
        match name {
            "release" => Ok(Self::Release),
            "sim" => Ok(Self::Sim),
            _ => bail!("--profile is release or sim, not {name:?}"),
        }
    }

    /// As cargo and the target directory call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Sim => "sim",
        }
    }
}

pub fn build(root: &Path, profile: Profile) -> anyhow::Result<()> {
    run(root, profile, &["-p", "linckia", "-p", "linckia-sim"])?;
    run(root, profile, &["-p", "linckia", "--example", "load"])
}

/// Only the program, perhaps with more words for cargo.
pub fn build_program(root: &Path, profile: Profile, more: &[&str]) -> anyhow::Result<()> {
    run(root, profile, &[&["-p", "linckia"], more].concat())
}

/// Only the simulator.
pub fn build_simulator(root: &Path, profile: Profile) -> anyhow::Result<()> {
    run(root, profile, &["-p", "linckia-sim"])
}

/// Where cargo puts what it builds.
pub fn folder(root: &Path, profile: Profile) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or("target".into(), PathBuf::from);
    root.join(target).join(profile.name())
}

fn run(root: &Path, profile: Profile, what: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(cargo())
        .current_dir(root)
        .args(["build", "--profile", profile.name()])
        .args(what)
        .status()
        .context("cannot start cargo")?;
    anyhow::ensure!(status.success(), "cargo build {}: {status}", what.join(" "));
    Ok(())
}
