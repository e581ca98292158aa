//! Where backups lie: a directory, or a bucket of an object store.
//!
//! Under everything of `backup`. Names are of a run and a file (`000001/manifest.json`); what they
//! name is written once, whole, and never changed. What always holds: what `put` returned for is
//! durable, and what a crash left half written has no name.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

#[cfg(feature = "object-store")]
use super::bucket::Bucket;
use crate::command::wrong_use;

/// Of a file that is being written.
const SUFFIX_NEW: &str = ".new";

/// Held by whoever writes backups into a directory.
const LOCK: &str = "lock";

/// Where backups lie.
pub(crate) enum Place {
    Directory(PathBuf),
    #[cfg(feature = "object-store")]
    Bucket(Bucket),
}

/// Nobody else writes backups there.
pub(crate) struct Lock {
    _file: Option<File>,
}

impl Place {
    /// A directory, or `s3://bucket/prefix`.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        if text.starts_with("s3://") {
            #[cfg(feature = "object-store")]
            return Ok(Self::Bucket(Bucket::open(text)?));
            #[cfg(not(feature = "object-store"))]
            return Err(wrong_use(format!(
                "{text}: this binary was built without object stores; build it with `cargo build \
                 --release --features object-store`, or name a directory"
            )));
        }
        if text.contains("://") {
            return Err(wrong_use(format!("{text}: name a directory, or s3://bucket/prefix")));
        }
        Ok(Self::Directory(PathBuf::from(text)))
    }

    /// Makes it if need be, and keeps others from writing there.
    pub(crate) fn lock(&self) -> anyhow::Result<Lock> {
        match self {
            Self::Directory(root) => {
                let shown = root.display();
                fs::create_dir_all(root).with_context(|| format!("{shown} cannot be created"))?;
                let mut options = OpenOptions::new();
                options.write(true).create(true).truncate(false);
                let file = options.open(root.join(LOCK));
                let file = file.with_context(|| format!("{shown} cannot be written"))?;
                match file.try_lock() {
                    Ok(()) => Ok(Lock { _file: Some(file) }),
                    Err(TryLockError::WouldBlock) => {
                        bail!("another `linckia backup` writes into {shown}")
                    }
                    Err(TryLockError::Error(error)) => {
                        Err(error).with_context(|| format!("{shown} cannot be locked"))
                    }
                }
            }
            // Who writes there twice at a time is the operator's to know.
            #[cfg(feature = "object-store")]
            Self::Bucket(_) => Ok(Lock { _file: None }),
        }
    }

    /// Every name there, sorted; of a place that is not there, an error.
    pub(crate) async fn list(&self) -> anyhow::Result<Vec<String>> {
        match self {
            Self::Directory(root) => {
                list(root).with_context(|| format!("{} cannot be read", root.display()))
            }
            #[cfg(feature = "object-store")]
            Self::Bucket(bucket) => bucket.list().await,
        }
    }

    pub(crate) async fn get(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Directory(root) => {
                let read = fs::read(root.join(name));
                read.with_context(|| format!("{} cannot be read", self.shown(name)))
            }
            #[cfg(feature = "object-store")]
            Self::Bucket(bucket) => bucket.get(name).await,
        }
    }

    /// Writes something new.
    pub(crate) async fn put(&self, name: &str, bytes: Vec<u8>) -> anyhow::Result<()> {
        match self {
            Self::Directory(root) => {
                let written = put(&root.join(name), &bytes);
                written.with_context(|| format!("{} cannot be written", self.shown(name)))
            }
            #[cfg(feature = "object-store")]
            Self::Bucket(bucket) => bucket.put(name, bytes).await,
        }
    }

    pub(crate) async fn remove(&self, name: &str) -> anyhow::Result<()> {
        match self {
            Self::Directory(root) => {
                let removed = fs::remove_file(root.join(name));
                removed.with_context(|| format!("{} cannot be removed", self.shown(name)))
            }
            #[cfg(feature = "object-store")]
            Self::Bucket(bucket) => bucket.remove(name).await,
        }
    }

    /// A name there, for the operator.
    pub(crate) fn shown(&self, name: &str) -> String {
        match self {
            Self::Directory(root) => root.join(name).display().to_string(),
            #[cfg(feature = "object-store")]
            Self::Bucket(bucket) => bucket.shown(name),
        }
    }
}

fn list(root: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        // A name that is not text is none of ours.
        let Ok(run) = entry.file_name().into_string() else { continue };
        if !entry.file_type()?.is_dir() {
            continue;
        }
        for file in fs::read_dir(entry.path())? {
            if let Ok(file) = file?.file_name().into_string() {
                names.push(format!("{run}/{file}"));
            }
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    if !dir.is_dir() {
        fs::create_dir_all(dir)?;
        File::open(dir.parent().unwrap_or(dir))?.sync_all()?;
    }
    let mut new = path.as_os_str().to_owned();
    new.push(SUFFIX_NEW);
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(dir)?.sync_all()
}
