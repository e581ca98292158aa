//! Policies as the reference has them: what a plan agreed, by epoch.
//!
//! Ruling 16. A field is looked up by its pointer's names; nothing is prepared for speed.

use std::collections::BTreeMap;

use serde_json::Value;

use super::replay::pointer;

/// The policies of one type by epoch; epoch 0 is the default and not among them.
pub type RefPolicies = BTreeMap<u64, RefPolicy>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RefStrategy {
    #[default]
    LastWriterWins,
    LastWriterWinsWhole,
    RegionPriority,
    DeleteWins,
    UpdateWins,
    Manual,
}

impl RefStrategy {
    pub(super) fn is_whole(self) -> bool {
        !matches!(self, Self::LastWriterWins | Self::Manual)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefField {
    Counter,
    Set,
    Map,
    Max,
    Min,
    Flag,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RefPolicy {
    pub strategy: RefStrategy,
    /// The best first.
    pub regions: Vec<String>,
    /// By pointer.
    pub fields: BTreeMap<String, RefField>,
}

impl RefPolicy {
    pub(super) fn field(&self, path: &[String]) -> Option<RefField> {
        self.fields.get(&pointer(path)).copied()
    }

    /// True below a map.
    pub(super) fn in_map(&self, path: &[String]) -> bool {
        (0..path.len()).any(|length| self.field(&path[..length]) == Some(RefField::Map))
    }
}

impl RefField {
    pub(super) fn takes(self, value: &Value) -> bool {
        match self {
            Self::Counter => value.is_i64() || value.is_u64(),
            Self::Set => is_members(value),
            Self::Map => value.is_object(),
            Self::Max | Self::Min => value.is_number(),
            Self::Flag => value.is_boolean(),
        }
    }

    pub(super) fn counts(self, amount: &Value) -> bool {
        match self {
            Self::Counter => !amount.is_object(),
            Self::Map => amount.is_object(),
            _ => false,
        }
    }
}

pub(super) fn is_members(value: &Value) -> bool {
    let scalar = |v: &Value| !v.is_null() && !v.is_array() && !v.is_object();
    value.as_array().is_some_and(|members| members.iter().all(scalar))
}
