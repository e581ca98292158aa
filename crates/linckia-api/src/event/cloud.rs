//! CloudEvents 1.0, in: structured, and binary, whose attributes are headers.
//!
//! Beside `native`. What always holds: an extension that would not be kept is refused by name,
//! except those in which the server itself writes what it owns.

use std::borrow::Cow;

use http::HeaderMap;
use linckia_model::NewEvent;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::explain::{Expect, Shape};
use super::{Context, Envelope, IdSource, Members, Names, Text, check, explain, present};
use crate::percent;
use crate::problem::{Kind, Outcome, Problem};

const STRUCTURED: Names = Names {
    event_id: "id",
    event_type: "type",
    aggregate_id: "subject",
    aggregate_type: "aggregatetype",
    operation: "operation",
    correlation_id: "correlationid",
    causation_id: "causationid",
    source: "source",
    data: "/data",
    in_body: true,
};

pub(crate) const BINARY: Names = Names {
    event_id: "ce-id",
    event_type: "ce-type",
    aggregate_id: "ce-subject",
    aggregate_type: "ce-aggregatetype",
    operation: "ce-operation",
    correlation_id: "ce-correlationid",
    causation_id: "ce-causationid",
    source: "ce-source",
    data: "",
    in_body: false,
};

/// Attributes that the server owns and writes on events that go out.
const OWNED: [&str; 7] =
    ["time", "aggregateversion", "origin", "sequence", "hlc", "actor", "clientsource"];

const SHAPE: Shape = Shape(&[
    ("specversion", Expect::Text),
    ("id", Expect::Text),
    ("source", Expect::Text),
    ("type", Expect::Text),
    ("subject", Expect::Text),
    ("aggregatetype", Expect::Text),
    ("operation", Expect::Text),
    ("correlationid", Expect::TextOrNull),
    ("causationid", Expect::TextOrNull),
    ("traceparent", Expect::TextOrNull),
    ("datacontenttype", Expect::TextOrNull),
    ("data", Expect::Anything),
    ("time", Expect::Anything),
    ("aggregateversion", Expect::Anything),
    ("origin", Expect::Anything),
    ("sequence", Expect::Anything),
    ("hlc", Expect::Anything),
    ("actor", Expect::Anything),
    ("clientsource", Expect::Anything),
]);

#[derive(Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
struct CloudEvent<'a> {
    #[serde(default, borrow)]
    specversion: Text<'a>,
    #[serde(default, borrow)]
    id: Text<'a>,
    #[serde(default, borrow)]
    source: Text<'a>,
    #[serde(default, borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(default, borrow)]
    subject: Text<'a>,
    #[serde(default, borrow)]
    aggregatetype: Text<'a>,
    #[serde(default, borrow)]
    operation: Text<'a>,
    #[serde(default, borrow)]
    correlationid: Option<Text<'a>>,
    #[serde(default, borrow)]
    causationid: Option<Text<'a>>,
    #[serde(default, borrow)]
    traceparent: Option<Text<'a>>,
    #[serde(default, borrow)]
    datacontenttype: Option<Text<'a>>,
    #[serde(default, deserialize_with = "present")]
    data: Option<Value>,
    #[serde(default, rename = "time")]
    _time: IgnoredAny,
    #[serde(default, rename = "aggregateversion")]
    _aggregateversion: IgnoredAny,
    #[serde(default, rename = "origin")]
    _origin: IgnoredAny,
    #[serde(default, rename = "sequence")]
    _sequence: IgnoredAny,
    #[serde(default, rename = "hlc")]
    _hlc: IgnoredAny,
    #[serde(default, rename = "actor")]
    _actor: IgnoredAny,
    #[serde(default, rename = "clientsource")]
    _clientsource: IgnoredAny,
}

