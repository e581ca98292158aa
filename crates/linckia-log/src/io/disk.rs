//! The real disk: one directory, locked for one process. Thin on purpose; `contract.rs` runs over
//! it in the tests. What always holds: while a `LocalDisk` lives, no other process has one on the
//! same directory for writing; a handle for reading writes nothing.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::port::{Disk, DiskFile};

const LOCK: &str = "LOCK";
/// What a holder writes about itself is short; more is not read.
const HOLDER_BYTES_MAX: u64 = 256;

/// A directory on this machine.
pub struct LocalDisk {
    root: PathBuf,
    writable: bool,
    /// Held for the lock, which ends with it.
    _lock: Option<File>,
}

impl LocalDisk {
    /// Takes a directory for this process, and makes it if there is none.
    ///
    /// # Errors
    /// [`Error::Locked`] with the process that has it; [`Error::Io`].
    pub fn open(root: impl AsRef<Path>) -> Result<LocalDisk> {
        let root = root.as_ref().to_owned();
        let shown = root.display().to_string();
        let failed = |source| Error::io("open", &shown)(source);
        if !root.is_dir() {
            fs::create_dir_all(&root).map_err(failed)?;
            if let Some(parent) = root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                File::open(parent).and_then(|dir| dir.sync_all()).map_err(failed)?;
            }
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut lock = options.open(root.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(locked(shown, &lock)),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "process {}", std::process::id()))
            .map_err(failed)?;
        Ok(LocalDisk { root, writable: true, _lock: Some(lock) })
    }

    /// Looks at a directory that no process has open, without changing it.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Io`].
    pub fn open_to_read(root: impl AsRef<Path>) -> Result<LocalDisk> {
        let root = root.as_ref().to_owned();
        let shown = root.display().to_string();
        let failed = |source| Error::io("open", &shown)(source);
        let lock = match File::open(root.join(LOCK)) {
            Ok(lock) => Some(lock),
            // A copy or a backup has none.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        match lock.as_ref().map(File::try_lock_shared) {
            None | Some(Ok(())) => Ok(LocalDisk { root, writable: false, _lock: lock }),
            Some(Err(TryLockError::Error(error))) => Err(failed(error)),
            Some(Err(TryLockError::WouldBlock)) => {
                let lock = lock.expect("a lock that is held is there");
                Err(locked(shown, &lock))
            }
        }
    }

    fn path(&self, relative: &str) -> PathBuf {
        debug_assert!(
            !relative.starts_with('/') && relative.split('/').all(|part| part != ".."),
            "paths stay below the root"
        );
        self.root.join(relative)
    }

    fn changing(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::ErrorKind::ReadOnlyFilesystem.into()) }
    }
}

fn locked(path: String, lock: &File) -> Error {
    let mut holder = String::new();
    let read = lock.take(HOLDER_BYTES_MAX).read_to_string(&mut holder);
    let holder = match read {
        Ok(_) if !holder.trim().is_empty() => holder.trim().to_owned(),
        _ => "another process".to_owned(),
    };
    Error::Locked { path, holder }
}

impl Disk for LocalDisk {
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.path(dir))? {
            // A name that is not text is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_dir_all(&self, dir: &str) -> io::Result<()> {
        self.changing()?;
        fs::create_dir_all(self.path(dir))
    }

    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.changing()?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        Ok(Arc::new(LocalFile(options.open(self.path(path))?)))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(self.writable);
        Ok(Arc::new(LocalFile(options.open(self.path(path))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.changing()?;
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.changing()?;
        fs::remove_file(self.path(path))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.changing()?;
        File::open(self.path(dir))?.sync_all()
    }
}

struct LocalFile(File);

impl DiskFile for LocalFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < into.len() {
            match self.0.read_at(&mut into[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}
