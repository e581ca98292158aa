//! Answers to queries, each read at one applied vector.
//!
//! A key's state and the logs are read as applied. What runs over rows is read from the store, at
//! the vector it has been brought to: where that is behind what was applied when it was asked, the
//! answer waits for a flush. Lists whose pages follow keep a snapshot for them, a few at most.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use linckia_model::{
    Copies, Event, Extras, Identity, Key, KeyState, Now, Operation, Origin, Policy, Record,
    RecordKey, Stamp, Status, Strategy, Transaction, Vector, canonical,
};
use linckia_store::{Store, Table, View};

use crate::apply::Apply;
use crate::error::{Error, Result, row};
use crate::keys::Entry;
use crate::port::Events;
use crate::presence::Stored;
use crate::query::{
    AggregateView, ConflictFilter, ConflictView, EventFilter, Found, Query, Reading,
};
use crate::rows;

/// The type of an event of which only the place in time is known.
const RETIRED_TYPE: &str = "Retired";

/// A record with its key.
pub type Recorded = (Key, RecordKey, Record);

/// Vectors whose lists can be paged on; the oldest expires.
const PAGES_MAX: usize = 16;

/// Events looked at for one page: a selective filter is answered in several short pages.
const SCANNED_MAX: usize = 10_000;

/// A page of events, or of aggregates, ends where its documents take so much.
const PAGE_BYTES: usize = 8 << 20;

/// Aggregates read at once for a page of them: of the largest ones that is much.
const ROWS_AT_ONCE: usize = 64;

/// Rows looked at for one page of records.
const RECORDS_SCANNED_MAX: usize = 10_000;

/// How much is read from each log at once for a page of events.
const READ_BYTES: u64 = 256 << 10;

/// A snapshot holds on to rows that were overwritten since, so pages expire, in milliseconds.
const PAGES_MILLISECONDS: u64 = 60_000;

/// Snapshots of lists whose next pages may be asked for.
#[derive(Default)]
pub struct Pages(VecDeque<Page>);

struct Page {
    at: Vector,
    view: Box<dyn View>,
    kept_at: u64,
}

impl Pages {
    fn find(&self, at: &Vector) -> Option<&dyn View> {
        self.0.iter().find(|page| page.at == *at).map(|page| page.view.as_ref())
    }

    /// Lets go of what is too old.
    pub fn expire(&mut self, now: Now) {
        let old = |page: &Page| now.monotonic.saturating_sub(page.kept_at) >= PAGES_MILLISECONDS;
        while self.0.front().is_some_and(old) {
            self.0.pop_front();
        }
    }

    fn keep(&mut self, now: Now, at: Vector, view: Box<dyn View>) {
        if self.find(&at).is_none() {
            if self.0.len() == PAGES_MAX {
                self.0.pop_front();
            }
            self.0.push_back(Page { at, view, kept_at: now.monotonic });
        }
    }
}

impl Apply {
    /// Answers a query, unless its rows are not in the store yet: then a flush was asked for, and
    /// [`Apply::read_rows`] answers once the store is at the vector applied now.
    ///
    /// # Errors
    /// The store's, or a row that is not ours: the region must stop. [`Error::Log`] is the asker's
    /// alone: what was asked for lies in a log that cannot be read there.
    pub fn read(
        &mut self,
        now: Now,
        query: &Query,
        store: &dyn Store,
        events: &dyn Events,
        pages: &mut Pages,
    ) -> Result<Option<Reading>> {
        let found = match query {
            Query::Vector => Found::Vector,
            Query::Aggregate { key } => {
                let presence = &self.presence;
                let stored = Stored { view: store, presence, known: &self.applied };
                let entry = self.keys.load(key, stored)?;
                let shown = entry.state.shown();
                Found::Aggregate { shown, view: view_of(key, entry) }
            }
            Query::Events { after, limit, filter } => self.events(after, *limit, filter, events)?,
            Query::Aggregates { at: Some(at), .. } if pages.find(at).is_some() => {
                return self.read_rows(now, query, store, events, pages).map(Some);
            }
            _ if self.is_stored() => {
                return self.read_rows(now, query, store, events, pages).map(Some);
            }
            _ => {
                self.wanted = true;
                return Ok(None);
            }
        };
        Ok(Some(Reading { vector: self.applied.clone(), found }))
    }

