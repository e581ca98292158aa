//! All rows of the store, read as a whole, and a row gone bad: for the simulator, and nothing else.

use linckia_model::{Key, KeyState, Vector, canonical};
use linckia_store::{Table, View};

use super::Apply;
use crate::error::{Result, row};
use crate::rows;

impl Apply {
    /// Every key that holds something or is remembered, for the simulator's judge; after a flush.
    ///
    /// # Errors
    /// The store's, or a row that is not ours.
    pub fn all_states(&self, view: &dyn View) -> Result<Vec<(Key, KeyState)>> {
        let rows = view.scan(Table::States, &[], &[], usize::MAX, false)?;
        rows.into_iter()
            .map(|(key, bytes)| {
                let key = Key::from_bytes(&key).map_err(row("states"))?;
                Ok((key, crate::keys::Entry::decode(&bytes, &self.applied)?.state))
            })
            .collect()
    }

    /// Every record as (key, losers and winner, record), for the simulator's judge; after a flush.
    ///
    /// # Errors
    /// The store's, or a row that is not ours.
    pub fn all_records(&self, view: &dyn View) -> Result<Vec<crate::read::Recorded>> {
        let end = rows::index_start();
        let rows = view.scan(Table::Records, &[], &end, usize::MAX, false)?;
        rows.into_iter()
            .map(|(bytes, value)| {
                let (key, _) = rows::key_of(&bytes)?;
                let (record_key, record) = rows::read_record(&value, &self.applied)?;
                Ok((key, record_key, record))
            })
            .collect()
    }
}

/// How often a bit is drawn.
const DRAWN_MAX: usize = 300;

/// A row of a key with one bit turned, so that it is still one, of other contents, and rests on the
/// same events. `draw` gives a number below another one.
pub fn rotten(
    key: &Key,
    row: &[u8],
    known: &Vector,
    draw: &mut dyn FnMut(usize) -> usize,
) -> Option<Vec<u8>> {
    let before = crate::keys::Entry::decode(row, known).ok()?.state;
    let told = |state: &KeyState| {
        (state.shown(), state.tail_length(), state.needs_from(), state.unsettled_until())
    };
    (0..DRAWN_MAX).find_map(|_| {
        let mut bad = row.to_vec();
        bad[draw(row.len())] ^= 1 << draw(8);
        let after = crate::keys::Entry::decode(&bad, known).ok()?.state;
        // Sums stay sums.
        let value = after.folded().value.unwrap_or_default().to_string();
        let far = |run: &str| run.len() > 9;
        let huge = value.split(|c: char| !c.is_ascii_digit()).any(far);
        let near = after.version().abs_diff(before.version()) < 1_000 && !huge;
        let other = canonical::digest(key, &after) != canonical::digest(key, &before);
        (near && other && told(&after) == told(&before)).then_some(bad)
    })
}
