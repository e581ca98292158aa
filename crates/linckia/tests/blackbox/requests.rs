//! Malformed and oversized requests: each is answered as `api.md` says, and the region goes on.
//!
//! A table over `http`. What always holds: a refused request writes nothing; after it the
//! connection answers the next one or is closed cleanly, and the region is healthy.

use std::io::Read;
use std::net::Shutdown;
use std::process::Command;

use serde_json::{Value, json};

use crate::door::{Door, JSON, event};
use crate::fleet::Fleet;
use crate::http::{Wire, request};
use crate::processes::run;

const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");
const EVENTS: &str = "/v1/events";
const THING: &str = "/v1/aggregates/Thing/none";

/// One connection for the whole table, opened again where it was closed.
struct Table<'a> {
    door: &'a Door,
    wire: Option<Wire>,
}

impl Table<'_> {
    /// Sends it and compares; then the same connection must be usable, or closed.
    #[track_caller]
    fn check(
        &mut self,
        (method, target): (&str, &str),
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
        expected: (u16, &str),
    ) {
        let body = body.as_ref();
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        let what = format!("{method} {target} {headers:?} {shown}");
        let door = self.door;
        let wire = self.wire.get_or_insert_with(|| Wire::connect(door.address).unwrap());
        let answer = wire
            .ask(method, target, headers, body)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let problem = answer.problem();
        assert_eq!((answer.status, problem.as_str()), expected, "{what}: {}", answer.text());
        let kind = answer.header("content-type").unwrap_or_default();
        assert_eq!(kind, "application/problem+json", "{what}");
        let said = answer.json();
        assert_eq!(said["status"], answer.status, "{what}: {said}");
        assert!(said["detail"].as_str().is_some_and(|text| text.len() > 10), "{what}: {said}");
        if answer.header("connection") == Some("close") {
            assert!(wire.is_closed(), "{what}: it said that it closes");
            self.wire = None;
            return;
        }
        let next = wire.ask("GET", "/livez", &[], b"");
        let next = next.unwrap_or_else(|error| panic!("{what}: the next request: {error}"));
        assert_eq!(next.status, 200, "{what}: {}", next.text());
    }

    /// A body for `POST /v1/events`.
    #[track_caller]
    fn post(&mut self, body: impl AsRef<[u8]>, expected: (u16, &str)) {
        self.check(("POST", EVENTS), &[JSON], body, expected);
    }

    /// A good event but for one member.
    #[track_caller]
    fn with(&mut self, member: &str, value: Value) {
        let mut body = event("bad", "none", "patch", &json!({}));
        body[member] = value;
        self.post(body.to_string(), (400, "invalid-event"));
    }

    #[track_caller]
    fn get(&mut self, target: &str, expected: (u16, &str)) {
        self.check(("GET", target), &[], "", expected);
    }
}

#[test]
fn what_is_wrong_with_a_request_is_said_and_harms_nobody() {
    let fleet = Fleet::near();
    let door = &fleet.doors[0];
    let mut table = Table { door, wire: None };
    bodies(&mut table);
    members(&mut table);
    sizes(&mut table);
    addresses(&mut table);
    headers(&mut table);
    preconditions(&mut table);
    lines(door);
    not_even_http(door);
    by_curl(door);
    for door in &fleet.doors {
        assert!(door.is_ready(), "{}", door.name);
    }
    fleet.converged();
    assert_eq!(door.thing("none"), None, "nothing that was refused is there");
    let ids: Vec<_> = door.events().into_iter().map(|event| event.id).collect();
    assert_eq!(ids, ["line-1", "line-5", "by-curl"]);
    for region in fleet.doors.iter().map(|door| &door.name) {
        assert_eq!(fleet.state()["regions"][0]["restarts"], 0);
        let log = fleet.region_log(region);
        assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
    }
}

fn bodies(table: &mut Table<'_>) {
    let bad = (400, "invalid-event");
    for body in ["{", "}", "3", "null", "true", "\"text\"", "{}", "[{}]", "[1]", "{} {}", "NaN"] {
        table.post(body, bad);
    }
    table.post([b'{', b'"', 0xff, 0xfe, b'"'], bad);
    table.post("", bad);
    table.post(b"\0\0\0\0", bad);
    let good = event("good", "none", "patch", &json!({}));
    table.post(format!("[{good},{{\"eventType\":1}}]"), bad);
    table.check(("POST", "/v1/events?atomic=true"), &[JSON], format!("[{good},{{}}]"), bad);
    table.check(("PUT", THING), &[JSON], "[1]", bad);
    table.check(("PUT", THING), &[JSON], "{", bad);
    table.check(("PATCH", THING), &[JSON], "7", bad);
    let own = ("POST", "/v1/aggregates/Thing/none/events");
    table.check(own, &[JSON], "{\"eventType\":\"A\",\"aggregateId\":\"other\"}", bad);
    table.check(own, &[JSON], "[]", bad);
}

