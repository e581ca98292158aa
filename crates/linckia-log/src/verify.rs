//! Looking at a closed directory without changing it: `verify` reads every byte of every log and
//! reports per file; `dump` lists what is in one. For the operator's commands and for tests. What
//! always holds: nothing is written, a damaged file hides no other file, and damage is told apart
//! from what a crash may leave by the same rule that recovery uses.

use crate::error::{Error, Result};
use crate::format::{self, DATA_START};
use crate::logs::{LOGS_DIR, check_origin};
use crate::port::Disk;
use crate::scan::{self, Found, Stop, Walk, Walker};

/// Everything that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Every log, sorted by origin.
    pub origins: Vec<OriginReport>,
}

/// One log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginReport {
    /// Its origin.
    pub origin: String,
    /// Its files, oldest first.
    pub files: Vec<FileReport>,
}

/// One segment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// Its path.
    pub file: String,
    /// The first sequence it is for.
    pub first: u64,
    /// The last sequence that was read; `first − 1` if none.
    pub last: u64,
    /// Records read.
    pub records: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// Whether one copy of the header is lost; opening restores it.
    pub header_damaged: bool,
    /// Where reading ended early, if it did.
    pub bad: Option<Bad>,
}

/// The first place of a file that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// Where.
    pub offset: u64,
    /// The sequence that should stand there.
    pub sequence: u64,
    /// Whether a crash can have left it so; opening then cuts it off, and nothing durable is lost.
    pub torn: bool,
    /// What is wrong.
    pub what: &'static str,
}

impl Report {
    /// Whether nothing durable is damaged.
    #[must_use]
    pub fn sound(&self) -> bool {
        let mut files = self.origins.iter().flat_map(|origin| &origin.files);
        files.all(|file| file.bad.as_ref().is_none_or(|bad| bad.torn))
    }
}

/// Reads and checks every log in a directory that nobody has open.
///
/// # Errors
/// [`Error::Io`], [`Error::Version`], [`Error::BadName`]; damage is in the report.
pub fn verify(disk: &dyn Disk) -> Result<Report> {
    let mut origins = Vec::new();
    for origin in disk.list(LOGS_DIR).map_err(Error::io("list", LOGS_DIR))? {
        check_origin(&origin)?;
        let files = verify_origin(disk, &origin)?;
        origins.push(OriginReport { origin, files });
    }
    Ok(Report { origins })
}

fn verify_origin(disk: &dyn Disk, origin: &str) -> Result<Vec<FileReport>> {
    let dir = format!("{LOGS_DIR}/{origin}");
    let mut seen: Vec<(Found, Option<Walk>)> = Vec::new();
    let mut reports = Vec::new();
    let mut stated = 0;
    for first in scan::list(disk, &dir)?.0 {
        let found = match scan::open(disk, &dir, origin, first) {
            Ok(found) => found,
            Err(Error::Corrupt { file, offset, sequence, advice }) => {
                let bad = Bad { offset, sequence, torn: false, what: advice };
                reports.push(report(file, first, None, false, Some(bad)));
                continue;
            }
            Err(error) => return Err(error),
        };
        let mut walk = None;
        stated = stated.max(found.stated());
        if let Some(header) = &found.header {
            let walked = Walker::new(&found, header).finish()?;
            let rest = scan::remains(&found, header, walked.at.offset)?;
            stated = stated.max(walked.at.stated).max(rest.stated);
            walk = Some((walked, rest.end));
        }
        let end = walk.as_ref().map_or(0, |(_, end)| *end);
        seen.push((found, walk.map(|(walked, _)| walked)));
        let at = seen.len() - 1;
        let bad = bad(&seen[at], end);
        let damaged = !seen[at].0.whole;
        reports.push(report(seen[at].0.path.clone(), first, seen[at].1.as_ref(), damaged, bad));
    }
    join(&seen, &mut reports);
    if let Some(last) = reports.last_mut()
        && let Some((_, Some(walk))) = seen.last()
        && last.bad.is_none()
        && stated > walk.at.sequence
    {
        let what = "records that were durable are missing";
        last.bad = Some(place(walk, false, what));
    }
    for bad in reports.iter_mut().filter_map(|report| report.bad.as_mut()) {
        bad.torn = bad.torn && bad.sequence > stated;
    }
    Ok(reports)
}

/// What is wrong with a file by itself.
fn bad((found, walk): &(Found, Option<Walk>), end: u64) -> Option<Bad> {
    let Some(walk) = walk else {
        let what = "no copy of the header verifies";
        return Some(Bad { offset: 0, sequence: found.first, torn: true, what });
    };
    let (torn, what) = match walk.stop {
        Stop::Stray => (true, "a record verifies but does not continue the chain"),
        Stop::Damaged => (true, "bytes that do not verify"),
        Stop::End if end > walk.at.offset => (true, "a hole with bytes behind it"),
        Stop::End => return None,
    };
    Some(place(walk, torn, what))
}

fn place(walk: &Walk, torn: bool, what: &'static str) -> Bad {
    Bad { offset: walk.at.offset, sequence: walk.at.sequence + 1, torn, what }
}

