//! The roster: what the fleet has decided, command by command, in one order.
//!
//! Pure: equal commands in equal order make equal rosters. Time is what the commands carry, which
//! whoever leads bounds by its own clock, and it never goes back.

use serde::{Deserialize, Serialize};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use linckia_model::{Agreed, Hlc, Policy, RegionName, TypeName};

use crate::incarnations::{Incarnations, Promise, Step as Life};
use crate::leases::{Lease, Leases, NoLease};
use crate::policies::{PolicyBooks, Step};
use crate::restored::Restored;
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
    /// The region lives on in this origin; in another one than before if it lost its directory:
    /// then these members close the one before. It holds these logs.
    Present {
        region: String,
        origin: String,
        #[serde(default)]
        members: BTreeSet<String>,
        #[serde(default)]
        held: BTreeSet<String>,
        /// What its directory was restored with, from a backup: the fleet begins with that.
        #[serde(default)]
        restored: Option<Box<Restored>>,
    },
    /// The region was away for too long: it lapses, and the others among these members close its
    /// log.
    Lapse {
        region: String,
        reason: String,
        members: BTreeSet<String>,
        /// The origin of the region that says so by itself; it must count then.
        #[serde(default)]
        by: Option<String>,
    },
    /// The region that came back in this origin has heard that all others know of it.
    Returned {
        by: String,
    },
    /// A log was found that no region writes: these members close it.
    Close {
        origin: String,
        members: BTreeSet<String>,
    },
    /// The region that lives in the origin `by` promises what it holds of a log that is closed.
    Promise {
        origin: String,
        attempt: u64,
        by: String,
        promise: Promise,
    },
    /// The region that lives in the origin `by` holds a closed log to its end.
    Level {
        origin: String,
        attempt: u64,
        by: String,
    },
    /// This event of a closed log depends on what is lost: the log ends before it.
    Void {
        origin: String,
        first: u64,
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
    /// A log is being closed, and who promised what is noted.
    Closing,
    /// The log is closed, and ends there.
    Closed(u64),
    /// There is no such closing any more.
    ClosingGone,
    /// Without this region no member would be left.
    LastMember,
    /// A directory was restored from a backup, and the fleet has begun with something else.
    OtherHistory,
}

