//! The supervisor's own small door: links of the emulator, stop and start of regions.
//!
//! Where it stands: on loopback, for `linckia wan`, `disk`, `start`, `stop`, and for the regions'
//! own `/v1/links`. What always holds: an answer comes when the change is in force (a disk's,
//! within a second); a refusal is a problem (RFC 9457) that says what to do; requests that a web
//! page could send are refused; connections, bodies and waiting are bounded.
//!
//! `GET /fleet`, `GET /links`, `POST /links/set | cut | heal`,
//! `POST /regions/{name}/stop | start | disk`.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

use super::client::{address_of, is_ready, why_not_ready};
use super::plan::{disk_of, leave_free, log_of};
use super::process::last_lines;
use super::state::FleetState;
use super::supervisor::{Order, Started};
use super::wan::{RuleChange, Wan};
use crate::config::units::parse_offset;

/// A person with a few terminals, and every region asking for its links.
const CONNECTIONS_MAX: usize = 64;
/// Orders are a line of JSON.
const BODY_BYTES_MAX: usize = 16 << 10;
/// A client that says nothing for this long is forgotten.
const HEADER_PATIENCE: Duration = Duration::from_secs(30);
/// How long an accept loop rests after an error such as too many open files.
const ACCEPT_REST: Duration = Duration::from_millis(50);
/// A region that is started has this long to be ready.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks whether a region is ready.
pub const READY_POLL: Duration = Duration::from_millis(20);
/// One look at `/readyz`.
pub const READY_PATIENCE: Duration = Duration::from_secs(2);

/// What the control server acts on.
pub struct Control {
    pub wan: Wan,
    pub orders: mpsc::Sender<Order>,
    pub fleet: watch::Receiver<FleetState>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SetOrder {
    pub from: String,
    pub to: String,
    #[serde(default)]
    pub one_way: bool,
    pub change: RuleChange,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CutOrder {
    pub from: String,
    pub to: Option<String>,
    #[serde(default)]
    pub one_way: bool,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HealOrder {
    pub from: Option<String>,
    pub to: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StopOrder {
    #[serde(default)]
    pub kill: bool,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct StartOrder {
    /// The wall clock is off by so much until the next start by order: `-3s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_offset: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DiskOrder {
    /// Bytes that its disk has left at most, until the next such order or the fleet's end; without
    /// it, as many as there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free: Option<u64>,
}

type Answer = Response<Full<Bytes>>;

/// A refusal: status and what to do.
struct Refusal(StatusCode, String);

type Outcome = Result<serde_json::Value, Refusal>;

/// Serves until dropped.
pub async fn serve(listener: TcpListener, control: Arc<Control>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                sleep(ACCEPT_REST).await;
                continue;
            }
        };
        let control = Arc::clone(&control);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let control = Arc::clone(&control);
                async move { Ok::<_, Infallible>(answer(&control, request).await) }
            });
            // A client that breaks off has nobody to tell.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                // Regions ask in bursts: what they kept open would leave no room for a person.
                .keep_alive(false)
                .header_read_timeout(HEADER_PATIENCE)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(permit);
        });
    }
}

