//! Sessions at the door: tokens in and out, and every way to be behind one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use linckia_api::{ClientIdentity, DoorSettings};
use linckia_model::{Closing, Incarnations, Origin, SessionKeys, Token, Vector};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::append::event;
use super::client::{Answer, Client};
use super::fake::ORIGIN;
use super::server::Server;

fn keys(secret: u8) -> SessionKeys {
    SessionKeys::of([secret; 32])
}

async fn start() -> (Server, watch::Sender<Arc<SessionKeys>>) {
    let (sender, receiver) = watch::channel(Arc::new(keys(1)));
    let settings = DoorSettings { session_keys: Some(receiver), ..DoorSettings::default() };
    (Server::with(settings, ClientIdentity::ANONYMOUS).await, sender)
}

/// What a token says, read with the same keys by other means than the door.
fn says(keys: &SessionKeys, token: &str) -> Vector {
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for letter in token.chars() {
        bits = bits << 6 | LETTERS.find(letter).unwrap() as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    keys.verify(&bytes, &Vector::new()).unwrap().seen
}

fn vector(sequence: u64) -> Vector {
    [(Origin::parse(ORIGIN).unwrap(), sequence)].into_iter().collect()
}

/// A token of a client that has seen what is not there yet.
fn ahead(sequence: u64) -> String {
    encode(&keys(1).sign(&Token { seen: vector(sequence), epoch: 0 }))
}

fn encode(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut bits, mut count, mut text) = (0u32, 0, String::new());
    for byte in bytes {
        bits = bits << 8 | u32::from(*byte);
        count += 8;
        while count >= 6 {
            count -= 6;
            text.push(char::from(LETTERS[(bits >> count & 63) as usize]));
        }
    }
    if count > 0 {
        text.push(char::from(LETTERS[(bits << (6 - count) & 63) as usize]));
    }
    text
}

async fn write(client: &mut Client, id: &str, token: &str) -> Answer {
    let headers = [("content-type", "application/json"), ("linckia-session", token)];
    let body = event(id, json!({})).to_string();
    client.send("POST", "/v1/events", &headers, body.as_bytes()).await
}

async fn read(client: &mut Client, target: &str, headers: &[(&str, &str)]) -> Answer {
    client.send("GET", target, headers, b"").await
}

#[tokio::test]
async fn a_token_holds_what_the_client_wrote_and_read() {
    let (server, _keys) = start().await;
    let mut client = server.client().await;
    let without = client.get("/v1/vector").await;
    assert_eq!(without.header("linckia-session"), None, "nobody asked for one");
    let first = write(&mut client, "1", "").await.expect(201);
    let first = first.header("linckia-session").expect("a first token").to_owned();
    assert_eq!(says(&keys(1), &first), vector(1));
    write(&mut client, "2", "").await.expect(201);
    // Reading the first aggregate shows its own events alone, the list shows everything.
    let one = read(&mut client, "/v1/aggregates/A/1", &[("linckia-session", "")]).await.expect(200);
    let list = read(&mut client, "/v1/aggregates/A", &[("linckia-session", "")]).await.expect(200);
    let token = |answer: &Answer| answer.header("linckia-session").unwrap().to_owned();
    assert_eq!(says(&keys(1), &token(&one)), vector(2));
    assert_eq!(says(&keys(1), &token(&list)), vector(2));
    // An absence shows nothing, a conflict of ids shows the event it names.
    let none = read(&mut client, "/v1/aggregates/A/none", &[("linckia-session", &first)]).await;
    assert_eq!(says(&keys(1), &token(&none.expect(404))), vector(1));
    let headers = [("content-type", "application/json"), ("linckia-session", "")];
    let other = event("2", json!({"other": 1})).to_string();
    let reused = client.send("POST", "/v1/events", &headers, other.as_bytes()).await.expect(409);
    assert_eq!(says(&keys(1), &token(&reused)), vector(2));
    // An answer that streams cannot say in its head what it will have written.
    let lines = [("content-type", "application/x-ndjson"), ("linckia-session", &first)];
    let body = event("3", json!({})).to_string();
    let streamed = client.send("POST", "/v1/events", &lines, body.as_bytes()).await.expect(200);
    assert_eq!(streamed.header("linckia-session"), None);
    let whole = read(&mut client, "/v1/vector", &[("linckia-session", &first)]).await.expect(200);
    assert_eq!(says(&keys(1), &token(&whole)), vector(3), "so the vector is asked for");
    // What every region has need not be said.
    *server.region.everywhere.lock().unwrap() = vector(3);
    let pruned = read(&mut client, "/v1/aggregates/A", &[("linckia-session", &token(&list))]).await;
    assert_eq!(says(&keys(1), &token(&pruned.expect(200))), Vector::new());
}

