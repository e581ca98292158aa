//! What regions brought back from beyond the ends of closed logs: listed, admitted, discarded.
//!
//! Under `/v1/returned`. What always holds: what is admitted is written under its own id in the
//! transaction that notes it, so that it counts once however often it is admitted.

use bytes::BytesMut;
use linckia_apply::{AggregateView, Found, Query};
use linckia_model::{NewEvent, Refusal, Vector, Write};
use serde::Deserialize;
use serde_json::{Value, json};

use super::asked::Asked;
use super::respond::{self, Answered};
use crate::cursor;
use crate::json;
use crate::port::Region;
use crate::problem::{Outcome, Problem};
use crate::refusal;
use crate::returned::{ADMITTED, DATA_SET, DISCARDED, RETURNED, Returned, is_reserved, type_name};

/// Records looked at for one answer.
const SCANNED_MAX: usize = 5_000;

/// Records read at once.
const PAGE: usize = 500;

/// Events of one transaction that are admitted together at most.
const TOGETHER_MAX: usize = 1_000;

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
        [
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
        names.iter().all(|name| name.is_none()) && !self.everything
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
    let (mut found, mut scanned) = (Vec::new(), 0);
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
        for AggregateView { key, data, .. } in views {
            let one = Returned { data };
            if wanted(&one) {
                found.push(one);
            }
            if found.len() == limit {
                let next = Some(cursor::of_aggregate(&vector, &key.aggregate_id));
                return Ok(Page { vector, found, next });
            }
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
    let items: Vec<Value> = found.into_iter().map(|one| one.data).collect();
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
    let wanted = |one: &Returned| one.state() == RETURNED && filter.takes(one);
    let Page { vector, found, next } = page(&asked, wanted).await?;
    let mut items = Vec::new();
    let mut rest = &found[..];
    while let Some(first) = rest.first() {
        let same = |one: &&Returned| {
            let of = |one: &Returned| Some((one.dot()?.origin, one.transaction()));
            of(one) == of(first)
        };
        let count = rest.iter().take(TOGETHER_MAX).take_while(same).count();
        let (together, later) = rest.split_at(count);
        rest = later;
        let outcome = match dry_run {
            true => Ok(Vec::new()),
            false => write(&asked, together, decision).await?,
        };
        items.extend(together.iter().enumerate().map(|(at, one)| item(one, at, &outcome)));
    }
    let mut out = BytesMut::with_capacity(ANSWER_BYTES);
    json::serialized(&mut out, &json!({"dryRun": dry_run, "items": items, "next": next}));
    Ok(respond::at_vector(respond::ok(out), &vector))
}

/// What was written of a transaction: dots, in order, and whether they were there already.
type Written = Result<Vec<(String, bool)>, &'static str>;

fn item(one: &Returned, at: usize, outcome: &Written) -> Value {
    let written = outcome.as_ref().ok().and_then(|written| written.get(at));
    json!({
        "dot": one.data["dot"],
        "dataSet": one.data_set(),
        "aggregateType": one.member("aggregateType"),
        "aggregateId": one.member("aggregateId"),
        "eventType": one.member("eventType"),
        "eventId": one.member("eventId"),
        "operation": one.member("operation"),
        "writtenAs": written.map(|(dot, _)| dot),
        "duplicate": written.is_some_and(|(_, duplicate)| *duplicate),
        "left": outcome.as_ref().err(),
    })
}

/// Writes what was decided of the events of one transaction, all or nothing.
async fn write<R: Region>(
    asked: &Asked<'_, R>,
    together: &[Returned],
    decision: Decision,
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
    let count = events.len();
    events.extend(noted);
    let ack = asked.ack.clone();
    let write = Write { events, atomic: true, precondition: None, entity_tag: false, ack };
    let answers = match asked.region().write(write).await {
        Ok(answers) => answers,
        Err(unavailable) => return Ok(Err(Box::<Problem>::from(unavailable).kind.entry().name())),
    };
    let refused = answers.iter().find_map(|answer| match answer {
        Err(Refusal::Sibling) | Ok(_) => None,
        Err(refused) => Some(refusal::problem_of(refused, "/eventData").kind.entry().name()),
    });
    if let Some(refused) = refused {
        return Ok(Err(refused));
    }
    let answers = answers.into_iter().flatten().take(count);
    Ok(Ok(answers.map(|answer| (answer.dot.to_string(), answer.duplicate)).collect()))
}
