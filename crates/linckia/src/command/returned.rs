//! `returned`: events that regions brought back from beyond the ends of closed logs.
//!
//! Asks `/v1/returned`: what there is, then for it to be written again or left. What always holds:
//! nothing is decided before it was shown and agreed to.

use clap::{Args, Subcommand};
use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::door::{Door, JSON_BODY, encode};
use super::text::{VALUE_SHOWN, print, remark, short, table};
use super::undo::{agreed, named};
use super::{Context, Outcome, wrong_use};

/// Rows of a table at most; all others are counted.
const ROWS_MAX: usize = 50;

/// Events that one request decides of, and where one transaction of them goes on.
const PART: usize = 500;
const PART_MAX: usize = 1_500;

/// Events that regions brought back from beyond the ends of closed logs.
#[derive(Debug, Subcommand)]
pub enum ReturnedCommand {
    /// Lists them.
    List(ListArguments),
    /// Writes them again, under their own ids.
    Admit(DecideArguments),
    /// Notes that they are not wanted; they stay on record.
    Discard(DecideArguments),
}

/// Arguments of `returned list`.
#[derive(Debug, Args)]
pub struct ListArguments {
    /// Only those that are returned (undecided), admitted or discarded.
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
}

/// Arguments of `returned admit` and `returned discard`.
#[derive(Debug, Args)]
pub struct DecideArguments {
    /// Which of them that are undecided: dot, region, dataSet, aggregateType, aggregateId,
    /// eventType, eventId, actor, correlationId, each NAME=VALUE; or the word `everything`.
    #[arg(long = "where", value_name = "NAME=VALUE,…", value_delimiter = ',', required = true)]
    filter: Vec<String>,
    /// Only says which.
    #[arg(long)]
    dry_run: bool,
    /// Decides without asking.
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Value>,
    next: Option<String>,
}

/// Runs `returned`.
pub async fn run(context: &Context, command: &ReturnedCommand) -> anyhow::Result<Outcome> {
    match command {
        ReturnedCommand::List(arguments) => list(context, arguments).await,
        ReturnedCommand::Admit(arguments) => decide(context, arguments, "admit").await,
        ReturnedCommand::Discard(arguments) => decide(context, arguments, "discard").await,
    }
}

async fn list(context: &Context, arguments: &ListArguments) -> anyhow::Result<Outcome> {
    let door = context.addresses.one().await?;
    let mut path = "/v1/returned?limit=1000".to_owned();
    if let Some(state) = &arguments.state {
        path = format!("{path}&state={}", encode(state));
    }
    let items = pages(&door, &path, None).await?;
    if context.json {
        print(&json!({ "items": items }).to_string())?;
        return Ok(Outcome::Done);
    }
    if items.is_empty() {
        print("Nothing was brought back from beyond the end of a closed log.")?;
        return Ok(Outcome::Done);
    }
    let row = |item: &Value| {
        let of = |pointer: &str| text(item, pointer);
        vec![
            of("/dot"),
            of("/event/metadata/timestamp"),
            format!("{}/{}", of("/event/aggregateType"), of("/event/aggregateId")),
            format!("{} {}", of("/event/operation"), short(&of("/event/eventData"), VALUE_SHOWN)),
            of("/state"),
        ]
    };
    shown(&["DOT", "WRITTEN", "AGGREGATE", "WHAT", "STATE"], items.iter().map(row).collect())?;
    Ok(Outcome::Done)
}

async fn decide(
    context: &Context,
    arguments: &DecideArguments,
    decision: &str,
) -> anyhow::Result<Outcome> {
    let mut filter = Map::new();
    named(&arguments.filter, &mut filter)?;
    let door = context.addresses.one().await?;
    let body = json!({"where": filter, "decision": decision, "dryRun": true});
    let path = "/v1/returned?limit=500";
    let found = pages(&door, path, Some(body)).await?;
    if !context.json {
        show(&found)?;
    }
    if arguments.dry_run || found.is_empty() {
        return finish(context, &found, arguments.dry_run, decision);
    }
    if !arguments.yes && !agreed(&format!("{decision} these events? y/N"))? {
        return Err(wrong_use("nothing was decided; say --yes, or --dry-run to look only"));
    }
    let mut done = Vec::new();
    for shown in parts(&found) {
        let dots: Vec<&Value> = shown.iter().map(|item| &item["dot"]).collect();
        let only = json!({"dots": dots});
        let body = json!({"where": only, "decision": decision, "dryRun": false});
        done.extend(pages(&door, path, Some(body)).await?);
    }
    finish(context, &done, false, decision)
}

