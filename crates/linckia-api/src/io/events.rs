//! Reading events: the logs as applied here, and an aggregate's history.
//!
//! `GET /v1/events` and `GET …/events`; what is asked for as a stream goes on in `stream`. What
//! always holds: a page says where to go on, in its body or in `Link`.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use http::StatusCode;
use linckia_apply::{EventFilter, Found, Query};
use linckia_model::{Event, RegionName, Vector};

use super::asked::Asked;
use super::respond::{self, Answered};
use super::stream::{self, Start};
use crate::cursor;
use crate::headers::LAST_EVENT_ID;
use crate::json;
use crate::media::{BATCH, CLOUD_EVENT, EVENT_STREAM, JSON, NDJSON, accepts, preferred};
use crate::port::Region;
use crate::problem::{Kind, Outcome, Problem};
use crate::query::{next_page, vector};
use crate::refusal;
use crate::render::event::{self, EventForm};
use crate::render::state;

/// Room for an event with a few members.
const EVENT_BYTES: usize = 512;

/// The value of `after` that skips all that was.
const NOW: &str = "now";

/// Pages are offered in these forms, in this order.
const OFFERED: [&str; 4] = [JSON, NDJSON, CLOUD_EVENT, BATCH];

/// The log is offered as a stream as well.
const OFFERED_OF_LOG: [&str; 5] = [JSON, NDJSON, CLOUD_EVENT, BATCH, EVENT_STREAM];

/// `GET /v1/events`.
pub(super) async fn read<R: Region>(asked: Asked<'_, R>) -> Outcome<Answered> {
    if asked.query.get("pattern").is_some() {
        let detail = "`pattern` is not built yet; `type`, `aggregateType`, `aggregateId` and \
                      `region` are";
        return Err(Problem::unsupported(detail));
    }
    let filter = EventFilter {
        data_set: asked.data_set()?,
        event_type: asked.name("type")?,
        aggregate_type: asked.name("aggregateType")?,
        aggregate_id: asked.name("aggregateId")?,
        region: region(asked.query.get("region"))?,
        ..EventFilter::default()
    };
    let after = asked.query.get("after");
    if wants_stream(&asked) {
        return start_stream(&asked, filter);
    }
    let limit = asked.query.limit()?;
    if after == Some(NOW) {
        let (now, _) = asked.read(Query::Vector).await?;
        return Ok(page(&asked, &[], Next::After(&now), &now));
    }
    let start = after.map(|text| vector("after", text)).transpose()?;
    let query = Query::Events { after: start.clone().unwrap_or_default(), limit, filter };
    let (at, found) = asked.read(query).await?;
    let Found::Events { events, next, missing } = found else {
        return Err(refusal::unexpected(&found));
    };
    if let Some(mut start) = start
        && !missing.is_empty()
    {
        for (origin, _, last) in &missing {
            start.set(origin, (*last).max(start.get(origin)));
        }
        let ranges = missing.iter().map(|(origin, first, last)| (origin, *first, *last));
        let detail = "retention has passed `after`; `missing` is gone for good, and \
                      `resumeAfter` goes on behind it";
        return Err(Problem::new(Kind::PositionExpired, detail)
            .with("missing", refusal::missing(ranges))
            .with("resumeAfter", start.to_string()));
    }
    Ok(page(&asked, &events, Next::After(&next), &at))
}

/// True if the log is asked for as a stream.
pub(super) fn wants_stream<R: Region>(asked: &Asked<'_, R>) -> bool {
    OFFERED_OF_LOG[preferred(asked.headers(), &OFFERED_OF_LOG)] == EVENT_STREAM
}

/// `GET /v1/aggregates/{type}/{id}/events`.
pub(super) async fn history<R: Region>(asked: Asked<'_, R>) -> Outcome<Answered> {
    let backward = match asked.query.get("direction") {
        None | Some("forward") => false,
        Some("backward") => true,
        Some(other) => {
            let detail = format!("`direction={other}`: `forward` or `backward` is expected");
            return Err(Problem::parameter(detail));
        }
    };
    let query = Query::History {
        key: asked.key()?,
        after: asked.query.get("cursor").map(cursor::stamp).transpose()?,
        limit: asked.query.limit()?,
        backward,
    };
    let (at, found) = asked.read(query).await?;
    let Found::History(events, next) = found else {
        return Err(refusal::unexpected(&found));
    };
    let next = next.as_ref().map(cursor::of_stamp);
    Ok(page(&asked, &events, Next::Cursor(next.as_deref()), &at))
}

fn start_stream<R: Region>(asked: &Asked<'_, R>, filter: EventFilter) -> Outcome<Answered> {
    if asked.query.get("limit").is_some() {
        return Err(Problem::parameter("`limit` has no meaning for a stream; leave it away"));
    }
    let last = crate::headers::single(asked.headers(), &LAST_EVENT_ID)?;
    let start = match (last, asked.query.get("after")) {
        (Some(text), _) => Start::After(vector("Last-Event-ID", text)?),
        (None, Some(NOW)) => Start::Now,
        (None, Some(text)) => Start::After(vector("after", text)?),
        (None, None) => Start::Beginning,
    };
    let form = match accepts(asked.headers(), &[CLOUD_EVENT, BATCH]) {
        true => EventForm::Cloud,
        false => EventForm::Native,
    };
    Ok(stream::start(asked.house, filter, start, form))
}

fn region(given: Option<&str>) -> Outcome<Option<String>> {
    let Some(name) = given else { return Ok(None) };
    match RegionName::parse(name) {
        Ok(_) => Ok(Some(name.to_owned())),
        Err(_) => Err(Problem::parameter(format!("`region={name}` is no region's name"))),
    }
}

/// Where a reader goes on.
#[derive(Clone, Copy)]
enum Next<'a> {
    After(&'a Vector),
    Cursor(Option<&'a str>),
}

fn page<R: Region>(
    asked: &Asked<'_, R>,
    events: &[Arc<Event>],
    next: Next<'_>,
    at: &Vector,
) -> Answered {
    let form = OFFERED[preferred(asked.headers(), &OFFERED)];
    let mut out = BytesMut::with_capacity(EVENT_BYTES * (events.len() + 1));
    let (name, next) = match next {
        Next::After(vector) => ("after", Some(vector.to_string())),
        Next::Cursor(cursor) => ("cursor", cursor.map(str::to_owned)),
    };
    let response = match form {
        NDJSON => {
            for one in events {
                event::write(&mut out, one, EventForm::Native);
                out.put_u8(b'\n');
            }
            respond::whole(StatusCode::OK, &respond::NDJSON, out)
        }
        JSON => {
            state::write_page(&mut out, events, next.as_deref(), |out, one| {
                event::write(out, one, EventForm::Native);
            });
            respond::ok(out)
        }
        _ => {
            json::array(&mut out, events, |out, one| event::write(out, one, EventForm::Cloud));
            respond::whole(StatusCode::OK, &respond::BATCH, out)
        }
    };
    let response = respond::at_vector(response, at);
    match next {
        Some(next) if form != JSON => {
            let uri = &asked.parts.uri;
            respond::with_next(response, &next_page(uri.path(), uri.query(), name, &next))
        }
        _ => response,
    }
}
