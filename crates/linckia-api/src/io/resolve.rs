//! A person settles a conflict: by choosing one of its events, or by saying what shall be.
//!
//! What always holds: it is an ordinary event, of this region, that has seen what it settles; the
//! record stays.

use std::sync::Arc;

use bytes::BytesMut;
use linckia_apply::{ConflictView, Found, Query};
use linckia_model::{Event, Extras, NewEvent, Operation, Strategy, Write};
use serde::Deserialize;
use serde_json::{Map, Number, Value};

use super::aggregates::event_type;
use super::append::{created_if, idempotency_key, new_event_id, one};
use super::asked::Asked;
use super::conflicts::not_found;
use super::respond::{self, Answered};
use super::sessions::Seen;
use crate::event::{check, cloud};
use crate::headers;
use crate::port::Region;
use crate::problem::{Outcome, Problem};
use crate::refusal;
use crate::render::answer::{self, ANSWER_BYTES};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resolve {
    #[serde(default)]
    choose: Option<String>,
    #[serde(default)]
    data: Option<Value>,
}

/// What the event that settles it does.
struct Settling {
    operation: Operation,
    data: Value,
}

/// `POST /v1/conflicts/{id}/resolve`.
pub(super) async fn resolve<R: Region>(mut asked: Asked<'_, R>) -> Outcome<Answered> {
    let shape = "{\"choose\":\"<eventId>\"}` or `{\"data\":{…}}";
    let wanted = asked.read_json(shape).await?;
    let data_set = asked.data_set()?;
    let id = asked.matched.segments[0].to_string();
    let (_, found) = asked.read(Query::Conflict { id }).await?;
    let record = match found {
        Found::Conflict(Some(record)) if record.key.data_set == data_set => record,
        Found::Conflict(_) => return Err(not_found()),
        other => return Err(refusal::unexpected(&other)),
    };
    let (settling, cause) = match wanted {
        Resolve { choose: Some(event_id), data: None } => {
            let event = chosen(&record, &event_id)?;
            (flip(&record, event)?, event.identity.event_id.to_string())
        }
        Resolve { choose: None, data: Some(data) } => {
            let settling = Settling { operation: operation_of(&record), data };
            let limits = &asked.house.settings.limits;
            let place =
                check::check_data(&settling.data, settling.operation, &cloud::BINARY, limits);
            place.map_err(|problem| problem.below("/data"))?;
            (settling, record.winner.identity.event_id.to_string())
        }
        _ => {
            let detail = "say either which event shall hold, `{\"choose\":\"<eventId>\"}`, or what \
                          shall be, `{\"data\":{…}}`";
            return Err(Problem::parameter(detail));
        }
    };
    let event = NewEvent {
        event_type: event_type(&asked, &record.key, "Resolved")?,
        key: record.key.clone(),
        operation: settling.operation,
        data: settling.data,
        event_id: idempotency_key(asked.headers())?.map_or_else(new_event_id, Arc::from),
        extras: Extras {
            actor: asked.actor.map(Box::from),
            traceparent: headers::traceparent(asked.headers()).map(Box::from),
            causation_id: Some(cause.into()),
            ..Extras::default()
        },
    };
    let (ack, events) = (asked.ack.clone(), vec![event]);
    let write = Write { events, atomic: false, precondition: None, entity_tag: true, ack };
    let answer = one(asked.region().write(write).await?, "/data")?;
    let mut out = BytesMut::with_capacity(ANSWER_BYTES);
    answer::write(&mut out, &answer, &asked.ack.level);
    let response = respond::json(created_if(!answer.duplicate), out);
    let response = asked.showing(response, || Seen([&answer.dot].into_iter().collect()));
    Ok(respond::with_tag(response, answer.entity_tag.as_deref()))
}

/// The event of the record with that id.
fn chosen<'a>(record: &'a ConflictView, event_id: &str) -> Outcome<&'a Event> {
    let mut all = record.losers.iter().chain([&record.winner]);
    all.find(|event| &*event.identity.event_id == event_id).map(Arc::as_ref).ok_or_else(|| {
        let ids = record.losers.iter().chain([&record.winner]);
        let ids: Vec<&str> = ids.map(|event| &*event.identity.event_id).collect();
        let detail =
            format!("`{event_id}` is not in this conflict; its events: {}", ids.join(", "));
        Problem::parameter(detail).at("/choose")
    })
}