    /// Answers a query that runs over rows at the vector of the store; while no flush is under
    /// way, or the store might be further.
    ///
    /// # Errors
    /// As [`Apply::read`].
    pub fn read_rows(
        &self,
        now: Now,
        query: &Query,
        store: &dyn Store,
        events: &dyn Events,
        pages: &mut Pages,
    ) -> Result<Reading> {
        let mut vector = self.stored.clone();
        let found = match query {
            Query::Aggregates { data_set, aggregate_type, prefix, after, at, limit } => {
                let wanted = Listing { data_set, aggregate_type, prefix, after, limit: *limit };
                let page = at.as_ref().and_then(|at| Some((at, pages.find(at)?)));
                match (page, at) {
                    (Some((at, view)), _) => {
                        vector.clone_from(at);
                        self.list(&wanted, view)?
                    }
                    (None, Some(at)) if *at != self.stored => Found::Expired,
                    _ => {
                        let found = self.list(&wanted, store)?;
                        if matches!(&found, Found::Aggregates(_, Some(_))) {
                            pages.keep(now, self.stored.clone(), store.snapshot());
                        }
                        found
                    }
                }
            }
            Query::History { key, after, limit, backward } => {
                self.history(key, after.as_ref(), *limit, *backward, store, events)?
            }
            Query::Past { key, after, limit } => {
                self.past(key, after.as_ref(), *limit, store, events)?
            }
            Query::Conflicts { filter, after, limit } => {
                self.records(filter, after.as_deref(), *limit, store, events)?
            }
            Query::Conflict { id } => self.record(id, store, events)?,
            _ => Found::Digests(self.digests().expect("no flush is under way while rows are read")),
        };
        Ok(Reading { vector, found })
    }

    fn list(&self, wanted: &Listing<'_>, view: &dyn View) -> Result<Found> {
        let start = [wanted.data_set.as_bytes(), wanted.aggregate_type.as_bytes()].join(&0);
        let at = |id: &str, end: u8| [&start[..], &[0], id.as_bytes(), &[end]].concat();
        let mut from = match wanted.after {
            Some(after) => [at(after, 0), vec![0]].concat(),
            None => [&start[..], &[0], wanted.prefix.as_bytes()].concat(),
        };
        let until = at(wanted.prefix, 0xff);
        let (mut items, mut weight) = (Vec::new(), 0);
        let at_once = (wanted.limit + 1).min(ROWS_AT_ONCE);
        loop {
            let rows = view.scan(Table::States, &from, &until, at_once, false)?;
            let full = rows.len() == at_once;
            for (bytes, value) in rows {
                from = [&bytes[..], &[0]].concat();
                let key = Key::from_bytes(&bytes).map_err(row("states"))?;
                let entry = Entry::decode(&value, &self.applied)?;
                let Some(item) = view_of(&key, &entry) else { continue };
                if items.len() == wanted.limit || weight >= PAGE_BYTES {
                    let last: Option<&AggregateView> = items.last();
                    let next = last.map(|item| item.key.aggregate_id.to_string());
                    return Ok(Found::Aggregates(items, next));
                }
                weight += value.len();
                items.push(item);
            }
            if !full {
                return Ok(Found::Aggregates(items, None));
            }
        }
    }

    fn history(
        &self,
        key: &Key,
        after: Option<&Stamp>,
        limit: usize,
        backward: bool,
        view: &dyn View,
        events: &dyn Events,
    ) -> Result<Found> {
        let prefix = key.to_bytes();
        let mut from = prefix.clone();
        let mut until = [&prefix[..], &[0xff; 9]].concat();
        match after {
            Some(stamp) if backward => until = rows::history_key(&prefix, stamp),
            Some(stamp) => from = [rows::history_key(&prefix, stamp), vec![0]].concat(),
            None => {}
        }
        let mut found: Vec<Arc<Event>> = Vec::new();
        let (mut scanned, mut weight, mut last) = (0, 0, None);
        loop {
            if scanned >= SCANNED_MAX {
                return Ok(Found::History(found, last));
            }
            let rows = view.scan(Table::History, &from, &until, limit + 1, backward)?;
            let full = rows.len() > limit;
            scanned += rows.len();
            for (bytes, _) in rows {
                let stamp = rows::history_stamp(&bytes, prefix.len(), &self.applied)?;
                if found.len() == limit || weight >= PAGE_BYTES {
                    return Ok(Found::History(found, last));
                }
                if backward {
                    until = bytes;
                } else {
                    from = [&bytes[..], &[0]].concat();
                }
                let event = events.event(&stamp.dot).map_err(Error::Log)?;
                last = Some(stamp);
                let Some(event) = event else { continue };
                if self.counts(key, &event, view)? {
                    weight += event.weight();
                    found.push(event);
                }
            }
            if !full {
                return Ok(Found::History(found, None));
            }
        }
    }

