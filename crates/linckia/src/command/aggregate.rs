//! `append` and `get`: one event onto one aggregate, and what an aggregate is now.
//!
//! What always holds: an append carries an event id from here, so that a lost answer can be asked
//! for again by the same id without writing twice.

use std::fs::File;
use std::io::{self, Read};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::door::{JSON_BODY, aggregate_path, query};
use super::text::{count, plain, print, print_bytes};
use super::{Context, Outcome, wrong_use};
use crate::command::client::header;

/// The door's own default for a body; more is refused there anyway.
const DATA_LIMIT: u64 = 8 << 20;

/// Appends one event to an aggregate.
#[derive(Debug, Args)]
pub struct AppendArguments {
    /// The aggregate's type, for example Aircraft.
    #[arg(value_name = "TYPE")]
    aggregate_type: String,
    /// The aggregate's id, for example N14228.
    #[arg(value_name = "ID")]
    aggregate_id: String,
    /// What happened, for example FlightDeparted.
    #[arg(value_name = "EVENTTYPE")]
    event_type: String,
    /// What the event does to the aggregate's value.
    #[arg(long, value_enum, default_value_t = Operation::Patch)]
    operation: Operation,
    /// The event's data, a JSON object: as it stands, @FILE, or - for standard input.
    #[arg(long, value_name = "JSON|@FILE|-", default_value = "{}")]
    data: String,
    /// The event's id; the same id with the same content is written once. Absent: a new UUID.
    #[arg(long = "id", value_name = "EVENTID")]
    event_id: Option<String>,
    /// Append only if the aggregate is still as this ETag says (`get` shows it).
    #[arg(long, value_name = "ETAG", conflicts_with = "if_absent")]
    if_match: Option<String>,
    /// Append only if the aggregate does not exist.
    #[arg(long)]
    if_absent: bool,
    /// Where the event must be durable before the answer: local, any, quorum, all, or region names
    /// joined by commas; ";timeout=2s" behind it bounds the wait.
    #[arg(long, value_name = "LEVEL")]
    ack: Option<String>,
}

/// What an event does to the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Operation {
    /// Replace the whole value.
    Put,
    /// Merge into the value (RFC 7396); creates it.
    Patch,
    /// Remove the value.
    Delete,
    /// Add integers, path by path.
    Increment,
    /// Add members to sets, where the type's policy has some.
    Add,
    /// Take members out of sets: those that were seen.
    Remove,
    /// Only go on record: the value stays.
    Record,
}

