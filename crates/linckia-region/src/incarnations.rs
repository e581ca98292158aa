//! Incarnations: what this region does while the log of a lost directory is closed, its own or
//! another region's.
//!
//! A member that hears of a closing takes nothing more of that log, keeps this on its disk, and
//! promises what it holds; once the end is known it takes the rest up to there. A region whose own
//! directory was lost neither writes nor beats before its earlier log is closed and it has again
//! what the members held. What always holds: a promise outlives this life, and nothing beyond the
//! end of a log is appended, applied or passed on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use linckia_log::Logs;
use linckia_model::{
    Closing, Dot, EventSource, Fault, Heartbeat, Incarnations, Now, Origin, Refusal, RegionName,
};

use crate::input::{Alarm, Output, Promise};
use crate::leaving::Leaving;
use crate::region::{Region, Step};
use crate::rooms::{Durable, first_held};

/// Where the promises that hold are kept beside the logs.
pub(crate) const PROMISES_FILE: &str = "promises";

/// A log of which nothing more is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frozen {
    attempt: u64,
    last: u64,
}

/// What was agreed on incarnations, and what of it is done here.
#[derive(Default)]
pub(crate) struct Lives {
    agreed: Option<Arc<Incarnations>>,
    frozen: BTreeMap<Origin, Frozen>,
    /// What is frozen is kept on the disk as it is.
    kept: bool,
    /// What the others held is here again: this region may write its log once the others know of
    /// it.
    whole: bool,
    /// This region may write its log.
    entered: bool,
    /// Steps that were told in this life, by log and attempt.
    promised: BTreeSet<(Origin, u64)>,
    levelled: BTreeSet<(Origin, u64)>,
    /// Logs that were told to be nobody's, and events of which it was told that they are void.
    strays: BTreeSet<Origin>,
    voids: BTreeSet<Dot>,
    /// So many logs there were when they were looked at last, and nothing is waited for.
    looked: Option<usize>,
    /// It has come back after a lapse, and said so.
    returned: bool,
    /// It was told that this directory is closed.
    alarmed: bool,
    /// This directory was told to be an old copy.
    old_copy: bool,
    /// Peers that have not said yet what they hold of this region's log, and those that have not
    /// passed on what they heard last of it.
    to_pull: BTreeSet<RegionName>,
    to_beat: BTreeSet<RegionName>,
    /// From when on nobody is waited for to say so, on the monotonic clock.
    alone_from: u64,
    /// A peer has said both.
    confirmed: bool,
    /// This region is alive in another place, as a peer says.
    elsewhere: Option<String>,
}

/// After its start a region waits so long for its peers to say what they know of its log, in
/// milliseconds: beyond that it writes unasked.
const CONFIRM_MILLISECONDS: u64 = 1_500;

/// A peer that sees this region alive elsewhere says so again within this, in milliseconds.
const ELSEWHERE_MILLISECONDS: u64 = 6_000;

