//! Records: what a write hid without having seen it.
//!
//! The tree reports every hiding to the ledger of the event being folded, which asks whether the
//! event covers what it hides and keeps the losers. Rule 14 of `docs/fold.md`: hidings with equal
//! losers and winner are one record.

use std::collections::{BTreeMap, BTreeSet};

use super::tree::Path;
use super::{Copies, FoldFault, FoldSettings};
use crate::error::{Error, Result};
use crate::event::{Event, Operation};
use crate::policy;
use crate::request::Fault;
use crate::vector::Stamp;

/// What kind of meeting is on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    UpdateUpdate,
    UpdateDelete,
    IdReused,
}

impl Kind {
    /// Its byte in stored states and records.
    pub const fn code(self) -> u8 {
        match self {
            Self::UpdateUpdate => 0,
            Self::UpdateDelete => 1,
            Self::IdReused => 2,
        }
    }

    /// The inverse of [`Kind::code`]. Errors: [`Error::Code`].
    pub fn from_code(code: u8) -> Result<Self> {
        match code {
            0 => Ok(Self::UpdateUpdate),
            1 => Ok(Self::UpdateDelete),
            2 => Ok(Self::IdReused),
            code => Err(Error::Code { what: "kind", code: u64::from(code) }),
        }
    }
}

/// Which losers met which winner: the identity of a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey {
    /// Sorted; more than one only for the increments of one path.
    pub losers: Vec<Stamp>,
    pub winner: Stamp,
}

impl RecordKey {
    /// The event at which replay puts it on record: the latest in order.
    pub fn at(&self) -> &Stamp {
        self.losers.iter().fold(&self.winner, |latest, loser| latest.max(loser))
    }
}

/// Whether a record waits for a person.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Status {
    /// A rule settled it.
    #[default]
    Settled,
    /// It waits (ruling 29).
    Open,
    /// It waited until this event.
    SettledBy(Stamp),
}

/// One loser, or the increments of a path, and the write that hid them, with all paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub paths: BTreeSet<String>,
    pub kind: Kind,
    pub status: Status,
}

impl Record {
    pub fn is_open(&self) -> bool {
        self.status == Status::Open
    }

    /// True if an event at or after `first` may still change it.
    pub(super) fn is_pending(&self, key: &RecordKey, first: &Stamp) -> bool {
        let settled_by = matches!(&self.status, Status::SettledBy(stamp) if stamp >= first);
        self.is_open() || settled_by || key.at() >= first
    }

    /// The event sets every path of this record, and covers both sides of it (29).
    fn is_settled_by(&self, key: &RecordKey, event: &Event, copies: &Copies) -> bool {
        self.is_open()
            && self.paths.iter().all(|path| sets(event, path))
            && key.losers.iter().chain([&key.winner]).all(|stamp| copies.covers(event, stamp))
    }
}

/// Takes out what of these waited for that event, and is settled by it.
pub(super) fn settle(open: &mut Records, event: &Event, copies: &Copies) -> Records {
    let settled = open.extract_if(.., |key, record| record.is_settled_by(key, event, copies));
    let by = |record: Record| Record { status: Status::SettledBy(event.stamp()), ..record };
    settled.map(|(key, record)| (key, by(record))).collect()
}

/// True if the event says what is at that path.
fn sets(event: &Event, pointer: &str) -> bool {
    match event.operation {
        Operation::Put | Operation::Delete => true,
        Operation::Patch => {
            let mut at = &event.data;
            for name in policy::names(pointer).unwrap_or_default() {
                let Some(members) = at.as_object() else { return true };
                let Some(member) = members.get(&name) else { return false };
                at = member;
            }
            true
        }
        _ => false,
    }
}

pub(super) type Records = BTreeMap<RecordKey, Record>;

/// Takes what one event hides.
pub(super) struct Ledger<'a> {
    event: &'a Event,
    stamp: Stamp,
    copies: &'a Copies,
    records: &'a mut Records,
    /// What is hidden waits for a person.
    manual: bool,
    pub(super) fault: FoldFault,
}

impl<'a> Ledger<'a> {
    pub(super) fn new(
        event: &'a Event,
        copies: &'a Copies,
        records: &'a mut Records,
        manual: bool,
        settings: &FoldSettings,
    ) -> Self {
        Self { event, stamp: event.stamp(), copies, records, manual, fault: settings.fault }
    }

    pub(super) fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    pub(super) fn covers(&self, stamp: &Stamp) -> bool {
        self.copies.covers(self.event, stamp)
    }

    fn add(&mut self, losers: Vec<Stamp>, winner: Stamp, path: Option<&Path<'_>>, kind: Kind) {
        if self.fault == Some(Fault::LoserDropped) {
            return;
        }
        let record = self.records.entry(RecordKey { losers, winner }).or_insert_with(|| Record {
            paths: BTreeSet::new(),
            kind,
            status: Status::Settled,
        });
        record.kind = record.kind.max(kind);
        if self.manual && record.kind != Kind::IdReused {
            record.status = Status::Open;
        }
        record.paths.extend(path.map(Path::pointer));
    }

    /// Rule 6.
    pub(super) fn hide(&mut self, loser: &Stamp, emptied: bool, path: &Path<'_>) {
        if *loser != self.stamp && !self.covers(loser) {
            let kind = if emptied { Kind::UpdateDelete } else { Kind::UpdateUpdate };
            self.add(vec![loser.clone()], self.stamp.clone(), Some(path), kind);
        }
    }

    /// Rule 7.
    pub(super) fn hide_absence(&mut self, loser: Option<&Stamp>, path: &Path<'_>) {
        if let Some(loser) = loser {
            self.hide(loser, true, path);
        }
    }

    /// Rule 12.
    pub(super) fn hide_increments<'b>(
        &mut self,
        increments: impl Iterator<Item = &'b Stamp>,
        emptied: bool,
        path: &Path<'_>,
    ) {
        let mut losers: Vec<Stamp> = increments.filter(|i| !self.covers(i)).cloned().collect();
        if losers.is_empty() {
            return;
        }
        losers.sort_unstable();
        let kind = if emptied { Kind::UpdateDelete } else { Kind::UpdateUpdate };
        self.add(losers, self.stamp.clone(), Some(path), kind);
    }

    /// Rule 11: the event itself loses against what is in its way.
    pub(super) fn ineffective(&mut self, winner: &Stamp, path: &Path<'_>) {
        self.add(vec![self.stamp.clone()], winner.clone(), Some(path), Kind::UpdateUpdate);
    }

    /// The event itself loses against what shows.
    pub(super) fn yield_to(&mut self, winner: &Stamp, emptied: bool, path: &Path<'_>) {
        let kind = if emptied { Kind::UpdateDelete } else { Kind::UpdateUpdate };
        self.add(vec![self.stamp.clone()], winner.clone(), Some(path), kind);
    }

    /// Ruling 17: what is out of place loses against what is there, or stands alone.
    pub(super) fn out_of_place(&mut self, holder: Option<&Stamp>, path: &Path<'_>) {
        let winner = holder.unwrap_or(&self.stamp).clone();
        self.ineffective(&winner, path);
    }

    /// Rule 2.
    pub(super) fn id_reused(&mut self, first: Stamp) {
        self.add(vec![self.stamp.clone()], first, None, Kind::IdReused);
    }
}
