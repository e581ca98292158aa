//! A map that is copied far more often than it is searched: while it is small, its pairs lie in one
//! allocation, by key.
//!
//! Members of documents: mostly a handful. What always holds: no operation on a
//! large one moves what follows, and what is seen does not depend on how it lies.

use std::borrow::Borrow;
use std::collections::{BTreeMap, btree_map};
use std::slice;

/// Pairs beyond which they become a tree.
const FEW: usize = 64;

/// Pairs in the order of their keys, each key once.
#[derive(Clone, Debug)]
pub(super) enum Sorted<K, V> {
    Few(Vec<(K, V)>),
    Many(BTreeMap<K, V>),
}

impl<K, V> Default for Sorted<K, V> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<K: Ord, V: PartialEq> PartialEq for Sorted<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

fn place<K: Borrow<Q>, V, Q: Ord + ?Sized>(pairs: &[(K, V)], key: &Q) -> Result<usize, usize> {
    match pairs.last() {
        Some((last, _)) if last.borrow() < key => Err(pairs.len()),
        _ => pairs.binary_search_by(|(known, _)| known.borrow().cmp(key)),
    }
}

impl<K: Ord, V> Sorted<K, V> {
    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Few(pairs) => place(pairs, key).ok().map(|place| &pairs[place].1),
            Self::Many(pairs) => pairs.get(key),
        }
    }

    pub(super) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Few(pairs) => place(pairs, key).ok().map(|place| &mut pairs[place].1),
            Self::Many(pairs) => pairs.get_mut(key),
        }
    }

    /// What stands under the key, put there now if nothing did.
    pub(super) fn entry<Q: Ord + ?Sized>(&mut self, key: &Q, new: impl FnOnce() -> (K, V)) -> &mut V
    where
        K: Borrow<Q>,
    {
        if self.get(key).is_none() {
            let (key, value) = new();
            self.insert(key, value);
        }
        self.get_mut(key).expect("it was put there if it was not")
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        match self {
            Self::Many(pairs) => drop(pairs.insert(key, value)),
            Self::Few(pairs) => match place(pairs, &key) {
                Ok(place) => pairs[place].1 = value,
                Err(place) if pairs.len() < FEW => pairs.insert(place, (key, value)),
                Err(_) => {
                    let mut many: BTreeMap<K, V> = std::mem::take(pairs).into_iter().collect();
                    many.insert(key, value);
                    *self = Self::Many(many);
                }
            },
        }
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        match self {
            Self::Few(pairs) => pairs.retain_mut(|(key, value)| keep(key, value)),
            Self::Many(pairs) => pairs.retain(|key, value| keep(key, value)),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Few(pairs) => pairs.len(),
            Self::Many(pairs) => pairs.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn iter(&self) -> Iter<'_, K, V> {
        match self {
            Self::Few(pairs) => Iter::Few(pairs.iter()),
            Self::Many(pairs) => Iter::Many(pairs.iter()),
        }
    }

    pub(super) fn for_each_mut(&mut self, mut each: impl FnMut(&K, &mut V)) {
        match self {
            Self::Few(pairs) => pairs.iter_mut().for_each(|(key, value)| each(key, value)),
            Self::Many(pairs) => pairs.iter_mut().for_each(|(key, value)| each(key, value)),
        }
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

/// In order.
pub(super) enum Iter<'a, K, V> {
    Few(slice::Iter<'a, (K, V)>),
    Many(btree_map::Iter<'a, K, V>),
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Few(pairs) => pairs.next().map(|(key, value)| (key, value)),
            Self::Many(pairs) => pairs.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Self::Few(pairs) => pairs.size_hint(),
            Self::Many(pairs) => pairs.size_hint(),
        }
    }
}

impl<K, V> ExactSizeIterator for Iter<'_, K, V> {}

impl<K: Ord, V> FromIterator<(K, V)> for Sorted<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut sorted = Self::default();
        pairs.into_iter().for_each(|(key, value)| sorted.insert(key, value));
        sorted
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_sorted_map(steps in prop::collection::vec((0..11, 0..200u8), 0..400)) {
            let (mut sorted, mut plain) = (Sorted::default(), BTreeMap::new());
            for (number, (step, key)) in steps.into_iter().enumerate() {
                match step {
                    0..=5 => {
                        sorted.insert(key, number);
                        plain.insert(key, number);
                    }
                    _ => {
                        let new = *plain.entry(key).or_insert(number);
                        prop_assert_eq!(*sorted.entry(&key, || (key, number)), new);
                    }
                }
                prop_assert_eq!(sorted.get(&key), plain.get(&key));
                prop_assert!(sorted.iter().eq(plain.iter()));
            }
        }
    }
}
