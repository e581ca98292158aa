//! A key's state put in the place of a wrong one, and digests counted anew from their rows.
//!
//! On the core, in one step. What always holds: a state is replaced by one that rests on the same
//! events, all of which are in the store; so what comes later folds on as if nothing had happened.

use linckia_model::{Key, KeyState, Vector, canonical};
use linckia_store::{Pair, Table, View};

use super::flushing::StoreStands;
use super::{Apply, UNSETTLED_MAX};
use crate::compare::{KeyCopy, compared};
use crate::digests::{Amendment, Ranges};
use crate::error::{Result, row};
use crate::keys::{self, Entry};
use crate::presence::Stored;
use crate::rows;

/// Bytes behind the key in a record's name: its place in order, and its id.
const RECORD_NAME: usize = 8 + rows::ID_BYTES;

/// A state that is to be put in the place of a key's own.
#[derive(Clone, Debug)]
pub struct Replacement {
    pub key: Vec<u8>,
    /// Another region's, whose store was at `at`.
    pub copy: KeyCopy,
    pub at: Vector,
    /// The digest that it must have.
    pub right: Option<[u8; canonical::HASH_BYTES]>,
    /// The rows of the key's records here, when the store was at `own_at`.
    pub own_records: Vec<Pair>,
    pub own_at: Vector,
}

/// What became of a replacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    Done,
    /// The key has moved on, here or there: look again.
    Later,
    /// What came is no state of the key.
    Malformed,
}

impl Apply {
    /// Puts another region's state of a key in the place of its own, if both rest on the same
    /// events now, and those are in the store: late ones are read from there.
    ///
    /// # Errors
    /// The store's, or a row that is not ours.
    pub fn replace(&mut self, new: &Replacement, view: &dyn View) -> Result<Replaced> {
        let Replacement { key: bytes, copy, at, right, own_records, own_at } = new;
        let key = Key::from_bytes(bytes).map_err(row("states"))?;
        let mut state = match Entry::decode(&copy.row, &self.applied) {
            Ok(Entry { state, .. }) => state,
            Err(_) if copy.row.is_empty() => KeyState::default(),
            Err(_) => return Ok(Replaced::Malformed),
        };
        let ours =
            |(name, _): &Pair| name.starts_with(bytes) && name.len() == bytes.len() + RECORD_NAME;
        if key.to_bytes() != *bytes || !copy.records.iter().all(ours) {
            return Ok(Replaced::Malformed);
        }
        if compared(&key, &state) != *right {
            return Ok(Replaced::Later);
        }
        if !self.is_still() || !self.applied.covers_all(&state.shown()) {
            return Ok(Replaced::Later);
        }
        // What it may have to read again logs must not have let go of.
        state.take(self.saved, self.policies.of(&key), &self.settings.fold);
        let floor = self.floor();
        if state.needs_from().is_some_and(|from| from <= floor) {
            return Ok(Replaced::Later);
        }
        let stored = Stored { view, presence: &self.presence, known: &self.applied };
        let shown = self.keys.load(&key, stored)?.state.shown();
        if !at.covers_all(&shown) || !own_at.covers_all(&shown) {
            return Ok(Replaced::Later);
        }
        let stored = Stored { view, presence: &self.presence, known: &self.applied };
        let entry = self.keys.change(&key, stored, |_, _| {})?;
        entry.state = state;
        entry.conflicts = copy.records.len() as u64;
        if let Some(hlc) = entry.state.unsettled_until()
            && !entry.settles
            && self.unsettled.len() < UNSETTLED_MAX
        {
            entry.settles = true;
            self.unsettled.push_back((hlc, key.clone()));
        }
        self.presence.add(&key);
        for (name, _) in own_records {
            self.take_record(name);
        }
        for (name, value) in &copy.records {
            let id = &name[name.len() - rows::ID_BYTES..];
            self.rows.put(Table::Records, &rows::index_key(id), name);
            self.rows.put(Table::Records, name, value);
        }
        self.wanted = true;
        Ok(Replaced::Done)
    }

    fn take_record(&mut self, name: &[u8]) {
        let id = name.len().checked_sub(rows::ID_BYTES).map(|at| &name[at..]);
        self.rows.remove(Table::Records, name);
        if let Some(id) = id {
            self.rows.remove(Table::Records, &rows::index_key(id));
        }
    }

    /// A key's row is to be written again, with the digest of its state.
    ///
    /// # Errors
    /// The store's, or a row that is not ours.
    pub fn rewrite(&mut self, key: &Key, view: &dyn View) -> Result<()> {
        let stored = Stored { view, presence: &self.presence, known: &self.applied };
        self.keys.change(key, stored, |_, _| {})?;
        self.wanted = true;
        Ok(())
    }

    /// Flushes that are in the store since the start: what changed before one began is there.
    pub fn flushes(&self) -> u64 {
        self.flushes
    }

    /// Begins to count the digests of the ranges from the rows of a store as it is now.
    ///
    /// # Errors
    /// The store's, or a row that is not ours.
    pub fn recount(view: Box<dyn View>) -> Result<Recount> {
        let said = Ranges::read(view.as_ref())?;
        Ok(Recount { view, said, counted: Ranges::default(), from: Vec::new() })
    }

    /// Takes what was counted; false while a flush is under way.
    pub fn amend(&mut self, amendment: &[Amendment]) -> bool {
        let StoreStands::Still(ranges) = &mut self.store else { return false };
        for (place, row) in ranges.amend(amendment) {
            self.rows.put_parts(Table::Meta, &[rows::RANGE, &[place]], &row);
        }
        true
    }
}

/// Counting the digests of ranges from their rows: they are kept by differences, so what was once
/// wrong in a row stays in them.
pub struct Recount {
    view: Box<dyn View>,
    said: Ranges,
    counted: Ranges,
    from: Vec<u8>,
}

/// How far it came.
pub enum Recounted {
    Going(Recount),
    /// What the ranges lack.
    Done(Vec<Amendment>),
}

impl Recount {
    /// Reads so many rows.
    ///
    /// # Errors
    /// The store's, or a row that is not ours.
    pub fn run(mut self, rows_max: usize) -> Result<Recounted> {
        let pairs = self.view.scan(Table::States, &self.from, &[], rows_max, false)?;
        for (key, value) in &pairs {
            let (_, digest) =
                keys::head(&mut linckia_model::Reader(value)).map_err(row("states"))?;
            self.counted.change(key, None, digest.as_ref());
        }
        match pairs.last() {
            Some((last, _)) if pairs.len() == rows_max => {
                self.from = [&last[..], &[0]].concat();
                Ok(Recounted::Going(self))
            }
            _ => Ok(Recounted::Done(self.counted.beyond(&self.said))),
        }
    }
}
