//! What a region brought back from beyond the end of a closed log, as it stands on record.
//!
//! Each such event is the document of an aggregate of a data set of the fleet's own, named by its
//! dot, so that it is there once, in every region (contract 9). Where two directories gave one dot
//! to two events, each is there. What always holds: what goes on record can be written again as it
//! was, under its own id.

use std::sync::Arc;

use bytes::BytesMut;
use linckia_model::{Dot, Event, Extras, Identity, Key, NewEvent, Operation, content_hash};
use serde_json::{Map, Value, json};

use crate::render::event::{EventForm, write};

/// The data set that the fleet writes for itself; clients only read it.
pub(crate) const DATA_SET: &str = "linckia";

/// The type of the aggregates that hold them.
pub(crate) const AGGREGATE_TYPE: &str = "ReturnedEvent";

/// The type of the events that put one on record.
const WHAT: &str = "EventReturned";

/// In the id of a record, between log and sequence, where another one has its place.
const FORKED: &str = "~:";

/// What has become of one.
pub(crate) const RETURNED: &str = "returned";
pub(crate) const ADMITTED: &str = "admitted";
pub(crate) const DISCARDED: &str = "discarded";

/// What puts an event on record; with the precondition that it is not there. A record that did not
/// come through is made again.
pub fn on_record(event: &Event) -> NewEvent {
    if is_reserved(Some(&*event.key.data_set)) {
        let Event { key, event_type, operation, data, identity, extras, .. } = event.clone();
        return NewEvent { key, event_type, operation, data, event_id: identity.event_id, extras };
    }
    let mut text = BytesMut::new();
    write(&mut text, event, EventForm::Native);
    let native: Value = serde_json::from_slice(&text).unwrap_or_default();
    let mut data = Map::new();
    data.insert("dot".to_owned(), event.dot.to_string().into());
    data.insert("dataSet".to_owned(), (*event.key.data_set).into());
    data.insert("transaction".to_owned(), event.transaction.first.into());
    if let Some(label) = event.extras.label.as_deref() {
        data.insert("label".to_owned(), label.into());
    }
    if event.identity.place > 0 {
        data.insert("place".to_owned(), event.identity.place.into());
    }
    data.insert("event".to_owned(), native);
    data.insert("hash".to_owned(), hash_of(event).into());
    let event_id = format!("{RETURNED}.{}", event.dot);
    changed(key_of(&event.dot), WHAT, Operation::Put, data.into(), event_id)
}

/// Of what a client wrote, however it is shown.
fn hash_of(event: &Event) -> String {
    let Key { data_set, aggregate_type, aggregate_id } = &event.key;
    let Identity { event_id, place } = &event.identity;
    let whole =
        json!([**data_set, **aggregate_type, **aggregate_id, **event_id, place, event.data]);
    let hash = content_hash(event.operation, &event.event_type, &whole);
    format!("{:032x}", u128::from_be_bytes(hash))
}

/// The same beside another event that is on record under its dot: two directories wrote one log.
/// None if that is not what stands there.
pub fn on_record_apart(new: &NewEvent, there: &Value) -> Option<NewEvent> {
    let (hash, known) = (new.data["hash"].as_str()?, there["hash"].as_str()?);
    if known == hash {
        return None;
    }
    let mut new = new.clone();
    new.data["fork"] = true.into();
    // Behind all of the log, so that what was written together lies together.
    let id = new.key.aggregate_id.replacen(':', FORKED, 1);
    new.key = Key::new(DATA_SET, AGGREGATE_TYPE, &format!("{id}:{hash}"));
    new.event_id = format!("{}.{hash}", new.event_id).into();
    Some(new)
}

fn key_of(dot: &Dot) -> Key {
    // In the order of the log.
    let id = format!("{}:{:020}", dot.origin, dot.sequence);
    Key::new(DATA_SET, AGGREGATE_TYPE, &id)
}

fn changed(key: Key, what: &str, operation: Operation, data: Value, event_id: String) -> NewEvent {
    let (event_type, event_id) = (what.into(), event_id.into());
    NewEvent { key, event_type, operation, data, event_id, extras: Extras::default() }
}

