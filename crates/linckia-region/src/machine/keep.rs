//! Pages of a snapshot on their way to the joiner's disk: beside the store, with a row that says
//! how far they came.
//!
//! Part of joining (`join.rs`). What always holds: a page is kept after all before it, and with it
//! the place where it ended.

use std::collections::VecDeque;
use std::sync::Arc;

use linckia_model::{Now, RegionName};
use linckia_ship::{Cut, Page, WINDOW_PAGES};
use linckia_store::{Batch, Rows, Table};

use super::Machine;
use super::join::{PROGRESS, progress};
use crate::error::Result;
use crate::input::{Alarm, Output};

/// Writes pages beside the store.
pub(super) struct KeepJob {
    pages: VecDeque<Page>,
    donor: RegionName,
    cut: Cut,
    incoming: Arc<dyn Rows>,
}

/// Pages that are kept.
pub(super) struct Kept {
    snapshot: u64,
    number: u64,
    place: Vec<u8>,
    /// They were pages.
    readable: bool,
}

impl KeepJob {
    pub(super) fn run(self) -> Result<Kept> {
        let Self { pages, donor, cut, incoming } = self;
        let mut kept =
            Kept { snapshot: cut.snapshot, number: 0, place: Vec::new(), readable: true };
        let mut batch = Batch::default();
        for Page { number, rows, place, .. } in pages {
            kept.readable &= take_rows(&rows, &mut batch).is_some();
            (kept.number, kept.place) = (number, place);
        }
        if kept.readable {
            let row = progress(&donor, kept.number, &kept.place, &cut);
            batch.put(Table::Meta, PROGRESS, &row);
            incoming.write(&batch)?;
        }
        Ok(kept)
    }
}

/// Puts the rows of a page into a batch; none if it is no page.
pub fn take_rows(rows: &[u8], batch: &mut Batch) -> Option<()> {
    let Some((table, mut rest)) = rows.split_first() else { return Some(()) };
    let table = Table::from_place(*table)?;
    let mut part = || {
        let (length, after) = rest.split_first_chunk()?;
        let (part, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        rest = after;
        Some((part, after.is_empty()))
    };
    loop {
        let (key, _) = part()?;
        let (value, last) = part()?;
        batch.put(table, key, value);
        if last {
            return Some(());
        }
    }
}

impl Machine {
    pub(super) fn page_arrived(&mut self, now: Now, peer: &RegionName, page: Page) {
        let Some(joining) = &mut self.joining else { return };
        let known = joining.cut.as_ref().map(|cut| cut.snapshot);
        if joining.donor.as_ref() != Some(peer) || known != Some(page.snapshot) || joining.whole {
            return;
        }
        // Of what comes twice or too early nothing is kept.
        if page.number == joining.arrived + 1 && (joining.pages.len() as u64) < WINDOW_PAGES {
            joining.heard_at = now.monotonic;
            joining.arrived += 1;
            joining.bytes += page.rows.len() as u64;
            joining.pages.push_back(page);
        }
    }

    /// The pages that are to be kept next: all that came.
    pub(super) fn begin_keep(&mut self) -> Result<Option<KeepJob>> {
        let Some(joining) = &mut self.joining else { return Ok(None) };
        let (Some(cut), Some(donor)) = (&joining.cut, &joining.donor) else { return Ok(None) };
        if joining.pages.is_empty() {
            return Ok(None);
        }
        let incoming = self.store.incoming()?;
        let (cut, donor) = (cut.clone(), donor.clone());
        let pages = std::mem::take(&mut joining.pages);
        joining.writing = true;
        Ok(Some(KeepJob { pages, donor, cut, incoming }))
    }

    pub(super) fn page_kept(
        &mut self,
        now: Now,
        kept: Kept,
        outputs: &mut Vec<Output>,
    ) -> Result<()> {
        let Some(joining) = &mut self.joining else { return Ok(()) };
        joining.writing = false;
        if joining.cut.as_ref().map(|cut| cut.snapshot) != Some(kept.snapshot) {
            return Ok(());
        }
        if !kept.readable {
            let detail = format!("a page of its snapshot up to {} does not read", kept.number);
            if let Some(peer) = joining.donor.clone() {
                outputs.push(Output::Alarm(Alarm::Malformed { peer, detail }));
            }
            return self.give_up(now);
        }
        joining.heard_at = now.monotonic;
        joining.kept = kept.number;
        joining.whole = kept.place.is_empty();
        joining.place = kept.place;
        self.ask_donor(now, false, outputs);
        Ok(())
    }
}
