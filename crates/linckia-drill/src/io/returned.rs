//! What a region that lapsed brought back: on record in every region, and written again.
//!
//! After an absence, when nothing is written any more. What always holds: only what the drill
//! itself wrote is decided.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::json;

use super::visitor::DrillDoor;

/// What came back is on record in all regions within this.
const ON_RECORD_LONGEST: Duration = Duration::from_secs(60);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// Pages of records that are looked at.
const PAGES_MAX: usize = 1_000;

const RECORDS: &str = "/v1/returned?state=returned&limit=500";

/// The ids of a drill's events that every region has on record, once `wanted` are among them or
/// the time is over.
pub(super) async fn on_record(
    doors: &[DrillDoor],
    kind: &str,
    wanted: &BTreeSet<String>,
) -> BTreeSet<String> {
    let mut common = None;
    for _ in 0..ON_RECORD_LONGEST.as_millis() / LOOK.as_millis() {
        let mut each = Vec::with_capacity(doors.len());
        for door in doors {
            each.push(listed(door, kind).await);
        }
        let equal = each.windows(2).all(|pair| pair[0] == pair[1]);
        let found = each.into_iter().reduce(|all, one| &all & &one).unwrap_or_default();
        // What nobody asks for takes as long: it is there when it does not become more.
        let still = common.as_ref() == Some(&found);
        let whole = equal && still && found.is_superset(wanted);
        common = Some(found);
        if whole {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    common.unwrap_or_default()
}

async fn listed(door: &DrillDoor, kind: &str) -> BTreeSet<String> {
    let (mut ids, mut cursor) = (BTreeSet::new(), String::new());
    for _ in 0..PAGES_MAX {
        let Some((200, page)) = door.get(&format!("{RECORDS}{cursor}")).await else { break };
        let events = page["items"].as_array().into_iter().flatten().map(|item| &item["event"]);
        let own = events.filter(|event| event["aggregateType"] == kind);
        ids.extend(own.filter_map(|event| event["eventId"].as_str()).map(str::to_owned));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    ids
}

/// Writes a drill's events on record again; the ids of those that are written.
///
/// # Errors
/// A region that decides nothing.
pub(super) async fn admit(door: &DrillDoor, kind: &str) -> anyhow::Result<BTreeSet<String>> {
    let order = json!({"where": {"aggregateType": kind}, "decision": "admit"});
    let (mut admitted, mut cursor) = (BTreeSet::new(), String::new());
    for _ in 0..PAGES_MAX {
        let path = format!("/v1/returned?limit=500{cursor}");
        let answer = door.post(&path, &[], &order).await;
        let (status, page) = answer.with_context(|| format!("{} does not answer", door.region))?;
        if status != 200 {
            bail!("{} does not admit what returned: {status} {page}", door.region);
        }
        let items = page["items"].as_array().into_iter().flatten();
        let written = items.filter(|item| item["writtenAs"].is_string());
        admitted.extend(written.filter_map(|item| item["eventId"].as_str()).map(str::to_owned));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(admitted),
        }
    }
    bail!("{} has more on record than a drill can have brought back", door.region)
}