    /// History lists an id once: the first copy in order.
    fn counts(&self, key: &Key, event: &Event, view: &dyn View) -> Result<bool> {
        let stamps = self.stored_in(view).copies(key, &event.identity)?;
        if stamps.len() < 2 {
            return Ok(true);
        }
        let mut copies = Copies::default();
        copies.note(&event.identity, stamps);
        let window = self.settings.fold.window_milliseconds;
        Ok(copies.counts(&event.identity, &event.stamp(), window))
    }

    /// The logs beyond a vector, merged in fold order, which extends the causal one.
    fn events(
        &self,
        after: &Vector,
        limit: usize,
        filter: &EventFilter,
        events: &dyn Events,
    ) -> Result<Found> {
        let mut next = after.clone();
        let mut missing = Vec::new();
        let mut heads: BTreeMap<Stamp, (Arc<Event>, VecDeque<Arc<Event>>)> = BTreeMap::new();
        for (origin, last) in self.applied.iter() {
            let first = events.first(origin);
            if next.get(origin) + 1 < first && next.get(origin) < last {
                missing.push((origin.clone(), next.get(origin) + 1, first - 1));
                next.set(origin, first - 1);
            }
            self.head(origin, next.get(origin), VecDeque::new(), events, &mut heads)?;
        }
        let (mut found, mut scanned, mut weight) = (Vec::new(), 0, 0);
        while found.len() < limit && scanned < SCANNED_MAX && weight < PAGE_BYTES {
            let Some((_, (event, rest))) = heads.pop_first() else { break };
            scanned += 1;
            let dot = event.dot.clone();
            next.set(&dot.origin, dot.sequence);
            if filter.takes(&event) {
                weight += event.weight();
                found.push(event);
            }
            self.head(&dot.origin, dot.sequence, rest, events, &mut heads)?;
        }
        Ok(Found::Events { events: found, next, missing })
    }

    fn head(
        &self,
        origin: &Origin,
        after: u64,
        mut rest: VecDeque<Arc<Event>>,
        events: &dyn Events,
        heads: &mut BTreeMap<Stamp, (Arc<Event>, VecDeque<Arc<Event>>)>,
    ) -> Result<()> {
        if after >= self.applied.get(origin) {
            return Ok(());
        }
        if rest.is_empty() {
            rest.extend(events.events(origin, after + 1, READ_BYTES).map_err(Error::Log)?);
        }
        if let Some(event) = rest.pop_front() {
            heads.insert(event.stamp(), (event, rest));
        }
        Ok(())
    }

    fn records(
        &self,
        filter: &ConflictFilter,
        after: Option<&str>,
        limit: usize,
        view: &dyn View,
        events: &dyn Events,
    ) -> Result<Found> {
        let mut prefix = filter.data_set.as_bytes().to_vec();
        prefix.push(0);
        if let Some(aggregate_type) = &filter.aggregate_type {
            prefix.extend_from_slice(aggregate_type.as_bytes());
            prefix.push(0);
            if let Some(aggregate_id) = &filter.aggregate_id {
                prefix.extend_from_slice(aggregate_id.as_bytes());
                prefix.push(0);
            }
        }
        let until = [&prefix[..], &[0xff; 9]].concat();
        let from = match after.and_then(rows::unhex) {
            Some(row) if row >= prefix => [&row[..], &[0]].concat(),
            _ => prefix,
        };
        // An id without its type, and a status, make rows on the way that are not wanted.
        let by_id = filter.aggregate_id.is_some() && filter.aggregate_type.is_none();
        let sparse = by_id || filter.open.is_some();
        let bound = if sparse { RECORDS_SCANNED_MAX } else { limit + 1 };
        let rows = view.scan(Table::Records, &from, &until, bound, false)?;
        let (mut found, mut last, mut more) = (Vec::new(), None, rows.len() == bound);
        for (bytes, value) in rows {
            if found.len() == limit {
                more = true;
                break;
            }
            let (key, _) = rows::key_of(&bytes)?;
            let id = filter.aggregate_id.as_ref();
            if id.is_none_or(|id| **id == *key.aggregate_id) {
                let view = self.conflict_view(key, &value, events)?;
                found.extend(view.filter(|view| filter.open.is_none_or(|open| open == view.open)));
            }
            last = Some(rows::hex(&bytes));
        }
        Ok(Found::Conflicts(found, last.filter(|_| more)))
    }

