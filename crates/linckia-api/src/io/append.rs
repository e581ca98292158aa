//! Writing events: one, many in an array, or as CloudEvents; NDJSON goes on in `lines`.
//!
//! The hot path of the door is `events` with one JSON object. What always holds: an array with a
//! fault anywhere writes nothing; answers stand in the order of the events.

use std::sync::Arc;

use bytes::BytesMut;
use http::{HeaderMap, StatusCode};
use linckia_model::{Answer, Level, NewEvent, Refusal, Write};
use uuid::Uuid;

use super::asked::Asked;
use super::lines;
use super::respond::{self, Answered};
use super::sessions::Seen;
use crate::event::array::{is_array, read_each, read_native};
use crate::event::{Context, check, cloud, native};
use crate::headers::{self, IDEMPOTENCY_KEY};
use crate::media::{self, Form};
use crate::port::{Answers, Region};
use crate::problem::{Outcome, Problem};
use crate::refusal;
use crate::render::answer::{self, ANSWER_BYTES};

const TAKEN: [Form; 5] =
    [Form::Json, Form::Ndjson, Form::CloudEvent, Form::Batch, Form::CloudBinary];
const TAKEN_BY_ONE: [Form; 3] = [Form::Json, Form::CloudEvent, Form::CloudBinary];

/// What a body held.
enum Events {
    One(NewEvent),
    Many(Vec<NewEvent>),
}

/// `POST /v1/events`.
pub(super) async fn events<R: Region>(mut asked: Asked<'_, R>) -> Outcome<Answered> {
    headers::no_precondition(asked.headers())?;
    let form = media::form(asked.headers(), &TAKEN)?;
    let atomic = asked.query.flag("atomic")?;
    let key = idempotency_key(asked.headers())?;
    if form == Form::Ndjson {
        return ndjson(asked, atomic, key.is_some());
    }
    let data_set = asked.data_set()?;
    let body = asked.read_body().await?;
    let traceparent = headers::traceparent(asked.headers());
    let context = asked.context(&data_set, traceparent);
    let parsed = parse(form, asked.headers(), &body, &context, key)?;
    match parsed {
        Events::One(event) => {
            let (ack, events) = (asked.ack.clone(), vec![event]);
            let write = Write { events, atomic, precondition: None, entity_tag: false, ack };
            let answer = one(asked.region().write(write).await?, data_pointer(form))?;
            let mut out = BytesMut::with_capacity(ANSWER_BYTES);
            answer::write(&mut out, &answer, &asked.ack.level);
            let response = respond::json(created_if(!answer.duplicate), out);
            Ok(asked.showing(response, || Seen([&answer.dot].into_iter().collect())))
        }
        Events::Many(events) => {
            let (ack, count) = (asked.ack.clone(), events.len());
            let write = Write { events, atomic, precondition: None, entity_tag: false, ack };
            let answers = match count {
                0 => Vec::new(),
                _ => asked.region().write(write).await?,
            };
            let response = many(&answers, count, atomic, data_pointer(form), &asked.ack.level)?;
            Ok(asked.showing(response, || Seen(refusal::shown(&answers))))
        }
    }
}

/// `POST /v1/aggregates/{type}/{id}/events`.
pub(super) async fn to_aggregate<R: Region>(mut asked: Asked<'_, R>) -> Outcome<Answered> {
    let form = media::form(asked.headers(), &TAKEN_BY_ONE)?;
    let precondition = headers::precondition(asked.headers(), &asked.parts.method)?;
    let key = idempotency_key(asked.headers())?;
    let aggregate = asked.key()?;
    let body = asked.read_body().await?;
    let traceparent = headers::traceparent(asked.headers());
    let mut context = asked.context(&aggregate.data_set, traceparent);
    context.aggregate = Some((&aggregate.aggregate_type, &aggregate.aggregate_id));
    let event = match parse(form, asked.headers(), &body, &context, key)? {
        Events::One(event) => event,
        Events::Many(_) => {
            let detail = "one event is expected here; arrays go to POST /v1/events";
            return Err(Problem::event("", detail));
        }
    };
    let (ack, events) = (asked.ack.clone(), vec![event]);
    let write = Write { events, atomic: false, precondition, entity_tag: true, ack };
    let answer = one(asked.region().write(write).await?, data_pointer(form))?;
    let mut out = BytesMut::with_capacity(ANSWER_BYTES);
    answer::write(&mut out, &answer, &asked.ack.level);
    let response = respond::json(created_if(!answer.duplicate), out);
    let response = asked.showing(response, || Seen([&answer.dot].into_iter().collect()));
    Ok(respond::with_tag(response, answer.entity_tag.as_deref()))
}

