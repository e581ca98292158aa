//! Which incarnation of each region lives, and how one that lost its directory is closed.
//!
//! A closing goes two steps. First every member promises: it says what it holds of the log and
//! takes nothing more of it; the highest promise is the log's end. Then every member says that it
//! holds all of that. What always holds: an end that not all members hold yet is found anew when
//! another member loses its directory; once all hold it, it stands for ever.
//!
//! A member that lapses is waited for no more: its log is closed by the others. It counts again
//! once it has come back in another incarnation and every other member knows that it has. A region
//! that joins a fleet that has begun comes in the same way, without a log before.

use std::collections::{BTreeMap, BTreeSet};

use linckia_model::{
    Closing as ModelClosing, Hlc, Incarnations as Model, Origin, RegionName, Vector,
};
use serde::{Deserialize, Serialize};

use crate::policies::{vector, written};
use crate::restored::Restored;

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
    /// Its end before it was opened again: what was lost stays lost.
    ceiling: Option<u64>,
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
    /// Logs that members hold of regions that have not said in which they live.
    #[serde(default)]
    found: BTreeSet<String>,
    /// The number of the last attempt of all.
    attempts: u64,
    /// Those that the fleet began with or that have joined it; empty: nobody has said.
    #[serde(default)]
    joined: BTreeSet<String>,
    /// Members that nobody waits for, until they come back.
    #[serde(default)]
    lapsed: BTreeMap<String, Lapse>,
    /// Those that have come back and do not write yet, with the epoch of their return.
    #[serde(default)]
    returning: BTreeMap<String, u64>,
    /// Counts lapses and returns.
    #[serde(default)]
    epoch: u64,
    /// Where the logs end that the fleet was begun anew with, from a backup.
    #[serde(default)]
    restored: Option<BTreeMap<String, u64>>,
}

/// A member that was away for too long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lapse {
    /// In milliseconds since 1970, by the fleet's clock.
    pub at: u64,
    /// Why, in the words of whoever asked for it.
    pub reason: String,
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
    /// The last member that is left cannot lapse.
    Last,
}

impl Incarnations {
    /// A region lives in this origin and holds those logs; `members` hold data.
    pub(crate) fn present(
        &mut self,
        now: u64,
        region: &str,
        origin: &str,
        (members, held): (&BTreeSet<String>, &BTreeSet<String>),
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
        let joins = self.joins(region, before.as_deref(), members);
        if self.lapsed.remove(region).is_some() || joins {
            self.epoch += 1;
            self.returning.insert(region.to_owned(), self.epoch);
        }
        let members = &self.active(members);
        self.found.extend(held.iter().cloned());
        self.close_found(now, members);
        let Some(before) = before else {
            if joins {
                // What it was given before it came may reach beyond what the others promise.
                self.open_again(now, members);
            }
            return Step::Lives;
        };
        // What the lost directory alone held is no longer held: those ends are found anew.
        self.open_again(now, members);
        if !self.closings.contains_key(&before) {
            self.open(now, &before, members);
        }
        Step::Succeeds
    }

    /// True if the region was not there when the fleet began, and says so for the first time: the
    /// others have gone on without it. From here on it is one of them.
    fn joins(&mut self, region: &str, before: Option<&str>, members: &BTreeSet<String>) -> bool {
        if self.joined.is_empty() {
            let others = self.current.keys().filter(|other| *other != region);
            let begun: BTreeSet<String> = others.cloned().collect();
            self.joined = if begun.is_empty() { members.clone() } else { begun };
            self.joined.extend(before.map(|_| region.to_owned()));
        }
        self.joined.insert(region.to_owned())
    }

    /// Finds those ends anew that not all members hold.
    fn open_again(&mut self, now: u64, members: &BTreeSet<String>) {
        let open = |(origin, closing): (&String, &Closing)| {
            (!closing.awaited.is_empty()).then(|| origin.clone())
        };
        let open: Vec<String> = self.closings.iter().filter_map(open).collect();
        for origin in open {
            self.open(now, &origin, members);
        }
    }

