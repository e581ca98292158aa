//! One segment file as writer and readers share it: where it is, how its bytes are checked, and a
//! sparse index from sequence to offset. What always holds: readers touch only records that are
//! durable, so they need no lock against the writer; the index is a hint that only ever grows, and
//! every record found through it is checked again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::chain::Chain;
use crate::error::{Error, Result};
use crate::format::{
    self, DATA_START, KIND_EVENT, LOCAL_HEADER, RECORD_HEADER, RecordHeader, SegmentHeader,
};
use crate::port::DiskFile;
use crate::record::Batch;

/// An index entry at least every so many records or bytes: a point read checks at most this much
/// before its record, and the index of a 64 MiB segment stays below 32 KiB.
const INDEX_RECORDS: u64 = 64;
const INDEX_BYTES: u64 = 16 * 1024;
/// One read from the disk, unless a record is larger.
const CHUNK_MIN: u64 = 4 * 1024;
const CHUNK_MAX: u64 = 256 * 1024;

pub(crate) struct Segment {
    pub(crate) path: String,
    pub(crate) first: u64,
    pub(crate) capacity: u64,
    /// The chain before its first record.
    pub(crate) chain: Chain,
    /// The start value of its checksums.
    pub(crate) seed: u32,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Where the records end that were handed to the disk; `data_end` where that is not known.
    written: AtomicU64,
    /// (sequence − first, offset), both growing.
    index: Mutex<Vec<(u32, u32)>>,
}

/// What one read may return.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) bytes: u64,
    pub(crate) records: usize,
}

impl Limits {
    /// Whether a record of this many wire bytes may still be added. The first always may.
    fn allow(self, batch: &Batch, wire_bytes: u64) -> bool {
        batch.is_empty()
            || (batch.len() < self.records
                && batch.wire_bytes.saturating_add(wire_bytes) <= self.bytes)
    }

    pub(crate) fn reached(self, batch: &Batch) -> bool {
        !batch.is_empty() && (batch.len() >= self.records || batch.wire_bytes >= self.bytes)
    }
}

/// A pass over the records of a segment: where it is, and what it still wants.
struct Pass {
    /// The sequence of the next event at `offset`.
    sequence: u64,
    offset: u64,
    /// The least that the next chunk must hold.
    needed: u64,
    noted: (u64, u64),
    from: u64,
    last: u64,
    full: bool,
}

