//! The roster: what the fleet has decided, command by command, in one order.
//!
//! Pure: equal commands in equal order make equal rosters. Time is what the commands carry, which
//! whoever leads bounds by its own clock, and it never goes back.

use serde::{Deserialize, Serialize};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use linckia_model::{Policy, TypeName};

use crate::leases::{Lease, Leases, NoLease};
use crate::policies::{PolicyBooks, Step};
use crate::words;

/// Something to be decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Command {
    Acquire {
        name: String,
        owner: String,
        ttl_milliseconds: u64,
    },
    Renew {
        name: String,
        owner: String,
        fence: u64,
        ttl_milliseconds: Option<u64>,
    },
    Release {
        name: String,
        owner: String,
        fence: u64,
    },
    /// The region lives on in this origin; in another one than before if it lost its directory.
    Present {
        region: String,
        origin: String,
    },
    /// Begins another policy of a type; these regions write it. With an epoch: only if that one
    /// holds.
    BeginPolicy {
        name: TypeName,
        expected: Option<u64>,
        #[serde(with = "words::policy")]
        policy: Policy,
        members: BTreeSet<String>,
    },
    /// The region that writes in this origin has stopped writing the type, and what it wrote is on
    /// the disks of all regions up to there.
    PolicyReady {
        name: TypeName,
        epoch: u64,
        origin: String,
        written: BTreeMap<String, u64>,
    },
    AbortPolicy {
        name: TypeName,
        epoch: u64,
    },
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Nothing was asked: Raft's own entries.
    Nothing,
    /// The lock is the owner's.
    Leased(Lease),
    /// Another one holds it.
    Held(Lease),
    /// It is not held under this fence by this owner.
    Lost,
    Released,
    /// As many leases are held, or policies agreed, as the fleet takes.
    Full,
    /// A change of policy is under way, with this epoch.
    PolicyBegun(u64),
    /// The policy holds already, under this epoch.
    PolicyHolds(u64),
    /// Another epoch holds than the one that was named.
    PolicyOther(u64),
    /// Another change of this type is under way.
    PolicyChanging(u64),
    /// The epoch is open.
    PolicyOpened(u64),
    /// Noted; other regions are waited for.
    PolicyAwaits,
    /// There is no such change any more.
    PolicyGone,
}

/// What was decided.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Roster {
    /// The latest time of a decision, in milliseconds since 1970.
    now: u64,
    leases: Leases,
    policies: Arc<PolicyBooks>,
    /// The origin in which each region writes, as it said itself.
    origins: BTreeMap<String, String>,
}

impl Roster {
    /// Decides a command that was proposed at that time.
    pub fn decide(&mut self, at: u64, command: &Command) -> Outcome {
        self.now = self.now.max(at);
        let now = self.now;
        match command {
            Command::Acquire { name, owner, ttl_milliseconds } => {
                leased(self.leases.acquire(now, name, owner, *ttl_milliseconds))
            }
            Command::Renew { name, owner, fence, ttl_milliseconds } => {
                leased(self.leases.renew(now, name, owner, *fence, *ttl_milliseconds))
            }
            Command::Release { name, owner, fence } => {
                match self.leases.release(now, name, owner, *fence) {
                    Ok(()) => Outcome::Released,
                    Err(no) => no.into(),
                }
            }
            Command::Present { region, origin } => {
                let before = self.origins.insert(region.clone(), origin.clone());
                if before.is_some_and(|before| before != *origin) {
                    // What its earlier life wrote last, nobody can say for it any more.
                    Arc::make_mut(&mut self.policies).abort_all();
                }
                Outcome::Nothing
            }
            Command::BeginPolicy { name, expected, policy, members } => {
                let books = Arc::make_mut(&mut self.policies);
                books.begin(now, name, *expected, policy, members).into()
            }
            Command::PolicyReady { name, epoch, origin, written } => {
                let known = self.origins.iter().find(|(_, known)| *known == origin);
                let Some((region, _)) = known else { return Outcome::PolicyGone };
                Arc::make_mut(&mut self.policies).ready(name, *epoch, region, written).into()
            }
            Command::AbortPolicy { name, epoch } => {
                Arc::make_mut(&mut self.policies).abort(name, *epoch).into()
            }
        }
    }

