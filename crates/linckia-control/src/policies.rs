//! Policies of aggregate types, agreed epoch by epoch, and the barrier between two epochs.
//!
//! A change is begun; every region that writes the type stops, makes what it wrote durable and says
//! how far that is; when all have, the epoch is open, and a region writes under it once it has
//! applied the join of what was said. What always holds: no event of one epoch is concurrent with
//! an event of another of its type; an epoch's number stands for one attempt, for ever; a change
//! that is not finished can be aborted, and then nothing was changed.

use std::collections::{BTreeMap, BTreeSet};

use linckia_model::{AgreedPolicies, Origin, Policy, RegionName, TypeName, Vector};
use serde::{Deserialize, Serialize};

use crate::words;

/// Types that have a policy.
pub const TYPES_MAX: usize = 4_096;

/// All policies of all epochs together, as JSON: a roster goes over a link in one piece.
const BYTES_MAX: usize = 4 << 20;

/// Epochs of one type: all are kept, because events of all of them may lie in logs.
pub const EPOCHS_MAX: usize = 256;

/// An open epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Opened {
    epoch: u64,
    #[serde(with = "words::policy")]
    policy: Policy,
    /// In milliseconds since 1970, by the fleet's clock.
    #[serde(default)]
    opened_at: u64,
}

/// A change that is under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub epoch: u64,
    #[serde(with = "words::policy")]
    pub policy: Policy,
    /// In milliseconds since 1970, by the fleet's clock.
    pub begun_at: u64,
    /// Regions that have not said yet that they stopped writing.
    pub awaited: BTreeSet<String>,
    join: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Book {
    opened: Vec<Opened>,
    /// What the regions held of the epoch before when the last one was opened.
    join: BTreeMap<String, u64>,
    /// The number of the last attempt.
    last: u64,
    change: Option<Change>,
}

impl Book {
    /// The last epoch that was opened.
    fn opened(&self) -> Option<u64> {
        self.opened.last().map(|opened| opened.epoch)
    }
}

/// Every type of which something was agreed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicyBooks {
    #[serde(with = "words::pairs")]
    types: BTreeMap<TypeName, Book>,
    /// What all policies begun come to as JSON.
    bytes: usize,
}

/// What became of a step of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// This epoch begins, or had begun with the same policy.
    Begun(u64),
    /// The policy holds already, under this epoch.
    Holds(u64),
    /// Another epoch holds than the one named.
    Other(u64),
    /// Another change is under way.
    Changing(u64),
    /// The epoch is open.
    Opened(u64),
    /// Noted; others are waited for.
    Awaits,
    /// There is no such change: it was aborted, or another one begun since.
    Gone,
    Full,
}

impl PolicyBooks {
    pub(crate) fn begin(
        &mut self,
        now: u64,
        name: &TypeName,
        expected: Option<u64>,
        policy: &Policy,
        members: &BTreeSet<String>,
    ) -> Step {
        let book = self.types.get(name);
        if let Some(change) = book.and_then(|book| book.change.as_ref()) {
            let same = change.policy == *policy;
            return if same { Step::Begun(change.epoch) } else { Step::Changing(change.epoch) };
        }
        let (open, holds) = self.policy(name);
        if expected.is_some_and(|expected| expected != open) {
            return Step::Other(open);
        }
        if holds == *policy {
            return Step::Holds(open);
        }
        let bytes = self.bytes + policy.to_json().to_string().len();
        let many = match book {
            Some(book) => book.opened.len() >= EPOCHS_MAX,
            None => self.types.len() >= TYPES_MAX,
        };
        if many || bytes > BYTES_MAX {
            return Step::Full;
        }
        self.bytes = bytes;
        let book = self.types.entry(name.clone()).or_default();
        book.last += 1;
        book.change = Some(Change {
            epoch: book.last,
            policy: policy.clone(),
            begun_at: now,
            awaited: members.clone(),
            join: BTreeMap::new(),
        });
        Step::Begun(book.last)
    }

    /// Nothing that is under way goes on.
    pub(crate) fn abort_all(&mut self) {
        self.types.values_mut().for_each(|book| book.change = None);
    }

