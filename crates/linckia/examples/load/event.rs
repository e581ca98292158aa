//! Requests of events of a fixed size, laid out once and then only filled in.
//!
//! Used by `append` and `lag`. Pure. What always holds: a filled request is valid JSON of the same
//! length as before; ids differ within a run and are spread like random ones, as clients' are; what
//! pads an event to its size does not compress.

/// What events are of, and how many aggregates they are spread over, unless told otherwise.
pub const AGGREGATE_TYPE: &str = "Load";
pub const AGGREGATES: u64 = 10_000;

/// Digits of an aggregate's number and of a mark.
const AGGREGATE_DIGITS: usize = 5;
pub const MARK_DIGITS: usize = 12;

/// What stands before a mark in an event, on the way in as on the way out.
pub const MARK: &[u8] = b"\"mark\":\"";

const ID: &str = "00000000-0000-4000-8000-000000000000";

/// A `POST /v1/events` with one event, or with an array of several.
#[derive(Debug, Clone)]
pub struct Request {
    bytes: Vec<u8>,
    /// Where the first event begins; the others follow, each after a comma.
    first: usize,
    events: usize,
    slots: Slots,
    run: u64,
    /// How many aggregates the events are spread over.
    aggregates: u64,
}

/// Where in an event stands what differs.
#[derive(Debug, Clone, Copy)]
struct Slots {
    size: usize,
    id: usize,
    aggregate: usize,
    mark: usize,
    padding: usize,
}

impl Request {
    /// Of `events` events of `size` bytes each; an array unless it is one. `run` tells apart what
    /// several generators send; `headers` are lines that each request has besides.
    pub fn new(events: usize, size: usize, run: u64, headers: &str) -> anyhow::Result<Self> {
        Self::of(events, size, run, headers, (AGGREGATE_TYPE, AGGREGATES))
    }

    /// Of another aggregate type, and spread over so many aggregates.
    pub fn of(
        events: usize,
        size: usize,
        run: u64,
        headers: &str,
        (kind, aggregates): (&str, u64),
    ) -> anyhow::Result<Self> {
        let (event, slots) = lay_out(size, kind)?;
        let mut body = Vec::new();
        for place in 0..events {
            body.extend_from_slice(match (events, place) {
                (1, _) => b"",
                (_, 0) => b"[",
                _ => b",",
            });
            body.extend_from_slice(event.as_bytes());
        }
        if events > 1 {
            body.push(b']');
        }
        let mut bytes = format!(
            "POST /v1/events HTTP/1.1\r\nhost: load\r\ncontent-type: application/json\r\n{headers}\
             content-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        let first = bytes.len() + usize::from(events > 1);
        bytes.extend_from_slice(&body);
        Ok(Self { bytes, first, events, slots, run, aggregates })
    }

    /// The request of the events numbered from `number` on.
    pub fn fill(&mut self, number: u64) -> &[u8] {
        let Slots { size, id, aggregate, mark, padding } = self.slots;
        let mut at = self.first;
        for number in (number..).take(self.events) {
            let event = &mut self.bytes[at..at + size];
            let spread = scatter(number);
            write_id(&mut event[id..id + ID.len()], self.run, spread);
            let chosen = scatter(spread) % self.aggregates;
            write_decimal(&mut event[aggregate..aggregate + AGGREGATE_DIGITS], chosen);
            write_decimal(&mut event[mark..mark + MARK_DIGITS], number);
            let mut noise = spread ^ self.run;
            for part in event[padding..size - 3].chunks_mut(16) {
                noise = scatter(noise);
                write_hex(part, noise);
            }
            at += size + 1;
        }
        &self.bytes
    }
}

/// The number in an event that `fill` wrote, as it stands after [`MARK`].
pub fn read_mark(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits.get(..MARK_DIGITS)?).ok()?.parse().ok()
}

fn lay_out(size: usize, kind: &str) -> anyhow::Result<(String, Slots)> {
    let head = format!(
        "{{\"eventId\":\"{ID}\",\"eventType\":\"LoadMeasured\",\"aggregateType\":\"{kind}\",\
         \"aggregateId\":\"load-{:0AGGREGATE_DIGITS$}\",\
         \"eventData\":{{\"mark\":\"{:0MARK_DIGITS$}\",\"padding\":\"",
        0, 0
    );
    let tail = "\"}}";
    let Some(room) = size.checked_sub(head.len() + tail.len()) else {
        anyhow::bail!("an event has at least {} bytes", head.len() + tail.len());
    };
    let after = |text: &str| head.find(text).map_or(0, |at| at + text.len());
    let slots = Slots {
        size,
        id: after("\"eventId\":\""),
        aggregate: after("\"load-"),
        mark: after("\"mark\":\""),
        padding: head.len(),
    };
    Ok((format!("{head}{}{tail}", "0".repeat(room)), slots))
}

/// The hyphens, the version and the variant stay as they are: 64 bits of `spread` and 58 of `run`.
fn write_id(slot: &mut [u8], run: u64, spread: u64) {
    write_hex(&mut slot[0..8], spread);
    write_hex(&mut slot[9..13], spread >> 32);
    write_hex(&mut slot[15..18], run);
    write_hex(&mut slot[20..23], run >> 12);
    write_hex(&mut slot[24..28], spread >> 48);
    write_hex(&mut slot[28..36], run >> 24);
}

fn write_hex(slot: &mut [u8], mut value: u64) {
    for byte in slot.iter_mut().rev() {
        *byte = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}

fn write_decimal(slot: &mut [u8], mut value: u64) {
    for byte in slot.iter_mut().rev() {
        *byte = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// A permutation of all numbers (the finaliser of splitmix64), so different ones stay different.
fn scatter(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn body(request: &[u8]) -> serde_json::Value {
        let at = request.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
        let (head, body) = request.split_at(at + 4);
        let head = std::str::from_utf8(head).unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
        serde_json::from_slice(body).unwrap()
    }

    #[test]
    fn requests_hold_different_events_of_one_size() {
        let mut request = Request::new(100, 300, 7, "").unwrap();
        let mut ids = BTreeSet::new();
        for number in [0, 100, 123_400] {
            let filled = request.fill(number).to_vec();
            let at = filled.windows(MARK.len()).position(|bytes| bytes == MARK).unwrap();
            assert_eq!(read_mark(&filled[at + MARK.len()..]), Some(number));
            for event in body(&filled).as_array().unwrap() {
                assert_eq!(event.to_string().len(), 300, "{event}");
                ids.insert(event["eventId"].as_str().unwrap().to_owned());
            }
        }
        assert_eq!(ids.len(), 300);
        let mut other = Request::new(1, 300, 8, "linckia-ack: any\r\n").unwrap();
        assert!(!ids.contains(body(other.fill(0))["eventId"].as_str().unwrap()));
        assert!(Request::new(1, 100, 0, "").is_err());
    }
}