impl Lives {
    /// Goes on with the promises that were kept. Errors: the text is none of ours.
    pub(crate) fn restored(kept: Option<&[u8]>) -> Result<Self, &'static str> {
        let mut lives = Self { kept: true, ..Self::default() };
        let text = std::str::from_utf8(kept.unwrap_or_default());
        for line in text.map_err(|_| "it is no text")?.lines() {
            let mut words = line.split(' ');
            let origin = words.next().and_then(|word| Origin::parse(word).ok());
            let mut number = || words.next().and_then(|word| word.parse().ok());
            let (Some(origin), Some(attempt), Some(last)) = (origin, number(), number()) else {
                return Err("a line of it is no promise");
            };
            lives.frozen.insert(origin, Frozen { attempt, last });
        }
        Ok(lives)
    }

    fn text(&self) -> String {
        let line = |(origin, frozen): (&Origin, &Frozen)| {
            format!("{origin} {} {}\n", frozen.attempt, frozen.last)
        };
        self.frozen.iter().map(line).collect()
    }

    /// The last event of a log that may be taken here.
    pub(crate) fn limit(&self, origin: &Origin) -> u64 {
        self.frozen.get(origin).map_or_else(|| self.end(origin), |frozen| frozen.last)
    }

    /// The last event of a log that there is, as far as that is known.
    pub(crate) fn end(&self, origin: &Origin) -> u64 {
        let end = self.agreed.as_ref().and_then(|lives| lives.end(origin));
        end.unwrap_or(u64::MAX)
    }

    /// The region starts. What was not durable when it was promised to be all is not held.
    pub(crate) fn starting(
        &mut self,
        now: Now,
        peers: &BTreeSet<RegionName>,
        tail: impl Fn(&Origin) -> u64,
    ) {
        for (origin, frozen) in &mut self.frozen {
            frozen.last = frozen.last.min(tail(origin));
        }
        (self.to_pull, self.to_beat) = (peers.clone(), peers.clone());
        self.alone_from = now.monotonic + CONFIRM_MILLISECONDS;
    }

    /// False if a region is known to write another log than this one: its directory was replaced.
    pub(crate) fn is_current(&self, region: &RegionName, origin: &Origin) -> bool {
        let current = self.agreed.as_ref().and_then(|agreed| agreed.current.get(region));
        current.is_none_or(|current| current == origin)
    }

    /// The last lapse or return that is known here.
    pub(crate) fn epoch(&self) -> u64 {
        self.agreed.as_ref().map_or(0, |agreed| agreed.epoch)
    }

    pub(crate) fn agreed(&self) -> Option<Arc<Incarnations>> {
        self.agreed.clone()
    }

    /// What is held here is not what it was.
    pub(crate) fn look_again(&mut self) {
        self.looked = None;
    }

    /// What was promised is on the disk.
    pub(crate) fn kept(&mut self) {
        self.kept = true;
    }
}

impl Region {
    /// The fleet agreed on incarnations: these are the regions' from here on.
    pub(crate) fn agree_incarnations(
        &mut self,
        now: Now,
        agreed: Option<Incarnations>,
        logs: &Logs,
        steps: &mut Vec<Step>,
    ) {
        let Some(agreed) = agreed else { return };
        if self.lives.agreed.as_deref() == Some(&agreed) {
            return;
        }
        let agreed = Arc::new(agreed);
        let (mut changed, mut freed) = (false, false);
        for (origin, closing) in &agreed.closings {
            // Of a transaction that there was no room for the rest may never come.
            let tail = || logs.complete(origin.as_str()).unwrap_or(0);
            let attempt = closing.attempt;
            if closing.end.is_some() {
                freed |= self.lives.frozen.remove(origin).is_some();
            } else if self.lives.frozen.get(origin).map(|frozen| frozen.attempt) != Some(attempt) {
                let frozen = Frozen { attempt, last: tail() };
                self.lives.frozen.insert(origin.clone(), frozen);
                changed = true;
            }
            if let Some(end) = closing.end {
                self.known.set(origin, self.known.get(origin).min(end));
            }
            let earlier = origin.is_of(&self.settings.name) || agreed.restored.get(origin) > 0;
            if earlier && self.settings.fault != Some(Fault::SuccessorTimeUnbounded) {
                self.clock.observe(closing.hlc);
            }
        }
        if changed || freed {
            self.lives.kept = false;
            steps.push(Step::Promise(self.lives.text()));
        }
        if freed {
            // What was refused of them is asked for again.
            self.pulling.values_mut().for_each(linckia_ship::Pulling::start_over);
        }
        self.apply.set_incarnations(Arc::clone(&agreed));
        if let Some(before) = &self.lives.agreed {
            // What a lost directory held is not held by the one that replaces it.
            let same =
                |region: &RegionName| before.current.get(region) == agreed.current.get(region);
            self.held.retain(|region, _| same(region));
        }
        self.lives.strays.clear();
        self.lives.voids.clear();
        self.lives.looked = None;
        // What it was let do it may go on to do while it is the region's log.
        let (name, origin) = (&self.settings.name, &self.settings.origin);
        let own = agreed.current.get(name) == Some(origin) && !agreed.closings.contains_key(origin);
        self.lives.entered &= own;
        self.lives.whole &= own;
        let counts = |region: &&RegionName| *region == name || !agreed.lapsed.contains(*region);
        self.members = self.settings.members.iter().filter(counts).cloned().collect();
        self.lives.agreed = Some(agreed);
        // Who waited for a region that has lapsed waits no more.
        self.answer(steps);
        self.ask(now, steps);
    }