/// What was shown, in requests of a size that the door takes: what came since was not agreed to.
/// What was written together stays together.
fn parts(found: &[Value]) -> Vec<&[Value]> {
    let (mut parts, mut rest) = (Vec::new(), found);
    while !rest.is_empty() {
        let mut count = rest.len().min(PART);
        let together = |at: usize| {
            let (last, next) = (&rest[at - 1], &rest[at]);
            origin(last) == origin(next) && last["transaction"] == next["transaction"]
        };
        while count < rest.len() && count < PART_MAX && together(count) {
            count += 1;
        }
        let (part, later) = rest.split_at(count);
        parts.push(part);
        rest = later;
    }
    parts
}

/// The log that an event was lost with.
fn origin(item: &Value) -> Option<&str> {
    item["dot"].as_str()?.rsplit_once(':').map(|(origin, _)| origin)
}

fn show(items: &[Value]) -> anyhow::Result<()> {
    if items.is_empty() {
        return Ok(print("No such event waits for a decision.")?);
    }
    let row = |item: &Value| {
        let of = |pointer: &str| text(item, pointer);
        let aggregate = format!("{}/{}", of("/aggregateType"), of("/aggregateId"));
        vec![of("/dot"), aggregate, of("/eventType"), of("/operation"), of("/eventId")]
    };
    shown(&["DOT", "AGGREGATE", "EVENT", "OPERATION", "ID"], items.iter().map(row).collect())
}

fn shown(head: &[&str], mut rows: Vec<Vec<String>>) -> anyhow::Result<()> {
    let more = rows.len().saturating_sub(ROWS_MAX);
    rows.truncate(ROWS_MAX);
    print(&table(head, &[], rows))?;
    if more > 0 {
        remark(&format!("and {more} more"));
    }
    Ok(())
}

fn finish(
    context: &Context,
    items: &[Value],
    dry_run: bool,
    decision: &str,
) -> anyhow::Result<Outcome> {
    let left: Vec<&Value> = items.iter().filter(|item| item["left"].is_string()).collect();
    let outcome = if left.is_empty() { Outcome::Done } else { Outcome::Refused };
    if context.json {
        print(&json!({"dryRun": dry_run, "items": items}).to_string())?;
        return Ok(outcome);
    }
    for item in &left {
        remark(&format!("{} was refused: {}", text(item, "/dot"), text(item, "/left")));
    }
    for item in items.iter().filter(|item| item["late"].is_object()) {
        let (dot, late) = (text(item, "/writtenAs"), &item["late"]);
        remark(&format!(
            "{dot} is written; it was not known in time to be in {}",
            names(&late["unconfirmed"])
        ));
    }
    let duplicates = items.iter().filter(|item| item["duplicate"] == true).count();
    let verb = if dry_run { "would be" } else { "were" };
    let done = if decision == "admit" { "written again" } else { "discarded" };
    let mut said = format!("{} events {verb} {done}", items.len() - left.len());
    if duplicates > 0 {
        said = format!("{said}, {duplicates} of them had been written under the same id before");
    }
    print(&format!("{said}; {} refused.", left.len()))?;
    Ok(outcome)
}

/// All pages: read, or with a body asked for.
async fn pages(door: &Door, path: &str, body: Option<Value>) -> anyhow::Result<Vec<Value>> {
    let (mut all, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let path = match &cursor {
            None => path.to_owned(),
            Some(cursor) => format!("{path}&cursor={}", encode(cursor)),
        };
        let answer = match &body {
            None => door.get(&path).await?,
            Some(body) => {
                door.send(Method::POST, &path, &[JSON_BODY], body.to_string().into()).await?
            }
        };
        let page: Page = door.read(&answer)?;
        all.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(all);
        }
        remark(&format!("{} events so far", all.len()));
    }
}

fn names(regions: &Value) -> String {
    let names = regions.as_array().into_iter().flatten().filter_map(Value::as_str);
    names.collect::<Vec<_>>().join(", ")
}

fn text(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_shown_is_decided_in_parts_that_keep_transactions_whole() {
        let item = |at: usize, transaction: usize| {
            let dot = format!("a.0000000000000001:{at}");
            json!({"dot": dot, "transaction": transaction})
        };
        let of = |at: usize| if (490..510).contains(&at) { 490 } else { at };
        let found: Vec<Value> = (1..=700).map(|at| item(at, of(at))).collect();
        let sizes: Vec<usize> = parts(&found).iter().map(|part| part.len()).collect();
        assert_eq!(sizes, [509, 191]);
        assert!(parts(&[]).is_empty());
    }
}
