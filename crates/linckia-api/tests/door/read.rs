//! Events read page by page: the log, an aggregate's history, conflicts on record.
//!
//! Streams have a file of their own.

use std::sync::Arc;

use linckia_apply::ConflictView;
use linckia_model::{Key, Kind, Status};
use serde_json::{Value, json};

use super::client::Client;
use super::fake::ORIGIN;
use super::schema;
use super::server::Server;

async fn write(client: &mut Client, kind: &str, id: &str, n: u32) {
    let event = json!({
        "eventType": kind, "aggregateType": "A", "aggregateId": id, "eventData": {"n": n},
    });
    client.post("/v1/events", event.to_string()).await.expect(201);
}

fn numbers(page: &Value) -> Vec<u64> {
    let items = page["items"].as_array().unwrap();
    items.iter().map(|item| item["eventData"]["n"].as_u64().unwrap()).collect()
}

async fn server_with_events() -> (Server, Client) {
    let server = Server::start().await;
    let mut client = server.client().await;
    for n in 1..=5 {
        let kind = if n % 2 == 0 { "Even" } else { "Odd" };
        write(&mut client, kind, &format!("a{}", n % 2), n).await;
    }
    (server, client)
}

#[tokio::test]
async fn the_log_is_paged_by_vector() {
    let (_server, mut client) = server_with_events().await;
    let first = client.get("/v1/events?limit=3").await.expect(200);
    assert_eq!(first.header("linckia-vector"), Some(format!("{ORIGIN}:5").as_str()));
    let first = first.json();
    schema::check("EventPage", &first);
    assert_eq!((numbers(&first), &first["next"]), (vec![1, 2, 3], &json!(format!("{ORIGIN}:3"))));
    assert_eq!(
        first["items"][0]["metadata"],
        json!({
            "timestamp": "2025-01-01T00:00:00.001Z", "region": "us-east-1", "version": 1,
            "origin": ORIGIN, "sequence": 1, "hlc": first["items"][0]["metadata"]["hlc"],
        })
    );
    let next = format!("/v1/events?after={ORIGIN}:3");
    let second = client.get(&next).await.expect(200).json();
    assert_eq!((numbers(&second), &second["next"]), (vec![4, 5], &json!(format!("{ORIGIN}:5"))));
    let last = client.get(&format!("/v1/events?after={ORIGIN}:5")).await.expect(200).json();
    assert_eq!(last, json!({"items": [], "next": format!("{ORIGIN}:5")}));
    let now = client.get("/v1/events?after=now").await.expect(200).json();
    assert_eq!(now, last);
}

#[tokio::test]
async fn the_log_is_filtered() {
    let (_server, mut client) = server_with_events().await;
    let check = async |client: &mut Client, query: &str, expected: &[u64]| {
        let page = client.get(&format!("/v1/events?{query}")).await.expect(200).json();
        assert_eq!(numbers(&page), expected, "{query}");
    };
    check(&mut client, "type=Even", &[2, 4]).await;
    check(&mut client, "aggregateType=A&aggregateId=a1", &[1, 3, 5]).await;
    check(&mut client, "aggregateType=B", &[]).await;
    check(&mut client, "region=us-east-1&limit=1", &[1]).await;
    check(&mut client, "region=eu-west-1", &[]).await;
    for (query, status) in [
        ("region=US", 400),
        ("after=x", 400),
        ("limit=1001", 400),
        ("colour=red", 400),
        ("type=", 400),
        ("type=a&type=b", 400),
        ("pattern=x", 501),
    ] {
        client.get(&format!("/v1/events?{query}")).await.expect(status).problem();
    }
}

#[tokio::test]
async fn lines_on_request() {
    let (_server, mut client) = server_with_events().await;
    let accept = [("accept", "application/x-ndjson")];
    let page = client.send("GET", "/v1/events?limit=2&type=Odd", &accept, b"").await.expect(200);
    assert_eq!(page.header("content-type"), Some("application/x-ndjson"));
    let lines: Vec<Value> =
        page.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    schema::check("Event", &lines[0]);
    let link = format!("</v1/events?limit=2&type=Odd&after={ORIGIN}:3>; rel=\"next\"");
    assert_eq!(page.header("link"), Some(link.as_str()));
}

