//! `log verify` and `log dump`: a region's log read from its directory, while no region has it.
//!
//! Beside the door's commands, for the day on which there is no door. What always holds: nothing
//! is written; damage is named with file, offset and what to do.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use linckia_log::{Entry, EntryKind, FileReport, LocalDisk, Report};
use linckia_model::{Dot, Event, Origin, Vector, decode_event};
use serde::Serialize;
use serde_json::Value;

use super::text::{VALUE_SHOWN, count, number, plain, print, remark, short, table};
use super::{Outcome, wrong_use};
use crate::config::Config;

/// The folder that makes a directory a log's.
const LOGS: &str = "logs";

/// Where, below a region's own directory, its log may lie.
const PLACES: [&str; 4] = ["", "log", "data", "data/log"];

/// Reads a region's log from its directory; the region must be stopped.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Reads every byte and says what is damaged; exit 1 if something durable is.
    Verify(VerifyArguments),
    /// Lists records as they stand, one a line.
    Dump(DumpArguments),
}

/// Which directory is meant.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct PlaceArguments {
    /// The region's directory.
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    /// The region's configuration, which names its directory.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Arguments of `log verify`.
#[derive(Debug, Args)]
pub struct VerifyArguments {
    #[command(flatten)]
    place: PlaceArguments,
}

/// Arguments of `log dump`.
#[derive(Debug, Args)]
pub struct DumpArguments {
    #[command(flatten)]
    place: PlaceArguments,
    /// Only the log of this origin.
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<String>,
    /// Begin with this sequence.
    #[arg(long, value_name = "SEQUENCE", default_value_t = 1)]
    from: u64,
    /// End with this sequence.
    #[arg(long, value_name = "SEQUENCE", default_value_t = u64::MAX, hide_default_value = true)]
    to: u64,
}

impl LogCommand {
    /// Runs it.
    pub fn run(&self, json: bool) -> anyhow::Result<Outcome> {
        match self {
            Self::Verify(arguments) => verify(arguments, json),
            Self::Dump(arguments) => dump(arguments, json),
        }
    }
}

/// Opens the log below the directory that was named.
fn open(place: &PlaceArguments) -> anyhow::Result<LocalDisk> {
    let directory = match (&place.directory, &place.config) {
        (Some(directory), _) => directory.clone(),
        (None, Some(config)) => Config::load(config)?.dir,
        (None, None) => return Err(wrong_use("name a directory or --config FILE")),
    };
    let root = find(&directory)?;
    LocalDisk::open_to_read(&root).with_context(|| {
        format!(
            "cannot read the log in {}; a region that runs must be stopped first",
            root.display()
        )
    })
}

fn find(directory: &Path) -> anyhow::Result<PathBuf> {
    let is_root = |root: &PathBuf| root.join(LOGS).is_dir();
    if let Some(root) = PLACES.iter().map(|place| directory.join(place)).find(is_root) {
        return Ok(root);
    }
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("cannot read {}", directory.display()))?;
    let regions: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| PLACES.iter().map(|place| path.join(place)).any(|root| is_root(&root)))
        .map(|path| path.display().to_string())
        .collect();
    if regions.is_empty() {
        bail!("there is no log in {}: it has no folder `{LOGS}`", directory.display());
    }
    bail!("{} is no region's directory; name one: {}", directory.display(), regions.join(", "))
}

/// The report, as `--json` prints it.
#[derive(Serialize)]
struct Verified<'a> {
    sound: bool,
    files: Vec<VerifiedFile<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VerifiedFile<'a> {
    origin: &'a str,
    file: &'a str,
    first: u64,
    last: u64,
    records: u64,
    payload_bytes: u64,
    header_damaged: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    bad: Option<VerifiedBad>,
}

#[derive(Serialize)]
struct VerifiedBad {
    offset: u64,
    sequence: u64,
    torn: bool,
    what: &'static str,
}

