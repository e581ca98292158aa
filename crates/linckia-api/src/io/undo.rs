//! Undo: compensating events for what the events that a filter names still show.
//!
//! `POST /v1/undo`, some aggregates at a time: the logs are searched in bounded parts, each
//! aggregate is judged outside the core. What always holds: what is written holds only for the
//! state it was judged by; events written after the first page was asked for are not undone.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::BytesMut;
use linckia_apply::{EventFilter, Found, Query};
use linckia_model::{
    Compensation, Event, Extras, FoldSettings, Key, Left, NewEvent, Operation, Precondition,
    Refusal, Undo, Vector, Write, content_hash, undo,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::aggregates::event_type;
use super::append::idempotency_key;
use super::asked::Asked;
use super::past::{self, Unread};
use super::respond::{self, Answered};
use super::sessions::Seen;
use crate::cursor;
use crate::headers;
use crate::json;
use crate::port::Region;
use crate::problem::{Kind, Outcome, Problem};
use crate::refusal::{self, Landed};
use crate::time::parse_timestamp;

/// Events of one aggregate at most: they are folded anew, step by step.
const EVENTS_MAX: usize = 10_000;

/// Events searched at once.
const PAGE: usize = 1_000;

/// Parts of the logs that one request searches; it answers with where to go on.
const PARTS_MAX: usize = 20;

/// An aggregate that changes meanwhile is judged again so often.
const TRIES: usize = 4;

/// One undo at a time, however long its client waits: others are told to come again.
static ROOM: Semaphore = Semaphore::const_new(1);

/// Room for an answer of some aggregates.
const ANSWER_BYTES: usize = 8 << 10;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    #[serde(rename = "where")]
    filter: Filter,
    #[serde(default)]
    dry_run: bool,
    /// As an earlier answer gave it.
    upto: Option<String>,
}

#[derive(Deserialize, Serialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Filter {
    actor: Option<String>,
    correlation_id: Option<String>,
    causation_id: Option<String>,
    aggregate_type: Option<String>,
    aggregate_id: Option<String>,
    region: Option<String>,
    since: Option<String>,
    until: Option<String>,
    everything: bool,
}

/// One request, checked.
struct Plan {
    filter: EventFilter,
    dry_run: bool,
    correlation_id: String,
    /// Behind this it is searched, up to there.
    after: Vector,
    upto: Vector,
}

/// What came of one aggregate.
struct Item {
    key: Key,
    events: usize,
    outcome: Result<Vec<Compensation>, &'static str>,
    written: Vec<Landed>,
    /// What the answers to its writes show.
    seen: Vector,
}

