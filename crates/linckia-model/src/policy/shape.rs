//! Where a policy's fields lie in a document, as a walk from the root sees it.
//!
//! What always holds: no field lies inside another one.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{FieldKind, POINTER_BYTES_MAX, PolicyError};

/// The fields of a policy by the names on the way to them.
#[derive(Clone, Debug, PartialEq, Default)]
pub(crate) struct Fields {
    kind: Option<FieldKind>,
    below: BTreeMap<String, Fields>,
}

/// What a path is to the fields.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape<'a> {
    /// No field is here or below.
    Plain,
    /// Fields lie below.
    Above(&'a Fields),
    /// A field lies here.
    Field(FieldKind),
    /// Inside a map.
    Member,
}

/// The names in an RFC 6901 pointer; none if it is no pointer.
pub(crate) fn names(pointer: &str) -> Option<Vec<String>> {
    if pointer.is_empty() {
        return Some(Vec::new());
    }
    let name = |part: &str| {
        let mut escapes = part.split('~').skip(1);
        let known = escapes.all(|rest| rest.starts_with(['0', '1']));
        known.then(|| part.replace("~1", "/").replace("~0", "~"))
    };
    pointer.strip_prefix('/')?.split('/').map(name).collect()
}

impl Fields {
    pub(super) const NONE: Self = Self { kind: None, below: BTreeMap::new() };

    pub(super) fn new(fields: &BTreeMap<String, FieldKind>) -> Result<Self, PolicyError> {
        let mut root = Self::NONE;
        for (pointer, kind) in fields {
            let wrong = || PolicyError::Pointer(pointer.clone());
            let names = names(pointer).filter(|names| !names.is_empty()).ok_or_else(wrong)?;
            if pointer.len() > POINTER_BYTES_MAX {
                let (count, bound) = (pointer.len(), POINTER_BYTES_MAX);
                return Err(PolicyError::Many { what: "bytes of a pointer", count, bound });
            }
            let mut at = &mut root;
            for name in names {
                at = at.below.entry(name).or_default();
            }
            at.kind = Some(*kind);
        }
        for below in fields.keys() {
            let inside = |above: &&String| {
                below.strip_prefix(above.as_str()).is_some_and(|rest| rest.starts_with('/'))
            };
            if let Some(above) = fields.keys().find(inside) {
                return Err(PolicyError::Nested { above: above.clone(), below: below.clone() });
            }
        }
        Ok(root)
    }
}

impl<'a> Shape<'a> {
    pub(super) fn root(fields: &'a Fields) -> Self {
        if fields.below.is_empty() { Self::Plain } else { Self::Above(fields) }
    }

    /// One name further down.
    pub(crate) fn child(self, name: &str) -> Self {
        match self {
            Self::Field(FieldKind::Map) | Self::Member => Self::Member,
            Self::Plain | Self::Field(_) => Self::Plain,
            Self::Above(fields) => match fields.below.get(name) {
                Some(Fields { kind: Some(kind), .. }) => Self::Field(*kind),
                Some(fields) => Self::Above(fields),
                None => Self::Plain,
            },
        }
    }
}

impl FieldKind {
    /// True for a value that such a field takes.
    pub(crate) fn takes(self, value: &Value) -> bool {
        match self {
            Self::Counter => value.is_i64() || value.is_u64(),
            Self::Set => is_members(value),
            Self::Map => value.is_object(),
            Self::Max | Self::Min => value.is_number(),
            Self::Flag => value.is_boolean(),
        }
    }
}

/// True for members of a set: an array of texts, numbers and booleans.
pub(crate) fn is_members(value: &Value) -> bool {
    let member =
        |value: &Value| matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_));
    value.as_array().is_some_and(|members| members.iter().all(member))
}
