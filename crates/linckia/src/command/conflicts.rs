//! `conflicts`: what was hidden without being known, who won and why; one of them as a story.
//!
//! Reads `/v1/conflicts`. What always holds: the loser is shown beside the winner, with region,
//! time and data; nothing is settled from here (`policy.rs` does).

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::Value;

use super::door::{Answer, Door, Failure, encode, query};
use super::text::{VALUE_SHOWN, plain, print, print_bytes, remark, short, table};
use super::{Context, Outcome, wrong_use};

/// Of an id, this much tells conflicts apart; `conflicts ID` takes as much.
const ID_SHOWN: usize = 12;

/// A shortened id is looked for in so many pages at most.
const PAGES_SEARCHED: usize = 100;

/// Shows conflicts on record: who won, why, and what the losers held.
#[derive(Debug, Args)]
pub struct ConflictsArguments {
    /// One conflict, in full; the beginning of its id is enough.
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// Only those that wait for a person, or only those settled.
    #[arg(long, value_enum, conflicts_with = "id")]
    status: Option<Status>,
    /// Only of aggregates of this type.
    #[arg(long, value_name = "TYPE", conflicts_with = "id")]
    aggregate_type: Option<String>,
    /// Only of aggregates with this id.
    #[arg(long, value_name = "ID", conflicts_with = "id")]
    aggregate_id: Option<String>,
    /// How many to show, 1 to 1000.
    #[arg(long, value_name = "N", default_value_t = 100, conflicts_with = "id",
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Begin where an earlier page ended.
    #[arg(long, value_name = "CURSOR", conflicts_with = "id")]
    cursor: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Status {
    Open,
    Settled,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Conflict>,
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Conflict {
    conflict_id: String,
    #[serde(default)]
    conflict_type: String,
    aggregate_type: String,
    aggregate_id: String,
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    conflicting_events: Vec<Write>,
    #[serde(default)]
    resolution_strategy: String,
    #[serde(default)]
    resolved_event: Option<String>,
    #[serde(default)]
    resolved_fields: BTreeMap<String, Option<String>>,
    #[serde(default)]
    resolved_at: Option<String>,
    #[serde(default)]
    status: String,
    #[serde(default)]
    stage: String,
}

/// One of the writes that met.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Write {
    event_id: String,
    operation: String,
    region: String,
    timestamp: String,
    data: Value,
    actor: Option<String>,
    dot: String,
    hlc: String,
}

/// Runs `conflicts`.
pub async fn run(context: &Context, arguments: &ConflictsArguments) -> anyhow::Result<Outcome> {
    let door = context.addresses.one().await?;
    if let Some(id) = &arguments.id {
        let answer = find(&door, id).await?;
        if context.json {
            print_bytes(&answer.body)?;
        } else {
            let conflict: Conflict = door.read(&answer)?;
            print(&story(&conflict))?;
        }
        return Ok(Outcome::Done);
    }
    let status = arguments.status.map(|status| match status {
        Status::Open => "open",
        Status::Settled => "settled",
    });
    let limit = arguments.limit.to_string();
    let query = query(&[
        ("status", status),
        ("aggregateType", arguments.aggregate_type.as_deref()),
        ("aggregateId", arguments.aggregate_id.as_deref()),
        ("limit", Some(&limit)),
        ("cursor", arguments.cursor.as_deref()),
    ]);
    let answer = door.get(&format!("/v1/conflicts{query}")).await?;
    if context.json {
        print_bytes(&answer.body)?;
        return Ok(Outcome::Done);
    }
    let page: Page = door.read(&answer)?;
    if page.items.is_empty() {
        print(&format!("No such conflict is on record in {}.", door.label()))?;
        return Ok(Outcome::Done);
    }
    let rows = page.items.iter().flat_map(rows).collect();
    let header = ["ID", "AGGREGATE", "PATH", "WINNER", "LOSER", "WHY", "STATUS"];
    print(&table(&header, &[], rows))?;
    if let Some(next) = page.next {
        remark(&format!("there are more: --cursor {}", plain(&next)));
    }
    Ok(Outcome::Done)
}

/// The conflict with this id, or with the only one that begins so.
async fn find(door: &Door, id: &str) -> anyhow::Result<Answer> {
    if matches!(id, "" | "." | "..") {
        return Err(wrong_use(format!("`{id}` is no id of a conflict")));
    }
    let missing = match door.get(&format!("/v1/conflicts/{}", encode(id))).await {
        Ok(answer) => return Ok(answer),
        Err(failure) if failure.is_status(404) => failure,
        Err(failure) => return Err(failure.into()),
    };
    let mut found: Vec<String> = Vec::new();
    let mut cursor: Option<String> = None;
    for _ in 0..PAGES_SEARCHED {
        let query = query(&[("limit", Some("1000")), ("cursor", cursor.as_deref())]);
        let answer = door.get(&format!("/v1/conflicts{query}")).await?;
        let page: Page = door.read(&answer)?;
        let ids = page.items.into_iter().map(|conflict| conflict.conflict_id);
        found.extend(ids.filter(|known| known.starts_with(id)));
        cursor = page.next;
        if cursor.is_none() || found.len() > 1 {
            break;
        }
    }
    match found.as_slice() {
        [] => Err(missing.into()),
        [whole] => {
            let answer: Result<Answer, Failure> =
                door.get(&format!("/v1/conflicts/{}", encode(whole))).await;
            Ok(answer?)
        }
        [..] => anyhow::bail!("more than one conflict's id begins with {id}; write more of it"),
    }
}

impl Conflict {
    /// The event that won at a path, as far as it is told.
    fn winner(&self, path: Option<&str>) -> Option<&Write> {
        let at_path = path.and_then(|path| self.resolved_fields.get(path)?.as_deref());
        let id = at_path.or(self.resolved_event.as_deref())?;
        self.conflicting_events.iter().find(|write| write.event_id == id)
    }

