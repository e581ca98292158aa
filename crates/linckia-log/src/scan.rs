//! Walking segment files from the disk: shared by recovery, verification and dump. It only reads.
//! What always holds: a file is read through a window of bounded size; a walk stops at the first
//! byte that is not the record that must stand there, and says why; and it checks everything there
//! is to check: both checksums, sequence, salted commitment and chain.

use std::io;
use std::sync::Arc;

use crate::chain::{self, Chain};
use crate::error::{Error, Result};
use crate::format::{
    self, DATA_START, Header, KIND_EVENT, KIND_MARK, RECORD_HEADER, RecordHeader, SEGMENT_HEADER,
    SegmentHeader,
};
use crate::log::segment_path;
use crate::port::{Disk, DiskFile};
use crate::segment::due;

/// Read at once, unless a record is larger.
const WINDOW_BYTES: usize = 256 * 1024;

/// A segment file as it was found.
pub(crate) struct Found {
    pub(crate) path: String,
    /// By its name.
    pub(crate) first: u64,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) length: u64,
    /// `None` if neither copy verifies.
    pub(crate) header: Option<SegmentHeader>,
    /// Both copies verify.
    pub(crate) whole: bool,
    /// What its mark states to be durable, 0 if it has none.
    pub(crate) marked: u64,
}

/// The first sequences of a directory's segments, sorted, and whether there is a spare.
pub(crate) fn list(disk: &dyn Disk, dir: &str) -> Result<(Vec<u64>, bool)> {
    let mut firsts = Vec::new();
    let mut spare = false;
    for name in disk.list(dir).map_err(Error::io("list", dir))? {
        if name == "spare" {
            spare = true;
        } else if let Some(number) = name.strip_suffix(".segment") {
            match number.parse() {
                Ok(first) if number.len() == 20 => firsts.push(first),
                _ => return Err(Error::BadName { name: format!("{dir}/{name}") }),
            }
        }
    }
    firsts.sort_unstable();
    Ok((firsts, spare))
}

/// Opens one segment and reads its header, from whichever end has it.
pub(crate) fn open(disk: &dyn Disk, dir: &str, origin: &str, first: u64) -> Result<Found> {
    let path = segment_path(dir, first);
    let failed = |source| Error::io("read", &path)(source);
    let file = disk.open(&path).map_err(failed)?;
    let length = file.len().map_err(failed)?;
    let front = header_at(&*file, 0).map_err(failed)?;
    let back = match length.checked_sub(SEGMENT_HEADER as u64) {
        Some(offset) => header_at(&*file, offset).map_err(failed)?,
        None => Header::Damaged,
    };
    let whole = front == back && matches!(front, Header::Known(_));
    let header = match (front, back) {
        (Header::Known(header), _) | (Header::Damaged, Header::Known(header)) => Some(header),
        (Header::Foreign(found), _) | (_, Header::Foreign(found)) => {
            return Err(Error::Version { file: path, found, known: format::VERSION });
        }
        (Header::Damaged, Header::Damaged) => None,
    };
    if let Some(header) = &header
        && (header.first != first || header.origin != origin)
    {
        return Err(Error::Corrupt {
            file: path,
            offset: 0,
            sequence: first,
            advice: "the header names another origin or sequence; the file was moved or renamed",
        });
    }
    let marked = match &header {
        Some(header) => marked(&*file, header).map_err(failed)?,
        None => 0,
    };
    Ok(Found { path, first, file, length, header, whole, marked })
}

fn marked(file: &dyn DiskFile, header: &SegmentHeader) -> io::Result<u64> {
    let mut bytes = [0; RECORD_HEADER];
    let read = file.read_at(format::data_end(header.capacity), &mut bytes)?;
    let mark = RecordHeader::decode(format::seed(&header.salt), &bytes[..read]);
    Ok(mark.map_or(0, |mark| if mark.kind == KIND_MARK { mark.durable } else { 0 }))
}