    /// The latest time of a decision, in milliseconds since 1970.
    pub const fn now(&self) -> u64 {
        self.now
    }

    pub const fn policies(&self) -> &Arc<PolicyBooks> {
        &self.policies
    }

    /// The origin in which a region writes, as it said last.
    pub fn origin_of(&self, region: &str) -> Option<&str> {
        self.origins.get(region).map(String::as_str)
    }

    pub const fn leases(&self) -> &Leases {
        &self.leases
    }
}

fn leased(given: Result<&Lease, NoLease<'_>>) -> Outcome {
    given.map_or_else(Outcome::from, |lease| Outcome::Leased(lease.clone()))
}

impl From<NoLease<'_>> for Outcome {
    fn from(no: NoLease<'_>) -> Self {
        match no {
            NoLease::Held(lease) => Self::Held(lease.clone()),
            NoLease::Lost => Self::Lost,
            NoLease::Full => Self::Full,
        }
    }
}

impl From<Step> for Outcome {
    fn from(step: Step) -> Self {
        match step {
            Step::Begun(epoch) => Self::PolicyBegun(epoch),
            Step::Holds(epoch) => Self::PolicyHolds(epoch),
            Step::Other(epoch) => Self::PolicyOther(epoch),
            Step::Changing(epoch) => Self::PolicyChanging(epoch),
            Step::Opened(epoch) => Self::PolicyOpened(epoch),
            Step::Awaits => Self::PolicyAwaits,
            Step::Gone => Self::PolicyGone,
            Step::Full => Self::Full,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_behind_does_not_turn_time_back() {
        let mut roster = Roster::default();
        let acquire = |owner: &str| Command::Acquire {
            name: "a".to_owned(),
            owner: owner.to_owned(),
            ttl_milliseconds: 100,
        };
        assert!(matches!(roster.decide(1_000, &acquire("one")), Outcome::Leased(_)));
        assert!(matches!(roster.decide(1_100, &acquire("two")), Outcome::Leased(_)));
        assert!(matches!(roster.decide(1_050, &acquire("one")), Outcome::Held(_)));
    }

    #[test]
    fn a_region_that_lost_its_directory_does_not_speak_for_its_earlier_life() {
        let mut roster = Roster::default();
        let present = |region: &str, life: u64| Command::Present {
            region: region.to_owned(),
            origin: format!("{region}.{life}"),
        };
        let name = TypeName { data_set: "d".to_owned(), aggregate_type: "T".to_owned() };
        let begin = Command::BeginPolicy {
            name: name.clone(),
            expected: None,
            policy: Policy::from_json(&serde_json::json!({"strategy": "Manual"})).unwrap(),
            members: ["a", "b"].map(str::to_owned).into_iter().collect(),
        };
        let ready = |region: &str, life: u64, epoch: u64| Command::PolicyReady {
            name: name.clone(),
            epoch,
            origin: format!("{region}.{life}"),
            written: BTreeMap::new(),
        };
        roster.decide(1, &present("a", 1));
        roster.decide(1, &present("b", 1));
        assert_eq!(roster.decide(2, &begin), Outcome::PolicyBegun(1));
        assert_eq!(roster.decide(3, &ready("a", 1, 1)), Outcome::PolicyAwaits);
        roster.decide(4, &present("b", 2));
        assert_eq!(roster.decide(5, &ready("b", 2, 1)), Outcome::PolicyGone);
        assert_eq!(roster.decide(6, &begin), Outcome::PolicyBegun(2));
        assert_eq!(roster.decide(7, &ready("b", 1, 2)), Outcome::PolicyGone);
        assert_eq!(roster.decide(7, &ready("a", 1, 2)), Outcome::PolicyAwaits);
        assert_eq!(roster.decide(7, &ready("b", 2, 2)), Outcome::PolicyOpened(2));
    }
}
