//! The simulator's disk: names and bytes in memory, with what a crash would leave of each. No
//! system call, no clock, no randomness of its own. What always holds: what was synced survives
//! every crash; of the rest a crash keeps any part (whole writes, beginnings of writes, single
//! sectors, names in any combination), as the caller's numbers decide, so that a missing sync shows
//! in some seed; handles from before a crash no longer reach the disk.
//!
//! A failed sync of a file drops what it should have written, as Linux does: the bytes stay
//! readable until the crash, and no later sync writes them. Changes of names stay pending.

mod file;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::port::{Disk, DiskFile};
use file::Inode;

/// What has a name.
#[derive(Clone)]
enum Node {
    Dir,
    File(Arc<Inode>),
}

/// A change of names that is not durable yet.
enum Change {
    Add(String, Node),
    Rename(String, String, Node),
    Remove(String),
}

impl Change {
    fn path(&self) -> &str {
        match self {
            Change::Add(path, _) | Change::Rename(path, _, _) | Change::Remove(path) => path,
        }
    }

    fn apply(self, names: &mut BTreeMap<String, Node>) {
        match self {
            Change::Add(path, node) => {
                names.insert(path, node);
            }
            Change::Rename(from, to, node) => {
                names.remove(&from);
                names.insert(to, node);
            }
            Change::Remove(path) => {
                names.remove(&path);
            }
        }
    }
}

#[derive(Default)]
struct Names {
    now: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    pending: Vec<Change>,
}

/// Faults that are armed, shared with every file.
#[derive(Default)]
pub(crate) struct Faults {
    /// Counts down to the write or sync that fails; 0 is off.
    write: AtomicU64,
    sync: AtomicU64,
    /// Bytes that files may still grow by, if bounded.
    room: Mutex<Option<u64>>,
}

impl Faults {
    /// Whether this call is the one that fails.
    fn strikes(countdown: &AtomicU64) -> bool {
        // The common case costs one load.
        countdown.load(Ordering::Relaxed) != 0 && countdown.fetch_sub(1, Ordering::Relaxed) == 1
    }

    fn on_write(&self) -> bool {
        Faults::strikes(&self.write)
    }

    fn on_sync(&self) -> bool {
        Faults::strikes(&self.sync)
    }

    /// Takes room for a file that grows.
    fn grow(&self, bytes: u64) -> io::Result<()> {
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *room {
            None => Ok(()),
            Some(left) if *left >= bytes => {
                *left -= bytes;
                Ok(())
            }
            Some(_) => Err(io::ErrorKind::StorageFull.into()),
        }
    }
}

