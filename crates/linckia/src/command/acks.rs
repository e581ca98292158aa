//! `acks`: which regions hold an event durably, as one of them knows.
//!
//! What always holds: a region that has not said that it holds the event is not said to lack it.

use clap::Args;
use serde::Deserialize;

use super::text::{plain, print, print_bytes};
use super::{Context, Outcome};

/// Shows where an event is durable.
#[derive(Debug, Args)]
pub struct AcksArguments {
    /// The event's dot, as the answer to its write names it: ORIGIN:SEQUENCE.
    #[arg(value_name = "DOT")]
    dot: String,
}

#[derive(Deserialize)]
struct Holders {
    dot: String,
    durable: Vec<String>,
    unconfirmed: Vec<String>,
    reached: Vec<String>,
}

/// Runs `acks`.
pub async fn run(context: &Context, arguments: &AcksArguments) -> anyhow::Result<Outcome> {
    let door = context.addresses.one().await?;
    let answer = door.get(&format!("/v1/acks/{}", arguments.dot)).await?;
    if context.json {
        print_bytes(&answer.body)?;
        return Ok(Outcome::Done);
    }
    let Holders { dot, durable, unconfirmed, reached } = door.read(&answer)?;
    let list = |names: &[String]| if names.is_empty() { "-".to_owned() } else { names.join(", ") };
    print(&plain(&format!("Event {dot} is durable in: {}", list(&durable))))?;
    print(&plain(&format!("Not known to be durable in: {}", list(&unconfirmed))))?;
    print(&plain(&format!("Levels reached: {}", list(&reached))))?;
    Ok(Outcome::Done)
}
