//! Which policy an event is folded under: per aggregate type, the policies by epoch.
//!
//! A snapshot, shared by capture and apply and replaced whole. What always holds: epochs of a type
//! ascend, epoch 0 is the default everywhere, and a type without policies costs one look at an
//! empty map.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{DEFAULT, Policy, PolicyError};
use crate::name::Key;

/// The policies of one type.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Epochs {
    /// By epoch, ascending; epoch 0 is not among them.
    policies: Vec<(u64, Arc<Policy>)>,
    closed: bool,
    /// Every event is folded under the last policy, whatever its epoch.
    always: bool,
}

static NONE: Epochs = Epochs { policies: Vec::new(), closed: false, always: false };

impl Epochs {
    /// Where nothing was agreed.
    pub fn none() -> &'static Self {
        &NONE
    }

    /// One policy for events of every epoch.
    pub fn always(policy: Policy) -> Self {
        Self { policies: vec![(1, Arc::new(policy))], closed: false, always: true }
    }

    /// The policy of that epoch; none if it is not known here yet.
    pub fn get(&self, epoch: u64) -> Option<&Policy> {
        if epoch == 0 {
            return Some(&DEFAULT);
        }
        let place = self.policies.binary_search_by_key(&epoch, |(known, _)| *known).ok()?;
        Some(&self.policies[place].1)
    }

    /// The policies by epoch, ascending; that of epoch 0 is not among them.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Policy)> {
        self.policies.iter().map(|(epoch, policy)| (*epoch, &**policy))
    }

    /// The epoch under which new events are written.
    pub fn open(&self) -> u64 {
        self.policies.last().map_or(0, |(epoch, _)| *epoch)
    }

    /// The policy under which new events are written.
    pub fn open_policy(&self) -> &Policy {
        self.policies.last().map_or(&DEFAULT, |(_, policy)| policy)
    }

    /// True while a change is under way: nothing of the type may be written.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// True if what was folded under that epoch can be folded on.
    pub(crate) fn knows(&self, epoch: u64) -> bool {
        self.always || self.get(epoch).is_some()
    }

    /// The epoch and the policy to fold an event of that epoch under. One that is not known here is
    /// taken for the open one: apply lets such events wait, so that it does not come to this.
    pub(crate) fn rule(&self, epoch: u64) -> (u64, &Policy) {
        if self.policies.is_empty() {
            return (0, &DEFAULT);
        }
        match self.get(epoch).filter(|_| !self.always) {
            Some(policy) => (epoch, policy),
            None => (self.open(), self.open_policy()),
        }
    }
}

/// The policies of all types.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Policies {
    /// By data set, then by aggregate type.
    types: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Epochs>>,
}

impl Policies {
    /// The policies of a key's type.
    pub fn of(&self, key: &Key) -> &Epochs {
        if self.types.is_empty() {
            return &NONE;
        }
        self.of_type(&key.data_set, &key.aggregate_type)
    }

    pub fn of_type(&self, data_set: &str, aggregate_type: &str) -> &Epochs {
        let types = self.types.get(data_set);
        types.and_then(|types| types.get(aggregate_type)).unwrap_or(&NONE)
    }

    /// The policy of an epoch of a type; none if it is not known here yet.
    pub fn get(&self, data_set: &str, aggregate_type: &str, epoch: u64) -> Option<&Policy> {
        self.of_type(data_set, aggregate_type).get(epoch)
    }

    /// Opens a new epoch of a type, which is no longer closed then.
    ///
    /// # Errors
    /// [`PolicyError::Epoch`].
    pub fn open(
        &mut self,
        data_set: &str,
        aggregate_type: &str,
        epoch: u64,
        policy: Policy,
    ) -> Result<(), PolicyError> {
        let epochs = self.entry(data_set, aggregate_type);
        let last = epochs.open();
        if epoch <= last {
            return Err(PolicyError::Epoch { given: epoch, last });
        }
        epochs.policies.push((epoch, Arc::new(policy)));
        epochs.closed = false;
        Ok(())
    }

    /// Closes a type for writing while its policy changes, or opens it again without a change.
    pub fn set_closed(&mut self, data_set: &str, aggregate_type: &str, closed: bool) {
        self.entry(data_set, aggregate_type).closed = closed;
    }

    /// Every type that something was agreed of: data set, aggregate type, policies.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, &Epochs)> {
        let all = self.types.iter();
        all.flat_map(|(set, types)| types.iter().map(move |(name, epochs)| (set, name, epochs)))
    }

    fn entry(&mut self, data_set: &str, aggregate_type: &str) -> &mut Epochs {
        let types = self.types.entry(data_set.into()).or_default();
        types.entry(aggregate_type.into()).or_default()
    }
}
