//! `undo`: compensating events for what the events that a filter names still show.
//!
//! Asks `/v1/undo` page after page: first what would be done, then, if that is wanted, for it to be
//! done. What always holds: nothing is written before it was shown and agreed to.

use std::io::{self, BufRead, IsTerminal};

use clap::Args;
use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::door::{Door, encode};
use super::text::{VALUE_SHOWN, plain, print, remark, short, table};
use super::{Context, Outcome, wrong_use};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// Rows of the table at most; all others are counted.
const ROWS_MAX: usize = 50;

/// Takes back what some events still show, in every region, by events of its own.
#[derive(Debug, Args)]
pub struct UndoArguments {
    /// Which events: actor, correlationId, causationId, aggregateType, aggregateId, region, since,
    /// until, each NAME=VALUE; or the word `everything`.
    #[arg(long = "where", value_name = "NAME=VALUE,…", value_delimiter = ',', required = true)]
    filter: Vec<String>,
    /// Only events from this time on, such as 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only events before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only says what would be written.
    #[arg(long)]
    dry_run: bool,
    /// Writes without asking.
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    correlation_id: String,
    items: Vec<Value>,
    missing: Map<String, Value>,
    #[serde(default)]
    upto: Option<String>,
    next: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    aggregate_type: String,
    aggregate_id: String,
    events: u64,
    compensations: Vec<Compensation>,
    left: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Compensation {
    undoes: String,
    operation: String,
    data: Value,
}

/// What all pages together came to.
#[derive(Default)]
struct Sum {
    items: Vec<Value>,
    correlation_id: String,
    missing: Map<String, Value>,
    compensated: usize,
    written: usize,
    refused: usize,
    upto: Option<String>,
}

/// Runs `undo`.
pub async fn run(context: &Context, arguments: &UndoArguments) -> anyhow::Result<Outcome> {
    let filter = filter(arguments)?;
    let door = context.addresses.one().await?;
    let mut first = Sum::default();
    ask(&door, &filter, true, &mut first).await?;
    if !context.json {
        show(&first)?;
    }
    if arguments.dry_run {
        return finish(context, first, true);
    }
    if first.written == 0 {
        return finish(context, first, false);
    }
    if !arguments.yes && !agreed("Write these events? y/N")? {
        return Err(wrong_use("nothing was written; say --yes, or --dry-run to look only"));
    }
    // What was written since it was looked at was not agreed to.
    let mut done = Sum { upto: first.upto, ..Sum::default() };
    let asked = ask(&door, &filter, false, &mut done).await;
    if let Err(error) = asked {
        finish(context, done, false)?;
        return Err(error.context("it ended before all was done; the same command goes on"));
    }
    finish(context, done, false)
}

fn filter(arguments: &UndoArguments) -> anyhow::Result<Value> {
    let mut filter = Map::new();
    named(&arguments.filter, &mut filter)?;
    for (name, value) in [("since", &arguments.since), ("until", &arguments.until)] {
        if let Some(value) = value {
            filter.insert(name.to_owned(), value.as_str().into());
        }
    }
    Ok(filter.into())
}

/// Reads the words of `--where`.
pub(super) fn named(words: &[String], filter: &mut Map<String, Value>) -> anyhow::Result<()> {
    for word in words {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Value::from(value)),
            None if word == "everything" => ("everything", Value::from(true)),
            None => return Err(wrong_use(format!("--where {word}: write NAME=VALUE"))),
        };
        if filter.insert(name.to_owned(), value).is_some() {
            return Err(wrong_use(format!("--where names {name} twice")));
        }
    }
    Ok(())
}

