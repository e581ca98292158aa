//! Acknowledgement: how many regions must hold a write durably before it counts as done.
//!
//! A writer names a level; the region that took the write answers once it is reached. What always
//! holds: only a region that has the event on its disk counts, never one to which it was sent.

use std::fmt;
use std::sync::Arc;

use crate::name::RegionName;
use crate::vector::Dot;

/// Where a write must be durable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    /// In the region that took it.
    #[default]
    Local,
    /// In one more region: nothing is lost with one region.
    Any,
    /// In more than half of the regions.
    Quorum,
    /// In every region.
    All,
    /// In each of these, sorted by name, and in the one that took it.
    Regions(Arc<[RegionName]>),
}

/// What a writer asks of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Ack {
    pub level: Level,
    /// The answer comes within this, reached or not, in milliseconds; none waits for the disk of
    /// this region alone, however long it takes.
    pub timeout_milliseconds: Option<u64>,
}

/// Why a level can never be reached in a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unattainable {
    /// The fleet has one region.
    Alone,
    /// There is no such region in the fleet.
    Stranger(RegionName),
}

/// Who holds one event durably, as far as is known in one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holders {
    pub dot: Dot,
    /// Members that have it on their disk.
    pub durable: Vec<RegionName>,
    /// Members that have not said so.
    pub unconfirmed: Vec<RegionName>,
}

impl Level {
    /// Can this level be reached in a fleet of these members?
    ///
    /// # Errors
    /// Why not: then a write that asks for it is refused before it is made.
    pub fn attainable(&self, members: &[RegionName]) -> Result<(), Unattainable> {
        match self {
            Self::Any if members.len() < 2 => Err(Unattainable::Alone),
            Self::Regions(named) => {
                let stranger = named.iter().find(|region| !members.contains(region));
                stranger.map_or(Ok(()), |region| Err(Unattainable::Stranger(region.clone())))
            }
            _ => Ok(()),
        }
    }

    /// The highest sequence of a log that this level holds, given what each member holds of it;
    /// `own` is the region that answers.
    pub fn reach(
        &self,
        own: &RegionName,
        members: &[RegionName],
        held: impl Fn(&RegionName) -> u64,
    ) -> u64 {
        let wanted = match self {
            Self::Local => return held(own),
            Self::Regions(named) => {
                return named.iter().chain([own]).map(held).min().unwrap_or(0);
            }
            Self::Any => 2,
            Self::Quorum => members.len() / 2 + 1,
            Self::All => members.len(),
        };
        let mut each: Vec<u64> = members.iter().map(held).collect();
        each.sort_unstable_by(|a, b| b.cmp(a));
        each.get(wanted - 1).copied().unwrap_or(0)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Any => f.write_str("any"),
            Self::Quorum => f.write_str("quorum"),
            Self::All => f.write_str("all"),
            Self::Regions(named) => {
                for (place, region) in named.iter().enumerate() {
                    let comma = if place == 0 { "" } else { "," };
                    write!(f, "{comma}{region}")?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regions(names: &[&str]) -> Vec<RegionName> {
        names.iter().map(|name| RegionName::parse(name).unwrap()).collect()
    }

    #[test]
    fn a_level_reaches_what_enough_regions_hold() {
        let members = regions(&["a", "b", "c", "d"]);
        let held = |region: &RegionName| match region.as_str() {
            "a" => 9,
            "b" => 4,
            "c" => 7,
            _ => 0,
        };
        let reach = |level: Level| level.reach(&members[0], &members, held);
        assert_eq!(reach(Level::Local), 9);
        assert_eq!(reach(Level::Any), 7);
        assert_eq!(reach(Level::Quorum), 4);
        assert_eq!(reach(Level::All), 0);
        assert_eq!(reach(Level::Regions(regions(&["b", "c"]).into())), 4);
        assert_eq!(reach(Level::Regions(regions(&["a"]).into())), 9);
    }

    #[test]
    fn two_regions_are_a_quorum_of_two_and_of_three() {
        for members in [regions(&["a", "b"]), regions(&["a", "b", "c"])] {
            let held = |region: &RegionName| u64::from(region.as_str() != "c");
            assert_eq!(Level::Quorum.reach(&members[0], &members, held), 1);
            let alone = |region: &RegionName| u64::from(region.as_str() == "a");
            assert_eq!(Level::Quorum.reach(&members[0], &members, alone), 0);
        }
    }

    #[test]
    fn what_can_never_be_reached_is_told_at_once() {
        let alone = regions(&["a"]);
        assert_eq!(Level::Any.attainable(&alone), Err(Unattainable::Alone));
        assert_eq!(Level::Quorum.attainable(&alone), Ok(()));
        let named = Level::Regions(regions(&["a", "x"]).into());
        let stranger = Unattainable::Stranger(RegionName::parse("x").unwrap());
        assert_eq!(named.attainable(&regions(&["a", "b"])), Err(stranger));
    }
}
