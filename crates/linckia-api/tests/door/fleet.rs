//! Regions, links, digests, vectors; health, metrics, pages, and everything that is not built.
//!
//! What operators, probes and the command line ask for.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::append::event;
use super::fake::ORIGIN;
use super::schema;
use super::server::Server;

#[tokio::test]
async fn the_fleet_is_seen() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.post("/v1/events", event("a", json!({})).to_string()).await.expect(201);
    let regions = client.get("/v1/regions").await.expect(200).json();
    schema::check("Regions", &regions);
    assert_eq!(
        regions["items"][0],
        json!({
            "name": "us-east-1", "url": "http://127.0.0.1:7401", "self": true,
            "verdict": "healthy", "membership": "member",
            "saidBy": ["us-east-1"], "vector": { ORIGIN: 1 },
            "lag": { ORIGIN: {"events": 2, "milliseconds": 30} },
            "closed": [],
        })
    );
    assert_eq!(
        regions["items"][1]["catchUp"],
        json!({
            "from": "us-east-1", "receivedBytes": 1_000, "ofBytes": 4_000, "awaitsLogs": false,
        })
    );
    let other = &regions["items"][1]["closed"];
    assert_eq!(
        (&other[0]["end"], &other[0]["lost"], &other[0]["awaited"]),
        (&Value::Null, &Value::Null, &json!(["us-east-1"]))
    );
    assert_eq!((&other[1]["end"], &other[1]["lost"]), (&json!(7), &json!(2)));
    assert_eq!(regions["items"][1]["url"], Value::Null);
    let links = client.get("/v1/links").await.expect(200).json();
    schema::check("Links", &links);
    assert_eq!(links["items"][0]["emulated"], json!({"delay": "40ms", "cut": false}));
    assert_eq!(links["items"][0]["rttMilliseconds"], 80.12);
    assert_eq!(links["items"][1]["rttMilliseconds"], Value::Null);
    assert_eq!(links["items"][1].get("emulated"), None);
    let digests = client.get("/v1/digests").await.expect(200).json();
    schema::check("Digests", &digests);
    assert_eq!(digests["ranges"].as_array().unwrap().len(), 256);
    assert_eq!(
        (&digests["ranges"][255]["prefix"], &digests["root"]),
        (&json!("ff"), &json!("ab".repeat(32)))
    );
}

#[tokio::test]
async fn a_vector_can_be_waited_for() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let empty = client.get("/v1/vector").await.expect(200).json();
    assert_eq!(empty, json!({"region": "us-east-1", "vector": {}, "text": ""}));
    let path = "/v1/vector/wait";
    let wanted = json!({"vector": { ORIGIN: 1 }, "timeout": "10ms"}).to_string();
    let behind = client.post(path, &wanted).await.expect(503);
    assert_eq!((behind.problem().as_str(), behind.header("retry-after")), ("behind", Some("1")));
    assert_eq!(behind.json()["missing"], json!({ ORIGIN: [1, 1] }));
    let mut waiting = server.client().await;
    let wait = json!({"vector": format!("{ORIGIN}:1"), "timeout": "10s"}).to_string();
    let write = async {
        client.post("/v1/events", event("a", json!({})).to_string()).await.expect(201);
    };
    let (covered, ()) = tokio::join!(waiting.post(path, wait), write);
    let covered = covered.expect(200).json();
    schema::check("VectorNow", &covered);
    assert_eq!(covered["text"], format!("{ORIGIN}:1"));
    for bad in [
        "{}",
        "[]",
        r#"{"vector":7}"#,
        r#"{"vector":"x"}"#,
        r#"{"vector":{"x":1}}"#,
        r#"{"vector":{},"timeout":"2h"}"#,
        r#"{"vector":{},"timeout":"61s"}"#,
        r#"{"vector":{},"colour":1}"#,
    ] {
        assert_eq!(
            client.post(path, bad).await.expect(400).problem(),
            "invalid-parameter",
            "{bad}"
        );
    }
    client.post(path, r#"{"vector":{}}"#).await.expect(200);
}

#[tokio::test]
async fn probes_and_pages() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for path in ["/livez", "/readyz"] {
        schema::check("Health", &client.get(path).await.expect(200).json());
    }
    server.region.unready.store(true, Ordering::Relaxed);
    client.get("/livez").await.expect(200);
    let unready = client.get("/readyz").await.expect(503);
    assert_eq!(unready.problem(), "unavailable");
    assert!(unready.json()["detail"].as_str().unwrap().contains("recovering"));
    schema::check("Root", &client.get("/").await.expect(200).json());
    let page = client.get("/problems/id-reused").await.expect(200);
    assert_eq!(page.header("content-type"), Some("text/markdown; charset=utf-8"));
    assert!(page.text().starts_with("# `id-reused` (409)"));
    client.get("/problems/none").await.expect(404);
}

