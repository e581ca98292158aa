//! Whether an event may be written at all: names, ids, operation and shape of its data.
//!
//! Between parsing and the region, which judges against state. What always holds: what passes is
//! within the limits, and its data is an object.

use std::borrow::Cow;
use std::sync::Arc;

use linckia_model::{Extras, Key, NAME_BYTES_MAX, NewEvent, Operation};
use serde_json::{Map, Value};

use super::explain::{escape, kind};
use super::{Context, Envelope, IdSource, Names};
use crate::headers::is_traceparent;
use crate::problem::{Outcome, Problem};
use crate::settings::{DEPTH_MAX, Limits};

/// The longest event id, in characters: it is kept in the store of every region.
const EVENT_ID_CHARACTERS_MAX: usize = 128;

/// Judges an event and completes it.
pub(crate) fn new_event(
    envelope: Envelope<'_>,
    names: &Names,
    context: &Context<'_>,
    new_id: &mut IdSource<'_>,
) -> Outcome<NewEvent> {
    let limits = context.limits;
    let event_type = required(envelope.event_type.as_deref(), names, names.event_type, limits)?;
    let (path_type, path_id) = context.aggregate.unzip();
    let aggregate_type = addressed(
        envelope.aggregate_type.as_deref(),
        path_type,
        names,
        names.aggregate_type,
        limits,
    )?;
    let aggregate_id =
        addressed(envelope.aggregate_id.as_deref(), path_id, names, names.aggregate_id, limits)?;
    let operation = operation(envelope.operation.as_deref(), names)?;
    let data = envelope.data.unwrap_or_else(|| Value::Object(Map::new()));
    check_data(&data, operation, names, limits)?;
    let event_id = match envelope.event_id {
        Some(id) => {
            check_event_id(&id).map_err(|detail| fault(names, names.event_id, detail))?.into()
        }
        None => new_id(),
    };
    let extras = Extras {
        actor: context.actor.map(Into::into),
        correlation_id: extra(envelope.correlation_id, names, names.correlation_id, limits)?,
        causation_id: extra(envelope.causation_id, names, names.causation_id, limits)?,
        traceparent: trace(envelope.traceparent, context.traceparent),
        source: extra(envelope.source, names, names.source, limits)?,
        label: None,
    };
    let key = Key {
        data_set: Arc::clone(context.data_set),
        aggregate_type: aggregate_type.into(),
        aggregate_id: aggregate_id.into(),
    };
    Ok(NewEvent { key, event_type: event_type.into(), operation, data, event_id, extras })
}

/// Judges a name. Errors: what is wrong with it.
pub(crate) fn check_name(name: &str, limits: &Limits) -> Result<(), String> {
    if name.is_empty() {
        return Err("it must not be empty".to_owned());
    }
    let most = limits.name_bytes.min(NAME_BYTES_MAX);
    if name.len() > most {
        return Err(format!("it has {} bytes, {most} are allowed", name.len()));
    }
    if has_controls(name) {
        return Err("control characters are not allowed in names".to_owned());
    }
    Ok(())
}

/// Judges an event's id. Errors: what is wrong with it.
pub(crate) fn check_event_id(id: &str) -> Result<&str, String> {
    let fits = id.len() <= EVENT_ID_CHARACTERS_MAX || id.chars().count() <= EVENT_ID_CHARACTERS_MAX;
    if id.is_empty() || !fits || has_controls(id) {
        return Err(format!(
            "1 to {EVENT_ID_CHARACTERS_MAX} printable characters are expected, best a UUID"
        ));
    }
    Ok(id)
}