impl Found {
    /// The highest durable sequence that its header or mark states.
    pub(crate) fn stated(&self) -> u64 {
        self.header.as_ref().map_or(0, |header| header.durable.max(self.marked))
    }
}

fn header_at(file: &dyn DiskFile, offset: u64) -> io::Result<Header> {
    let mut bytes = [0; SEGMENT_HEADER];
    if file.read_at(offset, &mut bytes)? < bytes.len() {
        return Ok(Header::Damaged);
    }
    Ok(SegmentHeader::decode(&bytes))
}

/// A position between two records.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) offset: u64,
    pub(crate) sequence: u64,
    pub(crate) chain: Chain,
    /// The highest durable sequence that something before it states.
    pub(crate) stated: u64,
}

/// Why a walk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Nothing but zeros, or too little room for a record, stands there.
    End,
    /// Bytes that do not verify.
    Damaged,
    /// A record that verifies but does not follow the one before: one that was cut off earlier,
    /// by a recovery whose zeros never reached the disk, or an altered one.
    Stray,
}

/// What a walk found.
pub(crate) struct Walk {
    /// Behind the last record.
    pub(crate) at: Point,
    /// Behind the last record that ends a group.
    pub(crate) complete: Option<Point>,
    pub(crate) records: u64,
    pub(crate) payload_bytes: u64,
    pub(crate) stop: Stop,
    /// (sequence, offset) of some records: the segment's index.
    pub(crate) index: Vec<(u64, u64)>,
}

/// One segment being walked. `next` gives records one by one.
pub(crate) struct Walker {
    window: Window,
    seed: u32,
    end: u64,
    pub(crate) walk: Walk,
}

impl Walker {
    pub(crate) fn new(found: &Found, header: &SegmentHeader) -> Walker {
        let start = Point {
            offset: DATA_START,
            sequence: header.first - 1,
            chain: header.chain,
            stated: found.stated(),
        };
        Walker {
            window: Window::new(found),
            seed: format::seed(&header.salt),
            end: format::data_end(header.capacity).min(found.length),
            walk: Walk {
                at: start,
                complete: None,
                records: 0,
                payload_bytes: 0,
                stop: Stop::End,
                index: Vec::new(),
            },
        }
    }

    /// The next record, its offset and payload. `None` at the end; `walk.stop` says which.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, RecordHeader, &[u8])>> {
        let Point { offset, sequence, chain, .. } = self.walk.at;
        let Some(header) = self.header()? else { return Ok(None) };
        let length = header.length as usize;
        let seed = self.seed;
        let Some(bytes) = self.window.bytes(offset, header.bytes() as usize, self.end)? else {
            self.walk.stop = Stop::Damaged;
            return Ok(None);
        };
        if format::crc(seed, &bytes[RECORD_HEADER..]) != header.payload_crc {
            self.walk.stop = Stop::Damaged;
            return Ok(None);
        }
        let payload = &bytes[RECORD_HEADER..RECORD_HEADER + length];
        if !follows(&header, sequence, &chain, payload) {
            self.walk.stop = Stop::Stray;
            return Ok(None);
        }
        self.walk.take(offset, &header);
        Ok(Some((offset, header, payload)))
    }

    fn header(&mut self) -> Result<Option<RecordHeader>> {
        let Some(bytes) = self.window.bytes(self.walk.at.offset, RECORD_HEADER, self.end)? else {
            return Ok(None);
        };
        let header = RecordHeader::decode(self.seed, bytes);
        if header.is_none() && bytes.iter().any(|byte| *byte != 0) {
            self.walk.stop = Stop::Damaged;
        }
        Ok(header)
    }

    pub(crate) fn finish(mut self) -> Result<Walk> {
        while self.next()?.is_some() {}
        Ok(self.walk)
    }
}

impl Walk {
    /// A place at or before the record of this sequence, not far from it.
    pub(crate) fn offset_before(&self, sequence: u64) -> u64 {
        let known = self.index.iter().rfind(|(indexed, _)| *indexed <= sequence);
        known.map_or(DATA_START, |(_, offset)| *offset)
    }

