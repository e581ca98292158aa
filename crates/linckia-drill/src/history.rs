//! Histories of sessions, judged by the definitions of the four session guarantees.
//!
//! The definitions are those of Terry et al., "Session Guarantees for Weakly Consistent Replicated
//! Data" (1994). A history holds only what clients did and saw: writes that leave a mark on a key
//! for ever, and reads that show all marks of a key. What always holds: nothing here knows how
//! tokens, vectors or regions work, so a fault in those cannot hide itself.
//!
//! A session must see what it wrote (read your writes) and what it saw (monotonic reads). Whoever
//! sees a write in a region sees there, from then on, what the writer's session had written before
//! it (monotonic writes) and had seen before it (writes follow reads).

use std::collections::{BTreeMap, BTreeSet};

/// A mark on a key: one write.
pub type Mark = (String, String);

/// What a session did at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// It began to write a mark; whether it will be there is not known yet.
    Begins { key: String, mark: String },
    /// Its write of that mark was answered: it is there.
    Wrote { key: String, mark: String },
    /// It read all marks of a key in a region. `begun` is when it asked.
    Read { region: String, key: String, marks: BTreeSet<String>, begun: u64 },
}

/// A deed, by whom, and when it was over; times are of one clock, in any unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub session: usize,
    pub at: u64,
    pub deed: Deed,
}

/// A guarantee that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    pub guarantee: &'static str,
    pub session: usize,
    pub region: String,
    /// What the read lacks.
    pub missing: Mark,
    /// The mark that was seen in this region before, and comes after the missing one.
    pub because: Option<Mark>,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { guarantee, session, region, missing: (key, mark), because } = self;
        write!(f, "{guarantee}: session {session} reads {key} in {region} without {mark}")?;
        match because {
            Some((key, mark)) => write!(f, ", which comes before {mark} of {key}, seen there"),
            None => Ok(()),
        }
    }
}

/// What a session had written and seen.
#[derive(Clone, Debug, Default)]
struct Past {
    wrote: BTreeSet<Mark>,
    saw: BTreeSet<Mark>,
}

impl Past {
    /// Keeps what both have.
    fn meet(&mut self, other: &Self) {
        self.wrote.retain(|mark| other.wrote.contains(mark));
        self.saw.retain(|mark| other.saw.contains(mark));
    }
}

