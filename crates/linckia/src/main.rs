//! The program `linckia`: words in, one call, an exit code out.
//!
//! Only the tree of subcommands stands here; what they do is in the library, `fleet` and `house`
//! for what runs, `command` for what asks. What always holds: exit code 0 is done, 1 refused or
//! failed, 2 wrong use; nothing binds, connects or opens before the words are checked.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use linckia::arguments::GlobalArguments;
use linckia::command::address::AccessArguments;
use linckia::command::{self, Context, Outcome, aggregate, config, conflicts, digests};
use linckia::command::{events, export, import, regions, status};

/// An active-active replication layer: every region takes every write, and all converge.
#[derive(Debug, Parser)]
#[command(name = "linckia", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    global: GlobalArguments,
    #[command(flatten)]
    access: AccessArguments,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Import(import::ImportArguments),
    Export(export::ExportArguments),
    Append(aggregate::AppendArguments),
    Get(aggregate::GetArguments),
    Events(events::EventsArguments),
    Conflicts(conflicts::ConflictsArguments),
    /// Shows the regions of the fleet, as one of them sees it.
    Regions,
    Status(status::StatusArguments),
    Digests(digests::DigestsArguments),
    Init(config::InitArguments),
    Check(config::CheckArguments),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.global.json;
    command::finish(run(cli), json)
}

fn run(cli: Cli) -> anyhow::Result<Outcome> {
    let json = cli.global.json;
    match &cli.command {
        Command::Init(arguments) => return config::init(arguments, json),
        Command::Check(arguments) => return config::check(arguments, json),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    let outcome = runtime.block_on(ask(&cli));
    // Not waited for: a thread may hang on standard input.
    runtime.shutdown_background();
    outcome
}

async fn ask(cli: &Cli) -> anyhow::Result<Outcome> {
    let context = Context::new(&cli.global, &cli.access)?;
    match &cli.command {
        Command::Import(arguments) => import::run(&context, arguments).await,
        Command::Export(arguments) => export::run(&context, arguments).await,
        Command::Append(arguments) => aggregate::append(&context, arguments).await,
        Command::Get(arguments) => aggregate::get(&context, arguments).await,
        Command::Events(arguments) => events::run(&context, arguments).await,
        Command::Conflicts(arguments) => conflicts::run(&context, arguments).await,
        Command::Regions => regions::run(&context).await,
        Command::Status(arguments) => status::run(&context, arguments).await,
        Command::Digests(arguments) => digests::run(&context, arguments).await,
        Command::Init(_) | Command::Check(_) => Ok(Outcome::Done),
    }
}
