//! The end of a drill: all regions show the same, and everything is read everywhere.
//!
//! What always holds: equal vectors with unequal digests are said at once, and never waited away.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;

use super::visitor::{DrillDoor, marks, path};
use crate::account::{Ends, Final, Shown};

/// Regions are equal within this after the end.
const CONVERGED_LONGEST: Duration = Duration::from_secs(60);

/// Between two looks at digests.
const LOOK: Duration = Duration::from_millis(250);

/// A read at the end is tried so often.
const READS_MAX: usize = 20;

/// Readers of each region.
const READERS: usize = 8;

/// True once all regions have equal digests at equal vectors; false as soon as they differ at
/// equal ones, or when the time is over.
pub(super) async fn converged(doors: &[DrillDoor]) -> bool {
    let looks = CONVERGED_LONGEST.as_millis() / LOOK.as_millis();
    for _ in 0..looks {
        let mut digests: Vec<(Value, Value)> = Vec::new();
        for door in doors {
            if let Some((200, body)) = door.get("/v1/digests").await {
                digests.push((body["vector"].clone(), body["root"].clone()));
            }
        }
        if digests.len() == doors.len() && digests.windows(2).all(|pair| pair[0].0 == pair[1].0) {
            return digests.windows(2).all(|pair| pair[0].1 == pair[1].1);
        }
        tokio::time::sleep(LOOK).await;
    }
    false
}

/// Where logs of lost directories end, as the fleet says.
pub(super) async fn ends(doors: &[DrillDoor]) -> Ends {
    let mut ends = Ends::new();
    for door in doors {
        let Some((200, body)) = door.get("/v1/regions").await else { continue };
        let regions = body["items"].as_array().into_iter().flatten();
        for closed in regions.flat_map(|region| region["closed"].as_array().into_iter().flatten()) {
            if let (Some(origin), Some(end)) = (closed["origin"].as_str(), closed["end"].as_u64()) {
                ends.insert(origin.to_owned(), end);
            }
        }
    }
    ends
}

/// What every region shows of every aggregate; a region that does not answer shows nothing.
///
/// # Errors
/// A reader that panicked.
pub(super) async fn read_all(
    doors: &[DrillDoor],
    kind: &str,
    keys: BTreeSet<&str>,
) -> anyhow::Result<Final> {
    let keys: Arc<[String]> = keys.into_iter().map(str::to_owned).collect();
    let mut readers = JoinSet::new();
    for door in doors {
        for reader in 0..READERS {
            let (door, keys, kind) = (door.clone(), Arc::clone(&keys), kind.to_owned());
            readers.spawn(async move {
                let mut found = Vec::new();
                for key in keys.iter().skip(reader).step_by(READERS) {
                    if let Some(shown) = read(&door, &path(&kind, key)).await {
                        found.push((key.clone(), shown));
                    }
                }
                (door.region, found)
            });
        }
    }
    let mut end: Final = doors.iter().map(|door| (door.region.clone(), [].into())).collect();
    while let Some(ended) = readers.join_next().await {
        let (region, found) = ended?;
        end.entry(region).or_default().extend(found);
    }
    Ok(end)
}

async fn read(door: &DrillDoor, path: &str) -> Option<Shown> {
    for _ in 0..READS_MAX {
        match door.get(path).await {
            Some((200, body)) => {
                let version = body["version"].as_u64().unwrap_or(0);
                return Some(Shown { marks: marks(&body["data"]), version });
            }
            Some((404, _)) => return None,
            _ => tokio::time::sleep(LOOK).await,
        }
    }
    None
}