fn members(table: &mut Table<'_>) {
    table.with("surprise", json!(1));
    for name in ["eventType", "aggregateType", "aggregateId"] {
        for value in [json!(7), json!(null), json!(""), json!([]), json!("x".repeat(257))] {
            table.with(name, value);
        }
    }
    for value in [json!([]), json!(1), json!("text")] {
        table.with("eventData", value);
    }
    for value in [json!("explode"), json!(""), json!(1), json!("Patch"), json!("add")] {
        table.with("operation", value);
    }
    for value in [json!(""), json!("x".repeat(129)), json!(1), json!("a\u{7}b"), json!("a\nb")] {
        table.with("eventId", value);
    }
    table.with("metadata", json!(1));
    for value in [json!(1.5), json!("1"), json!(true), json!([1]), json!(null)] {
        let body = event("bad", "none", "increment", &json!({"n": value}));
        table.post(body.to_string(), (400, "invalid-event"));
    }
}

fn sizes(table: &mut Table<'_>) {
    let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    let deep = |depth: usize| {
        let text = event("deep", "none", "put", &json!({})).to_string();
        text.replace("\"eventData\":{}", &format!("\"eventData\":{}", nested(depth)))
    };
    for depth in [66, 121, 129, 5_000, 200_000] {
        table.post(deep(depth), (400, "invalid-event"));
    }
    table.post("[".repeat(100_000), (400, "invalid-event"));
    let large = event("large", "none", "put", &json!({"text": "x".repeat(8 << 20)})).to_string();
    table.post(&large, (413, "payload-too-large"));
    let one = event("many", "none", "patch", &json!({})).to_string();
    let many = format!("[{}]", vec![one.as_str(); 10_001].join(","));
    table.post(many, (413, "payload-too-large"));
    table.check(("PUT", THING), &[JSON], " ".repeat((8 << 20) + 1), (413, "payload-too-large"));
}

fn addresses(table: &mut Table<'_>) {
    for path in ["/v1", "/v2/events", "/v1/eventz", "/v1/events/x", "/favicon.ico", "/../etc"] {
        table.get(path, (404, "not-found"));
    }
    table.get(THING, (404, "not-found"));
    table.get("/v1/conflicts/none", (404, "not-found"));
    table.get("/problems/none", (404, "not-found"));
    table.check(("DELETE", THING), &[], "", (404, "not-found"));
    for (method, path) in [("DELETE", EVENTS), ("PUT", "/v1/regions"), ("POST", "/livez")] {
        table.check((method, path), &[], "", (405, "method-not-allowed"));
    }
    for query in [
        "surprise=1",
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=-1",
        "after=nonsense",
        "after=us-east-1.0:1",
        "limit=1&limit=2",
        "limit=%zz",
    ] {
        table.get(&format!("/v1/events?{query}"), (400, "invalid-parameter"));
    }
    table.get("/v1/conflicts?status=lost", (400, "invalid-parameter"));
    table.get("/v1/conflicts?cursor=nonsense", (400, "invalid-parameter"));
    table.get("/v1/aggregates/Thing?cursor=nonsense", (400, "invalid-parameter"));
    table.get("/v1/regions?verbose=1", (400, "invalid-parameter"));
    for path in [
        "/v1/subscriptions",
        "/v1/health-checks",
        "/v1/audit",
        "/v1/events?pattern=%7B%7D",
        "/v1/aggregates/Thing?at=2013-01-01T00:00:00Z",
    ] {
        table.get(path, (501, "unsupported"));
    }
    table.get("/v1/aggregates/Thing/none?at=2013-01-01T00:00:00Z", (404, "not-found"));
    table.get("/v1/aggregates/Thing/none?at=yesterday", (400, "invalid-parameter"));
    let acquire = ("POST", "/v1/locks/a/acquire");
    table.check(acquire, &[JSON], "{}", (400, "invalid-parameter"));
    let put = ("PUT", "/v1/policies/Thing");
    table.check(put, &[JSON], "{}", (400, "invalid-parameter"));
    table.check(("POST", "/v1/undo"), &[JSON], "{}", (400, "invalid-parameter"));
}

fn headers(table: &mut Table<'_>) {
    let good = event("headers", "none", "patch", &json!({})).to_string();
    let post = ("POST", EVENTS);
    table.get("/v1/acks/x:1", (400, "invalid-parameter"));
    table.get("/v1/acks/nowhere.0123456789abcdef:7", (404, "not-found"));
    for value in ["", "a,,b", "local;timeout=2", "Whatever!", "mars-east-1"] {
        let expected = (400, "invalid-parameter");
        table.check(post, &[JSON, ("linckia-ack", value)], &good, expected);
    }
    for media in ["text/plain", "application/xml", "nonsense", ""] {
        let expected = (415, "unsupported-media-type");
        table.check(post, &[("content-type", media)], &good, expected);
    }
    let array = format!("[{good}]");
    let key = ("idempotency-key", "key");
    table.check(post, &[JSON, key], &array, (400, "invalid-parameter"));
    table.check(post, &[NDJSON, key], &good, (400, "invalid-parameter"));
    let atomic = ("POST", "/v1/events?atomic=true");
    table.check(atomic, &[NDJSON], &good, (400, "invalid-parameter"));
    let maybe = ("POST", "/v1/events?atomic=maybe");
    table.check(maybe, &[JSON], &good, (400, "invalid-parameter"));
    table.check(post, &[JSON, ("if-match", "\"x\"")], &good, (400, "invalid-parameter"));
}

