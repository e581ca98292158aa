//! The format of a region's directory as a whole: logs, store, agreement and what lies beside them.
//!
//! Its number stands in the file `format`; where there is none it is 1. A version that writes
//! anything there which an older one would misread gives the directory the next number before. What
//! always holds: it is looked at before anything else of the directory, and one of a newer format
//! is left exactly as it is.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};

const FILE: &str = "format";
const TITLE: &str = "linckia data ";

/// What this version writes, and the newest that it reads.
const FORMAT: u32 = 1;

/// Refuses a directory of a newer format.
///
/// # Errors
/// Which format it has, or the disk's.
pub(crate) fn check(dir: &Path) -> Result<()> {
    let path = dir.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    // What a later version adds stands below.
    let first = text.lines().next().and_then(|line| line.strip_prefix(TITLE));
    let found: u32 = first.and_then(|number| number.parse().ok()).with_context(|| {
        format!(
            "{} does not say a format; restore it: its first line is \"{TITLE}{FORMAT}\" where \
             this version wrote the directory",
            path.display()
        )
    })?;
    anyhow::ensure!(
        found <= FORMAT,
        "{} is of data format {found}, and this version of linckia reads up to format {FORMAT}: \
         start the version that wrote it, or begin in an empty directory, which takes everything \
         from the other regions. Nothing was changed",
        dir.display()
    );
    Ok(())
}

/// Says which format a directory has that this version writes in.
///
/// # Errors
/// The disk's.
pub(crate) fn keep(dir: &Path) -> Result<()> {
    let to = dir.join(FILE);
    if to.exists() {
        return Ok(());
    }
    let next = dir.join(format!("{FILE}.next"));
    let written = || -> io::Result<()> {
        let mut file = File::create(&next)?;
        writeln!(file, "{TITLE}{FORMAT}")?;
        file.sync_all()?;
        fs::rename(&next, &to)?;
        File::open(dir)?.sync_all()
    };
    written().with_context(|| format!("{} cannot be written", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_directory_is_refused_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        check(dir.path()).unwrap();
        keep(dir.path()).unwrap();
        check(dir.path()).unwrap();
        let path = dir.path().join(FILE);
        assert_eq!(fs::read_to_string(&path).unwrap(), "linckia data 1\n");
        fs::write(&path, "linckia data 7\nsince 3.2\n").unwrap();
        let refused = check(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("format 7") && refused.contains("up to format 1"), "{refused}");
        keep(dir.path()).unwrap();
        assert!(fs::read_to_string(&path).unwrap().starts_with("linckia data 7"));
        fs::write(&path, "").unwrap();
        assert!(check(dir.path()).unwrap_err().to_string().contains("does not say a format"));
    }
}
