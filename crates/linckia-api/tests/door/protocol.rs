//! HTTP itself: methods, media types, sizes, pipelining, HTTP/2.
//!
//! What a hostile or careless client sends.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use linckia_api::{ClientIdentity, DoorSettings, Limits};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::append::event;
use super::client::head;
use super::server::Server;

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn what_is_not_on_the_page() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for path in ["/v1", "/v1/event", "/v1/events/x", "/v1/data-sets/d", "/v1/data-sets/d/regions"] {
        assert_eq!(client.get(path).await.expect(404).problem(), "not-found", "{path}");
    }
    let refused = client.send("PUT", "/v1/events", &[JSON], b"{}").await.expect(405);
    assert_eq!(
        (refused.problem().as_str(), refused.header("allow")),
        ("method-not-allowed", Some("POST, GET"))
    );
    for media in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=x"]
    {
        let refused = client.send("POST", "/v1/events", &[("content-type", media)], b"{}").await;
        assert_eq!(refused.expect(415).problem(), "unsupported-media-type", "{media}");
    }
    let packed = [JSON, ("content-encoding", "gzip")];
    client.send("POST", "/v1/events", &packed, b"{}").await.expect(415);
    assert_eq!(client.get("/v1/vector?x=1").await.expect(400).problem(), "invalid-parameter");
}

#[tokio::test]
async fn large_bodies_are_refused_and_heard_out() {
    let server = Server::start().await;
    let large = vec![b' '; (8 << 20) + 1];
    let mut client = server.client().await;
    let refused = client.post("/v1/events", &large).await.expect(413);
    assert_eq!(refused.problem(), "payload-too-large");
    assert_eq!(refused.json()["limit"], 8 << 20);
    let mut client = server.client().await;
    client.write(head("POST", "/v1/events", &[JSON], None).as_bytes()).await;
    for piece in large.chunks(1 << 20) {
        client.write_chunk(piece).await;
    }
    client.write_chunk(b"").await;
    client.answer().await.expect(413).problem();
    client.get("/livez").await.expect(200);
    let mut client = server.client().await;
    let asks = [JSON, ("expect", "100-continue")];
    client.write(head("POST", "/v1/events", &asks, Some(large.len())).as_bytes()).await;
    client.answer().await.expect(413).problem();
    let mut fits = event("a", json!({ "x": "x".repeat(7 << 20) })).to_string();
    fits.extend(std::iter::repeat_n(' ', (8 << 20) - fits.len()));
    server.client().await.post("/v1/events", fits).await.expect(201);
}

#[tokio::test]
async fn arrays_have_a_limit() {
    let limits = Limits { array_events: 3, ..Limits::default() };
    let settings = DoorSettings { limits, ..DoorSettings::default() };
    let server = Server::with(settings, ClientIdentity::ANONYMOUS).await;
    let mut client = server.client().await;
    let events = |count: usize| -> String {
        let events: Vec<Value> = (0..count).map(|n| event(&n.to_string(), json!({}))).collect();
        json!(events).to_string()
    };
    client.post("/v1/events", events(3)).await.expect(201);
    let refused = client.post("/v1/events", events(4)).await.expect(413);
    assert_eq!(
        (refused.problem().as_str(), &refused.json()["limit"]),
        ("payload-too-large", &json!(3))
    );
}

#[tokio::test]
async fn ten_thousand_events_fit() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let events: Vec<Value> = (0..10_000).map(|n| event(&n.to_string(), json!({}))).collect();
    let answers = client.post("/v1/events", json!(events).to_string()).await.expect(201).json();
    assert_eq!(
        (answers.as_array().unwrap().len(), &answers[9_999]["sequence"]),
        (10_000, &json!(10_000))
    );
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let mut requests = Vec::new();
    for n in 0..100 {
        let body = event(&n.to_string(), json!({})).to_string();
        requests.extend(head("POST", "/v1/events", &[JSON], Some(body.len())).into_bytes());
        requests.extend(body.into_bytes());
    }
    client.write(&requests).await;
    for n in 0..100 {
        assert_eq!(client.answer().await.expect(201).json()["eventId"], n.to_string());
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_writes_nothing() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.write(head("POST", "/v1/events", &[JSON], Some(1_000)).as_bytes()).await;
    client.write(b"{\"eventType\":\"T\"").await;
    drop(client);
    let mut client = server.client().await;
    client.write(b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: x\r\n\r\n").await;
    client.answer().await.expect(400);
    assert!(client.is_over().await);
    assert_eq!(server.region.log().len(), 0);
}

#[tokio::test]
async fn http_2_carries_many_at_once() {
    let server = Server::start().await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut answers = Vec::new();
    for n in 0..50 {
        let mut sender = sender.clone();
        answers.push(tokio::spawn(async move {
            let body = event(&n.to_string(), json!({})).to_string();
            let request = http::Request::post("http://door/v1/events")
                .header("content-type", "application/json")
                .body(Full::new(Bytes::from(body)))
                .unwrap();
            let answer = sender.send_request(request).await.unwrap();
            let status = answer.status();
            (status, answer.into_body().collect().await.unwrap().to_bytes())
        }));
    }
    for (n, answer) in answers.into_iter().enumerate() {
        let (status, body) = answer.await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status.as_u16(), &body["eventId"]), (201, &json!(n.to_string())));
    }
    connection.abort();
}
