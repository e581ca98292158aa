//! What the core measures of itself, as metrics.
//!
//! Names are `linckia_<crate>_<noun>_<unit>`. Gauges are set once a second, histograms as things
//! happen, through handles that are made once. What always holds: every metric is described here
//! or in `linckia-api`, and stands in `docs/operate.md` (a test compares).

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use linckia_log::Usage;
use linckia_model::Origin;
use linckia_region::{LinkStatus, Status, Totals};
use metrics::{
    Counter, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

use super::disk::Disk;
use super::telemetry;

/// Buckets of all histograms, in seconds: from the fastest disk to a link around the world.
pub(super) const SECONDS: &[f64] = &[
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0,
    2.5, 10.0,
];

/// Writes whose durability is waited for, at most: beyond it they are not measured.
const APPENDING_MAX: usize = 65_536;

const APPEND: &str = "linckia_log_append_seconds";
const SYNC: &str = "linckia_log_sync_seconds";
const RUN: &str = "linckia_apply_run_seconds";
const VISIBLE: &str = "linckia_apply_visible_seconds";
const CONFLICTS: &str = "linckia_apply_conflicts_total";
const COMPARED: &str = "linckia_repair_keys_compared_total";
const DIFFERENT: &str = "linckia_repair_differences_total";
const REPAIRED: &str = "linckia_repair_repairs_total";
const FRAMES_DROPPED: &str = "linckia_ship_frames_dropped_total";

const HISTOGRAMS: [(&str, &str); 4] = [
    (APPEND, "From a write's arrival in front of the core until its events are durable here"),
    (SYNC, "From begin to end of a sync of the own log"),
    (RUN, "One run of the core in which events were applied"),
    (VISIBLE, "From an event's hybrid time to visible here, by origin"),
];

const GAUGES: [(&str, &str); 17] = [
    ("linckia_log_size_bytes", "Bytes that all logs take on the disk"),
    ("linckia_log_bound_bytes", "At so many bytes writes are refused"),
    ("linckia_log_disk_free_bytes", "Bytes free on the disk of the directory"),
    ("linckia_ship_lag_events", "Events known to exist and not applied here, by origin"),
    ("linckia_ship_lag_seconds", "Age of what is applied of an origin, if behind"),
    ("linckia_ship_link_up", "1 while a link between two regions is connected, as seen here"),
    ("linckia_ship_round_trip_seconds", "To a peer and back"),
    ("linckia_ship_frames_waiting", "Frames that wait for a link, by peer and role"),
    ("linckia_apply_held_back_origins", "Logs whose next events are too far ahead in time"),
    ("linckia_apply_stable_age_seconds", "How far stable time is behind this wall clock"),
    ("linckia_region_orders_waiting", "Orders in front of the core"),
    ("linckia_region_answers_waiting", "Writes not answered yet"),
    ("linckia_region_promises_waiting", "Writes that wait for disks, here or elsewhere"),
    ("linckia_region_reads_waiting", "Reads not answered yet"),
    ("linckia_region_clock_drift_seconds", "This wall clock ahead of the fleet's time"),
    ("linckia_region_clock_offset_seconds", "A peer's wall clock ahead of this one"),
    ("linckia_region_poisoned", "1 once the log has failed: writes are refused"),
];

const COUNTERS: [(&str, &str); 7] = [
    (COMPARED, "Keys read here to be compared with other regions"),
    (DIFFERENT, "Keys of which regions were found to show different things"),
    (REPAIRED, "Keys that were wrong here and taken from another region"),
    (CONFLICTS, "Writes that lost something to a concurrent one, since the start"),
    (FRAMES_DROPPED, "Frames that found no room in front of a link; they are asked for again"),
    (telemetry::SENT, "Spans that the collector took"),
    (telemetry::DROPPED, "Spans for which there was no room or no collector"),
];

pub(super) fn synced(seconds: f64) {
    histogram!(SYNC).record(seconds);
}

/// What the driver of the core counts.
pub(super) struct Measures {
    disk: Disk,
    /// As it was last measured.
    free: Option<u64>,
    /// When writes came, by the last sequence that they were given.
    appending: VecDeque<(u64, Instant)>,
    given: u64,
    append: Histogram,
    run: Histogram,
    visible: BTreeMap<Origin, Histogram>,
    frames_dropped: Counter,
}

/// How much waits, and where.
pub(super) struct Queues {
    pub(super) orders: usize,
    pub(super) answers: usize,
    pub(super) reads: usize,
    /// By peer and role.
    pub(super) frames: Vec<(String, &'static str, usize)>,
}

impl Measures {
    /// `given` is the last sequence of the own log.
    pub(super) fn new(dir: PathBuf, given: u64) -> Self {
        HISTOGRAMS.iter().for_each(|(name, text)| describe_histogram!(*name, *text));
        GAUGES.iter().for_each(|(name, text)| describe_gauge!(*name, *text));
        for (name, text) in COUNTERS {
            describe_counter!(name, text);
            counter!(name).absolute(0);
        }
        Self {
            disk: Disk::of(dir),
            free: None,
            appending: VecDeque::new(),
            given,
            append: histogram!(APPEND),
            run: histogram!(RUN),
            visible: BTreeMap::new(),
            frames_dropped: counter!(FRAMES_DROPPED),
        }
    }

    /// A write that came `at` was handled; its events have sequences up to `given`.
    pub(super) fn wrote(&mut self, at: Instant, given: u64) {
        if given > self.given && self.appending.len() < APPENDING_MAX {
            self.appending.push_back((given, at));
        }
        self.given = given;
    }

    /// The own log is durable up to there.
    pub(super) fn durable(&mut self, upto: u64) {
        while let Some((_, at)) = self.appending.pop_front_if(|(given, _)| *given <= upto) {
            self.append.record(at.elapsed().as_secs_f64());
        }
    }

    /// The core ran, and applied something.
    pub(super) fn applied(&self, took: Duration) {
        self.run.record(took.as_secs_f64());
    }

    pub(super) fn frame_dropped(&self) {
        self.frames_dropped.increment(1);
    }

    pub(super) fn visible(&mut self, all: Vec<(Origin, u64)>) {
        for (origin, milliseconds) in all {
            let histogram = self
                .visible
                .entry(origin)
                .or_insert_with_key(|origin| histogram!(VISIBLE, "origin" => origin.to_string()));
            histogram.record(milliseconds as f64 / 1_000.0);
        }
    }

    /// What comparing has come to since the start.
    pub(super) fn repairs(&self, totals: Totals) {
        counter!(COMPARED).absolute(totals.keys);
        counter!(DIFFERENT).absolute(totals.differences);
        counter!(REPAIRED).absolute(totals.repairs);
    }

    /// Bytes left on the disk of the directory.
    pub(super) fn disk_free(&mut self) -> Option<u64> {
        self.free = self.disk.free();
        self.free
    }

    pub(super) fn status(&self, status: &Status, usage: Usage, queues: &Queues) {
        gauge!("linckia_log_size_bytes").set(usage.used as f64);
        gauge!("linckia_log_bound_bytes").set(usage.bound as f64);
        if let Some(free) = self.free {
            gauge!("linckia_log_disk_free_bytes").set(free as f64);
        }
        counter!(CONFLICTS).absolute(status.conflicts);
        let own = status.regions.iter().filter(|region| region.is_self);
        for lag in own.flat_map(|region| &region.lag) {
            let origin = lag.origin.to_string();
            gauge!("linckia_ship_lag_events", "origin" => origin.clone()).set(lag.events as f64);
            gauge!("linckia_ship_lag_seconds", "origin" => origin).set(seconds(lag.milliseconds));
        }
        status.links.iter().for_each(link);
        gauge!("linckia_apply_held_back_origins").set(status.held_back as f64);
        gauge!("linckia_apply_stable_age_seconds").set(seconds(status.clocks.stable_age));
        gauge!("linckia_region_promises_waiting").set(status.promises as f64);
        gauge!("linckia_region_poisoned").set(f64::from(u8::from(status.poisoned.is_some())));
        gauge!("linckia_region_clock_drift_seconds").set(status.clocks.drift as f64 / 1_000.0);
        for (peer, offset) in &status.clocks.offsets {
            gauge!("linckia_region_clock_offset_seconds", "peer" => peer.to_string())
                .set(*offset as f64 / 1_000.0);
        }
        gauge!("linckia_region_orders_waiting").set(queues.orders as f64);
        gauge!("linckia_region_answers_waiting").set(queues.answers as f64);
        gauge!("linckia_region_reads_waiting").set(queues.reads as f64);
        for (peer, role, waiting) in &queues.frames {
            let labels = [("peer", peer.clone()), ("role", (*role).to_owned())];
            gauge!("linckia_ship_frames_waiting", &labels).set(*waiting as f64);
        }
    }
}

fn link(link: &LinkStatus) {
    let labels = [("from", link.from.to_string()), ("to", link.to.to_string())];
    gauge!("linckia_ship_link_up", &labels).set(f64::from(u8::from(link.connected)));
    if let Some(milliseconds) = link.round_trip_milliseconds {
        gauge!("linckia_ship_round_trip_seconds", &labels).set(seconds(milliseconds));
    }
}

fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1_000.0
}
