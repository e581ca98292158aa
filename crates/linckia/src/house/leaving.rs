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

/// Where the log is kept that the directory wrote, and the folder that this leave goes to, until
/// all is aside.
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
    let aside = config.dir.join(ASIDE);
    // A start that was interrupted goes on with the log of then, and into the same folder.
    let text = match logs.read_small(LEFT_FILE)?.filter(|left| !left.is_empty()) {
        Some(text) => String::from_utf8(text).context("the file small/left does not read")?,
        None => {
            let text = format!("{written}\n{}\n", free_folder(&aside, &written));
            logs.write_small(LEFT_FILE, text.as_bytes())?;
            text
        }
    };
    let mut lines = text.lines();
    let left = lines.next().unwrap_or_default();
    let aside = aside.join(lines.next().unwrap_or(left));
    if leaving.incarnation && left == written {
        let (region, incarnation) = (name.to_string(), random()?);
        logs.write_identity(&Identity { region, incarnation, created_ms: wall })?;
    }
    drop(logs);
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

/// Where this leave puts what it leaves: a directory may leave more than once in one incarnation.
fn free_folder(aside: &Path, log: &str) -> String {
    let taken = |folder: &String| aside.join(folder).exists();
    let others = (2_u64..).map(|time| format!("{log}.{time}"));
    let mut folders = std::iter::once(log.to_owned()).chain(others);
    folders.find(|folder| !taken(folder)).unwrap_or_else(|| log.to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leave_has_a_folder_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let aside = dir.path().join(ASIDE);
        for wanted in ["a.1", "a.1.2", "a.1.3"] {
            let store = dir.path().join("store");
            fs::create_dir(&store).unwrap();
            let folder = free_folder(&aside, "a.1");
            assert_eq!(folder, wanted);
            put_aside(dir.path(), &store, &aside.join(folder).join("store")).unwrap();
            assert!(!store.exists() && aside.join(wanted).join("store").exists());
        }
    }
}