#[tokio::test]
async fn retention_that_passed_a_position_is_told() {
    let (server, mut client) = server_with_events().await;
    *server.region.truncated.lock().unwrap() = 2;
    assert_eq!(numbers(&client.get("/v1/events").await.expect(200).json()), [3, 4, 5]);
    let gone = client.get(&format!("/v1/events?after={ORIGIN}:1")).await.expect(410);
    assert_eq!(gone.problem(), "position-expired");
    assert_eq!(gone.json()["missing"], json!({ ORIGIN: [2, 2] }));
    assert_eq!(gone.json()["resumeAfter"], format!("{ORIGIN}:2"));
}

#[tokio::test]
async fn a_history_goes_both_ways() {
    let (_server, mut client) = server_with_events().await;
    let path = "/v1/aggregates/A/a1/events";
    let first = client.get(&format!("{path}?limit=2")).await.expect(200).json();
    schema::check("EventPage", &first);
    assert_eq!(numbers(&first), [1, 3]);
    let next = first["next"].as_str().unwrap();
    let second = client.get(&format!("{path}?limit=2&cursor={next}")).await.expect(200).json();
    assert_eq!((numbers(&second), &second["next"]), (vec![5], &Value::Null));
    let back = client.get(&format!("{path}?direction=backward")).await.expect(200).json();
    assert_eq!(numbers(&back), [5, 3, 1]);
    client.get(&format!("{path}?direction=up")).await.expect(400);
    client.get(&format!("{path}?cursor=x")).await.expect(400);
    let none = client.get("/v1/aggregates/A/none/events").await.expect(200).json();
    assert_eq!(none, json!({"items": [], "next": null}));
}

#[tokio::test]
async fn conflicts_are_read() {
    let (server, mut client) = server_with_events().await;
    let log = server.region.log();
    let record = |id: &str, data_set: &str| ConflictView {
        id: id.to_owned(),
        kind: Kind::UpdateUpdate,
        key: Key::new(data_set, "A", "a1"),
        paths: vec!["/n".to_owned(), "/a~1b".to_owned()],
        losers: vec![Arc::clone(&log[0])],
        winner: Arc::clone(&log[2]),
        status: Status::Settled,
        confirmed: false,
    };
    *server.region.conflicts.lock().unwrap() =
        vec![record("c1", "default"), record("c2", "default"), record("c3", "other")];
    let page = client.get("/v1/conflicts?limit=1").await.expect(200).json();
    schema::check("ConflictPage", &page);
    let first = &page["items"][0];
    assert_eq!(first["conflictId"], "c1");
    assert_eq!(first["conflictingEvents"][0]["dot"], format!("{ORIGIN}:1"));
    assert_eq!(first["resolvedEvent"], first["conflictingEvents"][1]["eventId"]);
    assert_eq!(first["resolvedFields"]["/n"], first["resolvedEvent"]);
    assert_eq!(first["resolvedAt"], "2025-01-01T00:00:00.003Z");
    let next = format!("/v1/conflicts?limit=1&cursor={}", page["next"].as_str().unwrap());
    let page = client.get(&next).await.expect(200).json();
    assert_eq!((&page["items"][0]["conflictId"], &page["next"]), (&json!("c2"), &Value::Null));
    let open = client.get("/v1/conflicts?status=open").await.expect(200).json();
    assert_eq!(open["items"], json!([]));
    client.get("/v1/conflicts?status=closed").await.expect(400);
    let one = client.get("/v1/conflicts/c2").await.expect(200).json();
    schema::check("Conflict", &one);
    client.get("/v1/conflicts/c9").await.expect(404);
    client.get("/v1/conflicts/c3").await.expect(404);
    client.get("/v1/data-sets/other/conflicts/c3").await.expect(200);
}
