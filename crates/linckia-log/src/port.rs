//! The disk as the log sees it. The real one is [`LocalDisk`](crate::LocalDisk), the simulator's is
//! [`MemoryDisk`](crate::MemoryDisk); `contract.rs` holds both to what stands here. What always
//! holds: nothing is promised to survive a crash before the matching sync returned `Ok`, and after
//! a sync that failed nothing written since the one before is promised, ever.

use std::io;
use std::sync::Arc;

/// One directory tree. Paths are relative, `/`-separated, without `.` and `..`; `""` is the root.
///
/// Names and contents are durable separately: a created, renamed or removed name survives a crash
/// once [`sync_dir`](Disk::sync_dir) of its directory returned, a file's bytes once
/// [`sync_data`](DiskFile::sync_data) returned. Until then a crash may leave either state, in any
/// combination with other unsynced changes.
pub trait Disk: Send + Sync {
    /// Names in a directory, sorted. `NotFound` if there is none.
    ///
    /// # Errors
    /// What the disk says.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;

    /// Makes a directory and its parents; no error if it exists. Durable once each parent is
    /// synced.
    ///
    /// # Errors
    /// What the disk says.
    fn create_dir_all(&self, dir: &str) -> io::Result<()>;

    /// A new, empty file for reading and writing. One of that name is emptied.
    ///
    /// # Errors
    /// What the disk says.
    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// An existing file for reading and writing. `NotFound` if there is none.
    ///
    /// # Errors
    /// What the disk says.
    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name in the same directory, atomically, replacing what had it.
    ///
    /// # Errors
    /// What the disk says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file's name. Handles that are open keep working.
    ///
    /// # Errors
    /// What the disk says.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Makes all changes of names in this directory durable.
    ///
    /// # Errors
    /// What the disk says.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;
}

/// One open file. Calls may come from several threads; writes never overlap reads of the same
/// bytes, because only durable bytes are read.
pub trait DiskFile: Send + Sync {
    /// Writes all of `bytes` at `offset`, extending the file if needed.
    ///
    /// # Errors
    /// What the disk says; then any part of the bytes may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Fills `into` from `offset` and says how much was there: fewer bytes only at the end.
    ///
    /// # Errors
    /// What the disk says.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Makes all bytes written so far, and the length that is needed to read them, durable.
    ///
    /// # Errors
    /// What the disk says. The call must not be repeated in the hope of a better answer.
    fn sync_data(&self) -> io::Result<()>;

    /// Sets the length; new bytes are zero.
    ///
    /// # Errors
    /// What the disk says.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// The length.
    ///
    /// # Errors
    /// What the disk says.
    fn len(&self) -> io::Result<u64>;

    /// Whether the length is 0.
    ///
    /// # Errors
    /// What the disk says.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}
