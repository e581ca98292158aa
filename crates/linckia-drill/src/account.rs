//! What became of every write of a drill: acknowledged, there, lost, counted twice; and how long
//! clients were without service.
//!
//! Pure: from what the clients noted and what every region shows at the end. What always holds: a
//! write counts as lost if any region lacks it, as doubled if any region counts it twice.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::history::Mark;

/// One write of a client, from its first attempt on; times in milliseconds from the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The place of its level in the plan.
    pub level: usize,
    /// The aggregate that it marks.
    pub key: String,
    /// The event's id, and the mark it leaves.
    pub id: String,
    pub begun: u64,
    pub acknowledged: Option<Receipt>,
    pub attempts: u32,
}

/// An acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// In milliseconds from the start.
    pub when: u64,
    /// The region that gave it.
    pub region: String,
    /// The log that holds the event, and its place there.
    pub origin: String,
    pub sequence: u64,
}

/// Where the fleet says that logs of lost directories end, by origin.
pub type Ends = BTreeMap<String, u64>;

/// What a region shows of an aggregate at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    pub marks: BTreeSet<String>,
    /// Events that count.
    pub version: u64,
}

/// What every region shows at the end, by region and aggregate.
pub type Final = BTreeMap<String, BTreeMap<String, Shown>>;

/// Percentiles in milliseconds; zero if nobody was without service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    pub p50: u64,
    pub p99: u64,
}

/// The account of one acknowledgement level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Level {
    pub ack: String,
    pub acknowledged: u64,
    pub lost: u64,
    /// Lost ones that the fleet itself says are lost.
    pub declared_lost: u64,
    pub lost_ids: Vec<String>,
    pub duplicated: u64,
    /// Of writes that needed more than one attempt: from the first until the acknowledgement.
    pub rto_milliseconds: Percentiles,
    /// How many writes that were.
    pub interrupted: u64,
    /// Reads that did not show the client its own acknowledged writes.
    pub stale_reads: u64,
    /// Writes that were never acknowledged.
    pub unanswered: u64,
}

/// The accounts of all levels; `stale` are stale reads by level.
pub fn account(
    levels: &[String],
    written: &[Written],
    stale: &[u64],
    end: &Final,
    ends: &Ends,
) -> Vec<Level> {
    let each = levels.iter().enumerate().map(|(place, ack)| {
        let of_level = || written.iter().filter(|write| write.level == place);
        let acknowledged: Vec<&Written> =
            of_level().filter(|write| write.acknowledged.is_some()).collect();
        let lost = || acknowledged.iter().filter(|write| !is_everywhere(write, end));
        let lost_ids: Vec<String> = lost().map(|write| write.id.clone()).collect();
        let declared_lost = lost().filter(|write| is_beyond(write, ends)).count() as u64;
        let keys: BTreeSet<&str> = of_level().map(|write| write.key.as_str()).collect();
        let interrupted = acknowledged.iter().filter(|write| write.attempts > 1);
        let mut waits: Vec<u64> = interrupted.filter_map(|write| wait(write)).collect();
        waits.sort_unstable();
        Level {
            ack: ack.clone(),
            acknowledged: acknowledged.len() as u64,
            lost: lost_ids.len() as u64,
            declared_lost,
            lost_ids,
            duplicated: keys.into_iter().map(|key| doubled(key, end)).sum(),
            rto_milliseconds: Percentiles { p50: at(&waits, 50), p99: at(&waits, 99) },
            interrupted: waits.len() as u64,
            stale_reads: stale.get(place).copied().unwrap_or(0),
            unanswered: of_level().filter(|write| write.acknowledged.is_none()).count() as u64,
        }
    });
    each.collect()
}

/// Acknowledged writes that some region lacks, as marks.
pub fn lost(written: &[Written], end: &Final) -> BTreeSet<Mark> {
    let lost = written.iter().filter(|write| !is_everywhere(write, end));
    lost.map(|write| (write.key.clone(), write.id.clone())).collect()
}

fn is_everywhere(write: &Written, end: &Final) -> bool {
    let there = |shown: &BTreeMap<String, Shown>| {
        shown.get(&write.key).is_some_and(|shown| shown.marks.contains(&write.id))
    };
    end.values().all(there)
}

/// True if the write was acknowledged for a place beyond the end of its log.
fn is_beyond(write: &Written, ends: &Ends) -> bool {
    write
        .acknowledged
        .as_ref()
        .is_some_and(|receipt| ends.get(&receipt.origin).is_some_and(|end| receipt.sequence > *end))
}

fn wait(write: &Written) -> Option<u64> {
    write.acknowledged.as_ref().map(|receipt| receipt.when.saturating_sub(write.begun))
}

/// Events of an aggregate that count beyond the marks they left: each id marks once.
fn doubled(key: &str, end: &Final) -> u64 {
    let beyond = end
        .values()
        .filter_map(|shown| shown.get(key))
        .map(|shown| shown.version.saturating_sub(shown.marks.len() as u64));
    beyond.max().unwrap_or(0)
}

/// The nearest rank.
fn at(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.max(1) - 1).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(level: usize, id: &str, attempts: u32, acknowledged: Option<u64>) -> Written {
        Written {
            level,
            key: format!("k{level}"),
            id: id.to_owned(),
            begun: 100,
            acknowledged: acknowledged.map(|when| Receipt {
                when,
                region: "a".to_owned(),
                origin: "a.1".to_owned(),
                sequence: when,
            }),
            attempts,
        }
    }

    fn shown(marks: &[&str], version: u64) -> Shown {
        Shown { marks: marks.iter().map(|mark| (*mark).to_owned()).collect(), version }
    }

    #[test]
    fn every_write_is_accounted_for() {
        let levels = ["local".to_owned(), "any".to_owned()];
        let written = [
            write(0, "x", 1, Some(110)),
            write(0, "gone", 1, Some(120)),
            write(0, "never", 3, None),
            write(1, "y", 2, Some(1_100)),
            write(1, "z", 4, Some(400)),
        ];
        let end: Final = ["a", "b"]
            .into_iter()
            .map(|region| {
                let gone: &[&str] = if region == "a" { &["x", "gone"] } else { &["x"] };
                let keys = [("k0", shown(gone, 2)), ("k1", shown(&["y", "z"], 3))];
                (region.to_owned(), keys.map(|(key, shown)| (key.to_owned(), shown)).into())
            })
            .collect();
        let ends = |last: u64| Ends::from([("a.1".to_owned(), last)]);
        let silent = account(&levels, &written, &[4, 0], &end, &ends(120));
        assert_eq!((silent[0].lost, silent[0].declared_lost), (1, 0));
        let found = account(&levels, &written, &[4, 0], &end, &ends(119));
        assert_eq!((found[0].lost, found[0].declared_lost), (1, 1));
        let local = &found[0];
        assert_eq!((local.acknowledged, local.unanswered, local.stale_reads), (2, 1, 4));
        assert_eq!(local.lost_ids, ["gone"]);
        assert_eq!(local.duplicated, 1, "b counts two events and shows one mark");
        let any = &found[1];
        assert_eq!((any.lost, any.duplicated, any.interrupted), (0, 1, 2));
        assert_eq!(any.rto_milliseconds, Percentiles { p50: 300, p99: 1_000 });
        assert_eq!(lost(&written[..2], &end), [("k0".into(), "gone".into())].into());
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        assert_eq!(at(&[], 99), 0);
        assert_eq!(at(&[7], 50), 7);
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!((at(&hundred, 50), at(&hundred, 99)), (50, 99));
    }
}