fn verify(arguments: &VerifyArguments, json: bool) -> anyhow::Result<Outcome> {
    let disk = open(&arguments.place)?;
    let report = linckia_log::verify(&disk)?;
    if json {
        let files = files(&report).map(|(origin, file)| verified(origin, file)).collect();
        print(&serde_json::to_string(&Verified { sound: report.sound(), files })?)?;
    } else {
        let rows = files(&report).map(|(origin, file)| row(origin, file)).collect();
        let header = ["ORIGIN", "FILE", "SEQUENCES", "RECORDS", "BYTES", "STATE"];
        print(&table(&header, &[3, 4], rows))?;
        print(&format!("\n{}", sentence(&report)))?;
    }
    Ok(if report.sound() { Outcome::Done } else { Outcome::Refused })
}

fn files(report: &Report) -> impl Iterator<Item = (&str, &FileReport)> {
    let origins = report.origins.iter();
    origins.flat_map(|origin| origin.files.iter().map(|file| (origin.origin.as_str(), file)))
}

fn verified<'a>(origin: &'a str, file: &'a FileReport) -> VerifiedFile<'a> {
    let bad = file.bad.as_ref().map(|bad| VerifiedBad {
        offset: bad.offset,
        sequence: bad.sequence,
        torn: bad.torn,
        what: bad.what,
    });
    VerifiedFile {
        origin,
        file: &file.file,
        first: file.first,
        last: file.last,
        records: file.records,
        payload_bytes: file.payload_bytes,
        header_damaged: file.header_damaged,
        bad,
    }
}

fn row(origin: &str, file: &FileReport) -> Vec<String> {
    let sequences = match file.records {
        0 => "none".to_owned(),
        _ => format!("{}–{}", file.first, file.last),
    };
    let state = match &file.bad {
        None if file.header_damaged => "sound; one copy of its header is lost".to_owned(),
        None => "sound".to_owned(),
        Some(bad) => format!(
            "{} at offset {} (sequence {}): {}",
            if bad.torn { "torn" } else { "DAMAGED" },
            bad.offset,
            bad.sequence,
            bad.what
        ),
    };
    let name = file.file.rsplit('/').next().unwrap_or(&file.file).to_owned();
    vec![
        origin.to_owned(),
        name,
        sequences,
        number(file.records),
        number(file.payload_bytes),
        state,
    ]
}

fn sentence(report: &Report) -> String {
    let records: u64 = files(report).map(|(_, file)| file.records).sum();
    let torn = files(report).filter(|(_, file)| file.bad.as_ref().is_some_and(|bad| bad.torn));
    let torn = match torn.count() {
        0 => "",
        _ => {
            " A crash left a torn tail, which was never acknowledged; opening the log cuts it off."
        }
    };
    let logs = count(report.origins.len() as u64, "log");
    if report.sound() {
        return format!("Sound: {} in {logs}.{torn}", count(records, "record"));
    }
    let damaged: Vec<&str> = files(report)
        .filter(|(_, file)| file.bad.as_ref().is_some_and(|bad| !bad.torn))
        .map(|(_, file)| file.file.as_str())
        .collect();
    format!(
        "DAMAGED: {}. Bytes that were durable are not what they were, and a region refuses to \
         start on them. Keep the directory as it is and look at the disk; put the file back from a \
         copy if there is one.{torn}",
        damaged.join(", ")
    )
}

/// One record, as `--json` prints it.
#[derive(Serialize)]
struct Dumped<'a> {
    origin: &'a str,
    file: &'a str,
    offset: u64,
    kind: &'static str,
    sequence: u64,
    more: bool,
    durable: u64,
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
}

