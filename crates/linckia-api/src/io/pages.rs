//! What is neither data nor fleet: health, metrics, descriptions.
//!
//! For probes, scrapers and people. What always holds: `/livez` needs nobody's permission and
//! nothing of the region.

use bytes::{Bytes, BytesMut};
use http::StatusCode;

use super::asked::Asked;
use super::respond::{self, Answered};
use crate::json::Object;
use crate::port::Region;
use crate::problem::{Kind, Outcome, Problem, TABLE};

/// A region that is recovering says more soon.
const RETRY_SECONDS: u32 = 1;

/// `GET /livez`.
pub(super) fn live() -> Answered {
    respond::whole(StatusCode::OK, &respond::JSON, Bytes::from_static(b"{\"status\":\"live\"}"))
}

/// `GET /readyz`.
pub(super) fn ready<R: Region>(asked: &Asked<'_, R>) -> Outcome<Answered> {
    match asked.region().ready() {
        Ok(()) => {
            let body = Bytes::from_static(b"{\"status\":\"ready\"}");
            Ok(respond::whole(StatusCode::OK, &respond::JSON, body))
        }
        Err(reason) => {
            let detail = format!("this region takes no writes: {reason}");
            Err(Problem::new(Kind::Unavailable, detail).retry_after(RETRY_SECONDS))
        }
    }
}

/// `GET /metrics`.
pub(super) fn metrics<R: Region>(asked: &Asked<'_, R>) -> Answered {
    respond::whole(StatusCode::OK, &respond::TEXT, asked.house.prometheus.render())
}

/// `GET /openapi.json`.
pub(super) fn openapi<R: Region>(asked: &Asked<'_, R>) -> Answered {
    respond::whole(StatusCode::OK, &respond::JSON, asked.house.openapi.clone())
}

/// `GET /problems/{name}`.
pub(super) fn problem<R: Region>(asked: &Asked<'_, R>) -> Outcome<Answered> {
    let name = &asked.matched.segments[0];
    match TABLE.iter().find(|entry| entry.name() == name) {
        Some(entry) => {
            let page = Bytes::from_static(entry.page.as_bytes());
            Ok(respond::whole(StatusCode::OK, &respond::MARKDOWN, page))
        }
        None => Err(Problem::new(Kind::NotFound, format!("`{name}` is no problem type"))),
    }
}

/// `GET /`.
pub(super) fn root<R: Region>(asked: &Asked<'_, R>) -> Answered {
    let mut out = BytesMut::new();
    let mut object = Object::open(&mut out);
    object.text("product", "Linckia");
    object.text("version", env!("CARGO_PKG_VERSION"));
    object.text("region", asked.region().name().as_str());
    object.text("openapi", "/openapi.json");
    object.text("events", "/v1/events");
    object.text("regions", "/v1/regions");
    object.text("problems", "/problems/invalid-event");
    object.text("metrics", "/metrics");
    object.close();
    respond::ok(out)
}
