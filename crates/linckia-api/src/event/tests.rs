//! Events coming in, as values: what is accepted becomes what, what is refused is refused where.
//!
//! One `check` per form; a case is a text and what it must come to.

use std::sync::Arc;

use http::HeaderMap;
use linckia_model::{NewEvent, Operation};
use serde_json::{Value, json};

use super::array::{is_array, read_each, read_native};
use super::{Context, cloud, native};
use crate::problem::{Kind, Outcome};
use crate::settings::Limits;

fn with<T>(
    aggregate: Option<(&str, &str)>,
    read: impl FnOnce(&Context<'_>, &mut super::IdSource<'_>) -> T,
) -> T {
    let limits = Limits { array_events: 3, depth: 4, name_bytes: 12, ..Limits::default() };
    let context = Context {
        limits: &limits,
        data_set: &Arc::from("default"),
        aggregate,
        actor: Some("ann"),
        traceparent: None,
    };
    read(&context, &mut || Arc::from("new"))
}

fn read(text: &str) -> Outcome<NewEvent> {
    with(None, |context, new_id| native::read(text.as_bytes(), context, new_id))
}

/// An event with these members beside the required ones.
fn event_with(members: &str) -> String {
    format!(r#"{{"eventType":"T","aggregateType":"A","aggregateId":"1"{members}}}"#)
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Outcome<T>, pointer: Option<&str>, says: &str) {
    let problem = outcome.expect_err("refused");
    assert_eq!((problem.kind, problem.pointer.as_deref()), (Kind::InvalidEvent, pointer));
    assert!(problem.detail.contains(says), "{}", problem.detail);
}

#[test]
fn an_event_is_completed() {
    let event = read(&event_with("")).unwrap();
    assert_eq!(
        (&*event.key.data_set, &*event.key.aggregate_type, &*event.key.aggregate_id),
        ("default", "A", "1")
    );
    assert_eq!((&*event.event_type, &*event.event_id), ("T", "new"));
    assert_eq!((event.operation, event.data), (Operation::Patch, json!({})));
    assert_eq!(event.extras.actor.as_deref(), Some("ann"));
}

#[test]
fn what_the_client_says_is_kept_and_what_the_server_owns_is_not() {
    let event = read(&event_with(
        r#","eventId":"e\u002d1","operation":"put","eventData":{"a":[1]},
        "metadata":{"correlationId":"c","causationId":null,"source":"/s","timestamp":7,
        "region":"x","version":[],"origin":{},"sequence":"s","hlc":1,"actor":"eve"}"#,
    ))
    .unwrap();
    assert_eq!((&*event.event_id, event.operation), ("e-1", Operation::Put));
    assert_eq!(event.data, json!({"a": [1]}));
    let extras = event.extras;
    assert_eq!((extras.correlation_id.as_deref(), extras.causation_id), (Some("c"), None));
    assert_eq!((extras.source.as_deref(), extras.actor.as_deref()), (Some("/s"), Some("ann")));
}

#[test]
fn every_operation_has_its_name() {
    for operation in Operation::ALL {
        let text = event_with(&format!(r#","operation":"{}""#, operation.name()));
        assert_eq!(read(&text).unwrap().operation, operation);
    }
}

#[test]
fn bad_events_are_refused_in_place() {
    let check = |text: &str, pointer: &str, says: &str| refused(read(text), Some(pointer), says);
    check("", "", "not JSON");
    check("{", "", "not JSON");
    check("7", "", "an object is expected, not a number");
    check(r#"["e","T","1","A"]"#, "", "an object is expected, not an array");
    check("{}", "/eventType", "required");
    check(r#"{"eventType":"T"}"#, "/aggregateType", "required");
    check(r#"{"eventType":"T","aggregateType":"A"}"#, "/aggregateId", "required");
    check(r#"{"eventType":"","aggregateType":"A","aggregateId":"1"}"#, "/eventType", "empty");
    let beside = |members: &str, pointer: &str, says: &str| {
        refused(read(&event_with(members)), Some(pointer), says);
    };
    beside(r#","color":1"#, "/color", "no member");
    beside(r#","a/b~c":1"#, "/a~1b~0c", "no member");
    beside(r#","eventType":"U""#, "", "duplicate");
    beside(r#","eventId":7"#, "/eventId", "a string is expected, not a number");
    beside(r#","eventId":null"#, "/eventId", "not null");
    beside(r#","eventId":"""#, "/eventId", "printable");
    beside(r#","eventId":"a\u0001""#, "/eventId", "printable");
    beside(&format!(r#","eventId":"{}""#, "x".repeat(129)), "/eventId", "128");
    beside(r#","operation":"merge""#, "/operation", "no operation");
    beside(r#","eventData":[]"#, "/eventData", "not an array");
    beside(r#","eventData":null"#, "/eventData", "not null");
    beside(r#","eventData":"x""#, "/eventData", "not a string");
    beside(r#","eventData":{"a":{"b":{"c":{"d":{}}}}}"#, "/eventData", "deeper");
    beside(r#","eventData":{"a":[[[[1]]]]}"#, "/eventData", "deeper than 4");
    beside(r#","eventData":{"a":1e999}"#, "", "number out of range");
    beside(r#","metadata":[]"#, "/metadata", "an object is expected");
    beside(r#","metadata":{"color":1}"#, "/metadata/color", "no member");
    beside(r#","metadata":{"causationId":1}"#, "/metadata/causationId", "a string");
    beside(r#","metadata":{"correlationId":"\n"}"#, "/metadata/correlationId", "control");
}

#[test]
fn names_are_bounded() {
    let name = |value: &str| {
        read(&format!(r#"{{"eventType":"T","aggregateType":"A","aggregateId":"{value}"}}"#))
    };
    assert!(name("123456789012").is_ok());
    assert!(name("üüüüüü").is_ok());
    refused(name("1234567890123"), Some("/aggregateId"), "13 bytes");
    refused(name("üüüüüü1"), Some("/aggregateId"), "13 bytes");
    refused(name(r"a\u0000"), Some("/aggregateId"), "control");
    refused(name(r"ü\u0085"), Some("/aggregateId"), "control");
}

#[test]
fn deep_json_is_refused_before_it_is_walked() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    refused(read(&event_with(&format!(r#","eventData":{{"a":{deep}}}"#))), Some(""), "deeper");
}

#[test]
fn increments_add_integers() {
    let check = |data: &str, expected: Option<&str>| {
        let text = event_with(&format!(r#","operation":"increment","eventData":{data}"#));
        match expected {
            None => drop(read(&text).unwrap()),
            Some(below) => refused(read(&text), Some(&format!("/eventData{below}")), "64-bit"),
        }
    };
    check("{}", None);
    check(r#"{"a":1,"b":{"c":-9223372036854775808,"d":{}}}"#, None);
    check(r#"{"a":9223372036854775808}"#, Some("/a"));
    check(r#"{"a":1.0}"#, Some("/a"));
    check(r#"{"a":1e3}"#, Some("/a"));
    check(r#"{"a":{"b/c":"1"}}"#, Some("/a/b~1c"));
    check(r#"{"a":null}"#, Some("/a"));
    check(r#"{"a":[1]}"#, Some("/a"));
}

#[test]
fn a_path_names_the_aggregate() {
    let read = |text: &str| {
        with(Some(("A", "1")), |context, new_id| native::read(text.as_bytes(), context, new_id))
    };
    let event = read(r#"{"eventType":"T"}"#).unwrap();
    assert_eq!((&*event.key.aggregate_type, &*event.key.aggregate_id), ("A", "1"));
    assert!(read(&event_with("")).is_ok());
    refused(read(r#"{"eventType":"T","aggregateId":"2"}"#), Some("/aggregateId"), "differs");
    refused(read("{}"), Some("/eventType"), "required");
}

#[test]
fn arrays_are_right_as_a_whole() {
    let read =
        |text: &str| with(None, |context, new_id| read_native(text.as_bytes(), context, new_id));
    let good = event_with("");
    assert!(is_array(b" \n[") && !is_array(b"{") && !is_array(b""));
    assert_eq!(read("[]").unwrap().len(), 0);
    assert_eq!(read(&format!("[{good},{good}]")).unwrap().len(), 2);
    refused(read(&format!("[{good},{{}}]")), Some("/1/eventType"), "required");
    refused(read(&format!("[{good},[\"e\",\"T\",\"1\",\"A\"]]")), Some("/1"), "an object");
    refused(read(&format!("[{good},7]")), Some("/1"), "an object is expected");
    let unknown = event_with(r#","x":1"#);
    refused(read(&format!("[{good},{unknown}]")), Some("/1/x"), "no member");
    refused(read(&format!("[{good},")), Some(""), "not JSON");
    refused(read(&format!("[{good}] x")), Some(""), "not JSON");
    let problem = read(&format!("[{good},{good},{good},{good}]")).unwrap_err();
    assert_eq!((problem.kind, problem.members.len()), (Kind::PayloadTooLarge, 1));
}

const CLOUD: &str = r#""specversion":"1.0","id":"i","source":"/s","type":"T","subject":"1",
    "aggregatetype":"A""#;

fn read_cloud(text: &str) -> Outcome<NewEvent> {
    with(None, |context, new_id| cloud::read(text.as_bytes(), context, new_id))
}

#[test]
fn cloud_events_are_events() {
    let event = read_cloud(&format!(
        r#"{{{CLOUD},"time":"2025-01-01T00:00:00Z","operation":"put","data":{{"a":1}},
        "datacontenttype":"application/json; charset=utf-8","correlationid":"c","sequence":"7",
        "traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}}"#
    ))
    .unwrap();
    assert_eq!((&*event.event_id, &*event.event_type), ("i", "T"));
    assert_eq!((&*event.key.aggregate_type, &*event.key.aggregate_id), ("A", "1"));
    assert_eq!((event.operation, event.data), (Operation::Put, json!({"a": 1})));
    assert_eq!(event.extras.source.as_deref(), Some("/s"));
    assert_eq!(event.extras.correlation_id.as_deref(), Some("c"));
    assert!(event.extras.traceparent.is_some());
}

#[test]
fn bad_cloud_events_are_refused_in_place() {
    let check = |text: &str, pointer: &str, says: &str| {
        refused(read_cloud(text), Some(pointer), says);
    };
    check("{}", "/specversion", "1.0");
    check(r#"{"specversion":"0.3"}"#, "/specversion", "1.0");
    check(r#"{"specversion":"1.0"}"#, "/id", "has one");
    check(r#"{"specversion":"1.0","id":"1"}"#, "/source", "has one");
    let core = r#""specversion":"1.0","id":"i","source":"/s","type":"T""#;
    check(&format!("{{{core}}}"), "/aggregatetype", "required");
    check(&format!(r#"{{{core},"aggregatetype":"A"}}"#), "/subject", "required");
    check(&format!(r#"{{{CLOUD},"data":[1]}}"#), "/data", "not an array");
    check(&format!(r#"{{{CLOUD},"color":"red"}}"#), "/color", "no member");
    check(&format!(r#"{{{CLOUD},"data_base64":"AA=="}}"#), "/data_base64", "no member");
    let problem = read_cloud(&format!(r#"{{{CLOUD},"datacontenttype":"text/xml"}}"#)).unwrap_err();
    assert_eq!(problem.kind, Kind::UnsupportedMediaType);
}

#[test]
fn cloud_events_come_in_batches() {
    let read = |text: &str| {
        with(None, |context, new_id| read_each(text.as_bytes(), context, new_id, cloud::read))
    };
    assert_eq!(read(&format!("[{{{CLOUD}}},{{{CLOUD}}}]")).unwrap().len(), 2);
    refused(read(&format!("[{{{CLOUD}}},{{}}]")), Some("/1/specversion"), "1.0");
    refused(read("{}"), Some(""), "an array");
}

#[test]
fn cloud_events_come_in_headers() {
    let core = [
        ("ce-specversion", "1.0"),
        ("ce-id", "i"),
        ("ce-source", "/s"),
        ("ce-type", "T"),
        ("ce-subject", "%C3%BC"),
        ("ce-aggregatetype", "A"),
        ("ce-time", "2025-01-01T00:00:00Z"),
    ];
    let read = |without: &str, more: &[(&'static str, &'static str)], body: &str| {
        let mut headers = HeaderMap::new();
        for (name, value) in core.iter().filter(|(name, _)| *name != without).chain(more) {
            headers.append(*name, value.parse().unwrap());
        }
        with(None, |context, new_id| cloud::read_binary(&headers, body.as_bytes(), context, new_id))
    };
    let event = read("", &[], r#"{"a":1}"#).unwrap();
    assert_eq!((&*event.key.aggregate_id, event.data), ("ü", json!({"a": 1})));
    assert_eq!(read("", &[], "").unwrap().data, Value::Object(Default::default()));
    refused(read("ce-id", &[], ""), None, "ce-id");
    refused(read("ce-subject", &[], ""), None, "ce-subject");
    refused(read("", &[("ce-color", "red")], ""), None, "ce-color");
    refused(read("", &[("ce-id", "j")], ""), None, "twice");
    refused(read("", &[], "[]"), Some(""), "not an array");
    refused(read("", &[("ce-operation", "increment")], r#"{"a":"x"}"#), Some("/a"), "64-bit");
}
