//! An event's bytes, as they lie in logs and travel between regions.
//!
//! Format 1: a format byte, an operation byte, then big-endian fixed and LEB128 variable integers
//! and length-prefixed strings. The dot is not inside: the log knows its origin and the record its
//! sequence. The policy epoch is part of it, a byte while it is small. An operation has its own
//! byte, so that operations joining format 1 change nothing of what was written before: whoever
//! does not know one refuses the event by that byte instead of folding it as another. What always
//! holds: `decode(encode(event)) == event`, and bytes that are not an event are an error, never a
//! panic.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::event::{Event, Extras, Identity, Operation, Transaction};
use crate::hlc::Hlc;
use crate::name::{Key, NAME_BYTES_MAX, Origin};
use crate::vector::{Dot, Vector};

/// The only event format so far.
const FORMAT: u8 = 1;

/// The longest string beside names and data: ids and trace contexts of clients stay far below.
const TEXT_BYTES_MAX: usize = 4096;

/// The largest data of one event: the door's body limit is below it.
const DATA_BYTES_MAX: usize = 16 << 20;

/// More origins or replaced dots than this in one event is not an event of ours.
const ENTRIES_MAX: u64 = 65_536;

/// Appends values to a buffer.
#[derive(Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    pub fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    pub fn fixed(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value as u8) | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub fn bytes(&mut self, value: &[u8]) {
        self.number(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    pub fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    pub fn optional(&mut self, value: &Option<Box<str>>) {
        if let Some(text) = value {
            self.text(text);
        }
    }

    pub fn vector(&mut self, vector: &Vector) {
        self.number(vector.len() as u64);
        for (origin, sequence) in vector.iter() {
            self.text(origin.as_str());
            self.number(sequence);
        }
    }
}

/// Takes values off the front of a slice; every error says inside what the bytes ended.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(Error::Short(what))?;
        self.0 = rest;
        Ok(head)
    }

    pub fn byte(&mut self, what: &'static str) -> Result<u8> {
        Ok(self.take(1, what)?[0])
    }

    pub fn fixed(&mut self, what: &'static str) -> Result<u64> {
        let bytes = self.take(8, what)?;
        Ok(bytes.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
    }

    pub fn number(&mut self, what: &'static str) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Error::Code { what, code: value })
    }

    pub fn bytes(&mut self, what: &'static str, bound: usize) -> Result<&'a [u8]> {
        let length = self.number(what)? as usize;
        if length > bound {
            return Err(Error::Long { what, bytes: length, bound });
        }
        self.take(length, what)
    }

    pub fn text(&mut self, what: &'static str, bound: usize) -> Result<&'a str> {
        std::str::from_utf8(self.bytes(what, bound)?).map_err(|_| Error::Utf8(what))
    }

    pub fn optional(&mut self, present: bool, what: &'static str) -> Result<Option<Box<str>>> {
        if present { Ok(Some(self.text(what, TEXT_BYTES_MAX)?.into())) } else { Ok(None) }
    }

    pub fn origin(&mut self, known: &Vector) -> Result<Origin> {
        known.origin(self.text("origin", NAME_BYTES_MAX)?)
    }

    /// A vector; origins that stand in `known` share its names instead of making new ones.
    pub fn vector(&mut self, known: &Vector) -> Result<Vector> {
        let count = self.number("vector")?;
        if count > ENTRIES_MAX {
            return Err(Error::Code { what: "vector length", code: count });
        }
        let mut vector = Vector::new();
        for _ in 0..count {
            let origin = self.origin(known)?;
            vector.set(&origin, self.number("vector")?);
        }
        Ok(vector)
    }
}

/// Which optional parts follow, a bit each, in the order they are written.
fn present(event: &Event) -> u8 {
    let extras = &event.extras;
    let parts = [
        extras.actor.is_some(),
        extras.correlation_id.is_some(),
        extras.causation_id.is_some(),
        extras.traceparent.is_some(),
        extras.source.is_some(),
        extras.label.is_some(),
        event.ctx.is_some(),
    ];
    parts.iter().enumerate().fold(0, |bits, (place, part)| bits | (u8::from(*part) << place))
}

const fn operation_code(operation: Operation) -> u8 {
    match operation {
        Operation::Put => 1,
        Operation::Patch => 2,
        Operation::Delete => 3,
        Operation::Increment => 4,
        Operation::Record => 5,
        Operation::Add => 6,
        Operation::Remove => 7,
    }
}

/// An event's payload for the log.
pub fn encode_event(event: &Event) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(384));
    out.byte(FORMAT);
    out.byte(operation_code(event.operation));
    out.byte(present(event));
    out.fixed(event.hlc.bits());
    out.number(u64::from(event.transaction.index));
    out.number(u64::from(event.transaction.size));
    let others = || event.deps.iter().filter(|(origin, _)| **origin != event.dot.origin);
    out.number(others().count() as u64);
    for (origin, sequence) in others() {
        out.text(origin.as_str());
        out.number(sequence);
    }
    out.text(&event.key.data_set);
    out.text(&event.key.aggregate_type);
    out.text(&event.key.aggregate_id);
    out.text(&event.event_type);
    out.text(&event.identity.event_id);
    out.number(u64::from(event.identity.place));
    out.number(event.version);
    out.number(event.policy_epoch);
    out.number(u64::from(event.schema_version));
    for extra in [
        &event.extras.actor,
        &event.extras.correlation_id,
        &event.extras.causation_id,
        &event.extras.traceparent,
        &event.extras.source,
        &event.extras.label,
    ] {
        out.optional(extra);
    }
    if let Some(ctx) = &event.ctx {
        out.number(ctx.len() as u64);
        for dot in ctx {
            out.text(dot.origin.as_str());
            out.number(dot.sequence);
        }
    }
    let data = serde_json::to_vec(&event.data).expect("a JSON value has a text");
    out.bytes(&data);
    out.0
}

