//! `POST /v1/events` and `POST …/{type}/{id}/events` with JSON: statuses, limits, problems.
//!
//! CloudEvents and NDJSON have files of their own.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::fake::ORIGIN;
use super::schema;
use super::server::Server;

pub fn event(id: &str, data: Value) -> Value {
    json!({
        "eventId": id, "eventType": "T", "aggregateType": "A", "aggregateId": "1",
        "operation": "patch", "eventData": data,
    })
}

#[tokio::test]
async fn one_event_is_written_once() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let body = event("e-1", json!({"a": 1})).to_string();
    let first = client.post("/v1/events", &body).await.expect(201);
    assert_eq!(first.header("content-type"), Some("application/json"));
    let answer = first.json();
    schema::check("Answer", &answer);
    assert_eq!(
        answer,
        json!({
            "eventId": "e-1", "region": "us-east-1", "origin": ORIGIN, "sequence": 1,
            "hlc": answer["hlc"], "version": 1, "ack": "local", "duplicate": false,
        })
    );
    let again = client.post("/v1/events", &body).await.expect(200).json();
    assert_eq!((&again["duplicate"], &again["sequence"]), (&json!(true), &json!(1)));
    let other = event("e-1", json!({"a": 2})).to_string();
    let problem = client.post("/v1/events", other).await.expect(409);
    assert_eq!(problem.problem(), "id-reused");
    assert_eq!(problem.json()["dot"], format!("{ORIGIN}:1"));
}

#[tokio::test]
async fn ids_come_from_the_key_or_are_new() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let body = r#"{"eventType":"T","aggregateType":"A","aggregateId":"1"}"#;
    let headers = [("content-type", "application/json"), ("idempotency-key", "k 1")];
    let keyed = client.send("POST", "/v1/events", &headers, body.as_bytes()).await.expect(201);
    assert_eq!(keyed.json()["eventId"], "k 1");
    client.send("POST", "/v1/events", &headers, body.as_bytes()).await.expect(200);
    let new = client.post("/v1/events", body).await.expect(201).json();
    let id = new["eventId"].as_str().unwrap();
    assert_eq!((id.len(), id.as_bytes()[14]), (36, b'7'));
    let array = format!("[{body}]");
    let refused = client.send("POST", "/v1/events", &headers, array.as_bytes()).await.expect(400);
    assert_eq!(refused.problem(), "invalid-parameter");
}

#[tokio::test]
async fn arrays_are_answered_in_order() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let (a, b) = (event("a", json!({})), event("b", json!({"n": 1})));
    let written = client.post("/v1/events", json!([a, b]).to_string()).await.expect(201).json();
    schema::check("AnswerOrAnswers", &written);
    assert_eq!((&written[0]["eventId"], &written[1]["eventId"]), (&json!("a"), &json!("b")));
    client.post("/v1/events", json!([a, b]).to_string()).await.expect(200);
    assert_eq!(client.post("/v1/events", "[]").await.expect(200).json(), json!([]));
    let reused = event("b", json!({"n": 2}));
    let mixed = json!([event("c", json!({})), reused]).to_string();
    let mixed = client.post("/v1/events", mixed).await.expect(207).json();
    schema::check("MixedAnswers", &mixed);
    assert_eq!((&mixed[0]["duplicate"], &mixed[1]["pointer"]), (&json!(false), &json!("/1")));
    assert_eq!(mixed[1]["type"], "/problems/id-reused");
    assert_eq!(server.region.log().len(), 3);
}

#[tokio::test]
async fn atomic_arrays_are_written_whole_or_not() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let path = "/v1/events?atomic=true";
    client.post(path, json!([event("a", json!({}))]).to_string()).await.expect(201);
    let body = json!([event("b", json!({})), event("a", json!({"x": 1}))]).to_string();
    let refused = client.post(path, &body).await.expect(409);
    assert_eq!(
        (refused.problem().as_str(), &refused.json()["pointer"]),
        ("id-reused", &json!("/1"))
    );
    assert_eq!(server.region.log().len(), 1);
    client.post("/v1/events?atomic=false", &body).await.expect(207);
    let one = event("z", json!({})).to_string();
    client.post(path, one).await.expect(201);
}

#[tokio::test]
async fn a_fault_anywhere_writes_nothing() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let good = event("a", json!({}));
    let cases = [
        (json!([good, {"eventType": "T"}]).to_string(), "/1/aggregateType"),
        (json!([good, good, 7]).to_string(), "/2"),
        (json!({"eventType": "T", "colour": 1}).to_string(), "/colour"),
        (event("a", json!([])).to_string(), "/eventData"),
        (format!("[{good},"), ""),
        ("\u{feff}{}".to_owned(), ""),
        (String::new(), ""),
    ];
    for (body, pointer) in cases {
        let refused = client.post("/v1/events", &body).await.expect(400);
        assert_eq!(refused.problem(), "invalid-event", "{body}");
        assert_eq!(refused.json()["pointer"], pointer, "{body}");
    }
    let refused = client.post("/v1/events", b"{\"eventType\":\"\xff\"}").await.expect(400);
    assert_eq!(refused.problem(), "invalid-event");
    assert_eq!(server.region.log().len(), 0);
}

