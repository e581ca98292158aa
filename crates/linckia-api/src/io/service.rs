//! The door itself: who may come in, what a request means, and who answers it.
//!
//! Called by the listener for every request of every connection. What always holds: every request
//! gets an answer and is counted once; the door keeps no state of a client.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Request};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;

use super::asked::Asked;
use super::body::{self, DoorBody, RequestBody};
use super::respond::{self, Answered};
use super::sessions::{self, CaughtUp, Entered};
use super::{
    aggregates, append, backup, conflicts, dry_run, events, fleet, forward, lapse, locks, pages,
    policies, repairs, resolve, returned, undo,
};
use crate::auth::{self, ClientIdentity};
use crate::headers::{self, TRACEPARENT};
use crate::metrics::Metrics;
use crate::openapi;
use crate::port::{ForwardRequest, Region};
use crate::problem::{Kind, Outcome, Problem};
use crate::query::QueryString;
use crate::route::{self, Call, Matched, Verb};
use crate::settings::DoorSettings;

/// The data set of `/v1/…`.
const DATA_SET: &str = "default";

/// The HTTP door of a region. Clones are the same door.
pub struct Door<R> {
    house: Arc<House<R>>,
}

/// What all requests share.
pub(super) struct House<R> {
    pub(super) region: Arc<R>,
    pub(super) settings: DoorSettings,
    pub(super) data_set: Arc<str>,
    pub(super) prometheus: PrometheusHandle,
    pub(super) openapi: Bytes,
    /// True once the process is about to end: streams end themselves.
    pub(super) stopping: watch::Receiver<bool>,
    pub(super) metrics: Metrics,
}

impl<R> Clone for Door<R> {
    fn clone(&self) -> Self {
        Self { house: Arc::clone(&self.house) }
    }
}

impl<R: Region> Door<R> {
    /// A door in front of a region. `stopping` becomes true when streams shall end. Where metrics
    /// are wanted, the recorder is installed before the first request.
    pub fn new(
        region: Arc<R>,
        settings: DoorSettings,
        prometheus: PrometheusHandle,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let document = openapi::document(env!("CARGO_PKG_VERSION"));
        let house = House {
            region,
            settings,
            data_set: DATA_SET.into(),
            prometheus,
            openapi: Bytes::from(document.to_string()),
            stopping,
            metrics: Metrics::new(),
        };
        Self { house: Arc::new(house) }
    }

    /// Answers one request of a client.
    pub async fn handle(
        &self,
        request: Request<Incoming>,
        client: ClientIdentity,
    ) -> http::Response<DoorBody> {
        let (parts, incoming) = request.into_parts();
        self.run(parts, RequestBody::Incoming(incoming), client).await
    }

    /// Answers a request that another region of the fleet took, and forwarded here. Errors: its
    /// answer is larger than `bytes_max`, or is a stream.
    pub async fn handle_forwarded(
        &self,
        request: ForwardRequest,
        bytes_max: usize,
    ) -> http::Response<Bytes> {
        let client = ClientIdentity::of_region(request.actor.as_deref());
        let mut made = Request::new(());
        *made.method_mut() = request.method;
        *made.uri_mut() = request.target.parse().unwrap_or_default();
        *made.headers_mut() = request.headers;
        let (parts, ()) = made.into_parts();
        let response = self.run(parts, RequestBody::Whole(request.body), client).await;
        if response.body().is_stream() {
            return whole(forward::no_streams()).await;
        }
        let (parts, body) = response.into_parts();
        let collected = http_body_util::Limited::new(body, bytes_max).collect().await;
        match collected {
            Ok(whole) => http::Response::from_parts(parts, whole.to_bytes()),
            Err(_) => {
                let detail = "the answer is too large to be forwarded; ask the region itself";
                whole(Problem::new(Kind::Unavailable, detail)).await
            }
        }
    }

    async fn run(
        &self,
        mut parts: Parts,
        body: RequestBody,
        client: ClientIdentity,
    ) -> http::Response<DoorBody> {
        let start = Instant::now();
        let mut body = Some(body);
        let given = headers::traceparent(&parts.headers).map(HeaderValue::from_str);
        let given = given.and_then(Result::ok);
        let span = self.house.region.begin_span(headers::traceparent(&parts.headers));
        // What the request writes is a child of its span.
        let events = span.as_ref().map(|span| HeaderValue::from_str(&span.events));
        if let Some(Ok(events)) = events {
            parts.headers.insert(TRACEPARENT, events);
        }
        let found = route::find(&parts.method, parts.uri.path());
        let index = found.as_ref().ok().map(|found| found.index);
        let answered = self.answer(&parts, found, &client, &mut body).await;
        let mut response = match answered {
            Ok(response) => response,
            Err(problem) => {
                let response = respond::problem(&problem);
                if let Some(rest) = body
                    && !waits_to_send(&parts)
                {
                    body::drain(rest).await;
                }
                response
            }
        };
        if let Some(value) = given {
            response.headers_mut().insert(TRACEPARENT, value);
        }
        let status = response.status().as_u16();
        if let Some(span) = span {
            let (verb, path) = index.and_then(route::named).unwrap_or(("", "none"));
            self.house.region.end_span(span, verb, path, status);
        }
        self.house.metrics.count(index, status, start.elapsed().as_secs_f64());
        response
    }

