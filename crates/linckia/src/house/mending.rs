//! Damage on this region's disk that other copies make good: a store that does not read, a log of
//! another region.
//!
//! What is damaged is put aside and the process starts over; the state comes again from the logs or
//! from a peer. Where a log goes, the region goes on in another incarnation, as after a lapse: what
//! it had told of that log it must have again before it writes. What always holds: nothing is
//! removed; after a few times within a day it stays down, because then it is the disk.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use linckia_log::Logs;
use linckia_model::{Origin, RegionName};
use linckia_region::{LEAVING_FILE, Leaving};

use super::leaving::put_aside;
use crate::config::Config;

/// Under the region's directory: the log that is being put aside, until the region goes on.
const MENDING_FILE: &str = "mending";

/// What was put aside, and when: a line each.
const MENDED_FILE: &str = "mended";

/// So often within so many milliseconds: then it is the disk.
const TIMES_MAX: usize = 3;
const WITHIN_MILLISECONDS: u64 = 24 * 3_600 * 1_000;

/// What is damaged.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Damage {
    Store,
    /// Another region's log, by origin.
    Log(String),
}

impl Damage {
    /// The damage that an error tells of, if others can make it good.
    pub(super) fn of(error: &anyhow::Error, own: &RegionName) -> Option<Self> {
        let scarce = |cause: &io::Error| {
            use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
            let kinds = [PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull];
            // Too many open files, here or on the machine.
            kinds.contains(&cause.kind()) || matches!(cause.raw_os_error(), Some(23 | 24))
        };
        if error.chain().any(|cause| cause.downcast_ref().is_some_and(scarce)) {
            return None;
        }
        error.chain().find_map(|cause| {
            if let Some(error) = cause.downcast_ref::<linckia_log::Error>() {
                return of_log(error, own);
            }
            if cause.downcast_ref::<linckia_store::Error>().is_some() {
                return Some(Self::Store);
            }
            if let Some(error) = cause.downcast_ref::<linckia_apply::Error>() {
                return of_rows(error);
            }
            match cause.downcast_ref::<linckia_region::Error>()? {
                linckia_region::Error::Log(error) => of_log(error, own),
                linckia_region::Error::Store(_) => Some(Self::Store),
                linckia_region::Error::Apply(error) => of_rows(error),
                _ => None,
            }
        })
    }
}

fn of_rows(error: &linckia_apply::Error) -> Option<Damage> {
    use linckia_apply::Error::{Row, Store};
    // A newer version wrote it, and reads it.
    if matches!(error, Row { source: linckia_model::Error::Format(_), .. }) {
        return None;
    }
    matches!(error, Store(_) | Row { .. }).then_some(Damage::Store)
}

fn of_log(error: &linckia_log::Error, own: &RegionName) -> Option<Damage> {
    let linckia_log::Error::Corrupt { file, .. } = error else { return None };
    let origin = file.strip_prefix("logs/")?.split('/').next()?;
    let origin = Origin::parse(origin).ok()?;
    (!origin.is_of(own)).then(|| Damage::Log(origin.to_string()))
}

/// Puts aside what is damaged; false if that has not helped before.
///
/// # Errors
/// The disk's.
pub(super) fn mend(dir: &Path, damage: &Damage, wall: u64) -> Result<bool> {
    let mended = fs::read_to_string(dir.join(MENDED_FILE)).unwrap_or_default();
    let when = |line: &str| line.split(' ').next().and_then(|word| word.parse::<u64>().ok());
    let late = |at: &u64| wall.saturating_sub(*at) < WITHIN_MILLISECONDS;
    if mended.lines().filter_map(when).filter(late).count() >= TIMES_MAX {
        tracing::error!(
            times = TIMES_MAX,
            "damage was found and mended so often within a day: it is the disk. The region stays \
             down; remove the file `mended` in its directory once the disk is in order"
        );
        return Ok(false);
    }
    let aside = dir.join("aside").join(format!("damaged-{wall}"));
    let what = match damage {
        Damage::Store => "store".to_owned(),
        Damage::Log(origin) => format!("log {origin}"),
    };
    let mut file = File::options().append(true).create(true).open(dir.join(MENDED_FILE))?;
    writeln!(file, "{wall} {what}")?;
    file.sync_all()?;
    if let Damage::Log(origin) = damage {
        let mut mending = File::create(dir.join(MENDING_FILE))?;
        writeln!(mending, "{origin}\n{}", aside.display())?;
        mending.sync_all()?;
        File::open(dir)?.sync_all()?;
    }
    put_aside(dir, &dir.join("store"), &aside.join("store"))?;
    tracing::error!(
        what,
        aside = %aside.display(),
        "what is damaged was put aside; the region starts over and gets it again"
    );
    Ok(true)
}

/// The log that is being put aside goes, before the logs are opened.
///
/// # Errors
/// The disk's.
pub(super) fn begin(dir: &Path) -> Result<()> {
    let Ok(text) = fs::read_to_string(dir.join(MENDING_FILE)) else { return Ok(()) };
    let (origin, aside) = text.trim().split_once('\n').context("the file mending does not read")?;
    Origin::parse(origin).context("the file mending names no log")?;
    let log: PathBuf = ["log", "logs", origin].iter().collect();
    put_aside(dir, &dir.join(&log), &Path::new(aside).join(&log))
}

/// A log was put aside: the region goes on in another incarnation.
///
/// # Errors
/// The disk's, or the log's.
pub(super) fn go_on(config: &Config, logs: &mut Logs) -> Result<()> {
    let path = config.dir.join(MENDING_FILE);
    if !path.exists() {
        return Ok(());
    }
    let leaving = Leaving { incarnation: true, store: true, ..Leaving::default() };
    logs.write_small(LEAVING_FILE, leaving.text().as_bytes())?;
    fs::remove_file(path)?;
    Ok(File::open(&config.dir)?.sync_all()?)
}

/// The same process, from its beginning: comes back only if that cannot be.
pub(super) fn start_over() -> anyhow::Error {
    let program = match std::env::current_exe() {
        Ok(program) => in_place_of(program),
        Err(error) => return error.into(),
    };
    let error = std::process::Command::new(program).args(std::env::args_os().skip(1)).exec();
    anyhow::Error::from(error).context("the region cannot start over; start it again")
}

/// What lies where this program lay: Linux says so of one that was replaced by another version.
fn in_place_of(program: PathBuf) -> PathBuf {
    match program.to_str().and_then(|path| path.strip_suffix(" (deleted)")) {
        Some(path) if !program.exists() => PathBuf::from(path),
        _ => program,
    }
}

#[cfg(test)]
#[path = "mending/tests.rs"]
mod tests;