#[tokio::test]
async fn state_refuses_increments() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let increment = |by: Value| {
        let mut event = event("", json!({"n": by}));
        event["operation"] = json!("increment");
        event.as_object_mut().unwrap().remove("eventId");
        event
    };
    client.post("/v1/events", increment(json!(i64::MAX)).to_string()).await.expect(201);
    let refused = client.post("/v1/events", increment(json!(1)).to_string()).await.expect(400);
    assert_eq!(refused.json()["pointer"], "/eventData/n");
    client.post("/v1/events", event("s", json!({"n": "x"})).to_string()).await.expect(201);
    let array = json!([increment(json!(1))]).to_string();
    let refused = client.post("/v1/events", array).await.expect(207).json();
    assert_eq!(refused[0]["pointer"], "/0/eventData/n");
}

#[tokio::test]
async fn a_full_region_says_so() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let body = event("a", json!({})).to_string();
    server.region.full.store(true, Ordering::Relaxed);
    for body in [body.clone(), format!("[{body}]")] {
        let refused = client.post("/v1/events", body).await.expect(503);
        assert_eq!(refused.problem(), "log-full");
        assert_eq!(refused.header("retry-after"), Some("30"));
        assert_eq!(refused.json()["bound"], 10);
    }
    server.region.busy.store(true, Ordering::Relaxed);
    let refused = client.post("/v1/events", body).await.expect(503);
    assert_eq!(
        (refused.problem().as_str(), refused.header("retry-after")),
        ("unavailable", Some("1"))
    );
}

#[tokio::test]
async fn one_aggregate_takes_preconditions() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let path = "/v1/aggregates/A/1/events";
    let json_type = ("content-type", "application/json");
    let body = br#"{"eventType":"T","eventData":{"a":1}}"#;
    let send = async |client: &mut super::client::Client, name, value| {
        client.send("POST", path, &[json_type, (name, value)], body).await
    };
    let absent = send(&mut client, "if-match", "\"x\"").await.expect(412);
    assert_eq!(absent.problem(), "version-conflict");
    assert_eq!(
        (&absent.json()["currentVersion"], &absent.json()["etag"]),
        (&json!(0), &Value::Null)
    );
    let created = send(&mut client, "if-none-match", "*").await.expect(201);
    let tag = created.header("etag").unwrap().to_owned();
    let present = send(&mut client, "if-none-match", "*").await.expect(412);
    assert_eq!(present.json()["etag"], tag);
    let next = send(&mut client, "if-match", &tag).await.expect(201);
    assert_ne!(next.header("etag"), Some(tag.as_str()));
    send(&mut client, "if-match", &tag).await.expect(412);
    send(&mut client, "if-match", "*").await.expect(201);
    let elsewhere = json!({"eventType": "T", "aggregateId": "2"}).to_string();
    let refused = client.post(path, elsewhere).await.expect(400);
    assert_eq!(refused.json()["pointer"], "/aggregateId");
    client.post(path, "[]").await.expect(400);
    let refused =
        client.send("POST", "/v1/events", &[json_type, ("if-match", "*")], b"{}").await.expect(400);
    assert_eq!(refused.problem(), "invalid-parameter");
}

#[tokio::test]
async fn traces_are_kept_and_given_back() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = [("content-type", "application/json"), ("traceparent", trace)];
    let body = event("a", json!({})).to_string();
    let answer = client.send("POST", "/v1/events", &headers, body.as_bytes()).await.expect(201);
    assert_eq!(answer.header("traceparent"), Some(trace));
    assert_eq!(server.region.log()[0].extras.traceparent.as_deref(), Some(trace));
    assert_eq!(client.get("/v1/vector").await.header("traceparent"), None);
}

#[tokio::test]
async fn data_sets_are_apart() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let body = event("a", json!({})).to_string();
    client.post("/v1/events", &body).await.expect(201);
    client.post("/v1/data-sets/other/events", &body).await.expect(201);
    client.post("/v1/data-sets/default/events", &body).await.expect(200);
    let page = client.get("/v1/data-sets/other/events").await.expect(200).json();
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    client.post("/v1/data-sets//events", &body).await.expect(400);
    client.post(&format!("/v1/data-sets/{}/events", "x".repeat(257)), &body).await.expect(400);
}
