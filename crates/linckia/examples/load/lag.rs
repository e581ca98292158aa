//! A steady rate of events into every region, and when each is seen in every other.
//!
//! Called by `main`. A thread of its own says when an event is due, because the runtime's clock
//! only ticks in milliseconds. What always holds: latencies count from when an event was due, not
//! from when a connection was free for it, so that a stall is not hidden by what it holds back;
//! streams are open before the first event leaves.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};
use tokio::sync::{Mutex as Turn, mpsc};
use tokio::task::JoinSet;

use super::append::this_run;
use super::event::Request;
use super::histogram::Histogram;
use super::http::Connection;
use super::say;
use super::stream::Stream;

/// Events that are due and wait for a connection: seconds of them, so that a stall is measured.
const WAITING_MAX: usize = 1 << 14;

/// After the last event, how long its arrival is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks whether all have arrived.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub struct LagArguments {
    /// A region and its door; once for each region.
    #[arg(long = "region", value_name = "NAME=HOST:PORT", required = true)]
    regions: Vec<Door>,
    /// Events a second into each region.
    #[arg(long, default_value_t = 1_000)]
    rate: u64,
    /// Connections to each region.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    #[arg(long, default_value_t = 300)]
    bytes: usize,
    /// Before it is measured.
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    warm: f64,
    #[arg(long, value_name = "SECONDS", default_value_t = 20.0)]
    seconds: f64,
}

#[derive(Debug, Clone)]
struct Door {
    name: String,
    address: SocketAddr,
}

impl FromStr for Door {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, address) = text.split_once('=').ok_or("write NAME=HOST:PORT")?;
        let address = address.parse().map_err(|error| format!("{address}: {error}"))?;
        Ok(Self { name: name.to_owned(), address })
    }
}

/// When which event is due: number `i` goes to region `i` modulo their count.
#[derive(Debug, Clone, Copy)]
struct Plan {
    start: Instant,
    step: Duration,
    regions: u64,
    /// The first that is measured, and the end.
    from: u64,
    until: u64,
}

/// What was seen.
#[derive(Debug)]
struct Shared {
    plan: Plan,
    /// By region.
    acks: Vec<Histogram>,
    /// By region seen in, then by region sent to.
    seen: Vec<Vec<Histogram>>,
    /// How late events left, all regions together.
    late: Histogram,
    refused: u64,
    first_refusal: Option<String>,
}

/// Runs `lag`.
pub async fn run(arguments: &LagArguments) -> anyhow::Result<Value> {
    anyhow::ensure!(arguments.rate > 0 && arguments.connections > 0, "nothing to send");
    let count = arguments.regions.len();
    let mut streams = Vec::with_capacity(count);
    for door in &arguments.regions {
        streams.push(Stream::open(door.address).await?);
    }
    let mut idle = Vec::with_capacity(count);
    for door in &arguments.regions {
        let mut connections = Vec::with_capacity(arguments.connections);
        for _ in 0..arguments.connections {
            connections.push(Connection::open(door.address).await?);
        }
        idle.push(connections);
    }
    let request = Request::new(1, arguments.bytes, this_run(), "")?;
    let plan = Plan::new(arguments);
    let shared = Arc::new(Mutex::new(Shared::new(plan, count)));
    let mut tasks = JoinSet::new();
    for (region, stream) in streams.into_iter().enumerate() {
        tasks.spawn(watch(stream, region, Arc::clone(&shared)));
    }
    let mut due = Vec::with_capacity(count);
    for (region, connections) in idle.into_iter().enumerate() {
        let (sender, waiting) = mpsc::channel(WAITING_MAX);
        due.push(sender);
        let waiting = Arc::new(Turn::new(waiting));
        for connection in connections {
            let (waiting, shared) = (Arc::clone(&waiting), Arc::clone(&shared));
            tasks.spawn(send(connection, request.clone(), region, waiting, shared));
        }
    }
    thread::Builder::new()
        .name("pace".to_owned())
        .spawn(move || pace(plan, &due))
        .context("no thread can be started")?;
    wait(plan, &mut tasks, &shared).await?;
    let shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(shared.report(&arguments.regions))
}

impl Plan {
    fn new(arguments: &LagArguments) -> Self {
        let regions = arguments.regions.len() as u64;
        let every_second = (arguments.rate * regions) as f64;
        let from = (arguments.warm * every_second) as u64 / regions * regions;
        Self {
            start: Instant::now() + LOOK,
            step: Duration::from_secs_f64(1.0 / every_second),
            regions,
            from,
            until: from + (arguments.seconds * every_second) as u64 / regions * regions,
        }
    }