fn preconditions(table: &mut Table<'_>) {
    let put = ("PUT", THING);
    table.check(put, &[JSON, ("if-match", "\"x\"")], "{}", (412, "version-conflict"));
    table.check(put, &[JSON, ("if-match", "*")], "{}", (412, "version-conflict"));
    for value in ["unquoted", "\"a\", \"b\"", ""] {
        table.check(put, &[JSON, ("if-match", value)], "{}", (400, "invalid-parameter"));
    }
    let both = [JSON, ("if-match", "*"), ("if-none-match", "*")];
    table.check(put, &both, "{}", (400, "invalid-parameter"));
    let wait = ("POST", "/v1/vector/wait");
    let body = json!({"vector": {"us-east-1.00000000000000aa": 5}, "timeout": "50ms"});
    table.check(wait, &[JSON], body.to_string(), (503, "behind"));
}

/// NDJSON: every line has its own answer, blank and overlong ones too.
fn lines(door: &Door) {
    let good = |id: &str| event(id, "lines", "increment", &json!({"n": 1})).to_string();
    let long = event("long", "lines", "put", &json!({"t": "x".repeat(1 << 20)})).to_string();
    let body = format!("{}\n{{\n\n{long}\r\n{}", good("line-1"), good("line-5"));
    let answer = door.try_ask("POST", EVENTS, &[NDJSON], body.as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.text();
    let said: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said: Vec<_> = said.iter().map(|one| (&one["line"], &one["status"])).collect();
    let expected = [(1, 201), (2, 400), (4, 413), (5, 201)].map(|(n, s)| (json!(n), json!(s)));
    assert_eq!(said, expected.iter().map(|(n, s)| (n, s)).collect::<Vec<_>>(), "{text}");
}

/// What is no request at all: answered 400 or above, or closed; never a hang, never a success.
fn not_even_http(door: &Door) {
    let endless = format!("GET / HTTP/1.1\r\nhost: x\r\nlong: {}\r\n\r\n", "x".repeat(2 << 20));
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(5_000));
    let head = "POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let cases: [Vec<u8>; 9] = [
        b"nonsense\r\n\r\n".to_vec(),
        vec![0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3],
        vec![0xff; 4_096],
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        endless.into_bytes(),
        many.into_bytes(),
        format!("{head}content-length: minus\r\n\r\n{{}}").into_bytes(),
        format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n{{}}\r\n").into_bytes(),
        format!("{head}content-length: 500\r\n\r\n{{\"eventId\":").into_bytes(),
    ];
    for bytes in cases {
        let mut wire = Wire::connect(door.address).unwrap();
        // It may be refused before all of it is sent.
        let _ = wire.send(&bytes);
        let mut socket = wire.socket();
        let _ = socket.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        // A reset is an end as well.
        let end = socket.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer).into_owned();
        let kind = end.err().map(|error| error.kind());
        assert_ne!(kind, Some(std::io::ErrorKind::WouldBlock), "{bytes:?} hangs");
        let good = text.starts_with("HTTP/1.1 2") || text.starts_with("HTTP/1.1 5");
        assert!(!good, "{:?}: {text}", String::from_utf8_lossy(&bytes[..bytes.len().min(60)]));
    }
    // Two requests in one packet are two requests.
    let mut wire = Wire::connect(door.address).unwrap();
    let two = [request("GET", "/livez", &[], b""), request("GET", "/v1/none", &[], b"")].concat();
    wire.send(&two).unwrap();
    assert_eq!([wire.answer().unwrap().status, wire.answer().unwrap().status], [200, 404]);
}

/// The client that everyone has.
fn by_curl(door: &Door) {
    let url = format!("http://{}/v1/events", door.address);
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("curl is not installed: HTTP/2 and curl's own ways are not looked at");
        door.write(&event("by-curl", "curl", "patch", &json!({"v": 1})));
        return;
    }
    let body = event("by-curl", "curl", "patch", &json!({"v": 1})).to_string();
    let post = ["-sS", "--fail", "-H", "content-type: application/json", "-d", &body, &url];
    let written = run(Command::new("curl").args(post), 20).done().json();
    assert_eq!(written["eventId"], "by-curl");
    let read = ["-sS", "--fail", "--http2-prior-knowledge", "-w", "\n%{http_version}", &url];
    let read = run(Command::new("curl").args(read), 20).done().stdout;
    assert!(read.contains("\"by-curl\"") && read.ends_with("\n2"), "{read}");
    let wrong = ["-sS", "-o", "/dev/null", "-w", "%{http_code}", "-d", &body, &url];
    assert_eq!(run(Command::new("curl").args(wrong), 20).done().stdout, "415");
}
