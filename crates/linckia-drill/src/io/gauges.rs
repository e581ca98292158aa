//! What the regions of a drill say of themselves: how far they are, and what their logs take.
//!
//! Beside the clients. What always holds: it only reads; what a region does not say is asked again,
//! and not made up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;

use super::visitor::DrillDoor;
use crate::absent::Disk;

/// Between two looks at the disks.
const EVERY: Duration = Duration::from_millis(500);

/// A region that runs says within this what it has applied.
const ANSWER_LONGEST: Duration = Duration::from_secs(30);

const SIZE: &str = "linckia_log_size_bytes";
const BOUND: &str = "linckia_log_bound_bytes";

/// The last applied sequence by log.
pub(super) type Vector = BTreeMap<String, u64>;

/// What a region has applied; none if it does not answer.
pub(super) async fn vector(door: &DrillDoor) -> Option<Vector> {
    let (200, body) = door.get("/v1/vector").await? else { return None };
    serde_json::from_value(body["vector"].clone()).ok()
}

/// The same of a region that runs, asked until it answers.
///
/// # Errors
/// It does not for long.
pub(super) async fn said(door: &DrillDoor) -> anyhow::Result<Vector> {
    let deadline = tokio::time::Instant::now() + ANSWER_LONGEST;
    loop {
        match vector(door).await {
            Some(vector) => return Ok(vector),
            None if tokio::time::Instant::now() < deadline => tokio::time::sleep(EVERY).await,
            None => anyhow::bail!("{} does not say what it has applied", door.region),
        }
    }
}

/// What all of some regions together have applied.
///
/// # Errors
/// One that does not say.
pub(super) async fn farthest(doors: impl Iterator<Item = &DrillDoor>) -> anyhow::Result<Vector> {
    let mut all = Vector::new();
    for door in doors {
        for (origin, sequence) in said(door).await? {
            let known = all.entry(origin).or_default();
            *known = sequence.max(*known);
        }
    }
    Ok(all)
}

/// Events of `all` that lack in `vector`.
pub(super) fn missing(all: &Vector, vector: &Vector) -> u64 {
    let of = |(origin, upto): (&String, &u64)| {
        upto.saturating_sub(vector.get(origin).copied().unwrap_or(0))
    };
    all.iter().map(of).sum()
}

/// One region as another one, or it itself, describes it.
pub(super) async fn described(door: &DrillDoor, region: &str) -> Option<Value> {
    let (200, body) = door.get("/v1/regions").await? else { return None };
    let items = body["items"].as_array()?;
    items.iter().find(|item| item["name"] == region).cloned()
}

/// What the logs of some regions take, watched until it is dropped.
pub(super) struct Disks {
    doors: Vec<DrillDoor>,
    seen: Arc<Mutex<Vec<Disk>>>,
    _watch: JoinSet<()>,
}

impl Disks {
    pub(super) fn watch(doors: Vec<DrillDoor>) -> Self {
        let empty =
            doors.iter().map(|door| Disk { region: door.region.clone(), ..Disk::default() });
        let seen = Arc::new(Mutex::new(empty.collect()));
        let mut watch = JoinSet::new();
        let (watched, all) = (doors.clone(), Arc::clone(&seen));
        watch.spawn(async move {
            loop {
                look(&watched, &all).await;
                tokio::time::sleep(EVERY).await;
            }
        });
        Self { doors, seen, _watch: watch }
    }

    /// What they take now is what they took before.
    pub(super) async fn begin(&self) {
        look(&self.doors, &self.seen).await;
        for disk in self.seen.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            (disk.before_bytes, disk.peak_bytes) = (disk.after_bytes, disk.after_bytes);
        }
    }

    /// All of it, as of now.
    pub(super) async fn end(self) -> Vec<Disk> {
        look(&self.doors, &self.seen).await;
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn look(doors: &[DrillDoor], all: &Mutex<Vec<Disk>>) {
    for (place, door) in doors.iter().enumerate() {
        let Some(text) = door.text("/metrics").await else { continue };
        let [Some(size), Some(bound)] = [SIZE, BOUND].map(|name| gauge(&text, name)) else {
            continue;
        };
        if let Some(disk) = all.lock().unwrap_or_else(PoisonError::into_inner).get_mut(place) {
            (disk.after_bytes, disk.bound_bytes) = (size, bound);
            disk.peak_bytes = disk.peak_bytes.max(size);
        }
    }
}

/// A gauge without labels, of what Prometheus reads.
fn gauge(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    value.trim().parse::<f64>().ok().map(|value| value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_is_found_by_its_whole_name() {
        let text = "# TYPE a gauge\na_b 7\na{x=\"y\"} 8\na 1.5e3\n";
        assert_eq!(
            (gauge(text, "a"), gauge(text, "a_b"), gauge(text, "c")),
            (Some(1_500), Some(7), None)
        );
    }

    #[test]
    fn what_lacks_is_counted_by_log() {
        let of = |all: &[(&str, u64)]| -> Vector {
            all.iter().map(|(origin, upto)| ((*origin).to_owned(), *upto)).collect()
        };
        assert_eq!(missing(&of(&[("a", 5), ("b", 3)]), &of(&[("a", 7), ("b", 1)])), 2);
        assert_eq!(missing(&of(&[("a", 5)]), &of(&[])), 5);
        assert_eq!(missing(&of(&[]), &of(&[("a", 5)])), 0);
    }
}
