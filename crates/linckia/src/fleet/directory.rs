//! The fleet's directory: whose it is, and that one supervisor at a time works in it.
//!
//! Where it stands: the first thing `up` takes. What always holds: a directory with other people's
//! files in it is never written to; the lock goes with the process, however it ends; regions that a
//! killed supervisor left behind are gone before new ones start.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use super::state::FleetState;

const LOCK_FILE: &str = "fleet.lock";
/// Also marks a directory as a fleet's.
pub const PORTS_FILE: &str = "ports.json";
/// Certificates lie beside the regions' directories, so that losing one of those loses none. A
/// region's name has no dot, so nothing collides.
pub const CERTIFICATES: &str = "fleet.pki";

/// Regions of a killed supervisor get this long to end; they see their parent's pipe close.
const LEFTOVER_GRACE: Duration = Duration::from_secs(8);
/// After SIGKILL the kernel needs a moment.
const LEFTOVER_MAX: Duration = Duration::from_secs(12);
const LEFTOVER_POLL: Duration = Duration::from_millis(25);

/// A directory held by this process.
#[derive(Debug)]
pub struct FleetDirectory {
    /// Absolute.
    pub path: PathBuf,
    _lock: File,
}

/// Makes a fleet's directory, into which a region may be restored before the first start.
pub fn make(dir: &Path) -> anyhow::Result<()> {
    hold(dir).map(drop)
}

/// Takes the directory, which is made if it is not there.
pub fn hold(dir: &Path) -> anyhow::Result<FleetDirectory> {
    fs::create_dir_all(dir)
        .with_context(|| format!("cannot make the directory {}", dir.display()))?;
    let path = dir
        .canonicalize()
        .with_context(|| format!("cannot find the directory {}", dir.display()))?;
    refuse_foreign(&path)?;
    let name = path.join(LOCK_FILE);
    let mut lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&name)
        .with_context(|| format!("cannot open {}", name.display()))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => bail!(held(&path, &mut lock)),
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("cannot lock {}", name.display()));
        }
    }
    lock.set_len(0)
        .and_then(|()| lock.seek(SeekFrom::Start(0)))
        .and_then(|_| writeln!(lock, "{}", std::process::id()))
        .with_context(|| format!("cannot write {}", name.display()))?;
    Ok(FleetDirectory { path, _lock: lock })
}

/// A directory is empty, or has been a fleet's before.
fn refuse_foreign(path: &Path) -> anyhow::Result<()> {
    if path.join(LOCK_FILE).exists() || path.join(PORTS_FILE).exists() {
        return Ok(());
    }
    let mut entries =
        fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    match entries.next() {
        None => Ok(()),
        Some(entry) => bail!(
            "{} is not a fleet's directory and not empty (it holds {}): choose another with --dir",
            path.display(),
            entry?.file_name().display()
        ),
    }
}

fn held(path: &Path, lock: &mut File) -> String {
    let mut text = String::new();
    let pid = lock.read_to_string(&mut text).ok().and_then(|_| text.trim().parse::<u32>().ok());
    let holder = pid.map_or("another process".to_owned(), |pid| format!("process {pid}"));
    let stop = pid.map_or(String::new(), |pid| format!(" (or `kill {pid}`)"));
    format!(
        "{} is held by {holder}: a fleet runs there already. Use it with --dir {}, stop it with \
         Ctrl-C{stop}, or start another one with --dir elsewhere",
        path.display(),
        path.display()
    )
}

/// Waits for regions that a killed supervisor left behind, and in the end kills them.
pub async fn settle(directory: &FleetDirectory) -> anyhow::Result<()> {
    // A file that cannot be read as a fleet names no process to wait for.
    let Ok(Some(previous)) = FleetState::read(&directory.path) else {
        return Ok(());
    };
    let start = Instant::now();
    loop {
        let left: Vec<_> = previous
            .regions
            .iter()
            .filter_map(|region| region.pid.filter(|pid| is_region(*pid, &region.dir)))
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        if start.elapsed() > LEFTOVER_MAX {
            bail!(
                "process {} of an earlier fleet does not end: kill it, then start again",
                left[0]
            );
        }
        if start.elapsed() > LEFTOVER_GRACE {
            for pid in left.iter().filter_map(|pid| process_of(*pid)) {
                // Gone already is as good.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        sleep(LEFTOVER_POLL).await;
    }
}

/// The process number in the form that signals take.
#[must_use]
pub fn process_of(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

/// Whether that process is still the region of that directory, and not a later one's number.
fn is_region(pid: u32, dir: &Path) -> bool {
    let Ok(command) = fs::read(format!("/proc/{pid}/cmdline")) else {
        return false;
    };
    let wanted = dir.as_os_str().as_encoded_bytes();
    !wanted.is_empty() && command.windows(wanted.len()).any(|part| part == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_directory_is_taken_and_a_foreign_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("own");
        fs::create_dir(&own).unwrap();
        drop(hold(&own).unwrap());
        drop(hold(&own).expect("its own files are no strangers"));
        drop(hold(&dir.path().join("a/new/one")).unwrap());
        let foreign = dir.path().join("foreign");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("thesis.txt"), "").unwrap();
        let error = hold(&foreign).unwrap_err().to_string();
        assert!(error.contains("thesis.txt") && error.contains("--dir"), "{error}");
    }

    #[test]
    fn a_held_directory_says_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let holder = hold(dir.path()).unwrap();
        let error = hold(dir.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(holder);
        assert!(hold(dir.path()).is_ok());
    }
}
