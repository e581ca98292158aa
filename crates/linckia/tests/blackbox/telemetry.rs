//! What processes say of themselves: metrics as they are documented, traces, log lines.
//!
//! Scenarios over `fleet`. What always holds: the collector is this test's own, and reads OTLP over
//! HTTP as any collector does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use crate::door::{Door, JSON, event};
use crate::fleet::{Fleet, PROGRAM, REGIONS};
use crate::processes::{Running, eventually};

const SECONDS: u64 = 30;

/// A span that came, and the region that sent it.
#[derive(Clone, Debug)]
struct Span {
    region: String,
    trace: String,
    id: String,
    parent: String,
    name: String,
    began: u64,
    ended: u64,
}

impl Span {
    fn of(region: &str, bytes: &[u8]) -> Self {
        let fields = Fields::of(bytes);
        Self {
            region: region.to_owned(),
            trace: hex(fields.first(1)),
            id: hex(fields.first(2)),
            parent: hex(fields.first(4)),
            name: text(fields.first(5)),
            began: u64::from_le_bytes(fields.first(7).try_into().unwrap()),
            ended: u64::from_le_bytes(fields.first(8).try_into().unwrap()),
        }
    }
}

/// A protobuf message's fields, by number.
struct Fields(Vec<(u64, Vec<u8>)>);

impl Fields {
    fn of(mut bytes: &[u8]) -> Self {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let length = match tag & 7 {
                0 => {
                    let value = varint(&mut bytes).to_le_bytes();
                    fields.push((tag >> 3, value.to_vec()));
                    continue;
                }
                1 => 8,
                2 => usize::try_from(varint(&mut bytes)).unwrap(),
                other => panic!("no span has wire type {other}"),
            };
            let (value, rest) = bytes.split_at(length);
            fields.push((tag >> 3, value.to_vec()));
            bytes = rest;
        }
        Self(fields)
    }

    fn all(&self, number: u64) -> impl Iterator<Item = &[u8]> {
        self.0.iter().filter(move |(known, _)| *known == number).map(|(_, value)| &value[..])
    }

    /// Empty if there is none, as protobuf has it.
    fn first(&self, number: u64) -> &[u8] {
        self.all(number).next().unwrap_or_default()
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for place in 0.. {
        let (first, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(first & 0x7f) << (7 * place);
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A collector of spans.
struct Collector {
    url: String,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let spans = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&spans);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, all) = (stream.unwrap(), Arc::clone(&all));
                thread::spawn(move || collect(stream, &all));
            }
        });
        Self { url, spans }
    }

    fn of_trace(&self, trace: &str) -> Vec<Span> {
        let all = self.spans.lock().unwrap();
        all.iter().filter(|span| span.trace == trace).cloned().collect()
    }
}

/// Takes what comes over one connection, until it is closed.
fn collect(stream: TcpStream, all: &Mutex<Vec<Span>>) {
    let mut answer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
            head.push(line.trim().to_ascii_lowercase());
            line.clear();
        }
        let Some(first) = head.first() else { return };
        assert_eq!(first, "post /v1/traces http/1.1");
        assert!(head.contains(&"content-type: application/x-protobuf".to_owned()), "{head:?}");
        let length = head.iter().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.unwrap().parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        for resource in Fields::of(&body).all(1).map(Fields::of) {
            let attributes = Fields::of(resource.first(1));
            let mut attributes = attributes.all(1).map(Fields::of);
            let region = attributes.find(|item| item.first(1) == b"linckia.region").unwrap();
            let region = text(Fields::of(region.first(2)).first(1));
            let spans = Fields::of(resource.first(2));
            let spans = spans.all(2).map(|bytes| Span::of(&region, bytes));
            all.lock().unwrap().extend(spans);
        }
        answer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    }
}

#[track_caller]
fn write_traced(door: &Door, id: &str, trace: &str, flags: &str) {
    let context = format!("00-{trace}-00f067aa0ba902b7-{flags}");
    let body = event(id, "traced", "patch", &json!({"n": 1})).to_string();
    let headers = [JSON, ("traceparent", context.as_str())];
    let answer = door.try_ask("POST", "/v1/events", &headers, body.as_bytes()).unwrap();
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.header("traceparent"), Some(context.as_str()));
}

