//! What comparing reads, beside the core: pages of rows, single keys, answers to peers.
//!
//! Jobs of the thread that has the store, so that the store stands still meanwhile, at the vector
//! that it says itself.

use linckia_apply::{
    Amendment, KeyCopy, KeySeen, ReadRows, Recount, Recounted, copy_of, hash_of, look_at,
    read_rows, records_of, refold, stored_at,
};
use linckia_log::Reader;
use linckia_model::{
    Cause, Dot, Event, EventSource, FoldSettings, Key, Origin, Policies, RegionName, Stamp, Vector,
};
use linckia_ship::{
    Ask, Brief, Copied, Differing, LISTED_BYTES_MAX, LISTED_ROWS_MAX, RECORDS_MAX, SECTION_ROWS,
    SECTIONS_MAX, Section, Seen, Tell,
};
use linckia_store::{Pair, Store, View};
use std::sync::Arc;

use super::scrub::{ScrubJob, Scrubbed};
use crate::error::Result;
use crate::rooms::event_of;

/// Rows of a question at most.
pub(super) const PAGE_ROWS_MAX: usize = SECTIONS_MAX * SECTION_ROWS;

/// Bytes of keys in a question.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// Bytes of a key's row and records that are sent.
const COPY_BYTES_MAX: usize = 12 << 20;

/// Rows counted at once.
const COUNTED_ROWS: usize = 16_384;

/// Something to read.
pub(in crate::machine) enum CompareJob {
    /// Rows from there on, about so many.
    Page {
        from: Vec<u8>,
        rows: usize,
        verify: Option<Vector>,
    },
    Look {
        keys: Vec<Vec<u8>>,
        known: Vector,
    },
    Judge(Box<Judge>),
    Serve {
        peer: RegionName,
        number: u64,
        ask: Ask,
        known: Vector,
    },
    Recount(Option<Recount>),
    Scrub(Box<ScrubJob>),
}

/// What was read.
pub(in crate::machine) enum CompareDone {
    Page(ReadRows),
    Look(Vector, Vec<KeySeen>),
    Judged(Judged),
    Served { peer: RegionName, number: u64, tell: Tell },
    Counting(Recount),
    Counted(Vec<Amendment>),
    Scrubbed(Scrubbed),
}

/// What is to be known of a key before it is judged.
pub(in crate::machine) struct Judge {
    pub(super) key: Vec<u8>,
    pub(super) logs: Vec<(Origin, Reader)>,
    pub(super) known: Vector,
    pub(super) policies: Arc<Policies>,
    pub(super) fold: FoldSettings,
}

/// How a key lies here, and what its logs give.
pub(in crate::machine) struct Judged {
    pub(super) key: Vec<u8>,
    pub(super) at: Vector,
    pub(super) seen: KeySeen,
    /// The digest that the logs give, where they have all of its events.
    pub(super) refolded: Option<Option<[u8; 32]>>,
    /// The logs let go of nothing: that is the fold of all events.
    pub(super) of_all: bool,
    pub(super) records: Vec<Pair>,
}

impl CompareJob {
    pub(in crate::machine) fn run(self, store: &dyn Store) -> Result<CompareDone> {
        Ok(match self {
            Self::Page { from, rows, verify } => {
                let bounds = (rows.min(PAGE_ROWS_MAX), PAGE_BYTES_MAX);
                CompareDone::Page(read_rows(store, &from, &[], bounds, verify.as_ref())?)
            }
            Self::Look { keys, known } => {
                let seen: linckia_apply::Result<_> =
                    keys.iter().map(|key| look_at(store, key, &known)).collect();
                CompareDone::Look(stored_at(store)?, seen?)
            }
            Self::Judge(judge) => CompareDone::Judged(judge.run(store)?),
            Self::Serve { peer, number, ask, known } => {
                CompareDone::Served { peer, number, tell: serve(ask, store, &known)? }
            }
            Self::Scrub(job) => CompareDone::Scrubbed(job.run()?),
            Self::Recount(counting) => {
                let counting = match counting {
                    Some(counting) => counting,
                    None => linckia_apply::Apply::recount(store.snapshot())?,
                };
                match counting.run(COUNTED_ROWS)? {
                    Recounted::Going(counting) => CompareDone::Counting(counting),
                    Recounted::Done(lacks) => CompareDone::Counted(lacks),
                }
            }
        })
    }
}

