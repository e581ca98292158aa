//! Locks at the door: leases taken, kept, lost and waited for; what is no request for one, refused.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::schema;
use super::server::Server;

async fn post(server: &Server, path: &str, body: Value) -> (u16, Value) {
    let mut client = server.client().await;
    let answer = client.post(&format!("/v1/locks/{path}"), body.to_string()).await;
    let schema = match (answer.status, path.ends_with("release")) {
        (200, false) => "Lease",
        (200, true) => "Released",
        _ => "Problem",
    };
    schema::check(schema, &answer.json());
    (answer.status, answer.json())
}

#[tokio::test]
async fn a_lease_is_taken_kept_and_given_back() {
    let server = Server::start().await;
    let (status, lease) = post(&server, "m/acquire", json!({"owner":"one","ttl":"30s"})).await;
    assert_eq!((status, &lease["fence"], &lease["owner"]), (200, &json!(1), &json!("one")));
    let (status, problem) = post(&server, "m/acquire", json!({"owner":"two"})).await;
    assert_eq!((status, &problem["type"]), (409, &json!("/problems/lock-held")));
    assert_eq!((&problem["owner"], &problem["expiresAt"]), (&json!("one"), &lease["expiresAt"]));
    let (status, renewed) =
        post(&server, "m/renew", json!({"owner":"one","fence":1,"ttl":"60s"})).await;
    assert_eq!((status, &renewed["fence"]), (200, &json!(1)));
    assert!(renewed["expiresAt"].as_str() > lease["expiresAt"].as_str());
    let (status, problem) = post(&server, "m/renew", json!({"owner":"one","fence":2})).await;
    assert_eq!((status, &problem["type"]), (409, &json!("/problems/lease-lost")));
    let (status, released) = post(&server, "m/release", json!({"owner":"one","fence":1})).await;
    assert_eq!((status, &released["released"]), (200, &json!(true)));
    let (status, _) = post(&server, "m/release", json!({"owner":"one","fence":1})).await;
    assert_eq!(status, 200, "it may be repeated");
    let (status, problem) = post(&server, "m/release", json!({"owner":"two","fence":1})).await;
    assert_eq!((status, &problem["type"]), (409, &json!("/problems/lease-lost")));
    let (status, problem) = post(&server, "m/renew", json!({"owner":"one","fence":1})).await;
    assert_eq!((status, &problem["type"]), (409, &json!("/problems/lease-lost")));
    let (_, next) = post(&server, "m/acquire", json!({"owner":"two"})).await;
    assert_eq!(next["fence"], 2);
}

#[tokio::test]
async fn whoever_waits_gets_it_when_it_is_given_back_or_runs_out() {
    let server = Server::start().await;
    post(&server, "m/acquire", json!({"owner":"one","ttl":"60s"})).await;
    let start = Instant::now();
    let wait = json!({"owner":"two","ttl":"1s","wait":"10s"});
    let release = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        post(&server, "m/release", json!({"owner":"one","fence":1})).await
    };
    let ((status, lease), _) = tokio::join!(post(&server, "m/acquire", wait), release);
    assert_eq!((status, &lease["fence"]), (200, &json!(2)));
    assert!(start.elapsed() < Duration::from_secs(5));
    let wait = json!({"owner":"three","wait":"10s"});
    let (status, lease) = post(&server, "m/acquire", wait).await;
    assert_eq!((status, &lease["fence"]), (200, &json!(3)));
    let (status, _) = post(&server, "m/acquire", json!({"owner":"four","wait":"300ms"})).await;
    assert_eq!(status, 409);
}

#[tokio::test]
async fn nobody_gets_one_where_nobody_can_decide() {
    let server = Server::start().await;
    server.region.cut.store(true, Ordering::Relaxed);
    let mut client = server.client().await;
    let body = json!({"owner":"one"}).to_string();
    let answer = client.post("/v1/locks/m/acquire", body).await.expect(503);
    assert_eq!(answer.header("retry-after"), Some("1"));
    let problem = answer.json();
    assert_eq!(problem["type"], "/problems/unavailable");
    assert!(problem["detail"].as_str().unwrap().contains("no majority"), "{problem}");
}

#[tokio::test]
async fn what_is_no_request_for_a_lock_is_refused() {
    let server = Server::start().await;
    for (body, pointer) in [
        (json!({}), Value::Null),
        (json!({"owner":""}), json!("/owner")),
        (json!({"owner":"one","ttl":"1ms"}), json!("/ttl")),
        (json!({"owner":"one","ttl":"25h"}), json!("/ttl")),
        (json!({"owner":"one","wait":"61s"}), json!("/wait")),
        (json!({"owner":"one","more":1}), Value::Null),
        (json!(["one"]), Value::Null),
    ] {
        let (status, problem) = post(&server, "m/acquire", body.clone()).await;
        assert_eq!((status, &problem["pointer"]), (400, &pointer), "{body} {problem}");
    }
    let (status, _) = post(&server, "m/renew", json!({"owner":"one"})).await;
    assert_eq!(status, 400);
    server.client().await.get("/v1/locks/m/acquire").await.expect(405);
}
