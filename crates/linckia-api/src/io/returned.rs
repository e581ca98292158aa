//! What regions brought back from beyond the ends of closed logs: listed, admitted, discarded.
//!
//! Under `/v1/returned`. What always holds: what is admitted is written under its own id in the
//! transaction that notes it, so that it counts once however often it is admitted.

use std::collections::{BTreeMap, BTreeSet};

use bytes::BytesMut;
use linckia_apply::{AggregateView, Found, Query};
use linckia_model::{NewEvent, Precondition, Refusal, Vector, Write};
use serde::Deserialize;
use serde_json::{Value, json};

use super::asked::Asked;
use super::respond::{self, Answered};
use super::sessions::Seen;
use crate::cursor;
use crate::json;
use crate::port::Region;
use crate::problem::{Kind, Outcome, Problem};
use crate::refusal::{self, Landed};
use crate::returned::{ADMITTED, DATA_SET, DISCARDED, RETURNED, Returned, is_reserved, type_name};

/// Records looked at for one answer.
const SCANNED_MAX: usize = 5_000;

/// Records read at once.
const PAGE: usize = 500;

/// Events of one transaction that are admitted together at most.
const TOGETHER_MAX: usize = 1_000;

/// Dots that one decision names at most.
const DOTS_MAX: usize = 2_000;

/// Why one is left that was written in one batch with others of its id: it is to be admitted with
/// those, which `where` leaves out.
const PARTED: &str = "batch-parted";

/// A page ends where its records take so much.
const PAGE_BYTES: usize = 8 << 20;

