//! What every member has seen: causal stability and stable time.
//!
//! An event is stable here when, for every member, the deps of an event or heartbeat of its own log
//! that is applied here cover it. What always holds: stable time never goes back while the region
//! runs, and every event that is still to come lies above it and covers everything at or below it.
//! That holds over the loss of a directory too, because the first event or heartbeat of a region's
//! next incarnation covers all that any member held, and lies above every time that counted.
//!
//! A member that lapsed holds stable time until its log is closed and applied here to its end. When
//! it comes back it writes only after every other member has told in an epoch that knows of that:
//! from then on none of them passes it, and it lies above what they had passed. So does a region
//! that joins a fleet that had begun.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use linckia_model::{Dot, Fault, Heartbeat, Hlc, Incarnations, Origin, RegionName, Vector};

use crate::error::Result;

/// Heartbeats of one origin that wait for their deps: the oldest counts first, so few are enough.
const WAITING_MAX: usize = 16;

/// Timestamps of the latest events remembered per origin; older ones are read from the log.
const REMEMBERED_MAX: usize = 4096;

/// The timestamps of consecutive events of one origin, the latest applied here.
#[derive(Clone, Debug, Default)]
struct Remembered {
    first: u64,
    times: VecDeque<Hlc>,
}

impl Remembered {
    fn push(&mut self, sequence: u64, hlc: Hlc) {
        if self.first + self.times.len() as u64 != sequence {
            self.times.clear();
        }
        if self.times.is_empty() {
            self.first = sequence;
        }
        if self.times.len() == REMEMBERED_MAX {
            self.times.pop_front();
            self.first += 1;
        }
        self.times.push_back(hlc);
    }

    fn get(&self, sequence: u64) -> Option<Hlc> {
        let place = sequence.checked_sub(self.first)?;
        self.times.get(place as usize).copied()
    }
}

/// What a member's own log last told.
#[derive(Clone, Debug, Default)]
struct Told {
    hlc: Hlc,
    deps: Vector,
    epoch: u64,
}

/// The stability of everything applied here.
#[derive(Clone, Debug)]
pub(crate) struct Stability {
    told: BTreeMap<RegionName, Told>,
    waiting: BTreeMap<Origin, VecDeque<Heartbeat>>,
    /// The latest heartbeat that counted, per origin, for relaying.
    counted: BTreeMap<Origin, Heartbeat>,
    remembered: BTreeMap<Origin, Remembered>,
    stable: Hlc,
    /// Applied by every member, as its own log says.
    everywhere: Vector,
    /// Told has changed since stable time was taken.
    changed: bool,
    incarnations: Arc<Incarnations>,
    own: RegionName,
    fault: Option<Fault>,
}

impl Stability {
    /// `stable` is what stable time was when the store was as it is: it held then and holds on.
    pub(crate) fn new(
        own: RegionName,
        members: impl IntoIterator<Item = RegionName>,
        stable: Hlc,
        fault: Option<Fault>,
    ) -> Self {
        Self {
            told: members.into_iter().map(|member| (member, Told::default())).collect(),
            waiting: BTreeMap::new(),
            counted: BTreeMap::new(),
            remembered: BTreeMap::new(),
            stable,
            everywhere: Vector::new(),
            changed: false,
            incarnations: Arc::default(),
            own,
            fault,
        }
    }

    /// From here on these incarnations live or are closed.
    pub(crate) fn set_incarnations(&mut self, incarnations: Arc<Incarnations>) {
        for region in incarnations.current.keys() {
            // A member that this region is not configured with is heard by way of another.
            self.told.entry(region.clone()).or_default();
        }
        self.waiting.retain(|origin, _| !incarnations.closings.contains_key(origin));
        self.counted.retain(|origin, _| !incarnations.closings.contains_key(origin));
        self.incarnations = incarnations;
        self.changed = true;
    }

    pub(crate) fn stable(&self) -> Hlc {
        self.stable
    }

    /// What every member has applied: causally stable.
    pub(crate) fn everywhere(&self) -> &Vector {
        &self.everywhere
    }

    pub(crate) fn heartbeats(&self) -> impl Iterator<Item = &Heartbeat> {
        self.counted.values()
    }