    /// The event by which a person settled it: none of those that met.
    fn settled_by(&self) -> Option<&str> {
        let id = self.resolved_event.as_deref().filter(|_| self.status == "settled")?;
        let among = self.conflicting_events.iter().any(|write| write.event_id == id);
        (!among).then_some(id)
    }

    /// Everything that did not win at a path. One id on both sides is told apart by the dot.
    fn losers(&self, path: Option<&str>) -> Vec<&Write> {
        let winner = self.winner(path).map(|write| write.dot.as_str());
        let losers = self.conflicting_events.iter();
        losers.filter(|write| winner.is_some() && Some(write.dot.as_str()) != winner).collect()
    }

    /// Its paths; the one place that has no path is the aggregate as a whole.
    fn places(&self) -> Vec<Option<&str>> {
        let mut paths: Vec<&str> = self.paths.iter().map(String::as_str).collect();
        if paths.is_empty() {
            paths = self.resolved_fields.keys().map(String::as_str).collect();
        }
        if paths.is_empty() { vec![None] } else { paths.into_iter().map(Some).collect() }
    }
}

impl Write {
    /// What it wrote at a path, in a few words.
    fn wrote(&self, path: Option<&str>) -> String {
        if self.operation == "delete" {
            return "(deleted)".to_owned();
        }
        match self.data.pointer(path.unwrap_or_default()) {
            Some(Value::Null) if self.operation == "patch" => "(removed)".to_owned(),
            Some(value) => value.to_string(),
            None if self.operation == "put" => "(left out)".to_owned(),
            None => self.data.to_string(),
        }
    }

    fn cell(&self, path: Option<&str>) -> String {
        format!("{} {} {}", self.region, self.timestamp, short(&self.wrote(path), VALUE_SHOWN))
    }
}

fn path_shown(path: Option<&str>) -> String {
    match path {
        None => "(all of it)".to_owned(),
        Some("") => "(the root)".to_owned(),
        Some(path) => path.to_owned(),
    }
}

fn rows(conflict: &Conflict) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (place, path) in conflict.places().into_iter().enumerate() {
        let first = place == 0;
        let once = |text: String| if first { text } else { String::new() };
        let winner = match (conflict.winner(path), conflict.settled_by()) {
            (Some(winner), _) => winner.cell(path),
            (None, Some(event)) => format!("event {event}"),
            (None, None) => "(nobody yet)".to_owned(),
        };
        let losers: Vec<String> =
            conflict.losers(path).iter().map(|loser| loser.cell(path)).collect();
        let id: String = conflict.conflict_id.chars().take(ID_SHOWN).collect();
        rows.push(vec![
            once(id),
            once(format!("{}/{}", conflict.aggregate_type, conflict.aggregate_id)),
            path_shown(path),
            winner,
            losers.join("; "),
            once(conflict.resolution_strategy.clone()),
            once(format!("{}, {}", conflict.status, conflict.stage)),
        ]);
    }
    rows
}

/// The whole of one conflict, in sentences.
fn story(conflict: &Conflict) -> String {
    let kind = match conflict.conflict_type.as_str() {
        "update-update" => "Two writes met that did not know of each other",
        "update-delete" => "A write and a deletion met that did not know of each other",
        "id-reused" => "One event id was used for two different events",
        other => other,
    };
    let mut lines = vec![
        format!("Conflict {}", conflict.conflict_id),
        format!("on {}/{}.", conflict.aggregate_type, conflict.aggregate_id),
        String::new(),
        format!("{kind}:"),
    ];
    for write in &conflict.conflicting_events {
        let actor = write.actor.as_ref().map(|actor| format!(" by {actor}")).unwrap_or_default();
        lines.push(format!(
            "- {} at {}{actor}: {} {}",
            write.region, write.timestamp, write.operation, write.data
        ));
        lines.push(format!("  (event {}, dot {}, stamp {})", write.event_id, write.dot, write.hlc));
    }
    lines.push(String::new());
    for path in conflict.places() {
        lines.push(outcome(conflict, path));
    }
    lines.push(String::new());
    lines.push(reason(conflict));
    lines.push(standing(conflict));
    lines.iter().map(|line| plain(line).into_owned()).collect::<Vec<_>>().join("\n")
}

