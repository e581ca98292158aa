//! NDJSON in: answers in order, faults in their place, both directions open at once.
//!
//! A body of thousands of lines, and one that trickles.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::append::event;
use super::client::{Client, head};
use super::schema;
use super::server::Server;

const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

fn lines(body: &[u8]) -> Vec<Value> {
    let lines = std::str::from_utf8(body).unwrap().lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn thousands_of_lines_with_faults_among_them() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let mut body = String::new();
    for line in 1..=5_000_u32 {
        body += &match line % 1_000 {
            1 => "\r\n".to_owned(),
            2 => "{\"eventType\":7}\n".to_owned(),
            3 => "not json\n".to_owned(),
            4 => format!("{{\"x\":\"{}\"}}\n", "x".repeat(1 << 20)),
            5 => format!("{}\n", event("first", json!({ "line": line }))),
            _ => format!("{}\n", event(&line.to_string(), json!({ "line": line }))),
        };
    }
    let answer = client.send("POST", "/v1/events", &[NDJSON], body.as_bytes()).await.expect(200);
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let answers = lines(&answer.body);
    assert_eq!(answers.len(), 4_995);
    let mut expected = (1..=5_000_u32).filter(|line| line % 1_000 != 1);
    for answer in &answers {
        schema::check("LineAnswer", answer);
        let line = expected.next().unwrap();
        assert_eq!(answer["line"], line);
        let (status, problem) = match line % 1_000 {
            2 => (400, "/problems/invalid-event"),
            3 => (400, "/problems/invalid-event"),
            4 => (413, "/problems/payload-too-large"),
            5 if line > 5 => (409, "/problems/id-reused"),
            _ => (201, ""),
        };
        assert_eq!(
            (&answer["status"], answer["problem"]["type"].as_str().unwrap_or("")),
            (&json!(status), problem)
        );
    }
    assert_eq!(answers[0]["problem"]["pointer"], "/eventType");
    assert_eq!(server.region.log().len(), 5_000 - 5 * 4 - 4);
}

async fn next_line(client: &mut Client) -> Value {
    let chunk = client.chunk().await.expect("a piece of the answer");
    let lines = lines(&chunk);
    assert_eq!(lines.len(), 1);
    lines[0].clone()
}

#[tokio::test]
async fn a_line_is_answered_while_the_body_is_open() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.write(head("POST", "/v1/events", &[NDJSON], None).as_bytes()).await;
    let text = event("a", json!({})).to_string();
    client.write_chunk(format!("\n{text}\n").as_bytes()).await;
    assert_eq!(client.head().await.status, 200);
    assert_eq!(next_line(&mut client).await["line"], 2);
    let (front, back) = text.split_at(20);
    client.write_chunk(front.as_bytes()).await;
    client.write_chunk(format!("{back}\n").as_bytes()).await;
    let again = next_line(&mut client).await;
    assert_eq!((&again["line"], &again["status"]), (&json!(3), &json!(200)));
    server.region.busy.store(true, Ordering::Relaxed);
    client.write_chunk(text.as_bytes()).await;
    client.write_chunk(b"").await;
    let last = next_line(&mut client).await;
    assert_eq!((&last["line"], &last["status"]), (&json!(4), &json!(503)));
    assert_eq!(client.chunk().await, None);
}

#[tokio::test]
async fn a_client_may_send_all_before_it_reads() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let count = 20_000;
    let body: String =
        (0..count).map(|n| format!("{}\n", event(&n.to_string(), json!({})))).collect();
    client.write(head("POST", "/v1/events", &[NDJSON], Some(body.len())).as_bytes()).await;
    client.write(body.as_bytes()).await;
    let answer = client.answer().await.expect(200);
    assert_eq!(lines(&answer.body).len(), count);
}

#[tokio::test]
async fn what_has_no_meaning_with_lines_is_refused() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let refused = client.send("POST", "/v1/events?atomic=true", &[NDJSON], b"").await.expect(400);
    assert_eq!(refused.problem(), "invalid-parameter");
    let keyed = [NDJSON, ("idempotency-key", "k")];
    let refused = client.send("POST", "/v1/events", &keyed, b"").await.expect(400);
    assert_eq!(refused.problem(), "invalid-parameter");
    let path = "/v1/aggregates/A/1/events";
    let refused = client.send("POST", path, &[NDJSON], b"").await.expect(415);
    assert_eq!(refused.problem(), "unsupported-media-type");
    let empty = client.send("POST", "/v1/events", &[NDJSON], b"").await.expect(200);
    assert_eq!(empty.text(), "");
}