impl Segment {
    pub(crate) fn new(path: String, header: &SegmentHeader, file: Arc<dyn DiskFile>) -> Self {
        Segment {
            path,
            first: header.first,
            capacity: header.capacity,
            chain: header.chain,
            seed: format::seed(&header.salt),
            file,
            written: AtomicU64::new(format::data_end(header.capacity)),
            index: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    pub(crate) fn set_written(&self, offset: u64) {
        self.written.store(offset, Ordering::Release);
    }

    fn index(&self) -> MutexGuard<'_, Vec<(u32, u32)>> {
        // Entries are pushed whole, so a panic elsewhere cannot have left a half one.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers where a record stands, if it is far enough beyond the last one remembered.
    pub(crate) fn note(&self, sequence: u64, offset: u64) {
        let entry = (sequence.saturating_sub(self.first) as u32, offset as u32);
        let mut index = self.index();
        let last = index.last().copied().unwrap_or((0, DATA_START as u32));
        if due((u64::from(last.0), u64::from(last.1)), (u64::from(entry.0), u64::from(entry.1))) {
            index.push(entry);
        }
    }

    /// The closest known record at or before `sequence`.
    fn floor(&self, sequence: u64) -> (u64, u64) {
        let wanted = sequence.saturating_sub(self.first) as u32;
        let index = self.index();
        match index.partition_point(|entry| entry.0 <= wanted).checked_sub(1) {
            Some(at) => (self.first + u64::from(index[at].0), u64::from(index[at].1)),
            None => (self.first, DATA_START),
        }
    }

    /// Adds the records `from ..= last`, all of them durable and in this segment, to the batch, as
    /// far as the limits go. Returns the next sequence.
    pub(crate) fn read(
        &self,
        from: u64,
        last: u64,
        limits: Limits,
        batch: &mut Batch,
    ) -> Result<u64> {
        let (sequence, offset) = self.floor(from);
        let mut pass = Pass {
            sequence,
            offset,
            needed: RECORD_HEADER as u64,
            noted: (sequence, offset),
            from,
            last,
            full: false,
        };
        while pass.sequence <= last && !pass.full {
            let start = batch.bytes.len();
            self.load(&pass, limits, batch)?;
            let consumed = self.take(&mut pass, start, limits, batch)?;
            batch.bytes.truncate(start + consumed);
        }
        Ok(pass.sequence.max(from))
    }

    /// Reads the next chunk behind what the batch holds.
    fn load(&self, pass: &Pass, limits: Limits, batch: &mut Batch) -> Result<()> {
        let start = batch.bytes.len();
        let room = limits.bytes.saturating_sub(batch.wire_bytes).saturating_add(CHUNK_MIN);
        // Behind the wanted records at most one index step lies ahead of them.
        let wanted = if limits.records == 1 { INDEX_BYTES } else { room };
        let end = self.written.load(Ordering::Acquire).min(format::data_end(self.capacity));
        let length = wanted
            .clamp(CHUNK_MIN, CHUNK_MAX)
            .max(pass.needed)
            .min(end.saturating_sub(pass.offset));
        if length < pass.needed {
            return Err(self.corrupt(pass.offset, pass.sequence));
        }
        batch.bytes.resize(start + length as usize, 0);
        let read = self
            .file
            .read_at(pass.offset, &mut batch.bytes[start..])
            .map_err(Error::io("read", &self.path))?;
        batch.bytes.truncate(start + read);
        if (read as u64) < pass.needed {
            return Err(self.corrupt(pass.offset, pass.sequence));
        }
        Ok(())
    }

    /// Takes the whole records of a chunk. Returns how many of its bytes are done with.
    fn take(
        &self,
        pass: &mut Pass,
        start: usize,
        limits: Limits,
        batch: &mut Batch,
    ) -> Result<usize> {
        let mut at = start;
        pass.needed = RECORD_HEADER as u64;
        while pass.sequence <= pass.last {
            let Some(bytes) = batch.bytes.get(at..at + RECORD_HEADER) else {
                break;
            };
            let header = RecordHeader::decode(self.seed, bytes)
                .ok_or_else(|| self.corrupt(pass.offset, pass.sequence))?;
            let Some(whole) = batch.bytes.get(at..at + header.bytes() as usize) else {
                pass.needed = header.bytes();
                break;
            };
            if header.kind != KIND_EVENT || header.sequence != pass.sequence {
                return Err(self.corrupt(pass.offset, pass.sequence));
            }
            if pass.sequence >= pass.from {
                let wire_bytes = (format::WIRE_HEADER + header.length as usize) as u32;
                if !limits.allow(batch, u64::from(wire_bytes)) {
                    pass.full = true;
                    break;
                }
                if format::crc(self.seed, &whole[RECORD_HEADER..]) != header.payload_crc {
                    return Err(self.corrupt(pass.offset, pass.sequence));
                }
                batch.spans.push(((at + LOCAL_HEADER) as u32, wire_bytes));
                batch.wire_bytes += u64::from(wire_bytes);
            }
            let here = (pass.sequence, pass.offset);
            if due(pass.noted, here) {
                self.note(here.0, here.1);
                pass.noted = here;
            }
            pass.sequence += 1;
            at += header.bytes() as usize;
            pass.offset += header.bytes();
        }
        Ok(at - start)
    }

    fn corrupt(&self, offset: u64, sequence: u64) -> Error {
        Error::Corrupt {
            file: self.path.clone(),
            offset,
            sequence,
            advice: "a durable record does not verify; docs/operate.md says how to go on",
        }
    }
}

/// Whether an index entry is due, so long after the last one.
pub(crate) fn due(last: (u64, u64), here: (u64, u64)) -> bool {
    here.0 > last.0
        && here.1 > last.1
        && (here.0 - last.0 >= INDEX_RECORDS || here.1 - last.1 >= INDEX_BYTES)
}