/// Documents that fold path by path are patched, the others replaced.
fn operation_of(record: &ConflictView) -> Operation {
    match record.strategy {
        Strategy::RegionPriority | Strategy::DeleteWins | Strategy::UpdateWins => Operation::Put,
        _ => Operation::Patch,
    }
}

/// What makes the chosen event hold where it met the other.
fn flip(record: &ConflictView, event: &Event) -> Outcome<Settling> {
    let whole = record.paths.iter().any(String::is_empty);
    match event.operation {
        Operation::Put if whole || operation_of(record) == Operation::Put => {
            return Ok(Settling { operation: Operation::Put, data: event.data.clone() });
        }
        Operation::Delete if whole || operation_of(record) == Operation::Put => {
            let data = Value::Object(Map::new());
            return Ok(Settling { operation: Operation::Delete, data });
        }
        Operation::Patch if whole => {
            return Ok(Settling { operation: Operation::Patch, data: event.data.clone() });
        }
        Operation::Increment => return flip_increments(record, event),
        _ => {}
    }
    let mut patch = Value::Object(Map::new());
    for path in &record.paths {
        let names = names(path);
        match said(event, &names) {
            Said::Value(depth, value) => set(&mut patch, &names[..depth], value.clone()),
            Said::Absence => set(&mut patch, &names, Value::Null),
            Said::Nothing => {}
        }
    }
    if patch.as_object().is_some_and(Map::is_empty) {
        return Err(silent(event));
    }
    Ok(Settling { operation: Operation::Patch, data: patch })
}

/// The increments of a path were hidden together and come back together: on top of what hid them.
fn flip_increments(record: &ConflictView, event: &Event) -> Outcome<Settling> {
    let hidden = record.losers.iter().any(|loser| loser.dot == event.dot);
    let mut patch = Value::Object(Map::new());
    for path in &record.paths {
        let amount = |event: &Arc<Event>| event.data.pointer(path).and_then(Value::as_i64);
        let sum: i64 = record.losers.iter().filter_map(amount).fold(0, i64::saturating_add);
        let base = record.winner.data.pointer(path).map_or(Some(0), Value::as_i64);
        let value = base.and_then(|base| base.checked_add(sum)).filter(|_| hidden);
        let value = value.ok_or_else(|| silent(event))?;
        set(&mut patch, &names(path), Value::Number(Number::from(value)));
    }
    Ok(Settling { operation: Operation::Patch, data: patch })
}

fn silent(event: &Event) -> Box<Problem> {
    let detail = format!(
        "the event `{}` alone does not say what shall be where it met the other; say it with \
         `{{\"data\":{{…}}}}`",
        event.identity.event_id
    );
    Problem::parameter(detail).at("/choose")
}

enum Said<'a> {
    /// A value, after so many names of the path: it may lie above.
    Value(usize, &'a Value),
    Absence,
    Nothing,
}

/// What an event says of a path.
fn said<'a>(event: &'a Event, names: &[String]) -> Said<'a> {
    if event.operation == Operation::Delete {
        return Said::Absence;
    }
    let mut at = &event.data;
    for (depth, name) in names.iter().enumerate() {
        let Some(members) = at.as_object() else { return Said::Value(depth, at) };
        at = match (members.get(name), event.operation) {
            (Some(member), _) => member,
            (None, Operation::Put) => return Said::Absence,
            (None, _) => return Said::Nothing,
        };
    }
    Said::Value(names.len(), at)
}

/// The names of an RFC 6901 pointer.
fn names(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|name| name.replace("~1", "/").replace("~0", "~")).collect()
}

/// Puts a value at a path of a merge patch.
fn set(patch: &mut Value, names: &[String], value: Value) {
    let Some((first, rest)) = names.split_first() else {
        *patch = value;
        return;
    };
    if !patch.is_object() {
        *patch = Value::Object(Map::new());
    }
    if let Some(members) = patch.as_object_mut() {
        let member = members.entry(first).or_insert_with(|| Value::Object(Map::new()));
        set(member, rest, value);
    }
}