    /// What was heard last of the logs of a region and does not count yet.
    pub(crate) fn waiting(&self, region: &RegionName) -> impl Iterator<Item = &Heartbeat> {
        let of = self.waiting.iter().filter(|(origin, _)| origin.is_of(region));
        of.filter_map(|(_, waiting)| waiting.back())
    }

    pub(crate) fn told_until(&self, origin: &Origin) -> Hlc {
        let member = self.told.iter().find(|(region, _)| origin.is_of(region));
        member.map_or(Hlc::ZERO, |(_, told)| told.hlc)
    }

    /// The last lapse or return that a region knew of when it told last, and the time of that.
    pub(crate) fn told_in(&self, region: &RegionName) -> (u64, Hlc) {
        self.told.get(region).map_or((0, Hlc::ZERO), |told| (told.epoch, told.hlc))
    }

    /// Those that are waited for.
    fn counting(&self, applied: &Vector) -> impl Iterator<Item = &Told> {
        let gone = |region: &RegionName| {
            if *region == self.own {
                // Whoever does not know yet that it counts again must not go on without itself.
                return false;
            }
            let closed = self.incarnations.is_succeeded(region, applied);
            self.incarnations.lapsed.contains(region)
                && (closed || self.fault == Some(Fault::LapsedUnclosed))
        };
        self.told.iter().filter(move |(region, _)| !gone(region)).map(|(_, told)| told)
    }

    fn tell(&mut self, origin: &Origin, hlc: Hlc, deps: &Vector, epoch: u64) {
        let member = self.told.iter_mut().find(|(region, _)| origin.is_of(region));
        let Some((_, told)) = member else { return };
        // Events say no epoch, and where there are always some they overtake every heartbeat.
        told.epoch = told.epoch.max(epoch);
        if told.hlc < hlc {
            told.hlc = hlc;
            told.deps.clone_from(deps);
            self.changed = true;
        }
    }

    /// An event of this origin was applied.
    pub(crate) fn applied(&mut self, origin: &Origin, sequence: u64, hlc: Hlc, deps: &Vector) {
        if let Some(remembered) = self.remembered.get_mut(origin) {
            remembered.push(sequence, hlc);
        } else {
            let times = VecDeque::from([hlc]);
            self.remembered.insert(origin.clone(), Remembered { first: sequence, times });
        }
        self.tell(origin, hlc, deps, 0);
    }

