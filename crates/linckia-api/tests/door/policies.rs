//! Policies at the door: read, changed, refused; conflicts settled by a person.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use linckia_apply::ConflictView;
use linckia_model::{Key, Kind, Strategy};
use serde_json::{Value, json};

use super::append::event;
use super::schema;
use super::server::Server;

async fn put(server: &Server, name: &str, body: Value) -> (u16, Value) {
    let mut client = server.client().await;
    let path = format!("/v1/policies/{name}");
    let answer = client.send("PUT", &path, &[], body.to_string().as_bytes()).await;
    schema::check(if answer.status == 200 { "Policy" } else { "Problem" }, &answer.json());
    (answer.status, answer.json())
}

#[tokio::test]
async fn a_policy_is_read_and_changed() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let before = client.get("/v1/policies/Stock").await.expect(200).json();
    assert_eq!((&before["strategy"], &before["epoch"]), (&json!("LastWriterWins"), &json!(0)));
    let stock = json!({"strategy": "Manual", "fields": {"/count": "counter"}});
    let (status, policy) = put(&server, "Stock", stock.clone()).await;
    assert_eq!((status, &policy["epoch"]), (200, &json!(1)), "{policy}");
    let (status, again) = put(&server, "Stock", stock).await;
    assert_eq!((status, &again["epoch"]), (200, &json!(1)), "nothing to change");
    let listed = client.get("/v1/policies").await.expect(200).json();
    schema::check("Policies", &listed);
    assert_eq!(listed["items"], json!([policy]));
    let other = client.get("/v1/data-sets/other/policies").await.expect(200).json();
    assert_eq!(other["items"], json!([]));
    let wrong = json!({"strategy": "DeleteWins", "epoch": 0});
    let (status, problem) = put(&server, "Stock", wrong).await;
    assert_eq!((status, &problem["currentVersion"]), (412, &json!(1)));
    let (status, next) = put(&server, "Stock", json!({"strategy": "DeleteWins", "epoch": 1})).await;
    assert_eq!((status, &next["epoch"]), (200, &json!(2)));
}

#[tokio::test]
async fn what_is_no_policy_is_refused() {
    let server = Server::start().await;
    for (body, part) in [
        (json!({}), "strategy"),
        (json!({"strategy": "Mine"}), "LastWriterWinsWhole"),
        (json!({"strategy": "RegionPriority"}), "regions"),
        (json!({"strategy": "Manual", "fields": {"n": "counter"}}), "pointer"),
        (json!({"strategy": "Manual", "more": 1}), "more"),
        (json!([]), "object"),
    ] {
        let (status, problem) = put(&server, "Stock", body.clone()).await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(status == 400 && detail.contains(part), "{body}: {problem}");
    }
}

#[tokio::test]
async fn a_change_without_all_regions_changes_nothing() {
    let server = Server::start().await;
    server.region.late.store(true, Ordering::Relaxed);
    let (status, problem) = put(&server, "Stock", json!({"strategy": "Manual"})).await;
    assert_eq!((status, &problem["awaited"]), (503, &json!(["eu-west-1"])), "{problem}");
    let mut client = server.client().await;
    assert_eq!(client.get("/v1/policies/Stock").await.json()["epoch"], 0);
}

#[tokio::test]
async fn another_policy_is_tried_on_what_was_written() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for (id, name) in [("first", "A"), ("second", "B")] {
        client.post("/v1/events", event(id, json!({"name": name})).to_string()).await.expect(201);
    }
    let path = "/v1/policies/dry-run";
    let whole = json!({"aggregateType": "A", "strategy": "DeleteWins"}).to_string();
    let tried = client.post(path, whole).await.expect(200).json();
    schema::check("DryRun", &tried);
    assert_eq!((&tried["aggregates"], &tried["events"]), (&json!(1), &json!(2)));
    // Patches are not admitted under it: they have no effect, and are on record.
    assert_eq!(tried["changed"], 1);
    assert_eq!(
        (&tried["items"][0]["before"], &tried["items"][0]["after"]),
        (&json!({"name": "B"}), &Value::Null)
    );
    let same = json!({"aggregateType": "A", "strategy": "LastWriterWins"}).to_string();
    assert_eq!(client.post(path, same).await.expect(200).json()["changed"], 0);
    let other = json!({"aggregateType": "Z", "strategy": "Manual"}).to_string();
    assert_eq!(client.post(path, other).await.expect(200).json()["aggregates"], 0);
    for body in [
        json!({}),
        json!({"aggregateType": 7, "strategy": "Manual"}),
        json!({"aggregateType": "A"}),
    ] {
        client.post(path, body.to_string()).await.expect(400);
    }
}

#[tokio::test]
async fn a_person_chooses_or_says_what_shall_be() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for (id, name) in [("first", "A"), ("second", "B")] {
        let body = event(id, json!({"name": name, "tags": {"x/y": 1}})).to_string();
        client.post("/v1/events", body).await.expect(201);
    }
    let log = server.region.log();
    let record = ConflictView {
        id: "c1".to_owned(),
        kind: Kind::UpdateUpdate,
        key: Key::new("default", &log[0].key.aggregate_type, &log[0].key.aggregate_id),
        paths: vec!["/name".to_owned(), "/tags/x~1y".to_owned()],
        losers: vec![Arc::clone(&log[0])],
        winner: Arc::clone(&log[1]),
        strategy: Strategy::Manual,
        open: true,
        settled_by: None,
        confirmed: false,
    };
    *server.region.conflicts.lock().unwrap() = vec![record];
    let path = "/v1/conflicts/c1/resolve";
    for body in [
        json!({}),
        json!({"choose": "third"}),
        json!({"choose": "first", "data": {}}),
        json!({"data": 7}),
    ] {
        let problem = client.post(path, body.to_string()).await.expect(400).problem();
        assert!(["invalid-parameter", "invalid-event"].contains(&problem.as_str()), "{body}");
    }
    let chosen = client.post(path, json!({"choose": "first"}).to_string()).await.expect(201);
    schema::check("Answer", &chosen.json());
    let written = server.region.log().last().unwrap().clone();
    assert_eq!(written.data, json!({"name": "A", "tags": {"x/y": 1}}));
    assert_eq!(written.extras.causation_id.as_deref(), Some("first"));
    client.post(path, json!({"data": {"name": "C"}}).to_string()).await.expect(201);
    assert_eq!(server.region.log().last().unwrap().data, json!({"name": "C"}));
    client.post("/v1/conflicts/c9/resolve", json!({"choose": "a"}).to_string()).await.expect(404);
}
