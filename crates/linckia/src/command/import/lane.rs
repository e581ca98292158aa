//! A lane: batches of events on their way to one region, one request at a time.
//!
//! Readers fill lanes, each lane has a connection of its own. What always holds: batches of a lane
//! are answered in the order in which they were filled, every line of a batch ends as written,
//! duplicate or failed, and a batch is sent again only because each line carries an event id.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::tally::{Held, Source, Tally, own_problem};
use crate::command::door::{Answer, Door, NDJSON, retryable, sentence};
use crate::command::retry::Patience;

/// Enough to spread a request's cost, few enough to lose little time when one is sent again.
const BATCH_EVENTS: usize = 500;

/// Lanes, readers and batches together hold some tens of mebibytes at this size.
const BATCH_BYTES: usize = 512 << 10;

/// Lines of one file on their way to one lane.
#[derive(Debug)]
pub(crate) struct Batch {
    source: Arc<Source>,
    body: Vec<u8>,
    lines: Vec<Placed>,
}

/// Where a line came from and where it stands in the body.
#[derive(Debug, Clone)]
struct Placed {
    number: u64,
    place: Range<usize>,
}

impl Batch {
    pub(crate) fn new(source: &Arc<Source>) -> Self {
        Self { source: Arc::clone(source), body: Vec::new(), lines: Vec::new() }
    }

    /// Adds a line; `id` is put in front of its members if it has none of its own.
    pub(crate) fn push(&mut self, number: u64, line: &[u8], id: Option<&str>) {
        let start = self.body.len();
        match (id, line.split_first()) {
            (Some(id), Some((b'{', members))) => {
                let comma = if members.trim_ascii() == b"}" { "" } else { "," };
                self.body.extend_from_slice(format!("{{\"eventId\":\"{id}\"{comma}").as_bytes());
                self.body.extend_from_slice(members);
            }
            _ => self.body.extend_from_slice(line),
        }
        self.lines.push(Placed { number, place: start..self.body.len() });
        self.body.push(b'\n');
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        self.lines.iter().map(|line| line.number)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.lines.len() >= BATCH_EVENTS || self.body.len() >= BATCH_BYTES
    }
}

/// A batch as it is sent: the body is shared with the connection.
struct Parcel {
    source: Arc<Source>,
    body: Bytes,
    lines: Vec<Placed>,
}

/// `{"line":1,"status":201,…}`, as far as it matters here.
#[derive(Deserialize)]
struct LineAnswer<'a> {
    line: usize,
    status: u16,
    #[serde(borrow)]
    problem: Option<&'a RawValue>,
}

/// Takes batches from readers to one region.
pub(crate) struct Lane {
    door: Door,
    tally: Arc<Tally>,
    retry_for: Duration,
}

impl Lane {
    pub(crate) fn new(door: Door, tally: Arc<Tally>, retry_for: Duration) -> Self {
        Self { door, tally, retry_for }
    }

    /// Runs until all readers are done or a batch cannot be delivered.
    pub(crate) async fn run(self, mut batches: mpsc::Receiver<Batch>) -> anyhow::Result<()> {
        while let Some(batch) = batches.recv().await {
            let Batch { source, body, lines } = batch;
            self.deliver(Parcel { source, body: Bytes::from(body), lines }).await?;
        }
        Ok(())
    }

    async fn deliver(&self, mut parcel: Parcel) -> anyhow::Result<()> {
        let mut patience = Patience::new(self.retry_for);
        loop {
            let headers = [("content-type", NDJSON)];
            let sent = self.door.send(Method::POST, "/v1/events", &headers, parcel.body.clone());
            let (trouble, asked) = match sent.await {
                Ok(answer) => {
                    let before = parcel.lines.len();
                    let Some((rest, why)) = self.settle(&parcel, &answer)? else {
                        self.recovered();
                        return Ok(());
                    };
                    if rest.lines.len() < before {
                        patience.succeeded();
                    }
                    parcel = rest;
                    (anyhow!("{} did not take every event: {why}", self.door.label()), None)
                }
                Err(failure) if failure.again() => {
                    if failure.is_lost() {
                        Tally::add(&self.tally.resent, parcel.lines.len() as u64);
                    }
                    let asked = failure.retry_after();
                    (anyhow::Error::from(failure), asked)
                }
                Err(failure) => return Err(failure.into()),
            };
            if self.tally.trouble(self.door.label(), &format!("{trouble:#}")) {
                tracing::debug!(region = self.door.label(), %trouble, "waiting for a region");
            }
            if !patience.wait(asked).await {
                let seconds = self.retry_for.as_secs_f64();
                return Err(trouble.context(format!("given up after {seconds} s (--retry-for)")));
            }
        }
    }

    fn recovered(&self) {
        if self.tally.recovered(self.door.label()) {
            tracing::debug!(region = self.door.label(), "the region takes events again");
        }
    }

