//! `events`: the logs as one region has applied them, once or as they happen.
//!
//! What always holds: `--follow` resumes after a lost connection behind the last event shown, so
//! none is missing and none is shown twice, unless the region says that some are gone.

use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::Broken;
use super::door::{Door, Failure, FailureKind, query};
use super::retry::{Patience, RETRY_FOR_DEFAULT};
use super::sse::{Message, Parser};
use super::text::{VALUE_SHOWN, plain, print, print_bytes, remark, short};
use super::{Context, Outcome};
use crate::config::units::parse_duration;

/// A line of a terminal has room for this much of an event's data.
const DATA_SHOWN: usize = 2 * VALUE_SHOWN;

/// Which events are meant; shared with `export`.
#[derive(Debug, Clone, Args)]
pub struct EventFilter {
    /// Only events of this type.
    #[arg(long = "type", value_name = "EVENTTYPE")]
    event_type: Option<String>,
    /// Only events of aggregates of this type.
    #[arg(long, value_name = "TYPE")]
    aggregate_type: Option<String>,
    /// Only events of aggregates with this id.
    #[arg(long, value_name = "ID")]
    aggregate_id: Option<String>,
}

/// Shows events, oldest first.
#[derive(Debug, Args)]
pub struct EventsArguments {
    #[command(flatten)]
    filter: EventFilter,
    /// Begin behind this vector (`now`: only what comes); absent: with the first retained.
    #[arg(long, value_name = "VECTOR")]
    after: Option<String>,
    /// Go on with what happens from now on, until Ctrl-C.
    #[arg(long)]
    follow: bool,
    /// How many to show, 1 to 1000.
    #[arg(long, value_name = "N", default_value_t = 100, conflicts_with = "follow",
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// With --follow: how long to go on trying when the region does not answer.
    #[arg(long, value_name = "DURATION", default_value = RETRY_FOR_DEFAULT,
          value_parser = parse_duration)]
    retry_for: Duration,
}

