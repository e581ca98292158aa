//! Aggregates: read, replaced, merged, deleted, listed.
//!
//! Under `/v1/aggregates`. What always holds: a write through here is an event like any other, of
//! a type named after the aggregate's.

use std::sync::Arc;

use bytes::BytesMut;
use http::StatusCode;
use linckia_apply::{Found, Query};
use linckia_model::{Extras, Key, NewEvent, Operation, Write};
use serde_json::{Map, Value};

use super::append::{created_if, idempotency_key, new_event_id, one};
use super::asked::Asked;
use super::past;
use super::respond::{self, Answered};
use super::sessions::Seen;
use crate::cursor;
use crate::event::{check, cloud, explain};
use crate::headers;
use crate::media::{self, Form};
use crate::port::Region;
use crate::problem::{Kind, Outcome, Problem};
use crate::refusal;
use crate::render::answer::{self, ANSWER_BYTES};
use crate::render::state;
use crate::route::Call;

/// `GET /v1/aggregates/{type}/{id}`.
pub(super) async fn get<R: Region>(asked: Asked<'_, R>) -> Outcome<Answered> {
    if let Some(at) = asked.query.owned("at") {
        return past::get(asked, &at).await;
    }
    let key = asked.key()?;
    let (vector, found) = asked.read(Query::Aggregate { key }).await?;
    let Found::Aggregate { view, shown } = found else {
        return Err(refusal::unexpected(&found));
    };
    let Some(view) = view else {
        let problem = Problem::new(Kind::NotFound, "there is no such aggregate here");
        return Err(problem.showing(shown));
    };
    let held = headers::read_condition(asked.headers(), &view.entity_tag, view.version)?;
    let response = if held {
        let mut response = respond::ok(BytesMut::new());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response.headers_mut().remove(http::header::CONTENT_TYPE);
        response
    } else {
        let mut out = BytesMut::with_capacity(ANSWER_BYTES);
        state::write(&mut out, &view, asked.region().name().as_str());
        respond::ok(out)
    };
    let response = asked.showing(response, || Seen(shown));
    Ok(respond::with_tag(respond::at_vector(response, &vector), Some(&view.entity_tag)))
}

/// `PUT`, `PATCH` and `DELETE /v1/aggregates/{type}/{id}`.
pub(super) async fn write<R: Region>(mut asked: Asked<'_, R>) -> Outcome<Answered> {
    let (operation, suffix, taken): (_, _, &[Form]) = match asked.matched.route.call {
        Call::PutAggregate => (Operation::Put, "Put", &[Form::Json]),
        Call::PatchAggregate => (Operation::Patch, "Patched", &[Form::MergePatch, Form::Json]),
        _ => (Operation::Delete, "Deleted", &[]),
    };
    let precondition = headers::precondition(asked.headers(), &asked.parts.method)?;
    let event_id = idempotency_key(asked.headers())?.map_or_else(new_event_id, Arc::from);
    let key = asked.key()?;
    let data = match taken {
        [] => {
            asked.no_body()?;
            Value::Object(Map::new())
        }
        taken => document(&mut asked, taken, operation).await?,
    };
    let event = NewEvent {
        event_type: event_type(&asked, &key, suffix)?,
        key,
        operation,
        data,
        event_id,
        extras: Extras {
            actor: asked.actor.map(Box::from),
            traceparent: headers::traceparent(asked.headers()).map(Box::from),
            ..Extras::default()
        },
    };
    let (ack, events) = (asked.ack.clone(), vec![event]);
    let write = Write { events, atomic: false, precondition, entity_tag: true, ack };
    let answer = one(asked.region().write(write).await?, cloud::BINARY.data)?;
    let mut out = BytesMut::with_capacity(ANSWER_BYTES);
    answer::write(&mut out, &answer, &asked.ack.level);
    let created = answer.created && !answer.duplicate && operation != Operation::Delete;
    let response = respond::json(created_if(created), out);
    let response = asked.showing(response, || Seen([&answer.dot].into_iter().collect()));
    Ok(respond::with_tag(response, answer.entity_tag.as_deref()))
}

/// The body as a document or merge patch.
async fn document<R: Region>(
    asked: &mut Asked<'_, R>,
    taken: &[Form],
    operation: Operation,
) -> Outcome<Value> {
    media::form(asked.headers(), taken)?;
    let body = asked.read_body().await?;
    let data = serde_json::from_slice(&body).map_err(|error| explain::not_json(&error))?;
    // The body is the data, as with a binary CloudEvent.
    check::check_data(&data, operation, &cloud::BINARY, &asked.house.settings.limits)?;
    Ok(data)
}

pub(super) fn event_type<R>(asked: &Asked<'_, R>, key: &Key, suffix: &str) -> Outcome<Arc<str>> {
    let name = format!("{}{suffix}", key.aggregate_type);
    match check::check_name(&name, &asked.house.settings.limits) {
        Ok(()) => Ok(name.into()),
        Err(detail) => Err(Problem::parameter(format!(
            "the event's type would be `{name}`: {detail}; append an event of a shorter type"
        ))),
    }
}

/// `GET /v1/aggregates/{type}`.
pub(super) async fn list<R: Region>(asked: Asked<'_, R>) -> Outcome<Answered> {
    asked.now_only()?;
    let (at, after) = match asked.query.get("cursor").map(cursor::aggregate).transpose()? {
        Some((vector, id)) => (Some(vector), Some(id)),
        None => (None, None),
    };
    let query = Query::Aggregates {
        data_set: asked.data_set()?,
        aggregate_type: asked.aggregate_type()?.into(),
        prefix: asked.query.owned("prefix").unwrap_or_default(),
        after,
        at,
        limit: asked.query.limit()?,
    };
    let (vector, found) = asked.read(query).await?;
    let Found::Aggregates(views, next) = found else {
        return Err(refusal::unexpected(&found));
    };
    let next = next.map(|id| cursor::of_aggregate(&vector, &id));
    let region = asked.region().name().as_str();
    let mut out = BytesMut::with_capacity(ANSWER_BYTES * (views.len() + 1));
    state::write_page(&mut out, &views, next.as_deref(), |out, view| {
        state::write(out, view, region);
    });
    Ok(respond::at_vector(respond::ok(out), &vector))
}
