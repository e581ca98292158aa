//! `export`: a region's events as NDJSON, into a file or to stdout.
//!
//! Pages through `GET /v1/events` up to the vector that the region had at the start, so that it
//! ends while writing goes on. What always holds: lines are the door's own text; after any end the
//! vector is told behind which the next export goes on.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::door::{Answer, Door, Failure};
use super::events::{EventFilter, Page};
use super::progress::{Progress, Reading};
use super::retry::{Patience, RETRY_FOR_DEFAULT};
use super::text::{count, plain, print, remark};
use super::{Context, Outcome};
use crate::config::units::parse_duration;

/// The door's largest page: the fewest requests.
const PAGE: u16 = 1_000;

/// Good compression at little cost; level 3 is zstd's own default.
const ZSTD_LEVEL: i32 = 3;

/// Exports a region's events as NDJSON, oldest first.
#[derive(Debug, Args)]
pub struct ExportArguments {
    #[command(flatten)]
    filter: EventFilter,
    /// Begin behind this vector, and append to the file if there is one.
    #[arg(long, value_name = "VECTOR")]
    after: Option<String>,
    /// Where to write; compressed if it ends in .zst. Absent: to stdout.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// How long to go on trying when the region does not answer.
    #[arg(long, value_name = "DURATION", default_value = RETRY_FOR_DEFAULT,
          value_parser = parse_duration)]
    retry_for: Duration,
}

#[derive(Deserialize)]
struct VectorAnswer {
    vector: BTreeMap<String, u64>,
}

/// Runs `export`.
pub async fn run(context: &Context, arguments: &ExportArguments) -> anyhow::Result<Outcome> {
    let door = context.addresses.one().await?;
    let answer = door.get("/v1/vector").await?;
    let goal: VectorAnswer = door.read(&answer)?;
    let begin = arguments.after.as_deref().map(parse_vector).unwrap_or_default();
    let counts = Arc::new(Counts::default());
    let looked_at = Arc::clone(&counts);
    let progress = Progress::start(Some(beyond(&goal.vector, &begin)), move || Reading {
        position: looked_at.passed.load(Ordering::Relaxed),
        events: looked_at.events.load(Ordering::Relaxed),
        note: String::new(),
    });
    let mut export = Export {
        door,
        filter: &arguments.filter,
        goal: goal.vector,
        begin,
        after: arguments.after.clone(),
        out: Output::open(arguments)?,
        counts: &counts,
    };
    let start = Instant::now();
    let result = tokio::select! {
        result = export.pages(arguments.retry_for) => result,
        interrupt = tokio::signal::ctrl_c() => {
            interrupt?;
            Err(anyhow::anyhow!("interrupted"))
        }
    };
    progress.finish().await;
    // Also after a failure: what is there is whole pages, and the vector below goes with them.
    let flushed = export.out.finish();
    let resume = export.after.unwrap_or_default();
    let events = counts.events.load(Ordering::Relaxed);
    if let Err(error) = result.and(flushed) {
        let advice = if resume.is_empty() {
            "the export stopped before its first page was complete; run it again".to_owned()
        } else {
            format!(
                "the export stopped after {}; to go on, run it with --after {}",
                count(events, "event"),
                plain(&resume)
            )
        };
        return Err(error.context(advice));
    }
    tell(context, arguments, events, start.elapsed(), &resume)
}

/// What the progress display looks at.
#[derive(Default)]
struct Counts {
    /// Events that were passed, also those that a filter left out.
    passed: AtomicU64,
    /// Events that were written.
    events: AtomicU64,
}

struct Export<'a> {
    door: Door,
    filter: &'a EventFilter,
    goal: BTreeMap<String, u64>,
    begin: BTreeMap<String, u64>,
    /// Everything up to here is written.
    after: Option<String>,
    out: Output,
    counts: &'a Counts,
}

impl Export<'_> {
    async fn pages(&mut self, retry_for: Duration) -> anyhow::Result<()> {
        let mut patience = Patience::new(retry_for);
        loop {
            let query = self.filter.query(self.after.as_deref(), Some(PAGE));
            let path = format!("/v1/events{query}");
            let answer = patient(&self.door, &mut patience, &path).await?;
            let page: Page = self.door.read(&answer)?;
            // No wait from here to `after`: an interrupt finds whole pages.
            for event in &page.items {
                self.out.line(event)?;
            }
            self.counts.events.fetch_add(page.items.len() as u64, Ordering::Relaxed);
            let reached = page.next.as_deref().map(parse_vector).unwrap_or_default();
            self.counts.passed.store(beyond(&reached, &self.begin), Ordering::Relaxed);
            let caught_up = page.next.is_none() || page.next == self.after;
            self.after = page.next.or(self.after.take());
            if caught_up || beyond(&self.goal, &reached) == 0 {
                return Ok(());
            }
        }
    }
}

