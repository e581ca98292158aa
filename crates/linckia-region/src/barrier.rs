//! The barrier between two epochs of a policy: a type is left alone until everybody has stopped
//! writing it and what was written is applied here.
//!
//! What always holds: how far a region has written is told once all regions hold it, and until the
//! change is over nothing more of the type is written here, in this life or the next.

use std::sync::Arc;

use linckia_model::{AgreedPolicies, Fault, Policies, TypeName, Vector};

use crate::input::Output;
use crate::region::{Region, Step, held_by};

/// What was agreed, and what of it is still to be done here.
#[derive(Default)]
pub(crate) struct Barrier {
    agreed: AgreedPolicies,
    /// Types that are left alone here until everything before their epoch is applied.
    waiting: bool,
    /// Types that were closed, with their epochs and the last event of ours before: to be told.
    stopping: Vec<(TypeName, u64, u64)>,
}

impl Barrier {
    /// The policies as they hold here now.
    fn here(&mut self, applied: &Vector, fault: Option<Fault>) -> Arc<Policies> {
        let mut policies = self.agreed.policies.clone();
        self.waiting = false;
        let lacks = |awaited: &Vector| !applied.covers_all(awaited);
        let skipped = fault == Some(Fault::BarrierSkipped);
        for (name, _) in
            self.agreed.awaited.iter().filter(|(_, awaited)| !skipped && lacks(awaited))
        {
            policies.set_closed(&name.data_set, &name.aggregate_type, true);
            self.waiting = true;
        }
        if skipped {
            for (name, _) in &self.agreed.closing {
                policies.set_closed(&name.data_set, &name.aggregate_type, false);
            }
        }
        Arc::new(policies)
    }
}

impl Region {
    /// The fleet agreed on policies: these hold from here on.
    pub(crate) fn agree_policies(&mut self, agreed: AgreedPolicies) {
        let last = self.capture.last();
        let before = std::mem::replace(&mut self.barrier.agreed, agreed);
        let agreed = &self.barrier.agreed;
        self.barrier.stopping.retain(|(name, epoch, _)| {
            agreed.closing.iter().any(|(closing, begins)| closing == name && begins == epoch)
        });
        let new = agreed.closing.iter().filter(|closing| !before.closing.contains(closing));
        let new: Vec<_> = new.map(|(name, epoch)| (name.clone(), *epoch, last)).collect();
        self.barrier.stopping.extend(new);
        self.take_policies();
    }

    pub(crate) fn take_policies(&mut self) {
        let policies = self.barrier.here(self.apply.applied(), self.settings.fault);
        self.capture.set_policies(Arc::clone(&policies));
        self.apply.set_policies(policies);
    }

    /// More was applied: types that waited for it are written again.
    pub(crate) fn pass_barriers(&mut self) {
        if self.barrier.waiting {
            self.take_policies();
        }
    }

    /// Tells how far was written of what is closed, once that is durable here and in every other
    /// region: who waits for it must not wait for a disk that may be lost.
    pub(crate) fn tell_stopped(&mut self, steps: &mut Vec<Step>) {
        if self.barrier.stopping.is_empty() {
            return;
        }
        let own = &self.settings.origin;
        let others = self.members.iter().filter(|member| **member != self.settings.name);
        let held = others.map(|member| held_by(&self.held, member, own)).min();
        let durable = self.durable.get(own).min(held.unwrap_or(u64::MAX));
        let stopped = self.barrier.stopping.extract_if(.., |(_, _, last)| *last <= durable);
        for (name, epoch, _) in stopped {
            let written = self.durable.clone();
            steps.push(Step::Out(Output::Stopped { name, epoch, written }));
        }
    }

    /// The policies as they hold here.
    pub fn policies(&self) -> &Arc<Policies> {
        self.apply.policies()
    }
}
