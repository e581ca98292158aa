//! What the core shows to whoever asks without an order: vectors, policies, how it stands.

use std::sync::Arc;

use super::{Driver, Stands};

impl Driver {
    pub(super) fn publish(&self) {
        let region = self.machine.region();
        for (now, told) in
            [(region.applied(), &self.applied), (region.everywhere(), &self.everywhere)]
        {
            told.send_if_modified(|last| {
                let grew = **last != *now;
                if grew {
                    *last = Arc::new(now.clone());
                }
                grew
            });
        }
        let (compared, writable) = (region.is_compared(), region.is_entered());
        let awaits_word = region.awaits_word();
        let catch_up = self.machine.catch_up();
        let stands = Stands { compared, writable, awaits_word, catch_up };
        self.stands.send_if_modified(|was| {
            let changed = *was != stands;
            *was = stands;
            changed
        });
        let policies = region.policies();
        self.policies.send_if_modified(|last| {
            let changed = !Arc::ptr_eq(last, policies);
            if changed {
                *last = Arc::clone(policies);
            }
            changed
        });
    }
}
