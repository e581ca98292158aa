//! Appends as fast as they are answered, over a fixed number of connections.
//!
//! Called by `main`. What always holds: what counts as measured was answered between `measuring`
//! and `measured`; a refusal is counted and shown, a broken connection ends the run.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::event::{AGGREGATE_TYPE, AGGREGATES, Request};
use super::histogram::Histogram;
use super::http::Connection;
use super::say;

/// After a refusal, so that a region that refuses all is not beaten.
const REST: Duration = Duration::from_millis(10);

/// How much of the first refusal is shown.
const REFUSAL_BYTES: usize = 500;

#[derive(Debug, Args)]
pub struct AppendArguments {
    /// A region's door.
    #[arg(long, value_name = "HOST:PORT")]
    address: SocketAddr,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Events in a request: an array unless it is one.
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// The size of an event.
    #[arg(long, default_value_t = 300)]
    bytes: usize,
    /// Before it is measured.
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    warm: f64,
    #[arg(long, value_name = "SECONDS", default_value_t = 15.0)]
    seconds: f64,
    /// Where each must be durable before it is answered, as `Linckia-Ack` has it.
    #[arg(long, value_name = "LEVEL")]
    ack: Option<String>,
    /// Each request carries a session's token, the one of an answer just before.
    #[arg(long)]
    session: bool,
    /// Events due a second; each connection then waits until its next one is due, and latencies
    /// count from there.
    #[arg(long)]
    rate: Option<u64>,
    /// Connections that are open besides, and silent.
    #[arg(long, default_value_t = 0)]
    idle: usize,
    /// How many aggregates events are spread over, and of which type.
    #[arg(long, default_value_t = AGGREGATES)]
    aggregates: u64,
    #[arg(long, default_value = AGGREGATE_TYPE)]
    kind: String,
    /// This many events, however long it takes, in place of --warm and --seconds.
    #[arg(long)]
    count: Option<u64>,
}

/// What the connections share.
#[derive(Debug)]
struct Shared {
    /// The number of the next event.
    next: u64,
    last: u64,
    /// When the first event is due, and the time between two, if they are.
    due: Option<(Instant, Duration)>,
    from: Instant,
    until: Option<Instant>,
    latencies: Histogram,
    /// How late events left that were due.
    late: Histogram,
    measured: u64,
    acknowledged: u64,
    refused: u64,
    first_refusal: Option<String>,
}

/// Runs `append`.
pub async fn run(arguments: &AppendArguments) -> anyhow::Result<Value> {
    anyhow::ensure!(arguments.batch > 0 && arguments.connections > 0, "nothing to send");
    let mut connections = Vec::with_capacity(arguments.connections);
    for _ in 0..arguments.connections {
        connections.push(Connection::open(arguments.address).await?);
    }
    let mut idle = Vec::with_capacity(arguments.idle);
    for _ in 0..arguments.idle {
        idle.push(Connection::open(arguments.address).await?);
    }
    let mut headers = String::new();
    if let Some(level) = &arguments.ack {
        headers = format!("linckia-ack: {level}\r\n");
    }
    if arguments.session {
        let token = token(arguments).await?;
        headers.push_str(&format!("linckia-session: {token}\r\n"));
    }
    let spread = (arguments.kind.as_str(), arguments.aggregates);
    let request = Request::of(arguments.batch, arguments.bytes, this_run(), &headers, spread)?;
    let shared = Arc::new(Mutex::new(Shared::new(arguments)));
    let started = Instant::now();
    let mut senders = JoinSet::new();
    for connection in connections {
        let (shared, request) = (Arc::clone(&shared), request.clone());
        senders.spawn(send(connection, request, shared, arguments.batch as u64));
    }
    if arguments.count.is_none() {
        measure(arguments, &mut senders).await?;
    }
    while let Some(ended) = senders.join_next().await {
        ended.context("a connection's task broke down")??;
    }
    let took = started.elapsed().as_secs_f64();
    drop(idle);
    let shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(shared.report(if arguments.count.is_some() { took } else { arguments.seconds }))
}