    fn take(&mut self, offset: u64, header: &RecordHeader) {
        self.at.offset = offset + header.bytes();
        self.at.stated = self.at.stated.max(header.durable);
        let here = (header.sequence, offset);
        if self.index.last().is_none_or(|last| due(*last, here)) {
            self.index.push(here);
        }
        self.at.sequence = header.sequence;
        self.at.chain = header.chain;
        self.records += 1;
        self.payload_bytes += u64::from(header.length);
        if !header.more() {
            self.complete = Some(self.at);
        }
    }
}

/// Whether a record that verifies may stand behind `sequence`.
fn follows(header: &RecordHeader, sequence: u64, before: &Chain, payload: &[u8]) -> bool {
    let RecordHeader { kind, flags, salt, .. } = header;
    let commitment = chain::commitment(*kind, *flags, header.sequence, salt, payload);
    header.kind == KIND_EVENT
        && header.sequence == sequence + 1
        && header.chain == chain::chain_after(before, &commitment)
}

/// What stands behind a place where a walk stopped.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Remains {
    /// The highest durable sequence that a surviving record header states.
    pub(crate) stated: u64,
    /// Where the last byte that is not zero ends; 0 if there is none.
    pub(crate) end: u64,
}

/// Looks at every place behind `from` where a record could begin.
pub(crate) fn remains(found: &Found, header: &SegmentHeader, from: u64) -> Result<Remains> {
    let mut window = Window::new(found);
    let seed = format::seed(&header.salt);
    let end = format::data_end(header.capacity).min(found.length);
    let mut remains = Remains::default();
    let mut offset = from;
    while offset < end {
        let length = (end - offset).min(WINDOW_BYTES as u64) as usize;
        let Some(bytes) = window.bytes(offset, length, end)? else { break };
        let last = bytes.len() as u64 == end - offset;
        // A header that begins near the end of a window is looked at in the next.
        let step = if last { length } else { length - RECORD_HEADER };
        for at in (0..step).step_by(8) {
            let word = &bytes[at..bytes.len().min(at + 8)];
            let Some(used) = word.iter().rposition(|byte| *byte != 0) else { continue };
            remains.end = offset + (at + used) as u64 + 1;
            if let Some(record) = RecordHeader::decode(seed, &bytes[at..]) {
                remains.stated = remains.stated.max(record.durable);
            }
        }
        offset += step as u64;
    }
    Ok(remains)
}

/// Writes what stands there once more.
pub(crate) fn write_again(found: &Found, from: u64, to: u64) -> Result<()> {
    let mut window = Window::new(found);
    let mut offset = from;
    while offset < to {
        let length = (to - offset).min(WINDOW_BYTES as u64) as usize;
        let Some(bytes) = window.bytes(offset, length, to)? else { break };
        found.file.write_at(offset, bytes).map_err(Error::io("write", &found.path))?;
        offset += length as u64;
    }
    Ok(())
}

/// A bounded view into a file.
struct Window {
    file: Arc<dyn DiskFile>,
    path: String,
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn new(found: &Found) -> Window {
        Window {
            file: Arc::clone(&found.file),
            path: found.path.clone(),
            start: 0,
            bytes: Vec::new(),
        }
    }

    /// `length` bytes at `offset`; `None` if they do not end before `end`.
    fn bytes(&mut self, offset: u64, length: usize, end: u64) -> Result<Option<&[u8]>> {
        if offset + length as u64 > end {
            return Ok(None);
        }
        let held = self.start + self.bytes.len() as u64;
        if offset < self.start || offset + length as u64 > held {
            let wanted = WINDOW_BYTES.max(length).min((end - offset) as usize);
            self.bytes.resize(wanted, 0);
            let read = self
                .file
                .read_at(offset, &mut self.bytes)
                .map_err(Error::io("read", &self.path))?;
            self.bytes.truncate(read);
            self.start = offset;
            if read < length {
                return Ok(None);
            }
        }
        let from = (offset - self.start) as usize;
        Ok(Some(&self.bytes[from..from + length]))
    }
}
