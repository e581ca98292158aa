//! One file of the memory disk: its bytes as they are, as they are durable, and the ranges that lie
//! between. What always holds: a sync costs what was written since the last one, and a crash
//! decides about each written range by itself.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Faults;
use crate::port::DiskFile;

/// What a device writes as a whole or not at all.
const SECTOR: usize = 512;

#[derive(Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Ranges of `now` that are not durable.
    pending: Vec<(usize, usize)>,
    /// The length was set, and that is not durable.
    resized: bool,
}

/// The file behind any number of handles.
pub(super) struct Inode {
    content: Mutex<Content>,
    faults: Arc<Faults>,
}

impl Inode {
    pub(super) fn new(faults: Arc<Faults>) -> Self {
        Inode { content: Mutex::default(), faults }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn length(&self) -> u64 {
        self.content().now.len() as u64
    }

    pub(super) fn flip(&self, offset: u64, mask: u8) -> bool {
        let mut content = self.content();
        let at = offset as usize;
        if at >= content.now.len() {
            return false;
        }
        content.now[at] ^= mask;
        if at < content.durable.len() {
            content.durable[at] ^= mask;
        }
        true
    }

    /// Gives its room back, when its name goes.
    pub(super) fn release(&self) -> io::Result<()> {
        let mut room = self.faults.room.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(left) = &mut *room {
            *left += self.length();
        }
        Ok(())
    }

    /// The file as the machine finds it again.
    pub(super) fn after_crash(&self, random: &mut dyn FnMut() -> u64) -> Inode {
        let mut content = self.content();
        let Content { now, durable, pending, resized } = &mut *content;
        if *resized && random() & 1 == 0 {
            durable.resize(now.len(), 0);
        }
        for (start, end) in pending.drain(..) {
            let end = end.min(now.len());
            if start < end {
                keep_some(&now[start..end], start, durable, random);
            }
        }
        let left = std::mem::take(durable);
        let content = Content { now: left.clone(), durable: left, ..Content::default() };
        Inode { content: Mutex::new(content), faults: Arc::clone(&self.faults) }
    }

    pub(super) fn durable_copy(&self, faults: &Arc<Faults>) -> Inode {
        let durable = self.content().durable.clone();
        let content = Content { now: durable.clone(), durable, ..Content::default() };
        Inode { content: Mutex::new(content), faults: Arc::clone(faults) }
    }
}

/// Of one unsynced write: nothing, all, a beginning, or some sectors.
fn keep_some(written: &[u8], start: usize, durable: &mut Vec<u8>, random: &mut dyn FnMut() -> u64) {
    match random() % 4 {
        0 => {}
        1 => put(durable, start, written),
        2 => {
            let length = random() as usize % (written.len() + 1);
            put(durable, start, &written[..length]);
        }
        _ => {
            // One draw decides about 64 sectors, so that a large write stays cheap.
            let mut at = 0;
            let mut coins = random();
            while at < written.len() {
                let next = (start + at + 1).next_multiple_of(SECTOR) - start;
                let next = next.min(written.len());
                if coins & 1 == 0 {
                    put(durable, start + at, &written[at..next]);
                }
                coins = coins.rotate_right(1);
                at = next;
            }
        }
    }
}

fn put(into: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    if into.len() < at + bytes.len() {
        into.resize(at + bytes.len(), 0);
    }
    into[at..at + bytes.len()].copy_from_slice(bytes);
}

impl DiskFile for Inode {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let failed = self.faults.on_write();
        let mut content = self.content();
        let start = offset as usize;
        let length = if failed { bytes.len() / 2 } else { bytes.len() };
        let end = start + length;
        if end > content.now.len() {
            self.faults.grow((end - content.now.len()) as u64)?;
        }
        put(&mut content.now, start, &bytes[..length]);
        match content.pending.last_mut() {
            // Zeroing a new file is one write in many pieces.
            Some(last) if last.1 == start && start.is_multiple_of(4096) => last.1 = end,
            _ => content.pending.push((start, end)),
        }
        if failed { Err(io::Error::other("injected: write failed")) } else { Ok(()) }
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let content = self.content();
        let from = content.now.get(offset as usize..).unwrap_or_default();
        let length = from.len().min(into.len());
        into[..length].copy_from_slice(&from[..length]);
        Ok(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        let failed = self.faults.on_sync();
        let mut content = self.content();
        let Content { now, durable, pending, resized } = &mut *content;
        if failed {
            pending.clear();
            *resized = false;
            return Err(io::Error::other("injected: sync failed"));
        }
        if *resized {
            durable.resize(now.len(), 0);
            *resized = false;
        }
        for (start, end) in pending.drain(..) {
            let end = end.min(now.len());
            if start < end {
                put(durable, start, &now[start..end]);
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut content = self.content();
        let grown = length.saturating_sub(content.now.len() as u64);
        self.faults.grow(grown)?;
        content.now.resize(length as usize, 0);
        content.resized = true;
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.length())
    }
}
