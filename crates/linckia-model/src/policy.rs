//! Policies: by which rule concurrent writes of one aggregate type come to one value.
//!
//! A policy is data under an epoch, agreed by the fleet. Capture asks it what may be written, the
//! fold obeys it. What always holds: a [`Policy`] that exists is valid, and its JSON is what the
//! door takes and gives, without the epoch. Rulings 16 and on of `docs/fold.md`.

mod admission;
mod agreed;
mod epochs;
mod shape;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

pub use admission::Inadmissible;
pub use agreed::{AgreedPolicies, TypeName};
pub use epochs::{Epochs, Policies};
pub(crate) use shape::{Fields, Shape, is_members, names};

use crate::name::RegionName;

/// Fields of one policy at most: each is looked for in every write of the type.
const FIELDS_MAX: usize = 64;

/// The longest pointer to a field, in bytes.
const POINTER_BYTES_MAX: usize = 1_024;

/// Regions of one policy at most: no fleet has more.
const REGIONS_MAX: usize = 64;

/// Which of concurrent writes wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strategy {
    /// The later in order, per path.
    LastWriterWins,
    /// The later in order, the whole document as its writer left it.
    LastWriterWinsWhole,
    /// The write of the region named first.
    RegionPriority,
    /// A delete over a put.
    DeleteWins,
    /// A put over a delete.
    UpdateWins,
    /// The later in order, per path, and a person is asked.
    Manual,
}

impl Strategy {
    pub const ALL: [Self; 6] = [
        Self::LastWriterWins,
        Self::LastWriterWinsWhole,
        Self::RegionPriority,
        Self::DeleteWins,
        Self::UpdateWins,
        Self::Manual,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::LastWriterWins => "LastWriterWins",
            Self::LastWriterWinsWhole => "LastWriterWinsWhole",
            Self::RegionPriority => "RegionPriority",
            Self::DeleteWins => "DeleteWins",
            Self::UpdateWins => "UpdateWins",
            Self::Manual => "Manual",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.name() == name)
    }

    /// True where a document is folded path by path; otherwise it is one value.
    pub(crate) const fn by_path(self) -> bool {
        matches!(self, Self::LastWriterWins | Self::Manual)
    }
}

/// How concurrent writes of one path are merged, instead of one losing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FieldKind {
    Counter,
    Set,
    Map,
    Max,
    Min,
    Flag,
}

impl FieldKind {
    pub const ALL: [Self; 6] =
        [Self::Counter, Self::Set, Self::Map, Self::Max, Self::Min, Self::Flag];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Set => "set",
            Self::Map => "map",
            Self::Max => "max",
            Self::Min => "min",
            Self::Flag => "flag",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Why a policy is none. What to do stands in the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("a policy is an object with strategy, regions and fields, and not {0}")]
    Shape(&'static str),
    #[error("a policy has no member {0:?}; it has strategy, regions and fields")]
    Member(String),
    #[error("there is no strategy {0:?}; give one of {names}", names = strategies())]
    Strategy(String),
    #[error("a field cannot be {0:?}; give one of {names}", names = kinds())]
    Kind(String),
    #[error("region {0:?} is not of the form [a-z0-9-]{{1,32}}")]
    Region(String),
    #[error("region {0} is named twice; name each once, the best first")]
    RegionTwice(RegionName),
    #[error("RegionPriority needs its regions, the best first")]
    RegionsMissing,
    #[error("regions belong to RegionPriority; {0} has none")]
    RegionsUnused(&'static str),
    #[error("fields belong to LastWriterWins and Manual, which fold by path; {0} has none")]
    FieldsUnused(&'static str),
    #[error(
        "{0:?} is not the pointer of a field: it begins with /, and ~ stands in ~0 and ~1 only"
    )]
    Pointer(String),
    #[error("the field {below} lies inside the field {above}; name one of them")]
    Nested { above: String, below: String },
    #[error("{count} {what} are more than the {bound} that a policy may have")]
    Many { what: &'static str, count: usize, bound: usize },
    #[error("epoch {given} of this type is not above {last}, the one before it")]
    Epoch { given: u64, last: u64 },
}

fn strategies() -> String {
    Strategy::ALL.map(Strategy::name).join(", ")
}

fn kinds() -> String {
    FieldKind::ALL.map(FieldKind::name).join(", ")
}

/// The rule of one aggregate type, valid.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    strategy: Strategy,
    regions: Vec<RegionName>,
    fields: BTreeMap<String, FieldKind>,
    shape: Fields,
}

