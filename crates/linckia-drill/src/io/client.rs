//! One client of a drill: it writes marks, reads them, and moves to another region when its own
//! does not answer.
//!
//! What a careful application does: one id per write, the same at every attempt; a session's token
//! from answer to request; another region after an error. What always holds: it does one thing at a
//! time, and notes what it saw, not what it hopes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use linckia_net::{Client, ClientOptions};
use serde_json::{Value, json};

use super::ledger::Ledger;
use crate::account::Written;
use crate::history::Deed;

/// Between two deeds of a client.
const PACE: Duration = Duration::from_millis(15);

/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(20);

/// A region that does not answer within this is given up for another.
const ANSWER_LONGEST: Duration = Duration::from_secs(3);
const CONNECT_LONGEST: Duration = Duration::from_secs(1);

/// How long a region may wait for others' disks, and for what the client has seen.
const ACK_TIMEOUT: &str = "1500ms";
const BEHIND: &str = "wait=1s";

/// Marks of one aggregate: more make each write fold a large document.
const MARKS_MAX: u64 = 40;

/// One deed of so many is a read.
const READS: u64 = 3;

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
}

/// The path of an aggregate.
pub(super) fn path(kind: &str, key: &str) -> String {
    format!("/v1/aggregates/{kind}/{key}")
}

/// The marks of a document.
pub(super) fn marks(data: &Value) -> BTreeSet<String> {
    data.as_object().into_iter().flat_map(|members| members.keys().cloned()).collect()
}

pub(super) struct Caller {
    pub(super) ledger: Arc<Ledger>,
    pub(super) doors: Arc<[DrillDoor]>,
    /// The aggregate type of this drill.
    pub(super) kind: Arc<str>,
    pub(super) level: usize,
    pub(super) ack: String,
    pub(super) number: usize,
    /// The places of the region it belongs to, and of the one it uses.
    pub(super) home: usize,
    pub(super) at: usize,
    pub(super) token: String,
    pub(super) session: usize,
    pub(super) deeds: u64,
    /// What was acknowledged to it, by aggregate.
    pub(super) own: BTreeMap<String, BTreeSet<String>>,
    /// The region it lost starts from nothing: another one, for what it shows.
    pub(super) reborn: bool,
}

/// What came of an attempt.
enum Tried {
    Acknowledged,
    /// Written perhaps, or not at all: another region may do better.
    Elsewhere,
    /// The region lacks what the client has seen.
    Behind,
    Refused(String),
}

impl Caller {
    /// Writes and reads until the drill is over; a write that is under way then has until `last`,
    /// in milliseconds from the start.
    pub(super) async fn run(mut self, last: u64) -> anyhow::Result<()> {
        while !self.ledger.is_over() {
            if self.ledger.is_healed() {
                self.at = self.home;
            }
            self.deeds += 1;
            if self.deeds.is_multiple_of(READS) {
                self.read().await;
            } else if !self.write(last).await? {
                return Ok(());
            }
            tokio::time::sleep(PACE).await;
        }
        Ok(())
    }

    fn key_of(&self, number: usize, deeds: u64) -> String {
        format!("l{}-c{number}-{}", self.level, deeds / MARKS_MAX)
    }

    fn region_here(&self) -> String {
        let region = &self.doors[self.at].region;
        match self.reborn && self.ledger.is_healed() && self.at == self.home {
            true => format!("{region} reborn"),
            false => region.clone(),
        }
    }