    async fn answer(
        &self,
        parts: &Parts,
        found: Outcome<Matched<'_>>,
        client: &ClientIdentity,
        body: &mut Option<RequestBody>,
    ) -> Outcome<Answered> {
        let house = &self.house;
        if matches!(&found, Ok(found) if found.route.call == Call::Live) {
            return Ok(pages::live());
        }
        let actor = auth::admit(&house.settings, &parts.headers, client)?;
        let matched = found?;
        let call = matched.route.call;
        if call == Call::Unbuilt {
            return Err(Problem::unsupported(format!(
                "{} {} is not built yet; /openapi.json marks what is",
                matched.route.verb.name(),
                matched.route.path
            )));
        }
        let reads = matched.route.verb == Verb::Get;
        if !reads && crate::returned::is_reserved(matched.data_set.as_deref()) {
            let detail = "this data set is the fleet's own: it can only be read";
            return Err(Problem::new(Kind::Forbidden, detail));
        }
        let query = QueryString::parse(parts.uri.query(), matched.route.query)?;
        let ack = headers::ack(&parts.headers)?;
        let session = match sessions::enter(house, &parts.headers, &matched)? {
            Entered::Plain => None,
            Entered::Within(session) => Some(session),
            Entered::Behind(behind) => match Box::pin(behind.caught_up(house)).await? {
                CaughtUp::Within(session) => Some(session),
                CaughtUp::Elsewhere(region) => {
                    let in_session = true;
                    let asked =
                        Asked { house, parts, matched, query, actor, ack, in_session, body };
                    return Box::pin(forward::to(asked, &region)).await;
                }
            },
        };
        let in_session = session.is_some();
        let asked = Asked { house, parts, matched, query, actor, ack, in_session, body };
        let answered = match call {
            Call::AppendEvents => append::events(asked).await,
            // Boxed, so that the frequent call does not carry the room that the others need.
            _ => Box::pin(dispatch(call, asked)).await,
        };
        let Some(session) = session else { return answered };
        match answered {
            Ok(mut response) => {
                session.leave(house, &mut response);
                Ok(response)
            }
            Err(mut problem) => {
                Box::pin(session.refused(house, &mut problem)).await;
                Err(problem)
            }
        }
    }
}

/// A refusal with its body in one piece.
async fn whole(problem: Box<Problem>) -> http::Response<Bytes> {
    let (parts, body) = respond::problem(&problem).into_parts();
    let body = body.collect().await.map(|whole| whole.to_bytes()).unwrap_or_default();
    http::Response::from_parts(parts, body)
}

async fn dispatch<R: Region>(call: Call, asked: Asked<'_, R>) -> Outcome<Answered> {
    match call {
        Call::AppendEvents => append::events(asked).await,
        Call::AppendToAggregate => append::to_aggregate(asked).await,
        Call::ReadEvents => events::read(asked).await,
        Call::History => events::history(asked).await,
        Call::GetAggregate => aggregates::get(asked).await,
        Call::PutAggregate | Call::PatchAggregate | Call::DeleteAggregate => {
            aggregates::write(asked).await
        }
        Call::ListAggregates => aggregates::list(asked).await,
        Call::Conflicts => conflicts::list(asked).await,
        Call::Conflict => conflicts::get(asked).await,
        Call::Regions => fleet::regions(asked).await,
        Call::LapseRegion => lapse::lapse(asked).await,
        Call::Returned => returned::list(asked).await,
        Call::DecideReturned => returned::decide(asked).await,
        Call::Links => fleet::links(asked).await,
        Call::Digests => fleet::digests(asked).await,
        Call::Acks => fleet::acks(asked).await,
        Call::Vector => fleet::vector(asked).await,
        Call::VectorWait => fleet::wait(asked).await,
        Call::ResolveConflict => resolve::resolve(asked).await,
        Call::Policies => policies::list(asked).await,
        Call::GetPolicy => policies::get(asked).await,
        Call::PutPolicy => policies::put(asked).await,
        Call::DryRunPolicy => dry_run::run(asked).await,
        Call::Undo => undo::run(asked).await,
        Call::Backup => backup::take(asked).await,
        Call::Repairs => repairs::list(asked).await,
        Call::Repair => repairs::order(asked).await,
        Call::AcquireLock => locks::acquire(asked).await,
        Call::RenewLock => locks::renew(asked).await,
        Call::ReleaseLock => locks::release(asked).await,
        Call::Live => Ok(pages::live()),
        Call::Ready => pages::ready(&asked),
        Call::Metrics => Ok(pages::metrics(&asked)),
        Call::OpenApi => Ok(pages::openapi(&asked)),
        Call::ProblemPage => pages::problem(&asked),
        Call::Root => Ok(pages::root(&asked)),
        Call::Unbuilt => Err(Problem::unsupported("this is not built yet")),
    }
}

/// A client that asks before it sends has sent nothing that would have to be read.
fn waits_to_send(parts: &Parts) -> bool {
    parts
        .headers
        .get(http::header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}
