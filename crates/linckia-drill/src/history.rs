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
        if self.contains(seen) {
            // With it came all that is before it: what was before a mark never grows.
            return;
        }
        self.add(seen, guarantee, None);
        let mut open = vec![seen.clone()];
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
mod tests;
