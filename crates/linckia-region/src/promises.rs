//! Answers that wait: until their events are durable and applied here, and durable in as many other
//! regions as the writer asked for.
//!
//! Kept by level and by the own sequence they wait for, so that what a peer says of its log frees
//! all answers up to there at once. What always holds: an answer leaves once; one whose time is
//! over says so and never looks like success.

use std::collections::{BTreeMap, BTreeSet};

use linckia_model::{Ack, Answer, Level, Refusal, Vector};

/// One request's answers, in its order.
pub(crate) type Answers = Vec<Result<Answer, Refusal>>;

/// Answers and what they wait for.
pub(crate) struct Promise {
    pub(crate) ticket: u64,
    pub(crate) answers: Answers,
    pub(crate) level: Level,
    /// Events of other logs that the answers name: first copies of ids that were used before.
    elsewhere: Vector,
    deadline: Option<u64>,
}

impl Promise {
    /// Its answers, if they wait for other regions.
    fn remote(&self) -> usize {
        if self.level == Level::Local { 0 } else { self.answers.len() }
    }
}

/// All answers that wait.
#[derive(Default)]
pub(crate) struct Promises {
    levels: BTreeMap<Level, BTreeMap<u64, Vec<Promise>>>,
    /// Own events are where they should be, events of other logs are not.
    late: Vec<Promise>,
    /// (deadline on the monotonic clock, ticket) with where the promise stands.
    deadlines: BTreeMap<(u64, u64), (Level, u64)>,
    count: usize,
    /// Answers among them that wait for other regions.
    remote: usize,
}

impl Promises {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Answers, of all requests, that wait for other regions.
    pub(crate) fn remote(&self) -> usize {
        self.remote
    }

    /// The last event of ours that an answer waits for in another region.
    pub(crate) fn awaited(&self) -> Option<u64> {
        let remote = self.levels.iter().filter(|(level, _)| **level != Level::Local);
        remote.filter_map(|(_, waiting)| waiting.last_key_value()).map(|(last, _)| *last).max()
    }

