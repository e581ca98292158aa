//! Identities that nobody can repeat any more: a slow walk over their rows, portion by portion
//! beside the core.
//!
//! An id is known while its last copy lies within the window below stable time. What always holds:
//! a walk begins only once stable time has grown since the last one, by a share of the window; it
//! takes rows away and never changes one.

use linckia_model::{Hlc, Vector};
use linckia_store::{Batch, Store, Table};

use crate::error::Result;
use crate::retire;
use crate::rows;

/// A walk begins when stable time has grown by this share of the window.
const SHARE: u64 = 24;

/// Time between two portions, in milliseconds.
const PAUSE_MILLISECONDS: u64 = 100;

/// How far the walk is.
#[derive(Default)]
pub(crate) struct Expiry {
    /// Where it goes on.
    from: Option<Vec<u8>>,
    /// Stable time when it began.
    begun: Hlc,
    /// The next portion, on the monotonic clock.
    at: u64,
    walking: bool,
}

/// A portion of the walk.
pub struct Expire {
    from: Vec<u8>,
    rows: usize,
    /// Copies up to there are forgotten.
    until: Hlc,
    known: Vector,
}

/// Where the walk goes on, if it is not through.
pub struct Expired(Option<Vec<u8>>);

/// The latest time that lies a window below stable time.
pub(crate) fn forgotten(stable: Hlc, window_milliseconds: u64) -> Hlc {
    let window = Hlc::from_milliseconds(window_milliseconds).bits();
    Hlc::from_bits(stable.bits().saturating_sub(window))
}

impl Expiry {
    /// The portion that is due now, if any.
    pub(crate) fn begin(
        &mut self,
        now: u64,
        stable: Hlc,
        window_milliseconds: u64,
        rows: usize,
        known: &Vector,
    ) -> Option<Expire> {
        let until = forgotten(stable, window_milliseconds);
        if self.walking || now < self.at || until == Hlc::ZERO {
            return None;
        }
        if self.from.is_none() {
            let share = Hlc::from_milliseconds(window_milliseconds / SHARE).bits();
            if stable.bits() < self.begun.bits().saturating_add(share) {
                return None;
            }
            self.begun = stable;
        }
        self.walking = true;
        self.at = now + PAUSE_MILLISECONDS;
        let from = self.from.take().unwrap_or_default();
        Some(Expire { from, rows, until, known: known.clone() })
    }

    pub(crate) fn done(&mut self, Expired(next): Expired) {
        self.walking = false;
        self.from = next;
    }

    pub(crate) fn is_walking(&self) -> bool {
        self.walking
    }
}

impl Expire {
    /// Takes away what is forgotten among the next rows.
    ///
    /// # Errors
    /// The store's, or a row that is not ours.
    pub(crate) fn run(self, store: &dyn Store) -> Result<Expired> {
        let pairs = store.scan(Table::Identities, &self.from, &[], self.rows, false)?;
        let mut batch = Batch::default();
        for (name, value) in &pairs {
            let copies = rows::read_stamps(value, &self.known)?;
            if copies.iter().any(|copy| copy.hlc > self.until) {
                continue;
            }
            batch.remove(Table::Identities, name);
            for copy in &copies {
                let name = rows::event_key(&copy.dot);
                let kept = store.get(Table::Events, &name)?;
                if kept.is_some_and(|bytes| retire::is_abridged(&bytes)) {
                    batch.remove(Table::Events, &name);
                }
            }
        }
        if !batch.is_empty() {
            store.write(&batch)?;
        }
        let last = pairs.last().filter(|_| pairs.len() == self.rows);
        Ok(Expired(last.map(|(name, _)| [&name[..], &[0]].concat())))
    }
}
