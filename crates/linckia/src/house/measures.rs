//! What the core measures of itself, as metrics.
//!
//! Names are `linckia_<crate>_<noun>_<unit>`. Gauges are set once a second, histograms as things
//! happen.

use linckia_log::Usage;
use linckia_region::Status;
use metrics::{counter, describe_gauge, describe_histogram, gauge, histogram};

/// Buckets of all histograms, in seconds: from the fastest disk to a link around the world.
pub(super) const SECONDS: &[f64] = &[
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0,
    2.5, 10.0,
];

pub(super) fn describe() {
    describe_histogram!("linckia_log_append_seconds", "From begin to end of a sync of the own log");
    describe_gauge!("linckia_log_size_bytes", "Bytes that all logs take on the disk");
    describe_gauge!("linckia_ship_lag_events", "Events known to exist and not applied here");
    describe_gauge!("linckia_ship_lag_seconds", "Age of what is applied of an origin, if behind");
    describe_histogram!("linckia_apply_visible_seconds", "From an event's HLC to visible here");
}

pub(super) fn synced(seconds: f64) {
    histogram!("linckia_log_append_seconds").record(seconds);
}

pub(super) fn visible(milliseconds: &[u64]) {
    let histogram = histogram!("linckia_apply_visible_seconds");
    for each in milliseconds {
        histogram.record(*each as f64 / 1_000.0);
    }
}

pub(super) fn status(status: &Status, usage: Usage) {
    gauge!("linckia_log_size_bytes").set(usage.used as f64);
    counter!("linckia_apply_conflicts_total").absolute(status.conflicts);
    let own = status.regions.iter().filter(|region| region.is_self);
    for lag in own.flat_map(|region| &region.lag) {
        let origin = lag.origin.to_string();
        gauge!("linckia_ship_lag_events", "origin" => origin.clone()).set(lag.events as f64);
        gauge!("linckia_ship_lag_seconds", "origin" => origin)
            .set(lag.milliseconds as f64 / 1_000.0);
    }
}
