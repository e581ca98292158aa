//! The journal: what Raft must not forget, as lines appended to one file.
//!
//! A line is a length and a checksum of the JSON, a checksum of those two, and the JSON. The file
//! is written again, with what still counts, when it has grown. What always holds: what `write`
//! returned for is durable; a line that a crash left half written was never answered for; damage
//! before the last line is an error, not absence; after the first failed write or sync nothing more
//! is written.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use linckia_log::{Disk, DiskFile};
use serde::{Deserialize, Serialize};

use super::{Entry, EntryId, SnapshotMeta, Vote};
use crate::roster::Roster;

const FILE: &str = "journal";
const FILE_NEW: &str = "journal.new";
const MAGIC: &[u8; 8] = b"lnkagree";
const VERSION: u32 = 1;
const HEADER: u64 = 12;
const LINE_HEADER: usize = 12;

/// A line holds a roster at most, which is bounded.
const LINE_BYTES_MAX: usize = 64 << 20;

/// It is written again when it has grown by this, and by as much as counts.
const GROWTH: u64 = 4 << 20;

/// One change of what is remembered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Line {
    /// The number of this member's journal among the nodes.
    Node(u64),
    Vote(Vote),
    Entries(Vec<Entry>),
    /// Entries from this index on are gone.
    Truncate(u64),
    /// Entries up to this one are in the snapshot.
    Purge(EntryId),
    Committed(Option<EntryId>),
    Snapshot(SnapshotMeta, Box<Roster>),
}

/// What the lines come to.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    pub(super) node: u64,
    pub(super) vote: Option<Vote>,
    pub(super) entries: BTreeMap<u64, Entry>,
    pub(super) purged: Option<EntryId>,
    pub(super) committed: Option<EntryId>,
    pub(super) snapshot: Option<(SnapshotMeta, Box<Roster>)>,
}

impl Memory {
    /// Takes a change; false if it counts no more.
    pub(super) fn take(&mut self, line: Line) -> bool {
        match line {
            // It was begun before a later one came from the leader.
            Line::Snapshot(meta, _)
                if self.snapshot.as_ref().is_some_and(|(held, _)| {
                    held.last_log_id >= meta.last_log_id && held.snapshot_id != meta.snapshot_id
                }) =>
            {
                return false;
            }
            Line::Node(node) => self.node = node,
            Line::Vote(vote) => self.vote = Some(vote),
            Line::Entries(entries) => {
                self.entries.extend(entries.into_iter().map(|entry| (entry.log_id.index, entry)));
            }
            Line::Truncate(from) => drop(self.entries.split_off(&from)),
            Line::Purge(until) => {
                self.entries = self.entries.split_off(&(until.index + 1));
                self.purged = Some(until);
            }
            Line::Committed(committed) => self.committed = committed,
            Line::Snapshot(meta, roster) => self.snapshot = Some((meta, roster)),
        }
        true
    }

    /// The fewest lines that come to the same.
    fn lines(&self) -> Vec<Line> {
        let mut lines = vec![Line::Node(self.node)];
        lines.extend(self.vote.map(Line::Vote));
        let snapshot = self.snapshot.clone();
        lines.extend(snapshot.map(|(meta, roster)| Line::Snapshot(meta, roster)));
        lines.extend(self.purged.map(Line::Purge));
        lines.push(Line::Entries(self.entries.values().cloned().collect()));
        lines.push(Line::Committed(self.committed));
        lines
    }
}

/// The file and what it comes to.
pub(super) struct Journal {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    end: u64,
    /// The length after it was last written as a whole.
    whole: u64,
    failed: Option<String>,
}

