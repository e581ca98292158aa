//! What stays of events that their log lets go of.
//!
//! History is as long as the logs. Beyond it a record still shows both sides, and an id that was
//! used is still known within its window: what that takes of an event is kept in a row of its own.
//! Beside the core; whoever truncates makes these rows durable before.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use linckia_model::{
    Abridged, Dot, Error, Event, Hlc, Key, Reader, Status, Vector, Writer, decode_event,
    encode_event,
};
use linckia_store::{Batch, Pair, Store, Table, View};

use crate::error::{Result, row};
use crate::keys;
use crate::rows;

/// Events of records, and their keys, remembered while events are looked at.
const REMEMBERED_MAX: usize = 100_000;

/// Rows that are written at once.
const ROWS_MAX: usize = 16_384;

/// What a row begins with: an event on record entire, or what answers a client who repeats an id.
const WHOLE: u8 = 1;
const ABRIDGED: u8 = 2;

/// Records that are looked through once: beyond it, those of each key.
const RECORDS_MAX: usize = 16_384;

/// The events that records name, where there are few records: most keys have none, and looking
/// whether one has any costs more than all else.
pub struct Named(Option<HashSet<Dot>>);

impl Named {
    /// # Errors
    /// The store's, or a row that is not ours.
    pub fn read(view: &dyn View, known: &Vector) -> Result<Self> {
        let rows = view.scan(Table::Records, &[], &rows::index_start(), RECORDS_MAX, false)?;
        if rows.len() == RECORDS_MAX {
            return Ok(Self(None));
        }
        let mut dots = HashSet::new();
        rows.iter().try_for_each(|(_, value)| name_dots(value, known, &mut dots))?;
        Ok(Self(Some(dots)))
    }
}

/// The events that a record's row names.
fn name_dots(value: &[u8], known: &Vector, dots: &mut impl Extend<Dot>) -> Result<()> {
    let (named, record) = rows::read_record(value, known)?;
    dots.extend(named.losers.into_iter().chain([named.winner]).map(|stamp| stamp.dot));
    if let Status::SettledBy(stamp) = record.status {
        dots.extend([stamp.dot]);
    }
    Ok(())
}

/// Rows for events that are about to leave their log.
pub struct Retirement {
    /// Ids of events up to there are not asked for any more.
    forgotten: Hlc,
    /// Later events are kept entire.
    whole_above: Hlc,
    /// Every origin that a row may name.
    known: Vector,
    /// The events that each key's records name.
    recorded: HashMap<Key, BTreeSet<Dot>>,
    /// How many events that is, and keys.
    remembered: usize,
    batch: Batch,
}

impl Retirement {
    pub(crate) fn new(forgotten: Hlc, known: Vector) -> Self {
        let (recorded, batch) = (HashMap::new(), Batch::default());
        Self { forgotten, whole_above: Hlc::MAX, known, recorded, remembered: 0, batch }
    }

    /// For another region that has no log of these events: those above this time it may have to
    /// fold again.
    #[must_use]
    pub fn with_whole_above(self, floor: Hlc) -> Self {
        Self { whole_above: floor, ..self }
    }

    /// The rows that were made since, for another region.
    pub fn take_rows(&mut self) -> Vec<Pair> {
        let batch = std::mem::take(&mut self.batch);
        let rows =
            batch.changes().filter_map(|(_, key, value)| Some((key.to_vec(), value?.to_vec())));
        rows.collect()
    }

    /// Takes an event that is stable, and stored.
    ///
    /// # Errors
    /// The store's, or a row that is not ours.
    pub fn take(&mut self, event: &Event, named: &Named, view: &dyn View) -> Result<()> {
        let stamp = event.stamp();
        self.batch.remove(Table::History, &rows::history_key(&event.key.to_bytes(), &stamp));
        let name = rows::event_key(&event.dot);
        let recorded = match &named.0 {
            Some(dots) => dots.contains(&event.dot),
            None => self.is_recorded(event, view)?,
        };
        if recorded || event.hlc > self.whole_above {
            self.batch.put(Table::Events, &name, &[&[WHOLE], &encode_event(event)[..]].concat());
        } else if event.hlc > self.forgotten {
            self.batch.put(Table::Events, &name, &encode(&event.abridged()));
        }
        Ok(())
    }

