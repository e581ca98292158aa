//! Conflict records going out.
//!
//! For the resources under `/v1/conflicts`. What always holds: a record reads the same in every
//! region, since its times are the winner's and its events stand in the order of the fold.

use std::sync::Arc;

use bytes::BytesMut;
use linckia_apply::ConflictView;
use linckia_model::{Event, Kind};

use crate::json::{self, Object};
use crate::time::Timestamp;

pub(crate) fn write(out: &mut BytesMut, record: &ConflictView) {
    let winner = &record.winner;
    let settled_by = record.settled_by.as_ref().unwrap_or(winner);
    let mut events: Vec<&Arc<Event>> = record.losers.iter().chain([winner]).collect();
    events.sort_by_key(|event| event.stamp());
    let mut object = Object::open(out);
    object.text("conflictId", &record.id);
    object.text("conflictType", kind_name(record.kind));
    object.text("aggregateType", &record.key.aggregate_type);
    object.text("aggregateId", &record.key.aggregate_id);
    json::array(object.member("paths"), &record.paths, |out, path| json::text(out, path));
    json::array(object.member("conflictingEvents"), events, |out, event| write_event(out, event));
    object.text("resolutionStrategy", record.strategy.name());
    object.text("resolvedEvent", &settled_by.identity.event_id);
    let mut fields = serde_json::Map::new();
    for path in &record.paths {
        fields.insert(path.clone(), (&*settled_by.identity.event_id).into());
    }
    json::serialized(object.member("resolvedFields"), &fields);
    object.text("resolvedAt", Timestamp::of(settled_by.hlc).as_str());
    object.text("status", if record.open { "open" } else { "settled" });
    object.text("stage", if record.confirmed { "confirmed" } else { "provisional" });
    object.close();
}

fn write_event(out: &mut BytesMut, event: &Event) {
    let mut object = Object::open(out);
    object.text("eventId", &event.identity.event_id);
    object.text("operation", event.operation.name());
    object.text("region", event.dot.origin.region());
    object.text("timestamp", Timestamp::of(event.hlc).as_str());
    object.value("data", &event.data);
    object.nullable_text("actor", event.extras.actor.as_deref());
    object.text("dot", &event.dot.to_string());
    json::hex(object.member("hlc"), &event.hlc.bits().to_be_bytes());
    object.close();
}

pub(crate) const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::UpdateUpdate => "update-update",
        Kind::UpdateDelete => "update-delete",
        Kind::IdReused => "id-reused",
    }
}