    /// True for the log of a member, configured here or not, or one that the fleet has closed.
    pub(crate) fn is_of_fleet(&self, origin: &Origin) -> bool {
        let known = self.lives.agreed.as_ref().is_some_and(|it| {
            it.closings.contains_key(origin) || it.current.values().any(|log| log == origin)
        });
        known || self.settings.members.iter().any(|member| origin.is_of(member))
    }

    /// This region has lapsed: it leaves its log, and whatever reaches beyond the ends of logs. One
    /// that is back may still hold such a log, whose end it had not heard of; and one that gets its
    /// state from another could not promise events beside it, and learns that nobody else did.
    fn leave_what_is_beyond(&mut self, agreed: &Incarnations, logs: &Logs, steps: &mut Vec<Step>) {
        let (name, own) = (&self.settings.name, &self.settings.origin);
        let end = agreed.end(own).filter(|_| agreed.current.get(name) == Some(own));
        let returns = !self.lives.entered && agreed.returning.contains_key(name);
        let present = agreed.current.get(name) == Some(own);
        if self.lives.old_copy || (end.is_none() && !returns && !present) {
            return;
        }
        let lapses = end.is_some() || returns;
        let sought = |closing: &Closing| closing.ceiling.filter(|_| lapses);
        let each = agreed.closings.iter();
        let ends = each.filter_map(|(origin, it)| Some((origin, it.end.or_else(|| sought(it))?)));
        let is_beyond = |(origin, end): &(&Origin, u64)| {
            self.durable.get(origin) > *end && (lapses || !self.is_void(agreed, logs, origin, *end))
        };
        let beyond: Vec<_> = ends.filter(is_beyond).collect();
        let left: Vec<String> = beyond.iter().map(|(origin, _)| origin.to_string()).collect();
        // A state needs the logs that it was made of; and one whose region did not know that it had
        // lapsed may have gone on where the others had no eye on it.
        let late = present.then(|| self.came_late(agreed)).flatten();
        let store = end.is_some() || late.is_some() || !left.is_empty();
        let leaving = Leaving { incarnation: end.is_some(), agreement: false, store, logs: left };
        if leaving == Leaving::default() {
            return;
        }
        let held = |origin: &Origin| self.durable.get(origin);
        let alarm = match (beyond.first(), late) {
            (Some((log, end)), _) if !lapses || agreed.joins(name) => {
                Alarm::Beyond { origin: log.to_string(), end: *end, held: held(log) }
            }
            (_, Some(log)) if !lapses => Alarm::StateLeft { origin: log.to_string() },
            _ => {
                let (origin, held) = (own.to_string(), held(own));
                Alarm::Lapsed { origin, end: end.unwrap_or(held), held }
            }
        };
        self.lives.old_copy = true;
        steps.push(Step::Leave(leaving));
        steps.push(Step::Out(Output::Alarm(alarm)));
    }

    /// A closed log of which an event that is to be applied lies below stable time: its region had
    /// told on from an old copy, so that nobody knew of the event here.
    fn came_late(&self, agreed: &Incarnations) -> Option<&Origin> {
        let is_left = |origin: &&Origin| {
            agreed.end(origin).is_some_and(|end| self.apply.applied().get(origin) < end)
        };
        self.apply.below().iter().find(is_left)
    }

    /// True if all whose stable time may have passed by this region while it had lapsed have told
    /// that they know of its return; then it goes on above what they had told.
    fn is_heard_of(&mut self, agreed: &Incarnations) -> bool {
        let (name, members) = (&self.settings.name, &self.settings.members);
        let unheard = match agreed.joins(name) {
            true => Fault::JoinedUnheard,
            false => Fault::ReturnedUnheard,
        };
        if self.settings.fault == Some(unheard) {
            return true;
        }
        let told = |(other, epoch): (&RegionName, u64)| {
            let (known, hlc) = self.apply.told_in(other);
            (known >= epoch).then_some(hlc)
        };
        let told: Option<Vec<_>> = agreed.passed_by(name, members).map(told).collect();
        let Some(told) = told else { return false };
        told.into_iter().for_each(|hlc| self.clock.observe(hlc));
        true
    }