fn tell(
    context: &Context,
    arguments: &ExportArguments,
    events: u64,
    took: Duration,
    resume: &str,
) -> anyhow::Result<Outcome> {
    let seconds = (took.as_secs_f64() * 1_000.0).round() / 1_000.0;
    let told = match &arguments.output {
        Some(path) if context.json => {
            let summary = serde_json::json!({
                "exported": events, "output": path, "next": resume, "seconds": seconds,
            });
            print(&summary.to_string())?;
            return Ok(Outcome::Done);
        }
        Some(path) => format!("{} exported to {}", count(events, "event"), path.display()),
        None => format!("{} exported", count(events, "event")),
    };
    let resume = if resume.is_empty() {
        String::new()
    } else {
        format!("; for those that follow: --after {}", plain(resume))
    };
    remark(&format!("{told} in {seconds:.1} s{resume}"));
    Ok(Outcome::Done)
}

async fn patient(door: &Door, patience: &mut Patience, path: &str) -> Result<Answer, Failure> {
    loop {
        match door.get(path).await {
            Ok(answer) => {
                patience.succeeded();
                return Ok(answer);
            }
            Err(failure) if failure.again() => {
                if !patience.wait(failure.retry_after()).await {
                    return Err(failure);
                }
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// A vector's text; what is none counts as nothing, for the door is its judge.
fn parse_vector(text: &str) -> BTreeMap<String, u64> {
    text.split(',')
        .filter_map(|dot| dot.rsplit_once(':'))
        .filter_map(|(origin, sequence)| Some((origin.to_owned(), sequence.parse().ok()?)))
        .collect()
}

/// How many events lie in `high` and not in `low`.
fn beyond(high: &BTreeMap<String, u64>, low: &BTreeMap<String, u64>) -> u64 {
    high.iter()
        .map(|(origin, sequence)| sequence.saturating_sub(low.get(origin).copied().unwrap_or(0)))
        .sum()
}

/// Where lines go.
enum Output {
    Stdout(BufWriter<io::Stdout>),
    Plain(BufWriter<File>),
    Compressed(zstd::stream::write::Encoder<'static, BufWriter<File>>),
}

impl Output {
    fn open(arguments: &ExportArguments) -> anyhow::Result<Self> {
        let Some(path) = &arguments.output else {
            return Ok(Self::Stdout(BufWriter::new(io::stdout())));
        };
        let append = arguments.after.is_some();
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .append(append)
            .truncate(!append)
            .open(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        let file = BufWriter::new(file);
        if path.extension().is_some_and(|extension| extension == "zst") {
            // Appending adds a frame of its own: a file of several frames is one stream.
            Ok(Self::Compressed(zstd::stream::write::Encoder::new(file, ZSTD_LEVEL)?))
        } else {
            Ok(Self::Plain(file))
        }
    }

    fn line(&mut self, event: &RawValue) -> anyhow::Result<()> {
        let text = event.get();
        if text.contains('\n') {
            let value: serde_json::Value = serde_json::from_str(text)?;
            return self.write(value.to_string().as_bytes());
        }
        self.write(text.as_bytes())
    }

    fn write(&mut self, line: &[u8]) -> anyhow::Result<()> {
        let out: &mut dyn Write = match self {
            Self::Stdout(out) => out,
            Self::Plain(out) => out,
            Self::Compressed(out) => out,
        };
        out.write_all(line)?;
        out.write_all(b"\n")?;
        Ok(())
    }

    fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Stdout(mut out) => out.flush()?,
            Self::Plain(mut out) => out.flush()?,
            Self::Compressed(out) => out.finish()?.flush()?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_compared() {
        let high = parse_vector("a.1:5,b.2:3,c.3.1:1");
        assert_eq!(high.len(), 3);
        assert_eq!(beyond(&high, &parse_vector("")), 9);
        assert_eq!(beyond(&high, &parse_vector("a.1:9,b.2:2")), 2);
        assert_eq!(beyond(&high, &high), 0);
        assert!(parse_vector("now").is_empty());
    }
}
