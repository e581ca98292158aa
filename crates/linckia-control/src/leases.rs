//! Leases: one holder a name, for a time, with a number that only grows.
//!
//! A holder shows its fence to whatever the lock protects, which refuses a lower one than it has
//! seen: so a holder that was held up, and whose lease ran out meanwhile, does no harm. What always
//! holds: of two leases of one name the later has the higher fence, in any region, for ever.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Leases that are held at one time.
pub const LEASES_MAX: usize = 4_096;

/// Leases that ran out are looked for when there are this many more than were found to be held.
const SWEEP: usize = 1_024;

/// A lock, held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub owner: String,
    pub fence: u64,
    pub ttl_milliseconds: u64,
    /// In milliseconds since 1970, by the fleet's clock.
    pub expires_at: u64,
    /// It was given back: remembered for a while, so that giving back may be repeated.
    #[serde(default)]
    pub(crate) released: bool,
}

/// Every lease that is held, and some that have run out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leases {
    held: BTreeMap<String, Lease>,
    /// The last fence given, of all names: so a name that was forgotten goes on above.
    fence: u64,
    /// Found to be held when it was last looked.
    swept: usize,
}

/// Why a lease was not given or not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoLease<'a> {
    Held(&'a Lease),
    Lost,
    Full,
}

impl Leases {
    /// Who holds a lock at that time.
    pub fn holder(&self, name: &str, now: u64) -> Option<&Lease> {
        self.held.get(name).filter(|lease| lease.expires_at > now)
    }

    /// Nobody holds any; fences go on above this one.
    pub(crate) fn above(fence: u64) -> Self {
        Self { fence, ..Self::default() }
    }

    /// The last fence given.
    pub(crate) const fn fence(&self) -> u64 {
        self.fence
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Gives the lock to `owner`, if nobody else holds it. Who holds it already keeps its fence and
    /// gets its time anew: so a repeated request does no harm.
    pub(crate) fn acquire(
        &mut self,
        now: u64,
        name: &str,
        owner: &str,
        ttl_milliseconds: u64,
    ) -> Result<&Lease, NoLease<'_>> {
        if self.held.len() >= self.swept + SWEEP || self.held.len() >= LEASES_MAX {
            self.held.retain(|_, lease| lease.expires_at > now);
            self.swept = self.held.len();
        }
        let full = self.held.len() >= LEASES_MAX;
        let expires_at = now.saturating_add(ttl_milliseconds);
        let known = self.held.get(name).filter(|lease| lease.expires_at > now);
        let fence = match known {
            Some(lease) if lease.owner == owner => lease.fence,
            Some(_) => return Err(NoLease::Held(&self.held[name])),
            None if full => return Err(NoLease::Full),
            None => {
                self.fence += 1;
                self.fence
            }
        };
        let lease =
            Lease { owner: owner.to_owned(), fence, ttl_milliseconds, expires_at, released: false };
        self.held.insert(name.to_owned(), lease);
        Ok(&self.held[name])
    }

