//! Undo at the door: what it takes, what it would do, what it did, and what it leaves alone.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::append::event;
use super::schema;
use super::server::Server;

async fn post(server: &Server, body: Value) -> (u16, Value) {
    let mut client = server.client().await;
    let answer = client.post("/v1/undo", body.to_string()).await;
    schema::check(if answer.status == 200 { "Undone" } else { "Problem" }, &answer.json());
    (answer.status, answer.json())
}

fn of_the_job(id: &str, data: Value) -> String {
    let mut event = event(id, data);
    event["metadata"] = json!({"correlationId": "job"});
    event.to_string()
}

#[tokio::test]
async fn what_is_no_filter_is_refused() {
    let server = Server::start().await;
    for (body, at) in [
        (json!({"where": {}}), "/where"),
        (json!({"where": {"since": "2026-01-01T00:00:00Z"}}), "/where"),
        (json!({"where": {"actor": "a", "since": "yesterday"}}), "/where/since"),
        (json!({"where": {"actor": "a", "until": "noon"}}), "/where/until"),
    ] {
        let (status, problem) = post(&server, body.clone()).await;
        assert_eq!((status, &problem["pointer"]), (400, &json!(at)), "{body}: {problem}");
    }
    for body in [json!({}), json!({"where": {"who": "a"}}), json!({"where": "all"})] {
        assert_eq!(post(&server, body.clone()).await.0, 400, "{body}");
    }
}

#[tokio::test]
async fn it_is_shown_first_then_done_once() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.post("/v1/events", event("before", json!({"n": 1})).to_string()).await.expect(201);
    client.post("/v1/events", of_the_job("mistake", json!({"n": 9}))).await.expect(201);
    let job = json!({"correlationId": "job"});
    let (_, shown) = post(&server, json!({"where": job, "dryRun": true})).await;
    let item = &shown["items"][0];
    assert_eq!((&shown["dryRun"], &item["events"]), (&json!(true), &json!(1)), "{shown}");
    assert_eq!(item["compensations"][0]["dot"], Value::Null);
    assert_eq!(item["compensations"][0]["data"], json!({"n": 1}), "{item}");
    assert_eq!(server.region.log().len(), 2, "nothing was written");

    let (_, done) = post(&server, json!({"where": job})).await;
    assert!(done["items"][0]["compensations"][0]["dot"].is_string(), "{done}");
    let log = server.region.log();
    assert_eq!((log.len(), &*log[2].extras.causation_id.clone().unwrap()), (3, "mistake"));
    let (_, again) = post(&server, json!({"where": job})).await;
    assert_eq!(again["items"][0]["left"], "undone", "{again}");
    assert_eq!(server.region.log().len(), 3);
}

#[tokio::test]
async fn what_was_written_since_it_was_looked_at_is_left_alone() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.post("/v1/events", event("before", json!({"n": 1})).to_string()).await.expect(201);
    client.post("/v1/events", of_the_job("mistake", json!({"n": 9}))).await.expect(201);
    let job = json!({"correlationId": "job"});
    let (_, shown) = post(&server, json!({"where": job, "dryRun": true})).await;
    client.post("/v1/events", of_the_job("later", json!({"m": 9}))).await.expect(201);
    let (_, done) = post(&server, json!({"where": job, "upto": shown["upto"]})).await;
    let undone = &done["items"][0]["compensations"];
    assert_eq!((undone.as_array().unwrap().len(), &undone[0]["undoes"]), (1, &json!("mistake")));
    let beyond = "a.0000000000000001:99";
    for (upto, status) in [(beyond, 503), ("soon", 400)] {
        assert_eq!(post(&server, json!({"where": job, "upto": upto})).await.0, status, "{upto}");
    }
}

#[tokio::test]
async fn where_history_is_gone_it_says_so() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.post("/v1/events", of_the_job("mistake", json!({"n": 9}))).await.expect(201);
    server.region.forgotten.store(true, Ordering::Relaxed);
    let (_, left) = post(&server, json!({"where": {"correlationId": "job"}})).await;
    assert_eq!(left["items"][0]["left"], "history-gone", "{left}");
    assert_eq!(server.region.log().len(), 1);
}