    /// A member lapses: nobody waits for it any more, and the others close its log.
    pub(crate) fn lapse(
        &mut self,
        now: u64,
        region: &str,
        reason: &str,
        members: &BTreeSet<String>,
    ) -> Step {
        if self.lapsed.contains_key(region) {
            return Step::Lives;
        }
        if !members.contains(region) && !self.current.contains_key(region) {
            return Step::Gone;
        }
        if self.closings.len() >= CLOSED_MAX {
            return Step::Full;
        }
        let mut left = self.active(members);
        left.remove(region);
        if left.is_empty() {
            return Step::Last;
        }
        // Without its origin nobody knows what is to be closed.
        let Some(origin) = self.current.get(region).cloned() else { return Step::Gone };
        self.epoch += 1;
        self.returning.remove(region);
        let (at, reason) = (now, reason.to_owned());
        self.lapsed.insert(region.to_owned(), Lapse { at, reason });
        // What it alone held is not held, as if its directory were lost.
        self.open_again(now, &left);
        if !self.closings.contains_key(&origin) {
            self.open(now, &origin, &left);
        }
        Step::Succeeds
    }

    /// A region that came back has heard from all that count that they know of it.
    pub(crate) fn returned(&mut self, by: &str) -> Step {
        let region = self.region_in(by);
        match region.and_then(|region| self.returning.remove(&region)) {
            Some(_) => Step::Lives,
            None => Step::Gone,
        }
    }

    /// True if a region that has not lapsed writes in this origin.
    pub(crate) fn counts(&self, origin: &str) -> bool {
        let region = self.region_in(origin);
        !self.closings.contains_key(origin)
            && region.is_some_and(|region| !self.lapsed.contains_key(&region))
    }

    /// Those of them that have joined and not lapsed, and those that whoever asks does not know.
    pub(crate) fn active(&self, members: &BTreeSet<String>) -> BTreeSet<String> {
        let counts =
            |region: &&String| !self.lapsed.contains_key(*region) && !self.is_expected(region);
        members.iter().chain(self.current.keys()).filter(counts).cloned().collect()
    }

    /// True for a region that was not there when the fleet began, and has not joined it yet.
    pub fn is_expected(&self, region: &str) -> bool {
        if self.joined.is_empty() {
            // A roster of an earlier version: who is there is who it began with.
            return !self.current.is_empty() && !self.current.contains_key(region);
        }
        !self.joined.contains(region)
    }

    /// Members that nobody waits for.
    pub fn lapsed(&self) -> &BTreeMap<String, Lapse> {
        &self.lapsed
    }

    /// Regions that have said in which origin they live, and have not lapsed.
    pub fn members(&self) -> impl Iterator<Item = &str> {
        let counts = |region: &&String| !self.lapsed.contains_key(*region);
        self.current.keys().filter(counts).map(String::as_str)
    }

    /// True for a region that has joined the fleet, and does not write yet.
    pub fn is_joining(&self, region: &str) -> bool {
        let of = |(origin, _): (&String, _)| {
            Origin::parse(origin).is_ok_and(|origin| origin.region() == region)
        };
        self.returning.contains_key(region) && !self.closings.iter().any(of)
    }

    /// Members that have come back and do not write yet.
    pub fn returning(&self) -> impl Iterator<Item = &str> {
        self.returning.keys().map(String::as_str)
    }

