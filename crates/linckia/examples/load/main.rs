//! The load generator of `cargo xtask bench`: a process of its own, so that what it costs does not
//! blur what is measured.
//!
//! It shares the machine's cores with the regions, so it is frugal: one thread, raw HTTP/1.1 with
//! requests laid out ahead, answers looked at no further than their status. What always holds: one
//! request is in flight on a connection; every event has an id of its own; `measuring` and
//! `measured` stand on stdout at the ends of the measured time, so that the caller can read the
//! regions' CPU clocks then; the last line is one JSON object.

mod append;
mod event;
mod histogram;
mod http;
mod lag;
mod stream;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about = "Puts events into regions and prints how that went, as one line of JSON")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Closed loop: every connection sends its next request when the last one is answered.
    Append(append::AppendArguments),
    /// Open loop: events at a steady rate into every region, and all regions' streams read.
    Lag(lag::LagArguments),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    let line = runtime.block_on(async {
        match &cli.command {
            Command::Append(arguments) => append::run(arguments).await,
            Command::Lag(arguments) => lag::run(arguments).await,
        }
    })?;
    say(&line.to_string())
}

/// One line on stdout, at once.
fn say(line: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("nobody reads stdout")
}
