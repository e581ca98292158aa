//! JSON written by hand, straight into the buffer that is sent.
//!
//! Under everything that renders: an answer's shape is known here, so no tree of values is built
//! for it; only an event's data is one. What always holds: what is written is valid JSON.

use bytes::{BufMut, BytesMut};
use linckia_apply::Lag;
use linckia_model::Vector;
use serde::Serialize;
use serde_json::Value;

/// An object being written, member by member.
pub(crate) struct Object<'a> {
    out: &'a mut BytesMut,
    empty: bool,
}

impl<'a> Object<'a> {
    pub(crate) fn open(out: &'a mut BytesMut) -> Self {
        out.put_u8(b'{');
        Self { out, empty: true }
    }

    /// Goes on in an object of which something was written already.
    pub(crate) fn resume(out: &'a mut BytesMut) -> Self {
        Self { out, empty: false }
    }

    /// Writes a member's name; its value is for the caller to write. Names are ASCII letters or
    /// need no escape otherwise.
    pub(crate) fn member(&mut self, name: &str) -> &mut BytesMut {
        if !self.empty {
            self.out.put_u8(b',');
        }
        self.empty = false;
        self.out.put_u8(b'"');
        self.out.put_slice(name.as_bytes());
        self.out.put_slice(b"\":");
        self.out
    }

    pub(crate) fn text(&mut self, name: &str, value: &str) {
        text(self.member(name), value);
    }

    /// A member that is left out where there is nothing to say.
    pub(crate) fn optional_text(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// A member that is `null` where there is nothing to say.
    pub(crate) fn nullable_text(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => self.text(name, value),
            None => self.member(name).put_slice(b"null"),
        }
    }

    pub(crate) fn number(&mut self, name: &str, value: u64) {
        number(self.member(name), value);
    }

    pub(crate) fn flag(&mut self, name: &str, value: bool) {
        self.member(name).put_slice(if value { b"true" } else { b"false" });
    }

    pub(crate) fn value(&mut self, name: &str, value: &Value) {
        serialized(self.member(name), value);
    }

    pub(crate) fn vector(&mut self, name: &str, value: &Vector) {
        vector(self.member(name), value);
    }

    /// Per origin how far behind it is.
    pub(crate) fn lag(&mut self, name: &str, lags: &[Lag]) {
        let mut origins = Object::open(self.member(name));
        for lag in lags {
            let mut one = Object::open(origins.member(lag.origin.as_str()));
            one.number("events", lag.events);
            one.number("milliseconds", lag.milliseconds);
            one.close();
        }
        origins.close();
    }

    pub(crate) fn close(self) {
        self.out.put_u8(b'}');
    }
}

/// Writes an array, an item at a time.
pub(crate) fn array<T>(
    out: &mut BytesMut,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut BytesMut, T),
) {
    out.put_u8(b'[');
    for (place, item) in items.into_iter().enumerate() {
        if place > 0 {
            out.put_u8(b',');
        }
        write(out, item);
    }
    out.put_u8(b']');
}

/// Writes a string; nearly none needs an escape.
pub(crate) fn text(out: &mut BytesMut, value: &str) {
    if value.bytes().any(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
        serialized(out, value);
        return;
    }
    out.put_u8(b'"');
    out.put_slice(value.as_bytes());
    out.put_u8(b'"');
}

pub(crate) fn number(out: &mut BytesMut, mut value: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.put_slice(&digits[start..]);
}

pub(crate) fn vector(out: &mut BytesMut, value: &Vector) {
    let mut object = Object::open(out);
    for (origin, sequence) in value.iter() {
        object.number(origin.as_str(), sequence);
    }
    object.close();
}

/// Writes 64 bits as 16 lower-case hex digits, in quotes.
pub(crate) fn hex(out: &mut BytesMut, value: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.put_u8(b'"');
    for byte in value {
        out.put_u8(DIGITS[usize::from(byte >> 4)]);
        out.put_u8(DIGITS[usize::from(byte & 15)]);
    }
    out.put_u8(b'"');
}

pub(crate) fn serialized<T: Serialize + ?Sized>(out: &mut BytesMut, value: &T) {
    serde_json::to_writer(out.writer(), value).expect("memory takes every value");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut BytesMut)) -> String {
        let mut out = BytesMut::new();
        write(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn numbers_and_texts() {
        for value in [0, 7, 10, 4_200, u64::MAX] {
            assert_eq!(written(|out| number(out, value)), value.to_string());
        }
        for value in ["", "a", "ü\u{7f}", "a\"b", "a\\b", "a\nb", "\u{0}"] {
            assert_eq!(written(|out| text(out, value)), serde_json::to_string(value).unwrap());
        }
        assert_eq!(written(|out| hex(out, &[0, 0xaf])), "\"00af\"");
    }

    #[test]
    fn objects_and_arrays() {
        let vector = Vector::parse("a.0000000000000001:3,b.0000000000000002:4").unwrap();
        let text = written(|out| {
            let mut object = Object::open(out);
            object.text("a", "b");
            object.optional_text("left", None);
            object.nullable_text("null", None);
            object.flag("yes", true);
            object.vector("vector", &vector);
            array(object.member("list"), [1, 2], number);
            object.close();
        });
        let vector = r#"{"a.0000000000000001":3,"b.0000000000000002":4}"#;
        assert_eq!(
            text,
            format!(r#"{{"a":"b","null":null,"yes":true,"vector":{vector},"list":[1,2]}}"#)
        );
    }
}
