//! Which incarnation of each region lives, and how one that lost its directory is closed.
//!
//! A closing goes two steps. First every member promises: it says what it holds of the log and
//! takes nothing more of it; the highest promise is the log's end. Then every member says that it
//! holds all of that. What always holds: an end that not all members hold yet is found anew when
//! another member loses its directory; once all hold it, it stands for ever.

use std::collections::{BTreeMap, BTreeSet};

use linckia_model::{
    Closing as ModelClosing, Hlc, Incarnations as Model, Origin, RegionName, Vector,
};
use serde::{Deserialize, Serialize};

use crate::policies::{vector, written};

/// Incarnations that are remembered for ever. A region that loses its directory when there are as
/// many is not taken in.
pub const CLOSED_MAX: usize = 16_384;

/// An incarnation that ends, or has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Closing {
    pub attempt: u64,
    /// The last event of it that there is.
    pub end: Option<u64>,
    /// The last event of it that any member has ever heard of.
    pub heard: u64,
    /// When it was begun to be closed, in milliseconds since 1970, by the fleet's clock.
    pub begun_at: u64,
    /// Members that are waited for: for their promise, then for holding all.
    pub awaited: BTreeSet<String>,
    /// All of them.
    members: BTreeSet<String>,
    held: BTreeMap<String, u64>,
    hlc: u64,
}

/// What a member promises of a log that is being closed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Promise {
    /// Everything durable there; it takes nothing more of the log.
    pub held: BTreeMap<String, u64>,
    /// The last event of the log that it has heard of.
    pub heard: u64,
    /// The latest time of the log that counted for its stable time.
    pub hlc: u64,
}

