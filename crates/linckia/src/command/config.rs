//! `init` and `check`: a commented configuration, and whether one is right.
//!
//! Both read or write files only. What always holds: `init` never overwrites a file.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;

use super::Outcome;
use super::text::print;
use crate::config::{Config, commented_default};

/// Writes a commented configuration of one region.
#[derive(Debug, Args)]
pub struct InitArguments {
    /// Where to write it.
    #[arg(value_name = "PATH", default_value = "linckia.toml")]
    path: PathBuf,
}

/// Checks a configuration; says line and reason if it is wrong.
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// The configuration.
    #[arg(value_name = "PATH")]
    path: PathBuf,
}

/// Runs `init`.
pub fn init(arguments: &InitArguments, json: bool) -> anyhow::Result<Outcome> {
    let path = &arguments.path;
    let mut file = match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{} is there already; remove it or name another path", path.display())
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot write {}", path.display()));
        }
    };
    file.write_all(commented_default().as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    if json {
        print(&serde_json::json!({ "path": path }).to_string())?;
    } else {
        print(&format!(
            "Written: {0}. Edit it, check it with `linckia check {0}`, run it with `linckia region \
             --config {0}`.",
            path.display()
        ))?;
    }
    Ok(Outcome::Done)
}

/// Runs `check`.
pub fn check(arguments: &CheckArguments, json: bool) -> anyhow::Result<Outcome> {
    let path = &arguments.path;
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(error) => {
            if json {
                let answer = serde_json::json!({
                    "path": path, "ok": false, "line": error.line, "column": error.column,
                    "reason": error.reason, "advice": error.advice,
                });
                print(&answer.to_string())?;
            }
            return Err(error.into());
        }
    };
    if json {
        let answer = serde_json::json!({ "path": path, "ok": true, "region": config.region });
        print(&answer.to_string())?;
    } else {
        print(&format!("{} is right: region {}.", path.display(), config.region))?;
    }
    Ok(Outcome::Done)
}