impl Journal {
    /// Reads the journal of a directory; a new one begins with the node `fresh` gives. Errors: what
    /// the disk says, and `InvalidData` where it does not verify.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        fresh: impl FnOnce() -> io::Result<u64>,
    ) -> io::Result<(Self, Memory)> {
        let file = match disk.open(FILE) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let memory = Memory { node: fresh()?, ..Memory::default() };
                let (file, end) = replace(&*disk, &memory)?;
                return Ok((Self { disk, file, end, whole: end, failed: None }, memory));
            }
            Err(error) => return Err(error),
        };
        let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
        let read = file.read_at(0, &mut bytes)?;
        bytes.truncate(read);
        let (memory, end) = replay(&bytes)?;
        // What a crash left behind the last whole line would stand before the next one.
        file.set_len(end)?;
        file.sync_data()?;
        disk.sync_dir("")?;
        Ok((Self { disk, file, end, whole: end, failed: None }, memory))
    }

    /// Makes a line durable that `memory` has taken.
    pub(super) fn write(&mut self, line: &Line, memory: impl FnOnce() -> Memory) -> io::Result<()> {
        if let Some(reason) = &self.failed {
            return Err(io::Error::other(format!("the journal failed before: {reason}")));
        }
        let written = self.append(line, memory);
        if let Err(error) = &written {
            self.failed = Some(error.to_string());
        }
        written
    }

    fn append(&mut self, line: &Line, memory: impl FnOnce() -> Memory) -> io::Result<()> {
        let bytes = encode(line)?;
        if self.end + bytes.len() as u64 > self.whole * 2 + GROWTH {
            let (file, end) = replace(&*self.disk, &memory())?;
            (self.file, self.end, self.whole) = (file, end, end);
            return Ok(());
        }
        self.file.write_at(self.end, &bytes)?;
        self.file.sync_data()?;
        self.end += bytes.len() as u64;
        Ok(())
    }
}

/// Writes a journal of what counts in the place of the old one.
fn replace(disk: &dyn Disk, memory: &Memory) -> io::Result<(Arc<dyn DiskFile>, u64)> {
    let mut bytes = [&MAGIC[..], &VERSION.to_le_bytes()].concat();
    for line in memory.lines() {
        bytes.extend(encode(&line)?);
    }
    let file = disk.create(FILE_NEW)?;
    file.write_at(0, &bytes)?;
    file.sync_data()?;
    disk.rename(FILE_NEW, FILE)?;
    disk.sync_dir("")?;
    Ok((file, bytes.len() as u64))
}

fn encode(line: &Line) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(line)?;
    if json.len() > LINE_BYTES_MAX {
        return Err(damaged(0, "a line is longer than any that is read"));
    }
    let length = (json.len() as u32).to_le_bytes();
    let front = [length, crc32fast::hash(&json).to_le_bytes()].concat();
    let check = crc32fast::hash(&front).to_le_bytes();
    Ok([&front[..], &check, &json].concat())
}

/// What the bytes come to, and where the last whole line ends.
fn replay(bytes: &[u8]) -> io::Result<(Memory, u64)> {
    let header = bytes.get(..HEADER as usize).and_then(|header| header.strip_prefix(&MAGIC[..]));
    match header.and_then(|version| version.try_into().ok()).map(u32::from_le_bytes) {
        Some(VERSION) => {}
        Some(found) => {
            let what = format!(
                "{FILE} is of format {found}, and this version reads format {VERSION}: start the \
                 version that wrote it; nothing was changed"
            );
            return Err(io::Error::new(io::ErrorKind::Unsupported, what));
        }
        None => return Err(damaged(0, "it does not begin as a journal does")),
    }
    let mut memory = Memory::default();
    let mut at = HEADER as usize;
    while at < bytes.len() {
        match line_at(&bytes[at..]) {
            Read::Whole(line, length) => {
                memory.take(line);
                at += length;
            }
            // One write was under way when the machine stopped, and nothing was written after it.
            Read::Broken if !(at + 1..bytes.len()).any(|later| is_whole(&bytes[later..])) => break,
            Read::Broken => return Err(damaged(at, "a line does not verify")),
            Read::Strange(what) => return Err(damaged(at, &what)),
        }
    }
    Ok((memory, at as u64))
}

enum Read {
    Whole(Line, usize),
    /// No line, or half of one.
    Broken,
    /// What verifies and is not understood.
    Strange(String),
}