/// What has to be seen somewhere from now on, and why.
#[derive(Debug, Default)]
struct Required(BTreeMap<String, BTreeMap<String, (&'static str, Option<Mark>)>>);

impl Required {
    fn contains(&self, (key, mark): &Mark) -> bool {
        self.0.get(key).is_some_and(|marks| marks.contains_key(mark))
    }

    fn add(&mut self, mark: &Mark, guarantee: &'static str, because: Option<&Mark>) {
        let marks = self.0.entry(mark.0.clone()).or_default();
        marks.entry(mark.1.clone()).or_insert_with(|| (guarantee, because.cloned()));
    }

    /// A mark is seen: so must be all that its writer had written and seen before it, and before
    /// those.
    fn see(&mut self, seen: &Mark, guarantee: &'static str, pasts: &BTreeMap<Mark, Past>) {
        let mut open = vec![seen.clone()];
        if !self.contains(seen) {
            self.add(seen, guarantee, None);
        }
        while let Some(after) = open.pop() {
            let Some(past) = pasts.get(&after) else { continue };
            for (marks, guarantee) in
                [(&past.wrote, "monotonic writes"), (&past.saw, "writes follow reads")]
            {
                for mark in marks {
                    if !self.contains(mark) {
                        self.add(mark, guarantee, Some(&after));
                        open.push(mark.clone());
                    }
                }
            }
        }
    }

    fn lacking(
        &self,
        key: &str,
        marks: &BTreeSet<String>,
    ) -> Option<(Mark, &'static str, Option<Mark>)> {
        let wanted = self.0.get(key)?.iter();
        let mut lacking = wanted.filter(|(mark, _)| !marks.contains(*mark));
        lacking.next().map(|(mark, (guarantee, because))| {
            ((key.to_owned(), mark.clone()), *guarantee, because.clone())
        })
    }
}

/// The first guarantee that a history breaks. Entries stand in the order of `at`; `lost` marks were
/// declared lost, and nobody has to see them.
pub fn check(history: &[Entry], lost: &BTreeSet<Mark>) -> Result<(), Box<Broken>> {
    let mut sessions: BTreeMap<usize, Past> = BTreeMap::new();
    let mut pasts: BTreeMap<Mark, Past> = BTreeMap::new();
    let mut of_session: BTreeMap<usize, Required> = BTreeMap::new();
    let mut of_region: BTreeMap<String, Required> = BTreeMap::new();
    // Reads that are over, by when: a region has to show them to reads that begin later.
    let mut over: BTreeMap<String, Vec<(u64, Mark)>> = BTreeMap::new();
    for Entry { session, at, deed } in history {
        let past = sessions.entry(*session).or_default();
        let own = of_session.entry(*session).or_default();
        match deed {
            Deed::Begins { key, mark } => {
                // Of several attempts any may be the one that is seen: what comes before it is what
                // came before all of them.
                let mark = (key.clone(), mark.clone());
                match pasts.get_mut(&mark) {
                    Some(earlier) => earlier.meet(past),
                    None => drop(pasts.insert(mark, past.clone())),
                }
            }
            Deed::Wrote { key, mark } => {
                let mark = (key.clone(), mark.clone());
                own.see(&mark, "read your writes", &pasts);
                past.wrote.insert(mark);
            }
            Deed::Read { region, key, marks, begun } => {
                let there = of_region.entry(region.clone()).or_default();
                let waiting = over.entry(region.clone()).or_default();
                waiting.retain(|(ended, mark)| {
                    let counts = ended < begun;
                    if counts {
                        there.see(mark, "a region shows what it showed", &pasts);
                    }
                    !counts
                });
                for required in [&*own, there] {
                    let lacking = required.lacking(key, marks);
                    if let Some((missing, guarantee, because)) = lacking
                        && !lost.contains(&missing)
                    {
                        let (session, region) = (*session, region.clone());
                        return Err(Box::new(Broken {
                            guarantee,
                            session,
                            region,
                            missing,
                            because,
                        }));
                    }
                }
                for mark in marks {
                    let mark = (key.clone(), mark.clone());
                    own.see(&mark, "monotonic reads", &pasts);
                    waiting.push((*at, mark.clone()));
                    past.saw.insert(mark);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct History(Vec<Entry>);

    impl History {
        fn wrote(mut self, session: usize, key: &str, mark: &str) -> Self {
            let (key, mark) = (key.to_owned(), mark.to_owned());
            let at = self.0.len() as u64 * 10;
            let begins = Deed::Begins { key: key.clone(), mark: mark.clone() };
            self.0.push(Entry { session, at, deed: begins });
            self.0.push(Entry { session, at: at + 5, deed: Deed::Wrote { key, mark } });
            self
        }

        fn read(mut self, session: usize, region: &str, key: &str, marks: &[&str]) -> Self {
            let at = self.0.len() as u64 * 10;
            let marks = marks.iter().map(|mark| (*mark).to_owned()).collect();
            let (region, key) = (region.to_owned(), key.to_owned());
            let deed = Deed::Read { region, key, marks, begun: at.saturating_sub(5) };
            self.0.push(Entry { session, at, deed });
            self
        }

        fn guarantee(&self) -> Option<&'static str> {
            check(&self.0, &BTreeSet::new()).err().map(|broken| broken.guarantee)
        }
    }

    fn history() -> History {
        History(Vec::new())
    }

    #[test]
    fn each_guarantee_is_told_from_the_others() {
        let mine = history().wrote(1, "k", "a").read(1, "r", "k", &[]);
        assert_eq!(mine.guarantee(), Some("read your writes"));
        let back = history().wrote(2, "k", "a").read(1, "r", "k", &["a"]).read(1, "s", "k", &[]);
        assert_eq!(back.guarantee(), Some("monotonic reads"));
        let order = || history().wrote(1, "k", "a").wrote(1, "l", "b").read(2, "r", "l", &["b"]);
        assert_eq!(order().read(3, "r", "k", &[]).guarantee(), Some("monotonic writes"));
        assert_eq!(order().read(3, "s", "k", &[]).guarantee(), None, "another region may lag");
        assert_eq!(order().read(2, "s", "k", &[]).guarantee(), Some("monotonic writes"));
        let follow = history().wrote(9, "k", "a").read(1, "r", "k", &["a"]).wrote(1, "l", "b");
        let follow = follow.read(2, "s", "l", &["b"]).read(3, "s", "k", &[]);
        assert_eq!(follow.guarantee(), Some("writes follow reads"));
        let shown = history().wrote(9, "k", "a").read(1, "r", "k", &["a"]).read(2, "r", "k", &[]);
        assert_eq!(shown.guarantee(), Some("a region shows what it showed"));
    }

    #[test]
    fn what_comes_before_reaches_through_several_sessions() {
        let chain = history().wrote(1, "k", "a").read(2, "r", "k", &["a"]).wrote(2, "l", "b");
        let chain = chain.read(3, "r", "l", &["b"]).wrote(3, "m", "c").read(4, "s", "m", &["c"]);
        assert_eq!(chain.read(4, "s", "k", &[]).guarantee(), Some("writes follow reads"));
    }

    #[test]
    fn what_is_as_it_must_be_breaks_nothing() {
        let fine = history().wrote(1, "k", "a").read(1, "r", "k", &["a"]).read(2, "s", "k", &[]);
        let fine =
            fine.wrote(2, "k", "b").read(1, "s", "k", &["a", "b"]).read(2, "s", "k", &["a", "b"]);
        assert_eq!(fine.guarantee(), None);
        // A read that was under way when another one saw more may have seen less.
        let mut late = history().wrote(1, "k", "a").read(1, "r", "k", &["a"]).0;
        let deed = Deed::Read {
            region: "r".to_owned(),
            key: "k".to_owned(),
            marks: BTreeSet::new(),
            begun: 15,
        };
        late.push(Entry { session: 2, at: 90, deed });
        assert_eq!(check(&late, &BTreeSet::new()), Ok(()));
    }

    #[test]
    fn a_write_without_an_answer_need_not_be_there_and_orders_others_if_it_is() {
        let mut begun = history().wrote(1, "k", "a").0;
        let deed = Deed::Begins { key: "l".to_owned(), mark: "b".to_owned() };
        begun.push(Entry { session: 1, at: 30, deed });
        let unanswered = || History(begun.clone());
        assert_eq!(unanswered().read(1, "r", "l", &[]).guarantee(), None);
        let seen = unanswered().read(2, "r", "l", &["b"]).read(2, "r", "k", &[]);
        assert_eq!(seen.guarantee(), Some("monotonic writes"));
    }

    #[test]
    fn a_write_that_was_tried_again_in_a_new_session_follows_what_both_had() {
        let mut tried = history().wrote(1, "k", "a").0;
        let begins = Deed::Begins { key: "l".to_owned(), mark: "b".to_owned() };
        for session in [1, 2] {
            tried.push(Entry { session, at: 30, deed: begins.clone() });
        }
        let seen = History(tried).read(3, "r", "l", &["b"]).read(3, "r", "k", &[]);
        assert_eq!(seen.guarantee(), None);
    }

    #[test]
    fn nobody_has_to_see_what_was_declared_lost() {
        let mine = history().wrote(1, "k", "a").read(1, "r", "k", &[]);
        let lost = [("k".to_owned(), "a".to_owned())].into_iter().collect();
        assert_eq!(check(&mine.0, &lost), Ok(()));
    }
}