/// The sections of rows that were read from `from` on.
pub(super) fn sections_of(rows: &ReadRows) -> Vec<Section> {
    let end = rows.next.clone().unwrap_or_default();
    let section = |rows: &[(Vec<u8>, Brief)], until| Section {
        until,
        count: rows.len() as u64,
        hash: hash_of(rows),
    };
    let mut sections = Vec::new();
    let mut chunks = rows.rows.chunks(SECTION_ROWS).peekable();
    while let Some(chunk) = chunks.next() {
        let until = chunks.peek().map_or_else(|| end.clone(), |next| next[0].0.clone());
        sections.push(section(chunk, until));
    }
    if sections.is_empty() {
        sections.push(section(&[], end));
    }
    sections
}

fn serve(ask: Ask, store: &dyn Store, known: &Vector) -> Result<Tell> {
    Ok(match ask {
        Ask::Page { from, sections, verify } => {
            let differing = differing(store, from, sections, verify.then_some(known))?;
            Tell::Page { differing }
        }
        Ask::Look { keys, .. } => {
            let seen = keys.iter().map(|key| look_at(store, key, known));
            let seen =
                seen.map(|seen| seen.map(|KeySeen { digest, shown, .. }| Seen { digest, shown }));
            let seen: linckia_apply::Result<_> = seen.collect();
            Tell::Look { at: stored_at(store)?, seen: seen? }
        }
        Ask::Fetch { key } => {
            let size = |KeyCopy { row, records }: &KeyCopy| {
                let records = records.iter().map(|(name, value)| name.len() + value.len());
                row.len() + records.sum::<usize>()
            };
            let copy = copy_of(store, &key, RECORDS_MAX)?;
            let copy = copy.filter(|copy| size(copy) <= COPY_BYTES_MAX);
            let found = copy.map(|KeyCopy { row, records }| Copied { row, records });
            Tell::Fetch { at: stored_at(store)?, key, found }
        }
    })
}

/// The sections that are not the same here.
fn differing(
    store: &dyn Store,
    mut from: Vec<u8>,
    sections: Vec<Section>,
    verify: Option<&Vector>,
) -> Result<Vec<Differing>> {
    let (mut rows_left, mut bytes_left) = (LISTED_ROWS_MAX, LISTED_BYTES_MAX);
    let mut found = Vec::new();
    for (place, Section { until, count, hash }) in sections.into_iter().enumerate() {
        let bounds = (rows_left, bytes_left);
        let ReadRows { rows, read, next, .. } = read_rows(store, &from, &until, bounds, verify)?;
        rows_left = rows_left.saturating_sub(read);
        if next.is_some() || rows.len() as u64 != count || hash_of(&rows) != hash {
            bytes_left = bytes_left.saturating_sub(rows.iter().map(|(key, _)| key.len()).sum());
            found.push(Differing { section: place as u64, rows, whole: next.is_none() });
        }
        from = until;
    }
    Ok(found)
}

impl Judge {
    fn run(self, store: &dyn Store) -> Result<Judged> {
        let Self { key, logs, known, policies, fold } = self;
        let seen = look_at(store, &key, &known)?;
        let records = records_of(store, &key, usize::MAX)?;
        let of_all = logs.iter().all(|(_, log)| log.first() <= 1);
        let source = Logged { logs, known: &known, view: store };
        let refolded = match Key::from_bytes(&key) {
            Ok(name) => refold(store, &key, &source, policies.of(&name), &fold, &known)?,
            Err(_) => None,
        };
        Ok(Judged { key, at: stored_at(store)?, seen, refolded, of_all, records })
    }
}

/// Events of the logs, and what is kept of them beside.
struct Logged<'a> {
    logs: Vec<(Origin, Reader)>,
    known: &'a Vector,
    view: &'a dyn View,
}

impl Logged<'_> {
    /// What does not read says nothing here; the look over the logs finds it.
    fn read(&self, dot: &Dot) -> Option<Arc<Event>> {
        let (origin, reader) = self.logs.iter().find(|(origin, _)| *origin == dot.origin)?;
        if dot.sequence < reader.first() {
            return linckia_apply::kept_whole(dot, self.view, self.known).ok().flatten();
        }
        let batch = reader.read(dot.sequence, 1, 1).ok()?;
        let record = batch.first().filter(|record| record.sequence() == dot.sequence)?;
        event_of(origin, &record, self.known).ok().map(Arc::new)
    }
}

impl EventSource for Logged<'_> {
    fn event(&self, dot: &Dot) -> std::result::Result<Option<Arc<Event>>, Cause> {
        Ok(self.read(dot))
    }

    fn between(
        &self,
        _: &Key,
        _: &Stamp,
        _: &Stamp,
    ) -> std::result::Result<Vec<Arc<Event>>, Cause> {
        // Events are folded in order: none of them is late.
        Ok(Vec::new())
    }
}
