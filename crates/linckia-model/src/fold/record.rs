//! Records: what a write hid without having seen it.
//!
//! The tree reports every hiding to the ledger of the event being folded, which asks whether the
//! event covers what it hides and keeps the losers. Rule 14 of `docs/fold.md`: hidings with equal
//! losers and winner are one record.

use std::collections::{BTreeMap, BTreeSet};

use super::tree::Path;
use super::{Copies, FoldSettings};
use crate::error::{Error, Result};
use crate::event::Event;
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

/// One loser, or the increments of a path, and the write that hid them, with all paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub paths: BTreeSet<String>,
    pub kind: Kind,
}

pub(super) type Records = BTreeMap<RecordKey, Record>;

/// Takes what one event hides.
pub(super) struct Ledger<'a> {
    event: &'a Event,
    stamp: Stamp,
    copies: &'a Copies,
    records: &'a mut Records,
    dropped: bool,
}

impl<'a> Ledger<'a> {
    pub(super) fn new(
        event: &'a Event,
        copies: &'a Copies,
        records: &'a mut Records,
        settings: &FoldSettings,
    ) -> Self {
        let dropped = settings.fault == Some(Fault::LoserDropped);
        Self { event, stamp: event.stamp(), copies, records, dropped }
    }

    pub(super) fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    fn covers(&self, stamp: &Stamp) -> bool {
        self.copies.covers(self.event, stamp)
    }

    fn add(&mut self, losers: Vec<Stamp>, winner: Stamp, path: Option<&Path<'_>>, kind: Kind) {
        if self.dropped {
            return;
        }
        let record = self
            .records
            .entry(RecordKey { losers, winner })
            .or_insert_with(|| Record { paths: BTreeSet::new(), kind });
        record.kind = record.kind.max(kind);
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

    /// Rule 2.
    pub(super) fn id_reused(&mut self, first: Stamp) {
        self.add(vec![self.stamp.clone()], first, None, Kind::IdReused);
    }
}