#[tokio::test]
async fn requests_are_counted() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.get("/v1/conflicts/none").await.expect(404);
    client.get("/nowhere").await.expect(404);
    let metrics = client.get("/metrics").await.expect(200);
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain"));
    for line in [
        r#"linckia_api_requests_total{route="GET /v1/conflicts/{id}",status="404"}"#,
        r#"linckia_api_requests_total{route="none",status="404"}"#,
        r#"linckia_api_request_seconds"#,
    ] {
        assert!(metrics.text().contains(line), "{line} is not in {}", metrics.text());
    }
}

#[tokio::test]
async fn the_document_is_what_the_door_does() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let document = client.get("/openapi.json").await.expect(200).json();
    let (mut built, mut unbuilt) = (0, 0);
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let concrete = path.replace(['{', '}'], "");
            let headers = [("content-type", "application/json")];
            let method = method.to_uppercase();
            let answer = client.send(&method, &concrete, &headers, b"").await;
            assert_ne!(answer.status, 405, "{method} {path}");
            if operation["x-linckia-built"] == false {
                assert_eq!(answer.expect(501).problem(), "unsupported");
                unbuilt += 1;
            } else {
                assert_ne!(answer.status, 501, "{method} {path}");
                let described = operation["responses"].get(answer.status.to_string());
                assert!(described.is_some(), "{method} {path}: {} is not described", answer.status);
                built += 1;
            }
        }
    }
    assert!(built > 40 && unbuilt > 10, "{built} built, {unbuilt} not");
}

#[tokio::test]
async fn a_write_names_the_acknowledgement_that_it_got() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for (number, (value, told)) in [
        ("local;timeout=2s", "local"),
        ("any", "any"),
        ("quorum;timeout=2s", "quorum"),
        ("us-east-1, eu-west-1;timeout=2s", "eu-west-1,us-east-1"),
    ]
    .into_iter()
    .enumerate()
    {
        let headers = [("content-type", "application/json"), ("linckia-ack", value)];
        let body = event(&number.to_string(), json!({})).to_string();
        let answer = client.send("POST", "/v1/events", &headers, body.as_bytes()).await;
        assert_eq!(answer.expect(201).json()["ack"], told);
    }
    let headers = [("content-type", "application/json"), ("linckia-ack", "ANY")];
    client.send("POST", "/v1/events", &headers, b"{}").await.expect(400);
    assert_eq!(server.region.log().len(), 4);
}

#[tokio::test]
async fn what_is_not_acknowledged_in_time_never_looks_like_success() {
    let server = Server::start().await;
    let mut client = server.client().await;
    server.region.cut.store(true, std::sync::atomic::Ordering::Relaxed);
    let headers = [("content-type", "application/json"), ("linckia-ack", "any;timeout=10ms")];
    let one = event("a", json!({}));
    let answer = client.send("POST", "/v1/events", &headers, one.to_string().as_bytes()).await;
    let problem = answer.expect(504);
    assert_eq!(problem.problem(), "ack-timeout");
    let told = problem.json();
    assert_eq!(
        (&told["durable"], &told["unconfirmed"]),
        (&json!(["us-east-1"]), &json!(["eu-west-1"]))
    );
    let dot = told["dot"].as_str().unwrap().to_owned();

    // One late event makes the whole array late, and says what became of each.
    let array = json!([one, event("b", json!({}))]).to_string();
    let answer = client.send("POST", "/v1/events", &headers, array.as_bytes()).await;
    let told = answer.expect(504).json();
    assert_eq!(told["answers"].as_array().map(Vec::len), Some(2), "{told}");
    let lines = [("content-type", "application/x-ndjson"), headers[1]];
    let answer = client.send("POST", "/v1/events", &lines, one.to_string().as_bytes()).await;
    let line = answer.expect(200).json();
    assert_eq!(
        (&line["status"], &line["problem"]["type"]),
        (&json!(504), &json!("/problems/ack-timeout"))
    );

    let asked = client.get(&format!("/v1/acks/{dot}")).await.expect(200).json();
    assert_eq!(asked["reached"], json!(["local"]));
    server.region.cut.store(false, std::sync::atomic::Ordering::Relaxed);
    let asked = client.get(&format!("/v1/acks/{dot}")).await.expect(200).json();
    assert_eq!(asked["durable"], json!(["us-east-1", "eu-west-1"]));
    assert_eq!(asked["reached"], json!(["local", "any", "quorum", "all"]));
    client.get("/v1/acks/us-east-1.7f3a9c01d2e4b5a6:99").await.expect(404);
    client.get("/v1/acks/nonsense").await.expect(400);
}