/// What is wrong between files: an end that is not the next one's beginning.
fn join(seen: &[(Found, Option<Walk>)], reports: &mut [FileReport]) {
    for pair in seen.windows(2) {
        let ((before, walk), (after, _)) = (&pair[0], &pair[1]);
        let (Some(walk), Some(header)) = (walk, &after.header) else { continue };
        let Some(report) = reports.iter_mut().find(|report| report.file == before.path) else {
            continue;
        };
        if header.first == walk.at.sequence + 1 && header.chain == walk.at.chain {
            // Whole: what stands in the unused end does not matter.
            if report.bad.as_ref().is_some_and(|bad| bad.torn) {
                report.bad = None;
            }
        } else if header.first == walk.at.sequence + 1 {
            report.bad = Some(place(walk, false, "the next segment does not continue the chain"));
        } else if report.bad.is_none() {
            report.bad = Some(place(walk, true, "records are missing before the next segment"));
        }
    }
}

fn report(
    file: String,
    first: u64,
    walk: Option<&Walk>,
    header_damaged: bool,
    bad: Option<Bad>,
) -> FileReport {
    FileReport {
        file,
        first,
        last: walk.map_or(first - 1, |walk| walk.at.sequence),
        records: walk.map_or(0, |walk| walk.records),
        payload_bytes: walk.map_or(0, |walk| walk.payload_bytes),
        header_damaged,
        bad,
    }
}

/// What a listed record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// An event.
    Event,
    /// A statement of what is durable, at the end of a file.
    Mark,
}

/// One record in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The file.
    pub file: String,
    /// Where in it.
    pub offset: u64,
    /// What it is.
    pub kind: EntryKind,
    /// Its sequence; a mark has what it states.
    pub sequence: u64,
    /// Whether the next record belongs to the same group.
    pub more: bool,
    /// What was durable when it was written.
    pub durable: u64,
    /// The event's bytes.
    pub payload: Vec<u8>,
}

/// Lists a log's records, file by file, as they stand, durable or not. Where a file ends early the
/// iterator says so once, and goes on with the next file.
///
/// # Errors
/// [`Error::Io`], [`Error::BadName`].
pub fn dump<'a>(disk: &'a dyn Disk, origin: &str) -> Result<Dump<'a>> {
    check_origin(origin)?;
    let dir = format!("{LOGS_DIR}/{origin}");
    let mut firsts = scan::list(disk, &dir)?.0;
    firsts.reverse();
    Ok(Dump { disk, origin: origin.to_owned(), dir, firsts, current: None, mark: None })
}

/// The iterator of [`dump`].
pub struct Dump<'a> {
    disk: &'a dyn Disk,
    origin: String,
    dir: String,
    /// Segments not yet opened, last first.
    firsts: Vec<u64>,
    current: Option<(Found, Walker)>,
    /// The mark of the file that was listed last.
    mark: Option<Entry>,
}

impl Dump<'_> {
    fn open_next(&mut self) -> Result<bool> {
        let Some(first) = self.firsts.pop() else { return Ok(false) };
        let found = scan::open(self.disk, &self.dir, &self.origin, first)?;
        let Some(header) = &found.header else {
            return Err(corrupt(&found, 0, first, "no copy of the header verifies"));
        };
        let walker = Walker::new(&found, header);
        self.current = Some((found, walker));
        Ok(true)
    }

    fn step(&mut self) -> Result<Option<Entry>> {
        loop {
            if let Some(mark) = self.mark.take() {
                return Ok(Some(mark));
            }
            let Some((found, walker)) = &mut self.current else {
                if self.open_next()? {
                    continue;
                }
                return Ok(None);
            };
            if let Some((offset, header, payload)) = walker.next()? {
                return Ok(Some(Entry {
                    file: found.path.clone(),
                    offset,
                    kind: EntryKind::Event,
                    sequence: header.sequence,
                    more: header.more(),
                    durable: header.durable,
                    payload: payload.to_vec(),
                }));
            }
            let (at, stop) = (walker.walk.at, walker.walk.stop);
            let ended = corrupt(found, at.offset, at.sequence + 1, "bytes that do not verify");
            let mark = mark(found);
            self.current = None;
            self.mark = mark;
            if stop != Stop::End {
                return Err(ended);
            }
        }
    }
}

impl Iterator for Dump<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.step() {
            Ok(entry) => entry.map(Ok),
            Err(error) => {
                self.current = None;
                Some(Err(error))
            }
        }
    }
}

fn mark(found: &Found) -> Option<Entry> {
    let header = found.header.as_ref()?;
    (found.marked > 0).then(|| Entry {
        file: found.path.clone(),
        offset: format::data_end(header.capacity),
        kind: EntryKind::Mark,
        sequence: found.marked,
        more: false,
        durable: found.marked,
        payload: Vec::new(),
    })
}

fn corrupt(found: &Found, offset: u64, sequence: u64, advice: &'static str) -> Error {
    debug_assert!(offset == 0 || offset >= DATA_START, "records begin behind the header");
    Error::Corrupt { file: found.path.clone(), offset, sequence, advice }
}