    /// Gives a holder its time anew, or another one.
    pub(crate) fn renew(
        &mut self,
        now: u64,
        name: &str,
        owner: &str,
        fence: u64,
        ttl_milliseconds: Option<u64>,
    ) -> Result<&Lease, NoLease<'_>> {
        let lease = self.held.get_mut(name).ok_or(NoLease::Lost)?;
        if lease.owner != owner || lease.fence != fence || lease.expires_at <= now {
            return Err(NoLease::Lost);
        }
        lease.ttl_milliseconds = ttl_milliseconds.unwrap_or(lease.ttl_milliseconds);
        lease.expires_at = now.saturating_add(lease.ttl_milliseconds);
        Ok(lease)
    }

    /// Gives a lock back.
    pub(crate) fn release(
        &mut self,
        now: u64,
        name: &str,
        owner: &str,
        fence: u64,
    ) -> Result<(), NoLease<'_>> {
        let lease = self.held.get_mut(name).ok_or(NoLease::Lost)?;
        let same = lease.owner == owner && lease.fence == fence;
        if !same || !(lease.released || lease.expires_at > now) {
            return Err(NoLease::Lost);
        }
        (lease.released, lease.expires_at) = (true, 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_holds_it_until_it_is_given_back_or_runs_out() {
        let mut leases = Leases::default();
        let first = leases.acquire(100, "a", "one", 50).unwrap().clone();
        assert_eq!((first.fence, first.expires_at), (1, 150));
        assert_eq!(leases.acquire(149, "a", "two", 50), Err(NoLease::Held(&first)));
        let second = leases.acquire(150, "a", "two", 50).unwrap().clone();
        assert_eq!((second.fence, second.expires_at), (2, 200));
        assert_eq!(leases.renew(151, "a", "one", 1, None), Err(NoLease::Lost));
        assert_eq!(leases.release(151, "a", "one", 1), Err(NoLease::Lost));
        assert_eq!(leases.release(151, "a", "two", 2), Ok(()));
        assert_eq!(leases.release(152, "a", "two", 2), Ok(()), "it may be repeated");
        assert_eq!(leases.renew(152, "a", "two", 2, None), Err(NoLease::Lost));
        assert_eq!(leases.acquire(151, "a", "one", 50).unwrap().fence, 3);
    }

    #[test]
    fn a_repeated_request_keeps_its_fence() {
        let mut leases = Leases::default();
        leases.acquire(100, "a", "one", 50).unwrap();
        let again = leases.acquire(120, "a", "one", 50).unwrap();
        assert_eq!((again.fence, again.expires_at), (1, 170));
        let renewed = leases.renew(130, "a", "one", 1, Some(100)).unwrap();
        assert_eq!((renewed.fence, renewed.expires_at), (1, 230));
    }

    #[test]
    fn they_are_bounded_and_those_that_ran_out_make_room() {
        let mut leases = Leases::default();
        for number in 0..LEASES_MAX {
            leases.acquire(0, &number.to_string(), "one", 1_000).unwrap();
        }
        assert_eq!(leases.acquire(999, "more", "one", 1), Err(NoLease::Full));
        assert_eq!(leases.acquire(999, "7", "one", 1).unwrap().fence, 8);
        let fence = leases.acquire(1_000, "more", "one", 1).unwrap().fence;
        assert_eq!((fence, leases.len()), (LEASES_MAX as u64 + 1, 1));
    }

    proptest! {
        #[test]
        fn two_never_hold_one_lock(
            steps in prop::collection::vec((0..3u8, 0..3u8, 0..2u8, 0..30u64), 0..200)
        ) {
            let mut leases = Leases::default();
            let (mut now, mut highest) = (0, 0);
            let mut held: Option<(String, u64, u64)> = None;
            for (step, owner, name, later) in steps {
                now += later;
                let (owner, name) = (owner.to_string(), name.to_string());
                let other = held.clone().filter(|(_, _, until)| *until > now && name == "0");
                match step {
                    0 => match leases.acquire(now, &name, &owner, 40).cloned() {
                        Ok(lease) if name == "0" => {
                            prop_assert!(other.is_none_or(|(holder, _, _)| holder == owner));
                            prop_assert!(lease.fence >= highest);
                            highest = lease.fence;
                            held = Some((owner, lease.fence, lease.expires_at));
                        }
                        Ok(_) => {}
                        Err(_) => prop_assert!(name != "0" || other.is_some()),
                    },
                    1 => {
                        let fence = held.as_ref().map_or(0, |(_, fence, _)| *fence);
                        if let Ok(lease) = leases.renew(now, &name, &owner, fence, None)
                            && name == "0"
                        {
                            held = Some((owner, fence, lease.expires_at));
                        }
                    }
                    _ => {
                        let fence = held.as_ref().map_or(0, |(_, fence, _)| *fence);
                        if leases.release(now, &name, &owner, fence).is_ok() && name == "0" {
                            held = None;
                        }
                    }
                }
            }
        }
    }
}
