//! The durable ceiling of this region's hybrid clock: one small file, written in place as part of a
//! sync. A heartbeat takes a time without taking a sequence, so the log alone would not remember
//! it. What always holds: a durable value is never forgotten and never goes back. Values alternate
//! between two slots, so a torn write leaves the one before; each slot is written twice, in
//! different pages, so that one damaged byte is not mistaken for a torn write.

use std::io;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::{array_at, crc, u32_at, u64_at};
use crate::logs::LOGS_DIR;
use crate::port::{Disk, DiskFile};

pub(crate) const FILE: &str = "clock";
const FILE_NEW: &str = "clock.new";
const TAG: &[u8; 8] = b"lnkclk\0\x01";
const PAGE: u64 = 4096;
const COPIES: u64 = 4;
const COPY_BYTES: usize = 28;

pub(crate) struct Clock {
    file: Arc<dyn DiskFile>,
    /// Of the value written last; it chooses the slot.
    counter: u64,
    wanted: u64,
    written: u64,
    durable: u64,
    in_flight: bool,
}

impl Clock {
    /// Opens the file, or makes one in a directory that has no log yet.
    pub(crate) fn open(disk: &dyn Disk) -> Result<Clock> {
        let failed = |source| Error::io("open", FILE)(source);
        let file = match disk.open(FILE) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !disk.list(LOGS_DIR).map_err(failed)?.is_empty() {
                    return Err(corrupt("the file is missing though there are logs"));
                }
                create(disk).map_err(failed)?
            }
            Err(error) => return Err(failed(error)),
        };
        let mut newest: Option<(u64, u64)> = None;
        for copy in 0..COPIES {
            let mut bytes = [0; COPY_BYTES];
            let read = file.read_at(copy * PAGE, &mut bytes).map_err(failed)?;
            newest = newest.max(decode(&bytes[..read]));
        }
        let Some((counter, hlc)) = newest else {
            return Err(corrupt("no copy verifies"));
        };
        // What is served must be durable, not merely in a cache that survived the process.
        write(&*file, counter, hlc).and_then(|()| file.sync_data()).map_err(failed)?;
        Ok(Clock { file, counter, wanted: hlc, written: hlc, durable: hlc, in_flight: false })
    }

    pub(crate) fn put(&mut self, hlc: u64) {
        self.wanted = self.wanted.max(hlc);
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable
    }

    pub(crate) fn in_flight(&self) -> bool {
        self.in_flight
    }

    /// Writes the wanted value, if it is not written, and gives what is to be synced.
    pub(crate) fn begin(&mut self) -> Result<Option<(Arc<dyn DiskFile>, u64)>> {
        if self.in_flight || self.wanted == self.written {
            return Ok(None);
        }
        self.counter += 1;
        write(&*self.file, self.counter, self.wanted).map_err(Error::io("write", FILE))?;
        self.written = self.wanted;
        self.in_flight = true;
        Ok(Some((Arc::clone(&self.file), self.written)))
    }

    pub(crate) fn complete(&mut self, hlc: u64) {
        self.in_flight = false;
        self.durable = hlc;
    }
}

fn create(disk: &dyn Disk) -> io::Result<Arc<dyn DiskFile>> {
    let file = disk.create(FILE_NEW)?;
    file.write_at(0, &[0; (PAGE * COPIES) as usize])?;
    write(&*file, 0, 0)?;
    file.sync_data()?;
    disk.rename(FILE_NEW, FILE)?;
    disk.sync_dir("")?;
    Ok(file)
}

fn write(file: &dyn DiskFile, counter: u64, hlc: u64) -> io::Result<()> {
    let mut bytes = [0; COPY_BYTES];
    bytes[..8].copy_from_slice(TAG);
    bytes[8..16].copy_from_slice(&counter.to_le_bytes());
    bytes[16..24].copy_from_slice(&hlc.to_le_bytes());
    let check = crc(0, &bytes[..24]);
    bytes[24..].copy_from_slice(&check.to_le_bytes());
    let slot = counter % 2;
    file.write_at(slot * PAGE, &bytes)?;
    file.write_at((slot + 2) * PAGE, &bytes)
}

fn decode(bytes: &[u8]) -> Option<(u64, u64)> {
    let whole = bytes.len() == COPY_BYTES
        && array_at::<8>(bytes, 0) == *TAG
        && u32_at(bytes, 24) == crc(0, &bytes[..24]);
    whole.then(|| (u64_at(bytes, 8), u64_at(bytes, 16)))
}

fn corrupt(advice: &'static str) -> Error {
    Error::Corrupt { file: FILE.to_owned(), offset: 0, sequence: 0, advice }
}
