//! The reference design's event JSON, in.
//!
//! The hot path of the door: one object, strings borrowed from the body. What always holds: an
//! unknown member is refused; in `metadata` what the server owns is skipped, whatever it is.

use linckia_model::NewEvent;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::explain::{Expect, Shape};
use super::{Context, Envelope, IdSource, Members, Names, Text, check, explain, present};
use crate::problem::Outcome;

pub(crate) const NAMES: Names = Names {
    event_id: "eventId",
    event_type: "eventType",
    aggregate_id: "aggregateId",
    aggregate_type: "aggregateType",
    operation: "operation",
    correlation_id: "metadata/correlationId",
    causation_id: "metadata/causationId",
    source: "metadata/source",
    data: "/eventData",
    in_body: true,
};

/// What [`NativeEvent`] takes, once more, for whoever explains a failure.
const SHAPE: Shape = Shape(&[
    ("eventId", Expect::Text),
    ("eventType", Expect::Text),
    ("aggregateId", Expect::Text),
    ("aggregateType", Expect::Text),
    ("operation", Expect::Text),
    ("eventData", Expect::Anything),
    ("metadata", Expect::Object(METADATA)),
]);

const METADATA: Shape = Shape(&[
    ("correlationId", Expect::TextOrNull),
    ("causationId", Expect::TextOrNull),
    ("source", Expect::TextOrNull),
    ("timestamp", Expect::Anything),
    ("region", Expect::Anything),
    ("version", Expect::Anything),
    ("origin", Expect::Anything),
    ("sequence", Expect::Anything),
    ("hlc", Expect::Anything),
    ("actor", Expect::Anything),
    ("traceparent", Expect::Anything),
]);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NativeEvent<'a> {
    #[serde(default, borrow)]
    event_id: Text<'a>,
    #[serde(default, borrow)]
    event_type: Text<'a>,
    #[serde(default, borrow)]
    aggregate_id: Text<'a>,
    #[serde(default, borrow)]
    aggregate_type: Text<'a>,
    #[serde(default, borrow)]
    operation: Text<'a>,
    #[serde(default, deserialize_with = "present")]
    event_data: Option<Value>,
    #[serde(default, borrow)]
    metadata: Members<Metadata<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Metadata<'a> {
    #[serde(default, borrow)]
    correlation_id: Option<Text<'a>>,
    #[serde(default, borrow)]
    causation_id: Option<Text<'a>>,
    #[serde(default, borrow)]
    source: Option<Text<'a>>,
    #[serde(default, rename = "timestamp")]
    _timestamp: IgnoredAny,
    #[serde(default, rename = "region")]
    _region: IgnoredAny,
    #[serde(default, rename = "version")]
    _version: IgnoredAny,
    #[serde(default, rename = "origin")]
    _origin: IgnoredAny,
    #[serde(default, rename = "sequence")]
    _sequence: IgnoredAny,
    #[serde(default, rename = "hlc")]
    _hlc: IgnoredAny,
    #[serde(default, rename = "actor")]
    _actor: IgnoredAny,
    #[serde(default, rename = "traceparent")]
    _traceparent: IgnoredAny,
}

impl<'a> NativeEvent<'a> {
    fn envelope(self) -> Envelope<'a> {
        let Members(metadata) = self.metadata;
        let text = |text: Option<Text<'a>>| text.and_then(|text| text.0);
        Envelope {
            event_id: self.event_id.0,
            event_type: self.event_type.0,
            aggregate_id: self.aggregate_id.0,
            aggregate_type: self.aggregate_type.0,
            operation: self.operation.0,
            data: self.event_data,
            correlation_id: text(metadata.correlation_id),
            causation_id: text(metadata.causation_id),
            source: text(metadata.source),
            traceparent: None,
        }
    }
}

/// Reads one event.
pub(crate) fn read(
    text: &[u8],
    context: &Context<'_>,
    new_id: &mut IdSource<'_>,
) -> Outcome<NewEvent> {
    match serde_json::from_slice::<Members<NativeEvent<'_>>>(text) {
        Ok(Members(event)) => check::new_event(event.envelope(), &NAMES, context, new_id),
        Err(error) => Err(explain::object(text, &SHAPE, &error)),
    }
}

/// Reads an element of an array that was parsed as a whole.
pub(crate) fn judge(
    event: NativeEvent<'_>,
    context: &Context<'_>,
    new_id: &mut IdSource<'_>,
) -> Outcome<NewEvent> {
    check::new_event(event.envelope(), &NAMES, context, new_id)
}
