//! Spans as OTLP has them: `ExportTraceServiceRequest`, in the binary encoding of protobuf.
//!
//! Pure. Every collector takes this form. The numbers are those of `opentelemetry/proto/trace/v1`;
//! a message is written into a buffer of its own, since its length stands before it.

use std::fmt::Write as _;

/// What a span is for whoever called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Internal = 1,
    Server = 2,
    Consumer = 5,
}

/// What is said of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Text(String),
    Number(u64),
}

/// One span; times in nanoseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) trace: [u8; 16],
    pub(super) id: [u8; 8],
    pub(super) parent: Option<[u8; 8]>,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) began: u64,
    pub(super) ended: u64,
    pub(super) attributes: Vec<(&'static str, Said)>,
    pub(super) failed: bool,
}

/// `STATUS_CODE_ERROR`
const ERROR: u64 = 2;

/// The body of one request to `/v1/traces`.
pub(super) fn body(region: &str, spans: &[Span]) -> Vec<u8> {
    let names = [("service.name", "linckia"), ("service.instance.id", region)];
    let names = names.into_iter().chain([("linckia.region", region)]);
    let mut resource = Message::default();
    for (name, value) in names {
        resource.message(1, &attribute(name, &Said::Text(value.to_owned())));
    }
    let mut scope = Message::default();
    scope.bytes(1, b"linckia");
    scope.bytes(2, env!("CARGO_PKG_VERSION").as_bytes());
    let mut scoped = Message::default();
    scoped.message(1, &scope);
    for span in spans {
        scoped.message(2, &one(span));
    }
    let mut of_resource = Message::default();
    of_resource.message(1, &resource);
    of_resource.message(2, &scoped);
    let mut request = Message::default();
    request.message(1, &of_resource);
    request.0
}

fn one(span: &Span) -> Message {
    let mut message = Message::default();
    message.bytes(1, &span.trace);
    message.bytes(2, &span.id);
    if let Some(parent) = &span.parent {
        message.bytes(4, parent);
    }
    message.bytes(5, span.name.as_bytes());
    message.number(6, span.kind as u64);
    message.fixed(7, span.began);
    message.fixed(8, span.ended);
    for (name, said) in &span.attributes {
        message.message(9, &attribute(name, said));
    }
    if span.failed {
        let mut status = Message::default();
        status.number(3, ERROR);
        message.message(15, &status);
    }
    message
}

fn attribute(name: &str, said: &Said) -> Message {
    let mut value = Message::default();
    match said {
        Said::Text(text) => value.bytes(1, text.as_bytes()),
        Said::Number(number) => value.number(3, *number),
    }
    let mut message = Message::default();
    message.bytes(1, name.as_bytes());
    message.message(2, &value);
    message
}

/// Fields, as they are written one after the other.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    /// A field's number and its wire type.
    fn tag(&mut self, field: u64, kind: u64) {
        self.varint(field << 3 | kind);
    }

    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn number(&mut self, field: u64, value: u64) {
        self.tag(field, 0);
        self.varint(value);
    }

    fn fixed(&mut self, field: u64, value: u64) {
        self.tag(field, 1);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.tag(field, 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
    }

    fn message(&mut self, field: u64, value: &Self) {
        self.bytes(field, &value.0);
    }
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
    fn a_span_is_written_field_by_field() {
        let span = Span {
            trace: [0xab; 16],
            id: [1; 8],
            parent: Some([2; 8]),
            name: "n",
            kind: Kind::Server,
            began: 258,
            ended: 3,
            attributes: vec![("a", Said::Text("t".to_owned())), ("b", Said::Number(201))],
            failed: true,
        };
        let text = hex(&one(&span).0);
        let expected = [
            "0a10abababababababababababababababab",
            "12080101010101010101",
            "22080202020202020202",
            "2a016e",
            "3002",
            "390201000000000000",
            "410300000000000000",
            "4a080a016112030a0174",
            "4a080a0162120318c901",
            "7a021802",
        ];
        assert_eq!(text, expected.concat());
        let root = Span { parent: None, failed: false, attributes: Vec::new(), ..span };
        assert_eq!(hex(&one(&root).0), [&expected[..2], &expected[3..7]].concat().concat());
    }
}
