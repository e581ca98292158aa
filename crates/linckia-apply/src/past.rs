//! All that the logs have of one aggregate: what an undo is judged by.
//!
//! Beside `read`, over rows at the vector of the store. What always holds: if events are missing,
//! because logs let go of them, those that are left give another version than the state has.

use std::sync::Arc;

use linckia_model::{Event, Key, Stamp, canonical};
use linckia_store::{Table, View};

use crate::apply::Apply;
use crate::error::{Error, Result};
use crate::keys::Entry;
use crate::port::Events;
use crate::query::{EventFilter, Found};
use crate::rows;

/// A page ends where its documents take so much.
const PAST_BYTES: usize = 1 << 20;

impl Apply {
    pub(crate) fn past(
        &self,
        key: &Key,
        after: Option<&Stamp>,
        limit: usize,
        view: &dyn View,
        events: &dyn Events,
    ) -> Result<Found> {
        let prefix = key.to_bytes();
        let from = match after {
            Some(stamp) => [rows::history_key(&prefix, stamp), vec![0]].concat(),
            None => prefix.clone(),
        };
        let until = [&prefix[..], &[0xff; 9]].concat();
        let rows = view.scan(Table::History, &from, &until, limit, false)?;
        let mut full = rows.len() == limit;
        let (mut found, mut last): (Vec<Arc<Event>>, _) = (Vec::new(), None);
        let mut weight = 0;
        for (bytes, _) in rows {
            if weight >= PAST_BYTES {
                full = true;
                break;
            }
            let stamp = rows::history_stamp(&bytes, prefix.len(), &self.applied)?;
            let event = events.event(&stamp.dot).map_err(Error::Log)?;
            weight += event.as_ref().map_or(0, |event| event.weight());
            found.extend(event);
            last = Some(stamp);
        }
        let entry = match view.get(Table::States, &prefix)? {
            Some(value) => Some(Entry::decode(&value, &self.applied)?),
            None => None,
        };
        Ok(Found::Past {
            events: found,
            next: last.filter(|_| full),
            version: entry.as_ref().map_or(0, |entry| entry.state.version()),
            entity_tag: entry.and_then(|entry| canonical::entity_tag(&entry.state)),
            // Of the flush that the rows are of.
            stable: self.saved(),
        })
    }
}

impl EventFilter {
    /// Who wrote it, why and when.
    pub(crate) fn takes_origin(&self, event: &Event) -> bool {
        let is = |wanted: &Option<String>, found: &Option<Box<str>>| {
            wanted.is_none() || wanted.as_deref() == found.as_deref()
        };
        let time = event.hlc.milliseconds();
        is(&self.actor, &event.extras.actor)
            && is(&self.correlation_id, &event.extras.correlation_id)
            && is(&self.causation_id, &event.extras.causation_id)
            && self.since.is_none_or(|since| since <= time)
            && self.until.is_none_or(|until| time < until)
    }
}