fn outcome(conflict: &Conflict, path: Option<&str>) -> String {
    let place = path_shown(path);
    let Some(winner) = conflict.winner(path) else {
        if let Some(event) = conflict.settled_by() {
            return format!("At {place} a person settled it, by event {event}.");
        }
        return format!("At {place} nobody has won yet.");
    };
    let losers: Vec<String> = conflict
        .losers(path)
        .iter()
        .map(|loser| format!("{} of {}", loser.wrote(path), loser.region))
        .collect();
    format!(
        "At {place} {} of {} won; {} lost and is on record here.",
        winner.wrote(path),
        winner.region,
        if losers.is_empty() { "the other".to_owned() } else { losers.join(", ") }
    )
}

fn reason(conflict: &Conflict) -> String {
    let rule = match conflict.resolution_strategy.as_str() {
        "LastWriterWins" => {
            "at each path the write with the later stamp stays; equal stamps are told apart by \
             origin, so every region decides alike"
        }
        "LastWriterWinsWhole" => "of whole values the one with the later stamp stays",
        "RegionPriority" => "the region that stands first in the policy stays",
        "DeleteWins" => "a deletion stays, whatever was written beside it",
        "UpdateWins" => "a write stays, whatever was deleted beside it",
        "Manual" => "a person decides; until then the later stamp is shown",
        _ => return format!("Why: {}.", conflict.resolution_strategy),
    };
    format!("Why: {}: {rule}.", conflict.resolution_strategy)
}

fn standing(conflict: &Conflict) -> String {
    let at = conflict.resolved_at.as_ref().map(|at| format!(" at {at}")).unwrap_or_default();
    let status = match conflict.status.as_str() {
        "open" => "It waits for a person".to_owned(),
        "settled" if conflict.settled_by().is_some() => format!("It was settled by a person{at}"),
        "settled" => format!("It was settled by this rule{at}"),
        other => format!("Its status is {other}"),
    };
    let stage = match conflict.stage.as_str() {
        "provisional" => "provisional: events that are still on their way may change it",
        "confirmed" => "confirmed: the same in every region, for good",
        other => other,
    };
    format!("{status}; {stage}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFLICT: &str = r#"{"conflictId":"0123456789abcdef","conflictType":"update-update",
        "aggregateType":"W","aggregateId":"1","paths":["/name","/size"],
        "conflictingEvents":[
            {"eventId":"e1","operation":"put","region":"us-east-1",
             "timestamp":"2026-01-01T00:00:01Z",
             "data":{"name":"A","size":1},"actor":"ann","dot":"us-east-1.1:1","hlc":"01"},
            {"eventId":"e2","operation":"patch","region":"eu-west-1",
             "timestamp":"2026-01-01T00:00:02Z",
             "data":{"name":"B","size":null},"dot":"eu-west-1.1:1","hlc":"02"}],
        "resolutionStrategy":"LastWriterWins","resolvedEvent":null,
        "resolvedFields":{"/name":"e2","/size":"e2"},"resolvedAt":"2026-01-01T00:00:02Z",
        "status":"settled","stage":"confirmed"}"#;

    #[test]
    fn rows_show_winner_and_loser() {
        let rows = rows(&serde_json::from_str(CONFLICT).unwrap());
        assert_eq!(
            rows[0],
            [
                "0123456789ab",
                "W/1",
                "/name",
                "eu-west-1 2026-01-01T00:00:02Z \"B\"",
                "us-east-1 2026-01-01T00:00:01Z \"A\"",
                "LastWriterWins",
                "settled, confirmed"
            ]
        );
        assert_eq!(rows[1][3], "eu-west-1 2026-01-01T00:00:02Z (removed)");
        assert_eq!(rows[1][0], "");
    }

    #[test]
    fn the_story_says_who_won_and_why() {
        let story = story(&serde_json::from_str(CONFLICT).unwrap());
        for part in [
            "At /name \"B\" of eu-west-1 won; \"A\" of us-east-1 lost and is on record here.",
            "- us-east-1 at 2026-01-01T00:00:01Z by ann: put {\"name\":\"A\",\"size\":1}",
            "Why: LastWriterWins",
            "settled by this rule at 2026-01-01T00:00:02Z; confirmed",
        ] {
            assert!(story.contains(part), "{part}\n{story}");
        }
    }

    #[test]
    fn open_conflicts_have_no_winner_yet() {
        let mut conflict: Conflict = serde_json::from_str(CONFLICT).unwrap();
        conflict.resolved_fields.clear();
        conflict.status = "open".to_owned();
        assert!(story(&conflict).contains("At /name nobody has won yet."));
        assert_eq!(rows(&conflict)[0][3], "(nobody yet)");
        assert_eq!(rows(&conflict)[0][4], "");
    }
}
