//! Server-sent events (WHATWG HTML, section 9.2), as text.
//!
//! For `GET /v1/events` as a stream; `io::stream` decides what is sent when. What always holds: a
//! block's `id` is the vector behind it, so a client that comes back misses and repeats nothing.

use bytes::{BufMut, BytesMut};
use linckia_model::{Event, Origin, Vector};

use super::event::{self, EventForm};
use crate::json;
use crate::refusal::missing;

/// Keeps proxies and readers from taking silence for death.
pub(crate) const PING: &[u8] = b": ping\n\n";

/// Writes an event, after which the stream stands at `vector`.
pub(crate) fn write_event(out: &mut BytesMut, vector: &Vector, event: &Event, form: EventForm) {
    write_id(out, vector);
    out.put_slice(b"data: ");
    event::write(out, event, form);
    out.put_slice(b"\n\n");
}

/// Writes what retention has passed.
pub(crate) fn write_gap(out: &mut BytesMut, vector: &Vector, ranges: &[(Origin, u64, u64)]) {
    write_id(out, vector);
    out.put_slice(b"event: gap\ndata: {\"missing\":");
    let ranges = ranges.iter().map(|(origin, first, last)| (origin, *first, *last));
    json::serialized(out, &missing(ranges));
    out.put_slice(b"}\n\n");
}

/// Writes where the stream stands, which gives a client no event but a place to resume from.
pub(crate) fn write_place(out: &mut BytesMut, vector: &Vector) {
    write_id(out, vector);
    out.put_u8(b'\n');
}

fn write_id(out: &mut BytesMut, vector: &Vector) {
    out.put_slice(b"id: ");
    out.put_slice(vector.to_string().as_bytes());
    out.put_u8(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_places() {
        let vector = Vector::parse("a.0000000000000001:9").unwrap();
        let origin = Origin::parse("a.0000000000000001").unwrap();
        let mut out = BytesMut::new();
        write_gap(&mut out, &vector, &[(origin, 3, 9)]);
        write_place(&mut out, &vector);
        let gap = r#"data: {"missing":{"a.0000000000000001":[3,9]}}"#;
        let expected =
            format!("id: a.0000000000000001:9\nevent: gap\n{gap}\n\nid: a.0000000000000001:9\n\n");
        assert_eq!(out, expected.as_bytes());
    }
}
