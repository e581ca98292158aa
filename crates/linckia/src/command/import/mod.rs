//! `import`: files of events into the regions of a fleet.
//!
//! Files are read on a few threads (`lines`, or `rows` by a `mapping`), each line is given a
//! region (`route`) and a lane (`reader`), lanes send batches (`lane`), and `tally` counts.
//! What always holds: an event that stands in a file ends as written, duplicate or failed with its
//! problem in a file, or the import itself fails; every event is sent with an id, so importing
//! again after any failure writes nothing twice.

mod lane;
mod lines;
mod mapping;
mod reader;
mod route;
mod rows;
mod tally;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::door::Door;
use super::progress::Progress;
use super::retry::RETRY_FOR_DEFAULT;
use super::text::{count, number, print, remark};
use super::{Context, Outcome, wrong_use};
use crate::config::units::parse_duration;
use lane::{Batch, Lane};
use lines::{is_stdin, open};
use mapping::Mapping;
use reader::{LANES_PER_REGION, Queue, Reader, is_csv};
use route::{By, Router};
use rows::Rows;
use tally::{Source, Tally};

/// Reading is a small part of the work; more files at once would only take memory.
const READERS: usize = 4;

/// Batches that wait before a lane: one, so that it never idles while readers parse.
const WAITING_BATCHES: usize = 1;

/// A mapping is a page; a larger file is something else.
const MAPPING_LIMIT: u64 = 1 << 20;

/// Imports events from files.
///
/// NDJSON (one event a line) or CSV (with --map), plain or .zst; - is NDJSON on standard input.
/// Each event goes to --region, or where --by says, or to the region its metadata names, or to the
/// first. Events of one aggregate keep the order they have in a file. Importing again is safe: what
/// is written already is recognised by its eventId, or, without one, by the file's name, the line's
/// number and its content.
#[derive(Debug, Args)]
pub struct ImportArguments {
    /// Files to import; several are read at the same time.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Let a value in each event decide its region: /eventData/origin=EWR:us-east-1,JFK:eu-west-1
    #[arg(long, value_name = "POINTER=VALUE:REGION,…")]
    by: Option<By>,
    /// How the columns of CSV files become events (TOML).
    #[arg(long, value_name = "FILE")]
    map: Option<PathBuf>,
    /// How long to go on trying when a region does not take events.
    #[arg(long, value_name = "DURATION", default_value = RETRY_FOR_DEFAULT,
          value_parser = parse_duration)]
    retry_for: Duration,
    /// Read one file after the other, so that order holds across files too.
    #[arg(long)]
    one_by_one: bool,
}

#[derive(Serialize)]
struct Summary {
    read: u64,
    written: u64,
    duplicates: u64,
    failed: u64,
    seconds: f64,
}

/// Runs `import`.
pub async fn run(context: &Context, arguments: &ImportArguments) -> anyhow::Result<Outcome> {
    let mapping = read_mapping(arguments)?;
    let size = total_size(&arguments.files)?;
    check_headers(&arguments.files, mapping.as_deref())?;
    let (doors, router) = choose(context, arguments).await?;
    let tally = Arc::new(Tally::default());
    let sources = Source::list(&arguments.files, &tally);
    let start = Instant::now();
    let looked_at = Arc::clone(&tally);
    let progress = Progress::start(size, move || looked_at.reading());
    let import = Import { doors, router, mapping, sources: &sources, tally: &tally };
    let result = import.run(arguments).await;
    progress.finish().await;
    let summary = Summary {
        read: Tally::get(&tally.read),
        written: Tally::get(&tally.written),
        duplicates: Tally::get(&tally.duplicates),
        failed: Tally::get(&tally.failed),
        seconds: (start.elapsed().as_secs_f64() * 1_000.0).round() / 1_000.0,
    };
    report(context, &summary, &tally, sources.len())?;
    for source in &sources {
        if let Some(path) = source.finish().context("the file of failed lines cannot be written")? {
            remark(&format!(
                "failed lines of {} are in {}: each has its line, its problem and its \
                       event",
                source.path.display(),
                path.display()
            ));
        }
    }
    result.context(
        "the import stopped before its end; once the cause is gone, run the same command again: \
         what is written already is recognised and not written twice",
    )?;
    Ok(if summary.failed == 0 { Outcome::Done } else { Outcome::Refused })
}

fn report(context: &Context, summary: &Summary, tally: &Tally, files: usize) -> anyhow::Result<()> {
    if context.json {
        print(&serde_json::to_string(summary)?)?;
        return Ok(());
    }
    let rate = summary.read as f64 / summary.seconds.max(0.001);
    let mut text = format!(
        "{} read from {} in {:.1} s ({}/s): {} written, {} already there, {} failed.",
        count(summary.read, "event"),
        count(files as u64, "file"),
        summary.seconds,
        number(rate as u64),
        number(summary.written),
        number(summary.duplicates),
        number(summary.failed)
    );
    let resent = Tally::get(&tally.resent);
    if resent > 0 && summary.duplicates > 0 {
        text = format!(
            "{text} After a lost connection {} had to be sent again; what the region had written \
             of them counts as already there.",
            count(resent, "event")
        );
    }
    print(&text)?;
    Ok(())
}

