//! CloudEvents 1.0, in and out, in all three modes.
//!
//! What goes out may be sent back in.

use serde_json::{Value, json};

use super::schema;
use super::server::Server;

const STRUCTURED: (&str, &str) = ("content-type", "application/cloudevents+json; charset=UTF-8");
const BATCH: (&str, &str) = ("content-type", "application/cloudevents-batch+json");

fn cloud(id: &str) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "/shop", "type": "Ordered", "subject": "o-1",
        "aggregatetype": "Order", "correlationid": "c-1", "data": {"total": 7},
    })
}

#[tokio::test]
async fn structured_batch_and_binary_are_the_same_event() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let path = "/v1/events";
    let one = cloud("e-1");
    let answer = client.send("POST", path, &[STRUCTURED], one.to_string().as_bytes()).await;
    assert_eq!(answer.expect(201).json()["eventId"], "e-1");
    let batch = json!([one, cloud("e-2")]).to_string();
    let answers = client.send("POST", path, &[BATCH], batch.as_bytes()).await.expect(201).json();
    assert_eq!((&answers[0]["duplicate"], &answers[1]["duplicate"]), (&json!(true), &json!(false)));
    let binary = [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", "e-1"),
        ("ce-source", "/shop"),
        ("ce-type", "Ordered"),
        ("ce-subject", "o-1"),
        ("ce-aggregatetype", "Order"),
        ("ce-correlationid", "c-1"),
    ];
    let answer = client.send("POST", path, &binary, br#"{"total":7}"#).await.expect(200);
    assert_eq!(answer.json()["duplicate"], true);
    let native = client.get(path).await.expect(200).json();
    schema::check("EventPage", &native);
    assert_eq!(native["items"][0]["aggregateId"], "o-1");
    assert_eq!(native["items"][0]["metadata"]["source"], "/shop");
    assert_eq!(native["items"][0]["metadata"]["correlationId"], "c-1");
    let one = r#"{"specversion":"1.0","id":"e-3","source":"/s","type":"Ordered"}"#;
    let path = "/v1/aggregates/Order/o-1/events";
    client.send("POST", path, &[STRUCTURED], one.as_bytes()).await.expect(201);
    client.send("POST", path, &[BATCH], b"[]").await.expect(415);
}

#[tokio::test]
async fn events_go_out_as_cloud_events_and_come_back() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for id in ["e-1", "e-2", "e-3"] {
        let body = cloud(id).to_string();
        client.send("POST", "/v1/events", &[STRUCTURED], body.as_bytes()).await.expect(201);
    }
    let accept = [("accept", "application/cloudevents-batch+json")];
    let page = client.send("GET", "/v1/events?limit=2", &accept, b"").await.expect(200);
    assert_eq!(page.header("content-type"), Some("application/cloudevents-batch+json"));
    let events = page.json();
    schema::check("CloudEvents", &events);
    assert_eq!(events.as_array().unwrap().len(), 2);
    let first = &events[0];
    assert_eq!(
        (&first["source"], &first["clientsource"]),
        (&json!("/regions/us-east-1"), &json!("/shop"))
    );
    assert_eq!((&first["aggregateversion"], &first["sequence"]), (&json!(1), &json!("1")));
    assert_eq!(first["time"], "2025-01-01T00:00:00.001Z");
    let link = page.header("link").unwrap();
    let next = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap();
    let rest = client.send("GET", next, &accept, b"").await.expect(200).json();
    assert_eq!(rest.as_array().unwrap().len(), 1);
    let back = client.send("POST", "/v1/events", &[BATCH], events.to_string().as_bytes()).await;
    assert_eq!(back.expect(200).json()[1]["duplicate"], true);
}

#[tokio::test]
async fn faults_are_named() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let mut without = cloud("e");
    without.as_object_mut().unwrap().remove("aggregatetype");
    let refused =
        client.send("POST", "/v1/events", &[STRUCTURED], without.to_string().as_bytes()).await;
    assert_eq!(refused.expect(400).json()["pointer"], "/aggregatetype");
    let batch = json!([cloud("e"), without]).to_string();
    let refused = client.send("POST", "/v1/events", &[BATCH], batch.as_bytes()).await.expect(400);
    assert_eq!(refused.json()["pointer"], "/1/aggregatetype");
    let refused = client.send("POST", "/v1/events", &[("ce-id", "1")], b"{}").await.expect(400);
    assert!(refused.json()["detail"].as_str().unwrap().contains("ce-specversion"));
    assert_eq!(server.region.log().len(), 0);
}