    pub(crate) fn ready(
        &mut self,
        now: u64,
        name: &TypeName,
        epoch: u64,
        region: &str,
        written: &BTreeMap<String, u64>,
    ) -> Step {
        let Some(book) = self.types.get_mut(name) else { return Step::Gone };
        if book.opened.iter().any(|opened| opened.epoch == epoch) {
            return Step::Opened(epoch);
        }
        let Some(change) = book.change.as_mut().filter(|change| change.epoch == epoch) else {
            return Step::Gone;
        };
        if change.awaited.remove(region) {
            for (origin, sequence) in written {
                let known = change.join.entry(origin.clone()).or_default();
                *known = (*known).max(*sequence);
            }
        }
        if !change.awaited.is_empty() {
            return Step::Awaits;
        }
        if let Some(Change { policy, join, .. }) = book.change.take() {
            book.opened.push(Opened { epoch, policy, opened_at: now });
            book.join = join;
        }
        Step::Opened(epoch)
    }

    pub(crate) fn abort(&mut self, name: &TypeName, epoch: u64) -> Step {
        let Some(book) = self.types.get_mut(name) else { return Step::Gone };
        if book.opened.iter().any(|opened| opened.epoch == epoch) {
            return Step::Opened(epoch);
        }
        book.change.take_if(|change| change.epoch == epoch);
        Step::Gone
    }

    /// True once a change that was begun is over: its epoch is open, or it was aborted.
    pub fn is_over(&self, name: &TypeName, epoch: u64) -> bool {
        self.types.get(name).is_some_and(|book| {
            book.last >= epoch && book.change.as_ref().is_none_or(|change| change.epoch != epoch)
        })
    }

    /// The change of a type that is under way.
    pub fn change(&self, name: &TypeName) -> Option<&Change> {
        self.types.get(name)?.change.as_ref()
    }

    /// Every change that is under way.
    pub fn changes(&self) -> impl Iterator<Item = (&TypeName, &Change)> {
        self.types.iter().filter_map(|(name, book)| Some((name, book.change.as_ref()?)))
    }

    /// The open policies of a data set's types, by name.
    pub fn open(&self, data_set: &str) -> impl Iterator<Item = (&str, u64, &Policy)> {
        self.types.iter().filter(move |(name, _)| name.data_set == data_set).filter_map(
            |(name, book)| {
                let opened = book.opened.last()?;
                Some((name.aggregate_type.as_str(), opened.epoch, &opened.policy))
            },
        )
    }

    /// The open policy of a type and its epoch: the default under epoch 0 if nothing was agreed.
    pub fn policy(&self, name: &TypeName) -> (u64, Policy) {
        let opened = self.types.get(name).and_then(|book| book.opened.last());
        opened.map_or((0, Policy::default()), |opened| (opened.epoch, opened.policy.clone()))
    }