fn dump(arguments: &DumpArguments, json: bool) -> anyhow::Result<Outcome> {
    let disk = open(&arguments.place)?;
    let origins = match &arguments.origin {
        Some(origin) => vec![origin.clone()],
        None => linckia_log::Disk::list(&disk, LOGS).context("cannot list the logs")?,
    };
    let mut outcome = Outcome::Done;
    for name in &origins {
        let origin = Origin::parse(name)
            .map_err(|error| wrong_use(format!("`{name}` is no origin: {error}")))?;
        if !linckia_log::Disk::list(&disk, LOGS)?.contains(name) {
            bail!("there is no log of {name} here");
        }
        for entry in linckia_log::dump(&disk, name)? {
            match entry {
                Ok(entry) if !(arguments.from..=arguments.to).contains(&entry.sequence) => {}
                Ok(entry) if json => print(&serde_json::to_string(&dumped(&origin, &entry))?)?,
                Ok(entry) => print(&line(&origin, &entry))?,
                // Told once for a file; the next file follows.
                Err(error) => {
                    remark(&format!("{:#}", anyhow::Error::from(error)));
                    outcome = Outcome::Refused;
                }
            }
        }
    }
    Ok(outcome)
}

fn decode(origin: &Origin, entry: &Entry) -> Result<Event, String> {
    let dot = Dot::new(origin.clone(), entry.sequence);
    decode_event(dot, &entry.payload, &Vector::new()).map_err(|error| error.to_string())
}

fn dumped<'a>(origin: &'a Origin, entry: &'a Entry) -> Dumped<'a> {
    let decoded = match entry.kind {
        EntryKind::Event => Some(decode(origin, entry)),
        EntryKind::Mark => None,
    };
    let (event, unreadable) = match decoded {
        None => (None, None),
        Some(Ok(event)) => (Some(members(&event)), None),
        Some(Err(why)) => (None, Some(why)),
    };
    Dumped {
        origin: origin.as_str(),
        file: &entry.file,
        offset: entry.offset,
        kind: match entry.kind {
            EntryKind::Event => "event",
            EntryKind::Mark => "mark",
        },
        sequence: entry.sequence,
        more: entry.more,
        durable: entry.durable,
        bytes: entry.payload.len(),
        event,
        unreadable,
    }
}

fn members(event: &Event) -> Value {
    serde_json::json!({
        "hlc": event.hlc.to_string(),
        "deps": event.deps.to_string(),
        "transaction": {
            "first": event.transaction.first,
            "index": event.transaction.index,
            "size": event.transaction.size,
        },
        "dataSet": &*event.key.data_set,
        "aggregateType": &*event.key.aggregate_type,
        "aggregateId": &*event.key.aggregate_id,
        "eventType": &*event.event_type,
        "eventId": &*event.identity.event_id,
        "operation": event.operation.name(),
        "version": event.version,
        "eventData": event.data,
    })
}

fn line(origin: &Origin, entry: &Entry) -> String {
    let place = format!("{}:{}  @{}", origin, entry.sequence, entry.offset);
    let what = match entry.kind {
        EntryKind::Mark => format!("mark: durable up to {}", entry.durable),
        EntryKind::Event => match decode(origin, entry) {
            Ok(event) => format!(
                "{}  {}  {}/{}  {}  {}",
                event.hlc,
                event.event_type,
                event.key.aggregate_type,
                event.key.aggregate_id,
                event.operation.name(),
                short(&event.data.to_string(), 2 * VALUE_SHOWN)
            ),
            Err(why) => {
                format!("{} that are no event: {why}", count(entry.payload.len() as u64, "byte"))
            }
        },
    };
    let group = if entry.more { "  (+)" } else { "" };
    format!("{place}  {}{group}", plain(&what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_found_below_the_regions_directory() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("us-east-1/data");
        std::fs::create_dir_all(root.join(LOGS)).unwrap();
        assert_eq!(find(&root).unwrap(), root.join(""));
        assert_eq!(find(&directory.path().join("us-east-1")).unwrap(), root);
        let several = find(directory.path()).unwrap_err().to_string();
        assert!(several.contains("no region's directory; name one"), "{several}");
        let none = find(&root.join(LOGS)).unwrap_err().to_string();
        assert!(none.contains("no log"), "{none}");
    }
}
