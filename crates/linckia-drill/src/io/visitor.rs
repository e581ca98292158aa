//! What a careful application says to a door: writes with an id, reads, and a session's token from
//! answer to request.
//!
//! Used by the clients of all drills. What always holds: it says what was answered, and decides
//! nothing by it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use linckia_net::{Client, ClientOptions};
use serde_json::{Value, json};

/// A region that does not answer within this is given up for another.
const ANSWER_LONGEST: Duration = Duration::from_secs(3);
const CONNECT_LONGEST: Duration = Duration::from_secs(1);

/// How long a region may wait for others' disks, and for what the client has seen.
pub(super) const ACK_TIMEOUT: &str = "1500ms";
const BEHIND: &str = "wait=1s";

/// A region's door.
#[derive(Clone)]
pub struct DrillDoor {
    pub region: String,
    client: Client,
}

impl DrillDoor {
    /// A door by its URL. Errors: no URL.
    pub fn new(region: &str, url: &str) -> linckia_net::Result<Self> {
        let options = ClientOptions {
            connect_longest: CONNECT_LONGEST,
            answer_longest: ANSWER_LONGEST,
            tls: None,
        };
        Ok(Self { region: region.to_owned(), client: Client::new(url, options)? })
    }

    /// The status and JSON of a GET; none if there is no answer.
    pub(super) async fn get(&self, path: &str) -> Option<(u16, Value)> {
        let (status, _, body) = self.client.request(Method::GET, path, &[], "").await.ok()?;
        Some((status.as_u16(), serde_json::from_slice(&body).unwrap_or_default()))
    }

    /// The status and JSON of a POST; none if there is no answer.
    pub(super) async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Option<(u16, Value)> {
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers);
        let answer = self.client.request(Method::POST, path, &all, body.to_string()).await;
        let (status, _, body) = answer.ok()?;
        Some((status.as_u16(), serde_json::from_slice(&body).unwrap_or_default()))
    }

    /// The text of a GET that succeeds.
    pub(super) async fn text(&self, path: &str) -> Option<String> {
        let (status, _, body) = self.client.request(Method::GET, path, &[], "").await.ok()?;
        status.is_success().then(|| String::from_utf8_lossy(&body).into_owned())
    }
}

/// An event that leaves a mark, named by its id.
pub(super) fn marking(kind: &str, key: &str, id: &str) -> Value {
    json!({
        "eventId": id, "eventType": "Marked", "aggregateType": kind, "aggregateId": key,
        "operation": "patch", "eventData": { id: true },
    })
}

/// The path of an aggregate.
pub(super) fn path(kind: &str, key: &str) -> String {
    format!("/v1/aggregates/{kind}/{key}")
}

/// The marks of a document.
pub(super) fn marks(data: &Value) -> BTreeSet<String> {
    data.as_object().into_iter().flat_map(|members| members.keys().cloned()).collect()
}

/// What came of a write.
pub(super) enum Tried {
    /// In this log, at this place.
    Acknowledged(String, u64),
    /// Written perhaps, or not at all: another region may do better.
    Elsewhere,
    /// The region lacks what the client has seen.
    Behind,
    /// What the client has seen is declared lost; its token is one for what remains.
    Lost,
    Refused(String),
}

/// What came of a read.
pub(super) enum Looked {
    Shown(BTreeSet<String>),
    Behind,
    /// As of a write.
    Lost,
    Elsewhere,
    Refused,
}

/// One session at the fleet's doors.
pub(super) struct Visitor {
    pub(super) doors: Arc<[DrillDoor]>,
    /// The aggregate type of this drill.
    pub(super) kind: Arc<str>,
    pub(super) ack: String,
    /// The place of the region it uses.
    pub(super) at: usize,
    pub(super) token: String,
}

impl Visitor {
    pub(super) fn region(&self) -> &str {
        &self.doors[self.at].region
    }

    /// Uses the next region.
    pub(super) fn move_on(&mut self) {
        self.at = (self.at + 1) % self.doors.len();
    }

    /// Leaves a mark, named by its id.
    pub(super) async fn mark(&mut self, key: &str, id: &str) -> Tried {
        let body = marking(&self.kind, key, id);
        self.write(Method::POST, "/v1/events", body.to_string()).await
    }

    /// Any write; of an aggregate that is not there nothing is asked twice.
    pub(super) async fn write(&mut self, method: Method, path: &str, body: String) -> Tried {
        let ack = format!("{};timeout={ACK_TIMEOUT}", self.ack);
        let headers = [
            ("content-type", "application/json"),
            ("linckia-ack", ack.as_str()),
            ("linckia-session", self.token.as_str()),
            ("linckia-behind", BEHIND),
        ];
        let door = self.doors[self.at].clone();
        let answer = door.client.request(method, path, &headers, body).await;
        let Ok((status, headers, body)) = answer else { return Tried::Elsewhere };
        self.keep(&headers);
        match status.as_u16() {
            200 | 201 => {
                let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
                let origin = answer["origin"].as_str().unwrap_or_default().to_owned();
                Tried::Acknowledged(origin, answer["sequence"].as_u64().unwrap_or(0))
            }
            410 => Tried::Lost,
            503 if is_behind(&body) => Tried::Behind,
            503 | 504 => Tried::Elsewhere,
            _ => Tried::Refused(format!("{status} {}", String::from_utf8_lossy(&body))),
        }
    }

    /// The marks of an aggregate.
    pub(super) async fn look(&mut self, key: &str) -> Looked {
        let headers = [("linckia-session", self.token.as_str()), ("linckia-behind", BEHIND)];
        let door = self.doors[self.at].clone();
        let target = path(&self.kind, key);
        let answer = door.client.request(Method::GET, &target, &headers, "").await;
        let Ok((status, headers, body)) = answer else { return Looked::Elsewhere };
        self.keep(&headers);
        match status.as_u16() {
            200 => {
                let state: Value = serde_json::from_slice(&body).unwrap_or_default();
                Looked::Shown(marks(&state["data"]))
            }
            404 => Looked::Shown(BTreeSet::new()),
            410 => Looked::Lost,
            503 if is_behind(&body) => Looked::Behind,
            _ => Looked::Refused,
        }
    }

    fn keep(&mut self, headers: &http::HeaderMap) {
        if let Some(token) = headers.get("linckia-session").and_then(|token| token.to_str().ok()) {
            token.clone_into(&mut self.token);
        }
    }
}

fn is_behind(body: &[u8]) -> bool {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    problem["type"] == "/problems/behind"
}
