//! A disk that lies about syncing: the planted fault by which dots are used twice.
//!
//! Everything else it hands to the disk in memory, whose crashes then take what was said to be
//! safe.

use std::sync::Arc;

use linckia_log::{Disk, MemoryDisk};

/// Says it synced and did not.
pub(crate) struct Lying(pub(crate) Arc<MemoryDisk>);

/// A file of it.
struct LyingFile(Arc<dyn linckia_log::DiskFile>);

impl Disk for Lying {
    fn list(&self, dir: &str) -> std::io::Result<Vec<String>> {
        self.0.list(dir)
    }

    fn create_dir_all(&self, dir: &str) -> std::io::Result<()> {
        self.0.create_dir_all(dir)
    }

    fn create(&self, path: &str) -> std::io::Result<Arc<dyn linckia_log::DiskFile>> {
        let file = self.0.create(path)?;
        Ok(if path.ends_with(".segment") { Arc::new(LyingFile(file)) } else { file })
    }

    fn open(&self, path: &str) -> std::io::Result<Arc<dyn linckia_log::DiskFile>> {
        let file = self.0.open(path)?;
        Ok(if path.ends_with(".segment") { Arc::new(LyingFile(file)) } else { file })
    }

    fn rename(&self, from: &str, to: &str) -> std::io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &str) -> std::io::Result<()> {
        self.0.remove(path)
    }

    fn sync_dir(&self, dir: &str) -> std::io::Result<()> {
        self.0.sync_dir(dir)
    }
}

impl linckia_log::DiskFile for LyingFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<usize> {
        self.0.read_at(offset, into)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        Ok(())
    }

    fn set_len(&self, length: u64) -> std::io::Result<()> {
        self.0.set_len(length)
    }

    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }
}