/// Room for an answer.
const ANSWER_BYTES: usize = 8 << 10;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    #[serde(rename = "where")]
    filter: Filter,
    decision: Decision,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Decision {
    Admit,
    Discard,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Filter {
    dot: Option<String>,
    dots: Option<BTreeSet<String>>,
    region: Option<String>,
    data_set: Option<String>,
    aggregate_type: Option<String>,
    aggregate_id: Option<String>,
    event_type: Option<String>,
    event_id: Option<String>,
    actor: Option<String>,
    correlation_id: Option<String>,
    everything: bool,
}

impl Filter {
    fn takes(&self, one: &Returned) -> bool {
        let dot = one.dot();
        let text = dot.as_ref().map(ToString::to_string);
        let region = dot.as_ref().map(|dot| dot.origin.region());
        let shown = |dots: &BTreeSet<String>| text.as_ref().is_some_and(|dot| dots.contains(dot));
        self.dots.as_ref().is_none_or(shown)
            && [
                (&self.dot, text.as_deref()),
                (&self.region, region),
                (&self.data_set, Some(one.data_set())),
                (&self.aggregate_type, one.member("aggregateType")),
                (&self.aggregate_id, one.member("aggregateId")),
                (&self.event_type, one.member("eventType")),
                (&self.event_id, one.member("eventId")),
                (&self.actor, one.member("metadata/actor")),
                (&self.correlation_id, one.member("metadata/correlationId")),
            ]
            .into_iter()
            .all(|(wanted, found)| wanted.is_none() || wanted.as_deref() == found)
    }

    fn is_empty(&self) -> bool {
        let names = [
            &self.dot,
            &self.region,
            &self.data_set,
            &self.aggregate_type,
            &self.aggregate_id,
            &self.event_type,
            &self.event_id,
            &self.actor,
            &self.correlation_id,
        ];
        names.iter().all(|name| name.is_none()) && self.dots.is_none() && !self.everything
    }
}

/// A page of records that are wanted, at one vector, and where to go on.
struct Page {
    vector: Vector,
    found: Vec<Returned>,
    next: Option<String>,
}

async fn page<R: Region>(
    asked: &Asked<'_, R>,
    wanted: impl Fn(&Returned) -> bool,
) -> Outcome<Page> {
    let limit = asked.query.limit()?;
    let (mut at, mut after) = match asked.query.get("cursor").map(cursor::aggregate).transpose()? {
        Some((vector, id)) => (Some(vector), Some(id)),
        None => (None, None),
    };
    let (mut found, mut scanned, mut bytes) = (Vec::<Returned>::new(), 0, 0);
    let mut passed = after.clone();
    loop {
        let query = Query::Aggregates {
            data_set: DATA_SET.into(),
            aggregate_type: type_name(),
            prefix: String::new(),
            after: after.take(),
            at: at.take(),
            limit: PAGE,
        };
        let (vector, answer) = asked.read(query).await?;
        let Found::Aggregates(views, more) = answer else {
            return Err(refusal::unexpected(&answer));
        };
        scanned += views.len();
        for AggregateView { key, data, version, entity_tag, .. } in views {
            let id = key.aggregate_id.to_string();
            let one = Returned { key, data, version, entity_tag: Some(entity_tag) };
            if wanted(&one) {
                let full = found.len() >= limit || bytes >= PAGE_BYTES;
                // What was written together is decided together.
                let parted = found.last().is_none_or(|last| !last.is_with(&one));
                if full && (parted || found.len() >= limit + TOGETHER_MAX) {
                    let next = passed.map(|id| cursor::of_aggregate(&vector, &id));
                    return Ok(Page { vector, found, next });
                }
                bytes += one.data.to_string().len();
                found.push(one);
            }
            passed = Some(id);
        }
        match more {
            Some(id) if scanned < SCANNED_MAX => (at, after) = (Some(vector), Some(id)),
            more => {
                let next = more.map(|id| cursor::of_aggregate(&vector, &id));
                return Ok(Page { vector, found, next });
            }
        }
    }
}

/// `GET /v1/returned`.
pub(super) async fn list<R: Region>(asked: Asked<'_, R>) -> Outcome<Answered> {
    let state = asked.query.owned("state");
    if let Some(state) =
        state.as_deref().filter(|state| ![RETURNED, ADMITTED, DISCARDED].contains(state))
    {
        let detail = format!("`state` is {RETURNED}, {ADMITTED} or {DISCARDED}, not `{state}`");
        return Err(Problem::parameter(detail));
    }
    let wanted = |one: &Returned| state.as_deref().is_none_or(|state| state == one.state());
    let Page { vector, found, next } = page(&asked, wanted).await?;
    let items: Vec<Value> = found.into_iter().map(Returned::shown).collect();
    let mut out = BytesMut::with_capacity(ANSWER_BYTES);
    json::serialized(&mut out, &json!({"items": items, "next": next}));
    Ok(respond::at_vector(respond::ok(out), &vector))
}

/// `POST /v1/returned`.
pub(super) async fn decide<R: Region>(mut asked: Asked<'_, R>) -> Outcome<Answered> {
    let shape = "{\"where\":{\"region\":\"…\"},\"decision\":\"admit\",\"dryRun\":true}";
    let Wanted { filter, decision, dry_run } = asked.read_json(shape).await?;
    if filter.is_empty() {
        let detail = "`where` names dot, region, dataSet, aggregateType, aggregateId, eventType, \
                      eventId, actor or correlationId, or says `\"everything\":true`";
        return Err(Problem::parameter(detail).at("/where"));
    }
    if filter.dots.as_ref().is_some_and(|dots| dots.len() > DOTS_MAX) {
        let detail = format!("`dots` names at most {DOTS_MAX}; decide in several requests");
        return Err(Problem::parameter(detail).at("/where/dots"));
    }
    let wanted = |one: &Returned| one.state() == RETURNED && filter.takes(one);
    let Page { vector, found, next } = page(&asked, wanted).await?;
    let (mut items, mut seen) = (Vec::new(), vector.clone());
    let mut rest = &found[..];
    while let Some(first) = rest.first() {
        let same = |one: &&Returned| one.is_with(first);
        let count = 1 + rest[1..].iter().take(TOGETHER_MAX - 1).take_while(same).count();
        let (together, later) = rest.split_at(count);
        rest = later;
        let outcome = match dry_run {
            true => Ok(Vec::new()),
            false => write(&asked, together, decision, &mut seen).await?,
        };
        items.extend(together.iter().enumerate().map(|(at, one)| item(one, at, &outcome)));
    }
    let mut out = BytesMut::with_capacity(ANSWER_BYTES);
    json::serialized(&mut out, &json!({"dryRun": dry_run, "items": items, "next": next}));
    let response = respond::at_vector(respond::ok(out), &vector);
    Ok(asked.showing(response, || Seen(seen)))
}

/// What was written of a transaction, in order.
type Written = Result<Vec<Landed>, &'static str>;

fn item(one: &Returned, at: usize, outcome: &Written) -> Value {
    let written = outcome.as_ref().ok().and_then(|written| written.get(at));
    json!({
        "dot": one.data["dot"],
        "transaction": one.transaction(),
        "dataSet": one.data_set(),
        "aggregateType": one.member("aggregateType"),
        "aggregateId": one.member("aggregateId"),
        "eventType": one.member("eventType"),
        "eventId": one.member("eventId"),
        "operation": one.member("operation"),
        "writtenAs": written.map(|one| one.dot.to_string()),
        "late": written.map(Landed::holders),
        "duplicate": written.is_some_and(|one| one.duplicate),
        "left": outcome.as_ref().err(),
    })
}

/// True if events of one id get the places among themselves that they had: else one would be taken
/// for another.
fn have_their_places(events: &[NewEvent], together: &[Returned]) -> bool {
    let mut places = BTreeMap::new();
    events.iter().zip(together).all(|(event, one)| {
        let next = places.entry((&event.key, &event.event_id)).or_insert(0);
        let place = std::mem::replace(next, *next + 1);
        place == one.place()
    })
}

/// Writes what was decided of the events of one transaction, all or nothing.
async fn write<R: Region>(
    asked: &Asked<'_, R>,
    together: &[Returned],
    decision: Decision,
    seen: &mut Vector,
) -> Outcome<Written> {
    let (state, admitted) = match decision {
        Decision::Admit => (ADMITTED, together.iter().map(Returned::event).collect()),
        Decision::Discard => (DISCARDED, Some(Vec::new())),
    };
    let noted = together.iter().map(|one| one.decided(state, asked.actor));
    let (Some(mut events), Some(noted)) = (admitted, noted.collect::<Option<Vec<NewEvent>>>())
    else {
        return Ok(Err("unreadable"));
    };
    if events.iter().any(|event: &NewEvent| is_reserved(Some(&*event.key.data_set))) {
        return Ok(Err("forbidden"));
    }
    if !have_their_places(&events, together) {
        return Ok(Err(PARTED));
    }
    let count = events.len();
    let judged = noted.iter().zip(together);
    let judged =
        judged.map(|(note, one)| (note.key.clone(), (one.version, one.entity_tag.clone())));
    // Whoever decided of one of them meanwhile is not overruled.
    let precondition = Some(Precondition::UnchangedEach(judged.collect()));
    events.extend(noted);
    let ack = asked.ack.clone();
    let write = Write { events, atomic: true, precondition, entity_tag: false, ack };
    let answers = match asked.region().write(write).await {
        Ok(answers) => answers,
        Err(unavailable) => return Ok(Err(Box::<Problem>::from(unavailable).kind.entry().name())),
    };
    seen.join(&refusal::shown(&answers));
    Ok(match refusal::landed(&answers) {
        Ok(mut landed) => {
            landed.truncate(count);
            Ok(landed)
        }
        // Somebody else said the same of the same record.
        Err((place, Refusal::IdReused(_))) if place >= count => {
            Err(Kind::VersionConflict.entry().name())
        }
        Err((_, refused)) => Err(refusal::problem_of(refused, "/eventData").kind.entry().name()),
    })
}