    fn is_recorded(&mut self, event: &Event, view: &dyn View) -> Result<bool> {
        if !self.recorded.contains_key(&event.key) {
            let dots = recorded(&event.key, view, &self.known)?;
            self.remembered += dots.len() + 1;
            if self.remembered > REMEMBERED_MAX {
                self.recorded.clear();
                self.remembered = dots.len() + 1;
            }
            self.recorded.insert(event.key.clone(), dots);
        }
        Ok(self.recorded[&event.key].contains(&event.dot))
    }

    /// Writes the rows made so far, if they are many.
    ///
    /// # Errors
    /// The store's.
    pub fn write_many(&mut self, store: &dyn Store) -> Result<()> {
        if self.batch.len() >= ROWS_MAX {
            store.write(&std::mem::take(&mut self.batch))?;
        }
        Ok(())
    }

    /// Writes the rows that are left and makes all durable, with everything that the store has.
    ///
    /// # Errors
    /// The store's.
    pub fn finish(self, store: &dyn Store) -> Result<()> {
        store.write(&self.batch)?;
        Ok(store.sync()?)
    }
}

/// The events that the records of a key name.
fn recorded(key: &Key, view: &dyn View, known: &Vector) -> Result<BTreeSet<Dot>> {
    let prefix = key.to_bytes();
    let mut dots = BTreeSet::new();
    let state = view.get(Table::States, &prefix)?;
    if state.map_or(Ok(0), |bytes| keys::conflicts(&bytes))? == 0 {
        return Ok(dots);
    }
    let end = [&prefix[..], &[0xff; 9]].concat();
    for (_, value) in view.scan(Table::Records, &prefix, &end, usize::MAX, false)? {
        name_dots(&value, known, &mut dots)?;
    }
    Ok(dots)
}

fn encode(Abridged { hlc, version, content }: &Abridged) -> Vec<u8> {
    let mut out = Writer::default();
    out.byte(ABRIDGED);
    out.fixed(hlc.bits());
    out.number(*version);
    out.0.extend_from_slice(content);
    out.0
}

/// What is kept of an event.
enum Kept {
    Whole(Arc<Event>),
    Abridged(Abridged),
}

fn kept(dot: &Dot, view: &dyn View, known: &Vector) -> Result<Option<Kept>> {
    let Some(bytes) = view.get(Table::Events, &rows::event_key(dot))? else { return Ok(None) };
    let read = || {
        let mut reader = Reader(&bytes);
        match reader.byte("kind")? {
            WHOLE => Ok(Kept::Whole(Arc::new(decode_event(dot.clone(), reader.0, known)?))),
            ABRIDGED => {
                let hlc = Hlc::from_bits(reader.fixed("HLC")?);
                let version = reader.number("version")?;
                let content = reader.0.try_into().map_err(|_| Error::Short("content"))?;
                Ok(Kept::Abridged(Abridged { hlc, version, content }))
            }
            code => Err(Error::Code { what: "kind", code: u64::from(code) }),
        }
    };
    read().map(Some).map_err(row("events"))
}

/// An event that its log has let go of and that was kept entire.
///
/// # Errors
/// The store's, or a row that is not ours.
pub fn kept_whole(dot: &Dot, view: &dyn View, known: &Vector) -> Result<Option<Arc<Event>>> {
    Ok(match kept(dot, view, known)? {
        Some(Kept::Whole(event)) => Some(event),
        _ => None,
    })
}

/// What answers a repeated id whose event its log has let go of.
pub(crate) fn abridged(dot: &Dot, view: &dyn View, known: &Vector) -> Result<Option<Abridged>> {
    Ok(kept(dot, view, known)?.map(|kept| match kept {
        Kept::Whole(event) => event.abridged(),
        Kept::Abridged(abridged) => abridged,
    }))
}

/// True if the row holds nothing but what answers a repeated id.
pub(crate) fn is_abridged(bytes: &[u8]) -> bool {
    bytes.first() == Some(&ABRIDGED)
}
