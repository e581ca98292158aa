//! A directory that is an old copy of itself: a peer knows more of the region's own log than it
//! holds. What it wrote since is not known to be the same, so the region leaves its own log, and
//! goes on in another incarnation.
//!
//! The core keeps that on the disk and ends; at the next start what cannot be trusted is put aside,
//! and comes again from the other members. What always holds: nothing is removed, and a start that
//! is interrupted goes on where it was.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context as _, Result};
use linckia_log::{Identity, Logs};
use linckia_model::{Origin, RegionName};
use linckia_region::OLD_COPY_FILE;

use super::{open_logs, random};
use crate::config::Config;

/// Under the region's directory: what was put aside, by the log that it belonged to.
const ASIDE: &str = "aside";

/// Leaves the own log if it was found to be an old copy; the logs are open again afterwards.
pub(super) fn leave(config: &Config, name: &RegionName, wall: u64, mut logs: Logs) -> Result<Logs> {
    let left = logs.read_small(OLD_COPY_FILE)?.unwrap_or_default();
    if left.is_empty() {
        return Ok(logs);
    }
    let left = String::from_utf8(left).context("the file small/old-copy does not read")?;
    let known = logs.identity()?.context("the directory has logs and no identity")?;
    if Origin::new(name, known.incarnation, 0).as_str() == left {
        let (region, incarnation) = (name.to_string(), random()?);
        logs.write_identity(&Identity { region, incarnation, created_ms: wall })?;
    }
    drop(logs);
    let aside = config.dir.join(ASIDE).join(&left);
    let log = Path::new("log").join("logs").join(&left);
    for part in [log.as_path(), Path::new("store"), Path::new("agreement")] {
        put_aside(&config.dir.join(part), &aside.join(part))?;
    }
    tracing::warn!(
        log = left,
        aside = %aside.display(),
        "the directory was an old copy: its own log was put aside, and the region goes on in \
         another incarnation"
    );
    let mut logs = open_logs(config)?;
    logs.write_small(OLD_COPY_FILE, &[])?;
    Ok(logs)
}

fn put_aside(from: &Path, to: &Path) -> Result<()> {
    if !from.exists() {
        return Ok(());
    }
    let parent = |path: &Path| path.parent().map(Path::to_owned).unwrap_or_default();
    let (left, taken) = (parent(from), parent(to));
    let moved = || -> std::io::Result<()> {
        fs::create_dir_all(&taken)?;
        fs::rename(from, to)?;
        File::open(&taken)?.sync_all()?;
        File::open(&left)?.sync_all()
    };
    moved().with_context(|| format!("{} cannot be moved to {}", from.display(), to.display()))
}