    fn due(&self, number: u64) -> Instant {
        self.start + Duration::from_nanos(self.step.as_nanos() as u64 * number)
    }

    fn measures(&self, number: u64) -> bool {
        (self.from..self.until).contains(&number)
    }
}

impl Shared {
    fn new(plan: Plan, count: usize) -> Self {
        Self {
            plan,
            acks: vec![Histogram::default(); count],
            seen: vec![vec![Histogram::default(); count]; count],
            late: Histogram::default(),
            refused: 0,
            first_refusal: None,
        }
    }

    /// What is still to arrive of what is measured.
    fn missing(&self) -> u64 {
        let sent: u64 = self.acks.iter().map(Histogram::count).sum();
        let expected = sent * self.plan.regions;
        expected.saturating_sub(self.seen.iter().flatten().map(Histogram::count).sum())
    }

    fn report(&self, doors: &[Door]) -> Value {
        let figures = |of: &Histogram| {
            let at = |share| of.milliseconds_at(share);
            json!({ "count": of.count(), "p50": at(0.5), "p99": at(0.99), "p999": at(0.999) })
        };
        let mut acks = Vec::new();
        let mut pairs = Vec::new();
        for (at, (to, seen)) in doors.iter().zip(&self.seen).enumerate() {
            acks.push(json!({ "region": to.name, "figures": figures(&self.acks[at]) }));
            for (from, histogram) in doors.iter().zip(seen) {
                let figures = figures(histogram);
                pairs.push(json!({ "from": from.name, "to": to.name, "figures": figures }));
            }
        }
        json!({
            "acks": acks,
            "pairs": pairs,
            "late": figures(&self.late),
            "missing": self.missing(),
            "refused": self.refused,
            "firstRefusal": self.first_refusal,
        })
    }
}

/// Hands out the numbers of the events when they are due; ends when nobody takes them.
fn pace(plan: Plan, due: &[mpsc::Sender<u64>]) {
    for number in 0..plan.until {
        if let Some(time) = plan.due(number).checked_duration_since(Instant::now()) {
            thread::sleep(time);
        }
        let region = (number % plan.regions) as usize;
        if due[region].blocking_send(number).is_err() {
            return;
        }
    }
}

async fn send(
    mut connection: Connection,
    mut request: Request,
    region: usize,
    waiting: Arc<Turn<mpsc::Receiver<u64>>>,
    shared: Arc<Mutex<Shared>>,
) -> anyhow::Result<()> {
    loop {
        let Some(number) = waiting.lock().await.recv().await else { return Ok(()) };
        let sent = Instant::now();
        let (status, body) = connection.ask(request.fill(number)).await?;
        let now = Instant::now();
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        if status != 201 {
            shared.refused += 1;
            let text = || format!("{status} {}", String::from_utf8_lossy(body));
            shared.first_refusal.get_or_insert_with(text);
        } else if shared.plan.measures(number) {
            let due = shared.plan.due(number);
            shared.acks[region].add(now.saturating_duration_since(due));
            shared.late.add(sent.saturating_duration_since(due));
        }
    }
}

async fn watch(
    mut stream: Stream,
    region: usize,
    shared: Arc<Mutex<Shared>>,
) -> anyhow::Result<()> {
    let mut marks = Vec::new();
    loop {
        let now = stream.next(&mut marks).await?;
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = shared.plan;
        for number in marks.iter().copied().filter(|number| plan.measures(*number)) {
            let latency = now.saturating_duration_since(plan.due(number));
            let from = (number % plan.regions) as usize;
            shared.seen[region][from].add(latency);
        }
    }
}

/// Until everything has arrived, or long enough after; a task that fails ends it.
async fn wait(
    plan: Plan,
    tasks: &mut JoinSet<anyhow::Result<()>>,
    shared: &Mutex<Shared>,
) -> anyhow::Result<()> {
    let mut words = [(plan.due(plan.from), "measuring"), (plan.due(plan.until), "measured")]
        .into_iter()
        .peekable();
    let last = plan.due(plan.until) + PATIENCE;
    loop {
        let next = words.peek().map_or(Instant::now() + LOOK, |(time, _)| *time);
        tokio::select! {
            () = tokio::time::sleep_until(next.into()) => {}
            Some(ended) = tasks.join_next() => {
                ended.context("a task broke down")??;
                continue;
            }
        }
        if let Some((_, word)) = words.next() {
            say(word)?;
            continue;
        }
        let missing = shared.lock().unwrap_or_else(PoisonError::into_inner).missing();
        let now = Instant::now();
        // What is due last is sent a moment later, so the first look proves nothing.
        if now > last || (missing == 0 && now > plan.due(plan.until) + LOOK) {
            return Ok(());
        }
    }
}
