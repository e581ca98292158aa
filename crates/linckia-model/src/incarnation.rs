//! Incarnations: the lives of a region's directory, each of which wrote a log of its own, and how
//! one is closed.
//!
//! A region that lost its directory lives on in another incarnation. What always holds: the log of
//! an earlier one ends where the members agreed that it ends, and until that is known and applied
//! the new one neither writes nor counts for stable time.

use std::collections::{BTreeMap, BTreeSet};

use crate::hlc::Hlc;
use crate::name::{Origin, RegionName};
use crate::policy::AgreedPolicies;
use crate::vector::{Dot, Vector};

/// Everything that the fleet agreed on, as a region is told it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Agreed {
    pub policies: AgreedPolicies,
    /// None where regions agree on nothing: then every incarnation writes and counts.
    pub incarnations: Option<Incarnations>,
}

/// An incarnation that ends, or has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closing {
    /// Promises are made for one attempt, and hold for no other.
    pub attempt: u64,
    /// The last event of it that there is, once every member has promised.
    pub end: Option<u64>,
    /// Members that have not promised; once there is an end, members that have not said that they
    /// hold all of it.
    pub awaited: BTreeSet<RegionName>,
    /// What the members held together when they promised; empty once all have all of it.
    pub held: Vector,
    /// The latest time of this incarnation that counted for any member's stable time.
    pub hlc: Hlc,
    /// An end that was found before and is being found anew: it can only go back.
    pub ceiling: Option<u64>,
}

/// The incarnations of all regions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incarnations {
    /// The log that each region writes.
    pub current: BTreeMap<RegionName, Origin>,
    /// Logs that nobody writes any more.
    pub closings: BTreeMap<Origin, Closing>,
    /// Members that nobody waits for: they were away for too long, or have not joined yet.
    pub lapsed: BTreeSet<RegionName>,
    /// Those that have come back, or have joined, and do not write yet, each with the epoch of its
    /// return.
    pub returning: BTreeMap<RegionName, u64>,
    /// Counts lapses and returns; heartbeats carry the one that their region knows of.
    pub epoch: u64,
    /// What the fleet was begun anew with, from a backup: nobody writes before it has applied it.
    pub restored: Vector,
}