    fn alarm_if_closed(&mut self, steps: &mut Vec<Step>) {
        let own = &self.settings.origin;
        let agreed = self.lives.agreed.as_ref();
        // One that has lapsed is told so when its end is known.
        let lives_on = agreed.is_some_and(|it| it.current.get(&self.settings.name) == Some(own));
        let closing = agreed.and_then(|lives| lives.closings.get(own));
        if let Some(closing) = closing.filter(|_| !lives_on)
            && !std::mem::replace(&mut self.lives.alarmed, true)
        {
            let (origin, end) = (own.to_string(), closing.end);
            steps.push(Step::Out(Output::Alarm(Alarm::Closed { origin, end })));
        }
    }

    /// Tells what has been done here of what was agreed, once what it rests on is durable.
    pub(crate) fn tell_incarnations(&mut self, logs: &Logs, steps: &mut Vec<Step>) {
        let Some(agreed) = self.lives.agreed.clone() else { return };
        if self.lives.looked == Some(self.durable.len()) {
            // Nothing is waited for, and no log is new.
            return;
        }
        self.alarm_if_closed(steps);
        self.leave_what_is_beyond(&agreed, logs, steps);
        if self.lives.old_copy {
            // What is left is not promised.
            return;
        }
        let name = self.settings.name.clone();
        if !self.lives.entered {
            let own = &self.settings.origin;
            let at_once = self.settings.fault == Some(Fault::SuccessorWritesAtOnce)
                && agreed.current.get(&name) == Some(own);
            // Before all have said which logs they hold, an earlier one may not be known.
            let all = self.members.iter().all(|it| agreed.current.contains_key(it));
            let joins = agreed.joins(&name);
            let mut whole = all && agreed.may_write(&name, own, self.apply.applied());
            if joins {
                // It has nothing of its own by which to know what there was before it came.
                whole &= self.is_heard_of(&agreed);
            }
            self.lives.whole = whole;
            // Until it is known where all logs end, something here may be beyond.
            let open =
                |closing: &Closing| closing.end.is_none() && (joins || closing.ceiling.is_some());
            let knows =
                !agreed.returning.contains_key(&name) || !agreed.closings.values().any(open);
            self.lives.entered = at_once || (whole && knows && self.is_heard_of(&agreed));
        }
        // Once the time of its first heartbeat is on the disk, it needs nobody's word any more.
        let returned = agreed.returning.get(&name);
        if returned.is_some_and(|epoch| self.apply.told_in(&name).0 >= *epoch)
            && !std::mem::replace(&mut self.lives.returned, true)
        {
            steps.push(Step::Out(Output::Returned));
        }
        let waiting = agreed.closings.iter().filter(|(_, closing)| closing.awaited.contains(&name));
        for (origin, closing) in waiting {
            let told = (origin.clone(), closing.attempt);
            match closing.end {
                None => self.promise(logs, told, steps),
                Some(end) => {
                    let whole = self.durable.get(origin) >= end;
                    // What is logged beside a state that is on its way is not held.
                    let again =
                        (!origin.is_of(&name) || self.lives.entered) && !self.catch_up.wanted;
                    if whole && again && self.lives.levelled.insert(told.clone()) {
                        let (origin, attempt) = told;
                        steps.push(Step::Out(Output::Levelled { origin, attempt }));
                    }
                }
            }
        }
        let open = |(origin, closing): (&Origin, &Closing)| {
            let behind = closing.end.is_none_or(|end| self.apply.applied().get(origin) < end);
            behind || closing.awaited.contains(&name)
        };
        let returns = agreed.returning.contains_key(&name) && !self.lives.returned;
        let waits = !self.lives.entered || returns || agreed.closings.iter().any(open);
        self.tell_void(&agreed, logs, steps);
        self.lives.looked = (!waits).then_some(self.durable.len());
        for (origin, _) in self.durable.iter() {
            let region = agreed.current.iter().find(|(region, _)| origin.is_of(region));
            let stray = region.is_some_and(|(_, current)| current != origin)
                && !agreed.closings.contains_key(origin);
            if stray && self.lives.strays.insert(origin.clone()) {
                steps.push(Step::Out(Output::Stray { origin: origin.clone() }));
            }
        }
    }

