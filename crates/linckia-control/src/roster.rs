//! The roster: what the fleet has decided, command by command, in one order.
//!
//! Pure: equal commands in equal order make equal rosters. Time is what the commands carry, and
//! never goes back: a member whose clock is wrong can make a lease longer, never shorter than the
//! fleet's clock has it.

use serde::{Deserialize, Serialize};

use crate::leases::{Lease, Leases, NoLease};

/// Something to be decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Command {
    Acquire { name: String, owner: String, ttl_milliseconds: u64 },
    Renew { name: String, owner: String, fence: u64, ttl_milliseconds: Option<u64> },
    Release { name: String, owner: String, fence: u64 },
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
    /// More leases are held than the fleet takes.
    Full,
}

/// What was decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    /// The latest time of a decision, in milliseconds since 1970.
    now: u64,
    leases: Leases,
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
        }
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