#[tokio::test]
async fn a_region_lapses_by_an_operators_word() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let path = |name: &str| format!("/v1/regions/{name}/lapse");
    let unknown = client.post(&path("mars-1"), "{}").await;
    assert_eq!(unknown.status, 404);
    schema::check("Problem", &unknown.json());
    for bad in [r#"{"reason":""}"#, r#"{"why":"x"}"#, "[]"] {
        assert_eq!(client.post(&path("eu-west-1"), bad).await.status, 400, "{bad}");
    }
    let lapsed = client.post(&path("eu-west-1"), r#"{"reason":"the cable"}"#).await;
    assert_eq!(lapsed.status, 200, "{}", lapsed.json());
    schema::check("Lapsed", &lapsed.json());
    // Asked again it says what was decided first.
    let again = client.post(&path("eu-west-1"), "{}").await;
    assert_eq!((again.status, again.json()), (200, lapsed.json()));
    let regions = client.get("/v1/regions").await.json();
    schema::check("Regions", &regions);
    assert_eq!(regions["items"][1]["lapsed"]["reason"], "the cable");
    let last = client.post(&path("us-east-1"), "{}").await;
    assert_eq!(last.status, 400, "{}", last.json());
}

#[tokio::test]
async fn a_backup_is_whole_or_goes_on_from_another_one() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.post("/v1/events", event("a", json!({})).to_string()).await.expect(201);
    let whole = client.get("/v1/backup").await.expect(200);
    assert_eq!(whole.header("content-type"), Some("application/vnd.linckia.backup"));
    assert_eq!(whole.text(), "whole of it");
    let after = |after: &str| format!("/v1/backup?after={after}");
    let since = client.get(&after(&format!("{ORIGIN}:1"))).await.expect(200);
    assert_eq!(since.text(), "since of it");
    assert_eq!(client.get(&after("x")).await.expect(400).problem(), "invalid-parameter");
    let gap = client.get(&after("")).await.expect(410);
    assert_eq!(
        (gap.problem().as_str(), &gap.json()["origin"]),
        ("position-expired", &json!(ORIGIN))
    );
    let behind = client.get(&after(&format!("{ORIGIN}:9"))).await.expect(503);
    assert_eq!((behind.problem().as_str(), behind.header("retry-after")), ("behind", Some("5")));
    server.region.busy.store(true, Ordering::Relaxed);
    let other = client.get("/v1/backup").await.expect(503);
    assert_eq!((other.problem().as_str(), other.header("retry-after")), ("unavailable", Some("5")));
}

#[tokio::test]
async fn what_comparing_found_is_shown_and_an_order_is_taken_or_refused() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let shown = client.get("/v1/repairs").await;
    assert_eq!(shown.status, 200);
    schema::check("Repairs", &shown.json());
    let finding = &shown.json()["findings"][0];
    assert_eq!(finding["aggregateId"], "t-1");
    assert_eq!(finding["sides"][0]["digest"], "07".repeat(32));
    assert_eq!(finding["repaired"]["from"], "eu-west-1");
    let keys = r#""keys":[{"aggregateType":"Thing","aggregateId":"t-1"}]"#;
    for good in ["{}".to_owned(), format!(r#"{{{keys},"from":"eu-west-1"}}"#)] {
        let taken = client.post("/v1/repairs", &good).await;
        assert_eq!(taken.status, 202, "{good}: {}", taken.json());
        schema::check("Repairs", &taken.json());
    }
    for bad in [
        r#"{"from":"eu-west-1"}"#.to_owned(),
        r#"{"keys":[]}"#.to_owned(),
        format!(r#"{{{keys},"from":"mars-1"}}"#),
        format!(r#"{{{keys},"from":"us-east-1"}}"#),
        r#"{"all":true}"#.to_owned(),
    ] {
        let refused = client.post("/v1/repairs", &bad).await;
        assert_eq!(refused.status, 400, "{bad}");
        schema::check("Problem", &refused.json());
    }
    assert_eq!(client.post("/v1/repairs", r#"{"quick":true}"#).await.status, 503);
}