/// A client with that token that waits at the door by now.
async fn waits(server: &Server, token: String) -> JoinHandle<Answer> {
    let mut client = server.client().await;
    let waiting = tokio::spawn(async move {
        let headers = [("linckia-session", token.as_str()), ("linckia-behind", "wait=10s")];
        read(&mut client, "/v1/aggregates/A/1", &headers).await
    });
    tokio::time::sleep(Duration::from_millis(30)).await;
    waiting
}

#[tokio::test]
async fn behind_it_waits_fails_or_says_so() {
    let (server, _keys) = start().await;
    let mut client = server.client().await;
    write(&mut client, "1", "").await.expect(201);
    let token = ahead(2);
    let ask = |behind| [("linckia-session", token.as_str()), ("linckia-behind", behind)];
    let target = "/v1/aggregates/A/1";

    let begun = Instant::now();
    let late = read(&mut client, target, &ask("wait=80ms")).await.expect(503);
    assert!(begun.elapsed() >= Duration::from_millis(80));
    assert_eq!((late.problem(), late.header("retry-after")), ("behind".to_owned(), Some("1")));
    let told = late.json();
    assert_eq!(told["missing"], json!({ORIGIN: [2, 2]}));
    assert_eq!(told["reachable"], json!({ORIGIN: true}));
    assert_eq!(server.region.wanted.lock().unwrap().len(), 1, "what lacks was asked for");

    let begun = Instant::now();
    read(&mut client, target, &ask("fail")).await.expect(503);
    assert!(begun.elapsed() < Duration::from_millis(80));

    let stale = read(&mut client, target, &ask("stale")).await.expect(200);
    assert_eq!(stale.header("linckia-stale"), Some("us-east-1=1 events/30ms"));
    let kept = stale.header("linckia-session").unwrap();
    assert_eq!(says(&keys(1), kept), vector(2), "a stale answer takes nothing from the token");
    let headers = [ask("stale")[0], ask("stale")[1], ("content-type", "application/json")];
    let body = event("x", json!({})).to_string();
    let wrote = client.send("POST", "/v1/events", &headers, body.as_bytes()).await.expect(400);
    assert_eq!(wrote.problem(), "invalid-parameter");

    // A write of another client brings the region there.
    let waiting = waits(&server, token.clone()).await;
    write(&mut client, "2", "").await.expect(201);
    let answer = waiting.await.unwrap().expect(200);
    assert_eq!(answer.header("linckia-stale"), None);
}