    /// A heartbeat arrived; it counts once its deps are applied. Of a log that is being closed, or
    /// is, only events count: what else it told was promised to be all.
    pub(crate) fn heard(&mut self, heartbeat: Heartbeat) {
        if self.incarnations.closings.contains_key(&heartbeat.origin) {
            return;
        }
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
            self.tell(&heartbeat.origin, heartbeat.hlc, &heartbeat.deps, heartbeat.epoch);
            self.counted.insert(heartbeat.origin.clone(), heartbeat);
        }
    }

    /// Takes stable time anew if anything was told since; `read` gives the timestamp of an applied
    /// event that is not remembered. True if it grew.
    ///
    /// # Errors
    /// That of `read`.
    pub(crate) fn advance(
        &mut self,
        applied: &Vector,
        read: &dyn Fn(&Dot) -> Result<Option<Hlc>>,
    ) -> Result<bool> {
        if !std::mem::take(&mut self.changed) {
            return Ok(false);
        }
        let mut told = self.counting(applied);
        let Some(first) = told.next() else { return Ok(false) };
        let (mut time, mut seen) = (first.hlc, first.deps.clone());
        for told in told {
            time = time.min(told.hlc);
            seen.meet(&told.deps);
        }
        // A member that has come back is silent until it has what it had missed.
        self.everywhere.join(&seen);
        for (origin, first, _) in applied.beyond(&seen) {
            let remembered = self.remembered.get(origin).and_then(|known| known.get(first));
            let unstable = match remembered {
                Some(remembered) => Some(remembered),
                None => read(&Dot::new(origin.clone(), first))?,
            };
            let Some(unstable) = unstable else { return Ok(false) };
            time = time.min(Hlc::from_bits(unstable.bits().saturating_sub(1)));
        }
        let grew = time > self.stable;
        self.stable = self.stable.max(time);
        Ok(grew)
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
        Stability::new(
            RegionName::parse("a").unwrap(),
            ["a", "b"].map(|name| RegionName::parse(name).unwrap()),
            Hlc::ZERO,
            None,
        )
    }

    /// Events that are not remembered have ten times their sequence as timestamp.
    fn advance(stability: &mut Stability, applied: &Vector) -> bool {
        stability.advance(applied, &|dot| Ok(Some(Hlc::from_bits(dot.sequence * 10)))).unwrap()
    }

    fn heartbeat(region: &str, after: u64, bits: u64, deps: &[(&str, u64)]) -> Heartbeat {
        let hlc = Hlc::from_bits(bits);
        Heartbeat { origin: origin(region), after, hlc, deps: vector(deps), epoch: 0 }
    }

    #[test]
    fn an_event_is_stable_once_every_members_own_log_covers_it() {
        let mut stability = two();
        stability.applied(&origin("a"), 1, Hlc::from_bits(10), &Vector::new());
        stability.heard(heartbeat("b", 0, 20, &[]));
        stability.count(&vector(&[("a", 1)]));
        advance(&mut stability, &vector(&[("a", 1)]));
        assert_eq!(stability.stable(), Hlc::from_bits(9));
        stability.heard(heartbeat("a", 1, 30, &[("a", 1)]));
        stability.heard(heartbeat("b", 0, 40, &[("a", 1)]));
        stability.count(&vector(&[("a", 1)]));
        assert!(advance(&mut stability, &vector(&[("a", 1)])));
        assert_eq!(stability.stable(), Hlc::from_bits(30));
    }

    #[test]
    fn a_heartbeat_waits_for_its_deps() {
        let mut stability = two();
        stability.heard(heartbeat("a", 3, 30, &[("a", 3)]));
        stability.heard(heartbeat("b", 0, 40, &[]));
        stability.count(&vector(&[("a", 2)]));
        let grew = advance(&mut stability, &vector(&[("a", 2)]));
        assert!(!grew && stability.stable() == Hlc::ZERO);
        stability.count(&vector(&[("a", 3)]));
        assert!(advance(&mut stability, &vector(&[("a", 3)])));
    }

    #[test]
    fn a_member_never_heard_holds_stable_time() {
        let mut stability = two();
        stability.applied(&origin("a"), 1, Hlc::from_bits(10), &Vector::new());
        advance(&mut stability, &vector(&[("a", 1)]));
        assert_eq!(stability.stable(), Hlc::ZERO);
    }

    #[test]
    fn events_from_before_a_restart_hold_stable_time_too() {
        let mut stability = two();
        stability.applied(&origin("a"), 9, Hlc::from_bits(90), &vector(&[("a", 8)]));
        stability.heard(heartbeat("a", 9, 100, &[("a", 9)]));
        stability.heard(heartbeat("b", 0, 100, &[("a", 3)]));
        stability.count(&vector(&[("a", 9)]));
        advance(&mut stability, &vector(&[("a", 9)]));
        assert_eq!(stability.stable(), Hlc::from_bits(39));
    }

    #[test]
    fn an_epoch_is_heard_of_also_where_events_overtake_the_heartbeat() {
        let mut stability = two();
        let b = RegionName::parse("b").unwrap();
        stability.heard(Heartbeat { epoch: 7, ..heartbeat("b", 1, 15, &[("b", 1)]) });
        assert_eq!(stability.told_in(&b), (0, Hlc::ZERO), "its deps are not applied");
        for sequence in 1..=2 {
            stability.applied(
                &origin("b"),
                sequence,
                Hlc::from_bits(sequence * 10),
                &Vector::new(),
            );
        }
        stability.count(&vector(&[("b", 2)]));
        assert_eq!(stability.told_in(&b), (7, Hlc::from_bits(20)), "and nothing goes back");
    }

    #[test]
    fn only_the_latest_are_remembered() {
        let mut stability = two();
        for n in 1..=10_000u64 {
            let deps = vector(&[("a", n - 1)]);
            stability.applied(&origin("a"), n, Hlc::from_bits(n * 10), &deps);
        }
        let remembered = &stability.remembered[&origin("a")];
        assert_eq!(remembered.get(10_000), Some(Hlc::from_bits(100_000)));
        assert_eq!(remembered.get(10_000 - REMEMBERED_MAX as u64), None);
        assert_eq!(remembered.times.len(), REMEMBERED_MAX);
    }
}