/// Reads one structured event.
pub(crate) fn read(
    text: &[u8],
    context: &Context<'_>,
    new_id: &mut IdSource<'_>,
) -> Outcome<NewEvent> {
    let Members(event) = serde_json::from_slice::<Members<CloudEvent<'_>>>(text)
        .map_err(|error| explain::object(text, &SHAPE, &error))?;
    let optional = |text: Option<Text<'_>>| text.and_then(|text| text.0.map(Cow::into_owned));
    let content = optional(event.datacontenttype);
    check_core(&event.specversion.0, &event.id.0, &event.source.0, &STRUCTURED)?;
    check_content(content.as_deref(), Some("/datacontenttype"))?;
    let envelope = Envelope {
        event_id: event.id.0,
        event_type: event.kind.0,
        aggregate_id: event.subject.0,
        aggregate_type: event.aggregatetype.0,
        operation: event.operation.0,
        data: event.data,
        correlation_id: event.correlationid.and_then(|text| text.0),
        causation_id: event.causationid.and_then(|text| text.0),
        source: event.source.0,
        traceparent: event.traceparent.and_then(|text| text.0),
    };
    check::new_event(envelope, &STRUCTURED, context, new_id)
}

/// Reads one binary event: attributes from the headers, data from the body.
pub(crate) fn read_binary(
    headers: &HeaderMap,
    body: &[u8],
    context: &Context<'_>,
    new_id: &mut IdSource<'_>,
) -> Outcome<NewEvent> {
    let mut envelope = Envelope::default();
    let mut version = None;
    for (name, value) in headers {
        let Some(attribute) = name.as_str().strip_prefix("ce-") else { continue };
        let place = match attribute {
            "specversion" => &mut version,
            "id" => &mut envelope.event_id,
            "source" => &mut envelope.source,
            "type" => &mut envelope.event_type,
            "subject" => &mut envelope.aggregate_id,
            "aggregatetype" => &mut envelope.aggregate_type,
            "operation" => &mut envelope.operation,
            "correlationid" => &mut envelope.correlation_id,
            "causationid" => &mut envelope.causation_id,
            "traceparent" => &mut envelope.traceparent,
            owned if OWNED.contains(&owned) => continue,
            _ => return Err(refused(&format!("`{name}` would not be kept; leave it away"))),
        };
        let text = std::str::from_utf8(value.as_bytes()).ok().and_then(percent::decode);
        let text =
            text.ok_or_else(|| refused(&format!("`{name}` is not percent-encoded UTF-8")))?;
        if place.replace(text).is_some() {
            return Err(refused(&format!("`{name}` is given twice")));
        }
    }
    check_core(&version, &envelope.event_id, &envelope.source, &BINARY)?;
    if !body.is_empty() {
        let data = serde_json::from_slice(body).map_err(|error| explain::not_json(&error))?;
        envelope.data = Some(data);
    }
    check::new_event(envelope, &BINARY, context, new_id)
}

/// What every CloudEvent has.
fn check_core(
    version: &Option<Cow<'_, str>>,
    id: &Option<Cow<'_, str>>,
    source: &Option<Cow<'_, str>>,
    names: &Names,
) -> Outcome<()> {
    let version_name = if names.in_body { "specversion" } else { "ce-specversion" };
    let refuse = |name: &str, detail: &str| {
        let problem = refused(&format!("`{name}`: {detail}"));
        if names.in_body { problem.at(format!("/{name}")) } else { problem }
    };
    if version.as_deref() != Some("1.0") {
        return Err(refuse(version_name, "`1.0` is expected"));
    }
    for (name, value) in [(names.event_id, id), (names.source, source)] {
        if value.as_deref().is_none_or(str::is_empty) {
            return Err(refuse(name, "a CloudEvent has one, and it is not empty"));
        }
    }
    Ok(())
}

fn check_content(given: Option<&str>, pointer: Option<&str>) -> Outcome<()> {
    let Some(given) = given else { return Ok(()) };
    let media = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if media == "application/json" || media.ends_with("+json") {
        return Ok(());
    }
    let detail = format!("the data is `{given}`; only JSON can be kept");
    let problem = Problem::new(Kind::UnsupportedMediaType, detail);
    Err(match pointer {
        Some(pointer) => problem.at(pointer),
        None => problem,
    })
}

fn refused(detail: &str) -> Box<Problem> {
    Problem::new(Kind::InvalidEvent, detail)
}