    /// Where two directories are lost, what is left of one log may depend on what is lost of the
    /// other.
    fn tell_void(&mut self, agreed: &Incarnations, logs: &Logs, steps: &mut Vec<Step>) {
        for (origin, closing) in &agreed.closings {
            let applied = self.apply.applied().get(origin);
            let is_left = |end| applied < end && applied < self.durable.get(origin);
            if !closing.end.is_some_and(is_left) || !self.is_void(agreed, logs, origin, applied) {
                continue;
            }
            let first = applied + 1;
            if self.lives.voids.insert(Dot::new(origin.clone(), first)) {
                steps.push(Step::Out(Output::Void { origin: origin.clone(), first }));
            }
        }
    }

    /// True if the event that comes next in a log depends on what is lost: whoever holds it holds
    /// it for nothing.
    fn is_void(&self, agreed: &Incarnations, logs: &Logs, origin: &Origin, last: u64) -> bool {
        let events = Durable { logs, known: &self.known, view: None };
        let next = events.event(&Dot::new(origin.clone(), last + 1));
        let Ok(Some(next)) = next else { return false };
        agreed.lost(&next.deps).next().is_some()
    }

    fn promise(&mut self, logs: &Logs, told: (Origin, u64), steps: &mut Vec<Step>) {
        let (origin, attempt) = told.clone();
        let frozen = self.lives.frozen.get(&origin);
        let whole = frozen.is_some_and(|frozen| self.durable.get(&origin) >= frozen.last);
        if !whole || !self.lives.kept || !self.lives.promised.insert(told) {
            return;
        }
        let held = self.durable.iter();
        let held = held.map(|(origin, last)| (origin.clone(), self.vouched(logs, origin, last)));
        // Stable time never passes a region's own durable time.
        let counted = self.apply.told_until(&origin).max(self.clock.last());
        let promise =
            Promise { held: held.collect(), heard: self.known.get(&origin), hlc: counted };
        steps.push(Step::Out(Output::Promised { origin, attempt, promise }));
    }

    /// What this region can vouch for of a log that is durable here so far: where the log does not
    /// reach back to the state, only what is applied.
    fn vouched(&self, logs: &Logs, origin: &Origin, last: u64) -> u64 {
        let applied = self.apply.applied().get(origin);
        if first_held(logs, origin) > applied + 1 {
            applied
        } else {
            self.last_whole(logs, origin, last)
        }
    }

    /// The last event of a log, up to this one, that ends a transaction: of one that is torn nobody
    /// could apply anything.
    fn last_whole(&self, logs: &Logs, origin: &Origin, last: u64) -> u64 {
        let events = Durable { logs, known: &self.known, view: None };
        match events.event(&Dot::new(origin.clone(), last)) {
            Ok(Some(event)) if event.transaction.last() > last => event.transaction.first - 1,
            // What is applied is whole.
            Err(_) => self.apply.applied().get(origin).min(last),
            _ => last,
        }
    }

    /// A peer says how much it holds of this region's log.
    pub(crate) fn compare_pulled(&mut self, peer: &RegionName, held: u64, steps: &mut Vec<Step>) {
        let own = self.capture.last();
        if held > own {
            let detail = format!("it holds {held} events of the own log, which ends here at {own}");
            self.leave(peer, detail, steps);
        }
        self.lives.to_pull.remove(peer);
        self.confirmed_by(peer);
    }

    /// A peer passes on what it heard last of this region's log, if anything.
    pub(crate) fn compare_beaten(
        &mut self,
        peer: &RegionName,
        heard: Option<&Heartbeat>,
        steps: &mut Vec<Step>,
    ) {
        // What was told was durable before, its time too.
        if let Some(heard) = heard
            && (heard.after > self.capture.last() || heard.hlc > self.clock.last())
        {
            let (after, time) = (heard.after, heard.hlc.milliseconds());
            let detail = format!("it heard from here at {time}, after event {after}");
            self.leave(peer, detail, steps);
        }
        self.lives.to_beat.remove(peer);
        self.confirmed_by(peer);
    }

