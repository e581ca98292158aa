//! What a backup reads: the state here at one vector with the logs, or what the logs have since.
//!
//! The core only says what there is: a view of the store, readers of the logs and up to where they
//! are to be read. Whoever holds that reads it beside the core. What always holds: one backup at a
//! time; while it is held no log lets go of what it is to read; what is named is applied, and
//! closed under causes.

use std::sync::{Arc, Weak};

use linckia_log::Reader;
use linckia_model::{Hlc, Origin, Vector};
use linckia_ship::{Base, Cut};
use linckia_store::{Table, View};

use super::Machine;
use crate::error::Result;
use crate::rooms::first_held;

/// What a backup may read, for as long as it is held.
pub struct Pinned {
    /// The state, where the backup does not go on from another one; its bases are where the logs
    /// here begin.
    pub state: Option<(Cut, Box<dyn View>)>,
    pub logs: Vec<PinnedLog>,
    /// Everything up to there is in what is read, or was in the backup before.
    pub upto: Vector,
    /// Of every region all events up to that time are in it.
    pub complete: Hlc,
    /// No event in it is later.
    pub latest: Hlc,
    _pin: Arc<Vector>,
}

/// A log, to be read behind `after` up to `last`.
pub struct PinnedLog {
    pub origin: Origin,
    pub reader: Reader,
    pub after: u64,
    pub last: u64,
}

/// Why there is nothing to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotPinned {
    /// Another backup is under way.
    Busy,
    /// This region is not whole itself.
    Entering,
    /// A log does not go on from there: it lets go of history, or was closed before.
    Gap(Origin),
    /// This region has not applied yet what the backup before had.
    Behind,
}

/// Backups here.
#[derive(Default)]
pub(super) struct Backups {
    /// The one that is wanted, and has no state yet.
    wanted: Option<Wanted>,
    /// Up to where the one that is held needs nothing of the logs.
    pin: Weak<Vector>,
}

struct Wanted {
    /// The store is to be brought to this vector first.
    at: Vector,
    complete: Hlc,
    latest: Hlc,
}

impl Backups {
    /// Up to where a log may be let go of for the backup that is held.
    pub(super) fn pinned(&self, origin: &Origin) -> u64 {
        self.pin.upgrade().map_or(u64::MAX, |pin| pin.get(origin))
    }
}

impl Machine {
    /// A backup goes on behind this vector: at once what the logs have since.
    ///
    /// # Errors
    /// [`NotPinned`]; the log's are taken for a gap.
    pub fn pin_logs(&mut self, after: &Vector) -> std::result::Result<Pinned, NotPinned> {
        self.may_pin()?;
        let upto = self.region.applied().clone();
        if !upto.covers_all(after) {
            let agreed = self.region.lives.agreed();
            let lost = agreed.as_ref().and_then(|agreed| agreed.lost(after).next());
            return Err(match lost {
                Some((origin, ..)) => NotPinned::Gap(origin.clone()),
                None => NotPinned::Behind,
            });
        }
        let mut logs = Vec::new();
        for (origin, last) in upto.iter() {
            let after = after.get(origin);
            if last > after {
                let gap = |_| NotPinned::Gap(origin.clone());
                let reader = self.logs.reader(origin.as_str()).map_err(gap)?;
                if first_held(&self.logs, origin) > after + 1 {
                    return Err(NotPinned::Gap(origin.clone()));
                }
                logs.push(PinnedLog { origin: origin.clone(), reader, after, last });
            }
        }
        let (complete, latest) = (self.complete(), self.region.clock.last());
        let pin = self.pin(after.clone());
        Ok(Pinned { state: None, logs, upto, complete, latest, _pin: pin })
    }

    /// A backup begins: the store is brought up to what is applied, then [`Machine::cut_state`] has
    /// it.
    ///
    /// # Errors
    /// [`NotPinned`].
    pub fn want_state(&mut self) -> std::result::Result<(), NotPinned> {
        self.may_pin()?;
        self.region.apply.want_stored();
        let at = self.region.applied().clone();
        let (complete, latest) = (self.complete(), self.region.clock.last());
        self.backups.wanted = Some(Wanted { at, complete, latest });
        Ok(())
    }

