//! The agreement on policies: one roster of the world's, as a majority decides it, of which regions
//! hear late, each when it does.
//!
//! Raft itself is not simulated: what is here is what it gives, decisions in one order. What always
//! holds: a region that starts knows what it had heard, because its journal does.

use std::collections::BTreeSet;

use linckia_control::{Command, Outcome, Roster, names, written};
use linckia_model::{Agreed, Origin, Policy, RegionName, TypeName, Vector};
use linckia_region::Input;

use super::{Moment, World, key};
use crate::plan::{Happening, Plan};

/// A decision is heard of, and a proposal decided, within this, in microseconds.
const TAKES: u64 = 250_000;

/// Some changes are aborted, in a hundred, within so long, in microseconds.
const ABORTS: u64 = 20;
const ABORTED_WITHIN: u64 = 1_000_000;

/// What a world with these policies has agreed at its start: the first, under epoch 1.
pub(super) fn at_the_start(policies: &[Policy], origins: &[(RegionName, Origin)]) -> Roster {
    let mut roster = Roster::default();
    let regions: Vec<RegionName> = origins.iter().map(|(region, _)| region.clone()).collect();
    for (region, origin) in origins {
        let (region, origin) = (region.to_string(), origin.to_string());
        let (members, held) = (names(&regions), BTreeSet::new());
        roster.decide(0, &Command::Present { region, origin, members, held, restored: None });
    }
    if let Some(first) = policies.first() {
        let (name, members) = (TypeName::of(&key(0)), names(&[]));
        let (policy, expected) = (first.clone(), None);
        roster.decide(0, &Command::BeginPolicy { name: name.clone(), expected, policy, members });
        for (_, origin) in origins {
            let (name, written) = (name.clone(), written(&Vector::new()));
            let origin = origin.to_string();
            roster.decide(0, &Command::PolicyReady { name, epoch: 1, origin, written });
        }
    }
    roster
}

impl World {
    /// What was agreed, as regions hear it.
    pub(crate) fn agreed(&self) -> Agreed {
        let configured: Vec<_> = self.places.iter().map(|place| place.name.clone()).collect();
        self.roster.agreed(&configured)
    }

    /// Somebody asks for the plan's next policy.
    pub(super) fn change_policy(&mut self) {
        self.policy_asked = true;
        let Some(policy) = self.plan.policies.last().cloned() else { return };
        let regions: Vec<_> = self.places.iter().map(|place| place.name.clone()).collect();
        let (name, members) = (TypeName::of(&key(0)), names(&regions));
        let outcome = self.decide(Command::BeginPolicy { name, expected: None, policy, members });
        if outcome == Outcome::Closing {
            // Where a log ends is not known yet.
            let when = self.now + self.policy_random.below(2 * TAKES);
            self.at(when, Moment::Planned(Happening::ChangePolicy));
        }
        if let Outcome::PolicyBegun(epoch) = outcome
            && self.policy_random.percent(ABORTS)
        {
            let when = self.now + self.policy_random.below(ABORTED_WITHIN);
            self.at(when, Moment::Abort { epoch });
        }
    }

    /// What was asked for and may have been aborted is asked for again.
    pub(super) fn change_policy_again(&mut self) {
        if self.policy_asked {
            self.change_policy();
        }
    }

    /// Whoever asked has no more patience; it asks again later.
    pub(super) fn abort_policy(&mut self, epoch: u64) {
        let outcome = self.decide(Command::AbortPolicy { name: TypeName::of(&key(0)), epoch });
        if outcome == Outcome::PolicyGone {
            self.change_policy();
        }
    }

    pub(super) fn decide(&mut self, command: Command) -> Outcome {
        let outcome = self.roster.decide(self.now / 1_000, &command);
        self.note(|| format!("decided {command:?}: {outcome:?}"));
        for region in 0..self.places.len() {
            self.hears_soon(region);
        }
        outcome
    }

    /// The region hears what is agreed, some time from now.
    pub(super) fn hears_soon(&mut self, region: usize) {
        let Plan { policies, loses_disks, joins, .. } = &self.plan;
        if policies.len() > 1 || *loses_disks || joins.is_some() {
            // Some hear so late that events of the new epoch are there before.
            let longest = match self.policy_random.percent(30) {
                _ if self.swift => 1_000,
                true => 6 * TAKES,
                false => TAKES,
            };
            let when = self.now + self.policy_random.below(longest);
            self.at(when, Moment::Hears { region });
        }
    }

    pub(super) fn hears(&mut self, region: usize) {
        let deaf_until = self.places[region].deaf_until;
        if deaf_until > self.now {
            self.at(deaf_until + 1_000, Moment::Hears { region });
        } else if self.places[region].machine.is_some() {
            let agreed = self.agreed();
            self.places[region].heard = agreed.clone();
            self.hand(region, Input::Agreed(agreed));
        }
    }

    /// A region has stopped writing; it is decided some time from now, if the region still lives.
    pub(super) fn stopped(&mut self, region: usize, epoch: u64, written: Vector) {
        let (life, when) = (self.places[region].life, self.now + self.policy_random.below(TAKES));
        self.at(when, Moment::Ready { region, life, epoch, written });
    }

    pub(super) fn ready(&mut self, region: usize, epoch: u64, vector: &Vector) {
        let (name, written) = (TypeName::of(&key(0)), written(vector));
        let origin = self.places[region].origin.to_string();
        self.decide(Command::PolicyReady { name, epoch, origin, written });
    }
}