/// A disk in memory that can crash.
#[derive(Default)]
pub struct MemoryDisk {
    names: Mutex<Names>,
    faults: Arc<Faults>,
}

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        MemoryDisk::default()
    }

    /// The machine stops. What was not synced is kept or lost as `random` says, and armed faults
    /// are disarmed. Whoever uses the disk opens everything anew.
    pub fn crash(&self, random: &mut dyn FnMut() -> u64) {
        let mut names = self.names();
        let Names { durable, pending, .. } = &mut *names;
        for change in pending.drain(..) {
            if random() & 1 == 0 {
                change.apply(durable);
            }
        }
        let mut left: BTreeMap<String, Node> = BTreeMap::new();
        for (path, node) in std::mem::take(&mut names.durable) {
            // A name in a directory whose own name was lost is lost with it.
            if !parent(&path).is_empty() && !left.contains_key(parent(&path)) {
                continue;
            }
            let node = match node {
                Node::Dir => Node::Dir,
                Node::File(inode) => Node::File(Arc::new(inode.after_crash(random))),
            };
            left.insert(path, node);
        }
        names.now = left.clone();
        names.durable = left;
        self.faults.write.store(0, Ordering::Relaxed);
        self.faults.sync.store(0, Ordering::Relaxed);
    }

    /// The nth write from now fails, after part of it was written. 0 disarms.
    pub fn fail_write(&self, nth: u64) {
        self.faults.write.store(nth, Ordering::Relaxed);
    }

    /// The nth sync from now fails, of a file or a directory. 0 disarms.
    pub fn fail_sync(&self, nth: u64) {
        self.faults.sync.store(nth, Ordering::Relaxed);
    }

    /// Bounds by how much all files together may still grow.
    pub fn set_room(&self, bytes: Option<u64>) {
        *self.faults.room.lock().unwrap_or_else(PoisonError::into_inner) = bytes;
    }

    /// Changes bits of one byte, durably, behind everybody's back. False if it does not exist.
    pub fn flip(&self, path: &str, offset: u64, mask: u8) -> bool {
        match self.names().now.get(path) {
            Some(Node::File(inode)) => inode.flip(offset, mask),
            _ => false,
        }
    }

    /// Every file's path and length, sorted.
    #[must_use]
    pub fn files(&self) -> Vec<(String, u64)> {
        let names = self.names();
        let files = names.now.iter().filter_map(|(path, node)| match node {
            Node::Dir => None,
            Node::File(inode) => Some((path.clone(), inode.length())),
        });
        files.collect()
    }

    /// A second disk with the same durable content, as if this one had crashed and kept nothing
    /// that was not synced.
    #[must_use]
    pub fn durable_copy(&self) -> MemoryDisk {
        let copy = MemoryDisk::new();
        let names = self.names();
        let faults = &copy.faults;
        let durable: BTreeMap<String, Node> = names
            .durable
            .iter()
            .map(|(path, node)| {
                let node = match node {
                    Node::Dir => Node::Dir,
                    Node::File(inode) => Node::File(Arc::new(inode.durable_copy(faults))),
                };
                (path.clone(), node)
            })
            .collect();
        let all = Names { now: durable.clone(), durable, pending: Vec::new() };
        *copy.names() = all;
        drop(names);
        copy
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        // Nothing panics while it is held; a poisoned lock is a caller's panic elsewhere.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

impl Names {
    fn need_dir(&self, dir: &str) -> io::Result<()> {
        match self.now.get(dir) {
            _ if dir.is_empty() => Ok(()),
            Some(Node::Dir) => Ok(()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn add(&mut self, path: &str, node: Node) {
        self.now.insert(path.to_owned(), node.clone());
        self.pending.push(Change::Add(path.to_owned(), node));
    }
}

impl Disk for MemoryDisk {
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let names = self.names();
        names.need_dir(dir)?;
        let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let below = names.now.range(prefix.clone()..).map(|(path, _)| path);
        Ok(below
            .map_while(|path| path.strip_prefix(&prefix))
            .filter(|name| !name.contains('/'))
            .map(str::to_owned)
            .collect())
    }

    fn create_dir_all(&self, dir: &str) -> io::Result<()> {
        let mut names = self.names();
        let ends = dir.match_indices('/').map(|(at, _)| at).chain([dir.len()]);
        for end in ends {
            match names.now.get(&dir[..end]) {
                Some(Node::Dir) => {}
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => names.add(&dir[..end], Node::Dir),
            }
        }
        Ok(())
    }

    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut names = self.names();
        names.need_dir(parent(path))?;
        if let Some(Node::File(inode)) = names.now.get(path) {
            inode.set_len(0)?;
            let inode: Arc<dyn DiskFile> = Arc::<Inode>::clone(inode);
            return Ok(inode);
        }
        let inode = Arc::new(Inode::new(Arc::clone(&self.faults)));
        names.add(path, Node::File(Arc::clone(&inode)));
        Ok(inode)
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        match self.names().now.get(path) {
            Some(Node::File(inode)) => {
                let inode: Arc<dyn DiskFile> = Arc::<Inode>::clone(inode);
                Ok(inode)
            }
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut names = self.names();
        if parent(from) != parent(to) {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        let node = names.now.remove(from).ok_or(io::ErrorKind::NotFound)?;
        names.now.insert(to.to_owned(), node.clone());
        names.pending.push(Change::Rename(from.to_owned(), to.to_owned(), node));
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut names = self.names();
        match names.now.get(path) {
            Some(Node::File(inode)) => inode.release()?,
            _ => return Err(io::ErrorKind::NotFound.into()),
        }
        names.now.remove(path);
        names.pending.push(Change::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let mut names = self.names();
        names.need_dir(dir)?;
        if self.faults.on_sync() {
            return Err(io::Error::other("injected: sync failed"));
        }
        let Names { durable, pending, .. } = &mut *names;
        for change in std::mem::take(pending) {
            if parent(change.path()) == dir {
                change.apply(durable);
            } else {
                pending.push(change);
            }
        }
        Ok(())
    }
}
