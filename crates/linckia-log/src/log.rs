//! The writing side of one log: encodes records into a buffer, chains them, and hands the buffer to
//! the disk. `logs.rs` owns one per origin and decides about room and poison. What always holds:
//! `durable ≤ complete ≤ tail`; the buffer belongs at `written` of the active segment; whatever was
//! written since the last begun sync is in `dirty`, oldest segment first.

use std::io;
use std::sync::Arc;

use crate::chain::{self, Chain, Secret};
use crate::error::{Error, Result};
use crate::format::{
    self, FLAG_MORE, KIND_EVENT, KIND_MARK, RECORD_HEADER, RecordHeader, SEGMENT_HEADER,
    SegmentHeader,
};
use crate::port::{Disk, DiskFile};
use crate::reader::Shared;
use crate::record::Record;
use crate::segment::Segment;

/// The next segment, made ahead of need.
pub(crate) enum Spare {
    None,
    /// A job is making it; its bytes are counted.
    Making(u64),
    Ready(Arc<dyn DiskFile>, u64),
}

impl Spare {
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Spare::None => 0,
            Spare::Making(bytes) | Spare::Ready(_, bytes) => *bytes,
        }
    }
}

pub(crate) struct OriginLog {
    pub(crate) origin: Arc<str>,
    pub(crate) dir: String,
    pub(crate) shared: Arc<Shared>,
    pub(crate) secret: Secret,
    pub(crate) active: Arc<Segment>,
    /// Where the buffer goes.
    pub(crate) written: u64,
    pub(crate) buffer: Vec<u8>,
    /// The last sequence appended, and the chain after it.
    pub(crate) tail: u64,
    pub(crate) chain: Chain,
    /// The last sequence that ends a group.
    pub(crate) complete: u64,
    pub(crate) durable: u64,
    /// The highest durable sequence that something written states.
    pub(crate) stated: u64,
    pub(crate) dirty: Vec<Arc<Segment>>,
    pub(crate) dir_dirty: bool,
    pub(crate) in_flight: bool,
    pub(crate) spare: Spare,
    /// Bytes of all its segments.
    pub(crate) allocated: u64,
}

impl OriginLog {
    pub(crate) fn expect_next(&self, sequence: u64) -> Result<()> {
        if sequence == self.tail + 1 {
            return Ok(());
        }
        Err(Error::OutOfOrder {
            origin: self.origin.to_string(),
            expected: self.tail + 1,
            found: sequence,
        })
    }

    /// Whether records of so many bytes fit the active segment.
    pub(crate) fn fits(&self, bytes: u64) -> bool {
        let end = format::data_end(self.active.capacity);
        self.written + self.buffer.len() as u64 + bytes <= end
    }

    /// Appends an event born here. The caller has made room and checked the sequence.
    pub(crate) fn push_own(&mut self, payload: &[u8], more: bool) {
        let sequence = self.tail + 1;
        let flags = if more { FLAG_MORE } else { 0 };
        let salt = self.secret.salt(sequence);
        let commitment = chain::commitment(KIND_EVENT, flags, sequence, &salt, payload);
        let chain = chain::chain_after(&self.chain, &commitment);
        self.push(
            RecordHeader {
                payload_crc: 0,
                durable: self.durable,
                length: 0,
                kind: KIND_EVENT,
                flags,
                sequence,
                salt,
                chain,
            },
            payload,
        );
    }

    /// Appends an event born elsewhere, if it continues the chain held here.
    pub(crate) fn push_mirror(&mut self, record: &Record<'_>) {
        self.push(
            RecordHeader {
                payload_crc: 0,
                durable: self.durable,
                length: 0,
                kind: KIND_EVENT,
                flags: record.flags(),
                sequence: record.sequence(),
                salt: record.salt(),
                chain: record.chain(),
            },
            record.payload(),
        );
    }

    /// More than half through its segment, and nothing is made for what follows.
    pub(crate) fn wants_spare(&self) -> bool {
        matches!(self.spare, Spare::None) && self.written > self.active.capacity / 2
    }

    pub(crate) fn check_chain(&self, record: &Record<'_>) -> Result<()> {
        if chain::chain_after(&self.chain, &record.commitment()) == record.chain() {
            return Ok(());
        }
        Err(Error::ChainBroken { origin: self.origin.to_string(), sequence: record.sequence() })
    }