    /// Counts what is answered; what must be sent again, and why.
    fn settle(&self, parcel: &Parcel, answer: &Answer) -> anyhow::Result<Option<(Parcel, String)>> {
        let mut answers = read_answers(parcel.lines.len(), answer)
            .with_context(|| format!("the answer of {} is not understood", self.door.label()))?;
        let mut again = Vec::new();
        let mut why = String::new();
        let (mut written, mut duplicates) = (0, 0);
        for (place, line) in parcel.lines.iter().enumerate() {
            match answers.remove(&(place + 1)) {
                Some(LineAnswer { status: 201, .. }) => written += 1,
                Some(LineAnswer { status: 200, .. }) => duplicates += 1,
                Some(LineAnswer { status, problem, .. }) if retryable(status) => {
                    let problem = problem.map(RawValue::get).unwrap_or_default();
                    why = sentence(status, problem.as_bytes());
                    again.push(line.clone());
                }
                Some(LineAnswer { status, problem, .. }) => {
                    let own = own_problem(&format!("refused with status {status}"));
                    let held = Held::Event(&parcel.body[line.place.clone()]);
                    parcel
                        .source
                        .fail(line.number, problem.unwrap_or(&own), &held)
                        .context("the file of failed lines cannot be written")?;
                }
                None => {
                    why = "an answer is missing".to_owned();
                    again.push(line.clone());
                }
            }
        }
        Tally::add(&self.tally.written, written);
        Tally::add(&self.tally.duplicates, duplicates);
        Ok((!again.is_empty()).then(|| (parcel.only(&again), why)))
    }
}

fn read_answers(count: usize, answer: &Answer) -> anyhow::Result<BTreeMap<usize, LineAnswer<'_>>> {
    let mut answers = BTreeMap::new();
    for text in answer.body.split(|byte| *byte == b'\n').filter(|text| !text.is_empty()) {
        let answer: LineAnswer<'_> = serde_json::from_slice(text)?;
        if !(1..=count).contains(&answer.line) {
            anyhow::bail!("it speaks of line {}, and {count} were sent", answer.line);
        }
        answers.insert(answer.line, answer);
    }
    Ok(answers)
}

impl Parcel {
    /// These lines of it, in order.
    fn only(&self, lines: &[Placed]) -> Self {
        let mut body = Vec::new();
        let mut kept = Vec::with_capacity(lines.len());
        for line in lines {
            let start = body.len();
            body.extend_from_slice(&self.body[line.place.clone()]);
            kept.push(Placed { number: line.number, place: start..body.len() });
            body.push(b'\n');
        }
        Self { source: Arc::clone(&self.source), body: Bytes::from(body), lines: kept }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn source() -> Arc<Source> {
        Source::list(&[PathBuf::from("x.ndjson")], &Arc::default()).remove(0)
    }

    #[test]
    fn an_id_is_put_in_front() {
        let check = |line: &str, id: Option<&str>, expected: &str| {
            let mut batch = Batch::new(&source());
            batch.push(1, line.as_bytes(), id);
            assert_eq!(String::from_utf8(batch.body).unwrap(), format!("{expected}\n"));
        };
        check(r#"{"a":1}"#, None, r#"{"a":1}"#);
        check(r#"{"a":1}"#, Some("i"), r#"{"eventId":"i","a":1}"#);
        check("{ }", Some("i"), r#"{"eventId":"i" }"#);
    }

    #[test]
    fn what_is_sent_again_keeps_numbers_and_order() {
        let mut batch = Batch::new(&source());
        for (number, line) in [(3, "{}"), (7, r#"{"a":1}"#), (9, r#"{"b":2}"#)] {
            batch.push(number, line.as_bytes(), None);
        }
        let Batch { source, body, lines } = batch;
        let parcel = Parcel { source, body: Bytes::from(body), lines };
        let rest = parcel.only(&[parcel.lines[0].clone(), parcel.lines[2].clone()]);
        assert_eq!(rest.body, "{}\n{\"b\":2}\n");
        let rest = rest.only(&[rest.lines[1].clone()]);
        assert_eq!(rest.body, "{\"b\":2}\n");
        assert_eq!(rest.lines[0].number, 9);
    }

    #[test]
    fn answers_are_matched_by_line() {
        let answer = |body: &str| Answer {
            headers: http::HeaderMap::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
        };
        let body =
            "{\"line\":2,\"status\":400,\"problem\":{\"a\":1}}\n{\"line\":1,\"status\":201}\n";
        let answered = answer(body);
        let answers = read_answers(2, &answered).unwrap();
        assert_eq!(answers[&1].status, 201);
        assert_eq!(answers[&2].problem.unwrap().get(), "{\"a\":1}");
        assert!(read_answers(1, &answered).is_err());
        assert!(read_answers(2, &answer("<html>")).is_err());
    }
}