/// Judges a document, a merge patch or the data of an event.
pub(crate) fn check_data(
    data: &Value,
    operation: Operation,
    names: &Names,
    limits: &Limits,
) -> Outcome<()> {
    let Value::Object(members) = data else {
        let detail = format!("the data is an object, not {}", kind(data));
        return Err(Problem::event(names.data, detail));
    };
    let depth = limits.depth.min(DEPTH_MAX);
    if deeper_than(data, depth) {
        let detail = format!("the data is nested deeper than {depth} levels; flatten it");
        return Err(Problem::event(names.data, detail));
    }
    if operation == Operation::Increment
        && let Some((below, value)) = no_integer(members)
    {
        let pointer = format!("{}{below}", names.data);
        let detail = format!(
            "an increment adds 64-bit integers, and {} is none; use `patch` to set it",
            kind(value)
        );
        return Err(Problem::event(pointer, detail));
    }
    Ok(())
}

fn has_controls(text: &str) -> bool {
    if text.is_ascii() {
        text.bytes().any(|byte| byte.is_ascii_control())
    } else {
        text.chars().any(char::is_control)
    }
}

fn fault(names: &Names, name: &'static str, detail: impl std::fmt::Display) -> Box<Problem> {
    let said = name.rsplit('/').next().unwrap_or(name);
    let problem = Problem::new(crate::problem::Kind::InvalidEvent, format!("`{said}`: {detail}"));
    if names.in_body { problem.at(format!("/{name}")) } else { problem }
}

fn required<'t>(
    given: Option<&'t str>,
    names: &Names,
    name: &'static str,
    limits: &Limits,
) -> Outcome<&'t str> {
    let value = given.ok_or_else(|| fault(names, name, "it is required"))?;
    check_name(value, limits).map_err(|detail| fault(names, name, detail))?;
    Ok(value)
}

/// A part of the aggregate's address: from the path where it names it, else from the event.
fn addressed<'t>(
    given: Option<&'t str>,
    path: Option<&'t str>,
    names: &Names,
    name: &'static str,
    limits: &Limits,
) -> Outcome<&'t str> {
    match (given, path) {
        (Some(given), Some(path)) if given != path => {
            Err(fault(names, name, format!("it differs from the path's `{path}`; leave it away")))
        }
        (None, Some(path)) => Ok(path),
        (given, _) => required(given, names, name, limits),
    }
}

fn operation(given: Option<&str>, names: &Names) -> Outcome<Operation> {
    let Some(name) = given else { return Ok(Operation::Patch) };
    Operation::from_name(name).ok_or_else(|| {
        let detail = format!(
            "`{name}` is no operation; `patch`, `put`, `delete`, `increment`, `add`, `remove` and \
             `record` are"
        );
        fault(names, names.operation, detail)
    })
}

fn extra(
    given: Option<Cow<'_, str>>,
    names: &Names,
    name: &'static str,
    limits: &Limits,
) -> Outcome<Option<Box<str>>> {
    let Some(text) = given else { return Ok(None) };
    if text.is_empty() {
        return Ok(None);
    }
    check_name(&text, limits).map_err(|detail| fault(names, name, detail))?;
    Ok(Some(text.into()))
}

/// The event's own trace context before the request's.
fn trace(own: Option<Cow<'_, str>>, of_request: Option<&str>) -> Option<Box<str>> {
    let own = own.filter(|text| is_traceparent(text));
    own.map(Into::into).or_else(|| of_request.map(Into::into))
}

fn deeper_than(value: &Value, levels: usize) -> bool {
    match value {
        Value::Object(members) => {
            levels == 0 || members.values().any(|member| deeper_than(member, levels - 1))
        }
        Value::Array(items) => {
            levels == 0 || items.iter().any(|item| deeper_than(item, levels - 1))
        }
        _ => false,
    }
}

/// The pointer and value of the first leaf that cannot be added.
fn no_integer(members: &Map<String, Value>) -> Option<(String, &Value)> {
    members.iter().find_map(|(name, value)| {
        let (below, found) = match value {
            Value::Object(inner) => no_integer(inner)?,
            Value::Number(number) if number.is_i64() => return None,
            other => (String::new(), other),
        };
        Some((format!("/{}{below}", escape(name)), found))
    })
}