fn ndjson<R: Region>(asked: Asked<'_, R>, atomic: bool, keyed: bool) -> Outcome<Answered> {
    if atomic {
        let detail = "`atomic` needs all events at once; send an array, not NDJSON";
        return Err(Problem::parameter(detail));
    }
    if keyed {
        return Err(one_key_many_events());
    }
    let data_set = asked.data_set()?;
    lines::start(asked, data_set)
}

fn parse(
    form: Form,
    headers: &HeaderMap,
    body: &[u8],
    context: &Context<'_>,
    key: Option<&str>,
) -> Outcome<Events> {
    let mut new_id = || key.map_or_else(new_event_id, Arc::from);
    let array = match form {
        Form::Batch => true,
        Form::Json => is_array(body),
        _ => false,
    };
    if array && key.is_some() {
        return Err(one_key_many_events());
    }
    match form {
        Form::CloudEvent => cloud::read(body, context, &mut new_id).map(Events::One),
        Form::CloudBinary => {
            cloud::read_binary(headers, body, context, &mut new_id).map(Events::One)
        }
        Form::Batch => read_each(body, context, &mut new_id, cloud::read).map(Events::Many),
        _ if array => read_native(body, context, &mut new_id).map(Events::Many),
        _ => native::read(body, context, &mut new_id).map(Events::One),
    }
}

/// The answer of the only event.
pub(super) fn one(mut answers: Answers, data: &str) -> Outcome<Answer> {
    match (answers.pop(), answers.is_empty()) {
        (Some(Ok(answer)), true) => Ok(answer),
        (Some(Err(refused)), true) => Err(refusal::problem_of(&refused, data)),
        _ => Err(refusal::broken("write")),
    }
}

fn many(
    answers: &[Result<Answer, Refusal>],
    count: usize,
    atomic: bool,
    data: &str,
    level: &Level,
) -> Outcome<Answered> {
    if answers.len() != count {
        return Err(refusal::broken("write"));
    }
    if let Some(problem) = refusal::unacknowledged(answers, data, level) {
        return Err(problem);
    }
    if let Some((place, refused)) = refusal::common(answers, atomic) {
        let problem = refusal::problem_of(refused, data);
        return Err(if atomic { problem.below(&format!("/{place}")) } else { problem });
    }
    let mut out = BytesMut::with_capacity(ANSWER_BYTES * count);
    let status = answer::write_array(&mut out, answers, data, level);
    Ok(respond::json(StatusCode::from_u16(status).unwrap_or(StatusCode::OK), out))
}

pub(super) fn created_if(created: bool) -> StatusCode {
    if created { StatusCode::CREATED } else { StatusCode::OK }
}

/// The key under which a client repeats itself. Errors: 400 for one that cannot be an event's id.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Outcome<Option<&str>> {
    let Some(key) = headers::single(headers, &IDEMPOTENCY_KEY)? else { return Ok(None) };
    match check::check_event_id(key) {
        Ok(key) => Ok(Some(key)),
        Err(detail) => Err(Problem::parameter(format!("`Idempotency-Key`: {detail}"))),
    }
}

/// A new event's id where the client gives none.
pub(super) fn new_event_id() -> Arc<str> {
    let mut text = Uuid::encode_buffer();
    Arc::from(&*Uuid::now_v7().hyphenated().encode_lower(&mut text))
}

fn one_key_many_events() -> Box<Problem> {
    Problem::parameter("`Idempotency-Key` names one event; give each of these an `eventId`")
}

fn data_pointer(form: Form) -> &'static str {
    match form {
        Form::CloudEvent | Form::Batch => "/data",
        Form::CloudBinary => cloud::BINARY.data,
        _ => native::NAMES.data,
    }
}
