//! Another policy over recorded history: what would have come out otherwise.
//!
//! The events of a type are read as they lie in the logs and folded twice, here and not in the
//! core. What always holds: nothing is written; what is compared was applied at the vector that the
//! answer names.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::BytesMut;
use linckia_apply::{EventFilter, Found, Query};
use linckia_model::{
    Dot, DryRun, Event, FoldSettings, Key, Policies, Policy, Record, RecordKey, Vector, dry_run,
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::asked::Asked;
use super::respond::{self, Answered};
use crate::event::check;
use crate::json;
use crate::port::Region;
use crate::problem::{Kind, Outcome, Problem};
use crate::refusal;
use crate::render::conflict::kind_name;

/// Events of one dry run: they are in memory all at once.
const EVENTS_MAX: usize = 100_000;

/// The data of these events together, roughly, in bytes.
const BYTES_MAX: usize = 64 << 20;

/// One dry run at a time: others are told to come again.
static ROOM: Semaphore = Semaphore::const_new(1);

/// Events read at once.
const PAGE: usize = 1_000;

/// Room for an answer of some aggregates.
const ANSWER_BYTES: usize = 8 << 10;

/// What is asked for.
struct Trial {
    aggregate_type: String,
    aggregate_id: Option<String>,
    policy: Policy,
}

/// What came of all aggregates.
#[derive(Default)]
struct Outcomes {
    aggregates: usize,
    changed: usize,
    appear: usize,
    disappear: usize,
    items: Vec<Value>,
}

/// `POST /v1/policies/dry-run`.
pub(super) async fn run<R: Region>(mut asked: Asked<'_, R>) -> Outcome<Answered> {
    let limit = asked.query.limit()?;
    let trial = read(&mut asked).await?;
    let Ok(place) = ROOM.try_acquire() else {
        let detail = "another dry run is under way in this region; try again when it is done";
        return Err(Problem::new(Kind::Unavailable, detail).retry_after(1));
    };
    let (vector, events) = history(&asked, &trial).await?;
    let count = events.values().map(Vec::len).sum::<usize>();
    let policies = asked.region().policies().borrow().clone();
    let policy = trial.policy.clone();
    let folding = tokio::task::spawn_blocking(move || {
        let outcomes = fold(&events, &policies, &policy, limit);
        drop(place);
        outcomes
    });
    let outcomes = folding.await.map_err(|_| refusal::broken("a dry run"))?;
    let answer = json!({
        "aggregateType": trial.aggregate_type,
        "policy": trial.policy.to_json(),
        "aggregates": outcomes.aggregates,
        "events": count,
        "changed": outcomes.changed,
        "conflicts": {"appear": outcomes.appear, "disappear": outcomes.disappear},
        "items": outcomes.items,
    });
    let mut out = BytesMut::with_capacity(ANSWER_BYTES);
    json::serialized(&mut out, &answer);
    Ok(respond::at_vector(respond::ok(out), &vector))
}

async fn read<R: Region>(asked: &mut Asked<'_, R>) -> Outcome<Trial> {
    let mut value = asked.read_value().await?;
    let mut name = |member: &str| -> Outcome<Option<String>> {
        let Some(name) = value.as_object_mut().and_then(|members| members.remove(member)) else {
            return Ok(None);
        };
        let text = name.as_str().ok_or("it is a text".to_owned());
        let checked = text.and_then(|name| {
            check::check_name(name, &asked.house.settings.limits).map(|()| name.to_owned())
        });
        let wrong = |detail| Problem::parameter(format!("`{member}`: {detail}"));
        checked.map(Some).map_err(|detail| wrong(detail).at(format!("/{member}")))
    };
    let (aggregate_type, aggregate_id) = (name("aggregateType")?, name("aggregateId")?);
    let aggregate_type = aggregate_type.ok_or_else(|| {
        let detail = "`aggregateType` says whose history it is, beside the policy: strategy, \
                      regions, fields";
        Problem::parameter(detail)
    })?;
    let policy =
        Policy::from_json(&value).map_err(|error| Problem::parameter(error.to_string()))?;
    Ok(Trial { aggregate_type, aggregate_id, policy })
}

type Histories = BTreeMap<Key, Vec<Arc<Event>>>;

/// The events of the type that are applied now, by aggregate, and the vector of that.
async fn history<R: Region>(asked: &Asked<'_, R>, trial: &Trial) -> Outcome<(Vector, Histories)> {
    let filter = EventFilter {
        data_set: asked.data_set()?,
        aggregate_type: Some(trial.aggregate_type.clone()),
        aggregate_id: trial.aggregate_id.clone(),
        ..EventFilter::default()
    };
    let upto = (*asked.region().applied_now()).clone();
    let (mut after, mut count, mut bytes) = (Vector::new(), 0, 0);
    let mut histories = Histories::new();
    while !after.covers_all(&upto) {
        let query = Query::Events { after: after.clone(), limit: PAGE, filter: filter.clone() };
        let (_, found) = asked.read(query).await?;
        let Found::Events { events, next, .. } = found else {
            return Err(refusal::unexpected(&found));
        };
        if next == after {
            break;
        }
        after = next;
        for event in events.into_iter().filter(|event| upto.covers(&event.dot)) {
            count += 1;
            bytes += weight(&event.data);
            histories.entry(event.key.clone()).or_default().push(event);
        }
        if count > EVENTS_MAX || bytes > BYTES_MAX {
            let detail = format!(
                "the history is longer than {EVENTS_MAX} events or {BYTES_MAX} bytes; name one \
                 aggregate with `aggregateId`"
            );
            return Err(Problem::parameter(detail).with("limit", EVENTS_MAX));
        }
    }
    Ok((upto, histories))
}

/// About what a value takes.
fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 32,
        Value::Array(items) => 32 + items.iter().map(weight).sum::<usize>(),
        Value::Object(members) => {
            32 + members.iter().map(|(name, value)| name.len() + 64 + weight(value)).sum::<usize>()
        }
        _ => 32,
    }
}

fn fold(events: &Histories, policies: &Policies, policy: &Policy, limit: usize) -> Outcomes {
    let mut outcomes = Outcomes::default();
    for (key, events) in events {
        let run = dry_run(events, policies.of(key), policy, &FoldSettings::default());
        outcomes.aggregates += 1;
        outcomes.appear += run.appear.len();
        outcomes.disappear += run.disappear.len();
        let same = run.before == run.after && run.appear.is_empty() && run.disappear.is_empty();
        if !same {
            outcomes.changed += 1;
            if outcomes.items.len() < limit {
                outcomes.items.push(shown(key, events, &run));
            }
        }
    }
    outcomes
}

fn shown(key: &Key, events: &[Arc<Event>], run: &DryRun) -> Value {
    let ids: BTreeMap<&Dot, &str> =
        events.iter().map(|event| (&event.dot, &*event.identity.event_id)).collect();
    let id = |dot: &Dot| ids.get(dot).copied();
    let records = |records: &[(RecordKey, Record)]| -> Vec<Value> {
        let each = |(key, record): &(RecordKey, Record)| {
            json!({
                "conflictType": kind_name(record.kind),
                "paths": record.paths,
                "losers": key.losers.iter().map(|loser| id(&loser.dot)).collect::<Vec<_>>(),
                "winner": id(&key.winner.dot),
                "status": if record.is_open() { "open" } else { "settled" },
            })
        };
        records.iter().map(each).collect()
    };
    json!({
        "aggregateId": &*key.aggregate_id,
        "before": run.before,
        "after": run.after,
        "appear": records(&run.appear),
        "disappear": records(&run.disappear),
    })
}
