//! Runs seeds: the fixed ones of the tests, fresh ones, kept ones, or one with its trace.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use clap::{Parser, Subcommand};
use linckia_model::Fault;
use linckia_sim::{Outcome, Plan, PlanSize, run_seed};

/// As in the binary that is simulated.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Seeds that failed once; they are run for ever.
const KEPT: &str = include_str!("../seeds/kept.txt");

#[derive(Parser)]
#[command(about = "Whole regions under faults from a seed, judged by a naive reference")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs seeds and stops at the first that fails.
    Run {
        #[arg(long, default_value_t = 0)]
        from: u64,
        #[arg(long, default_value_t = 10_000)]
        count: u64,
        /// Plants a fault, which must be found.
        #[arg(long)]
        fault: Option<String>,
    },
    /// Runs every kept seed.
    Kept,
    /// Runs one seed and prints what happened.
    Replay {
        seed: u64,
        #[arg(long)]
        fault: Option<String>,
    },
    /// Measures handled inputs per processor second in the scenario of the figures.
    Bench {
        #[arg(long, default_value_t = 2_000)]
        count: u64,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run { from, count, fault } => match planted(fault.as_deref()) {
            Ok(fault) => run(from, count, fault),
            Err(code) => code,
        },
        Command::Kept => kept(),
        Command::Replay { seed, fault } => match planted(fault.as_deref()) {
            Ok(fault) => replay(seed, fault),
            Err(code) => code,
        },
        Command::Bench { count } => bench(count),
    }
}

fn planted(name: Option<&str>) -> Result<Option<Fault>, ExitCode> {
    let Some(name) = name else { return Ok(None) };
    let fault = Fault::from_name(name);
    if fault.is_none() {
        let names: Vec<&str> = Fault::ALL.iter().map(|fault| fault.name()).collect();
        eprintln!("no fault is called {name:?}; there are {}", names.join(", "));
        return Err(ExitCode::from(2));
    }
    Ok(fault)
}

fn one(seed: u64, fault: Option<Fault>, trace: bool) -> Outcome {
    run_seed(Plan::new(seed, PlanSize::EVERYTHING), fault, trace)
}

fn run(from: u64, count: u64, fault: Option<Fault>) -> ExitCode {
    let (next, inputs, acks) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let failed: Mutex<Option<(u64, String)>> = Mutex::new(None);
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let stop = failed.lock().unwrap_or_else(PoisonError::into_inner).is_some();
                    if number >= count || stop {
                        return;
                    }
                    let outcome = one(from + number, fault, false);
                    inputs.fetch_add(outcome.inputs, Ordering::Relaxed);
                    acks.fetch_add(outcome.acknowledged as u64, Ordering::Relaxed);
                    if let Some(violation) = outcome.violation {
                        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                        failed.get_or_insert((from + number, violation));
                    }
                }
            });
        }
    });
    let seconds = started.elapsed().as_secs_f64();
    let (inputs, acks) = (inputs.into_inner(), acks.into_inner());
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    match failed {
        Some((seed, violation)) => {
            let plant = fault.map(|f| format!(" --fault {}", f.name())).unwrap_or_default();
            println!("seed {seed} fails: {violation}");
            println!(
                "replay it: cargo run --profile sim -p linckia-sim -- replay {seed}{plant}\n\
                 once mended, add it to crates/linckia-sim/seeds/kept.txt"
            );
            println!("{} passed, 1 failed", next.into_inner().min(count).saturating_sub(1));
            ExitCode::FAILURE
        }
        None => {
            println!(
                "{count} seeds from {from}: {inputs} inputs, {acks} acknowledged writes, \
                 {seconds:.1} s, no violation"
            );
            println!("{count} passed, 0 failed");
            ExitCode::SUCCESS
        }
    }
}

fn kept() -> ExitCode {
    let lines = KEPT.lines().map(|line| line.split('#').next().unwrap_or("").trim());
    let (mut passed, mut failed) = (0, 0);
    for line in lines.filter(|line| !line.is_empty()) {
        let Ok(seed) = line.parse::<u64>() else {
            eprintln!("kept.txt holds {line:?}, which is no seed");
            return ExitCode::from(2);
        };
        match one(seed, None, false).violation {
            None => passed += 1,
            Some(violation) => {
                failed += 1;
                println!("kept seed {seed} fails: {violation}");
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn replay(seed: u64, fault: Option<Fault>) -> ExitCode {
    let outcome = one(seed, fault, true);
    for line in &outcome.trace {
        println!("{line}");
    }
    println!(
        "seed {seed}: {} inputs, {} acknowledged, {} records",
        outcome.inputs, outcome.acknowledged, outcome.conflicts
    );
    match outcome.violation {
        Some(violation) => {
            println!("VIOLATION: {violation}");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}

fn bench(count: u64) -> ExitCode {
    let started = Instant::now();
    let mut inputs = 0;
    for seed in 0..count {
        let outcome = run_seed(Plan::new(seed, PlanSize::FIGURE), None, false);
        inputs += outcome.inputs;
        if let Some(violation) = outcome.violation {
            println!("seed {seed} of the figure's scenario fails: {violation}");
            return ExitCode::FAILURE;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{count} seeds, {inputs} inputs in {seconds:.2} s on one thread: {:.0} inputs/s, \
         {:.0} seeds/s",
        inputs as f64 / seconds,
        count as f64 / seconds
    );
    ExitCode::SUCCESS
}
