//! Opening one log after whatever happened to it: what is kept, what a crash tore off, and what
//! must be refused. Called by `Logs::open`, once per origin. What always holds:
//!
//! - Everything that was ever reported durable is kept, or opening fails with `Corrupt`.
//! - What is kept is a gapless, chained prefix that ends with a whole group, and is synced before
//!   it can be read: what survived a crash may so far exist in the page cache only.
//! - What is cut off is overwritten with zeros, so that no later crash can revive it.
//!
//! **Torn or corrupt?** Let n be the first sequence that cannot be read. Every record and header
//! states what was durable when it was made. If anything that survived, before or after the hole,
//! states n or more, then n was durable: corrupt. Otherwise nobody can have been told about n:
//! torn. What this cannot see is damage to the last records before anything was written after
//! them; the mark, written when idle, at closing and by each opening, closes that gap.
//!
//! Only the segments that can have been in flight are walked: those from the last one on which
//! states that everything before it was durable. Older ones are checked when they are read
//! and by `verify`; that none of them is missing is checked here.

use std::sync::Arc;

use crate::chain::Secret;
use crate::error::{Error, Result};
use crate::format::{DATA_START, SegmentHeader};
use crate::log::{self, OriginLog, Spare};
use crate::logs::LOGS_DIR;
use crate::port::Disk;
use crate::reader::Shared;
use crate::scan::{self, Found, Point, Remains, Walk, Walker};
use crate::segment::Segment;

/// What opening found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Every log, sorted by origin.
    pub origins: Vec<Recovered>,
    /// The highest hybrid time that was durable.
    pub clock: u64,
}

/// What opening found of one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Its origin.
    pub origin: String,
    /// The first sequence held.
    pub first: u64,
    /// The last sequence; all of it is durable.
    pub tail: u64,
    /// What a crash left half done, if it did.
    pub torn: Option<TornTail>,
    /// Segment headers that were restored from their other copy.
    pub headers_restored: u32,
}

/// What was cut off: nobody was ever told that it was durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The file that ends earlier now.
    pub file: String,
    /// Where it ends.
    pub offset: u64,
    /// How many bytes behind that were written and are zero now.
    pub bytes: u64,
    /// Whole later segments that were removed.
    pub segments_removed: u32,
    /// The last sequence that was kept.
    pub sequence: u64,
}

/// How far the walk came, over all segments.
struct Survey {
    /// The segment and place where the kept part ends.
    keep: usize,
    complete: Point,
    /// The segment and place where the walk stopped.
    stop: usize,
    at: Point,
    /// The highest durable sequence stated by anything walked.
    stated: u64,
    walks: Vec<Walk>,
}

/// Recovers one log. `None` if its creation never completed.
pub(crate) fn recover(
    disk: &dyn Disk,
    origin: &str,
    secret: Secret,
) -> Result<Option<(OriginLog, Recovered)>> {
    let dir = format!("{LOGS_DIR}/{origin}");
    let (firsts, spare) = scan::list(disk, &dir)?;
    if spare {
        let path = log::spare_path(&dir);
        disk.remove(&path).map_err(Error::io("remove", &path))?;
    }
    let mut files = Vec::with_capacity(firsts.len());
    for first in firsts {
        files.push(scan::open(disk, &dir, origin, first)?);
    }
    if never_created(disk, &dir, &files)? {
        return Ok(None);
    }
    drop_before_restart(disk, &dir, &mut files)?;
    let start = first_in_doubt(&files)?;
    let survey = survey(&files, start)?;
    let rest = judge(&files, start, &survey)?;
    let torn = trim(disk, &dir, &mut files, &survey, rest)?;
    let headers_restored = restore(&mut files, start, &survey)?;
    let log = assemble(origin, dir, secret, &files, start, survey)?;
    let recovered = Recovered {
        origin: origin.to_owned(),
        first: files[0].first,
        tail: log.tail,
        torn,
        headers_restored,
    };
    Ok(Some((log, recovered)))
}

/// Segments without header and without a byte of content were being created, and nothing was before
/// them: one, or several at different places in turn, where there was no room.
fn never_created(disk: &dyn Disk, dir: &str, files: &[Found]) -> Result<bool> {
    match files {
        [] => Ok(true),
        all if all.iter().all(|found| found.header.is_none()) => {
            for found in all {
                if has_content(found)? {
                    let advice = "both copies of the header are lost";
                    return Err(corrupt(found, 0, found.first, advice));
                }
            }
            for found in all {
                disk.remove(&found.path).map_err(Error::io("remove", &found.path))?;
            }
            disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
            Ok(true)
        }
        [oldest, ..] if oldest.header.is_none() => {
            Err(corrupt(oldest, 0, oldest.first, "both copies of the header are lost"))
        }
        _ => Ok(false),
    }
}