/// What was decided.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Roster {
    /// The latest time of a decision, in milliseconds since 1970.
    now: u64,
    leases: Leases,
    policies: Arc<PolicyBooks>,
    #[serde(default)]
    incarnations: Arc<Incarnations>,
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
            Command::Present { region, origin, members, held, restored } => {
                if let Some(restored) = restored
                    && self.incarnations.of(region) != Some(origin)
                    && !self.restore(restored, members)
                {
                    return Outcome::OtherHistory;
                }
                let lives = Arc::make_mut(&mut self.incarnations);
                let step = lives.present(now, region, origin, (members, held));
                self.abort_while_closing();
                step.into()
            }
            Command::Lapse { region, reason, members, by } => {
                let lives = Arc::make_mut(&mut self.incarnations);
                if by.as_ref().is_some_and(|by| !lives.counts(by)) {
                    // It was cut off itself, and has lapsed meanwhile.
                    return Outcome::ClosingGone;
                }
                let step = lives.lapse(now, region, reason, members);
                self.abort_while_closing();
                step.into()
            }
            Command::Returned { by } => Arc::make_mut(&mut self.incarnations).returned(by).into(),
            Command::Close { origin, members } => {
                let lives = Arc::make_mut(&mut self.incarnations);
                let step = lives.close(now, origin, members);
                self.abort_while_closing();
                step.into()
            }
            Command::Promise { origin, attempt, by, promise } => {
                let lives = Arc::make_mut(&mut self.incarnations);
                lives.promise(origin, *attempt, by, promise).into()
            }
            Command::Level { origin, attempt, by } => {
                Arc::make_mut(&mut self.incarnations).level(origin, *attempt, by).into()
            }
            Command::Void { origin, first } => {
                Arc::make_mut(&mut self.incarnations).void(origin, *first).into()
            }
            Command::BeginPolicy { name, expected, policy, members } => {
                if self.incarnations.is_closing() {
                    // Where a log ends must be known before anybody can say that it is applied.
                    return Outcome::Closing;
                }
                let books = Arc::make_mut(&mut self.policies);
                let members = self.incarnations.active(members);
                books.begin(now, name, *expected, policy, &members).into()
            }
            Command::PolicyReady { name, epoch, origin, written } => {
                let Some(region) = self.incarnations.region_in(origin) else {
                    return Outcome::PolicyGone;
                };
                let ends = self.incarnations.ends();
                let ends = ends.map(|(origin, end)| (origin.to_owned(), end));
                let mut written = written.clone();
                written.extend(ends);
                let books = Arc::make_mut(&mut self.policies);
                books.ready(now, name, *epoch, &region, &written).into()
            }
            Command::AbortPolicy { name, epoch } => {
                Arc::make_mut(&mut self.policies).abort(name, *epoch).into()
            }
        }
    }

    /// The fleet begins with what a directory was restored with, unless it has begun otherwise.
    fn restore(&mut self, restored: &Restored, members: &BTreeSet<String>) -> bool {
        if self.incarnations.restored() == Some(&restored.ends) {
            return true;
        }
        let fresh = self.policies.is_empty() && self.leases.is_empty();
        let lives = Arc::make_mut(&mut self.incarnations);
        if !fresh || !lives.restore(self.now, restored, members) {
            return false;
        }
        self.policies = Arc::new(restored.policies.clone());
        self.leases = Leases::above(restored.fence);
        true
    }

    /// What a directory is restored with that holds these logs up to their ends, and nothing later
    /// than `hlc`: policies are as they were at `until`, in milliseconds since 1970, and as events
    /// need them that were `written` under their epochs.
    pub fn restored(
        &self,
        ends: BTreeMap<String, u64>,
        hlc: Hlc,
        until: u64,
        written: &BTreeMap<TypeName, u64>,
    ) -> Restored {
        let known = self.incarnations.known().map(|origin| (origin.to_owned(), 0));
        let mut all: BTreeMap<String, u64> = known.collect();
        all.extend(ends);
        let policies = self.policies.restored(until, written, &all);
        Restored { ends: all, policies, fence: self.leases.fence(), hlc: hlc.bits() }
    }

    /// What an earlier life wrote last, nobody can say for it any more.
    fn abort_while_closing(&mut self) {
        if self.incarnations.is_closing() && self.policies.changes().next().is_some() {
            Arc::make_mut(&mut self.policies).abort_all();
        }
    }

    /// The latest time of a decision, in milliseconds since 1970.
    pub const fn now(&self) -> u64 {
        self.now
    }

    pub const fn policies(&self) -> &Arc<PolicyBooks> {
        &self.policies
    }

    pub const fn incarnations(&self) -> &Arc<Incarnations> {
        &self.incarnations
    }

    /// For the core of a region that is configured with these.
    pub fn agreed(&self, configured: &[RegionName]) -> Agreed {
        let incarnations = self.incarnations.agreed(configured);
        let mut policies = self.policies.agreed();
        for (_, awaited) in &mut policies.awaited {
            // What is beyond the end of a log is never applied.
            *awaited = incarnations.within(awaited);
        }
        Agreed { policies, incarnations: Some(incarnations) }
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

impl From<Life> for Outcome {
    fn from(step: Life) -> Self {
        match step {
            Life::Lives | Life::Succeeds => Self::Nothing,
            Life::Awaits => Self::Closing,
            Life::Closed(end) => Self::Closed(end),
            Life::Gone => Self::ClosingGone,
            Life::Full => Self::Full,
            Life::Last => Self::LastMember,
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
mod tests;
