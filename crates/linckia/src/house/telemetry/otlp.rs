//! Spans as OTLP/HTTP has them in JSON.
//!
//! Pure. As the specification's JSON encoding says: ids are hexadecimal, 64-bit integers are text,
//! names are in camel case.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// What a span is for whoever called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Internal = 1,
    Server = 2,
    Consumer = 5,
}

/// One span; times in nanoseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Span {
    pub(super) trace: [u8; 16],
    pub(super) id: [u8; 8],
    pub(super) parent: Option<[u8; 8]>,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) began: u64,
    pub(super) ended: u64,
    pub(super) attributes: Vec<(&'static str, Value)>,
    pub(super) failed: bool,
}

/// `STATUS_CODE_ERROR`
const ERROR: u64 = 2;

/// The body of one request to `/v1/traces`.
pub(super) fn body(region: &str, spans: &[Span]) -> String {
    let resource = [
        attribute("service.name", &"linckia".into()),
        attribute("service.instance.id", &region.into()),
        attribute("linckia.region", &region.into()),
    ];
    let scope = json!({"name": "linckia", "version": env!("CARGO_PKG_VERSION")});
    let spans: Vec<Value> = spans.iter().map(one).collect();
    let scoped = json!([{"scope": scope, "spans": spans}]);
    json!({"resourceSpans": [{"resource": {"attributes": resource}, "scopeSpans": scoped}]})
        .to_string()
}

fn one(span: &Span) -> Value {
    let attributes = span.attributes.iter().map(|(name, value)| attribute(name, value));
    let mut value = json!({
        "traceId": hex(&span.trace),
        "spanId": hex(&span.id),
        "name": span.name,
        "kind": span.kind as u64,
        "startTimeUnixNano": span.began.to_string(),
        "endTimeUnixNano": span.ended.to_string(),
        "attributes": attributes.collect::<Vec<_>>(),
        "status": if span.failed { json!({"code": ERROR}) } else { json!({}) },
    });
    if let (Some(parent), Value::Object(members)) = (&span.parent, &mut value) {
        members.insert("parentSpanId".to_owned(), hex(parent).into());
    }
    value
}

fn attribute(name: &str, value: &Value) -> Value {
    let value = match value {
        Value::Number(number) => json!({"intValue": number.to_string()}),
        other => json!({"stringValue": other.as_str().unwrap_or_default()}),
    };
    json!({"key": name, "value": value})
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_written_as_the_specification_has_it() {
        let span = Span {
            trace: [0xab; 16],
            id: [1; 8],
            parent: Some([2; 8]),
            name: "linckia.request",
            kind: Kind::Server,
            began: 1_700_000_000_000_000_001,
            ended: 1_700_000_000_000_000_002,
            attributes: vec![("http.route", "/v1/events".into()), ("status", 201.into())],
            failed: true,
        };
        let root = Span { parent: None, failed: false, ..span.clone() };
        let body: Value = serde_json::from_str(&body("eu", &[span, root])).unwrap();
        let resource = &body["resourceSpans"][0];
        assert_eq!(
            resource["resource"]["attributes"][1],
            json!({"key": "service.instance.id", "value": {"stringValue": "eu"}})
        );
        let spans = &resource["scopeSpans"][0]["spans"];
        assert_eq!(
            spans[0],
            json!({
                "traceId": "abababababababababababababababab",
                "spanId": "0101010101010101",
                "parentSpanId": "0202020202020202",
                "name": "linckia.request",
                "kind": 2,
                "startTimeUnixNano": "1700000000000000001",
                "endTimeUnixNano": "1700000000000000002",
                "attributes": [
                    {"key": "http.route", "value": {"stringValue": "/v1/events"}},
                    {"key": "status", "value": {"intValue": "201"}},
                ],
                "status": {"code": 2},
            })
        );
        assert_eq!(spans[1].get("parentSpanId"), None);
        assert_eq!(spans[1]["status"], json!({}));
    }
}
