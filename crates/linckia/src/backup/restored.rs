//! What a restored directory brings into the fleet that begins with it, as a file of its own.
//!
//! `linckia restore` writes it beside the logs; the region says it to the members
//! (`house/agreed.rs`), and removes it once they have taken it over. What always holds: what does
//! not verify is an error, not absence.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use linckia_control::Restored;

const FILE: &str = "restored.json";

/// Keeps it in a region's directory, durably.
pub(crate) fn write_restored(dir: &Path, restored: &Restored) -> Result<()> {
    let json = serde_json::to_string(restored)?;
    let text = format!("{json}\n{}\n", blake3::hash(json.as_bytes()));
    let path = dir.join(FILE);
    let written = || -> io::Result<()> {
        let mut file = File::create(&path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        File::open(dir)?.sync_all()
    };
    written().with_context(|| format!("{} cannot be written", path.display()))
}

/// The fleet has taken it over: it is said no more.
pub(crate) fn forget_restored(dir: &Path) {
    if let Err(error) = fs::remove_file(dir.join(FILE))
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, file = FILE, "what was restored is taken over, and its file stays");
    }
}

/// Reads it; none if the directory was not restored.
pub(crate) fn read_restored(dir: &Path) -> Result<Option<Restored>> {
    let path = dir.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("{} cannot be read", path.display()));
        }
    };
    let mut lines = text.lines();
    let json = lines.next().unwrap_or_default();
    let verifies = lines.next() == Some(blake3::hash(json.as_bytes()).to_hex().as_str());
    let restored = verifies.then(|| serde_json::from_str(json).ok()).flatten();
    let advice = "does not verify: restore the directory again";
    restored.map(Some).with_context(|| format!("{} {advice}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_written_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_restored(dir.path()).unwrap(), None);
        let mut restored = Restored { fence: 7, ..Restored::default() };
        restored.ends.insert("a.0000000000000001".to_owned(), 4);
        write_restored(dir.path(), &restored).unwrap();
        assert_eq!(read_restored(dir.path()).unwrap(), Some(restored));
        let path = dir.path().join(FILE);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replacen('7', "8", 1)).unwrap();
        assert!(read_restored(dir.path()).is_err());
    }
}
