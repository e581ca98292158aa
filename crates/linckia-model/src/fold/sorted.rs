//! A small map that is copied far more often than it is searched: pairs in one allocation, by key.
//!
//! Members of documents and tails of keys: mostly a handful, put in at the end. Putting one in
//! elsewhere moves what follows.

use std::borrow::Borrow;

/// Pairs in the order of their keys, each key once.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sorted<K, V>(Vec<(K, V)>);

impl<K, V> Default for Sorted<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord, V> Sorted<K, V> {
    fn place<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        match self.0.last() {
            Some((last, _)) if last.borrow() < key => Err(self.0.len()),
            _ => self.0.binary_search_by(|(known, _)| known.borrow().cmp(key)),
        }
    }

    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.place(key).ok().map(|place| &self.0[place].1)
    }

    pub(super) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.place(key).ok().map(|place| &mut self.0[place].1)
    }

    /// What stands under the key, put there now if nothing did.
    pub(super) fn entry<Q: Ord + ?Sized>(&mut self, key: &Q, new: impl FnOnce() -> (K, V)) -> &mut V
    where
        K: Borrow<Q>,
    {
        let place = self.place(key).unwrap_or_else(|place| {
            self.0.insert(place, new());
            place
        });
        &mut self.0[place].1
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        match self.place(&key) {
            Ok(place) => self.0[place].1 = value,
            Err(place) => self.0.insert(place, (key, value)),
        }
    }

    /// Takes out the pairs at the front for which `wanted` says so.
    pub(super) fn split_front(&mut self, wanted: impl Fn(&K) -> bool) -> Vec<(K, V)> {
        let count = self.0.partition_point(|(key, _)| wanted(key));
        self.0.drain(..count).collect()
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.0.retain_mut(|(key, value)| keep(key, value));
    }

    pub(super) fn clear(&mut self) {
        self.0 = Vec::new();
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn first_key(&self) -> Option<&K> {
        self.0.first().map(|(key, _)| key)
    }

    pub(super) fn last_key(&self) -> Option<&K> {
        self.0.last().map(|(key, _)| key)
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.0.iter_mut().map(|(key, value)| (&*key, value))
    }

    pub(super) fn keys(&self) -> impl ExactSizeIterator<Item = &K> {
        self.0.iter().map(|(key, _)| key)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }
}

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
        fn it_is_a_sorted_map(steps in prop::collection::vec((0..3, 0..12u8), 0..60)) {
            let (mut sorted, mut plain) = (Sorted::default(), BTreeMap::new());
            for (number, (step, key)) in steps.into_iter().enumerate() {
                match step {
                    0 => {
                        sorted.insert(key, number);
                        plain.insert(key, number);
                    }
                    1 => {
                        let new = *plain.entry(key).or_insert(number);
                        prop_assert_eq!(*sorted.entry(&key, || (key, number)), new);
                    }
                    _ => {
                        let front = sorted.split_front(|known| *known < key);
                        let rest = plain.split_off(&key);
                        prop_assert_eq!(front, plain.into_iter().collect::<Vec<_>>());
                        plain = rest;
                    }
                }
                prop_assert_eq!(sorted.get(&key), plain.get(&key));
                prop_assert!(sorted.iter().eq(plain.iter()));
                prop_assert_eq!(sorted.last_key(), plain.keys().next_back());
            }
        }
    }
}
