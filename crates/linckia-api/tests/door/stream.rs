//! Server-sent events: catch-up, live, resume, gaps, the end.
//!
//! Read block by block from the chunks of one answer.

use std::time::Duration;

use linckia_api::{ClientIdentity, DoorSettings, Limits};
use serde_json::{Value, json};

use super::append::event;
use super::client::{Client, head};
use super::fake::ORIGIN;
use super::schema;
use super::server::Server;

struct Stream {
    client: Client,
    text: String,
}

#[derive(Debug, Default, PartialEq)]
struct Block {
    id: String,
    event: String,
    data: String,
    ping: bool,
}

impl Stream {
    async fn open(server: &Server, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut client = server.client().await;
        let headers = [&[("accept", "text/event-stream")], headers].concat();
        client.write(head("GET", path, &headers, Some(0)).as_bytes()).await;
        let answer = client.head().await.expect(200);
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        Self { client, text: String::new() }
    }

    async fn block(&mut self) -> Option<Block> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let text: String = self.text.drain(..end + 2).collect();
                let mut block = Block::default();
                for line in text.lines() {
                    match line.split_once(": ") {
                        Some(("id", value)) => block.id = value.to_owned(),
                        Some(("event", value)) => block.event = value.to_owned(),
                        Some(("data", value)) => block.data = value.to_owned(),
                        Some(("", "ping")) => block.ping = true,
                        _ => assert_eq!(line, ""),
                    }
                }
                return Some(block);
            }
            let chunk = self.client.chunk().await?;
            self.text += std::str::from_utf8(&chunk).unwrap();
        }
    }

    async fn event(&mut self) -> (String, Value) {
        let block = self.block().await.expect("a block");
        assert_eq!(block.event, "");
        let event = serde_json::from_str(&block.data).unwrap();
        (block.id, event)
    }
}

async fn write(server: &Server, ids: impl IntoIterator<Item = u32>) {
    let mut client = server.client().await;
    for id in ids {
        let body = event(&id.to_string(), json!({ "n": id })).to_string();
        client.post("/v1/events", body).await.expect(201);
    }
}

#[tokio::test]
async fn a_stream_catches_up_and_goes_on() {
    let server = Server::start().await;
    write(&server, 1..=300).await;
    let mut stream = Stream::open(&server, "/v1/events", &[]).await;
    for n in 1..=300 {
        let (id, event) = stream.event().await;
        schema::check("Event", &event);
        assert_eq!((id, &event["eventData"]["n"]), (format!("{ORIGIN}:{n}"), &json!(n)));
    }
    write(&server, 301..=303).await;
    for n in 301..=303 {
        assert_eq!(stream.event().await.0, format!("{ORIGIN}:{n}"));
    }
}

#[tokio::test]
async fn a_stream_resumes_behind_its_id() {
    let server = Server::start().await;
    write(&server, 1..=10).await;
    let last = format!("{ORIGIN}:7");
    let mut stream =
        Stream::open(&server, "/v1/events?after=now", &[("last-event-id", &last)]).await;
    assert_eq!(stream.event().await.0, format!("{ORIGIN}:8"));
    let mut stream = Stream::open(&server, &format!("/v1/events?after={ORIGIN}:9"), &[]).await;
    assert_eq!(stream.event().await.0, format!("{ORIGIN}:10"));
    let mut stream = Stream::open(&server, "/v1/events?after=now&type=T", &[]).await;
    let place = stream.block().await.unwrap();
    assert_eq!(place, Block { id: format!("{ORIGIN}:10"), ..Block::default() });
    write(&server, [11]).await;
    assert_eq!(stream.event().await.0, format!("{ORIGIN}:11"));
}

#[tokio::test]
async fn what_retention_took_is_a_gap() {
    let server = Server::start().await;
    write(&server, 1..=5).await;
    *server.region.truncated.lock().unwrap() = 3;
    let mut stream =
        Stream::open(&server, "/v1/events", &[("last-event-id", &format!("{ORIGIN}:1"))]).await;
    let gap = stream.block().await.unwrap();
    assert_eq!((gap.event.as_str(), gap.id), ("gap", format!("{ORIGIN}:3")));
    let missing: Value = serde_json::from_str(&gap.data).unwrap();
    assert_eq!(missing, json!({"missing": { ORIGIN: [2, 3] }}));
    assert_eq!(stream.event().await.0, format!("{ORIGIN}:4"));
    let mut stream = Stream::open(&server, "/v1/events", &[]).await;
    assert_eq!(stream.event().await.0, format!("{ORIGIN}:4"));
}

#[tokio::test]
async fn a_stream_is_filtered_and_may_be_of_cloud_events() {
    let server = Server::start().await;
    write(&server, 1..=2).await;
    let mut client = server.client().await;
    client.send("PUT", "/v1/aggregates/B/1", &[("content-type", "application/json")], b"{}").await;
    let headers = [("accept", "application/cloudevents+json")];
    let mut stream = Stream::open(&server, "/v1/events?aggregateType=B", &headers).await;
    let (id, event) = stream.event().await;
    schema::check("CloudEvent", &event);
    assert_eq!((id, &event["type"]), (format!("{ORIGIN}:3"), &json!("BPut")));
}

#[tokio::test]
async fn silence_is_broken_by_pings() {
    let limits = Limits { ping_every: Duration::from_millis(20), ..Limits::default() };
    let settings = DoorSettings { limits, ..DoorSettings::default() };
    let server = Server::with(settings, ClientIdentity::ANONYMOUS).await;
    write(&server, 1..=3).await;
    let mut stream = Stream::open(&server, "/v1/events?type=None", &[]).await;
    let place = stream.block().await.unwrap();
    assert_eq!(place, Block { id: format!("{ORIGIN}:3"), ..Block::default() });
    for _ in 0..3 {
        assert_eq!(stream.block().await.unwrap(), Block { ping: true, ..Block::default() });
    }
}

#[tokio::test]
async fn a_stream_ends_with_the_region() {
    let server = Server::start().await;
    write(&server, [1]).await;
    let mut stream = Stream::open(&server, "/v1/events", &[]).await;
    stream.event().await;
    server.stopping.send_replace(true);
    assert_eq!(stream.block().await, None);
}

#[tokio::test]
async fn a_slow_reader_loses_nothing() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let mut stream = Stream::open(&server, "/v1/events", &[]).await;
    let large = "x".repeat(100_000);
    for n in 0..200 {
        let body = event(&n.to_string(), json!({ "n": n, "large": large })).to_string();
        client.post("/v1/events", body).await.expect(201);
    }
    for n in 1..=200 {
        assert_eq!(stream.event().await.0, format!("{ORIGIN}:{n}"));
    }
}

#[tokio::test]
async fn what_has_no_meaning_for_a_stream_is_refused() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let accept = ("accept", "text/event-stream");
    for (path, id) in [("/v1/events?limit=5", ""), ("/v1/events?after=x", ""), ("/v1/events", "x")]
    {
        let headers = [accept, ("last-event-id", id)];
        let headers = if id.is_empty() { &headers[..1] } else { &headers[..] };
        let refused = client.send("GET", path, headers, b"").await.expect(400);
        assert_eq!(refused.problem(), "invalid-parameter", "{path}");
    }
}
