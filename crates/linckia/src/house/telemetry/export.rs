//! The sender of spans: gathers them, posts them to the collector, and gives up after some tries.
//!
//! One task. What always holds: what it cannot send is dropped and counted, never kept for longer
//! than its tries take; a collector that is away is told of once, until it is back.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, StatusCode};
use linckia_net::{Client, ClientOptions};
use metrics::counter;
use tokio::sync::mpsc;

use super::otlp::{Span, body};
use super::{DROPPED, SENT};

/// Spans of one request: about a quarter of a megabyte.
const BATCH_MAX: usize = 1_024;

/// The first span of a batch waits so long for company.
const GATHER: Duration = Duration::from_millis(500);

/// A batch is tried so often, with a pause that doubles.
const TRIES: u32 = 5;
const PAUSE_FIRST: Duration = Duration::from_millis(250);

const ANSWER_LONGEST: Duration = Duration::from_secs(5);

/// Starts the task, which ends when nobody can send spans any more.
pub(super) fn start(
    address: &str,
    region: &str,
    queue: mpsc::Receiver<Span>,
) -> anyhow::Result<()> {
    let options = ClientOptions {
        connect_longest: ANSWER_LONGEST,
        answer_longest: ANSWER_LONGEST,
        tls: None,
    };
    let client = Client::new(address, options).context("telemetry.otlp is no address")?;
    tokio::spawn(run(client, region.to_owned(), queue));
    Ok(())
}

async fn run(client: Client, region: String, mut queue: mpsc::Receiver<Span>) {
    let (sent, dropped) = (counter!(SENT), counter!(DROPPED));
    let mut away = false;
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, BATCH_MAX).await > 0 {
        if batch.len() < BATCH_MAX {
            tokio::time::sleep(GATHER).await;
            while batch.len() < BATCH_MAX
                && let Ok(span) = queue.try_recv()
            {
                batch.push(span);
            }
        }
        let count = batch.len() as u64;
        match post(&client, body(&region, &batch)).await {
            Ok(()) => {
                sent.increment(count);
                if std::mem::take(&mut away) {
                    tracing::info!("the collector of spans takes them again");
                }
            }
            Err(error) => {
                dropped.increment(count);
                if !std::mem::replace(&mut away, true) {
                    tracing::warn!(error, "the collector takes no spans; they are dropped");
                }
            }
        }
        batch.clear();
    }
}

/// Errors: why the collector did not take them.
async fn post(client: &Client, body: Vec<u8>) -> Result<(), String> {
    let headers = [("content-type", "application/x-protobuf")];
    let body = Bytes::from(body);
    let mut pause = PAUSE_FIRST;
    let mut last = String::new();
    for _ in 0..TRIES {
        match client.request(Method::POST, "/v1/traces", &headers, body.clone()).await {
            Ok((status, ..)) if status.is_success() => return Ok(()),
            Ok((status, ..)) => {
                last = format!("it answers {status}");
                if !is_worth_trying_again(status) {
                    return Err(last);
                }
            }
            Err(error) => last = linckia_model::with_causes(&error),
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    Err(last)
}

/// As OTLP has it.
fn is_worth_trying_again(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}
