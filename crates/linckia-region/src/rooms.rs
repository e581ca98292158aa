//! The rooms as the head sees them: logs and store, for reading.
//!
//! Connects the ports of apply, capture and ship to the log's readers. Nothing that is not durable
//! can be read here.

use std::sync::Arc;

use linckia_apply::{Apply, Events};
use linckia_capture::Standing;
use linckia_log::Logs;
use linckia_model::{
    Abridged, Cause, Dot, Event, EventSource, Identity, Key, KeyState, Origin, Stamp, Vector,
    decode_event,
};
use linckia_ship::{Chunk, Records};
use linckia_store::View;

/// Records looked at for one read: bounds the work of one input.
const RECORDS_MAX: usize = 4_096;

/// The largest transaction that can be sent at once.
const TRANSACTION_BYTES_MAX: u64 = 64 << 20;

/// The lowest sequence that a log holds; 1 of one that is not there.
pub(crate) fn first_held(logs: &Logs, origin: &Origin) -> u64 {
    logs.reader(origin.as_str()).map_or(1, |reader| reader.first().max(1))
}

/// The event of a record.
pub(crate) fn event_of(
    origin: &Origin,
    record: &linckia_log::Record<'_>,
    known: &Vector,
) -> crate::error::Result<Event> {
    let sequence = record.sequence();
    let dot = Dot::new(origin.clone(), sequence);
    decode_event(dot, record.payload(), known).map_err(|source| crate::Error::Event {
        origin: origin.to_string(),
        sequence,
        source,
    })
}

/// Durable events of all logs.
#[derive(Clone, Copy)]
pub(crate) struct Durable<'a> {
    pub(crate) logs: &'a Logs,
    /// Lends its origins' names.
    pub(crate) known: &'a Vector,
    /// Has events that their logs let go of and that are still needed.
    pub(crate) view: Option<&'a dyn View>,
}

impl EventSource for Durable<'_> {
    fn event(&self, dot: &Dot) -> Result<Option<Arc<Event>>, Cause> {
        self.read_one(dot).map_err(Into::into)
    }

    fn between(&self, key: &Key, first: &Stamp, last: &Stamp) -> Result<Vec<Arc<Event>>, Cause> {
        self.read_between(key, first, last).map_err(Into::into)
    }
}

impl Durable<'_> {
    fn read_one(&self, Dot { origin, sequence }: &Dot) -> crate::error::Result<Option<Arc<Event>>> {
        use linckia_log::Error::{Truncated, UnknownOrigin};
        let batch = match self.logs.read(origin.as_str(), *sequence, 1, 1) {
            Err(Truncated { .. } | UnknownOrigin { .. }) => {
                let dot = Dot::new(origin.clone(), *sequence);
                let kept = |view| linckia_apply::kept_whole(&dot, view, self.known);
                return Ok(self.view.map(kept).transpose()?.flatten());
            }
            read => read?,
        };
        let record = batch.first().filter(|record| record.sequence() == *sequence);
        record.map(|record| event_of(origin, &record, self.known).map(Arc::new)).transpose()
    }

    fn read_between(
        &self,
        key: &Key,
        first: &Stamp,
        last: &Stamp,
    ) -> crate::error::Result<Vec<Arc<Event>>> {
        let Some(view) = self.view else { return Ok(Vec::new()) };
        let stamps = linckia_apply::history_between(key, first, last, view, self.known)?;
        stamps.iter().filter_map(|stamp| self.read_one(&stamp.dot).transpose()).collect()
    }
}

impl Events for Durable<'_> {
    fn events(&self, origin: &Origin, from: u64, bytes_max: u64) -> Result<Vec<Arc<Event>>, Cause> {
        use linckia_log::Error::{Truncated, UnknownOrigin};
        let batch = match self.logs.read(origin.as_str(), from, bytes_max, RECORDS_MAX) {
            Err(Truncated { .. } | UnknownOrigin { .. }) => return Ok(Vec::new()),
            read => read?,
        };
        let event = |record| event_of(origin, &record, self.known).map(Arc::new);
        Ok(batch.iter().map(event).collect::<crate::error::Result<_>>()?)
    }

    fn first(&self, origin: &Origin) -> u64 {
        first_held(self.logs, origin)
    }
}

impl Records for Durable<'_> {
    fn first(&self, origin: &Origin) -> u64 {
        first_held(self.logs, origin)
    }

    fn records(&self, origin: &Origin, from: u64, until: u64, bytes_max: u64) -> Option<Chunk> {
        let mut bytes_max = bytes_max;
        loop {
            let batch = self.logs.read(origin.as_str(), from, bytes_max, RECORDS_MAX).ok()?;
            let within = || batch.iter().take_while(|record| record.sequence() <= until);
            let end = within().filter(|record| !record.more()).last();
            if let Some(end) = end {
                let last = end.sequence();
                let mut bytes = Vec::with_capacity(batch.wire_bytes() as usize);
                for record in within().take_while(|record| record.sequence() <= last) {
                    bytes.extend_from_slice(record.wire());
                }
                return Some(Chunk { bytes, last });
            }
            if batch.is_empty() || bytes_max >= TRANSACTION_BYTES_MAX {
                return None;
            }
            bytes_max *= 4;
        }
    }
}

/// What is applied, for capture.
pub(crate) struct Here<'a> {
    pub(crate) apply: &'a mut Apply,
    pub(crate) view: &'a dyn View,
    pub(crate) durable: Durable<'a>,
}

impl Standing for Here<'_> {
    type Error = linckia_apply::Error;

    fn applied(&self) -> &Vector {
        self.apply.applied()
    }

    fn state(&mut self, key: &Key) -> Result<KeyState, Self::Error> {
        self.apply.state(key, self.view).cloned()
    }

    fn copies(&mut self, key: &Key, identity: &Identity) -> Result<Vec<Stamp>, Self::Error> {
        self.apply.copies(key, identity, self.view)
    }

    fn event(&self, dot: &Dot) -> Result<Option<Arc<Event>>, Cause> {
        self.durable.event(dot)
    }

    fn between(&self, key: &Key, first: &Stamp, last: &Stamp) -> Result<Vec<Arc<Event>>, Cause> {
        self.durable.between(key, first, last)
    }

    fn abridged(&self, stamp: &Stamp) -> Result<Option<Abridged>, Self::Error> {
        self.apply.abridged(&stamp.dot, self.view)
    }
}
