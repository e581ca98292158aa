//! What a drill found, as text for a terminal.
//!
//! Beside the words of `drill`. What always holds: the last line says whether the drill passed.

use linckia_drill::absent::{Absent, Disk};
use linckia_drill::full::Full;
use linckia_drill::report::{Drill, Report, Times};
use linckia_drill::restored::Restored;

use crate::command::text::{number, table};

/// Ids that are printed of what was lost; all are in the JSON and on the page.
const LOST_SHOWN: usize = 10;

pub(super) fn show(report: &Report) -> String {
    let rows = report.levels.iter().map(|level| {
        vec![
            level.ack.clone(),
            number(level.acknowledged),
            number(level.lost),
            number(level.declared_lost),
            number(level.duplicated),
            number(level.interrupted),
            number(level.rto_milliseconds.p50),
            number(level.rto_milliseconds.p99),
            number(level.stale_reads),
        ]
    });
    let header = [
        "ACK",
        "ACKNOWLEDGED",
        "LOST",
        "DECLARED",
        "TWICE",
        "INTERRUPTED",
        "RTO P50 MS",
        "P99",
        "STALE READS",
    ];
    let mut text = table(&header, &[1, 2, 3, 4, 5, 6, 7, 8], rows.collect());
    for level in report.levels.iter().filter(|level| level.lost > 0) {
        text.push_str(&format!("\n\nLost of `{}`:", level.ack));
        for id in level.lost_ids.iter().take(LOST_SHOWN) {
            text.push_str(&format!("\n  {id}"));
        }
        if level.lost_ids.len() > LOST_SHOWN {
            text.push_str(&format!("\n  and {} more", level.lost_ids.len() - LOST_SHOWN));
        }
    }
    if let Some(broken) = &report.broken_guarantee {
        text.push_str(&format!("\n\nA session guarantee was broken: {broken}"));
    }
    for surprise in &report.surprises {
        text.push_str(&format!("\n\nNot expected: {surprise}"));
    }
    text.push_str(&match &report.drill {
        Drill::RegionLoss { .. } => String::new(),
        Drill::Absence { absent, .. } => show_absent(absent),
        Drill::DiskFull { full, .. } => show_full(full),
        Drill::Restore { times, restored, restored_equal, .. } => {
            show_restored(times, restored, *restored_equal)
        }
        Drill::Soak { deletions, sessions_given_up, .. } => format!(
            "\n\n{} deletions met a write that did not know of them; {} sessions were given up.",
            number(*deletions),
            number(*sessions_given_up)
        ),
    });
    let equal = if report.digests_equal { "are equal" } else { "DIFFER" };
    let verdict = if report.passed { "Passed" } else { "FAILED" };
    text.push_str(&format!(
        "\n\n{verdict}: {}; digests {equal}; acknowledged ids in {}.",
        report.drill.name(),
        report.ledger
    ));
    if let Some(path) = &report.report {
        text.push_str(&format!(" The page: {path}"));
    }
    text
}

fn show_restored(times: &Times, restored: &Restored, equal: bool) -> String {
    let Times { time, backup, verify, restore, age } = times;
    let mut text = format!(
        "\n\nRestored as of {time}: ready after {} ms (RTO), {} ms after that moment (RPO); the \
         second backup took {} ms, `backup verify` {} ms.\nOf {} writes acknowledged by then {} \
         are missing in the restored fleet; of {} begun later {} are in it; its digests {}.",
        number(*restore),
        number(*age),
        number(*backup),
        number(*verify),
        number(restored.owed),
        number(restored.missing_ids.len() as u64),
        number(restored.later),
        number(restored.too_late_ids.len() as u64),
        if equal { "are equal" } else { "DIFFER" },
    );
    for (what, ids) in [("missing", &restored.missing_ids), ("too late", &restored.too_late_ids)] {
        for id in ids.iter().take(LOST_SHOWN) {
            text.push_str(&format!("\n  {what}: {id}"));
        }
    }
    text
}

fn show_absent(absent: &Absent) -> String {
    let mut text = format!(
        "\n\nAway for {} ms, and {} events behind. Started again: answered after {} ms (RTO), \
         caught up by {} after {} ms, {}.",
        number(absent.away_milliseconds),
        number(absent.events_behind),
        number(absent.rto_milliseconds),
        absent.catch_up.name(),
        number(absent.level_milliseconds),
        after("took a client's write", absent.writes_milliseconds),
    );
    match &absent.lapsed {
        Some(reason) => text.push_str(&format!(
            "\nIt had lapsed ({reason}): {} events that it brought back were on record, {} of them \
             admitted; {} acknowledged writes are neither in all regions nor on record.",
            number(absent.returned),
            number(absent.admitted),
            number(absent.unrecorded_ids.len() as u64),
        )),
        None => text.push_str("\nIt had not lapsed: the others kept for it what it lacked."),
    }
    for id in absent.unrecorded_ids.iter().take(LOST_SHOWN) {
        text.push_str(&format!("\n  MISSING: {id}"));
    }
    let header = ["LOGS OF", "BEFORE MIB", "PEAK", "AFTER", "BOUND"];
    let row = |disk: &Disk| {
        let bytes = [disk.before_bytes, disk.peak_bytes, disk.after_bytes, disk.bound_bytes];
        let cells = bytes.map(|bytes| number(bytes.div_ceil(1 << 20)));
        [disk.region.clone()].into_iter().chain(cells).collect()
    };
    let rows = absent.disks.iter().map(row).collect();
    text.push_str(&format!("\n\n{}", table(&header, &[1, 2, 3, 4], rows)));
    text
}

fn show_full(full: &Full) -> String {
    let mut text = format!(
        "\n\nFull for {} ms: {}, and {} in all; it took {} after the first refusal, and failed {} \
         otherwise. Of {} reads {} failed.\nWith room again: {} (RTO), caught up after {} ms.",
        number(full.full_milliseconds),
        after("refused a write", full.noticed_milliseconds),
        number(full.refused),
        number(full.taken),
        number(full.failed),
        number(full.reads + full.reads_failed),
        number(full.reads_failed),
        after("took a write", full.rto_milliseconds),
        number(full.level_milliseconds),
    );
    for (region, silence) in &full.silence_milliseconds {
        let silence = number(*silence);
        text.push_str(&format!(
            "\n{region} was never longer than {silence} ms without acknowledging a write."
        ));
    }
    text
}

fn after(what: &str, milliseconds: Option<u64>) -> String {
    match milliseconds {
        Some(milliseconds) => format!("{what} after {} ms", number(milliseconds)),
        None => format!("NEVER {what}"),
    }
}
