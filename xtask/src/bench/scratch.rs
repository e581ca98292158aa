//! A directory for one run, and nothing left of it.
//!
//! Made by `bench.rs`, used by whoever starts a fleet or a server. What always holds: it is removed
//! with its handle; one that a killed run left behind is removed by the next run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

const PREFIX: &str = "linckia-bench-";

#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> anyhow::Result<Self> {
        let folder = std::env::temp_dir();
        sweep(&folder)?;
        let path = folder.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A directory in it that is not there yet.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("cargo xtask bench: {} stays: {error}", self.0.display());
        }
    }
}

/// Removes what runs left whose process is gone.
fn sweep(folder: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Somebody else's is theirs to remove.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}