    fn record(&self, id: &str, view: &dyn View, events: &dyn Events) -> Result<Found> {
        let id = rows::unhex(id).filter(|id| id.len() == rows::ID_BYTES);
        let Some(id) = id else { return Ok(Found::Conflict(None)) };
        let Some(row) = view.get(Table::Records, &rows::index_key(&id))? else {
            return Ok(Found::Conflict(None));
        };
        let Some(value) = view.get(Table::Records, &row)? else {
            return Ok(Found::Conflict(None));
        };
        let (key, _) = rows::key_of(&row)?;
        Ok(Found::Conflict(self.conflict_view(key, &value, events)?.map(Box::new)))
    }

    fn conflict_view(
        &self,
        key: Key,
        value: &[u8],
        events: &dyn Events,
    ) -> Result<Option<ConflictView>> {
        let (record_key, record) = rows::read_record(value, &self.applied)?;
        let read = |stamp: &Stamp| events.event(&stamp.dot).map_err(Error::Log);
        let losers = record_key.losers.iter().map(read).collect::<Result<Option<Vec<_>>>>()?;
        let Some(losers) = losers else { return Ok(None) };
        let winner = read(&record_key.winner)?;
        let winner = winner.unwrap_or_else(|| stand_in(&record_key.winner, &key));
        let settled_by = match &record.status {
            Status::SettledBy(stamp) => read(stamp)?,
            _ => None,
        };
        // The later of the two put it on record, and of a type's epochs the later is the higher.
        let met = losers.iter().chain([&winner]).map(|event| event.policy_epoch);
        let policy = self.policies().of(&key).get(met.max().unwrap_or_default());
        Ok(Some(ConflictView {
            id: rows::hex(&rows::conflict_id(&record_key)),
            kind: record.kind,
            key,
            strategy: policy.map_or(Strategy::LastWriterWins, Policy::strategy),
            open: record.is_open(),
            settled_by,
            paths: record.paths.into_iter().collect(),
            losers,
            winner,
            confirmed: record_key.at().hlc <= self.stable(),
        }))
    }
}

/// What is shown of an event that had left its log before a record named it: an event that finds
/// something in its place names what was put there, however long ago.
fn stand_in(stamp: &Stamp, key: &Key) -> Arc<Event> {
    Arc::new(Event {
        dot: stamp.dot.clone(),
        hlc: stamp.hlc,
        deps: Vector::new(),
        transaction: Transaction::single(stamp.dot.sequence),
        key: key.clone(),
        event_type: RETIRED_TYPE.into(),
        operation: Operation::Record,
        data: serde_json::Value::Null,
        ctx: None,
        identity: Identity { event_id: "".into(), place: 0 },
        version: 0,
        policy_epoch: 0,
        schema_version: 0,
        extras: Extras::default(),
    })
}

struct Listing<'a> {
    data_set: &'a str,
    aggregate_type: &'a str,
    prefix: &'a str,
    after: &'a Option<String>,
    limit: usize,
}

fn view_of(key: &Key, entry: &Entry) -> Option<AggregateView> {
    let state: &KeyState = &entry.state;
    let folded = state.folded();
    Some(AggregateView {
        key: key.clone(),
        version: folded.version,
        data: folded.value?,
        conflicts: entry.conflicts,
        updated_at: folded.frontier.iter().map(|stamp| stamp.hlc).max()?,
        entity_tag: canonical::entity_tag(state)?,
    })
}

impl EventFilter {
    /// True if the event is wanted.
    pub fn takes(&self, event: &Event) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|w| w == found);
        *self.data_set == *event.key.data_set
            && is(&self.event_type, &event.event_type)
            && is(&self.aggregate_type, &event.key.aggregate_type)
            && is(&self.aggregate_id, &event.key.aggregate_id)
            && is(&self.region, event.dot.origin.region())
            && self.takes_origin(event)
    }
}