    fn push(&mut self, header: RecordHeader, payload: &[u8]) {
        debug_assert!(
            self.fits(format::record_bytes(payload.len())),
            "room is made before a record is pushed"
        );
        let offset = self.written + self.buffer.len() as u64;
        self.active.note(header.sequence, offset);
        header.encode(self.active.seed, payload, &mut self.buffer);
        self.tail = header.sequence;
        self.chain = header.chain;
        if !header.more() {
            self.complete = header.sequence;
        }
        self.stated = self.stated.max(header.durable);
    }

    /// States in the mark of the active segment what is durable, where nothing written says it yet
    /// and no later record will soon. Returns whether it did.
    pub(crate) fn write_mark(&mut self) -> Result<bool> {
        if self.tail != self.durable || self.stated >= self.durable {
            return Ok(false);
        }
        let mark = RecordHeader {
            payload_crc: 0,
            durable: self.durable,
            length: 0,
            kind: KIND_MARK,
            flags: 0,
            sequence: self.tail,
            salt: [0; 16],
            chain: self.chain,
        };
        let mut bytes = Vec::with_capacity(RECORD_HEADER);
        mark.encode(self.active.seed, &[], &mut bytes);
        self.active
            .file
            .write_at(format::data_end(self.active.capacity), &bytes)
            .map_err(Error::io("write", &self.active.path))?;
        self.stated = self.durable;
        self.soil();
        Ok(true)
    }

    /// Notes that the active segment was written.
    fn soil(&mut self) {
        if self.dirty.last().is_none_or(|last| !Arc::ptr_eq(last, &self.active)) {
            self.dirty.push(Arc::clone(&self.active));
        }
    }

    /// Hands the buffer to the disk.
    pub(crate) fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.active
            .file
            .write_at(self.written, &self.buffer)
            .map_err(Error::io("write", &self.active.path))?;
        self.written += self.buffer.len() as u64;
        self.active.set_written(self.written);
        self.buffer.clear();
        self.soil();
        Ok(())
    }

    /// Makes a new, empty segment the active one. The buffer is flushed.
    pub(crate) fn enter(&mut self, segment: Arc<Segment>) {
        debug_assert!(self.buffer.is_empty(), "the old segment's records are written to it");
        self.shared.with_segments(|segments| segments.push(Arc::clone(&segment)));
        self.allocated += segment.capacity;
        self.written = format::DATA_START;
        self.dirty.push(Arc::clone(&segment));
        self.dir_dirty = true;
        self.active = segment;
    }

    /// True if the active segment holds no record.
    pub(crate) fn is_unused(&self) -> bool {
        self.active.first == self.tail + 1
    }

    /// The header of the active segment, which holds no record, at another size.
    pub(crate) fn header_again(&self, capacity: u64) -> SegmentHeader {
        let before = self.shared.with_segments(|segments| match &segments[..] {
            [.., before, _] => before.first,
            _ => 0,
        });
        SegmentHeader { previous: before, ..self.next_header(capacity) }
    }

    /// The header of a segment that begins behind the tail.
    pub(crate) fn next_header(&self, capacity: u64) -> SegmentHeader {
        SegmentHeader {
            origin: self.origin.to_string(),
            first: self.tail + 1,
            previous: self.active.first,
            durable: self.durable,
            capacity,
            salt: self.secret.branch("segment", self.tail + 1).salt(0),
            chain: self.chain,
        }
    }
}

pub(crate) fn segment_path(dir: &str, first: u64) -> String {
    format!("{dir}/{first:020}.segment")
}

pub(crate) fn spare_path(dir: &str) -> String {
    format!("{dir}/spare")
}

/// Creates a file of zeros that are really there, so that a later sync writes data only.
pub(crate) fn allocate(disk: &dyn Disk, path: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
    let file = disk.create(path)?;
    zero(&*file, 0, bytes)?;
    Ok(file)
}

/// Writes zeros from `from` up to `to`.
pub(crate) fn zero(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    let mut at = from;
    while at < to {
        let length = (to - at).min(ZEROS.len() as u64);
        file.write_at(at, &ZEROS[..length as usize])?;
        at += length;
    }
    Ok(())
}

/// Writes the header at both ends of a file that has the capacity it names.
pub(crate) fn write_headers(file: &dyn DiskFile, header: &SegmentHeader) -> io::Result<()> {
    let bytes = header.encode();
    file.write_at(0, &bytes)?;
    write_header_behind(file, header)
}

/// Writes the copy of the header that stands at the end.
pub(crate) fn write_header_behind(file: &dyn DiskFile, header: &SegmentHeader) -> io::Result<()> {
    file.write_at(header.capacity - SEGMENT_HEADER as u64, &header.encode())
}

/// Whether the disk refused for want of room, and not because it failed.
pub(crate) fn no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