    /// Keeps answers until `sequence` of the own log, and what they name of `own`'s other logs, is
    /// where `ack` wants it. `now` is on the monotonic clock, in milliseconds.
    pub(crate) fn keep(
        &mut self,
        now: u64,
        ticket: u64,
        answers: Answers,
        sequence: u64,
        elsewhere: Vector,
        ack: Ack,
    ) {
        let Ack { level, timeout_milliseconds } = ack;
        let deadline = timeout_milliseconds.map(|timeout| now.saturating_add(timeout));
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, ticket), (level.clone(), sequence));
        }
        let promise = Promise { ticket, answers, level: level.clone(), elsewhere, deadline };
        self.remote += promise.remote();
        self.levels.entry(level).or_default().entry(sequence).or_default().push(promise);
        self.count += 1;
    }

    /// Takes what is kept: `reach` says up to which own sequence a level is reached, `reached`
    /// whether it is for events of other logs.
    pub(crate) fn kept(
        &mut self,
        reach: impl Fn(&Level) -> u64,
        reached: impl Fn(&Level, &Vector) -> bool,
        out: &mut Vec<(u64, Answers)>,
    ) {
        let before = out.len();
        let whole = |promise: &Promise| {
            promise.elsewhere.is_empty() || reached(&promise.level, &promise.elsewhere)
        };
        let late = self.late.extract_if(.., |promise| whole(promise));
        let mut freed: Vec<Promise> = late.collect();
        for (level, waiting) in &mut self.levels {
            let Some(first) = waiting.first_key_value() else { continue };
            let upto = reach(level);
            if *first.0 > upto {
                continue;
            }
            let beyond = waiting.split_off(&(upto + 1));
            for promise in std::mem::replace(waiting, beyond).into_values().flatten() {
                if whole(&promise) { freed.push(promise) } else { self.late.push(promise) }
            }
        }
        self.levels.retain(|_, waiting| !waiting.is_empty());
        for promise in freed {
            if let Some(deadline) = promise.deadline {
                self.deadlines.remove(&(deadline, promise.ticket));
            }
            self.remote -= promise.remote();
            out.push((promise.ticket, promise.answers));
        }
        self.count -= out.len() - before;
    }

    /// Takes what waited too long.
    pub(crate) fn expired(&mut self, now: u64) -> Vec<Promise> {
        let mut expired = Vec::new();
        while let Some(entry) = self.deadlines.first_entry() {
            let (deadline, ticket) = *entry.key();
            if deadline > now {
                break;
            }
            let (level, sequence) = entry.remove();
            expired.extend(self.take(ticket, &level, sequence));
        }
        self.gone(&expired);
        expired
    }

    fn gone(&mut self, promises: &[Promise]) {
        self.count -= promises.len();
        self.remote -= promises.iter().map(Promise::remote).sum::<usize>();
    }

    fn take(&mut self, ticket: u64, level: &Level, sequence: u64) -> Option<Promise> {
        let is_it = |promise: &Promise| promise.ticket == ticket;
        if let Some(place) = self.late.iter().position(is_it) {
            return Some(self.late.swap_remove(place));
        }
        let waiting = self.levels.get_mut(level)?;
        let same = waiting.get_mut(&sequence)?;
        let promise = same.iter().position(is_it).map(|place| same.swap_remove(place));
        if same.is_empty() {
            waiting.remove(&sequence);
        }
        if waiting.is_empty() {
            self.levels.remove(level);
        }
        promise
    }

    /// Takes what waits for own events beyond `durable`: they will never be.
    pub(crate) fn beyond(&mut self, durable: u64) -> Vec<Promise> {
        let mut lost = Vec::new();
        for waiting in self.levels.values_mut() {
            lost.extend(waiting.split_off(&(durable + 1)).into_values().flatten());
        }
        self.levels.retain(|_, waiting| !waiting.is_empty());
        let gone: BTreeSet<u64> = lost.iter().map(|promise| promise.ticket).collect();
        self.deadlines.retain(|(_, ticket), _| !gone.contains(ticket));
        self.gone(&lost);
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(promises: &mut Promises, ticket: u64, sequence: u64, level: Level, timeout: u64) {
        let ack = Ack { level, timeout_milliseconds: (timeout > 0).then_some(timeout) };
        promises.keep(100, ticket, Vec::new(), sequence, Vector::new(), ack);
    }

    fn kept(promises: &mut Promises, local: u64, any: u64) -> Vec<u64> {
        let mut out = Vec::new();
        let reach = |level: &Level| if *level == Level::Local { local } else { any };
        promises.kept(reach, |_, _| false, &mut out);
        out.into_iter().map(|(ticket, _)| ticket).collect()
    }

    #[test]
    fn each_level_frees_its_own() {
        let mut promises = Promises::default();
        keep(&mut promises, 1, 1, Level::Local, 0);
        keep(&mut promises, 2, 1, Level::Any, 50);
        keep(&mut promises, 3, 2, Level::Local, 0);
        keep(&mut promises, 4, 2, Level::Any, 50);
        assert_eq!(kept(&mut promises, 1, 0), [1]);
        assert_eq!(kept(&mut promises, 2, 1), [3, 2]);
        assert_eq!(promises.awaited(), Some(2));
        assert_eq!(kept(&mut promises, 2, 2), [4]);
        assert_eq!((promises.len(), promises.awaited()), (0, None));
        assert!(promises.expired(1_000).is_empty(), "what was answered has no deadline");
    }

    #[test]
    fn time_is_over_once() {
        let mut promises = Promises::default();
        keep(&mut promises, 1, 5, Level::All, 10);
        keep(&mut promises, 2, 5, Level::All, 20);
        let tickets = |expired: Vec<Promise>| expired.iter().map(|p| p.ticket).collect::<Vec<_>>();
        assert!(promises.expired(109).is_empty());
        assert_eq!(tickets(promises.expired(110)), [1]);
        assert_eq!(kept(&mut promises, 9, 9), [2]);
        assert_eq!(promises.len(), 0);
    }

    #[test]
    fn what_never_becomes_durable_is_taken_whatever_its_level() {
        let mut promises = Promises::default();
        keep(&mut promises, 1, 1, Level::Any, 10);
        keep(&mut promises, 2, 2, Level::Any, 10);
        keep(&mut promises, 3, 2, Level::Local, 0);
        assert_eq!(promises.beyond(1).len(), 2);
        assert_eq!(promises.expired(200).len(), 1);
        assert_eq!(promises.len(), 0);
    }
}
