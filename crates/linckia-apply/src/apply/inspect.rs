//! All rows of the store, read as a whole: for the simulator's judge, and nothing else.

use linckia_model::{Key, KeyState};
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
