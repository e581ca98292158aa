//! The roster: what the fleet has decided, command by command, in one order.
//!
//! Pure: equal commands in equal order make equal rosters. Time is what the commands carry, and
//! never goes back: a member whose clock is wrong can make a lease longer, never shorter than the
//! fleet's clock has it.

use serde::{Deserialize, Serialize};

use std::collections::{BTreeMap, BTreeSet};

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
    /// Begins another policy of a type; these regions write it.
    BeginPolicy {
        name: TypeName,
        #[serde(with = "words::policy")]
        policy: Policy,
        members: BTreeSet<String>,
    },
    /// The region has stopped writing the type, and what was written is durable up to there.
    PolicyReady {
        name: TypeName,
        epoch: u64,
        region: String,
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
    #[serde(default)]
    policies: PolicyBooks,
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
            Command::BeginPolicy { name, policy, members } => {
                self.policies.begin(now, name, policy, members).into()
            }
            Command::PolicyReady { name, epoch, region, written } => {
                self.policies.ready(name, *epoch, region, written).into()
            }
            Command::AbortPolicy { name, epoch } => self.policies.abort(name, *epoch).into(),
        }
    }

    /// The latest time of a decision, in milliseconds since 1970.
    pub const fn now(&self) -> u64 {
        self.now
    }

    pub const fn policies(&self) -> &PolicyBooks {
        &self.policies
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
}
