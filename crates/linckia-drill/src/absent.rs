//! What the absence of a region came to: how long and how far it was behind, how it came back, what
//! it brought with it, and what the others' disks took meanwhile.
//!
//! Pure. What always holds: what the region had acknowledged and not passed on is owed as well: it
//! arrives with the region, or is on record where the region lapsed.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::account::{Receipt, Written};

/// How a region got what it had missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CatchUp {
    /// Event by event.
    #[default]
    Log,
    /// As another region's state, and the events since.
    Snapshot,
}

impl CatchUp {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Snapshot => "snapshot",
        }
    }
}

/// What the logs of a region that stayed took of its disk, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Disk {
    pub region: String,
    pub before_bytes: u64,
    pub peak_bytes: u64,
    pub after_bytes: u64,
    /// What they may take: `log.bytes_max`.
    pub bound_bytes: u64,
}

/// What an absence came to; times in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Absent {
    pub away_milliseconds: u64,
    /// Events that the others had applied and it had not, when it was started again.
    pub events_behind: u64,
    /// Why nobody waited for it any more, if so.
    pub lapsed: Option<String>,
    pub catch_up: CatchUp,
    /// From its start until it answers.
    pub rto_milliseconds: u64,
    /// From its start until it has applied all that the others had at that moment.
    pub level_milliseconds: u64,
    /// From its start until a client's write was acknowledged by it.
    pub writes_milliseconds: Option<u64>,
    /// Events of the drill that it brought back and that were put on record.
    pub returned: u64,
    /// Those of them that were written again.
    pub admitted: u64,
    /// Acknowledged writes that were neither in all regions nor on record.
    pub unrecorded_ids: Vec<String>,
    pub disks: Vec<Disk>,
}

impl Absent {
    /// True if it takes writes again, brought back what it owes, and the others' logs stayed below
    /// their bounds.
    pub fn is_right(&self) -> bool {
        let bounded = |disk: &Disk| disk.peak_bytes > 0 && disk.peak_bytes < disk.bound_bytes;
        self.writes_milliseconds.is_some()
            && self.unrecorded_ids.is_empty()
            && self.admitted == self.returned
            && !self.disks.is_empty()
            && self.disks.iter().all(bounded)
    }
}

/// From `since` until that region acknowledged a write that was begun later.
pub fn writes_again(written: &[Written], region: &str, since: u64) -> Option<u64> {
    let receipts = written.iter().filter(|write| write.begun >= since);
    let receipts = receipts.filter_map(|write| write.acknowledged.as_ref());
    let whens = receipts.filter(|receipt| receipt.region == region).map(|receipt| receipt.when);
    whens.min().map(|when| when - since)
}

/// Ids of acknowledged writes that are missing somewhere, and not among those on record.
pub fn unrecorded<'a>(
    written: &'a [Written],
    is_missing: impl Fn(&Written) -> bool,
    on_record: &BTreeSet<String>,
) -> Vec<&'a str> {
    let owed = |write: &&Written| matches!(&write.acknowledged, Some(Receipt { .. }));
    let missing = written.iter().filter(owed).filter(|write| is_missing(write));
    missing.map(|write| write.id.as_str()).filter(|id| !on_record.contains(*id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(id: &str, begun: u64, region: Option<&str>) -> Written {
        let acknowledged = region.map(|region| Receipt {
            when: begun + 5,
            region: region.to_owned(),
            origin: format!("{region}.1"),
            sequence: 1,
        });
        let (key, id) = ("k".to_owned(), id.to_owned());
        Written { level: 0, key, id, begun, acknowledged, attempts: 1 }
    }

    #[test]
    fn what_was_acknowledged_is_everywhere_or_on_record() {
        let written =
            [write("held", 1, Some("a")), write("tail", 2, Some("a")), write("no", 3, None)];
        let missing = |write: &Written| write.id != "held";
        let none = BTreeSet::new();
        assert_eq!(unrecorded(&written, missing, &none), ["tail"]);
        assert!(unrecorded(&written, missing, &["tail".to_owned()].into()).is_empty());
        assert!(unrecorded(&written, |_| false, &none).is_empty());
    }

    #[test]
    fn the_first_write_that_was_begun_after_the_start_counts() {
        let written =
            [write("x", 90, Some("a")), write("y", 120, Some("a")), write("z", 101, Some("b"))];
        assert_eq!(writes_again(&written, "a", 100), Some(25));
        assert_eq!(writes_again(&written, "a", 121), None);
        assert_eq!(writes_again(&written, "c", 0), None);
    }

    #[test]
    fn an_absence_is_right_only_if_nothing_is_owed_and_disks_are_bounded() {
        let disk = Disk {
            region: "b".to_owned(),
            before_bytes: 10,
            peak_bytes: 90,
            after_bytes: 20,
            bound_bytes: 100,
        };
        let right = Absent {
            writes_milliseconds: Some(1),
            returned: 2,
            admitted: 2,
            disks: vec![disk.clone()],
            ..Absent::default()
        };
        assert!(right.is_right());
        let full = Disk { peak_bytes: 100, ..disk.clone() };
        for wrong in [
            Absent { disks: vec![disk, full], ..right.clone() },
            Absent { disks: Vec::new(), ..right.clone() },
            Absent { admitted: 1, ..right.clone() },
            Absent { unrecorded_ids: vec!["x".to_owned()], ..right.clone() },
            Absent { writes_milliseconds: None, ..right.clone() },
        ] {
            assert!(!wrong.is_right(), "{wrong:?}");
        }
    }
}