/// A segment that continues none, behind others, is where the log was started anew: those before
/// it were on their way out.
fn drop_before_restart(disk: &dyn Disk, dir: &str, files: &mut Vec<Found>) -> Result<()> {
    let begins = |found: &Found| found.header.as_ref().is_some_and(|header| header.previous == 0);
    let Some(start) = files.iter().rposition(begins).filter(|start| *start > 0) else {
        return Ok(());
    };
    for found in files.drain(..start) {
        disk.remove(&found.path)
            .and_then(|()| disk.sync_dir(dir))
            .map_err(Error::io("remove", &found.path))?;
    }
    Ok(())
}

/// Whether anything but zeros stands where records would.
fn has_content(found: &Found) -> Result<bool> {
    let guess = SegmentHeader {
        origin: String::new(),
        first: found.first,
        previous: 0,
        durable: 0,
        capacity: found.length,
        salt: [0; 16],
        chain: [0; 16],
    };
    Ok(scan::remains(found, &guess, DATA_START)?.end > 0)
}

/// The last segment that states that everything before it is durable. That no file before it is
/// missing or headless is checked on the way.
fn first_in_doubt(files: &[Found]) -> Result<usize> {
    let start = files
        .iter()
        .rposition(|found| {
            found.header.as_ref().is_some_and(|header| found.stated() + 1 >= header.first)
        })
        .unwrap_or(0);
    for pair in files[..=start].windows(2) {
        match &pair[1].header {
            Some(header) if header.previous == pair[0].first => {}
            Some(header) => {
                return Err(corrupt(
                    &pair[1],
                    0,
                    header.previous,
                    "the segment before it is missing; restore it, or this log from a peer",
                ));
            }
            None => {
                let advice =
                    "both copies of the header are lost; docs/operate.md says how to go on";
                return Err(corrupt(&pair[1], 0, pair[1].first, advice));
            }
        }
    }
    Ok(start)
}

/// Walks from the first segment in doubt to the first hole.
fn survey(files: &[Found], start: usize) -> Result<Survey> {
    let header = files[start].header.as_ref().expect("a segment in doubt is chosen by its header");
    let begin = Point {
        offset: DATA_START,
        sequence: header.first - 1,
        chain: header.chain,
        stated: files[start].stated(),
    };
    let mut survey = Survey {
        keep: start,
        complete: begin,
        stop: start,
        at: begin,
        stated: begin.stated,
        walks: Vec::new(),
    };
    for (number, found) in files.iter().enumerate().skip(start) {
        let Some(header) = &found.header else { break };
        if header.first != survey.at.sequence + 1 || header.chain != survey.at.chain {
            break;
        }
        let walk = Walker::new(found, header).finish()?;
        if let Some(complete) = walk.complete {
            (survey.keep, survey.complete) = (number, complete);
        } else if survey.complete.sequence == survey.at.sequence {
            // An empty segment behind a whole group: new records go there.
            if walk.records == 0 {
                let stated = survey.complete.stated.max(found.stated());
                let end = Point { offset: DATA_START, stated, ..survey.complete };
                (survey.keep, survey.complete) = (number, end);
            }
        }
        survey.stated = survey.stated.max(walk.at.stated);
        survey.stop = number;
        survey.at = walk.at;
        survey.walks.push(walk);
    }
    Ok(survey)
}

/// Decides whether what is missing was durable. Returns what stands behind the kept part of the
/// segment in which it ends.
fn judge(files: &[Found], start: usize, survey: &Survey) -> Result<Remains> {
    let mut stated = survey.stated;
    let mut kept_rest = Remains::default();
    for (number, found) in files.iter().enumerate().skip(start) {
        let Some(header) = &found.header else { continue };
        stated = stated.max(found.stated());
        if number < survey.keep.min(survey.stop) {
            continue;
        }
        let from = match number {
            _ if number == survey.keep => survey.complete.offset,
            _ if number == survey.stop => survey.at.offset,
            _ => DATA_START,
        };
        let rest = scan::remains(found, header, from)?;
        stated = stated.max(rest.stated);
        if number == survey.keep {
            kept_rest = rest;
        }
    }
    if stated > survey.complete.sequence {
        let advice = "a record that was durable is damaged or missing; docs/operate.md says \
                      how a log is fetched again";
        let stop = &files[survey.stop];
        return Err(corrupt(stop, survey.at.offset, survey.at.sequence + 1, advice));
    }
    Ok(kept_rest)
}

