//! Requests that go to another region's door over the link that leads there, and come back.
//!
//! Frames of their own on the links (`links.rs`), past the core. What always holds: a bounded
//! number is under way on each link; one whose link ends is told so; the answer goes to whoever
//! asked.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use linckia_api::{Door, ForwardRequest, NotForwarded};
use linckia_model::RegionName;
use linckia_ship::{Forward, Forwarded, Frame};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::port::House;

/// Requests under way to one peer, and from one.
const UNDER_WAY_MAX: usize = 64;

/// What a peer forwards is worked on for so long: longer than anybody waits.
const WORK_LONGEST: Duration = Duration::from_secs(90);

/// A body that fits into a frame with its headers.
const BODY_BYTES_MAX: usize = 12 << 20;

/// The way to one peer.
struct Way {
    life: u64,
    /// Weak: the link ends when the core lets go of it.
    frames: mpsc::WeakSender<Frame>,
    waiting: BTreeMap<u64, oneshot::Sender<Forwarded>>,
}

/// Every way, and the door here for what others forward.
#[derive(Default)]
pub(super) struct Forwards {
    ways: Mutex<BTreeMap<RegionName, Way>>,
    number: AtomicU64,
    door: OnceLock<Door<House>>,
}

impl Forwards {
    fn ways<T>(&self, act: impl FnOnce(&mut BTreeMap<RegionName, Way>) -> T) -> T {
        act(&mut self.ways.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The door is open: what peers forward is answered from now on.
    pub(super) fn open(&self, door: Door<House>) {
        // Opened once, at the start.
        let _ = self.door.set(door);
    }

    /// A link to a peer came up.
    pub(super) fn opened(&self, peer: &RegionName, life: u64, frames: &mpsc::Sender<Frame>) {
        let frames = frames.downgrade();
        let way = Way { life, frames, waiting: BTreeMap::new() };
        self.ways(|ways| ways.insert(peer.clone(), way));
    }

    /// It ended: what waits on it hears so.
    pub(super) fn closed(&self, peer: &RegionName, life: u64) {
        self.ways(|ways| {
            if ways.get(peer).is_some_and(|way| way.life == life) {
                ways.remove(peer);
            }
        });
    }

    /// The answer to a request of ours.
    pub(super) fn answered(&self, peer: &RegionName, number: u64, forwarded: Forwarded) {
        let waiting = self.ways(|ways| ways.get_mut(peer)?.waiting.remove(&number));
        if let Some(waiting) = waiting {
            // Whoever asked may have left.
            let _ = waiting.send(forwarded);
        }
    }

    /// Sends a request to a peer and waits for its answer.
    pub(super) async fn forward(
        &self,
        to: &RegionName,
        request: ForwardRequest,
    ) -> Result<Response<Bytes>, NotForwarded> {
        let (number, longest) = (self.number.fetch_add(1, Ordering::Relaxed), request.longest);
        let (sender, answer) = oneshot::channel();
        let sent = self.ways(|ways| {
            let way = ways.get_mut(to)?;
            let frame = Frame::Forward { number, forward: to_frame(request) };
            if way.waiting.len() >= UNDER_WAY_MAX {
                return None;
            }
            way.frames.upgrade()?.try_send(frame).ok()?;
            way.waiting.insert(number, sender);
            Some(())
        });
        sent.ok_or(NotForwarded::Unreachable)?;
        // Whoever asked may leave meanwhile: its place is given back all the same.
        let _place = Place { forwards: self, to, number };
        match tokio::time::timeout(longest, answer).await {
            Ok(Ok(forwarded)) => Ok(from_frame(forwarded)),
            _ => Err(NotForwarded::Unanswered),
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

    /// The room for what one peer forwards.
    pub(super) fn room() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(UNDER_WAY_MAX))
    }
}

/// The place of a request that is waited for.
struct Place<'a> {
    forwards: &'a Forwards,
    to: &'a RegionName,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.forwards.ways(|ways| ways.get_mut(self.to)?.waiting.remove(&self.number));
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
