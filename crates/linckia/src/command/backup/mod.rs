//! `backup`: state and logs of a region to a directory or an object store, whole or what came
//! since; `backup verify`, `backup list`; `restore`: a region's directory as it was at some time.
//!
//! In reading order: `place` (where backups lie), `set` (what lies there), `take` (from a door to a
//! place), `walk` (reading and checking), `restore`. What always holds: a backup counts once all of
//! it is there; nothing that was written is changed.

#[cfg(feature = "object-store")]
mod bucket;
mod place;
mod restore;
mod set;
mod take;
mod walk;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use self::place::Place;
use self::set::{Flaw, Manifest, Set, milliseconds, range, run_name, text};
use self::walk::Walk;
use super::retry::RETRY_FOR_DEFAULT;
use super::text::{count, number, print, remark, table};
use super::{Context, Outcome, wrong_use};
use crate::config::units::parse_duration;

/// Backs a region up, with all that it has of the others, and looks after backups.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct BackupArguments {
    #[command(subcommand)]
    order: Option<BackupOrder>,
    /// A directory, or s3://bucket/prefix. Where a backup lies already, only what came since is
    /// added.
    #[arg(value_name = "TO", required = true)]
    to: Option<String>,
    /// Take all of it again.
    #[arg(long)]
    full: bool,
    /// Go on: add what came since so often, until Ctrl-C.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    every: Option<Duration>,
    /// How long to go on trying when the region does not answer.
    #[arg(long, value_name = "DURATION", default_value = RETRY_FOR_DEFAULT,
          value_parser = parse_duration)]
    retry_for: Duration,
}

#[derive(Debug, Subcommand)]
enum BackupOrder {
    /// Reads everything and checks that nothing is damaged or missing.
    Verify(FromArguments),
    /// Shows what lies there, and to which times it can be restored.
    List(FromArguments),
}

#[derive(Debug, Args)]
struct FromArguments {
    /// Where the backups lie.
    #[arg(value_name = "FROM")]
    from: String,
}

/// Makes the directory of a region as it was at some time, from a backup: --dir names it, and it
/// must be empty; --region names the region.
#[derive(Debug, Args)]
pub struct RestoreArguments {
    /// Where the backups lie.
    #[arg(value_name = "FROM")]
    from: String,
    /// The time, as 2026-01-31T12:00:00Z; the latest if absent.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
}

/// Runs `backup`; a door is looked for only where one is needed.
///
/// # Errors
/// What kept it from being done, for the operator.
pub async fn run(context: &Context, arguments: &BackupArguments) -> anyhow::Result<Outcome> {
    match (&arguments.order, &arguments.to) {
        (Some(BackupOrder::Verify(from)), _) => verify(context, &from.from).await,
        (Some(BackupOrder::List(from)), _) => list(context, &from.from).await,
        (None, Some(to)) => {
            if arguments.every.is_some_and(|every| every.is_zero()) {
                return Err(wrong_use("--every 0s: name a time between two backups"));
            }
            take::run(context, arguments, to).await
        }
        (None, None) => Err(wrong_use("name where the backup is to lie")),
    }
}

/// Runs `restore`.
///
/// # Errors
/// What kept it from being done, for the operator.
pub async fn restore(
    context: &Context,
    dir: Option<PathBuf>,
    arguments: &RestoreArguments,
) -> anyhow::Result<Outcome> {
    let time = arguments.to.as_deref().map(|text| {
        linckia_api::parse_timestamp(text)
            .ok_or_else(|| wrong_use(format!("--to {text}: write a time as 2026-01-31T12:00:00Z")))
    });
    let dir = dir.ok_or_else(|| {
        wrong_use("name the region's directory with --dir: it is made, and must be empty")
    })?;
    restore::run(context, &arguments.from, &dir, time.transpose()?).await
}

async fn read_set(place: &Place, from: &str) -> anyhow::Result<Set> {
    let set = Set::read(place).await?;
    if !set.broken.is_empty() {
        let files = count(set.broken.len() as u64, "file");
        remark(&format!("{files} of a backup that was broken off do not count"));
    }
    anyhow::ensure!(!set.runs.is_empty(), "no backup lies in {from}");
    Ok(set)
}

async fn verify(context: &Context, from: &str) -> anyhow::Result<Outcome> {
    let place = Place::parse(from)?;
    let checked = check(&place, from).await;
    let flaw = match checked {
        Ok((set, walk)) => {
            let told = json!({
                "whole": true, "backups": set.runs.len(), "records": walk.records,
                "pages": walk.pages, "bytes": walk.bytes, "ranges": ranges(&set),
            });
            let words = format!(
                "Whole: {} with {}, {} bytes read. It can be restored to any time from {}.",
                count(set.runs.len() as u64, "backup"),
                count(walk.records, "record"),
                number(walk.bytes),
                set.ranges()
            );
            print(&if context.json { told.to_string() } else { words })?;
            return Ok(Outcome::Done);
        }
        Err(error) => error.downcast::<Flaw>()?,
    };
    let told = json!({
        "whole": false, "file": flaw.file, "offset": flaw.offset, "what": flaw.what,
    });
    print(&if context.json { told.to_string() } else { format!("Damaged: {flaw}.") })?;
    Ok(Outcome::Refused)
}

async fn check(place: &Place, from: &str) -> anyhow::Result<(Set, Walk)> {
    let set = read_set(place, from).await?;
    let mut walk = Walk::default();
    for run in &set.runs {
        walk.run(place, run, &mut |_| Ok(())).await?;
    }
    Ok((set, walk))
}

fn ranges(set: &Set) -> serde_json::Value {
    let each = set.lines().into_iter().map(|line| {
        let first = line.first().map_or(0, |run| milliseconds(run.from));
        let last = line.iter().map(|run| milliseconds(run.latest)).max().unwrap_or(0);
        json!({ "from": text(first), "to": text(last), "backups": line.len() })
    });
    each.collect()
}

async fn list(context: &Context, from: &str) -> anyhow::Result<Outcome> {
    let set = read_set(&Place::parse(from)?, from).await?;
    if context.json {
        let each = set.runs.iter().map(as_json);
        let told = json!({ "items": each.collect::<Vec<_>>(), "ranges": ranges(&set) });
        print(&told.to_string())?;
        return Ok(Outcome::Done);
    }
    let row = |run: &Manifest| {
        vec![
            run_name(run.number),
            kind(run).to_owned(),
            run.region.clone(),
            text(run.taken_at),
            number(run.records),
            number(run.bytes()),
            text(milliseconds(run.complete)),
        ]
    };
    let header = ["BACKUP", "KIND", "REGION", "TAKEN", "RECORDS", "BYTES", "COMPLETE TO"];
    let rows = set.runs.iter().map(row).collect();
    let lines = set.lines().into_iter().map(range);
    let lines: Vec<String> = lines.map(|line| format!("Any time from {line}.")).collect();
    print(&format!("{}\n\n{}", table(&header, &[4, 5], rows), lines.join("\n")))?;
    Ok(Outcome::Done)
}

fn kind(run: &Manifest) -> &'static str {
    if run.is_full() { "full" } else { "incremental" }
}

/// A backup, for programs.
fn as_json(run: &Manifest) -> serde_json::Value {
    json!({
        "backup": run_name(run.number), "kind": kind(run), "region": run.region,
        "takenAt": text(run.taken_at), "records": run.records, "pages": run.pages,
        "bytes": run.bytes(), "vector": run.upto, "completeTo": text(milliseconds(run.complete)),
        "from": text(milliseconds(run.from)), "to": text(milliseconds(run.latest)),
    })
}
