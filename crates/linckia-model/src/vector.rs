//! Dots and vectors: which events a region, an event or a client has.
//!
//! A vector says, per origin, the highest gapless sequence; events carry one as their deps, regions
//! keep one for what is applied and one for what is durable. Only sequences from 1 stand in it.

use std::fmt;

use crate::error::{Error, Result};
use crate::hlc::Hlc;
use crate::name::Origin;

/// One event's name: its origin and its sequence there, from 1.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Dot {
    pub origin: Origin,
    pub sequence: u64,
}

impl Dot {
    pub fn new(origin: Origin, sequence: u64) -> Self {
        Self { origin, sequence }
    }

    /// Reads `<origin>:<sequence>`. Errors: [`Error::Dot`].
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || Error::Dot(text.to_owned());
        let (origin, sequence) = text.rsplit_once(':').ok_or_else(wrong)?;
        let origin = Origin::parse(origin).map_err(|_| wrong())?;
        let sequence: u64 = sequence.parse().map_err(|_| wrong())?;
        if sequence == 0 { Err(wrong()) } else { Ok(Self { origin, sequence }) }
    }
}

impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.origin, self.sequence)
    }
}

/// An event's place in the total order of the fold: (HLC, origin, sequence).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Stamp {
    pub hlc: Hlc,
    pub dot: Dot,
}

/// Per origin the highest gapless sequence; absent means none.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Vector(Vec<(Origin, u64)>);

impl Vector {
    pub fn new() -> Self {
        Self::default()
    }

    /// Names of one origin are nearly always one allocation, and a fleet has few of them.
    fn place(&self, origin: &Origin) -> std::result::Result<usize, usize> {
        match self.0.iter().position(|(known, _)| known.is_same(origin)) {
            Some(place) => Ok(place),
            None => self.0.binary_search_by(|(known, _)| known.cmp(origin)),
        }
    }

    pub fn get(&self, origin: &Origin) -> u64 {
        self.place(origin).map_or(0, |i| self.0[i].1)
    }

    /// Sets an origin's sequence; 0 removes it.
    pub fn set(&mut self, origin: &Origin, sequence: u64) {
        match self.place(origin) {
            Ok(i) if sequence == 0 => drop(self.0.remove(i)),
            Ok(i) => self.0[i].1 = sequence,
            Err(_) if sequence == 0 => {}
            Err(i) => self.0.insert(i, (origin.clone(), sequence)),
        }
    }

    pub fn covers(&self, dot: &Dot) -> bool {
        self.get(&dot.origin) >= dot.sequence
    }

    /// True if everything in `other` is in this one.
    pub fn covers_all(&self, other: &Self) -> bool {
        other.0.iter().all(|(origin, sequence)| self.get(origin) >= *sequence)
    }

    /// Takes this sequence of an origin unless a higher one is here.
    pub fn raise(&mut self, origin: &Origin, sequence: u64) {
        if self.get(origin) < sequence {
            self.set(origin, sequence);
        }
    }

    /// Takes the higher sequence of each origin.
    pub fn join(&mut self, other: &Self) {
        for (origin, sequence) in &other.0 {
            self.raise(origin, *sequence);
        }
    }

    /// The origin of that name, the one that stands here if it does. Errors: [`Error::Origin`].
    pub fn origin(&self, text: &str) -> Result<Origin> {
        let here = self.0.iter().map(|(origin, _)| origin).find(|o| o.as_str() == text);
        here.map_or_else(|| Origin::parse(text), |origin| Ok(origin.clone()))
    }

    /// Takes the lower sequence of each origin.
    pub fn meet(&mut self, other: &Self) {
        self.0.retain_mut(|(origin, sequence)| {
            *sequence = (*sequence).min(other.get(origin));
            *sequence > 0
        });
    }

    /// What stands here beyond `have`: (origin, first missing, last).
    pub fn beyond<'a>(&'a self, have: &'a Self) -> impl Iterator<Item = (&'a Origin, u64, u64)> {
        self.0.iter().filter_map(|(origin, last)| {
            let had = have.get(origin);
            (had < *last).then_some((origin, had + 1, *last))
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Origin, u64)> + Clone {
        self.0.iter().map(|(origin, sequence)| (origin, *sequence))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Events in all.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(_, sequence)| sequence).sum()
    }

    /// Reads the sorted text `<origin>:<sequence>,…`; empty text is the empty vector. Errors:
    /// [`Error::Vector`].
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |_| Error::Vector(text.to_owned());
        let mut vector = Self::new();
        for part in text.split(',').filter(|_| !text.is_empty()) {
            let dot = Dot::parse(part).map_err(wrong)?;
            if vector.get(&dot.origin) != 0 {
                return Err(Error::Vector(text.to_owned()));
            }
            vector.set(&dot.origin, dot.sequence);
        }
        Ok(vector)
    }
}

impl fmt::Display for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (origin, sequence)) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{origin}:{sequence}")?;
        }
        Ok(())
    }
}

impl FromIterator<(Origin, u64)> for Vector {
    fn from_iter<I: IntoIterator<Item = (Origin, u64)>>(pairs: I) -> Self {
        let mut vector = Self::new();
        for (origin, sequence) in pairs {
            vector.raise(&origin, sequence);
        }
        vector
    }
}

/// The smallest vector that covers these.
impl<'a> FromIterator<&'a Dot> for Vector {
    fn from_iter<I: IntoIterator<Item = &'a Dot>>(dots: I) -> Self {
        dots.into_iter().map(|dot| (dot.origin.clone(), dot.sequence)).collect()
    }
}