    /// False once there is no more time.
    async fn write(&mut self, last: u64) -> anyhow::Result<bool> {
        let key = self.key_of(self.number, self.deeds);
        let id = format!("{}-l{}-c{}-{}", self.kind, self.level, self.number, self.deeds);
        let begins = Deed::Begins { key: key.clone(), mark: id.clone() };
        self.ledger.note(self.session, begins.clone());
        let (begun, mut attempts) = (self.ledger.now(), 0);
        let acknowledged = loop {
            attempts += 1;
            match self.attempt(&key, &id).await {
                Tried::Acknowledged => {
                    break Some((self.ledger.now(), self.doors[self.at].region.clone()));
                }
                Tried::Elsewhere => self.at = (self.at + 1) % self.doors.len(),
                Tried::Behind => {
                    self.begin_anew();
                    self.ledger.note(self.session, begins.clone());
                }
                Tried::Refused(why) => {
                    self.ledger.surprise(why);
                    break None;
                }
            }
            if self.ledger.now() >= last {
                break None;
            }
            tokio::time::sleep(AGAIN).await;
        };
        let goes_on = acknowledged.is_some() || self.ledger.now() < last;
        let level = self.level;
        let write =
            Written { level, key: key.clone(), id: id.clone(), begun, acknowledged, attempts };
        let done = write.acknowledged.is_some();
        self.ledger.written(&self.ack, write)?;
        if done {
            self.own.entry(key.clone()).or_default().insert(id.clone());
            self.ledger.note(self.session, Deed::Wrote { key, mark: id });
        }
        Ok(goes_on)
    }

    /// A session that waits for what may never come is given up for a new one.
    fn begin_anew(&mut self) {
        self.token.clear();
        self.session = self.ledger.session();
    }

    async fn attempt(&mut self, key: &str, id: &str) -> Tried {
        let body = json!({
            "eventId": id, "eventType": "Marked", "aggregateType": &*self.kind,
            "aggregateId": key, "operation": "patch", "eventData": { id: true },
        });
        let ack = format!("{};timeout={ACK_TIMEOUT}", self.ack);
        let headers = [
            ("content-type", "application/json"),
            ("linckia-ack", ack.as_str()),
            ("linckia-session", self.token.as_str()),
            ("linckia-behind", BEHIND),
        ];
        let door = self.doors[self.at].clone();
        let answer =
            door.client.request(Method::POST, "/v1/events", &headers, body.to_string()).await;
        let Ok((status, headers, body)) = answer else { return Tried::Elsewhere };
        self.keep(&headers);
        match status.as_u16() {
            200 | 201 => Tried::Acknowledged,
            503 if is_behind(&body) => Tried::Behind,
            503 | 504 => Tried::Elsewhere,
            _ => Tried::Refused(format!("{status} {}", String::from_utf8_lossy(&body))),
        }
    }

    fn keep(&mut self, headers: &http::HeaderMap) {
        if let Some(token) = headers.get("linckia-session").and_then(|token| token.to_str().ok()) {
            token.clone_into(&mut self.token);
        }
    }

    /// Reads an aggregate of its own, or of the client beside it.
    async fn read(&mut self) {
        let beside = self.deeds.is_multiple_of(2 * READS) && self.number > 0;
        let number = if beside { self.number - 1 } else { self.number };
        let key = self.key_of(number, self.deeds.saturating_sub(1));
        for _ in 0..2 {
            let begun = self.ledger.begin();
            let region = self.region_here();
            let headers = [("linckia-session", self.token.as_str()), ("linckia-behind", BEHIND)];
            let door = self.doors[self.at].clone();
            let target = path(&self.kind, &key);
            let answer = door.client.request(Method::GET, &target, &headers, "").await;
            let Ok((status, headers, body)) = answer else {
                self.at = (self.at + 1) % self.doors.len();
                return;
            };
            self.keep(&headers);
            let marks = match status.as_u16() {
                200 => marks(&serde_json::from_slice::<Value>(&body).unwrap_or_default()["data"]),
                404 => BTreeSet::new(),
                503 if is_behind(&body) => {
                    self.begin_anew();
                    continue;
                }
                _ => return,
            };
            if !beside && self.own.get(&key).is_some_and(|own| !own.is_subset(&marks)) {
                self.ledger.stale(self.level);
            }
            self.ledger.note(self.session, Deed::Read { region, key, marks, begun });
            return;
        }
    }
}

fn is_behind(body: &[u8]) -> bool {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    problem["type"] == "/problems/behind"
}