/// Shows what an aggregate is now.
#[derive(Debug, Args)]
pub struct GetArguments {
    /// The aggregate's type.
    #[arg(value_name = "TYPE")]
    aggregate_type: String,
    /// The aggregate's id.
    #[arg(value_name = "ID")]
    aggregate_id: String,
    /// As it was at a time (RFC 3339) or at a vector.
    #[arg(long, value_name = "TIME|VECTOR")]
    at: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewEvent<'a> {
    event_id: &'a str,
    event_type: &'a str,
    operation: Operation,
    event_data: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Appended {
    event_id: String,
    region: String,
    origin: String,
    sequence: u64,
    version: u64,
    ack: String,
    #[serde(default)]
    duplicate: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Aggregate {
    version: u64,
    data: serde_json::Value,
    #[serde(default)]
    conflicts: serde_json::Value,
    #[serde(default)]
    updated_at: String,
    #[serde(default)]
    region: String,
    #[serde(default)]
    at: Option<String>,
    #[serde(default)]
    settled: bool,
}

/// Runs `append`.
pub async fn append(context: &Context, arguments: &AppendArguments) -> anyhow::Result<Outcome> {
    let data = read_data(&arguments.data)?;
    let new_id = || uuid::Uuid::now_v7().to_string();
    let event_id = arguments.event_id.clone().unwrap_or_else(new_id);
    let event = NewEvent {
        event_id: &event_id,
        event_type: &arguments.event_type,
        operation: arguments.operation,
        event_data: &data,
    };
    let body = Bytes::from(serde_json::to_vec(&event)?);
    let path = aggregate_path(&arguments.aggregate_type, &arguments.aggregate_id)?;
    let etag = arguments.if_match.as_deref().map(quoted);
    let mut headers: Vec<(&str, &str)> = vec![JSON_BODY];
    if let Some(etag) = &etag {
        headers.push(("if-match", etag));
    } else if arguments.if_absent {
        headers.push(("if-none-match", "*"));
    }
    if let Some(level) = &arguments.ack {
        headers.push(("linckia-ack", level));
    }
    let door = context.addresses.one().await?;
    let answer = match door.send(Method::POST, &format!("{path}/events"), &headers, body).await {
        Ok(answer) => answer,
        Err(failure) => {
            // A proxy's 504 says nothing of the write; the region's own says that it stands.
            let late = failure.is_status(StatusCode::GATEWAY_TIMEOUT.as_u16());
            let unsure = failure.is_lost() || (late && !failure.is_problem("ack-timeout"));
            let error = anyhow::Error::from(failure);
            return Err(if unsure { error.context(advice(&event_id)) } else { error });
        }
    };
    if context.json {
        print_bytes(&answer.body)?;
        return Ok(Outcome::Done);
    }
    let done: Appended = door.read(&answer)?;
    let verb = if done.duplicate { "was there already" } else { "written" };
    print(&plain(&format!(
        "Event {} {verb} in {} as {}:{}; {}/{} is at version {}; acknowledged: {}.",
        done.event_id,
        done.region,
        done.origin,
        done.sequence,
        arguments.aggregate_type,
        arguments.aggregate_id,
        done.version,
        done.ack
    )))?;
    Ok(Outcome::Done)
}

fn advice(event_id: &str) -> String {
    format!(
        "whether the event is written is not known; run the same command again with --id \
         {event_id}: it is written once at most"
    )
}

/// Runs `get`.
pub async fn get(context: &Context, arguments: &GetArguments) -> anyhow::Result<Outcome> {
    let path = aggregate_path(&arguments.aggregate_type, &arguments.aggregate_id)?;
    let door = context.addresses.one().await?;
    let answer = door.get(&format!("{path}{}", query(&[("at", arguments.at.as_deref())]))).await?;
    if context.json {
        print_bytes(&answer.body)?;
        return Ok(Outcome::Done);
    }
    let aggregate: Aggregate = door.read(&answer)?;
    let open = match &aggregate.conflicts {
        serde_json::Value::Array(conflicts) => conflicts.len() as u64,
        other => other.as_u64().unwrap_or(0),
    };
    let mut head = format!(
        "{}/{} in {}: version {}, updated {}",
        arguments.aggregate_type,
        arguments.aggregate_id,
        if aggregate.region.is_empty() { door.label() } else { &aggregate.region },
        aggregate.version,
        aggregate.updated_at
    );
    if open > 0 {
        head = format!("{head}, {} on record", count(open, "conflict"));
    }
    if let Some(etag) = header(&answer.headers, "etag") {
        head = format!("{head}, ETag {etag}");
    }
    if let Some(at) = &aggregate.at {
        let may = if aggregate.settled { "" } else { " (a write may still come that changes it)" };
        head = format!("{head}; as of {at}{may}");
    }
    print(&plain(&head))?;
    print(&serde_json::to_string_pretty(&aggregate.data)?)?;
    Ok(Outcome::Done)
}

/// An ETag as the header wants it, whether or not the shell ate its quotes.
fn quoted(etag: &str) -> String {
    if etag == "*" || etag.starts_with('"') || etag.starts_with("W/") {
        etag.to_owned()
    } else {
        format!("\"{etag}\"")
    }
}

fn read_data(argument: &str) -> anyhow::Result<Box<RawValue>> {
    let (text, place) = match argument.strip_prefix('@') {
        _ if argument == "-" => (read_limited(io::stdin().lock())?, "standard input".to_owned()),
        Some(path) => {
            let file = File::open(path).with_context(|| format!("cannot read --data @{path}"))?;
            (read_limited(file)?, path.to_owned())
        }
        None => (argument.to_owned(), "--data".to_owned()),
    };
    let value: Box<RawValue> = serde_json::from_str(&text)
        .map_err(|error| wrong_use(format!("{place} holds no JSON: {error}")))?;
    if !value.get().starts_with('{') {
        return Err(wrong_use(format!("{place} must hold a JSON object, such as {{\"a\": 1}}")));
    }
    Ok(value)
}

fn read_limited(source: impl Read) -> anyhow::Result<String> {
    let mut text = String::new();
    source.take(DATA_LIMIT + 1).read_to_string(&mut text)?;
    if text.len() as u64 > DATA_LIMIT {
        bail!("an event's data may have at most {DATA_LIMIT} bytes");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_are_quoted_once() {
        for (given, sent) in [("ab", "\"ab\""), ("\"ab\"", "\"ab\""), ("*", "*")] {
            assert_eq!(quoted(given), sent);
        }
    }

    #[test]
    fn data_is_an_object() {
        assert_eq!(read_data(r#" {"a": 1.10} "#).unwrap().get(), r#"{"a": 1.10}"#);
        assert!(read_data("[1]").is_err());
        assert!(read_data("{").is_err());
        assert!(read_data("@/nowhere").is_err());
    }
}
