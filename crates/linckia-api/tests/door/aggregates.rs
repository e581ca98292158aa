//! `/v1/aggregates`: documents read, replaced, merged, deleted, listed.
//!
//! Preconditions, entity tags, pages.

use serde_json::{Value, json};

use super::client::{Answer, Client};
use super::schema;
use super::server::Server;

const JSON: (&str, &str) = ("content-type", "application/json");
const PATH: &str = "/v1/aggregates/Customer/c%2F1";

async fn put(client: &mut Client, body: &str, headers: &[(&str, &str)]) -> Answer {
    client.send("PUT", PATH, &[&[JSON], headers].concat(), body.as_bytes()).await
}

#[tokio::test]
async fn a_document_lives() {
    let server = Server::start().await;
    let mut client = server.client().await;
    assert_eq!(client.get(PATH).await.expect(404).problem(), "not-found");
    let created = put(&mut client, r#"{"name":"Ann","age":7}"#, &[]).await.expect(201);
    schema::check("Answer", &created.json());
    put(&mut client, r#"{"name":"Ann","age":8}"#, &[]).await.expect(200);
    let merge = [("content-type", "application/merge-patch+json")];
    let patched =
        client.send("PATCH", PATH, &merge, br#"{"age":null,"x":{"y":1}}"#).await.expect(200);
    let read = client.get(PATH).await.expect(200);
    assert_eq!(read.header("etag"), patched.header("etag"));
    assert!(read.header("linckia-vector").unwrap().ends_with(":3"));
    let view = read.json();
    schema::check("Aggregate", &view);
    assert_eq!(
        view,
        json!({
            "aggregateType": "Customer", "aggregateId": "c/1", "version": 3,
            "data": {"name": "Ann", "x": {"y": 1}}, "conflicts": 0,
            "updatedAt": "2025-01-01T00:00:00.003Z", "region": "us-east-1",
        })
    );
    let deleted = client.send("DELETE", PATH, &[], b"").await.expect(200);
    assert_eq!((deleted.header("etag"), &deleted.json()["version"]), (None, &json!(4)));
    client.get(PATH).await.expect(404);
    assert_eq!(client.send("DELETE", PATH, &[], b"").await.expect(404).problem(), "not-found");
    client.send("PATCH", PATH, &merge, b"{}").await.expect(201);
    let types: Vec<String> =
        server.region.log().iter().map(|event| event.event_type.to_string()).collect();
    assert_eq!(
        types,
        ["CustomerPut", "CustomerPut", "CustomerPatched", "CustomerDeleted", "CustomerPatched"]
    );
}

#[tokio::test]
async fn preconditions_guard_every_write() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let absent = put(&mut client, "{}", &[("if-match", "\"x\"")]).await.expect(412);
    assert_eq!(absent.problem(), "version-conflict");
    let created = put(&mut client, "{}", &[("if-none-match", "*")]).await.expect(201);
    let tag = created.header("etag").unwrap().to_owned();
    put(&mut client, "{}", &[("if-none-match", "*")]).await.expect(412);
    let kept = client.send("GET", PATH, &[("if-none-match", &tag)], b"").await.expect(304);
    assert_eq!((kept.header("etag"), kept.body.len()), (Some(tag.as_str()), 0));
    client.send("GET", PATH, &[("if-match", "\"other\"")], b"").await.expect(412);
    put(&mut client, r#"{"a":1}"#, &[("if-match", &tag)]).await.expect(200);
    client.send("GET", PATH, &[("if-none-match", &tag)], b"").await.expect(200);
    let stale = put(&mut client, "{}", &[("if-match", &tag)]).await.expect(412).json();
    assert_eq!(stale["currentVersion"], 2);
    client.send("DELETE", PATH, &[("if-match", &tag)], b"").await.expect(412);
    let current = stale["etag"].as_str().unwrap();
    client.send("DELETE", PATH, &[("if-match", current)], b"").await.expect(200);
    for (name, value) in [("if-match", "x"), ("if-none-match", "\"x\"")] {
        let refused = put(&mut client, "{}", &[(name, value)]).await.expect(400);
        assert_eq!(refused.problem(), "invalid-parameter");
    }
}

#[tokio::test]
async fn bad_documents_are_refused() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for body in ["", "[]", "null", "{", "7"] {
        assert_eq!(put(&mut client, body, &[]).await.expect(400).problem(), "invalid-event");
    }
    let deep = format!("{}1{}", "{\"a\":".repeat(65), "}".repeat(65));
    assert_eq!(put(&mut client, &deep, &[]).await.expect(400).problem(), "invalid-event");
    let deep = format!("{}1{}", "{\"a\":".repeat(64), "}".repeat(64));
    put(&mut client, &deep, &[]).await.expect(201);
    let refused = client.send("PUT", PATH, &[("content-type", "text/plain")], b"{}").await;
    assert_eq!(refused.expect(415).problem(), "unsupported-media-type");
    let merge = [("content-type", "application/merge-patch+json")];
    client.send("PUT", PATH, &merge, b"{}").await.expect(415);
    assert_eq!(
        client.send("DELETE", PATH, &[], b"{}").await.expect(400).problem(),
        "invalid-parameter"
    );
    let long = format!("/v1/aggregates/{}/1", "T".repeat(254));
    client.send("PUT", &long, &[JSON], b"{}").await.expect(400);
    assert_eq!(client.get("/v1/aggregates/A/").await.expect(400).problem(), "invalid-parameter");
    assert_eq!(client.get("/v1/aggregates/A/%00").await.expect(400).problem(), "invalid-parameter");
    let at = client.get(&format!("{PATH}?at=now")).await;
    assert_eq!(at.expect(400).problem(), "invalid-parameter");
    let list = client.get("/v1/aggregates/A?at=2026-01-01T00:00:00Z").await;
    assert_eq!(list.expect(501).problem(), "unsupported");
}

#[tokio::test]
async fn writes_can_be_repeated_by_key() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let key = [("idempotency-key", "k-1")];
    put(&mut client, r#"{"a":1}"#, &key).await.expect(201);
    let again = put(&mut client, r#"{"a":1}"#, &key).await.expect(200);
    assert_eq!(again.json()["duplicate"], true);
    put(&mut client, r#"{"a":2}"#, &key).await.expect(409);
}

#[tokio::test]
async fn aggregates_are_listed_at_one_vector() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for id in ["a1", "a2", "a3", "b1"] {
        let path = format!("/v1/aggregates/T/{id}");
        client.send("PUT", &path, &[JSON], b"{}").await.expect(201);
    }
    let ids = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap();
        items.iter().map(|item| item["aggregateId"].as_str().unwrap().to_owned()).collect()
    };
    let first = client.get("/v1/aggregates/T?prefix=a&limit=2").await.expect(200);
    let vector = first.header("linckia-vector").unwrap().to_owned();
    let first = first.json();
    schema::check("AggregatePage", &first);
    assert_eq!(ids(&first), ["a1", "a2"]);
    let next =
        format!("/v1/aggregates/T?prefix=a&limit=2&cursor={}", first["next"].as_str().unwrap());
    let second = client.get(&next).await.expect(200);
    assert_eq!(second.header("linckia-vector"), Some(vector.as_str()));
    assert_eq!(
        (ids(&second.json()), &second.json()["next"]),
        (vec!["a3".to_owned()], &Value::Null)
    );
    client.send("PUT", "/v1/aggregates/T/c", &[JSON], b"{}").await.expect(201);
    assert_eq!(client.get(&next).await.expect(410).problem(), "position-expired");
    assert_eq!(ids(&client.get("/v1/aggregates/U").await.expect(200).json()), [""; 0]);
    client.get("/v1/aggregates/T?cursor=x").await.expect(400);
    client.get("/v1/aggregates/T?limit=0").await.expect(400);
}
