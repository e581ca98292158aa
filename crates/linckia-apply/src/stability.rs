//! What every member has seen: causal stability and stable time.
//!
//! An event is stable here when, for every member, the deps of an event or heartbeat of its own log
//! that is applied here cover it. What always holds: stable time never goes back while the region
//! runs, and every event that is still to come lies above it and covers everything at or below it.

use std::collections::{BTreeMap, VecDeque};

use linckia_model::{Heartbeat, Hlc, Origin, RegionName, Vector};

/// Heartbeats of one origin that wait for their deps: the oldest counts first, so few are enough.
const WAITING_MAX: usize = 16;

/// Timestamps remembered per origin above what is stable; beyond it every second one is forgotten,
/// which can only make stable time earlier.
const REMEMBERED_MAX: usize = 4096;

/// What a member's own log last told.
#[derive(Clone, Debug, Default)]
struct Told {
    hlc: Hlc,
    deps: Vector,
}

/// The stability of everything applied here.
#[derive(Clone, Debug)]
pub(crate) struct Stability {
    told: BTreeMap<RegionName, Told>,
    waiting: BTreeMap<Origin, VecDeque<Heartbeat>>,
    /// The latest heartbeat that counted, per origin, for relaying.
    counted: BTreeMap<Origin, Heartbeat>,
    /// Per origin, timestamps of applied events that are not known to be stable.
    applied: BTreeMap<Origin, VecDeque<(u64, Hlc)>>,
    stable: Hlc,
    /// Told has changed since stable time was taken.
    changed: bool,
}

impl Stability {
    pub(crate) fn new(members: impl IntoIterator<Item = RegionName>) -> Self {
        Self {
            told: members.into_iter().map(|member| (member, Told::default())).collect(),
            waiting: BTreeMap::new(),
            counted: BTreeMap::new(),
            applied: BTreeMap::new(),
            stable: Hlc::ZERO,
            changed: false,
        }
    }

    pub(crate) fn stable(&self) -> Hlc {
        self.stable
    }

    pub(crate) fn heartbeats(&self) -> impl Iterator<Item = &Heartbeat> {
        self.counted.values()
    }

    pub(crate) fn told_until(&self, origin: &Origin) -> Hlc {
        let member = self.told.iter().find(|(region, _)| origin.is_of(region));
        member.map_or(Hlc::ZERO, |(_, told)| told.hlc)
    }

    fn tell(&mut self, origin: &Origin, hlc: Hlc, deps: &Vector) {
        let member = self.told.iter_mut().find(|(region, _)| origin.is_of(region));
        if let Some((_, told)) = member
            && told.hlc < hlc
        {
            told.hlc = hlc;
            told.deps.clone_from(deps);
            self.changed = true;
        }
    }

    /// An event of this origin was applied.
    pub(crate) fn applied(&mut self, origin: &Origin, sequence: u64, hlc: Hlc, deps: &Vector) {
        let remembered = self.applied.entry(origin.clone()).or_default();
        remembered.push_back((sequence, hlc));
        if remembered.len() > REMEMBERED_MAX {
            let mut place = 0;
            remembered.retain(|_| {
                place += 1;
                place % 2 == 1
            });
        }
        self.tell(origin, hlc, deps);
    }

    /// A heartbeat arrived; it counts once its deps are applied.
    pub(crate) fn heard(&mut self, heartbeat: Heartbeat) {
        let known = self.counted.get(&heartbeat.origin).is_some_and(|h| h.hlc >= heartbeat.hlc);
        let waiting = self.waiting.entry(heartbeat.origin.clone()).or_default();
        let newest = waiting.back().is_none_or(|last| last.hlc < heartbeat.hlc);
        if !known && newest {
            if waiting.len() == WAITING_MAX {
                waiting.pop_back();
            }
            waiting.push_back(heartbeat);
        }
    }

    /// Counts the heartbeats whose deps are applied now.
    pub(crate) fn count(&mut self, applied: &Vector) {
        let mut ready = Vec::new();
        for waiting in self.waiting.values_mut() {
            while waiting.front().is_some_and(|first| applied.covers_all(&first.deps)) {
                ready.extend(waiting.pop_front());
            }
        }
        for heartbeat in ready {
            self.tell(&heartbeat.origin, heartbeat.hlc, &heartbeat.deps);
            self.counted.insert(heartbeat.origin.clone(), heartbeat);
        }
    }

