//! A region's door as a client knows it: events in, states, events and conflicts out.
//!
//! Over `http`. What always holds: each call is a connection of its own, so nothing is kept from
//! before a kill; what is asked for and does not come is the caller's to judge.

use std::io;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::http::{Answer, Wire};

pub const JSON: (&str, &str) = ("content-type", "application/json");

#[derive(Debug, Clone)]
pub struct Door {
    pub name: String,
    pub address: SocketAddr,
}

/// An event, with its dot as text.
#[derive(Debug, Clone, PartialEq)]
pub struct Logged {
    pub id: String,
    pub origin: String,
    pub sequence: u64,
    pub event: Value,
}

impl Logged {
    pub fn of(event: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self {
            id: text(&event["eventId"]),
            origin: text(&event["metadata"]["origin"]),
            sequence: event["metadata"]["sequence"].as_u64().unwrap(),
            event: event.clone(),
        }
    }

    pub fn dot(&self) -> String {
        format!("{}:{}", self.origin, self.sequence)
    }
}

/// The dot that an answer names.
pub fn dot_of(answer: &Value) -> String {
    format!("{}:{}", answer["origin"].as_str().unwrap(), answer["sequence"].as_u64().unwrap())
}

/// An event as a client writes it.
pub fn event(id: &str, aggregate: &str, operation: &str, data: &Value) -> Value {
    json!({"eventId": id, "eventType": "Written", "aggregateType": "Thing",
        "aggregateId": aggregate, "operation": operation, "eventData": data})
}

impl Door {
    /// One of the items of `up --json`.
    pub fn of(item: &Value) -> Self {
        let url = item["url"].as_str().unwrap();
        let address = url.strip_prefix("http://").unwrap().parse().unwrap();
        Self { name: item["name"].as_str().unwrap().to_owned(), address }
    }

    pub fn try_ask(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        Wire::connect(self.address)?.ask(method, target, headers, body)
    }

    #[track_caller]
    pub fn ask(&self, method: &str, target: &str, body: Option<&Value>) -> Answer {
        let bytes = body.map(Value::to_string).unwrap_or_default();
        match self.try_ask(method, target, &[JSON], bytes.as_bytes()) {
            Ok(answer) => answer,
            Err(error) => panic!("{} {method} {target}: {error}", self.name),
        }
    }

    #[track_caller]
    pub fn get(&self, target: &str) -> Answer {
        self.ask("GET", target, None)
    }

    /// A list's answer, which must be whole and good.
    #[track_caller]
    pub fn items(&self, target: &str) -> Vec<Value> {
        let answer = self.get(target);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let body = answer.json();
        assert!(body["next"].is_null(), "more than a page at {target}");
        body["items"].as_array().unwrap().clone()
    }

    /// Writes one event, which must be new.
    #[track_caller]
    pub fn write(&self, event: &Value) -> Value {
        let answer = self.ask("POST", "/v1/events", Some(event));
        assert_eq!(answer.status, 201, "{}: {}", self.name, answer.text());
        answer.json()
    }

    /// The state of a thing; `None` if it is absent.
    #[track_caller]
    pub fn thing(&self, id: &str) -> Option<Value> {
        let answer = self.get(&format!("/v1/aggregates/Thing/{id}"));
        match answer.status {
            200 => Some(answer.json()),
            404 => None,
            _ => panic!("{}: {}", self.name, answer.text()),
        }
    }

    pub fn is_ready(&self) -> bool {
        self.try_ask("GET", "/readyz", &[], b"").is_ok_and(|answer| answer.status == 200)
    }

    /// Every event that is applied here, in the order of the list.
    #[track_caller]
    pub fn events(&self) -> Vec<Logged> {
        let mut all = Vec::new();
        let mut after = String::new();
        loop {
            let place = if after.is_empty() { String::new() } else { format!("&after={after}") };
            let body = self.get(&format!("/v1/events?limit=1000{place}")).json();
            let items = body["items"].as_array().unwrap_or_else(|| panic!("no page: {body}"));
            all.extend(items.iter().map(Logged::of));
            let next = body["next"].as_str().expect("`next` is always given").to_owned();
            if next == after || (items.is_empty() && next.is_empty()) {
                return all;
            }
            after = next;
        }
    }

    /// How many events are applied here; 0 if nobody answers.
    pub fn applied(&self) -> u64 {
        let Ok(answer) = self.try_ask("GET", "/v1/vector", &[], b"") else {
            return 0;
        };
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let vector = body["vector"].as_object().into_iter().flatten();
        vector.filter_map(|(_, sequence)| sequence.as_u64()).sum()
    }
}