/// The token of a client that has written one event.
async fn token(arguments: &AppendArguments) -> anyhow::Result<String> {
    let mut connection = Connection::open(arguments.address).await?;
    let mut first = Request::new(1, arguments.bytes, !this_run(), "linckia-session:\r\n")?;
    connection.ask(first.fill(0)).await?;
    connection.header("linckia-session").context("the region gives no session token")
}

/// Waits for the ends of the measured time and says them; a connection that breaks ends it.
async fn measure(
    arguments: &AppendArguments,
    senders: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<()> {
    for (seconds, word) in [(arguments.warm, "measuring"), (arguments.seconds, "measured")] {
        let end = tokio::time::sleep(Duration::from_secs_f64(seconds));
        let mut end = std::pin::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => break,
                Some(ended) = senders.join_next() => {
                    ended.context("a connection's task broke down")??;
                }
            }
        }
        say(word)?;
    }
    Ok(())
}

impl Shared {
    fn new(arguments: &AppendArguments) -> Self {
        let now = Instant::now();
        let (from, until) = match arguments.count {
            Some(_) => (now, None),
            None => {
                let from = now + Duration::from_secs_f64(arguments.warm);
                (from, Some(from + Duration::from_secs_f64(arguments.seconds)))
            }
        };
        Self {
            next: 0,
            last: arguments.count.unwrap_or(u64::MAX),
            due: arguments.rate.map(|rate| (now, Duration::from_secs(1) / rate.max(1) as u32)),
            from,
            until,
            latencies: Histogram::default(),
            late: Histogram::default(),
            measured: 0,
            acknowledged: 0,
            refused: 0,
            first_refusal: None,
        }
    }

    /// The number of the next request's first event, while there is something to do.
    fn next(&mut self, now: Instant, events: u64) -> Option<u64> {
        let over = self.until.is_some_and(|until| now >= until);
        if over || self.next >= self.last {
            return None;
        }
        let number = self.next;
        self.next += events;
        Some(number)
    }

    /// When that event is due: at once, unless there is a rate.
    fn due(&self, number: u64) -> Option<Instant> {
        let (first, step) = self.due?;
        Some(first + Duration::from_nanos(step.as_nanos() as u64 * number))
    }

    fn left(&mut self, due: Instant, now: Instant) {
        if now >= self.from {
            self.late.add(now.saturating_duration_since(due));
        }
    }

    fn answered(&mut self, sent: Instant, now: Instant, events: u64) {
        self.acknowledged += events;
        if now >= self.from && self.until.is_none_or(|until| now < until) {
            self.measured += events;
            self.latencies.add(now - sent);
        }
    }

    fn refuse(&mut self, status: u16, body: &[u8], events: u64) {
        self.refused += events;
        self.first_refusal.get_or_insert_with(|| {
            let body = String::from_utf8_lossy(&body[..body.len().min(REFUSAL_BYTES)]);
            format!("{status} {body}")
        });
    }

    fn report(&self, seconds: f64) -> Value {
        json!({
            "events": self.measured,
            "seconds": seconds,
            "p50": self.latencies.milliseconds_at(0.5),
            "p99": self.latencies.milliseconds_at(0.99),
            "p999": self.latencies.milliseconds_at(0.999),
            "lateP99": self.late.milliseconds_at(0.99),
            "requests": self.latencies.count(),
            "acknowledged": self.acknowledged,
            "refused": self.refused,
            "firstRefusal": self.first_refusal,
        })
    }
}

async fn send(
    mut connection: Connection,
    mut request: Request,
    shared: Arc<Mutex<Shared>>,
    events: u64,
) -> anyhow::Result<()> {
    let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
    let mut sent = Instant::now();
    loop {
        let Some(number) = lock().next(sent, events) else { return Ok(()) };
        let due = lock().due(number);
        if let Some(due) = due {
            tokio::time::sleep_until(due.into()).await;
            lock().left(due, Instant::now());
            sent = due;
        }
        let (status, body) = connection.ask(request.fill(number)).await?;
        let now = Instant::now();
        match status {
            201 => lock().answered(sent, now, events),
            _ => {
                lock().refuse(status, body, events);
                tokio::time::sleep(REST).await;
            }
        }
        sent = now;
    }
}

/// Tells apart what this process sends from what others did.
pub fn this_run() -> u64 {
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::from(std::process::id()) << 40 ^ time.as_nanos() as u64
}