async fn answer(control: &Control, request: Request<Incoming>) -> Answer {
    let (status, body) = match outcome(control, request).await {
        Ok(value) => (StatusCode::OK, value),
        Err(Refusal(status, detail)) => {
            let title = status.canonical_reason().unwrap_or("Refused");
            let body = json!({
                "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail,
            });
            (status, body)
        }
    };
    let kind = if status.is_success() { "application/json" } else { "application/problem+json" };
    let mut answer = Response::new(Full::new(Bytes::from(body.to_string())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    answer
}

async fn outcome(control: &Control, request: Request<Incoming>) -> Outcome {
    let (head, body) = request.into_parts();
    refuse_web_pages(&head.headers, &head.uri)?;
    let path = head.uri.path().to_owned();
    let words: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (&head.method, words.as_slice()) {
        (&Method::GET, ["fleet"]) => Ok(json!(*control.fleet.borrow())),
        (&Method::GET, ["links"]) => Ok(json!({"items": control.wan.items(), "next": null})),
        (&Method::POST, ["links", what @ ("set" | "cut" | "heal")]) => {
            links(&control.wan, what, body).await
        }
        (&Method::POST, ["regions", name, "stop"]) => {
            let StopOrder { kill } = order(body).await?;
            stop(control, name, kill).await
        }
        (&Method::POST, ["regions", name, "start"]) => {
            let StartOrder { clock_offset } = order(body).await?;
            start(control, name, clock_offset).await
        }
        (&Method::POST, ["regions", name, "disk"]) => {
            let DiskOrder { free } = order(body).await?;
            disk(control, name, free)
        }
        (_, ["fleet" | "links", ..] | ["regions", _, "stop" | "start" | "disk"]) => Err(Refusal(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("{} is not answered at {path}", head.method),
        )),
        _ => Err(Refusal(StatusCode::NOT_FOUND, format!("there is nothing at {path}"))),
    }
}

/// A page in a browser on this machine can send requests here; its browser names it in `Origin`,
/// or, by a name of its own for this address, in `Host`.
fn refuse_web_pages(headers: &HeaderMap, uri: &Uri) -> Result<(), Refusal> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let loopback = name == "localhost"
        || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if loopback && !headers.contains_key(header::ORIGIN) && uri.host().is_none() {
        return Ok(());
    }
    Err(Refusal(
        StatusCode::FORBIDDEN,
        "only programs on this machine may come in here, no web pages".to_owned(),
    ))
}

async fn links(wan: &Wan, what: &str, body: Incoming) -> Outcome {
    let changed = match what {
        "set" => {
            let SetOrder { from, to, one_way, change } = order(body).await?;
            wan.set(&from, &to, one_way, &change)
        }
        "cut" => {
            let CutOrder { from, to, one_way } = order(body).await?;
            wan.cut(&from, to.as_deref(), one_way)
        }
        _ => {
            let HealOrder { from, to } = order(body).await?;
            wan.heal(from.as_deref(), to.as_deref())
        }
    };
    let items = changed.map_err(|reason| Refusal(StatusCode::BAD_REQUEST, reason))?;
    Ok(json!({"items": items, "next": null}))
}

async fn stop(control: &Control, region: &str, kill: bool) -> Outcome {
    let (answer, stopped) = oneshot::channel();
    let order = Order::Stop { region: region.to_owned(), kill, answer };
    asked(control, region, order, stopped).await.map(|state| json!(state))
}

async fn start(control: &Control, region: &str, clock_offset: Option<String>) -> Outcome {
    if let Some(Err(reason)) = clock_offset.as_deref().map(parse_offset) {
        return Err(Refusal(StatusCode::BAD_REQUEST, reason));
    }
    let (answer, started) = oneshot::channel();
    let order = Order::Start { region: region.to_owned(), clock_offset, answer };
    let started = asked(control, region, order, started).await?;
    ready(control, region, started).await
}

/// A region looks every second, so it takes that long to be in force.
fn disk(control: &Control, region: &str, free: Option<u64>) -> Outcome {
    let fleet = control.fleet.borrow();
    let Some(state) = fleet.region(region) else {
        let detail = format!(
            "there is no region \"{region}\" in this fleet: its regions are {}",
            fleet.names()
        );
        return Err(Refusal(StatusCode::BAD_REQUEST, detail));
    };
    leave_free(&state.dir, free).map_err(|error| {
        let file = disk_of(&state.dir);
        let detail = format!("cannot change {}: {error}", file.display());
        Refusal(StatusCode::INTERNAL_SERVER_ERROR, detail)
    })?;
    Ok(json!({"region": region, "free": free}))
}

async fn asked<T>(
    control: &Control,
    region: &str,
    order: Order,
    answer: oneshot::Receiver<Result<T, String>>,
) -> Result<T, Refusal> {
    let ending = || {
        let detail = "the fleet is being stopped: start it again with `linckia up`";
        Refusal(StatusCode::SERVICE_UNAVAILABLE, detail.to_owned())
    };
    control.orders.send(order).await.map_err(|_| ending())?;
    let answer = answer.await.map_err(|_| ending())?;
    answer.map_err(|reason| {
        let known = control.fleet.borrow().region(region).is_some();
        let status = if known { StatusCode::CONFLICT } else { StatusCode::BAD_REQUEST };
        Refusal(status, reason)
    })
}

/// Waits until the process that was started answers that it is ready, or has ended.
async fn ready(control: &Control, name: &str, started: Started) -> Outcome {
    let deadline = Instant::now() + START_PATIENCE;
    loop {
        let state = control.fleet.borrow().region(name).cloned();
        let Some(state) = state else { break };
        let log = log_of(&state);
        if state.pid != Some(started.pid) {
            return Err(Refusal(
                StatusCode::CONFLICT,
                format!(
                    "{name} ended before it was ready. The last lines of {}:\n{}",
                    log.display(),
                    last_lines(&log, started.log_from)
                ),
            ));
        }
        if let Some(address) = address_of(&state.url)
            && is_ready(address, READY_PATIENCE).await
        {
            return Ok(json!(state));
        }
        if Instant::now() > deadline {
            break;
        }
        sleep(READY_POLL).await;
    }
    let url = control.fleet.borrow().region(name).map(|state| state.url.clone());
    let why = match url.as_deref().and_then(address_of) {
        Some(address) => why_not_ready(address, READY_PATIENCE).await,
        None => None,
    };
    let why = why.unwrap_or_else(|| "look into its region.log".to_owned());
    Err(Refusal(
        StatusCode::GATEWAY_TIMEOUT,
        format!(
            "{name} runs and is not ready after {} s; it goes on trying: {why}",
            START_PATIENCE.as_secs()
        ),
    ))
}

/// The order in a request's body; an empty body is an empty object.
async fn order<T: DeserializeOwned>(body: Incoming) -> Result<T, Refusal> {
    let read = timeout(HEADER_PATIENCE, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    let wrong = |reason: String| Refusal(StatusCode::BAD_REQUEST, reason);
    let bytes = match read {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => return Err(wrong(format!("the body cannot be read: {error}"))),
        Err(_) => return Err(wrong("the body does not arrive".to_owned())),
    };
    let bytes = if bytes.is_empty() { Bytes::from_static(b"{}") } else { bytes };
    serde_json::from_slice(&bytes).map_err(|error| wrong(format!("the order is wrong: {error}")))
}

/// The listener of the control server.
pub fn listen(port: u16) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(super::ports::loopback(port))?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}
