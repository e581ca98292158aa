//! How much room the disk of a region's directory has: as the system says, or less in a rehearsal.
//!
//! Asked once a second by the core's measures. What always holds: a rehearsal can only take room
//! away, is said in the log when it begins and ends, and needs the variable that the supervisor of
//! a local fleet sets.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use crate::fleet::ENV_DISK;

/// A number of bytes has no more digits.
const DIGITS_MAX: u64 = 20;

/// The disk of a directory.
pub(super) struct Disk {
    dir: PathBuf,
    /// The file that says, while it is there, how many bytes are free at most.
    rehearsal: Option<PathBuf>,
    rehearsed: bool,
}

impl Disk {
    pub(super) fn of(dir: PathBuf) -> Self {
        let rehearsal = std::env::var_os(ENV_DISK).map(PathBuf::from);
        Self { dir, rehearsal, rehearsed: false }
    }

    /// Bytes that are free for this process; none if the system does not say.
    pub(super) fn free(&mut self) -> Option<u64> {
        let disk = rustix::fs::statvfs(&self.dir).ok()?;
        let free = disk.f_bavail * disk.f_frsize;
        let Some(left) = self.left() else {
            if std::mem::take(&mut self.rehearsed) {
                tracing::warn!("REHEARSAL: the disk has the room again that it really has");
            }
            return Some(free);
        };
        if !std::mem::replace(&mut self.rehearsed, true) {
            tracing::warn!(
                free = left,
                "REHEARSAL: the disk is taken for one with less room than it has"
            );
        }
        Some(free.min(left))
    }

    fn left(&self) -> Option<u64> {
        let mut text = String::new();
        let file = File::open(self.rehearsal.as_ref()?).ok()?;
        file.take(DIGITS_MAX + 1).read_to_string(&mut text).ok()?;
        text.trim().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rehearsal_only_takes_room_away() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("disk-free");
        let mut disk =
            Disk { dir: dir.path().to_owned(), rehearsal: Some(file.clone()), rehearsed: false };
        let real = |disk: &mut Disk| disk.free().is_some_and(|free| free > 4_096);
        assert!(real(&mut disk));
        std::fs::write(&file, "4096\n").unwrap();
        assert_eq!(disk.free(), Some(4_096));
        std::fs::write(&file, u64::MAX.to_string()).unwrap();
        assert!(disk.free().is_some_and(|free| free < u64::MAX));
        std::fs::write(&file, "much").unwrap();
        assert!(real(&mut disk), "what is no number says nothing");
        std::fs::remove_file(&file).unwrap();
        assert!(real(&mut disk) && !disk.rehearsed);
    }
}
