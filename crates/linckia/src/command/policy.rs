//! `policy` and `resolve`: by which rule concurrent writes of a type come to one value, and what a
//! person says where the rule is to ask one.
//!
//! What always holds: a policy that `set` reports is open in the whole fleet.

use anyhow::Context as _;
use clap::{Args, Subcommand};
use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::door::{Answer, Door, encode};
use super::text::{plain, print, print_bytes, table};
use super::{Context, Outcome, wrong_use};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// Shows and changes the policies of aggregate types.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Shows the policies that were agreed, or one type's.
    Show(ShowArguments),
    /// Changes a type's policy; every region must be there.
    Set(SetArguments),
    /// Says what would have come out under another policy, of what was written; changes nothing.
    Try(SetArguments),
}

#[derive(Debug, Args)]
pub struct ShowArguments {
    #[arg(value_name = "TYPE")]
    aggregate_type: Option<String>,
}

#[derive(Debug, Args)]
pub struct SetArguments {
    #[arg(value_name = "TYPE")]
    aggregate_type: String,
    /// LastWriterWins, LastWriterWinsWhole, RegionPriority, DeleteWins, UpdateWins or Manual.
    #[arg(long, value_name = "STRATEGY", default_value = "LastWriterWins")]
    strategy: String,
    /// For RegionPriority, the best first.
    #[arg(long, value_name = "REGION", value_delimiter = ',')]
    regions: Vec<String>,
    /// A field that merges: POINTER=counter, set, map, max, min or flag.
    #[arg(long = "field", value_name = "POINTER=KIND")]
    fields: Vec<String>,
}

/// Settles a conflict: one of its events holds, or what is given.
#[derive(Debug, Args)]
pub struct ResolveArguments {
    /// The conflict's id, as `linckia conflicts` shows it.
    #[arg(value_name = "CONFLICT")]
    id: String,
    /// The event that shall hold.
    #[arg(long, value_name = "EVENT", required_unless_present = "data", conflicts_with = "data")]
    choose: Option<String>,
    /// What shall be, as JSON: a merge patch, or a document where the type is written by put.
    #[arg(long, value_name = "JSON")]
    data: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Policy {
    aggregate_type: String,
    strategy: String,
    regions: Vec<String>,
    fields: Map<String, Value>,
    epoch: u64,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Policy>,
}

/// Runs `policy`.
pub async fn run(context: &Context, command: &PolicyCommand) -> anyhow::Result<Outcome> {
    let door = context.addresses.one().await?;
    let (answer, one) = match command {
        PolicyCommand::Show(ShowArguments { aggregate_type: None }) => {
            (door.get("/v1/policies").await?, false)
        }
        PolicyCommand::Show(ShowArguments { aggregate_type: Some(name) }) => {
            (door.get(&path_of(name)).await?, true)
        }
        PolicyCommand::Set(arguments) => (set(&door, arguments).await?, true),
        PolicyCommand::Try(arguments) => return try_out(context, &door, arguments).await,
    };
    if context.json {
        print_bytes(&answer.body)?;
        return Ok(Outcome::Done);
    }
    let policies: Vec<Policy> =
        if one { vec![door.read(&answer)?] } else { door.read::<Page>(&answer)?.items };
    if policies.is_empty() {
        print("Nothing was agreed: every type is under LastWriterWins, by path.")?;
        return Ok(Outcome::Done);
    }
    let row = |Policy { aggregate_type, strategy, regions, fields, epoch }: Policy| {
        let kind = |(pointer, kind): (&String, &Value)| {
            format!("{pointer}={}", kind.as_str().unwrap_or_default())
        };
        let mut how = fields.iter().map(kind).collect::<Vec<_>>();
        how.extend((!regions.is_empty()).then(|| regions.join(" > ")));
        vec![aggregate_type, strategy, how.join(" "), epoch.to_string()]
    };
    let rows = policies.into_iter().map(row).collect();
    let header = ["TYPE", "STRATEGY", "FIELDS, REGIONS", "EPOCH"];
    print(&table(&header, &[3], rows))?;
    Ok(Outcome::Done)
}

fn path_of(aggregate_type: &str) -> String {
    format!("/v1/policies/{}", encode(aggregate_type))
}

/// The policy that the arguments describe.
fn described(arguments: &SetArguments) -> anyhow::Result<Value> {
    let mut fields = Map::new();
    for field in &arguments.fields {
        let (pointer, kind) = field.split_once('=').ok_or_else(|| {
            wrong_use(format!("--field {field}: write POINTER=KIND, such as /stock=counter"))
        })?;
        fields.insert(pointer.to_owned(), kind.into());
    }
    let SetArguments { strategy, regions, .. } = arguments;
    Ok(json!({"strategy": strategy, "regions": regions, "fields": fields}))
}

async fn set(door: &Door, arguments: &SetArguments) -> anyhow::Result<Answer> {
    let body = described(arguments)?.to_string();
    Ok(door.send(Method::PUT, &path_of(&arguments.aggregate_type), &JSON, body.into()).await?)
}

#[derive(Deserialize)]
struct Tried {
    aggregates: u64,
    events: u64,
    changed: u64,
    conflicts: Difference,
    items: Vec<Changed>,
}

#[derive(Deserialize)]
struct Difference {
    appear: u64,
    disappear: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Changed {
    aggregate_id: String,
    before: Value,
    after: Value,
    appear: Vec<Value>,
    disappear: Vec<Value>,
}

async fn try_out(
    context: &Context,
    door: &Door,
    arguments: &SetArguments,
) -> anyhow::Result<Outcome> {
    let mut body = described(arguments)?;
    body["aggregateType"] = arguments.aggregate_type.as_str().into();
    let path = "/v1/policies/dry-run";
    let answer = door.send(Method::POST, path, &JSON, body.to_string().into()).await?;
    if context.json {
        print_bytes(&answer.body)?;
        return Ok(Outcome::Done);
    }
    let Tried { aggregates, events, changed, conflicts, items } = door.read(&answer)?;
    let Difference { appear, disappear } = conflicts;
    print(&format!(
        "Of {aggregates} aggregates ({events} events) {changed} would differ; {appear} conflicts \
         would appear, {disappear} would not."
    ))?;
    for Changed { aggregate_id, before, after, appear, disappear } in items {
        let (more, fewer) = (appear.len(), disappear.len());
        let line = format!("{aggregate_id}: {before} -> {after}, conflicts +{more} -{fewer}");
        print(&plain(&line))?;
    }
    Ok(Outcome::Done)
}

/// Runs `resolve`.
pub async fn resolve(context: &Context, arguments: &ResolveArguments) -> anyhow::Result<Outcome> {
    let body = match (&arguments.choose, &arguments.data) {
        (Some(event), _) => json!({ "choose": event }),
        (None, data) => {
            let text = data.as_deref().unwrap_or_default();
            let data: Value = serde_json::from_str(text).context("--data is not JSON")?;
            json!({ "data": data })
        }
    };
    let door = context.addresses.one().await?;
    let path = format!("/v1/conflicts/{}/resolve", encode(&arguments.id));
    let answer = door.send(Method::POST, &path, &JSON, body.to_string().into()).await?;
    if context.json {
        print_bytes(&answer.body)?;
    } else {
        print("Settled, by an event of its own that every region will apply.")?;
    }
    Ok(Outcome::Done)
}
