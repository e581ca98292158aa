//! Requests that go to another region's door over the link that leads there, and come back.
//!
//! What always holds: what a peer forwards is worked on for a bounded time, and answered.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use linckia_api::{Door, ForwardRequest, NotForwarded};
use linckia_model::RegionName;
use linckia_ship::{Forward, Forwarded, Frame};
use tokio::sync::{Semaphore, mpsc};

use super::calls::{Calls, Silent};
use super::port::House;

/// What a peer forwards is worked on for so long: longer than anybody waits.
const WORK_LONGEST: Duration = Duration::from_secs(90);

/// A body that fits into a frame with its headers.
const BODY_BYTES_MAX: usize = 12 << 20;

/// Every way, and the door here for what others forward.
#[derive(Default)]
pub(super) struct Forwards {
    pub(super) calls: Calls<Forwarded>,
    door: OnceLock<Door<House>>,
}

impl Forwards {
    /// The door is open: what peers forward is answered from now on.
    pub(super) fn open(&self, door: Door<House>) {
        // Opened once, at the start.
        let _ = self.door.set(door);
    }

    /// Sends a request to a peer and waits for its answer.
    pub(super) async fn forward(
        &self,
        to: &RegionName,
        request: ForwardRequest,
    ) -> Result<Response<Bytes>, NotForwarded> {
        let longest = request.longest;
        let frame = |number| Frame::Forward { number, forward: to_frame(request) };
        match self.calls.ask(to, longest, frame).await {
            Ok(forwarded) => Ok(from_frame(forwarded)),
            Err(Silent::Unreachable) => Err(NotForwarded::Unreachable),
            Err(Silent::Unanswered) => Err(NotForwarded::Unanswered),
        }
    }

    /// Answers a request of a peer, in a task of its own.
    pub(super) fn answer(
        self: &Arc<Self>,
        number: u64,
        forward: Forward,
        frames: &mpsc::WeakSender<Frame>,
        room: &Arc<Semaphore>,
    ) {
        let Some(frames) = frames.upgrade() else { return };
        let forwards = Arc::clone(self);
        let Ok(place) = Arc::clone(room).try_acquire_owned() else {
            let _ = frames.try_send(Frame::Forwarded { number, forwarded: busy() });
            return;
        };
        tokio::spawn(async move {
            let forwarded = match (forwards.door.get(), request(forward)) {
                (Some(door), Some(request)) => {
                    let work = door.handle_forwarded(request, BODY_BYTES_MAX);
                    tokio::time::timeout(WORK_LONGEST, work).await.map_or_else(|_| busy(), reply)
                }
                _ => busy(),
            };
            let _ = frames.send(Frame::Forwarded { number, forwarded }).await;
            drop(place);
        });
    }
}

fn busy() -> Forwarded {
    let body =
        br#"{"type":"/problems/unavailable","title":"Temporarily unavailable","status":503,"#;
    let detail = br#""detail":"the other region answers more requests than it may; try again"}"#;
    let header = |name: &str, value: &[u8]| (name.to_owned(), value.to_vec());
    Forwarded {
        status: StatusCode::SERVICE_UNAVAILABLE.as_u16(),
        headers: vec![
            header("content-type", b"application/problem+json"),
            header("retry-after", b"1"),
        ],
        body: [&body[..], &detail[..]].concat(),
    }
}

fn to_frame(request: ForwardRequest) -> Forward {
    Forward {
        method: request.method.to_string(),
        target: request.target,
        headers: pairs(&request.headers),
        body: request.body.to_vec(),
        actor: request.actor.map(String::into_boxed_str),
    }
}

fn request(forward: Forward) -> Option<ForwardRequest> {
    Some(ForwardRequest {
        method: Method::from_bytes(forward.method.as_bytes()).ok()?,
        target: forward.target,
        headers: map(forward.headers),
        body: forward.body.into(),
        actor: forward.actor.map(String::from),
        longest: WORK_LONGEST,
    })
}

fn reply(response: Response<Bytes>) -> Forwarded {
    Forwarded {
        status: response.status().as_u16(),
        headers: pairs(response.headers()),
        body: response.into_body().to_vec(),
    }
}

fn from_frame(forwarded: Forwarded) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(forwarded.body));
    *response.status_mut() =
        StatusCode::from_u16(forwarded.status).unwrap_or(StatusCode::BAD_GATEWAY);
    *response.headers_mut() = map(forwarded.headers);
    response
}

fn pairs(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
}

fn map(pairs: Vec<(String, Vec<u8>)>) -> HeaderMap {
    let parsed = pairs.into_iter().filter_map(|(name, value)| {
        Some((HeaderName::try_from(name).ok()?, HeaderValue::from_bytes(&value).ok()?))
    });
    let mut headers = HeaderMap::new();
    for (name, value) in parsed {
        headers.append(name, value);
    }
    headers
}
