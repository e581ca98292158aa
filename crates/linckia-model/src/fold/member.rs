//! Scalars with an order: members of sets, and numbers of which one is the greatest.
//!
//! Truth values, then numbers, then texts. Numbers compare by value; an integer and a fraction of
//! one value are two members, the fraction first. What always holds: the order is total, and the
//! same in every region.

use std::cmp::Ordering;
use std::sync::Arc;

use serde_json::{Number, Value};

#[derive(Clone, Debug)]
pub(super) enum Member {
    Bool(bool),
    Number(Number),
    Text(Arc<str>),
}

impl Member {
    pub(super) fn new(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(value) => Some(Self::Bool(*value)),
            Value::Number(number) => Some(Self::Number(number.clone())),
            Value::String(text) => Some(Self::Text(text.as_str().into())),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    pub(super) fn value(&self) -> Value {
        match self {
            Self::Bool(value) => Value::Bool(*value),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Text(text) => Value::String(text.to_string()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Bool(_) => 0,
            Self::Number(_) => 1,
            Self::Text(_) => 2,
        }
    }
}

/// By value; what a fraction cannot tell apart, integers do.
fn compare(left: &Number, right: &Number) -> Ordering {
    let fraction = |number: &Number| number.as_f64().unwrap_or(0.0);
    let integer = Number::as_i128;
    fraction(left).total_cmp(&fraction(right)).then_with(|| integer(left).cmp(&integer(right)))
}

impl Ord for Member {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(left), Self::Bool(right)) => left.cmp(right),
            (Self::Number(left), Self::Number(right)) => compare(left, right),
            (Self::Text(left), Self::Text(right)) => left.cmp(right),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Member {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Member {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Member {}