    /// True once a peer has said all it knows of this region's log.
    fn confirmed_by(&mut self, peer: &RegionName) {
        let lives = &mut self.lives;
        lives.confirmed |= !lives.to_pull.contains(peer) && !lives.to_beat.contains(peer);
    }

    /// A peer hears this region from another place: nothing is written here while it does.
    pub(crate) fn refused_elsewhere(&mut self, now: Now, reason: &str) {
        let lives = &mut self.lives;
        if !lives.to_pull.is_empty() || !lives.to_beat.is_empty() {
            lives.alone_from = now.monotonic + ELSEWHERE_MILLISECONDS;
            lives.elsewhere = Some(reason.to_owned());
        }
    }

    /// What keeps a directory from being known as the region's only one, if anything does.
    pub fn awaits_word(&self) -> Option<String> {
        let elsewhere = self.lives.elsewhere.clone();
        let moved = || self.settings.moved.then(String::new);
        if self.is_compared() { None } else { elsewhere.or_else(moved) }
    }

    /// This directory is an old copy: nothing more is taken in it.
    fn leave(&mut self, peer: &RegionName, detail: String, steps: &mut Vec<Step>) {
        if !std::mem::replace(&mut self.lives.old_copy, true) {
            steps.push(Step::Leave(Leaving::old_copy(&self.settings.origin)));
            let peer = peer.clone();
            steps.push(Step::Out(Output::Alarm(Alarm::OldCopy { peer, detail })));
        }
    }

    /// Nobody is left to say that this directory is an old copy.
    pub(crate) fn stop_waiting_for_peers(&mut self, now: Now) {
        let alone = !self.settings.moved || self.lives.confirmed;
        if alone && now.monotonic >= self.lives.alone_from {
            self.lives.elsewhere = None;
            self.lives.to_pull.clear();
            self.lives.to_beat.clear();
        }
    }

    /// True once this region may write its log, and what is asked of it here is all that was held
    /// anywhere before it came.
    pub fn is_entered(&self) -> bool {
        let entered = self.lives.entered && self.is_compared();
        !self.catch_up.wanted && (self.lives.agreed.is_none() || entered)
    }

    /// True once what is here is all that was held anywhere before this region came: it may be
    /// passed on.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_entered() || (self.lives.whole && self.is_compared() && !self.catch_up.wanted)
    }

    /// True once this directory is known not to be an old copy, or nobody is left to say so.
    pub fn is_compared(&self) -> bool {
        let lives = &self.lives;
        lives.to_pull.is_empty() && lives.to_beat.is_empty() && !lives.old_copy
    }

    /// Why this region takes no writes, if it is for its incarnation.
    pub(crate) fn incarnation_refusal(&self) -> Option<Refusal> {
        if self.is_entered() {
            return None;
        }
        let lives = self.lives.agreed.as_ref();
        let closed = lives.is_some_and(|it| it.closings.contains_key(&self.settings.origin));
        Some(if closed || self.lives.old_copy { Refusal::Closed } else { Refusal::Entering })
    }

    /// The last event of a log that there is, as far as that is known.
    pub(crate) fn end(&self, origin: &Origin) -> u64 {
        self.lives.end(origin)
    }

    /// The last event of a log that may be taken here.
    pub(crate) fn limit(&self, origin: &Origin) -> u64 {
        match self.settings.fault {
            Some(Fault::PromiseBroken) => u64::MAX,
            _ => self.lives.limit(origin),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_are_read_as_they_were_kept() {
        let origin = Origin::parse("a.0000000000000001").unwrap();
        let mut lives = Lives::default();
        lives.frozen.insert(origin.clone(), Frozen { attempt: 3, last: 7 });
        let again = Lives::restored(Some(lives.text().as_bytes())).unwrap();
        assert_eq!(again.frozen, lives.frozen);
        assert_eq!(again.limit(&origin), 7);
        assert!(Lives::restored(None).unwrap().frozen.is_empty());
        for bad in ["x", "a.0000000000000001 3", "a.0000000000000001 3 x"] {
            assert!(Lives::restored(Some(bad.as_bytes())).is_err(), "{bad}");
        }
    }
}