    /// The fleet begins with the logs of a backup: they are closed where they were restored to.
    /// False if it has begun otherwise.
    pub(crate) fn restore(
        &mut self,
        now: u64,
        Restored { ends, hlc, .. }: &Restored,
        members: &BTreeSet<String>,
    ) -> bool {
        let begun = self.current.values().any(|origin| ends.contains_key(origin));
        // Who has pulled some of it already may have found it to be nobody's, and waits for all.
        let ended = |origin| self.closing(origin).is_some_and(|it: &Closing| it.end.is_some());
        let full = self.closings.len() + ends.len() > CLOSED_MAX;
        if begun || full || ends.keys().any(|origin| ended(origin)) {
            return false;
        }
        for (origin, end) in ends {
            self.open(now, origin, members);
            let Some(closing) = self.closings.get_mut(origin) else { continue };
            (closing.end, closing.heard, closing.hlc) = (Some(*end), *end, *hlc);
        }
        self.restored = Some(ends.clone());
        true
    }

    /// Where the logs end that the fleet was begun anew with.
    pub(crate) fn restored(&self) -> Option<&BTreeMap<String, u64>> {
        self.restored.as_ref()
    }

    /// True for a log that the fleet was begun anew with.
    pub fn is_restored(&self, origin: &str) -> bool {
        self.restored.as_ref().is_some_and(|restored| restored.contains_key(origin))
    }

    /// Every log that is known, closed or not.
    pub(crate) fn known(&self) -> impl Iterator<Item = &str> {
        let closed = self.closings.keys();
        self.current.values().chain(closed).chain(&self.found).map(String::as_str)
    }

    /// Opens the closings of logs whose regions live in others.
    fn close_found(&mut self, now: u64, members: &BTreeSet<String>) {
        for origin in std::mem::take(&mut self.found) {
            match self.instead_of(&origin) {
                // Its region has not said yet in which it lives.
                None => drop(self.found.insert(origin)),
                Some(_) => drop(self.close(now, &origin, members)),
            }
        }
    }

    /// The origin in which the region of this one lives.
    fn instead_of(&self, origin: &str) -> Option<&str> {
        self.of(Origin::parse(origin).ok()?.region())
    }

    /// A member holds events of a log that no region writes: it is to be closed.
    pub(crate) fn close(&mut self, now: u64, origin: &str, members: &BTreeSet<String>) -> Step {
        if let Some(closing) = self.closings.get(origin) {
            return closing.end.map_or(Step::Awaits, Step::Closed);
        }
        match self.instead_of(origin) {
            Some(current) if current == origin => Step::Gone,
            None => Step::Gone,
            Some(_) if self.closings.len() >= CLOSED_MAX => Step::Full,
            Some(_) => {
                self.open(now, origin, &self.active(members));
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
            ceiling: closing.end.or(closing.ceiling),
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
        let highest = closing.held.get(origin).copied().unwrap_or(0);
        let end = closing.ceiling.map_or(highest, |ceiling| highest.min(ceiling));
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

    /// The closing of a log that nobody writes any more.
    pub fn closing(&self, origin: &str) -> Option<&Closing> {
        self.closings.get(origin)
    }

    /// True while the end of some log is not known.
    pub(crate) fn is_closing(&self) -> bool {
        self.closings.values().any(|closing| closing.end.is_none())
    }

    /// Where the closed logs end.
    pub(crate) fn ends(&self) -> impl Iterator<Item = (&str, u64)> {
        self.closings.iter().filter_map(|(origin, closing)| Some((origin.as_str(), closing.end?)))
    }

    /// For the core of a region, and its door. Of the regions that it is configured with, those
    /// that have not joined yet are waited for as little as those that have lapsed.
    pub fn agreed(&self, configured: &[RegionName]) -> Model {
        let expected = configured.iter().filter(|region| self.is_expected(region.as_str()));
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
                ceiling: closing.ceiling,
            };
            Some((origin, agreed))
        });
        Model {
            current: current.collect(),
            closings: closings.collect(),
            lapsed: self.lapsed.keys().filter_map(name).chain(expected.cloned()).collect(),
            returning: {
                let each = self.returning.iter();
                each.filter_map(|(region, epoch)| Some((name(region)?, *epoch))).collect()
            },
            epoch: self.epoch,
            restored: self.restored.as_ref().map(vector).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests;
