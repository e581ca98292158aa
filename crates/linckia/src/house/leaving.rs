//! What a directory leaves before its region goes on: an old copy of itself its log and its state,
//! one whose region has lapsed whatever reaches beyond where logs end.
//!
//! The core keeps that on the disk and ends; at the next start it is put aside, and comes again
//! from the other members as far as they have it. What always holds: nothing is removed, and a
//! start that is interrupted goes on where it was.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context as _, Result};
use linckia_log::{Identity, Logs};
use linckia_model::{Origin, RegionName};
use linckia_region::{LEAVING_FILE, Leaving};

use super::{open_logs, random};
use crate::config::Config;

/// Under the region's directory: what was put aside, by the log that the directory wrote then.
pub(super) const ASIDE: &str = "aside";

/// Where the incarnation is kept of a directory that goes on in another one, until all is aside.
const LEFT_FILE: &str = "left";

/// Puts aside what the core said is to be left; the logs are open again afterwards.
pub(super) fn leave(config: &Config, name: &RegionName, wall: u64, mut logs: Logs) -> Result<Logs> {
    let text = logs.read_small(LEAVING_FILE)?.unwrap_or_default();
    let leaving = std::str::from_utf8(&text).map_err(|error| error.to_string());
    let leaving = leaving.and_then(Leaving::parse);
    let leaving = leaving.map_err(|line| anyhow::anyhow!("small/{LEAVING_FILE} has `{line}`"))?;
    if leaving == Leaving::default() {
        return Ok(logs);
    }
    let known = logs.identity()?.context("the directory has logs and no identity")?;
    let written = Origin::new(name, known.incarnation, 0).to_string();
    // What a start that was interrupted had put aside already was under the log of then.
    let left = match logs.read_small(LEFT_FILE)?.filter(|left| !left.is_empty()) {
        Some(left) => String::from_utf8(left).context("the file small/left does not read")?,
        None => {
            logs.write_small(LEFT_FILE, written.as_bytes())?;
            written.clone()
        }
    };
    if leaving.incarnation && left == written {
        let (region, incarnation) = (name.to_string(), random()?);
        logs.write_identity(&Identity { region, incarnation, created_ms: wall })?;
    }
    drop(logs);
    let aside = config.dir.join(ASIDE).join(&left);
    let logs_dir = Path::new("log").join("logs");
    let mut parts: Vec<_> = leaving.logs.iter().map(|log| logs_dir.join(log)).collect();
    parts.extend(leaving.store.then(|| "store".into()));
    parts.extend(leaving.agreement.then(|| "agreement".into()));
    for part in &parts {
        put_aside(&config.dir, &config.dir.join(part), &aside.join(part))?;
    }
    tracing::warn!(
        log = left,
        logs = leaving.logs.join(", "),
        state = leaving.store,
        anew = leaving.incarnation,
        aside = %aside.display(),
        "what the fleet does not know of, or does not take any more, was put aside"
    );
    let mut logs = open_logs(config)?;
    // In this order: cut between, the region draws a number once more, and nothing else.
    logs.write_small(LEFT_FILE, &[])?;
    logs.write_small(LEAVING_FILE, &[])?;
    Ok(logs)
}

/// Moves a file or a folder of that directory there; nothing where it is not.
pub(super) fn put_aside(dir: &Path, from: &Path, to: &Path) -> Result<()> {
    if !from.exists() {
        return Ok(());
    }
    let parent = |path: &Path| path.parent().map(Path::to_owned).unwrap_or_default();
    let (left, taken) = (parent(from), parent(to));
    let moved = || -> std::io::Result<()> {
        fs::create_dir_all(&taken)?;
        fs::rename(from, to)?;
        // Folders on the way may be new.
        for folder in taken.ancestors().take_while(|folder| folder.starts_with(dir)) {
            File::open(folder)?.sync_all()?;
        }
        File::open(&left)?.sync_all()
    };
    moved().with_context(|| format!("{} cannot be moved to {}", from.display(), to.display()))
}