/// The event under `dot` whose payload this is; `known` lends its origins' names. Errors: those of
/// [`Error`] that speak of bytes.
pub fn decode_event(dot: Dot, payload: &[u8], known: &Vector) -> Result<Event> {
    let mut bytes = Reader(payload);
    let format = bytes.byte("format")?;
    if format != FORMAT {
        return Err(Error::Format(format));
    }
    let code = bytes.byte("operation")?;
    let operation = Operation::ALL
        .into_iter()
        .find(|operation| operation_code(*operation) == code)
        .ok_or(Error::Code { what: "operation", code: u64::from(code) })?;
    let present = bytes.byte("flags")?;
    let has = |place: u8| present & (1 << place) != 0;
    let hlc = Hlc::from_bits(bytes.fixed("HLC")?);
    let index = bytes.number("transaction")? as u32;
    let size = bytes.number("transaction")? as u32;
    if size == 0 || index >= size || dot.sequence <= u64::from(index) {
        return Err(Error::Code { what: "transaction index", code: u64::from(index) });
    }
    let transaction = Transaction { first: dot.sequence - u64::from(index), index, size };
    let mut deps = bytes.vector(known)?;
    deps.set(&dot.origin, dot.sequence - 1);
    let name = |bytes: &mut Reader<'_>, what| -> Result<Arc<str>> {
        Ok(bytes.text(what, NAME_BYTES_MAX)?.into())
    };
    let key = Key {
        data_set: name(&mut bytes, "data set")?,
        aggregate_type: name(&mut bytes, "aggregate type")?,
        aggregate_id: name(&mut bytes, "aggregate id")?,
    };
    let event_type = name(&mut bytes, "event type")?;
    let event_id: Arc<str> = bytes.text("event id", TEXT_BYTES_MAX)?.into();
    let identity = Identity { event_id, place: bytes.number("place")? as u32 };
    let version = bytes.number("version")?;
    let policy_epoch = bytes.number("policy epoch")?;
    let schema_version = bytes.number("schema version")? as u32;
    let extras = Extras {
        actor: bytes.optional(has(0), "actor")?,
        correlation_id: bytes.optional(has(1), "correlation id")?,
        causation_id: bytes.optional(has(2), "causation id")?,
        traceparent: bytes.optional(has(3), "trace context")?,
        source: bytes.optional(has(4), "source")?,
        label: bytes.optional(has(5), "label")?,
    };
    let ctx = if has(6) { Some(context(&mut bytes, known)?) } else { None };
    let data = bytes.bytes("data", DATA_BYTES_MAX)?;
    let data = serde_json::from_slice(data).map_err(|error| Error::Json(error.to_string()))?;
    Ok(Event {
        dot,
        hlc,
        deps,
        transaction,
        key,
        event_type,
        operation,
        data,
        ctx,
        identity,
        version,
        policy_epoch,
        schema_version,
        extras,
    })
}

fn context(bytes: &mut Reader<'_>, known: &Vector) -> Result<BTreeSet<Dot>> {
    let count = bytes.number("context")?;
    if count > ENTRIES_MAX {
        return Err(Error::Code { what: "context length", code: count });
    }
    let mut ctx = BTreeSet::new();
    for _ in 0..count {
        let origin = bytes.origin(known)?;
        ctx.insert(Dot { origin, sequence: bytes.number("context")? });
    }
    Ok(ctx)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(operation: Operation, policy_epoch: u64) -> Event {
        let origin = Origin::parse("a.00000000000000aa").unwrap();
        Event {
            dot: Dot::new(origin.clone(), 3),
            hlc: Hlc::from_milliseconds(5),
            deps: [(origin, 2)].into_iter().collect(),
            transaction: Transaction::single(3),
            key: Key::new("default", "T", "1"),
            event_type: "Changed".into(),
            operation,
            data: serde_json::json!({"s": ["x"]}),
            ctx: None,
            identity: Identity { event_id: "e".into(), place: 0 },
            version: 1,
            policy_epoch,
            schema_version: 0,
            extras: Extras::default(),
        }
    }

    #[test]
    fn every_operation_and_epoch_comes_back_and_small_epochs_cost_nothing() {
        let default = encode_event(&event(Operation::Put, 0)).len();
        for operation in Operation::ALL {
            for epoch in [0, 1, 127, u64::MAX] {
                let event = event(operation, epoch);
                let bytes = encode_event(&event);
                assert_eq!(bytes[0], FORMAT);
                assert!(bytes.len() == default || epoch > 127);
                assert_eq!(decode_event(event.dot.clone(), &bytes, &Vector::new()), Ok(event));
            }
        }
    }

    #[test]
    fn an_operation_that_is_not_known_is_refused_and_not_taken_for_another() {
        let event = event(Operation::Add, 1);
        let mut bytes = encode_event(&event);
        bytes[1] = 99;
        let wanted = Error::Code { what: "operation", code: 99 };
        assert_eq!(decode_event(event.dot, &bytes, &Vector::new()), Err(wanted));
    }
}
