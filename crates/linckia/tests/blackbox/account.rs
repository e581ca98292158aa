//! The account: whether what three regions hold is what the ledger says.
//!
//! Judges after the faults are over. What always holds: it reads only what any client can read,
//! and judges by counting from `/v1/events`, never by what the product says of itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::door::{Door, Logged, dot_of};
use crate::fleet::Fleet;
use crate::ledger::{COUNTERS, Fate, Ledger};

/// Waits until the fleet agrees, then judges: nothing lost, nothing twice, all the same.
#[track_caller]
pub fn settle(fleet: &Fleet, ledger: &Ledger) {
    fleet.converged();
    let logged = same_events(fleet);
    let mut copies: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for event in logged.values() {
        copies.entry(&event.id).or_default().insert(event.dot());
    }
    let pages = ledger.pages();
    let mut acknowledged = 0;
    for (id, page) in &pages {
        let dots = copies.get(id.as_str());
        if let Fate::Acknowledged(answer) = &page.fate {
            acknowledged += 1;
            let dots = dots.unwrap_or_else(|| panic!("{id} was acknowledged and is lost"));
            assert!(dots.contains(&dot_of(answer)), "{id}: {answer} but {dots:?}");
        }
        let count = dots.map_or(0, BTreeSet::len);
        assert!(
            count <= page.sent,
            "{id} was sent {} times and is there under {dots:?}",
            page.sent
        );
    }
    for id in copies.keys() {
        assert!(pages.contains_key(*id), "{id} was never sent");
    }
    for door in &fleet.doors {
        let (sum, versions) = counted(door);
        assert_eq!(sum, copies.len() as u64, "{}: each id counts once", door.name);
        assert_eq!(versions, copies.len() as u64, "{}: each id is one version", door.name);
    }
    let unknown = pages.len() - acknowledged;
    let twice = copies.values().filter(|dots| dots.len() > 1).count();
    println!(
        "{} ids sent, {acknowledged} acknowledged, {unknown} given up, {} there, {twice} in copies",
        pages.len(),
        copies.len()
    );
    assert!(acknowledged > 0);
}

/// What all regions list, by dot: the same everywhere, no dot twice, no gap.
#[track_caller]
pub fn same_events(fleet: &Fleet) -> BTreeMap<(String, u64), Logged> {
    let mut all = fleet.doors.iter().map(|door| (door, by_dot(door)));
    let (first, expected) = all.next().unwrap();
    for (door, events) in all {
        let missing: Vec<_> = expected.keys().filter(|dot| !events.contains_key(dot)).collect();
        assert!(missing.is_empty(), "{} has what {} lacks: {missing:?}", first.name, door.name);
        for (dot, event) in &events {
            assert_eq!(Some(event), expected.get(dot), "{} and {}", door.name, first.name);
        }
    }
    expected
}

/// A region's events by dot; the list is gapless within each origin, in order.
#[track_caller]
fn by_dot(door: &Door) -> BTreeMap<(String, u64), Logged> {
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    let mut events = BTreeMap::new();
    for event in door.events() {
        let before = last.insert(event.origin.clone(), event.sequence).unwrap_or(0);
        assert_eq!(event.sequence, before + 1, "{}: {}", door.name, event.origin);
        events.insert((event.origin.clone(), event.sequence), event);
    }
    events
}

/// The sum of all counters, and of their versions.
#[track_caller]
fn counted(door: &Door) -> (u64, u64) {
    let mut sums = (0, 0);
    for counter in 0..COUNTERS {
        if let Some(thing) = door.thing(&format!("c{counter}")) {
            sums.0 += thing["data"]["n"].as_u64().unwrap();
            sums.1 += thing["version"].as_u64().unwrap();
        }
    }
    sums
}
