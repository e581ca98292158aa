//! `bench append`: what a durable event costs at the door of a region whose two peers pull, and how
//! one region alone compares with PostgreSQL on the same disk in the same run.
//!
//! What always holds: everything acknowledged is in the region's vector afterwards, or the
//! measurement fails; both sides of a comparison get the same connections, the same bytes an event
//! and the same time.

use std::time::Duration;

use super::fleet::{Fleet, Region};
use super::load::{self, Appended};
use super::postgres::{self, Inserted, Server, Table};
use super::report::{Aim, Report};
use super::{Bench, build};

/// Connections to a door, and clients of PostgreSQL.
pub const CLIENTS: usize = 64;

/// Events in a batch, and rows in an insert.
pub const BATCH: usize = 100;

/// After a load, for peers to catch up.
const SETTLE_PATIENCE: Duration = Duration::from_secs(300);

/// Aims of the region with peers, single and batched, a CPU-second.
const SINGLE: Aim = Aim::AtLeast(30_000.0);
const BATCHED: Aim = Aim::AtLeast(100_000.0);

/// Aims of one region alone, as multiples of PostgreSQL.
const COMMITS: Aim = Aim::AtLeast(1.5);
const ROWS: Aim = Aim::AtLeast(3.0);

pub fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    // Found first: it would be a pity to miss it after minutes.
    let installed = match bench.options.without_postgres {
        true => None,
        false => Some(postgres::Installed::find()?),
    };
    let seconds = bench.pick((1.0, 3.0), (3.0, 15.0));
    with_peers(bench, report, seconds)?;
    let alone = alone(bench, report, seconds)?;
    if let Some(installed) = installed {
        let server = Server::start(&installed, &bench.scratch.join("postgres"))?;
        for table in [postgres::PLAIN, postgres::EVENTS] {
            against(bench, report, &alone, &server, &table, seconds)?;
        }
        report.note(format!(
            "{}, default settings, {CLIENTS} pgbench clients over TCP with prepared statements; \
             its CPU seconds include all its processes; the plain table is (id primary key, \
             aggregate, text), the event table adds a sequence, checked jsonb and an index by \
             aggregate",
            server.version()
        ));
    }
    report.note(format!(
        "{CLIENTS} connections, one request in flight each, events of 300 bytes over 10,000 \
         aggregates, {} s after {} s; the load generator, and the peers, share the cores",
        seconds.1, seconds.0
    ));
    if bench.options.profile == build::Profile::Sim {
        report.note("the sim profile checks overflows and assertions, which release does not");
    }
    Ok(())
}

fn with_peers(bench: &Bench, report: &mut Report, seconds: (f64, f64)) -> anyhow::Result<()> {
    let fleet = Fleet::start(bench, "three", &[])?;
    let region = &fleet.regions[0];
    let mut acknowledged = 0;
    for (what, batch, aim) in [("single", 1, SINGLE), ("batches of 100", BATCH, BATCHED)] {
        bench.say(&format!("three regions, {what}"));
        let appended = load::append(bench, region, batch, seconds)?;
        acknowledged += appended.acknowledged;
        let behind = acknowledged.saturating_sub(least_applied(&fleet.regions)?);
        let name = format!("with two peers pulling, {what}");
        let rate = appended.events_a_cpu_second;
        report.aimed(format!("{name}, a CPU-second"), rate, "events/CPU-s", aim);
        append_figures(report, &name, &appended);
        report.figure(format!("{name}, the later peer behind at the end"), behind as f64, "events");
        let caught_up = fleet.settle(acknowledged, SETTLE_PATIENCE)?;
        let name = format!("{name}, until all had it");
        report.figure(name, caught_up.as_secs_f64(), "s");
    }
    Ok(())
}

fn least_applied(regions: &[Region]) -> anyhow::Result<u64> {
    let applied: Vec<u64> = regions.iter().map(Region::applied).collect::<anyhow::Result<_>>()?;
    Ok(applied.into_iter().min().unwrap_or(0))
}

/// Single appends and batches, without peers.
fn alone(
    bench: &Bench,
    report: &mut Report,
    seconds: (f64, f64),
) -> anyhow::Result<(Appended, Appended)> {
    let fleet = Fleet::start(bench, "solo", &["solo"])?;
    let mut measured = |what: &str, batch| -> anyhow::Result<Appended> {
        bench.say(&format!("one region, {what}"));
        let appended = load::append(bench, &fleet.regions[0], batch, seconds)?;
        let name = format!("one region alone, {what}");
        let rate = appended.events_a_cpu_second;
        report.figure(format!("{name}, a CPU-second"), rate, "events/CPU-s");
        append_figures(report, &name, &appended);
        Ok(appended)
    };
    let both = (measured("single", 1)?, measured("batches of 100", BATCH)?);
    fleet.settle(both.0.acknowledged + both.1.acknowledged, SETTLE_PATIENCE)?;
    Ok(both)
}

/// One of PostgreSQL's tables, beside the region alone.
fn against(
    bench: &Bench,
    report: &mut Report,
    alone: &(Appended, Appended),
    server: &Server,
    table: &Table,
    seconds: (f64, f64),
) -> anyhow::Result<()> {
    let sizes = [("single", 1, &alone.0, COMMITS), ("batches of 100", BATCH, &alone.1, ROWS)];
    for (what, rows, ours, aim) in sizes {
        bench.say(&format!("PostgreSQL, {}, {what}", table.name));
        let theirs = server.insert(table, rows, seconds)?;
        let name = format!("PostgreSQL, {}, {what}", table.name);
        server_figures(report, &name, &theirs);
        let rate = ours.events_a_second / theirs.rows_a_second;
        report.aimed(format!("alone against {name}, rate"), rate, "×", aim);
        let cpu = ours.events_a_cpu_second / theirs.rows_a_cpu_second;
        report.figure(format!("alone against {name}, a CPU-second"), cpu, "×");
    }
    Ok(())
}

fn append_figures(report: &mut Report, name: &str, appended: &Appended) {
    report.figure(format!("{name}, rate"), appended.events_a_second, "events/s");
    report.figure(format!("{name}, P50"), appended.p50, "ms");
    report.figure(format!("{name}, P99"), appended.p99, "ms");
    report.figure(format!("{name}, CPU of the process"), appended.cores, "cores");
}

fn server_figures(report: &mut Report, name: &str, inserted: &Inserted) {
    report.figure(format!("{name}, a CPU-second"), inserted.rows_a_cpu_second, "rows/CPU-s");
    report.figure(format!("{name}, rate"), inserted.rows_a_second, "rows/s");
    report.figure(format!("{name}, mean latency"), inserted.latency, "ms");
}