/// One that is on record.
pub(crate) struct Returned {
    /// Of the aggregate.
    pub(crate) key: Key,
    /// The aggregate's document.
    pub(crate) data: Value,
    /// Of the document, as it was read.
    pub(crate) version: u64,
    pub(crate) entity_tag: Option<String>,
}

impl Returned {
    fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
        value.pointer(pointer)?.as_str()
    }

    /// Of decisions in two regions at once both stay on record, and the one to admit counts: what
    /// is written is written.
    pub(crate) fn state(&self) -> &'static str {
        let noted = |state| self.data.get(state).is_some_and(Value::is_object);
        [ADMITTED, DISCARDED].into_iter().find(|state| noted(*state)).unwrap_or(RETURNED)
    }

    /// The document as lists show it.
    pub(crate) fn shown(mut self) -> Value {
        let state = self.state();
        if let Some(data) = self.data.as_object_mut() {
            data.insert("state".to_owned(), state.into());
        }
        self.data
    }

    pub(crate) fn dot(&self) -> Option<Dot> {
        Dot::parse(Self::text(&self.data, "/dot")?).ok()
    }

    pub(crate) fn data_set(&self) -> &str {
        Self::text(&self.data, "/dataSet").unwrap_or_default()
    }

    /// The first event of the transaction that it was written in.
    pub(crate) fn transaction(&self) -> u64 {
        self.data["transaction"].as_u64().unwrap_or_default()
    }

    /// Among the events of its batch that have its id on its aggregate.
    pub(crate) fn place(&self) -> u64 {
        self.data["place"].as_u64().unwrap_or_default()
    }

    /// True if both were written in one transaction; of forks that is not known.
    pub(crate) fn is_with(&self, other: &Self) -> bool {
        let of = |one: &Self| {
            let is_fork = one.data["fork"] == true;
            Some((one.dot().filter(|_| !is_fork)?.origin, one.transaction()))
        };
        of(self).is_some_and(|own| of(other) == Some(own))
    }

    /// A member of the event, such as `aggregateId` or `metadata/actor`.
    pub(crate) fn member(&self, path: &str) -> Option<&str> {
        Self::text(&self.data, &format!("/event/{path}"))
    }

    /// The event once more, as its client wrote it; none if the record is not readable.
    pub(crate) fn event(&self) -> Option<NewEvent> {
        let word = |name| self.member(name);
        let extra = |name: &str| self.member(&format!("metadata/{name}")).map(Box::from);
        Some(NewEvent {
            key: Key::new(self.data_set(), word("aggregateType")?, word("aggregateId")?),
            event_type: word("eventType")?.into(),
            operation: Operation::from_name(word("operation")?)?,
            data: self.data.pointer("/event/eventData")?.clone(),
            event_id: word("eventId")?.into(),
            extras: Extras {
                actor: extra("actor"),
                correlation_id: extra("correlationId"),
                causation_id: extra("causationId"),
                traceparent: extra("traceparent"),
                source: extra("source"),
                label: Self::text(&self.data, "/label").map(Box::from),
            },
        })
    }

    /// What notes in its record what was decided, and by whom. A record that was put again is
    /// decided again: its version is in the id.
    pub(crate) fn decided(&self, state: &str, actor: Option<&str>) -> Option<NewEvent> {
        let id = &self.key.aggregate_id;
        let note = format!("{state}.{id}.{}", self.version);
        let mut said = json!({"note": note});
        if let Some(actor) = actor {
            said["by"] = actor.into();
        }
        let mut data = Map::new();
        data.insert(state.to_owned(), said);
        let key = self.key.clone();
        let mut event = changed(key, "ReturnDecided", Operation::Patch, data.into(), note);
        event.extras.actor = actor.map(Box::from);
        Some(event)
    }
}

/// True for a data set that only the fleet writes.
pub(crate) fn is_reserved(data_set: Option<&str>) -> bool {
    data_set == Some(DATA_SET)
}

/// The name that a list shows.
pub(crate) fn type_name() -> Arc<str> {
    AGGREGATE_TYPE.into()
}

#[cfg(test)]
mod tests {
    use linckia_model::{Hlc, Origin, Transaction, Vector};

    use super::*;

