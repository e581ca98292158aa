//! Names: regions, origins and keys, as they stand on the wire and on disk.
//!
//! Every other crate addresses things by these. An origin compares as its text, byte by byte, in
//! the fold too, so its order is the same wherever it is stored as text.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::error::{Error, Result};

/// The longest name (data set, type, aggregate, event type) in bytes: it bounds keys in the store.
pub const NAME_BYTES_MAX: usize = 256;

/// The longest region name in bytes, so that an origin's text stays under 64 bytes.
const REGION_BYTES_MAX: usize = 32;

/// A place with its own stack, `[a-z0-9-]{1,32}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionName(Arc<str>);

impl RegionName {
    /// Checks the form. Errors: [`Error::Region`].
    pub fn parse(text: &str) -> Result<Self> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if text.is_empty() || text.len() > REGION_BYTES_MAX || !text.bytes().all(allowed) {
            return Err(Error::Region(text.to_owned()));
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One ordered log: (region, incarnation, partition), written `<region>.<16 hex>[.N]`.
#[derive(Clone)]
pub struct Origin(Arc<str>);

impl Hash for Origin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// Names of one origin are nearly always the same allocation, so that is looked at first.
impl PartialEq for Origin {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for Origin {}

impl PartialOrd for Origin {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Origin {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl Origin {
    pub fn new(region: &RegionName, incarnation: u64, partition: u16) -> Self {
        match partition {
            0 => Self(format!("{region}.{incarnation:016x}").into()),
            n => Self(format!("{region}.{incarnation:016x}.{n}").into()),
        }
    }

    /// Checks the form. Errors: [`Error::Origin`].
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || Error::Origin(text.to_owned());
        let mut parts = text.split('.');
        let region = parts.next().ok_or_else(wrong)?;
        RegionName::parse(region).map_err(|_| wrong())?;
        let incarnation = parts.next().ok_or_else(wrong)?;
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if incarnation.len() != 16 || !incarnation.bytes().all(hex) {
            return Err(wrong());
        }
        if let Some(partition) = parts.next() {
            let number: u16 = partition.parse().map_err(|_| wrong())?;
            if number == 0 || number.to_string() != partition {
                return Err(wrong());
            }
        }
        if parts.next().is_some() {
            return Err(wrong());
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if both are one allocation: then they are equal, else they may be.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The region's name, the text before the first dot.
    pub fn region(&self) -> &str {
        self.0.split('.').next().unwrap_or(&self.0)
    }

    /// True if this is a log of that region, in any of its incarnations.
    pub fn is_of(&self, region: &RegionName) -> bool {
        let name = region.as_str();
        self.0.as_bytes().get(name.len()) == Some(&b'.') && self.0.starts_with(name)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The address of an aggregate: data set, type and id. No part is empty or holds control
/// characters.
///
/// Keys in memory order by id first, which tells them apart soonest; in the store they lie by
/// [`Key::to_bytes`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key {
    pub aggregate_id: Arc<str>,
    pub aggregate_type: Arc<str>,
    pub data_set: Arc<str>,
}

impl Key {
    pub fn new(data_set: &str, aggregate_type: &str, aggregate_id: &str) -> Self {
        Self {
            data_set: data_set.into(),
            aggregate_type: aggregate_type.into(),
            aggregate_id: aggregate_id.into(),
        }
    }

    /// The three parts, each ended by a zero byte: sorts by data set, type, id.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(
            self.data_set.len() + self.aggregate_type.len() + self.aggregate_id.len() + 3,
        );
        for part in [&self.data_set, &self.aggregate_type, &self.aggregate_id] {
            bytes.extend_from_slice(part.as_bytes());
            bytes.push(0);
        }
        bytes
    }

    /// The inverse of [`Key::to_bytes`]. Errors: [`Error::Short`], [`Error::Utf8`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut parts = bytes.split(|b| *b == 0);
        let mut part = || {
            let bytes = parts.next().ok_or(Error::Short("key"))?;
            std::str::from_utf8(bytes).map_err(|_| Error::Utf8("key"))
        };
        Ok(Self::new(part()?, part()?, part()?))
    }
}