    /// The open epoch of every type.
    pub fn epochs(&self) -> impl Iterator<Item = (&TypeName, u64)> {
        let open = |(name, book)| Some((name, Book::opened(book)?));
        self.types.iter().filter_map(open)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    /// What of it held at that time, and what events were written under; the regions write under it
    /// once they have applied `ends`.
    pub(crate) fn restored(
        &self,
        until: u64,
        written: &BTreeMap<TypeName, u64>,
        ends: &BTreeMap<String, u64>,
    ) -> Self {
        let mut restored = self.clone();
        for (name, book) in &mut restored.types {
            let known = written.get(name).copied().unwrap_or(0);
            book.opened.retain(|it| it.opened_at <= until || it.epoch <= known);
            (book.change, book.join) = (None, ends.clone());
        }
        restored.types.retain(|_, book| !book.opened.is_empty());
        let each = restored.types.values().flat_map(|book| &book.opened);
        restored.bytes = each.map(|it| it.policy.to_json().to_string().len()).sum();
        restored
    }

    /// For the core of a region.
    pub fn agreed(&self) -> AgreedPolicies {
        let mut agreed = AgreedPolicies::default();
        for (name, book) in &self.types {
            let TypeName { data_set, aggregate_type } = name;
            for Opened { epoch, policy, .. } in &book.opened {
                // Attempts ascend, and a book has each once.
                let opened = agreed.policies.open(data_set, aggregate_type, *epoch, policy.clone());
                debug_assert!(opened.is_ok(), "epochs ascend");
            }
            if let Some(change) = &book.change {
                agreed.policies.set_closed(data_set, aggregate_type, true);
                agreed.closing.push((name.clone(), change.epoch));
            }
            if !book.join.is_empty() {
                agreed.awaited.push((name.clone(), vector(&book.join)));
            }
        }
        agreed
    }
}

/// A vector, as a core is told it.
pub(crate) fn vector(pairs: &BTreeMap<String, u64>) -> Vector {
    let pair = |(origin, sequence): (&String, &u64)| Some((Origin::parse(origin).ok()?, *sequence));
    pairs.iter().filter_map(pair).collect()
}

/// A vector as a command carries it.
pub fn written(vector: &Vector) -> BTreeMap<String, u64> {
    vector.iter().map(|(origin, sequence)| (origin.to_string(), sequence)).collect()
}

/// Names as a command carries them.
pub fn names(regions: &[RegionName]) -> BTreeSet<String> {
    regions.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use linckia_model::Strategy;

    use super::*;

    fn name() -> TypeName {
        TypeName { data_set: "default".to_owned(), aggregate_type: "Customer".to_owned() }
    }

    fn policy(strategy: Strategy) -> Policy {
        Policy::new(strategy, Vec::new(), BTreeMap::new()).unwrap()
    }

    fn members() -> BTreeSet<String> {
        ["a", "b"].map(str::to_owned).into_iter().collect()
    }

    fn said(origin: &str, sequence: u64) -> BTreeMap<String, u64> {
        [(format!("{origin}.0000000000000001"), sequence)].into_iter().collect()
    }

    #[test]
    fn an_epoch_opens_when_all_have_stopped() {
        let mut books = PolicyBooks::default();
        let manual = policy(Strategy::Manual);
        assert_eq!(books.begin(5, &name(), None, &manual, &members()), Step::Begun(1));
        assert_eq!(books.begin(6, &name(), None, &manual, &members()), Step::Begun(1));
        let other = policy(Strategy::DeleteWins);
        assert_eq!(books.begin(6, &name(), None, &other, &members()), Step::Changing(1));
        assert!(books.agreed().policies.of_type("default", "Customer").is_closed());
        assert_eq!(books.ready(6, &name(), 1, "a", &said("a", 4)), Step::Awaits);
        // A second word of the same region does not count.
        assert_eq!(books.ready(6, &name(), 1, "a", &said("a", 9)), Step::Awaits);
        assert_eq!(books.ready(6, &name(), 1, "b", &said("b", 2)), Step::Opened(1));
        assert_eq!(books.policy(&name()), (1, manual.clone()));
        let agreed = books.agreed();
        assert!(!agreed.policies.of_type("default", "Customer").is_closed());
        let joined: Vec<u64> = agreed.awaited[0].1.iter().map(|(_, sequence)| sequence).collect();
        assert_eq!(joined, [4, 2]);
        assert_eq!(books.abort(&name(), 1), Step::Opened(1), "too late");
        assert_eq!(books.begin(7, &name(), None, &manual, &members()), Step::Holds(1));
        assert_eq!(books.begin(7, &name(), Some(0), &other, &members()), Step::Other(1));
        assert_eq!(books.begin(7, &name(), Some(1), &other, &members()), Step::Begun(2));
    }

    #[test]
    fn what_is_said_of_an_aborted_attempt_does_not_count_for_the_next() {
        let mut books = PolicyBooks::default();
        let manual = policy(Strategy::Manual);
        books.begin(5, &name(), None, &manual, &members());
        assert_eq!(books.abort(&name(), 1), Step::Gone);
        assert!(!books.agreed().policies.of_type("default", "Customer").is_closed());
        assert_eq!(books.begin(6, &name(), None, &manual, &members()), Step::Begun(2));
        assert_eq!(books.ready(6, &name(), 1, "a", &said("a", 4)), Step::Gone);
        assert_eq!(books.change(&name()).unwrap().awaited, members());
        assert_eq!(books.policy(&name()), (0, Policy::default()));
    }

    #[test]
    fn books_are_json_and_back() {
        let mut books = PolicyBooks::default();
        books.begin(5, &name(), None, &policy(Strategy::UpdateWins), &members());
        books.ready(6, &name(), 1, "a", &said("a", 4));
        books.ready(6, &name(), 1, "b", &said("b", 4));
        books.begin(6, &name(), None, &policy(Strategy::Manual), &members());
        let text = serde_json::to_string(&books).unwrap();
        assert_eq!(serde_json::from_str::<PolicyBooks>(&text).unwrap(), books);
    }
}