#[test]
fn one_write_is_one_trace_through_all_regions() {
    let collector = Collector::start();
    let fleet = Fleet::start(&["--wan", "none", "--otlp", &collector.url]);
    let [trace, silent] = ["4bf92f3577b34da6a3ce929d0e0e4736", "4bf92f3577b34da6a3ce929d0e0e4737"];
    write_traced(&fleet.doors[0], "s", silent, "00");
    write_traced(&fleet.doors[0], "t", trace, "01");
    let spans = eventually(SECONDS, "all spans have come", || {
        let spans = collector.of_trace(trace);
        (spans.len() >= 7).then_some(spans)
    });
    let named = |name: &str| -> BTreeMap<String, Span> {
        let named = spans.iter().filter(|span| span.name == name);
        named.map(|span| (span.region.clone(), span.clone())).collect()
    };
    let [home, others @ ..] = REGIONS;
    let (requests, appends) = (named("linckia.request"), named("linckia.append"));
    let (ships, applies) = (named("linckia.ship"), named("linckia.apply"));
    assert_eq!(requests.keys().collect::<Vec<_>>(), [home]);
    assert_eq!(appends.keys().collect::<Vec<_>>(), [home]);
    let shipped: BTreeSet<&str> = ships.keys().map(String::as_str).collect();
    assert_eq!(shipped, others.into_iter().collect());
    assert_eq!(applies.len(), 3);
    let (request, append) = (&requests[home], &appends[home]);
    assert_eq!(request.parent, "00f067aa0ba902b7");
    assert_eq!(append.parent, request.id);
    for child in ships.values().chain(applies.values()) {
        assert_eq!(child.parent, append.id, "{child:?}");
    }
    for span in &spans {
        assert!(span.began > 0 && span.began <= span.ended, "{span:?}");
    }
    assert_eq!(collector.of_trace(silent).len(), 0, "its flags ask for no trace");
    eventually(SECONDS, "the spans that were sent are counted", || {
        let text = fleet.doors[0].get("/metrics").text();
        let line = text.lines().find(|line| line.starts_with("linckia_telemetry_spans_sent_total"));
        (line?.rsplit(' ').next()?.parse::<f64>().ok()? >= 3.0).then_some(())
    });
}

#[test]
fn every_metric_is_documented_and_there() {
    let fleet = Fleet::near();
    for door in &fleet.doors {
        door.write(&event(&format!("m-{}", door.name), "measured", "patch", &json!({"n": 1})));
    }
    fleet.converged();
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let page = fs::read_to_string(format!("{root}/docs/operate.md")).unwrap();
    let (_, section) = page.split_once("\n## Metrics\n").expect("there is such a section");
    let rows = section.split("\n## ").next().unwrap().lines();
    let rows = rows.filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let documented: BTreeSet<String> = rows.map(|(name, _)| name.to_owned()).collect();
    assert!(documented.len() > 20, "{documented:?}");
    eventually(SECONDS, "the metrics are those of docs/operate.md", || {
        let text = fleet.doors[0].get("/metrics").text();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let names = types.filter_map(|line| Some(line.split(' ').next()?.to_owned()));
        let there: BTreeSet<String> = names.collect();
        let differ: Vec<_> = there.symmetric_difference(&documented).collect();
        if !differ.is_empty() {
            eprintln!("in one of them only: {differ:?}");
        }
        differ.is_empty().then_some(())
    });
}

#[test]
fn log_lines_are_json_where_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("linckia.toml");
    let text = "region = \"solo\"\ndir = \"data\"\n[door]\nlisten = \"127.0.0.1:0\"\n\
                [telemetry]\nlines = \"json\"\n";
    fs::write(&config, text).unwrap();
    let mut command = Command::new(PROGRAM);
    command.arg("region").arg("--config").arg(&config).env_remove("RUST_LOG");
    let region = Running::start(&mut command);
    let number = region.number();
    eventually(SECONDS, "it can be asked to end", || {
        let status = fs::read_to_string(format!("/proc/{number}/status")).ok()?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        let caught = u64::from_str_radix(caught.trim(), 16).ok()?;
        (caught & (1 << (rustix::process::Signal::TERM.as_raw() - 1)) != 0).then_some(())
    });
    rustix::process::kill_process(crate::fleet::pid(number), rustix::process::Signal::TERM)
        .unwrap();
    let ran = region.end(SECONDS).done();
    let lines: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let recovered = lines.iter().find(|line| line["message"] == "recovered").expect("it says so");
    assert_eq!((&recovered["level"], &recovered["region"]), (&"INFO".into(), &"solo".into()));
    for line in &lines {
        for member in ["timestamp", "level", "target", "message"] {
            assert!(line[member].is_string(), "{member}: {line}");
        }
    }
}