/// What holds where nothing was agreed: last writer wins, by path.
pub(crate) static DEFAULT: Policy = Policy {
    strategy: Strategy::LastWriterWins,
    regions: Vec::new(),
    fields: BTreeMap::new(),
    shape: Fields::NONE,
};

impl Default for Policy {
    fn default() -> Self {
        DEFAULT.clone()
    }
}

impl Policy {
    /// Checks and makes one; `fields` by JSON pointer.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(
        strategy: Strategy,
        regions: Vec<RegionName>,
        fields: BTreeMap<String, FieldKind>,
    ) -> Result<Self, PolicyError> {
        for (what, count, bound) in
            [("regions", regions.len(), REGIONS_MAX), ("fields", fields.len(), FIELDS_MAX)]
        {
            if count > bound {
                return Err(PolicyError::Many { what, count, bound });
            }
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = regions.iter().find(|region| !seen.insert(*region)) {
            return Err(PolicyError::RegionTwice(twice.clone()));
        }
        match (strategy == Strategy::RegionPriority, regions.is_empty()) {
            (true, true) => return Err(PolicyError::RegionsMissing),
            (false, false) => return Err(PolicyError::RegionsUnused(strategy.name())),
            _ => {}
        }
        if !strategy.by_path() && !fields.is_empty() {
            return Err(PolicyError::FieldsUnused(strategy.name()));
        }
        let shape = Fields::new(&fields)?;
        Ok(Self { strategy, regions, fields, shape })
    }

    /// Reads `{"strategy":…,"regions":[…],"fields":{…}}`; regions and fields may be absent.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(json: &Value) -> Result<Self, PolicyError> {
        let members = json.as_object().ok_or(PolicyError::Shape("another value"))?;
        let known = ["strategy", "regions", "fields"];
        if let Some(name) = members.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(PolicyError::Member(name.clone()));
        }
        let strategy = members.get("strategy").and_then(Value::as_str);
        let strategy = strategy.ok_or(PolicyError::Shape("one without a strategy's name"))?;
        let strategy = Strategy::from_name(strategy)
            .ok_or_else(|| PolicyError::Strategy(strategy.to_owned()))?;
        let regions = match members.get("regions") {
            None => Vec::new(),
            Some(Value::Array(names)) => names.iter().map(region).collect::<Result<_, _>>()?,
            Some(_) => return Err(PolicyError::Shape("one whose regions are no array")),
        };
        let empty = Map::new();
        let fields = match members.get("fields") {
            None => &empty,
            Some(Value::Object(fields)) => fields,
            Some(_) => return Err(PolicyError::Shape("one whose fields are no object")),
        };
        let fields = fields.iter().map(field).collect::<Result<_, _>>()?;
        Self::new(strategy, regions, fields)
    }

    /// The inverse of [`Policy::from_json`], with every member.
    pub fn to_json(&self) -> Value {
        let regions: Vec<&str> = self.regions.iter().map(RegionName::as_str).collect();
        let fields = self.fields.iter().map(|(pointer, kind)| (pointer.clone(), kind.name()));
        let fields: Map<String, Value> = fields.map(|(p, kind)| (p, json!(kind))).collect();
        json!({ "strategy": self.strategy.name(), "regions": regions, "fields": fields })
    }

    pub fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// For region priority, best first; else empty.
    pub fn regions(&self) -> &[RegionName] {
        &self.regions
    }

    /// By JSON pointer.
    pub fn fields(&self) -> &BTreeMap<String, FieldKind> {
        &self.fields
    }

    /// Where the fields lie, seen from the root.
    pub(crate) fn shape(&self) -> Shape<'_> {
        Shape::root(&self.shape)
    }
}

fn region(name: &Value) -> Result<RegionName, PolicyError> {
    let text = name.as_str().ok_or(PolicyError::Shape("one whose regions are no texts"))?;
    RegionName::parse(text).map_err(|_| PolicyError::Region(text.to_owned()))
}

fn field((pointer, kind): (&String, &Value)) -> Result<(String, FieldKind), PolicyError> {
    let name = kind.as_str().ok_or(PolicyError::Shape("one whose fields are no texts"))?;
    let kind = FieldKind::from_name(name).ok_or_else(|| PolicyError::Kind(name.to_owned()))?;
    Ok((pointer.clone(), kind))
}
