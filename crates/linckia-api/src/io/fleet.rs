//! The fleet as seen from here: regions, links, vectors, digests.
//!
//! What operators and the command line ask for. What always holds: waiting has an end.

use std::time::Duration;

use bytes::BytesMut;
use linckia_apply::{Found, Query};
use linckia_model::{Dot, Origin, Vector};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::asked::Asked;
use super::respond::{self, Answered};
use super::sessions::{covered_within, until_lost};
use crate::event::explain;
use crate::port::Region;
use crate::problem::{Kind, Outcome, Problem};
use crate::render::{fleet, state};
use crate::session::{WAIT_DEFAULT, WAIT_MAX};
use crate::time::parse_duration;
use crate::{query, refusal};

/// Room for a region or a link with a few origins.
const ITEM_BYTES: usize = 512;

/// 256 ranges with a hash each.
const DIGESTS_BYTES: usize = 32 << 10;

/// `GET /v1/regions`.
pub(super) async fn regions<R: Region>(asked: Asked<'_, R>) -> Outcome<Answered> {
    let views = asked.region().regions().await?;
    let said_by = asked.region().name().as_str();
    let mut out = BytesMut::with_capacity(ITEM_BYTES * (views.len() + 1));
    state::write_page(&mut out, &views, None, |out, view| fleet::write_region(out, view, said_by));
    Ok(respond::ok(out))
}

/// `GET /v1/links`.
pub(super) async fn links<R: Region>(asked: Asked<'_, R>) -> Outcome<Answered> {
    let views = asked.region().links().await?;
    let emulated = asked.region().emulated().await;
    let mut out = BytesMut::with_capacity(ITEM_BYTES * (views.len() + 1));
    state::write_page(&mut out, &views, None, |out, view| {
        fleet::write_link(out, view, emulated.as_ref());
    });
    Ok(respond::ok(out))
}

/// `GET /v1/digests`.
pub(super) async fn digests<R: Region>(asked: Asked<'_, R>) -> Outcome<Answered> {
    let (vector, found) = asked.read(Query::Digests).await?;
    let Found::Digests(digests) = found else {
        return Err(refusal::unexpected(&found));
    };
    let mut out = BytesMut::with_capacity(DIGESTS_BYTES);
    fleet::write_digests(&mut out, &vector, &digests);
    Ok(respond::at_vector(respond::ok(out), &vector))
}

/// `GET /v1/vector`.
pub(super) async fn vector<R: Region>(asked: Asked<'_, R>) -> Outcome<Answered> {
    let (vector, _) = asked.read(Query::Vector).await?;
    Ok(now_at(&asked, &vector))
}

/// `GET /v1/acks/{dot}`.
pub(super) async fn acks<R: Region>(asked: Asked<'_, R>) -> Outcome<Answered> {
    let text = &asked.matched.segments[0];
    let dot = Dot::parse(text).map_err(|_| {
        Problem::parameter(format!("`{text}`: a dot such as us-east-1.7f3a9c01d2e4b5a6:42"))
    })?;
    let lost =
        refusal::lost(&[&dot].into_iter().collect(), &asked.region().incarnations().borrow());
    lost.map_or(Ok(()), Err)?;
    let Some(holders) = asked.region().holders(dot).await? else {
        let detail = format!("no event {text} is known here; its origin's region may know it");
        return Err(Problem::new(Kind::NotFound, detail));
    };
    let mut out = BytesMut::with_capacity(ITEM_BYTES);
    fleet::write_holders(&mut out, &holders);
    Ok(respond::ok(out))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wait {
    vector: Value,
    #[serde(default)]
    timeout: Option<String>,
}

/// `POST /v1/vector/wait`.
pub(super) async fn wait<R: Region>(mut asked: Asked<'_, R>) -> Outcome<Answered> {
    let body: Wait = asked.read_json(r#"{"vector":…,"timeout":"5s"}"#).await?;
    let (wanted, longest) = checked_wait(&body)?;
    let covered = tokio::select! {
        biased;
        lost = until_lost(asked.house, &wanted) => return Err(lost),
        covered = covered_within(asked.house, &wanted, longest) => covered?,
    };
    match covered {
        Some(vector) => Ok(now_at(&asked, &vector)),
        None => Err(refusal::behind(&wanted, &asked.region().applied_now())),
    }
}

fn now_at<R: Region>(asked: &Asked<'_, R>, vector: &Vector) -> Answered {
    let mut out = BytesMut::with_capacity(ITEM_BYTES);
    fleet::write_vector(&mut out, vector, asked.region().name().as_str());
    respond::at_vector(respond::ok(out), vector)
}

fn checked_wait(wait: &Wait) -> Outcome<(Vector, Duration)> {
    let wanted = match &wait.vector {
        Value::Object(members) => vector_of(members),
        Value::String(text) => query::vector("vector", text),
        other => Err(Problem::parameter(format!(
            "a vector is an object or its text, not {}",
            explain::kind(other)
        ))),
    };
    let wanted = wanted.map_err(|problem| problem.at("/vector"))?;
    let longest = match wait.timeout.as_deref() {
        None => WAIT_DEFAULT,
        Some(text) => {
            parse_duration(text).filter(|longest| *longest <= WAIT_MAX).ok_or_else(|| {
                let most = WAIT_MAX.as_secs();
                let detail = format!("`{text}`: a time such as `500ms` or `5s`, at most {most}s");
                Problem::parameter(detail).at("/timeout")
            })?
        }
    };
    Ok((wanted, longest))
}

fn vector_of(members: &Map<String, Value>) -> Outcome<Vector> {
    let pair = |(origin, sequence): (&String, &Value)| {
        let parsed = Origin::parse(origin).ok();
        let sequence = sequence.as_u64().filter(|sequence| *sequence > 0);
        parsed.zip(sequence).ok_or_else(|| {
            Problem::parameter(format!("`{origin}`: an origin with a sequence from 1 is expected"))
        })
    };
    members.iter().map(pair).collect()
}