    /// Takes stable time anew if anything was told since. True if it grew.
    pub(crate) fn advance(&mut self) -> bool {
        if !std::mem::take(&mut self.changed) {
            return false;
        }
        let mut told = self.told.values();
        let Some(first) = told.next() else { return false };
        let (mut time, mut seen) = (first.hlc, first.deps.clone());
        for told in told {
            time = time.min(told.hlc);
            seen.meet(&told.deps);
        }
        for (origin, remembered) in &mut self.applied {
            let stable = seen.get(origin);
            while remembered.len() > 1 && remembered[1].0 <= stable {
                remembered.pop_front();
            }
            // The first entry may stand for forgotten ones behind it: it is the earliest bound.
            let first = match remembered.front() {
                Some((sequence, _)) if *sequence <= stable => remembered.get(1).map(|next| {
                    if next.0 == stable + 1 { next.1 } else { remembered[0].1.next() }
                }),
                Some((_, hlc)) => Some(*hlc),
                None => None,
            };
            if let Some(unstable) = first {
                time = time.min(Hlc::from_bits(unstable.bits().saturating_sub(1)));
            }
        }
        let grew = time > self.stable;
        self.stable = self.stable.max(time);
        grew
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(region: &str) -> Origin {
        Origin::parse(&format!("{region}.0000000000000001")).unwrap()
    }

    fn vector(pairs: &[(&str, u64)]) -> Vector {
        pairs.iter().map(|(region, sequence)| (origin(region), *sequence)).collect()
    }

    fn two() -> Stability {
        Stability::new(["a", "b"].map(|name| RegionName::parse(name).unwrap()))
    }

    fn heartbeat(region: &str, after: u64, bits: u64, deps: &[(&str, u64)]) -> Heartbeat {
        let hlc = Hlc::from_bits(bits);
        Heartbeat { origin: origin(region), after, hlc, deps: vector(deps) }
    }

    #[test]
    fn an_event_is_stable_once_every_members_own_log_covers_it() {
        let mut stability = two();
        stability.applied(&origin("a"), 1, Hlc::from_bits(10), &Vector::new());
        stability.heard(heartbeat("b", 0, 20, &[]));
        stability.count(&vector(&[("a", 1)]));
        stability.advance();
        assert_eq!(stability.stable(), Hlc::from_bits(9));
        stability.heard(heartbeat("a", 1, 30, &[("a", 1)]));
        stability.heard(heartbeat("b", 0, 40, &[("a", 1)]));
        stability.count(&vector(&[("a", 1)]));
        assert!(stability.advance());
        assert_eq!(stability.stable(), Hlc::from_bits(30));
    }

    #[test]
    fn a_heartbeat_waits_for_its_deps() {
        let mut stability = two();
        stability.heard(heartbeat("a", 3, 30, &[("a", 3)]));
        stability.heard(heartbeat("b", 0, 40, &[]));
        stability.count(&vector(&[("a", 2)]));
        assert!(!stability.advance() && stability.stable() == Hlc::ZERO);
        stability.count(&vector(&[("a", 3)]));
        assert!(stability.advance());
    }

    #[test]
    fn a_member_never_heard_holds_stable_time() {
        let mut stability = two();
        stability.applied(&origin("a"), 1, Hlc::from_bits(10), &Vector::new());
        stability.advance();
        assert_eq!(stability.stable(), Hlc::ZERO);
    }

    #[test]
    fn forgetting_makes_stable_time_earlier_only() {
        let mut stability = two();
        for n in 1..=10_000u64 {
            stability.applied(&origin("a"), n, Hlc::from_bits(n * 10), &vector(&[("a", n - 1)]));
        }
        stability.heard(heartbeat("b", 0, 1_000_000, &[("a", 7_001)]));
        stability.count(&vector(&[("a", 10_000)]));
        stability.advance();
        let stable = stability.stable().bits();
        assert!(stable < 70_020, "{stable} is above the first event that b has not seen");
        assert!(stable > 60_000, "{stable} lost far more than forgetting explains");
    }
}
