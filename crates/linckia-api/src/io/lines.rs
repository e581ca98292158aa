//! NDJSON: events in, answers out, line by line, while both bodies are still open.
//!
//! A task of its own beside the connection. What always holds: at most one chunk is being written
//! and one being filled, so memory is bounded whatever the length of the body; answers come in the
//! order of the lines; a client that does not read is waited for, once its share is full.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use linckia_model::{Ack, Level, NewEvent, Write};
use tokio::sync::mpsc;

use super::append::new_event_id;
use super::asked::Asked;
use super::body::{self, RequestBody};
use super::respond::{self, Answered};
use super::service::House;
use crate::event::{Context, native};
use crate::headers;
use crate::ndjson::{Content, Splitter};
use crate::port::{Answers, Region, Unavailable};
use crate::problem::{Kind, Outcome, Problem};
use crate::refusal;
use crate::render::answer::{self, ANSWER_BYTES};

/// Events of one write: as large as a group commit gains from, as small as others can wait for.
const CHUNK_EVENTS: usize = 256;

/// Bytes of lines of one write, whatever their number.
const CHUNK_BYTES: usize = 1 << 20;

/// Answered chunks that wait for the client: some 4 MiB, so that one that sends all before it
/// reads gets through with tens of thousands of lines.
const CHUNKS_UNREAD: usize = 64;

/// Begins to read lines; the answer's body follows them.
pub(super) fn start<R: Region>(asked: Asked<'_, R>, data_set: Arc<str>) -> Outcome<Answered> {
    let Some(body) = asked.body.take() else {
        return Err(Problem::parameter("there is no body to read lines from"));
    };
    let (answers, pieces) = mpsc::channel(CHUNKS_UNREAD);
    let feed = Feed {
        house: Arc::clone(asked.house),
        data_set,
        actor: asked.actor.map(Box::from),
        ack: asked.ack.clone(),
        traceparent: headers::traceparent(asked.headers()).map(Box::from),
        splitter: Splitter::new(asked.house.settings.limits.line_bytes),
        body,
        input: Bytes::new(),
        end: End::Open,
    };
    tokio::spawn(run(feed, answers));
    Ok(respond::stream(&respond::NDJSON, pieces))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    /// All came; the last line may still be in the splitter.
    Read,
    Done,
}

/// Lines on their way in.
struct Feed<R> {
    house: Arc<House<R>>,
    data_set: Arc<str>,
    actor: Option<Box<str>>,
    ack: Ack,
    traceparent: Option<Box<str>>,
    splitter: Splitter,
    body: RequestBody,
    input: Bytes,
    end: End,
}

/// Lines that are written together, each an event or what is wrong with it.
#[derive(Default)]
struct Chunk {
    lines: Vec<(u64, Option<Box<Problem>>)>,
    events: Vec<NewEvent>,
    bytes: usize,
}

impl Chunk {
    fn is_full(&self) -> bool {
        self.lines.len() >= CHUNK_EVENTS || self.bytes >= CHUNK_BYTES
    }
}

impl<R: Region> Feed<R> {
    /// True if `more` has to be waited for before `fill` finds anything.
    fn is_hungry(&self, chunk: &Chunk) -> bool {
        !chunk.is_full() && self.input.is_empty() && self.end == End::Open
    }

    /// Waits for the next piece. Nothing is lost if it is dropped.
    async fn more(&mut self) {
        match body::next(&mut self.body).await {
            Ok(Some(piece)) => self.input = piece,
            Ok(None) => self.end = End::Read,
            // The client is gone; half a line is none.
            Err(_) => self.end = End::Done,
        }
    }

    /// Moves lines at hand into a chunk.
    fn fill(&mut self, chunk: &mut Chunk) {
        while !chunk.is_full() {
            let line = match self.splitter.next(&mut self.input) {
                Some(line) => Some(line),
                None if self.end == End::Read => {
                    self.end = End::Done;
                    self.splitter.finish()
                }
                None => None,
            };
            let Some(line) = line else { return };
            let read = match &line.content {
                Content::TooLong => Err(self.too_long()),
                Content::Text(text) => {
                    chunk.bytes += text.len();
                    self.read(text)
                }
            };
            match read {
                Ok(event) => {
                    chunk.events.push(event);
                    chunk.lines.push((line.number, None));
                }
                Err(problem) => chunk.lines.push((line.number, Some(problem))),
            }
        }
    }

    fn read(&self, text: &[u8]) -> Outcome<NewEvent> {
        let context = Context {
            limits: &self.house.settings.limits,
            data_set: &self.data_set,
            aggregate: None,
            actor: self.actor.as_deref(),
            traceparent: self.traceparent.as_deref(),
        };
        native::read(text, &context, &mut new_event_id)
    }

    fn too_long(&self) -> Box<Problem> {
        let limit = self.house.settings.limits.line_bytes;
        let detail = format!("a line may have {limit} bytes; this one was skipped");
        Problem::new(Kind::PayloadTooLarge, detail).with("limit", limit)
    }
}

async fn run<R: Region>(mut feed: Feed<R>, answers: mpsc::Sender<Bytes>) {
    let house = Arc::clone(&feed.house);
    let mut chunk = Chunk::default();
    loop {
        // Whatever is there already joins the chunk; nothing is waited for once it holds a line.
        loop {
            feed.fill(&mut chunk);
            if !feed.is_hungry(&chunk) {
                break;
            }
            if chunk.lines.is_empty() {
                tokio::select! {
                    () = feed.more() => {}
                    () = answers.closed() => return,
                }
                continue;
            }
            tokio::select! {
                biased;
                () = feed.more() => {}
                () = std::future::ready(()) => break,
            }
        }
        if chunk.lines.is_empty() {
            return;
        }
        let Chunk { lines, events, .. } = std::mem::take(&mut chunk);
        let written = write(&*house.region, events, feed.ack.clone());
        tokio::pin!(written);
        // The next chunk is parsed while this one is being written.
        let outcome = loop {
            feed.fill(&mut chunk);
            tokio::select! {
                biased;
                outcome = &mut written => break outcome,
                () = feed.more(), if feed.is_hungry(&chunk) => {}
            }
        };
        if answers.send(render(&lines, outcome, &feed.ack.level)).await.is_err() {
            return;
        }
    }
}

async fn write<R: Region>(
    region: &R,
    events: Vec<NewEvent>,
    ack: Ack,
) -> Result<Answers, Unavailable> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    region.write(Write { events, atomic: false, precondition: None, entity_tag: false, ack }).await
}

fn render(
    lines: &[(u64, Option<Box<Problem>>)],
    outcome: Result<Answers, Unavailable>,
    level: &Level,
) -> Bytes {
    let mut out = BytesMut::with_capacity(lines.len() * ANSWER_BYTES);
    let (mut answers, unavailable) = match outcome {
        Ok(answers) => (answers.into_iter(), None),
        Err(reason) => (Vec::new().into_iter(), Some(Box::<Problem>::from(reason))),
    };
    for (line, problem) in lines {
        if let Some(problem) = problem {
            answer::write_refused_line(&mut out, *line, problem);
            continue;
        }
        let problem = match answers.next() {
            Some(Ok(answer)) => {
                answer::write_line(&mut out, *line, &answer, level);
                continue;
            }
            Some(Err(refused)) => refusal::problem_of(&refused, native::NAMES.data),
            None => unavailable.clone().unwrap_or_else(|| refusal::broken("lines of a write")),
        };
        answer::write_refused_line(&mut out, *line, &problem);
    }
    out.freeze()
}