/// How an aggregate was judged.
enum Judged {
    /// An earlier page had it.
    Elsewhere,
    Left(usize, &'static str),
    Undo(usize, Undo),
}

/// `POST /v1/undo`.
pub(super) async fn run<R: Region>(mut asked: Asked<'_, R>) -> Outcome<Answered> {
    let limit = asked.query.limit()?;
    let plan = read(&mut asked).await?;
    let Ok(place) = ROOM.try_acquire() else {
        let detail = "another undo is under way in this region; try again when it is done";
        return Err(Problem::new(Kind::Unavailable, detail).retry_after(1));
    };
    let place = Arc::new(place);
    let (keys, next, missing) = search(&asked, &plan, limit).await?;
    let mut items = Vec::new();
    for key in keys {
        match judge(&asked, &plan, &key, &place).await? {
            Judged::Elsewhere => {}
            Judged::Left(events, why) => {
                items.push((Item::new(key, events, Err(why)), None));
            }
            Judged::Undo(events, undo) => {
                let outcome = undo.outcome.clone().map_err(name_of);
                items.push((Item::new(key, events, outcome), Some(undo)));
            }
        }
    }
    let mut shown = Vec::new();
    for (mut item, undo) in items {
        if let Some(undo) = undo.filter(|_| !plan.dry_run) {
            item = write(&asked, &plan, item, undo, &place).await?;
        }
        shown.push(item);
    }
    let next = next.map(|next| cursor::of_text(&format!("{next}\n{}", plan.upto)));
    let answer = json!({
        "dryRun": plan.dry_run,
        "correlationId": plan.correlation_id,
        "items": shown.iter().map(Item::to_json).collect::<Vec<_>>(),
        "missing": missing,
        "upto": plan.upto.to_string(),
        "next": next,
    });
    let mut out = BytesMut::with_capacity(ANSWER_BYTES);
    json::serialized(&mut out, &answer);
    let response = respond::at_vector(respond::ok(out), &plan.upto);
    Ok(asked.showing(response, || {
        let mut seen = plan.upto.clone();
        shown.iter().for_each(|item| seen.join(&item.seen));
        Seen(seen)
    }))
}

async fn read<R: Region>(asked: &mut Asked<'_, R>) -> Outcome<Plan> {
    let shape = "{\"where\":{\"correlationId\":\"…\",\"since\":\"…\"},\"dryRun\":true}";
    let Wanted { filter: given, dry_run, upto } = asked.read_json(shape).await?;
    let time = |name: &str, text: &Option<String>| match text.as_deref() {
        None => Ok(None),
        Some(text) => parse_timestamp(text).map(Some).ok_or_else(|| {
            let detail = format!("`{name}` is a time such as 2026-01-31T12:00:00Z, not `{text}`");
            Problem::parameter(detail).at(format!("/where/{name}"))
        }),
    };
    let (since, until) = (time("since", &given.since)?, time("until", &given.until)?);
    let text = serde_json::to_value(&given).unwrap_or_default();
    let names = [
        &given.actor,
        &given.correlation_id,
        &given.causation_id,
        &given.aggregate_type,
        &given.aggregate_id,
        &given.region,
    ];
    if names.iter().all(|name| name.is_none()) && !given.everything {
        let detail = "`where` names actor, correlationId, causationId, aggregateType, aggregateId \
                      or region, or says `\"everything\":true`";
        return Err(Problem::parameter(detail).at("/where"));
    }
    let hash = content_hash(Operation::Record, "undo", &text);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let correlation_id =
        idempotency_key(asked.headers())?.map_or(format!("undo-{hex}"), str::to_owned);
    let (after, upto) = match asked.query.get("cursor") {
        None => (Vector::new(), upto_of(asked, upto.as_deref()).await?),
        Some(text) => {
            let text = cursor::decoded(text)?;
            let (after, upto) = text.split_once('\n').ok_or_else(cursor::broken)?;
            let read = |text| Vector::parse(text).map_err(|_| cursor::broken());
            (read(after)?, read(upto)?)
        }
    };
    let filter = EventFilter {
        data_set: asked.data_set()?,
        event_type: None,
        aggregate_type: given.aggregate_type,
        aggregate_id: given.aggregate_id,
        region: given.region,
        actor: given.actor,
        correlation_id: given.correlation_id,
        causation_id: given.causation_id,
        since,
        until,
    };
    Ok(Plan { filter, dry_run, correlation_id, after, upto })
}

/// Events up to there are undone: up to now, or up to where an earlier request looked.
async fn upto_of<R: Region>(asked: &Asked<'_, R>, given: Option<&str>) -> Outcome<Vector> {
    let (applied, _) = asked.read(Query::Vector).await?;
    let Some(text) = given else { return Ok(applied) };
    let upto = Vector::parse(text).map_err(|_| {
        Problem::parameter("`upto` is the one that an earlier answer gave").at("/upto")
    })?;
    if !applied.covers_all(&upto) {
        let detail = "this region has not applied all that `upto` names; ask the region that gave \
                      it, or try again";
        return Err(Problem::new(Kind::Behind, detail).retry_after(1));
    }
    Ok(upto)
}

/// The next aggregates that the filter's events are of, and where to go on, if there is more.
async fn search<R: Region>(
    asked: &Asked<'_, R>,
    plan: &Plan,
    limit: usize,
) -> Outcome<(Vec<Key>, Option<Vector>, Value)> {
    let (mut at, mut known, mut keys) = (plan.after.clone(), BTreeSet::new(), Vec::new());
    let mut passed = Vec::new();
    for _ in 0..PARTS_MAX {
        if at.covers_all(&plan.upto) {
            break;
        }
        let query = Query::Events { after: at.clone(), limit: PAGE, filter: plan.filter.clone() };
        let (_, found) = asked.read(query).await?;
        let Found::Events { events, next, missing } = found else {
            return Err(refusal::unexpected(&found));
        };
        passed.extend(missing);
        for event in events.iter().filter(|event| plan.upto.covers(&event.dot)) {
            if known.insert(event.key.clone()) {
                if keys.len() == limit {
                    return Ok((keys, Some(at), gone(&passed)));
                }
                keys.push(event.key.clone());
            }
            at.raise(&event.dot.origin, event.dot.sequence);
        }
        if next == at && events.is_empty() {
            break;
        }
        at.join(&next);
    }
    let next = (!at.covers_all(&plan.upto)).then_some(at);
    Ok((keys, next, gone(&passed)))
}

fn gone(missing: &[(linckia_model::Origin, u64, u64)]) -> Value {
    refusal::missing(missing.iter().map(|(origin, first, last)| (origin, *first, *last)))
}

async fn judge<R: Region>(
    asked: &Asked<'_, R>,
    plan: &Plan,
    key: &Key,
    place: &Arc<SemaphorePermit<'static>>,
) -> Outcome<Judged> {
    for _ in 0..TRIES {
        let past = match past::read(asked, key, EVENTS_MAX).await? {
            Ok(past) => past,
            Err(Unread::TooLong) => return Ok(Judged::Left(0, "too-long")),
            Err(Unread::Changing) => continue,
        };
        let (events, version, entity_tag) = (past.events, past.version, past.entity_tag);
        let (filter, upto) = (plan.filter.clone(), plan.upto.clone());
        let named = move |event: &Event| upto.covers(&event.dot) && filter.takes(event);
        let counted = events.iter().filter(|event| named(event)).count();
        let before = |event: &&Arc<Event>| plan.after.covers(&event.dot) && named(event);
        if events.iter().any(|event| before(&event)) {
            return Ok(Judged::Elsewhere);
        }
        let (policies, of) = (asked.region().policies().borrow().clone(), key.clone());
        let place = Arc::clone(place);
        let judging = tokio::task::spawn_blocking(move || {
            let _place = place;
            undo(&events, &named, policies.of(&of), &FoldSettings::default())
        });
        let undo = judging.await.map_err(|_| refusal::broken("an undo"))?;
        let whole = undo.version == version && undo.entity_tag == entity_tag;
        return Ok(match whole {
            true => Judged::Undo(counted, undo),
            false => Judged::Left(counted, "history-gone"),
        });
    }
    Ok(Judged::Left(0, "changing"))
}

/// Writes what was judged; where the aggregate changed since, it is judged again.
async fn write<R: Region>(
    asked: &Asked<'_, R>,
    plan: &Plan,
    mut item: Item,
    mut undo: Undo,
    place: &Arc<SemaphorePermit<'static>>,
) -> Outcome<Item> {
    for _ in 0..TRIES {
        let Ok(planned) = &undo.outcome else { return Ok(item) };
        let events = planned
            .iter()
            .map(|one| new_event(asked, plan, &item.key, one))
            .collect::<Outcome<Vec<NewEvent>>>()?;
        let (version, entity_tag) = (undo.version, undo.entity_tag.clone());
        let precondition = Some(Precondition::Unchanged { version, entity_tag });
        let ack = asked.ack.clone();
        let write = Write { events, atomic: true, precondition, entity_tag: false, ack };
        let answers = match asked.region().write(write).await {
            Ok(answers) => answers,
            Err(unavailable) => {
                item.outcome = Err(Box::<Problem>::from(unavailable).kind.entry().name());
                return Ok(item);
            }
        };
        item.seen.join(&refusal::shown(&answers));
        match refusal::landed(&answers) {
            Ok(written) => {
                item.written = written;
                return Ok(item);
            }
            Err((_, Refusal::VersionConflict { .. } | Refusal::IdReused(_))) => {}
            // Others may still be written.
            Err((_, refused)) => {
                item.outcome = Err(refusal::problem_of(refused, "/data").kind.entry().name());
                return Ok(item);
            }
        }
        match judge(asked, plan, &item.key, place).await? {
            Judged::Elsewhere => return Ok(item),
            Judged::Left(events, why) => {
                (item.events, item.outcome) = (events, Err(why));
                return Ok(item);
            }
            Judged::Undo(events, again) => {
                undo = again;
                (item.events, item.outcome) = (events, undo.outcome.clone().map_err(name_of));
            }
        }
    }
    item.outcome = Err("changing");
    Ok(item)
}

fn new_event<R: Region>(
    asked: &Asked<'_, R>,
    plan: &Plan,
    key: &Key,
    one: &Compensation,
) -> Outcome<NewEvent> {
    Ok(NewEvent {
        key: key.clone(),
        event_type: event_type(asked, key, "Undone")?,
        operation: one.operation,
        data: one.data.clone(),
        event_id: Arc::clone(&one.event_id),
        extras: Extras {
            actor: asked.actor.map(Box::from),
            traceparent: headers::traceparent(asked.headers()).map(Box::from),
            correlation_id: Some(plan.correlation_id.as_str().into()),
            causation_id: Some((*one.undoes).into()),
            ..Extras::default()
        },
    })
}

fn name_of(left: Left) -> &'static str {
    match left {
        Left::NothingShows => "nothing-shows",
        Left::Undone => "undone",
        Left::Unclear => "unclear",
        Left::TooLong => "too-long",
    }
}

impl Item {
    fn new(key: Key, events: usize, outcome: Result<Vec<Compensation>, &'static str>) -> Self {
        Self { key, events, outcome, written: Vec::new(), seen: Vector::new() }
    }

    fn to_json(&self) -> Value {
        let planned = self.outcome.as_deref().unwrap_or_default();
        let one = |(place, one): (usize, &Compensation)| {
            json!({
                "undoes": &*one.undoes,
                "eventId": &*one.event_id,
                "operation": one.operation.name(),
                "data": one.data,
                "dot": self.written.get(place).map(|one| one.dot.to_string()),
                "late": self.written.get(place).map(Landed::holders),
            })
        };
        json!({
            "aggregateType": &*self.key.aggregate_type,
            "aggregateId": &*self.key.aggregate_id,
            "events": self.events,
            "compensations": planned.iter().enumerate().map(one).collect::<Vec<_>>(),
            "left": self.outcome.as_ref().err(),
        })
    }
}