    /// Nobody wants the state any more.
    pub fn forget_state(&mut self) {
        self.backups.wanted = None;
    }

    /// The state that is wanted, once the store is far enough, and all of the logs before it.
    ///
    /// # Errors
    /// The log's.
    pub fn cut_state(&mut self) -> Result<Option<Pinned>> {
        let apply = &self.region.apply;
        let ready = |wanted: &Wanted| apply.is_still() && apply.stored().covers_all(&wanted.at);
        if self.store_in_flight || !self.backups.wanted.as_ref().is_some_and(ready) {
            return Ok(None);
        }
        let Some(Wanted { complete, latest, .. }) = self.backups.wanted.take() else {
            return Ok(None);
        };
        let at = self.region.apply.stored().clone();
        let (mut logs, mut bases, mut pin) = (Vec::new(), Vec::new(), Vector::new());
        for (origin, last) in at.iter() {
            let reader = self.logs.reader(origin.as_str())?;
            let sequence = (first_held(&self.logs, origin) - 1).min(last);
            let chain = reader.chain_at(sequence)?;
            bases.push(Base { origin: origin.clone(), sequence, chain });
            pin.raise(origin, sequence);
            logs.push(PinnedLog { origin: origin.clone(), reader, after: sequence, last });
        }
        let (hlc, bytes) = (self.latest(&at)?, self.store.disk_bytes());
        let cut = Cut { snapshot: 0, at: at.clone(), bases, hlc, bytes };
        let state = Some((cut, self.store.snapshot()));
        let pin = self.pin(pin);
        Ok(Some(Pinned { state, logs, upto: at, complete, latest: latest.max(hlc), _pin: pin }))
    }

    fn may_pin(&self) -> std::result::Result<(), NotPinned> {
        if self.backups.wanted.is_some() || self.backups.pin.strong_count() > 0 {
            return Err(NotPinned::Busy);
        }
        if self.region.is_entered() { Ok(()) } else { Err(NotPinned::Entering) }
    }

    fn pin(&mut self, pin: Vector) -> Arc<Vector> {
        let pin = Arc::new(pin);
        self.backups.pin = Arc::downgrade(&pin);
        pin
    }

    /// All events of all regions that count, up to that time, are applied here.
    fn complete(&self) -> Hlc {
        let told = self.region.members.iter().map(|name| self.region.apply.told_in(name).1);
        told.min().unwrap_or(Hlc::ZERO)
    }
}

/// Rows read at once while a page fills: each may be as large as a document may be.
const ROWS_MAX: usize = 64;

/// The rows behind a place, as they are: of one table, about so many bytes of them. The place where
/// they end is that of the next ones; without rows there are no more.
///
/// # Errors
/// The store's.
pub fn read_rows(view: &dyn View, place: &mut Vec<u8>, bytes_max: usize) -> Result<Vec<u8>> {
    let mut rows = Vec::new();
    let (mut table, mut from) = match place.split_first() {
        Some((table, key)) => (Table::from_place(*table), [key, &[0]].concat()),
        None => (Table::from_place(0), Vec::new()),
    };
    while let Some(of) = table {
        let pairs = view.scan(of, &from, &[], ROWS_MAX, false)?;
        let full = pairs.len() == ROWS_MAX;
        for (key, value) in pairs {
            super::donate::put_row(&mut rows, of, &key, &value);
            *place = [&[of as u8], &key[..]].concat();
            from = [&key[..], &[0]].concat();
            if rows.len() >= bytes_max {
                return Ok(rows);
            }
        }
        if !full {
            if !rows.is_empty() {
                return Ok(rows);
            }
            (table, from) = (of.next(), Vec::new());
        }
    }
    Ok(rows)
}