#[tokio::test]
async fn what_is_lost_is_said_at_once_with_a_token_for_what_remains() {
    let (server, _keys) = start().await;
    let mut client = server.client().await;
    write(&mut client, "1", "").await.expect(201);
    let token = ahead(3);
    let headers = |behind| [("linckia-session", token.as_str()), ("linckia-behind", behind)];
    let target = "/v1/aggregates/A/1";
    read(&mut client, target, &headers("fail")).await.expect(503);
    let waiting = waits(&server, token.clone()).await;
    let origin = Origin::parse(ORIGIN).unwrap();
    let closing = Closing { end: Some(1), ..Closing::default() };
    let closings = [(origin, closing)].into();
    server
        .region
        .incarnations
        .send_replace(Arc::new(Incarnations { closings, ..Incarnations::default() }));
    let waited = waiting.await.unwrap().expect(410);
    assert_eq!(waited.problem(), "lost-writes", "who waits already hears it too");
    for behind in ["fail", "wait=10s", "forward", "stale"] {
        let lost = read(&mut client, target, &headers(behind)).await.expect(410);
        assert_eq!(lost.problem(), "lost-writes");
        assert_eq!(lost.json()["lost"], json!({ORIGIN: [2, 3]}));
        let remains = lost.header("linckia-session").unwrap().to_owned();
        assert_eq!(says(&keys(1), &remains), vector(1));
        let again = [("linckia-session", remains.as_str()), ("linckia-behind", "fail")];
        read(&mut client, target, &again).await.expect(200);
    }
    let acks = client.get(&format!("/v1/acks/{ORIGIN}:2")).await.expect(410);
    assert_eq!(acks.problem(), "lost-writes");
    let wanted = json!({"vector": {ORIGIN: 2}}).to_string();
    client.post("/v1/vector/wait", &wanted).await.expect(410);
    client.get(&format!("/v1/acks/{ORIGIN}:1")).await.expect(200);
}

#[tokio::test]
async fn a_request_goes_whole_to_a_region_that_is_not_behind() {
    let (server, _keys) = start().await;
    let mut client = server.client().await;
    let token = ahead(2);
    let headers = [
        ("linckia-session", token.as_str()),
        ("linckia-behind", "forward"),
        ("content-type", "application/json"),
    ];
    let answer = client.send("POST", "/v1/events?atomic=true", &headers, b"{\"a\":1}").await;
    let answer = answer.expect(202);
    assert_eq!(answer.text(), "POST /v1/events?atomic=true wait=1s {\"a\":1}");
    assert_eq!(answer.header("linckia-session"), Some("theirs"));
    assert!(server.region.log().is_empty(), "nothing is written here");
    for stream in [("accept", "text/event-stream"), ("content-type", "application/x-ndjson")] {
        let headers = [headers[0], headers[1], stream];
        read(&mut client, "/v1/events", &headers).await.expect(400);
    }
}

#[tokio::test]
async fn tokens_that_are_not_ours_are_refused() {
    let (server, sender) = start().await;
    let mut client = server.client().await;
    let stranger = encode(&keys(9).sign(&Token { seen: vector(1), epoch: 0 }));
    for token in ["x", "%%%", &ahead(1)[1..], &stranger] {
        let answer = read(&mut client, "/v1/vector", &[("linckia-session", token)]).await;
        assert_eq!(answer.expect(400).problem(), "invalid-parameter", "{token}");
    }
    for behind in ["", "soon", "wait=61s"] {
        let headers = [("linckia-session", ""), ("linckia-behind", behind)];
        read(&mut client, "/v1/vector", &headers).await.expect(400);
    }
    // Keys rotate while the door is open, and clients keep what they hold.
    let first = write(&mut client, "1", "").await.expect(201);
    let first = first.header("linckia-session").unwrap().to_owned();
    let mut rotated = keys(1);
    rotated.add([2; 32]).unwrap();
    rotated.promote();
    sender.send(Arc::new(rotated)).unwrap();
    let answer = write(&mut client, "2", &first).await.expect(201);
    let second = answer.header("linckia-session").unwrap().to_owned();
    let mut retired = keys(1);
    retired.add([2; 32]).unwrap();
    retired.promote();
    retired.retire();
    assert_eq!(says(&retired, &second), vector(2));
    sender.send(Arc::new(retired)).unwrap();
    read(&mut client, "/v1/vector", &[("linckia-session", &second)]).await.expect(200);
    read(&mut client, "/v1/vector", &[("linckia-session", &first)]).await.expect(400);
}

#[tokio::test]
async fn without_keys_there_are_no_sessions() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let answer = read(&mut client, "/v1/vector", &[("linckia-session", "")]).await;
    assert_eq!(answer.expect(501).problem(), "unsupported");
    read(&mut client, "/livez", &[("linckia-session", "x")]).await.expect(200);
}