/// Asks for all pages, and adds up what they say.
async fn ask(door: &Door, filter: &Value, dry_run: bool, sum: &mut Sum) -> anyhow::Result<()> {
    let mut cursor = None::<String>;
    let mut body = json!({"where": filter, "dryRun": dry_run});
    if let Some(upto) = &sum.upto {
        body["upto"] = upto.as_str().into();
    }
    let body = body.to_string();
    loop {
        let path = match &cursor {
            None => "/v1/undo".to_owned(),
            Some(cursor) => format!("/v1/undo?cursor={}", encode(cursor)),
        };
        let answer = door.send(Method::POST, &path, &JSON, body.clone().into()).await?;
        let page: Page = door.read(&answer)?;
        for value in &page.items {
            let item: Item = serde_json::from_value(value.clone())?;
            sum.compensated += usize::from(!item.compensations.is_empty());
            sum.written += item.compensations.len();
            let refused = item.left.as_deref();
            let refused = refused.is_some_and(|why| !["nothing-shows", "undone"].contains(&why));
            sum.refused += usize::from(refused);
        }
        sum.items.extend(page.items);
        sum.missing.extend(page.missing);
        sum.correlation_id = page.correlation_id;
        sum.upto = page.upto;
        cursor = page.next;
        if cursor.is_none() {
            return Ok(());
        }
        let verb = if dry_run { "looked at" } else { "done" };
        remark(&format!("{} aggregates {verb} so far", sum.items.len()));
    }
}

fn show(sum: &Sum) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for value in sum.items.iter().take(ROWS_MAX) {
        let item: Item = serde_json::from_value(value.clone())?;
        let name = format!("{}/{}", item.aggregate_type, item.aggregate_id);
        let events = item.events.to_string();
        if let Some(left) = &item.left {
            rows.push(vec![name, events, String::new(), format!("left: {}", meaning(left))]);
            continue;
        }
        for one in item.compensations {
            let what = format!("{} {}", one.operation, one.data);
            rows.push(vec![name.clone(), events.clone(), one.undoes, short(&what, VALUE_SHOWN)]);
        }
    }
    if rows.is_empty() {
        print("No such event is in the logs.")?;
    } else {
        print(&table(&["AGGREGATE", "EVENTS", "UNDOES", "BY"], &[1], rows))?;
    }
    if sum.items.len() > ROWS_MAX {
        remark(&format!("and {} aggregates more", sum.items.len() - ROWS_MAX));
    }
    if !sum.missing.is_empty() {
        remark("the logs have let go of a part of history; what lay there was not searched");
    }
    Ok(())
}

fn meaning(left: &str) -> String {
    match left {
        "nothing-shows" => "nothing of it shows any more".to_owned(),
        "undone" => "it is undone".to_owned(),
        "unclear" => "its policy takes no event that would lead there".to_owned(),
        "history-gone" => "the logs no longer have all of its history".to_owned(),
        "too-long" => "its history is too long".to_owned(),
        "changing" => "it is written all the time; try again".to_owned(),
        other => format!("the write was refused ({})", plain(other)),
    }
}

/// Whether somebody at the terminal says yes; nobody there says no.
pub(super) fn agreed(question: &str) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    remark(question);
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim()))
}

fn finish(context: &Context, sum: Sum, dry_run: bool) -> anyhow::Result<Outcome> {
    let outcome = if sum.refused == 0 { Outcome::Done } else { Outcome::Refused };
    if context.json {
        print(
            &json!({
                "dryRun": dry_run,
                "correlationId": sum.correlation_id,
                "aggregates": sum.compensated,
                "compensations": sum.written,
                "refused": sum.refused,
                "missing": sum.missing,
                "items": sum.items,
            })
            .to_string(),
        )?;
        return Ok(outcome);
    }
    let verb = if dry_run { "would be" } else { "were" };
    print(&format!(
        "{} events {verb} written for {} aggregates; {} refused.",
        sum.written, sum.compensated, sum.refused
    ))?;
    if !dry_run && sum.written > 0 {
        remark(&format!("to undo this: linckia undo --where correlationId={}", sum.correlation_id));
    }
    Ok(outcome)
}
