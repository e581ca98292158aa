//! Conflicts on record, listed and one by one.
//!
//! Under `/v1/conflicts`. What always holds: a record of another data set is not there.

use bytes::BytesMut;
use linckia_apply::{ConflictFilter, Found, Query};

use super::asked::Asked;
use super::respond::{self, Answered};
use crate::cursor;
use crate::port::Region;
use crate::problem::{Kind, Outcome, Problem};
use crate::refusal;
use crate::render::{conflict, state};

/// Room for a record of two events.
const RECORD_BYTES: usize = 1024;

/// `GET /v1/conflicts`.
pub(super) async fn list<R: Region>(asked: Asked<'_, R>) -> Outcome<Answered> {
    let open = match asked.query.get("status") {
        None => None,
        Some("open") => Some(true),
        Some("settled") => Some(false),
        Some(other) => {
            let detail = format!("`status={other}`: `open` or `settled` is expected");
            return Err(Problem::parameter(detail));
        }
    };
    let filter = ConflictFilter {
        data_set: asked.data_set()?,
        aggregate_type: asked.name("aggregateType")?,
        aggregate_id: asked.name("aggregateId")?,
        open,
    };
    let after = asked.query.get("cursor").map(cursor::decoded).transpose()?;
    let query = Query::Conflicts { filter, after, limit: asked.query.limit()? };
    let (vector, found) = asked.read(query).await?;
    let Found::Conflicts(records, next) = found else {
        return Err(refusal::unexpected(&found));
    };
    let next = next.as_deref().map(cursor::of_text);
    let mut out = BytesMut::with_capacity(RECORD_BYTES * (records.len() + 1));
    state::write_page(&mut out, &records, next.as_deref(), conflict::write);
    Ok(respond::at_vector(respond::ok(out), &vector))
}

/// `GET /v1/conflicts/{id}`.
pub(super) async fn get<R: Region>(asked: Asked<'_, R>) -> Outcome<Answered> {
    let data_set = asked.data_set()?;
    let id = asked.matched.segments[0].to_string();
    let (vector, found) = asked.read(Query::Conflict { id }).await?;
    match found {
        Found::Conflict(Some(record)) if record.key.data_set == data_set => {
            let mut out = BytesMut::with_capacity(RECORD_BYTES);
            conflict::write(&mut out, &record);
            Ok(respond::at_vector(respond::ok(out), &vector))
        }
        Found::Conflict(_) => Err(not_found()),
        other => Err(refusal::unexpected(&other)),
    }
}

pub(super) fn not_found() -> Box<Problem> {
    Problem::new(Kind::NotFound, "there is no such conflict on record here")
}