impl Promise {
    pub fn new(held: &Vector, heard: u64, hlc: Hlc) -> Self {
        Self { held: written(held), heard, hlc: hlc.bits() }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Incarnations {
    /// The origin in which each region writes, as it said itself.
    current: BTreeMap<String, String>,
    closings: BTreeMap<String, Closing>,
    /// The number of the last attempt of all.
    attempts: u64,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The region lives in this incarnation, as it did.
    Lives,
    /// It lives in another one than before, which is being closed.
    Succeeds,
    /// Noted; other members are waited for.
    Awaits,
    /// The log is closed, and ends there.
    Closed(u64),
    /// There is no such closing, or no such attempt.
    Gone,
    Full,
}

impl Incarnations {
    /// A region lives in this origin; `members` hold data.
    pub(crate) fn present(
        &mut self,
        now: u64,
        region: &str,
        origin: &str,
        members: &BTreeSet<String>,
    ) -> Step {
        if let Some(closing) = self.closings.get(origin) {
            // Its directory was taken for lost, and came back.
            return closing.end.map_or(Step::Awaits, Step::Closed);
        }
        let before = match self.current.get(region) {
            Some(before) if before == origin => return Step::Lives,
            Some(_) if self.closings.len() >= CLOSED_MAX => return Step::Full,
            _ => self.current.insert(region.to_owned(), origin.to_owned()),
        };
        let Some(before) = before else { return Step::Lives };
        // What the lost directory alone held is no longer held: those ends are found anew.
        let open: Vec<String> = self
            .closings
            .iter()
            .filter(|(_, closing)| !closing.awaited.is_empty())
            .map(|(origin, _)| origin.clone())
            .collect();
        for origin in open.iter().chain([&before]) {
            self.open(now, origin, members);
        }
        Step::Succeeds
    }

    /// A member holds events of a log that no region writes: it is to be closed.
    pub(crate) fn close(&mut self, now: u64, origin: &str, members: &BTreeSet<String>) -> Step {
        if let Some(closing) = self.closings.get(origin) {
            return closing.end.map_or(Step::Awaits, Step::Closed);
        }
        let region = Origin::parse(origin).ok().map(|origin| origin.region().to_owned());
        let current = region.and_then(|region| self.current.get(&region));
        match current {
            Some(current) if current == origin => Step::Gone,
            None => Step::Gone,
            Some(_) if self.closings.len() >= CLOSED_MAX => Step::Full,
            Some(_) => {
                self.open(now, origin, members);
                Step::Awaits
            }
        }
    }

    fn open(&mut self, now: u64, origin: &str, members: &BTreeSet<String>) {
        self.attempts += 1;
        let closing = self.closings.entry(origin.to_owned()).or_default();
        *closing = Closing {
            attempt: self.attempts,
            end: None,
            heard: closing.heard,
            begun_at: now,
            awaited: members.clone(),
            members: members.clone(),
            held: BTreeMap::new(),
            hlc: closing.hlc,
        };
    }

    /// A member, that lives in the origin `by`, promises.
    pub(crate) fn promise(
        &mut self,
        origin: &str,
        attempt: u64,
        by: &str,
        promise: &Promise,
    ) -> Step {
        let Some(region) = self.region_in(by) else { return Step::Gone };
        let Some(closing) = self.closings.get_mut(origin) else { return Step::Gone };
        if closing.attempt != attempt {
            return Step::Gone;
        }
        if let Some(end) = closing.end {
            return Step::Closed(end);
        }
        if closing.awaited.remove(&region) {
            for (origin, sequence) in &promise.held {
                let known = closing.held.entry(origin.clone()).or_default();
                *known = (*known).max(*sequence);
            }
            closing.heard = closing.heard.max(promise.heard);
            closing.hlc = closing.hlc.max(promise.hlc);
        }
        if !closing.awaited.is_empty() {
            return Step::Awaits;
        }
        let end = closing.held.get(origin).copied().unwrap_or(0);
        closing.end = Some(end);
        closing.heard = closing.heard.max(end);
        // From here on those are waited for that lack some of it.
        closing.awaited.clone_from(&closing.members);
        Step::Closed(end)
    }

    /// A member, that lives in the origin `by`, holds the log to its end, and if it is its own
    /// earlier one, all that the members held.
    pub(crate) fn level(&mut self, origin: &str, attempt: u64, by: &str) -> Step {
        let Some(region) = self.region_in(by) else { return Step::Gone };
        let Some(closing) = self.closings.get_mut(origin) else { return Step::Gone };
        let Some(end) = closing.end.filter(|_| closing.attempt == attempt) else {
            return Step::Gone;
        };
        closing.awaited.remove(&region);
        if !closing.awaited.is_empty() {
            return Step::Awaits;
        }
        closing.held.clear();
        Step::Closed(end)
    }

    /// An event of a closed log depends on what is lost, so nobody can apply it: the log ends
    /// before it. Ends only go back, so what is lost once stays lost.
    pub(crate) fn void(&mut self, origin: &str, first: u64) -> Step {
        let Some(closing) = self.closings.get_mut(origin) else { return Step::Gone };
        let Some(end) = closing.end else { return Step::Gone };
        let end = end.min(first.saturating_sub(1));
        closing.end = Some(end);
        Step::Closed(end)
    }

    /// The region that lives in this origin.
    pub(crate) fn region_in(&self, origin: &str) -> Option<String> {
        let found = self.current.iter().find(|(_, current)| *current == origin);
        found.map(|(region, _)| region.clone())
    }

    /// The origin in which a region lives, as it said last.
    pub fn of(&self, region: &str) -> Option<&str> {
        self.current.get(region).map(String::as_str)
    }

    /// Logs that nobody writes any more, by origin.
    pub fn closings(&self) -> impl Iterator<Item = (&str, &Closing)> {
        self.closings.iter().map(|(origin, closing)| (origin.as_str(), closing))
    }

    /// True while the end of some log is not known.
    pub(crate) fn is_closing(&self) -> bool {
        self.closings.values().any(|closing| closing.end.is_none())
    }

    /// Where the closed logs end.
    pub(crate) fn ends(&self) -> impl Iterator<Item = (&str, u64)> {
        self.closings.iter().filter_map(|(origin, closing)| Some((origin.as_str(), closing.end?)))
    }

    /// For the core of a region, and its door.
    pub fn agreed(&self) -> Model {
        let name = |text: &String| RegionName::parse(text).ok();
        let current = self
            .current
            .iter()
            .filter_map(|(region, origin)| Some((name(region)?, Origin::parse(origin).ok()?)));
        let closings = self.closings.iter().filter_map(|(origin, closing)| {
            let origin = Origin::parse(origin).ok()?;
            let agreed = ModelClosing {
                attempt: closing.attempt,
                end: closing.end,
                awaited: closing.awaited.iter().filter_map(name).collect(),
                held: vector(&closing.held),
                hlc: Hlc::from_bits(closing.hlc),
            };
            Some((origin, agreed))
        });
        Model { current: current.collect(), closings: closings.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> BTreeSet<String> {
        ["a", "b", "c"].map(str::to_owned).into_iter().collect()
    }

    fn origin(region: &str, life: u64) -> String {
        format!("{region}.{life:016x}")
    }

    fn holds(origin: &str, sequence: u64) -> Promise {
        let held = BTreeMap::from([(origin.to_owned(), sequence)]);
        Promise { held, heard: sequence + 1, hlc: sequence * 10 }
    }

    fn three() -> Incarnations {
        let mut lives = Incarnations::default();
        for region in ["a", "b", "c"] {
            let step = lives.present(1, region, &origin(region, 1), &members());
            assert_eq!(step, Step::Lives);
        }
        lives
    }

    #[test]
    fn a_log_ends_where_the_highest_promise_is() {
        let (mut lives, lost) = (three(), origin("a", 1));
        assert_eq!(lives.present(2, "a", &origin("a", 2), &members()), Step::Succeeds);
        assert_eq!(lives.present(2, "a", &origin("a", 2), &members()), Step::Lives);
        let promise = |lives: &mut Incarnations, region: &str, life, sequence| {
            lives.promise(&lost, 1, &origin(region, life), &holds(&lost, sequence))
        };
        assert_eq!(promise(&mut lives, "a", 1, 9), Step::Gone, "it does not live any more");
        assert_eq!(promise(&mut lives, "a", 2, 0), Step::Awaits);
        assert_eq!(promise(&mut lives, "b", 1, 6), Step::Awaits);
        assert_eq!(promise(&mut lives, "b", 1, 9), Step::Awaits, "a second word does not count");
        assert!(lives.is_closing());
        assert_eq!(promise(&mut lives, "c", 1, 4), Step::Closed(6));
        assert_eq!(lives.ends().collect::<Vec<_>>(), [(lost.as_str(), 6)]);
        let (_, closing) = lives.closings().next().unwrap();
        assert_eq!((closing.heard, closing.hlc), (7, 60));
        // The directory that was taken for lost comes back.
        assert_eq!(lives.present(3, "a", &lost, &members()), Step::Closed(6));
        assert_eq!(lives.of("a"), Some(origin("a", 2).as_str()));
    }

    #[test]
    fn an_end_that_not_all_hold_is_found_anew_when_a_holder_is_lost() {
        let (mut lives, lost) = (three(), origin("a", 1));
        lives.present(2, "a", &origin("a", 2), &members());
        for (region, life, sequence) in [("a", 2, 0), ("b", 1, 6), ("c", 1, 4)] {
            lives.promise(&lost, 1, &origin(region, life), &holds(&lost, sequence));
        }
        assert_eq!(lives.level(&lost, 1, &origin("b", 1)), Step::Awaits);
        lives.present(3, "b", &origin("b", 2), &members());
        assert_eq!(lives.ends().count(), 0);
        let of_before = lives.promise(&lost, 1, &origin("c", 1), &holds(&lost, 6));
        assert_eq!(of_before, Step::Gone, "of the attempt before");
        for (region, life, sequence) in [("a", 2, 4), ("b", 2, 0)] {
            lives.promise(&lost, 2, &origin(region, life), &holds(&lost, sequence));
        }
        let last = lives.promise(&lost, 2, &origin("c", 1), &holds(&lost, 4));
        assert_eq!(last, Step::Closed(4));
        // What all hold stays.
        for (region, life) in [("a", 2), ("b", 2)] {
            assert_eq!(lives.level(&lost, 2, &origin(region, life)), Step::Awaits);
        }
        assert_eq!(lives.level(&lost, 2, &origin("c", 1)), Step::Closed(4));
        lives.present(4, "b", &origin("b", 3), &members());
        assert!(lives.ends().any(|end| end == (&lost, 4)));
    }

    #[test]
    fn a_log_ends_before_what_depends_on_what_is_lost() {
        let (mut lives, lost) = (three(), origin("a", 1));
        assert_eq!(lives.void(&lost, 3), Step::Gone, "it is not closed");
        lives.present(2, "a", &origin("a", 2), &members());
        for (region, life) in [("a", 2), ("b", 1), ("c", 1)] {
            lives.promise(&lost, 1, &origin(region, life), &holds(&lost, 6));
        }
        assert_eq!(lives.void(&lost, 4), Step::Closed(3));
        assert_eq!(lives.void(&lost, 6), Step::Closed(3), "of a member that has not heard it");
        assert_eq!(lives.void(&lost, 1), Step::Closed(0));
    }

    #[test]
    fn a_log_that_nobody_writes_is_closed_and_one_that_somebody_does_is_not() {
        let mut lives = three();
        assert_eq!(lives.close(2, &origin("a", 1), &members()), Step::Gone);
        assert_eq!(lives.close(2, &origin("d", 1), &members()), Step::Gone, "no such region");
        assert_eq!(lives.close(2, &origin("a", 7), &members()), Step::Awaits);
        assert!(lives.is_closing());
        assert_eq!(lives.present(2, "a", &origin("a", 7), &members()), Step::Awaits);
    }
}