    #[test]
    fn what_is_on_record_can_be_written_as_it_was() {
        let origin = Origin::parse("a.0000000000000001").unwrap();
        let extras = Extras { actor: Some("ann".into()), ..Extras::default() };
        let event = Event {
            dot: Dot::new(origin, 7),
            hlc: Hlc::from_milliseconds(1_000),
            deps: Vector::new(),
            transaction: Transaction::single(7),
            key: Key::new("shop", "Order", "1"),
            event_type: "OrderPaid".into(),
            operation: Operation::Increment,
            data: json!({"paid": 5}),
            ctx: None,
            identity: Identity { event_id: "e-7".into(), place: 0 },
            version: 3,
            policy_epoch: 0,
            schema_version: 0,
            extras: extras.clone(),
        };
        let record = on_record(&event);
        assert_eq!(&*record.key.aggregate_id, "a.0000000000000001:00000000000000000007");
        let (key, data) = (record.key.clone(), record.data);
        let returned = Returned { key, data, version: 1, entity_tag: None };
        assert_eq!((returned.state(), returned.dot().unwrap()), (RETURNED, event.dot.clone()));
        let again = returned.event().unwrap();
        assert_eq!((again.key, &again.data), (event.key.clone(), &event.data));
        assert_eq!((&*again.event_id, again.operation), ("e-7", Operation::Increment));
        assert_eq!(again.extras, extras);
        let noted = returned.decided(ADMITTED, Some("bob")).unwrap();
        assert_eq!((noted.key, &noted.data[ADMITTED]["by"]), (record.key, &json!("bob")));
        let put_again = Returned { version: 3, ..returned };
        assert_ne!(put_again.decided(ADMITTED, Some("bob")).unwrap().event_id, noted.event_id);
    }

    #[test]
    fn two_events_under_one_dot_are_both_on_record() {
        let event = |sequence, paid| {
            let origin = Origin::parse("a.0000000000000001").unwrap();
            Event {
                dot: Dot::new(origin, sequence),
                hlc: Hlc::from_milliseconds(1_000),
                deps: Vector::new(),
                transaction: Transaction::single(sequence),
                key: Key::new("shop", "Order", "1"),
                event_type: "OrderPaid".into(),
                operation: Operation::Increment,
                data: json!({"paid": paid}),
                ctx: None,
                identity: Identity { event_id: "e-7".into(), place: 0 },
                version: 3,
                policy_epoch: 0,
                schema_version: 0,
                extras: Extras::default(),
            }
        };
        let (first, same, other) =
            (on_record(&event(7, 5)), on_record(&event(7, 5)), on_record(&event(7, 6)));
        assert_eq!(on_record_apart(&same, &first.data), None);
        let mut shown_otherwise = first.data.clone();
        shown_otherwise["event"]["another"] = "member".into();
        assert_eq!(on_record_apart(&same, &shown_otherwise), None);
        let apart = on_record_apart(&other, &first.data).unwrap();
        assert_ne!(apart.event_id, other.event_id);
        assert!(apart.key.aggregate_id > on_record(&event(99, 5)).key.aggregate_id);
        let of =
            |new: NewEvent| Returned { key: new.key, data: new.data, version: 1, entity_tag: None };
        let (first, apart) = (of(first), of(apart));
        assert_eq!((first.dot(), first.is_with(&apart)), (apart.dot(), false));
        let notes = [&first, &apart].map(|one| one.decided(ADMITTED, None).unwrap());
        assert!(notes[0].event_id != notes[1].event_id && notes[1].key == apart.key);
    }

    #[test]
    fn of_two_decisions_the_one_to_admit_counts() {
        let check = |data: Value, state: &str| {
            let key = Key::new(DATA_SET, AGGREGATE_TYPE, "a:1");
            let one = Returned { key, data, version: 1, entity_tag: None };
            assert_eq!(one.state(), state);
            assert_eq!(one.shown()["state"], state);
        };
        check(json!({}), RETURNED);
        check(json!({"discarded": {"note": "d"}}), DISCARDED);
        check(json!({"discarded": {"note": "d"}, "admitted": {"note": "a"}}), ADMITTED);
    }
}
