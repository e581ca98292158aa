//! Rows that go bad behind a region's back: they are found by comparing, and put right from another
//! region, before the run may end.
//!
//! What always holds: a bad row is a row, and rests on the same events as the one before.

use linckia_apply::{Found, Query, Reading, rotten, stored_at};
use linckia_model::{Key, KeyState, canonical};
use linckia_region::{Input, Output};
use linckia_store::{Batch, Rows as _, Table, View as _};

use super::{World, key, key_name};

/// A key, how often it was written, and its entity tag.
type Shown = (Key, u64, Option<String>);

impl World {
    /// A bit of some row of a region turns.
    pub(super) fn rot(&mut self, region: usize) {
        let store = self.places[region].store.clone();
        let Ok(known) = stored_at(&store) else { return };
        let number = self.rot_random.below(self.plan.keys as u64) as usize;
        let (name, random) = (key(number).to_bytes(), &mut self.rot_random);
        let Ok(Some(row)) = store.get(Table::States, &name) else { return };
        let mut draw = |bound: usize| random.below(bound as u64) as usize;
        let Some(bad) = rotten(&key(number), &row, &known, &mut draw) else { return };
        let mut batch = Batch::default();
        batch.put(Table::States, &name, &bad);
        store.write(&batch).expect("memory takes it");
        self.note(|| format!("{}: the row of {number} goes bad", key_name(region)));
    }

    /// True once no row is bad: every region shows the same, in rows and in digests.
    pub(super) fn is_repaired(&mut self) -> bool {
        if !self.plan.rots {
            return true;
        }
        let shown: Vec<_> = (0..self.places.len()).map(|region| self.rows_of(region)).collect();
        shown.windows(2).all(|pair| pair[0].is_some() && pair[0] == pair[1])
    }

    /// What the rows of a region show, and its digest.
    fn rows_of(&mut self, region: usize) -> Option<(Vec<Shown>, [u8; 32])> {
        self.finish_jobs(region);
        let now = self.clocks(region);
        let machine = self.places[region].machine.as_mut()?;
        machine.flush(now).ok()?;
        let states = machine.apply().all_states(machine.store()).ok()?;
        let tag =
            |(key, state): (Key, KeyState)| (key, state.version(), canonical::entity_tag(&state));
        let shown = states.into_iter().map(tag).collect();
        let ask = Input::Read { ticket: 0, query: Query::Digests };
        let outputs = machine.handle(now, ask).ok()?;
        let root = outputs.into_iter().find_map(|output| match output {
            Output::Reading {
                reading: Some(Reading { found: Found::Digests(it), .. }), ..
            } => Some(it.root),
            _ => None,
        });
        Some((shown, root?))
    }
}