fn read_mapping(arguments: &ImportArguments) -> anyhow::Result<Option<Arc<Mapping>>> {
    let csv = arguments.files.iter().find(|path| is_csv(path));
    let Some(path) = &arguments.map else {
        return match csv {
            None => Ok(None),
            Some(file) => Err(wrong_use(format!(
                "{} is CSV: say with --map FILE how its columns become events",
                file.display()
            ))),
        };
    };
    if csv.is_none() {
        return Err(wrong_use("--map is for CSV files (.csv, .tsv), and none is among the files"));
    }
    let size = path.metadata().with_context(|| format!("cannot read {}", path.display()))?.len();
    if size > MAPPING_LIMIT {
        anyhow::bail!("{} is no mapping: it has {size} bytes", path.display());
    }
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read --map {}", path.display()))?;
    let mapping = Mapping::parse(&text)
        .map_err(|why| anyhow::anyhow!("the mapping {} is wrong: {why}", path.display()))?;
    Ok(Some(Arc::new(mapping)))
}

/// Finds every file before anything is sent. Unknown if one of them is a stream.
fn total_size(files: &[PathBuf]) -> anyhow::Result<Option<u64>> {
    let mut total = Some(0);
    for path in files {
        if is_stdin(path) {
            total = None;
            continue;
        }
        let file = std::fs::File::open(path)
            .and_then(|file| file.metadata())
            .with_context(|| format!("cannot read {}", path.display()))?;
        if file.is_dir() {
            anyhow::bail!("{} is a directory; name the files in it", Path::display(path));
        }
        total = total.filter(|_| file.is_file()).map(|total| total + file.len());
    }
    Ok(total)
}

/// Binds the mapping to each CSV file's header before anything is sent.
fn check_headers(files: &[PathBuf], mapping: Option<&Mapping>) -> anyhow::Result<()> {
    let Some(mapping) = mapping else { return Ok(()) };
    for path in files.iter().filter(|path| is_csv(path)) {
        open(path, Arc::default())
            .and_then(|input| Rows::new(input, mapping))
            .with_context(|| format!("{} does not fit the mapping", path.display()))?;
    }
    Ok(())
}

async fn choose(
    context: &Context,
    arguments: &ImportArguments,
) -> anyhow::Result<(Vec<Door>, Router)> {
    let addresses = &context.addresses;
    if let Some(by) = &arguments.by {
        if addresses.region().is_some() {
            return Err(wrong_use("--region and --by both say where events go; give one of them"));
        }
        let doors = addresses.every().await?;
        let router = Router::by(by, &names(&doors)).map_err(wrong_use)?;
        return Ok((doors, router));
    }
    let doors = addresses.many().await?;
    let router = if addresses.names_one() { Router::one() } else { Router::event(&names(&doors)) };
    Ok((doors, router))
}

fn names(doors: &[Door]) -> Vec<String> {
    doors.iter().map(|door| door.label().to_owned()).collect()
}

/// Everything an import needs, checked.
struct Import<'a> {
    doors: Vec<Door>,
    router: Router,
    mapping: Option<Arc<Mapping>>,
    sources: &'a [Arc<Source>],
    tally: &'a Arc<Tally>,
}

impl Import<'_> {
    /// Ends with the first failure of a lane or reader: dropping the lanes stops the readers.
    async fn run(self, arguments: &ImportArguments) -> anyhow::Result<()> {
        let mut lanes = JoinSet::new();
        let mut senders = Vec::new();
        for door in &self.doors {
            for _ in 0..LANES_PER_REGION {
                let (sender, batches) = mpsc::channel::<Batch>(WAITING_BATCHES);
                senders.push(sender);
                let tally = Arc::clone(self.tally);
                let lane = Lane::new(door.clone(), tally, arguments.retry_for);
                lanes.spawn(lane.run(batches));
            }
        }
        let reader = Arc::new(Reader {
            router: Arc::new(self.router),
            mapping: self.mapping,
            tally: Arc::clone(self.tally),
            lanes: senders,
        });
        let threads = if arguments.one_by_one { 1 } else { READERS.min(self.sources.len()) };
        let queue = Arc::new(Mutex::new(self.sources.iter().cloned().collect()));
        let mut readers = start_readers(reader, &queue, threads)?;
        let mut reading = threads;
        loop {
            tokio::select! {
                ended = readers.recv(), if reading > 0 => {
                    ended.context("a reader broke down")??;
                    reading -= 1;
                }
                Some(ended) = lanes.join_next() => ended.context("a lane broke down")??,
                else => return Ok(()),
            }
        }
    }
}

/// Threads of their own, so that one that waits for standard input holds up no exit.
fn start_readers(
    reader: Arc<Reader>,
    queue: &Arc<Queue>,
    threads: usize,
) -> anyhow::Result<mpsc::Receiver<anyhow::Result<()>>> {
    let (ended, results) = mpsc::channel(threads);
    for place in 0..threads {
        let (reader, queue, ended) = (Arc::clone(&reader), Arc::clone(queue), ended.clone());
        thread::Builder::new()
            .name(format!("import-{place}"))
            .spawn(move || {
                let result = reader.run(&queue);
                // The lanes end when the last reader lets go of them.
                drop(reader);
                let _ = ended.blocking_send(result);
            })
            .context("no thread can be started")?;
    }
    Ok(results)
}
