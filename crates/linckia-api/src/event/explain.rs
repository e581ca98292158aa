//! Why a body is no event: the slow second look that finds the place.
//!
//! Called only after the typed parse has failed. What always holds: it never accepts anything, it
//! only says more than the parser's line and column.

use serde_json::{Map, Value};

use crate::problem::Problem;

/// The members an object may have.
#[derive(Clone, Copy)]
pub(crate) struct Shape(pub(crate) &'static [(&'static str, Expect)]);

/// What a member may be.
#[derive(Clone, Copy)]
pub(crate) enum Expect {
    Text,
    TextOrNull,
    Anything,
    Object(Shape),
}

/// Why this text is not an object of that shape.
pub(crate) fn object(text: &[u8], shape: &Shape, error: &serde_json::Error) -> Box<Problem> {
    match serde_json::from_slice(text) {
        Err(syntax) => not_json(&syntax),
        Ok(Value::Object(members)) => fault(&members, shape)
            .map(|(pointer, detail)| Problem::event(pointer, detail))
            .unwrap_or_else(|| Problem::event("", format!("this is no event: {error}"))),
        Ok(other) => Problem::event("", format!("an object is expected, not {}", kind(&other))),
    }
}

/// Why this text is not JSON at all.
pub(crate) fn not_json(error: &serde_json::Error) -> Box<Problem> {
    let detail = match error.to_string() {
        deep if deep.contains("recursion limit") => {
            "the JSON is nested deeper than any document may be; flatten it".to_owned()
        }
        other => format!("this is not JSON: {other}"),
    };
    Problem::event("", detail)
}

fn fault(members: &Map<String, Value>, shape: &Shape) -> Option<(String, String)> {
    members.iter().find_map(|(name, value)| {
        let pointer = format!("/{}", escape(name));
        let Some((_, expect)) = shape.0.iter().find(|(known, _)| known == name) else {
            let known: Vec<_> = shape.0.iter().map(|(known, _)| format!("`{known}`")).collect();
            let detail = format!("`{name}` is no member of an event; it has {}", known.join(", "));
            return Some((pointer, detail));
        };
        let wanted = match (expect, value) {
            (Expect::Anything, _)
            | (Expect::Text | Expect::TextOrNull, Value::String(_))
            | (Expect::TextOrNull, Value::Null) => return None,
            (Expect::Object(inner), Value::Object(members)) => {
                let (below, detail) = fault(members, inner)?;
                return Some((pointer + &below, detail));
            }
            (Expect::Object(_), _) => "an object",
            (Expect::Text | Expect::TextOrNull, _) => "a string",
        };
        Some((pointer, format!("`{name}`: {wanted} is expected, not {}", kind(value))))
    })
}

pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A member's name inside a pointer (RFC 6901, section 3).
pub(crate) fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
