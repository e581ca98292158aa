//! The agreement on policies, as a world that sees everything keeps it: a type is closed
//! everywhere, and opened under its new epoch region by region once all have applied everything.
//!
//! What always holds: a region that is down finds at its start what was agreed meanwhile, and no
//! event of one epoch is concurrent with one of another.

use std::sync::Arc;

use linckia_model::Policies;
use linckia_region::Input;

use super::{Moment, World, key};

/// How often it is asked whether all have applied everything, in microseconds.
const ASK: u64 = 40_000;

/// A region hears within this that the new epoch is open, in microseconds.
const HEARS: u64 = 600_000;

/// The policies after so many epochs were opened.
pub(super) fn agreed(policies: &[linckia_model::Policy], epochs: usize) -> Policies {
    let (key, mut agreed) = (key(0), Policies::default());
    for (epoch, policy) in (1..).zip(&policies[..epochs]) {
        let opened = agreed.open(&key.data_set, &key.aggregate_type, epoch, policy.clone());
        opened.expect("epochs ascend");
    }
    agreed
}

impl World {
    /// The type is closed for writing.
    pub(super) fn change_policy(&mut self) {
        let mut closed = agreed(&self.plan.policies, 1);
        let key = key(0);
        closed.set_closed(&key.data_set, &key.aggregate_type, true);
        let closed = Arc::new(closed);
        for region in 0..self.places.len() {
            self.hear(region, Arc::clone(&closed));
        }
        self.at(self.now + ASK, Moment::Barrier);
    }

    fn hear(&mut self, region: usize, policies: Arc<Policies>) {
        self.places[region].policies = Arc::clone(&policies);
        self.hand(region, Input::Policies(policies));
    }

    /// Opens the new epoch if all have applied everything that was written.
    pub(super) fn look_at_barrier(&mut self) {
        let stands = self.places.iter().map(|place| {
            let region = place.machine.as_ref()?.region();
            let whole = region.applied().get(&place.origin) == region.written();
            whole.then(|| region.applied().clone())
        });
        let vectors: Option<Vec<_>> = stands.collect();
        let joined =
            vectors.is_some_and(|vectors| vectors.windows(2).all(|pair| pair[0] == pair[1]));
        if !joined {
            return self.at(self.now + ASK, Moment::Barrier);
        }
        self.note(|| "the type is open under its next policy".to_owned());
        for region in 0..self.places.len() {
            let when = self.now + self.policy_random.below(HEARS);
            self.at(when, Moment::Opened { region });
        }
    }

    pub(super) fn opened(&mut self, region: usize) {
        let all = agreed(&self.plan.policies, self.plan.policies.len());
        self.hear(region, Arc::new(all));
    }
}
