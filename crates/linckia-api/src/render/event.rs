//! Events going out: the reference design's JSON, or CloudEvents 1.0.
//!
//! For every read of events. What always holds: what goes out in either form may be sent back in,
//! in that form.

use bytes::BytesMut;
use linckia_model::Event;

use crate::json::{self, Object};
use crate::time::Timestamp;

/// The form of events in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventForm {
    Native,
    Cloud,
}

/// Writes one event on one line.
pub(crate) fn write(out: &mut BytesMut, event: &Event, form: EventForm) {
    match form {
        EventForm::Native => native(out, event),
        EventForm::Cloud => cloud(out, event),
    }
}

fn native(out: &mut BytesMut, event: &Event) {
    let mut object = Object::open(out);
    object.text("eventId", &event.identity.event_id);
    object.text("eventType", &event.event_type);
    object.text("aggregateId", &event.key.aggregate_id);
    object.text("aggregateType", &event.key.aggregate_type);
    object.text("operation", event.operation.name());
    object.value("eventData", &event.data);
    let mut metadata = Object::open(object.member("metadata"));
    metadata.text("timestamp", Timestamp::of(event.hlc).as_str());
    metadata.text("region", event.dot.origin.region());
    metadata.number("version", event.version);
    metadata.optional_text("correlationId", event.extras.correlation_id.as_deref());
    metadata.optional_text("causationId", event.extras.causation_id.as_deref());
    metadata.optional_text("source", event.extras.source.as_deref());
    metadata.optional_text("actor", event.extras.actor.as_deref());
    metadata.optional_text("traceparent", event.extras.traceparent.as_deref());
    metadata.text("origin", event.dot.origin.as_str());
    metadata.number("sequence", event.dot.sequence);
    json::hex(metadata.member("hlc"), &event.hlc.bits().to_be_bytes());
    metadata.close();
    object.close();
}

fn cloud(out: &mut BytesMut, event: &Event) {
    let mut object = Object::open(out);
    object.text("specversion", "1.0");
    object.text("id", &event.identity.event_id);
    object.text("source", &format!("/regions/{}", event.dot.origin.region()));
    object.text("type", &event.event_type);
    object.text("subject", &event.key.aggregate_id);
    object.text("time", Timestamp::of(event.hlc).as_str());
    object.text("datacontenttype", "application/json");
    object.text("aggregatetype", &event.key.aggregate_type);
    object.number("aggregateversion", event.version);
    object.text("operation", event.operation.name());
    object.optional_text("correlationid", event.extras.correlation_id.as_deref());
    object.optional_text("causationid", event.extras.causation_id.as_deref());
    object.optional_text("clientsource", event.extras.source.as_deref());
    object.optional_text("actor", event.extras.actor.as_deref());
    object.optional_text("traceparent", event.extras.traceparent.as_deref());
    object.text("origin", event.dot.origin.as_str());
    // The CloudEvents extension `sequence` is a string.
    object.text("sequence", &event.dot.sequence.to_string());
    json::hex(object.member("hlc"), &event.hlc.bits().to_be_bytes());
    object.value("data", &event.data);
    object.close();
}
