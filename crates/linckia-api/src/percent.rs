//! Percent-encoding (RFC 3986, section 2.1) of path segments and query values.
//!
//! Under the router and the query. What always holds: what is decoded is UTF-8; what needs no
//! decoding is borrowed.

use std::borrow::Cow;

/// Decodes a path segment, where `+` is a plus.
pub(crate) fn decode(text: &str) -> Option<Cow<'_, str>> {
    decode_with(text, false)
}

/// Decodes a name or value of a query, where `+` is a space.
pub(crate) fn decode_query(text: &str) -> Option<Cow<'_, str>> {
    decode_with(text, true)
}

fn decode_with(text: &str, plus_is_space: bool) -> Option<Cow<'_, str>> {
    let special = |byte: &u8| *byte == b'%' || (plus_is_space && *byte == b'+');
    if !text.as_bytes().iter().any(special) {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            b'+' if plus_is_space => b' ',
            plain => plain,
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// Appends a query value; what vectors consist of stays readable.
pub(crate) fn encode_into(out: &mut String, text: &str) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:,".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_and_values() {
        let check = |text, segment: Option<&str>, value: Option<&str>| {
            assert_eq!(decode(text).as_deref(), segment, "{text}");
            assert_eq!(decode_query(text).as_deref(), value, "{text}");
        };
        check("plain", Some("plain"), Some("plain"));
        check("a+b", Some("a+b"), Some("a b"));
        check("a%2Fb%c3%BC", Some("a/bü"), Some("a/bü"));
        for bad in ["%", "%2", "%zz", "%+1", "%ff", "a%C3"] {
            check(bad, None, None);
        }
    }

    #[test]
    fn encoding_is_undone() {
        for text in ["", "a b&c=d", "us-east-1.7f3a9c01d2e4b5a6:42,x", "ü/+%"] {
            let mut encoded = String::new();
            encode_into(&mut encoded, text);
            assert_eq!(decode_query(&encoded).as_deref(), Some(text));
        }
    }
}