/// A page of events, each as it stands.
#[derive(Deserialize)]
pub(crate) struct Page {
    pub(crate) items: Vec<Box<RawValue>>,
    pub(crate) next: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Event {
    event_type: String,
    aggregate_type: String,
    aggregate_id: String,
    operation: String,
    event_data: Option<Box<RawValue>>,
    metadata: Metadata,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Metadata {
    timestamp: String,
    region: String,
}

impl EventFilter {
    /// The query of `GET /v1/events`.
    pub(crate) fn query(&self, after: Option<&str>, limit: Option<u16>) -> String {
        let limit = limit.map(|limit| limit.to_string());
        query(&[
            ("after", after),
            ("limit", limit.as_deref()),
            ("type", self.event_type.as_deref()),
            ("aggregateType", self.aggregate_type.as_deref()),
            ("aggregateId", self.aggregate_id.as_deref()),
        ])
    }
}

/// Runs `events`.
pub async fn run(context: &Context, arguments: &EventsArguments) -> anyhow::Result<Outcome> {
    let door = context.addresses.one().await?;
    if arguments.follow {
        let follower = Follower {
            json: context.json,
            path: format!("/v1/events{}", arguments.filter.query(arguments.after.as_deref(), None)),
            last: None,
        };
        return follower.run(&door, arguments.retry_for).await;
    }
    let query = arguments.filter.query(arguments.after.as_deref(), Some(arguments.limit));
    let answer = door.get(&format!("/v1/events{query}")).await?;
    if context.json {
        print_bytes(&answer.body)?;
        return Ok(Outcome::Done);
    }
    let page: Page = door.read(&answer)?;
    let lines: Vec<String> = page.items.iter().map(|event| line(event.get())).collect();
    if lines.is_empty() {
        remark(&format!("no such event in {}", door.label()));
    } else {
        print(&lines.join("\n"))?;
    }
    if let Some(next) = page.next
        && page.items.len() == usize::from(arguments.limit)
    {
        remark(&format!("for those that follow: --after {}", plain(&next)));
    }
    Ok(Outcome::Done)
}

/// One event in one line.
fn line(event: &str) -> String {
    let Ok(event) = serde_json::from_str::<Event>(event) else {
        return short(event, DATA_SHOWN);
    };
    let data = event.event_data.as_ref().map_or("{}", |data| data.get());
    format!(
        "{}  {:<14}  {}  {}/{}  {}  {}",
        plain(&event.metadata.timestamp),
        plain(&event.metadata.region),
        plain(&event.event_type),
        plain(&event.aggregate_type),
        plain(&event.aggregate_id),
        plain(&event.operation),
        short(data, DATA_SHOWN)
    )
}

/// A stream of events over any number of connections.
struct Follower {
    json: bool,
    path: String,
    last: Option<String>,
}

impl Follower {
    async fn run(mut self, door: &Door, retry_for: Duration) -> anyhow::Result<Outcome> {
        let mut patience = Patience::new(retry_for);
        let mut connected_once = false;
        loop {
            let failure = tokio::select! {
                ended = self.connection(door, &mut patience, &mut connected_once) => ended?,
                interrupt = tokio::signal::ctrl_c() => {
                    interrupt?;
                    return Ok(Outcome::Done);
                }
            };
            // What never answered is a wrong address more often than a restart.
            if !connected_once || !failure.again() {
                return Err(failure.into());
            }
            remark(&format!("{failure}; trying again"));
            let waited = tokio::select! {
                waited = patience.wait(failure.retry_after()) => waited,
                interrupt = tokio::signal::ctrl_c() => {
                    interrupt?;
                    return Ok(Outcome::Done);
                }
            };
            if !waited {
                return Err(anyhow::Error::from(failure).context(self.advice()));
            }
        }
    }

    fn advice(&self) -> String {
        match &self.last {
            Some(last) => format!("given up; to go on later: --after {last}"),
            None => "given up before the first event".to_owned(),
        }
    }

    /// One connection, until it ends: the reason, or an error on this side.
    async fn connection(
        &mut self,
        door: &Door,
        patience: &mut Patience,
        connected: &mut bool,
    ) -> anyhow::Result<Failure> {
        let last = self.last.clone();
        let mut headers = vec![("accept", "text/event-stream")];
        if let Some(last) = &last {
            headers.push(("last-event-id", last));
        }
        let mut pieces = match door.stream(&self.path, &headers).await {
            Ok(pieces) => pieces,
            Err(failure) => return Ok(failure),
        };
        *connected = true;
        patience.succeeded();
        let mut parser = Parser::default();
        loop {
            let piece = match pieces.next().await {
                Ok(Some(piece)) => piece,
                Ok(None) => return Ok(door.broken(Broken::Ended)),
                Err(broken) => return Ok(door.broken(broken)),
            };
            let Ok(messages) = parser.push(&piece) else {
                let why = "the stream holds a line longer than any event".to_owned();
                return Ok(door.fail(FailureKind::Unreadable(why)));
            };
            for message in messages {
                self.show(message)?;
            }
        }
    }

    fn show(&mut self, message: Message) -> anyhow::Result<()> {
        match message.kind.as_str() {
            "" | "message" | "event" if self.json => print(&message.data)?,
            "" | "message" | "event" => print(&line(&message.data))?,
            "gap" => remark(&format!(
                "events are missing here, because retention has passed this position: {}",
                plain(&message.data)
            )),
            other => remark(&format!("{}: {}", plain(other), plain(&message.data))),
        }
        if message.id.is_some() {
            self.last = message.id;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line() {
        let event = r#"{"eventId":"1","eventType":"T","aggregateType":"A","aggregateId":"\u001b1",
            "operation":"patch","eventData":{"a":1},
            "metadata":{"timestamp":"2026-01-01T00:00:00Z","region":"eu-west-1","version":1}}"#;
        assert_eq!(
            line(event),
            "2026-01-01T00:00:00Z  eu-west-1       T  A/\u{fffd}1  patch  {\"a\":1}"
        );
        assert_eq!(line("[1]"), "[1]");
    }
}
