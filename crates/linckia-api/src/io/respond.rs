//! Answers: status, prebuilt headers, body.
//!
//! The last step of every resource. What always holds: an error is a problem document.

use bytes::{Bytes, BytesMut};
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, LINK, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderValue, Response, StatusCode};
use linckia_model::Vector;
use tokio::sync::mpsc;

use super::body::DoorBody;
use crate::headers::{SESSION, STALE, VECTOR};
use crate::media;
use crate::problem::{Kind, Problem};

pub(super) static JSON: HeaderValue = HeaderValue::from_static(media::JSON);
pub(super) static NDJSON: HeaderValue = HeaderValue::from_static(media::NDJSON);
pub(super) static BATCH: HeaderValue = HeaderValue::from_static(media::BATCH);
pub(super) static EVENT_STREAM: HeaderValue = HeaderValue::from_static(media::EVENT_STREAM);
pub(super) static MARKDOWN: HeaderValue = HeaderValue::from_static(media::MARKDOWN);
pub(super) static TEXT: HeaderValue = HeaderValue::from_static(media::TEXT);
pub(super) static BACKUP: HeaderValue = HeaderValue::from_static(media::BACKUP);
static PROBLEM: HeaderValue = HeaderValue::from_static(media::PROBLEM);

/// Room for a problem with a sentence or two.
const PROBLEM_BYTES: usize = 512;

pub(super) type Answered = Response<DoorBody>;

/// An answer of a form, whole.
pub(super) fn whole(status: StatusCode, form: &HeaderValue, body: impl Into<Bytes>) -> Answered {
    let mut response = Response::new(DoorBody::whole(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, form.clone());
    response
}

pub(super) fn json(status: StatusCode, body: BytesMut) -> Answered {
    whole(status, &JSON, body)
}

pub(super) fn ok(body: BytesMut) -> Answered {
    json(StatusCode::OK, body)
}

/// An answer whose body a task is still writing.
pub(super) fn stream(form: &HeaderValue, pieces: mpsc::Receiver<Bytes>) -> Answered {
    let mut response = Response::new(DoorBody::stream(pieces));
    response.headers_mut().insert(CONTENT_TYPE, form.clone());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Names the vector at which was read.
pub(super) fn at_vector(mut response: Answered, vector: &Vector) -> Answered {
    add(&mut response, VECTOR, &vector.to_string());
    response
}

pub(super) fn with_tag(mut response: Answered, tag: Option<&str>) -> Answered {
    if let Some(tag) = tag {
        add(&mut response, ETAG, &format!("\"{tag}\""));
    }
    response
}

/// Names the next page where the body has no place for it.
pub(super) fn with_next(mut response: Answered, address: &str) -> Answered {
    add(&mut response, LINK, &format!("<{address}>; rel=\"next\""));
    response
}

fn add(response: &mut Answered, name: HeaderName, text: &str) {
    match HeaderValue::from_str(text) {
        Ok(value) => drop(response.headers_mut().insert(name, value)),
        Err(error) => tracing::error!(%name, %error, "a header of an answer is no header"),
    }
}

pub(super) fn problem(problem: &Problem) -> Answered {
    let mut body = BytesMut::with_capacity(PROBLEM_BYTES);
    problem.write(&mut body);
    let status = StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let mut response = whole(status, &PROBLEM, body);
    if let Some(seconds) = problem.retry_after_seconds {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(token) = &problem.session {
        add(&mut response, SESSION, token);
    }
    if let Some(stale) = &problem.stale {
        add(&mut response, STALE, stale);
    }
    if let Some(allow) = &problem.allow {
        add(&mut response, ALLOW, allow);
    }
    if problem.kind == Kind::Unauthorized {
        let challenge = HeaderValue::from_static("Bearer realm=\"linckia\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}