impl Incarnations {
    /// The closings of a region's earlier incarnations.
    pub fn earlier<'a>(
        &'a self,
        region: &'a RegionName,
    ) -> impl Iterator<Item = (&'a Origin, &'a Closing)> {
        self.closings.iter().filter(|(origin, _)| origin.is_of(region))
    }

    /// True once the earlier incarnations of a region are closed and applied, each to its end.
    pub fn is_succeeded(&self, region: &RegionName, applied: &Vector) -> bool {
        let done = |(origin, closing): (&Origin, &Closing)| {
            closing.end.is_some_and(|end| applied.get(origin) >= end)
        };
        self.earlier(region).all(done)
    }

    /// True once this log of a region may be written: it is the region's, its earlier incarnations
    /// are closed, and everything that the members held then is applied.
    pub fn may_write(&self, region: &RegionName, origin: &Origin, applied: &Vector) -> bool {
        self.current.get(region) == Some(origin)
            && !self.closings.contains_key(origin)
            && self.is_succeeded(region, applied)
            && self.earlier(region).all(|(_, it)| applied.covers_all(&self.within(&it.held)))
            && applied.covers_all(&self.within(&self.restored))
    }

    /// True for a region that comes in without a log before: it has joined a fleet that had begun.
    pub fn joins(&self, region: &RegionName) -> bool {
        self.returning.contains_key(region) && self.earlier(region).next().is_none()
    }

    /// The members whose stable time may have passed by a region that is coming back: all that
    /// count, configured here or not, but for those that came back after it. Each of them must have
    /// said, in an epoch that knows of its return, how far it is.
    pub fn passed_by<'a>(
        &'a self,
        region: &'a RegionName,
        members: &'a [RegionName],
    ) -> impl Iterator<Item = (&'a RegionName, u64)> + 'a {
        let all: BTreeSet<&RegionName> = members.iter().chain(self.current.keys()).collect();
        let back = self.returning.get(region).copied();
        let before = move |other: &&RegionName| {
            let earlier = self.returning.get(*other).is_none_or(|epoch| back > Some(*epoch));
            *other != region && !self.lapsed.contains(*other) && earlier
        };
        back.into_iter().flat_map(move |epoch| {
            all.clone().into_iter().filter(before).map(move |it| (it, epoch))
        })
    }

    /// What of a vector is not beyond the ends of logs.
    pub fn within(&self, vector: &Vector) -> Vector {
        let each = vector.iter().map(|(origin, last)| {
            (origin.clone(), self.bound(origin).map_or(last, |end| last.min(end)))
        });
        each.filter(|(_, last)| *last > 0).collect()
    }

    /// Where a closed log ends.
    pub fn end(&self, origin: &Origin) -> Option<u64> {
        self.closings.get(origin)?.end
    }

    /// Beyond which everything of a log is lost, as far as is known.
    fn bound(&self, origin: &Origin) -> Option<u64> {
        let closing = self.closings.get(origin)?;
        closing.end.or(closing.ceiling)
    }

    /// True if the event is beyond the end of its log: nobody has it, and nobody ever will.
    pub fn is_lost(&self, dot: &Dot) -> bool {
        self.bound(&dot.origin).is_some_and(|end| dot.sequence > end)
    }

    /// What of a vector is beyond the ends of logs: (origin, first, last).
    pub fn lost<'a>(
        &'a self,
        vector: &'a Vector,
    ) -> impl Iterator<Item = (&'a Origin, u64, u64)> + 'a {
        vector.iter().filter_map(|(origin, last)| {
            let end = self.bound(origin)?;
            (last > end).then_some((origin, end + 1, last))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(name: &str) -> RegionName {
        RegionName::parse(name).unwrap()
    }

    fn vector(text: &str) -> Vector {
        Vector::parse(text).unwrap()
    }

    fn origin(region: &str, life: u64) -> Origin {
        Origin::parse(&format!("{region}.{life:016x}")).unwrap()
    }

    #[test]
    fn a_log_is_written_once_the_one_before_is_closed_and_all_that_was_held_is_applied() {
        let mut lives = Incarnations::default();
        lives.current.insert(region("a"), origin("a", 2));
        lives.closings.insert(origin("a", 1), Closing::default());
        // Another region whose name begins like this one's is another region.
        lives.closings.insert(origin("a-1", 1), Closing::default());
        let may = |lives: &Incarnations, applied: &str| {
            lives.may_write(&region("a"), &origin("a", 2), &vector(applied))
        };
        assert!(!may(&lives, "a.0000000000000001:9"), "where it ends is not known");
        let closing = lives.closings.get_mut(&origin("a", 1)).unwrap();
        closing.end = Some(4);
        closing.held = vector("a.0000000000000001:4,b.0000000000000001:7");
        assert!(!may(&lives, "a.0000000000000001:3,b.0000000000000001:7"));
        assert!(!may(&lives, "a.0000000000000001:4,b.0000000000000001:6"));
        assert!(may(&lives, "a.0000000000000001:4,b.0000000000000001:7"));
        assert!(!lives.may_write(&region("a"), &origin("a", 1), &vector("")), "it is closed");
    }

    #[test]
    fn a_fleet_from_a_backup_is_written_by_who_has_applied_it() {
        let mut lives = Incarnations::default();
        lives.current.insert(region("b"), origin("b", 2));
        lives.restored = vector("a.0000000000000001:4");
        let closed = Closing { end: Some(4), ..Closing::default() };
        lives.closings.insert(origin("a", 1), closed);
        let may = |applied: &str| lives.may_write(&region("b"), &origin("b", 2), &vector(applied));
        assert!(!may("a.0000000000000001:3"));
        assert!(may("a.0000000000000001:4"));
    }

    #[test]
    fn what_is_beyond_the_end_is_lost() {
        let mut lives = Incarnations::default();
        let closed = Closing { end: Some(4), ..Closing::default() };
        lives.closings.insert(origin("a", 1), closed);
        lives.closings.insert(origin("a", 2), Closing::default());
        let seen = vector("a.0000000000000001:6,a.0000000000000002:6,b.0000000000000001:6");
        let lost: Vec<_> = lives.lost(&seen).collect();
        assert_eq!(lost, [(&origin("a", 1), 5, 6)]);
        assert!(lives.is_lost(&Dot::new(origin("a", 1), 5)));
        assert!(!lives.is_lost(&Dot::new(origin("a", 1), 4)));
    }
}
