//! What the fleet agreed on policies, as a region is told it: with the barrier between two epochs.

use serde::{Deserialize, Serialize};

use super::Policies;
use crate::name::Key;
use crate::vector::Vector;

/// An aggregate type, in its data set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TypeName {
    pub data_set: String,
    pub aggregate_type: String,
}

impl TypeName {
    /// The type of a key.
    pub fn of(key: &Key) -> Self {
        let (data_set, aggregate_type) = (&*key.data_set, &*key.aggregate_type);
        Self { data_set: data_set.to_owned(), aggregate_type: aggregate_type.to_owned() }
    }
}

/// Policies, and what a region does before it writes under them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AgreedPolicies {
    /// Of every open epoch; types whose policy is being changed are closed.
    pub policies: Policies,
    /// Types that are being changed, with the epoch that begins: nobody writes them, and everybody
    /// says how far what was written is.
    pub closing: Vec<(TypeName, u64)>,
    /// What must be applied before a type is written under its open epoch.
    pub awaited: Vec<(TypeName, Vector)>,
}