/// The JSON of the line at the front, if all of it is there and verifies.
fn json_at(bytes: &[u8]) -> Option<&[u8]> {
    let (header, rest) = bytes.split_at_checked(LINE_HEADER)?;
    let word = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    if crc32fast::hash(&header[..8]) != word(8) {
        return None;
    }
    rest.get(..word(0) as usize).filter(|json| crc32fast::hash(json) == word(4))
}

fn is_whole(bytes: &[u8]) -> bool {
    json_at(bytes).is_some()
}

fn line_at(bytes: &[u8]) -> Read {
    let Some(json) = json_at(bytes) else { return Read::Broken };
    match serde_json::from_slice(json) {
        Ok(line) => Read::Whole(line, LINE_HEADER + json.len()),
        Err(error) => Read::Strange(format!("a line is not understood: {error}")),
    }
}

fn damaged(at: usize, what: &str) -> io::Error {
    let advice = "the other members know what was decided: remove the directory `agreement`, and \
                  this member enters again as a new one";
    io::Error::new(io::ErrorKind::InvalidData, format!("{FILE} at byte {at}: {what}; {advice}"))
}

#[cfg(test)]
mod tests {
    use linckia_log::MemoryDisk;

    use super::*;

    fn opened(disk: &Arc<MemoryDisk>) -> io::Result<(Journal, Memory)> {
        Journal::open(Arc::clone(disk) as _, || Ok(7))
    }

    fn committed(index: u64) -> Line {
        let term = openraft::CommittedLeaderId::new(1, 7);
        Line::Committed(Some(EntryId::new(term, index)))
    }

    fn write(journal: &mut Journal, memory: &mut Memory, line: Line) -> io::Result<()> {
        memory.take(line.clone());
        journal.write(&line, || memory.clone())
    }

    #[test]
    fn what_was_written_is_there_after_a_power_cut() {
        for seed in 0..50u64 {
            let disk = Arc::new(MemoryDisk::new());
            let (mut journal, mut memory) = opened(&disk).unwrap();
            write(&mut journal, &mut memory, committed(seed + 1)).unwrap();
            // One more is under way and fails.
            disk.fail_sync(1);
            assert!(write(&mut journal, &mut memory, committed(1_000)).is_err());
            let later = write(&mut journal, &mut memory, committed(1_001)).unwrap_err();
            assert!(later.to_string().contains("failed before"), "{later}");
            let mut state = seed;
            disk.crash(&mut || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                state
            });
            let (_, memory) = opened(&disk).unwrap();
            let found = memory.committed.unwrap().index;
            assert!(found == seed + 1 || found == 1_000, "{found}");
            assert_eq!(memory.node, 7);
        }
    }

    #[test]
    fn damage_before_the_end_is_an_error() {
        let disk = Arc::new(MemoryDisk::new());
        let (mut journal, mut memory) = opened(&disk).unwrap();
        for index in 1..4 {
            write(&mut journal, &mut memory, committed(index)).unwrap();
        }
        drop(journal);
        // In the length, in a checksum, in the text: all of it is told from a torn end.
        for (at, mask) in [(3, 0x80), (0, 1), (5, 4), (9, 1), (LINE_HEADER as u64 + 3, 1)] {
            assert!(disk.flip(FILE, HEADER + at, mask));
            let error = opened(&disk).err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(error.to_string().contains("at byte 12"), "{error}");
            assert!(disk.flip(FILE, HEADER + at, mask));
        }
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let disk = Arc::new(MemoryDisk::new());
        let (mut journal, mut memory) = opened(&disk).unwrap();
        // A vote is some tens of bytes: enough of them to be written anew several times.
        for index in 0..200_000u64 {
            write(&mut journal, &mut memory, committed(index)).unwrap();
        }
        let length = disk.files().into_iter().find(|(name, _)| name == FILE).unwrap().1;
        assert!(length < 2 * GROWTH, "{length}");
        let (_, memory) = opened(&disk).unwrap();
        assert_eq!(memory.committed.unwrap().index, 199_999);
    }
}
