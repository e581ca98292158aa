//! Who may come in: tokens, certificates, and the one call that needs neither.
//!
//! And under whose name an event is written.

use linckia_api::{ClientIdentity, DoorSettings};
use serde_json::json;

use super::append::event;
use super::server::Server;

fn guarded() -> DoorSettings {
    DoorSettings { token: Some(b"secret".to_vec()), require_auth: true, ..DoorSettings::default() }
}

#[tokio::test]
async fn a_token_opens_the_door() {
    let server = Server::with(guarded(), ClientIdentity::ANONYMOUS).await;
    let mut client = server.client().await;
    for path in ["/v1/events", "/readyz", "/metrics", "/nowhere", "/v1/audit", "/"] {
        let refused = client.get(path).await.expect(401);
        assert_eq!(refused.problem(), "unauthorized", "{path}");
        assert_eq!(refused.header("www-authenticate"), Some("Bearer realm=\"linckia\""));
    }
    client.get("/livez").await.expect(200);
    let wrong = [("authorization", "Bearer secret2")];
    client.send("GET", "/v1/vector", &wrong, b"").await.expect(401);
    let right = ("authorization", "Bearer secret");
    client.send("GET", "/v1/vector", &[right], b"").await.expect(200);
    let headers = [right, ("content-type", "application/json")];
    let body = event("a", json!({})).to_string();
    client.send("POST", "/v1/events", &headers, body.as_bytes()).await.expect(201);
    assert_eq!(server.region.log()[0].extras.actor.as_deref(), Some("token"));
    let refused = client.post("/v1/events", "x".repeat(1 << 20)).await.expect(401);
    assert_eq!(refused.problem(), "unauthorized");
    client.get("/livez").await.expect(200);
}

#[tokio::test]
async fn a_certificate_opens_it_too() {
    let server = Server::with(guarded(), ClientIdentity::of_certificate("CN=ann")).await;
    let mut client = server.client().await;
    let body = event("a", json!({})).to_string();
    client.post("/v1/events", body).await.expect(201);
    let page = client.get("/v1/events").await.expect(200).json();
    assert_eq!(page["items"][0]["metadata"]["actor"], "CN=ann");
}
