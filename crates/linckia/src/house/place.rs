//! Where a region's directory is: host and path. Two directories that hold one region's identity
//! are told from each other by it.
//!
//! Kept in the directory (`place`) once the region is known to live nowhere else. What always
//! holds: a directory that was copied or moved is not written in before a peer, or an operator, has
//! said so.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// In the region's directory.
const FILE: &str = "place";

/// The place of a directory.
pub(super) struct Place {
    dir: PathBuf,
    host: Host,
    path: String,
    /// Where it was when it was written in last, if that was elsewhere.
    pub(super) moved_from: Option<String>,
}

struct Host {
    /// Stays as it is when the host gets another name.
    id: String,
    name: String,
    /// Changes with every start of the host; empty where it is not known.
    boot: String,
}

impl Host {
    fn find() -> Self {
        let word = |path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let id = Some(word("/etc/machine-id")).filter(|id| !id.is_empty());
        let boot = word("/proc/sys/kernel/random/boot_id");
        Self { id: id.unwrap_or_else(|| name.clone()), name, boot }
    }
}

impl Place {
    /// # Errors
    /// The disk's.
    pub(super) fn find(dir: &Path) -> Result<Self> {
        let path = fs::canonicalize(dir).with_context(|| format!("{}", dir.display()))?;
        let path = path.to_string_lossy().into_owned();
        let mut place = Self { dir: dir.to_owned(), host: Host::find(), path, moved_from: None };
        let known = fs::read_to_string(dir.join(FILE)).unwrap_or_default();
        let mut lines = known.lines();
        if let (Some(id), Some(path), Some(name)) = (lines.next(), lines.next(), lines.next())
            && (id, path) != (&place.host.id, &place.path)
        {
            place.moved_from = Some(format!("{name}:{path}"));
        }
        Ok(place)
    }

    /// Tells it from any other place.
    pub(super) fn words(&self) -> String {
        let Host { id, name, boot } = &self.host;
        let short = |text: &str| text.chars().take(8).collect::<String>();
        format!("{name}:{} (host {}, started {})", self.path, short(id), short(boot))
    }

    /// The region lives here, and nowhere else.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn keep(&self) -> Result<()> {
        let text = format!("{}\n{}\n{}\n", self.host.id, self.path, self.host.name);
        let to = self.dir.join(FILE);
        if fs::read_to_string(&to).is_ok_and(|known| known == text) {
            return Ok(());
        }
        let next = self.dir.join(format!("{FILE}.next"));
        let written = || -> std::io::Result<()> {
            let mut file = File::create(&next)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&next, &to)?;
            File::open(&self.dir)?.sync_all()
        };
        written().with_context(|| format!("{} cannot be written", to.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_knows_that_it_was_moved() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("a"), dir.path().join("b"));
        fs::create_dir(&first).unwrap();
        let place = Place::find(&first).unwrap();
        assert_eq!(place.moved_from, None, "a new one is where it is");
        place.keep().unwrap();
        assert_eq!(Place::find(&first).unwrap().moved_from, None);
        fs::rename(&first, &second).unwrap();
        let moved = Place::find(&second).unwrap();
        assert!(
            moved.moved_from.as_ref().unwrap().ends_with(&place.path),
            "{:?}",
            moved.moved_from
        );
        assert_ne!(moved.words(), place.words());
        moved.keep().unwrap();
        assert_eq!(Place::find(&second).unwrap().moved_from, None);
    }
}
