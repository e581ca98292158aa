//! Which drill a report is of, what it measured beside the account, and how that is told.
//!
//! Part of the report. What always holds: the words on the page name no text that is not escaped.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Band, Times, escape};
use crate::absent::{Absent, Disk};
use crate::full::Full;
use crate::restored::Restored;

/// Which drill it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "drill", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Drill {
    RegionLoss {
        region: String,
        mode: &'static str,
    },
    Absence {
        region: String,
        #[serde(flatten)]
        absent: Absent,
    },
    DiskFull {
        region: String,
        #[serde(flatten)]
        full: Full,
    },
    Restore {
        region: String,
        #[serde(flatten)]
        times: Times,
        #[serde(flatten)]
        restored: Restored,
        /// The regions of the restored fleet hold the same.
        restored_equal: bool,
    },
    Soak {
        seed: u64,
        /// Writes a second that were acknowledged.
        rate: u64,
        failures: Vec<Band>,
        /// Deletions that met a write which did not know of them.
        deletions: u64,
        /// Sessions that waited for what was lost with a disk.
        sessions_given_up: u64,
    },
}

impl Drill {
    /// What happened, as a noun.
    pub fn name(&self) -> String {
        match self {
            Self::RegionLoss { region, mode } => format!("{mode} of {region}"),
            Self::Absence { region, absent } => match &absent.lapsed {
                Some(_) => format!("absence and lapse of {region}"),
                None => format!("absence of {region}"),
            },
            Self::DiskFull { region, .. } => format!("full disk of {region}"),
            Self::Restore { region, times, .. } => {
                format!("restore of {region} as of {}", times.time)
            }
            Self::Soak { seed, rate, failures, .. } => {
                format!("{} failures of seed {seed} at {rate} writes/s", failures.len())
            }
        }
    }

    /// The page's title, and what happened.
    pub(super) fn story(&self) -> (String, String) {
        match self {
            Self::RegionLoss { region, mode } => {
                let what = match *mode {
                    "stop" => "was killed and started again",
                    "cut" => "was cut off from all other regions",
                    _ => "was killed, and its disk destroyed",
                };
                let region = escape(region);
                let story =
                    format!("While clients wrote and read, <b>{region}</b> {what}, and came back.");
                (format!("Losing {region}"), story)
            }
            Self::Restore { region, times, restored, .. } => {
                let (region, time) = (escape(region), escape(&times.time));
                let story = format!(
                    "While clients wrote and read, <b>{region}</b> was backed up, and a fleet was \
                     restored beside, as of {time}. It was ready after {} ms, and the moment was \
                     {} ms old when restoring began. Of {} writes that had been acknowledged by \
                     then {} are missing in it; of {} that were begun later {} are in it.",
                    times.restore,
                    times.age,
                    restored.owed,
                    restored.missing_ids.len(),
                    restored.later,
                    restored.too_late_ids.len()
                );
                (format!("Restoring {region}"), story)
            }
            Self::Absence { region, absent } => {
                (format!("Doing without {}", escape(region)), absent_story(region, absent))
            }
            Self::DiskFull { region, full } => {
                (format!("A full disk in {}", escape(region)), full_story(region, full))
            }
            Self::Soak { failures, rate, .. } => (
                "A soak".to_owned(),
                format!(
                    "While clients hopped between the regions and wrote {rate} events a second, \
                     {} failures came and went; they are listed below.",
                    failures.len()
                ),
            ),
        }
    }

    /// What the begin and the end of the one failure are called below the timeline.
    pub(super) const fn words(&self) -> Option<[&'static str; 2]> {
        match self {
            Self::RegionLoss { .. } => Some(["lost", "back"]),
            Self::Absence { .. } => Some(["gone", "back"]),
            Self::DiskFull { .. } => Some(["full", "room"]),
            Self::Restore { .. } | Self::Soak { .. } => None,
        }
    }
}

fn absent_story(region: &str, absent: &Absent) -> String {
    let region = escape(region);
    let mut story = format!(
        "While clients wrote and read in all regions, <b>{region}</b> was away for {} ms, and came \
         back {} events behind. It answered after {} ms and had caught up, by {}, after {} ms.",
        absent.away_milliseconds,
        absent.events_behind,
        absent.rto_milliseconds,
        absent.catch_up.name(),
        absent.level_milliseconds,
    );
    match &absent.lapsed {
        Some(reason) => {
            let _ = write!(
                story,
                " The others waited for it no more ({}): {} events that it brought back were put \
                 on record, and {} of them written again.",
                escape(reason),
                absent.returned,
                absent.admitted
            );
        }
        None => story.push_str(" The others waited for it all the time."),
    }
    for Disk { region, before_bytes, peak_bytes, after_bytes, bound_bytes } in &absent.disks {
        let [before, peak, after, bound] =
            [before_bytes, peak_bytes, after_bytes, bound_bytes].map(|bytes| mebibytes(*bytes));
        let region = escape(region);
        let _ = write!(
            story,
            " The logs of {region} took {before} MiB before, {peak} MiB at most and {after} MiB in \
             the end, of {bound} MiB.",
        );
    }
    story
}

fn full_story(region: &str, full: &Full) -> String {
    let region = escape(region);
    let time =
        |it: Option<u64>| it.map_or_else(|| "never".to_owned(), |it| format!("after {it} ms"));
    format!(
        "While clients wrote and read in all regions, the disk of <b>{region}</b> was full for {} \
         ms. It refused the first write {}, and {} in all; of {} reads that only it was asked for \
         {} failed. With room again it took a write {}, and had caught up after {} ms. No other \
         region went without an acknowledged write for longer than {} ms.",
        full.full_milliseconds,
        time(full.noticed_milliseconds),
        full.refused,
        full.reads + full.reads_failed,
        full.reads_failed,
        time(full.rto_milliseconds),
        full.level_milliseconds,
        full.silence_longest(),
    )
}

/// Rounded up.
pub(super) const fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}
