//! The program `linckia`: words in, one call, an exit code out.
//!
//! Only the tree of subcommands stands here; what they do is in the library, `fleet` and `house`
//! for what runs, `command` for what asks. What always holds: exit code 0 is done, 1 refused or
//! failed, 2 wrong use; nothing binds, connects or opens before the words are checked.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use linckia::arguments::GlobalArguments;
use linckia::command::address::AccessArguments;
use linckia::command::{
    self, Context, Outcome, acks, aggregate, backup, compare, config, conflicts, digests, drill,
};
use linckia::command::{
    events, export, import, keys, lock, log, policy, regions, returned, status, undo,
};
use linckia::config::Config;
use linckia::fleet::{DiskCommand, StartArguments, StopArguments, UpArguments, WanCommand};
use linckia::house::Word;

/// Folding makes and drops many small values; the system's allocator took a third of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    /// Starts a local fleet and keeps it running until Ctrl-C.
    Up(UpArguments),
    /// Shows and changes the emulated links of a local fleet.
    #[command(subcommand)]
    Wan(WanCommand),
    /// Rehearses a full disk of a region of a local fleet.
    #[command(subcommand)]
    Disk(DiskCommand),
    /// Starts a region of a local fleet that was stopped.
    Start(StartArguments),
    /// Stops a region of a local fleet; it stays down until it is started.
    Stop(StopArguments),
    Status(status::StatusArguments),
    /// Shows the regions of the fleet, as one of them sees it.
    Regions,
    Digests(digests::DigestsArguments),
    Compare(compare::CompareArguments),
    Repair(compare::RepairArguments),
    Import(import::ImportArguments),
    Export(export::ExportArguments),
    Backup(backup::BackupArguments),
    Restore(backup::RestoreArguments),
    Append(aggregate::AppendArguments),
    Get(aggregate::GetArguments),
    Events(events::EventsArguments),
    Conflicts(conflicts::ConflictsArguments),
    Resolve(policy::ResolveArguments),
    Undo(undo::UndoArguments),
    #[command(subcommand)]
    Returned(returned::ReturnedCommand),
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    Acks(acks::AcksArguments),
    #[command(subcommand)]
    Lock(lock::LockCommand),
    /// Rehearses failures and accounts for every acknowledged write.
    #[command(subcommand)]
    Drill(drill::DrillCommand),
    Region(RegionArguments),
    Init(config::InitArguments),
    Check(config::CheckArguments),
    #[command(subcommand)]
    SessionKeys(keys::KeysCommand),
    #[command(subcommand)]
    Log(log::LogCommand),
}

/// Runs one region, or tells a fleet what to do with one.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct RegionArguments {
    #[command(subcommand)]
    order: Option<RegionOrder>,
    /// Its configuration; `linckia init` writes one.
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// Lets the members begin to agree anew where all their journals were lost: fences of locks and
    /// policies start over.
    #[arg(long)]
    begin_agreement: bool,
    /// Says that this directory, which was moved, is the only one of its region: it is not asked of
    /// the other members.
    #[arg(long)]
    only_copy: bool,
}

#[derive(Debug, Subcommand)]
enum RegionOrder {
    Lapse(regions::LapseArguments),
}

pub fn main() -> ExitCode {
    small_pages();
    let cli = Cli::parse();
    run(&cli).unwrap_or_else(|error| command::finish(Err(error), cli.global.json))
}

/// The kernel zeroes a huge page as a whole when it is first touched: milliseconds in which nobody
/// is answered.
fn small_pages() {
    // A kernel without huge pages needs nothing.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    let json = cli.global.json;
    let outcome = match &cli.command {
        Command::Init(arguments) => config::init(arguments, json),
        Command::Check(arguments) => config::check(arguments, json),
        Command::Log(arguments) => arguments.run(json),
        Command::SessionKeys(arguments) => arguments.run(json),
        Command::Region(RegionArguments {
            config: Some(path), begin_agreement, only_copy, ..
        }) => {
            let config = Config::load(path)?;
            let word = Word { begin_anew: *begin_agreement, only_one: *only_copy };
            linckia::house::run_region(&config, word)
        }
        _ => return run_with_runtime(cli),
    };
    Ok(command::finish(outcome, json))
}

fn run_with_runtime(cli: &Cli) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    let code = runtime.block_on(async {
        match &cli.command {
            Command::Up(arguments) => arguments.run(&cli.global).await,
            Command::Wan(order) => order.run(&cli.global).await,
            Command::Disk(order) => order.run(&cli.global).await,
            Command::Start(arguments) => arguments.run(&cli.global).await,
            Command::Stop(arguments) => arguments.run(&cli.global).await,
            _ => Ok(command::finish(ask(cli).await, cli.global.json)),
        }
    });
    // Not waited for: a thread may hang on standard input.
    runtime.shutdown_background();
    code
}

async fn ask(cli: &Cli) -> anyhow::Result<Outcome> {
    let context = Context::new(&cli.global, &cli.access)?;
    match &cli.command {
        Command::Status(arguments) => status::run(&context, arguments).await,
        Command::Regions => regions::run(&context).await,
        Command::Region(RegionArguments { order: Some(RegionOrder::Lapse(arguments)), .. }) => {
            regions::lapse(&context, arguments).await
        }
        Command::Digests(arguments) => digests::run(&context, arguments).await,
        Command::Compare(arguments) => compare::compare(&context, arguments).await,
        Command::Repair(arguments) => compare::repair(&context, arguments).await,
        Command::Import(arguments) => import::run(&context, arguments).await,
        Command::Export(arguments) => export::run(&context, arguments).await,
        Command::Backup(arguments) => backup::run(&context, arguments).await,
        Command::Restore(arguments) => {
            backup::restore(&context, cli.global.named_dir(), arguments).await
        }
        Command::Append(arguments) => aggregate::append(&context, arguments).await,
        Command::Get(arguments) => aggregate::get(&context, arguments).await,
        Command::Events(arguments) => events::run(&context, arguments).await,
        Command::Conflicts(arguments) => conflicts::run(&context, arguments).await,
        Command::Acks(arguments) => acks::run(&context, arguments).await,
        Command::Undo(arguments) => undo::run(&context, arguments).await,
        Command::Returned(command) => returned::run(&context, command).await,
        Command::Resolve(arguments) => policy::resolve(&context, arguments).await,
        Command::Policy(command) => policy::run(&context, command).await,
        Command::Lock(command) => lock::run(&context, command).await,
        Command::Drill(command) => drill::run(&context, &cli.global, command).await,
        // Handled by the callers, which never come here with them.
        Command::Up(_)
        | Command::Wan(_)
        | Command::Disk(_)
        | Command::Start(_)
        | Command::Stop(_)
        | Command::Region(_)
        | Command::Init(_)
        | Command::Check(_)
        | Command::SessionKeys(_)
        | Command::Log(_) => Ok(Outcome::Done),
    }
}