/// Removes what lies behind the kept part.
fn trim(
    disk: &dyn Disk,
    dir: &str,
    files: &mut Vec<Found>,
    survey: &Survey,
    rest: Remains,
) -> Result<Option<TornTail>> {
    let removed = files.split_off(survey.keep + 1);
    for found in &removed {
        disk.remove(&found.path).map_err(Error::io("remove", &found.path))?;
    }
    // Also makes durable the names of the segments that are kept.
    disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
    let last = &files[survey.keep];
    let offset = survey.complete.offset;
    if rest.end > offset {
        log::zero(&*last.file, offset, rest.end).map_err(Error::io("write", &last.path))?;
    }
    if removed.is_empty() && rest.end <= offset {
        return Ok(None);
    }
    Ok(Some(TornTail {
        file: last.path.clone(),
        offset,
        bytes: rest.end.saturating_sub(offset),
        segments_removed: removed.len() as u32,
        sequence: survey.complete.sequence,
    }))
}

/// Gives every kept file its full length and both copies of its header, and makes those in doubt
/// durable. What was not known to be durable is written again first: after a sync that failed the
/// kernel may hold bytes that it believes clean and that the disk never got, and a process that
/// starts anew finds them.
fn restore(files: &mut [Found], start: usize, survey: &Survey) -> Result<u32> {
    let mut restored = 0;
    for (number, found) in files.iter_mut().enumerate() {
        let header = found.header.as_ref().expect("a segment that is kept has a header");
        let damaged = !found.whole || found.length < header.capacity;
        let doubtful = number.checked_sub(start).and_then(|at| survey.walks.get(at));
        if !damaged && doubtful.is_none() {
            continue;
        }
        restored += u32::from(damaged);
        log::zero(&*found.file, found.length, header.capacity)
            .and_then(|()| log::write_headers(&*found.file, header))
            .map_err(Error::io("write", &found.path))?;
        found.length = header.capacity;
        if let Some(walk) = doubtful {
            let keep = number == survey.keep;
            let to = if keep { survey.complete.offset } else { walk.at.offset };
            scan::write_again(found, walk.offset_before(survey.stated + 1), to)?;
        }
        found.file.sync_data().map_err(Error::io("sync", &found.path))?;
    }
    Ok(restored)
}

/// Puts the log together, and marks what is durable now.
fn assemble(
    origin: &str,
    dir: String,
    secret: Secret,
    files: &[Found],
    start: usize,
    survey: Survey,
) -> Result<OriginLog> {
    let mut segments = Vec::with_capacity(files.len());
    for (number, found) in files.iter().enumerate() {
        let header = found.header.as_ref().expect("a segment that is kept has a header");
        let segment = Segment::new(found.path.clone(), header, Arc::clone(&found.file));
        if let Some(walk) = number.checked_sub(start).and_then(|at| survey.walks.get(at)) {
            for (sequence, offset) in &walk.index {
                if *sequence <= survey.complete.sequence {
                    segment.note(*sequence, *offset);
                }
            }
            segment.set_written(walk.at.offset);
        }
        segments.push(Arc::new(segment));
    }
    let active = Arc::clone(segments.last().expect("a log that was created has a segment"));
    let Point { offset, sequence, chain, stated } = survey.complete;
    active.set_written(offset);
    let origin: Arc<str> = Arc::from(origin);
    let allocated = segments.iter().map(|segment| segment.capacity).sum();
    let mut log = OriginLog {
        shared: Arc::new(Shared::new(Arc::clone(&origin), segments, sequence)),
        origin,
        dir,
        secret,
        active,
        written: offset,
        buffer: Vec::new(),
        tail: sequence,
        chain,
        complete: sequence,
        durable: sequence,
        stated,
        dirty: Vec::new(),
        dir_dirty: false,
        in_flight: false,
        spare: Spare::None,
        allocated,
    };
    if log.write_mark()? {
        log.active.file.sync_data().map_err(Error::io("sync", &log.active.path))?;
        log.dirty.clear();
    }
    Ok(log)
}

fn corrupt(found: &Found, offset: u64, sequence: u64, advice: &'static str) -> Error {
    Error::Corrupt { file: found.path.clone(), offset, sequence, advice }
}
