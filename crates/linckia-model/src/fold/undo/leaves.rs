//! A document as its leaves: what lies at which path, so that two documents compare path by path.
//!
//! Under `undo`. A leaf is a value that is no object, or an object without members. What always
//! holds: the leaves of a document make that document again.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The names from the root to a place.
pub(super) type Place = Vec<String>;

pub(super) type Leaves = BTreeMap<Place, Value>;

/// The leaves of a document; of none, none.
pub(super) fn leaves(document: Option<&Value>) -> Leaves {
    let mut found = Leaves::new();
    if let Some(document) = document {
        gather(document, &mut Place::new(), &mut found);
    }
    found
}

fn gather(value: &Value, at: &mut Place, found: &mut Leaves) {
    match value.as_object() {
        Some(members) if !members.is_empty() => {
            for (name, member) in members {
                at.push(name.clone());
                gather(member, at, found);
                at.pop();
            }
        }
        _ => drop(found.insert(at.clone(), value.clone())),
    }
}

/// The document of these leaves. One that lies below another one takes its place.
pub(super) fn document(leaves: &Leaves) -> Option<Value> {
    let mut root: Option<Value> = None;
    for (place, value) in leaves {
        let root = root.get_or_insert_with(|| Value::Object(Map::new()));
        put(root, place, value.clone());
    }
    root
}

/// Puts a value at a place, with objects on the way to it.
pub(super) fn put(at: &mut Value, place: &[String], value: Value) {
    let Some((first, rest)) = place.split_first() else {
        *at = value;
        return;
    };
    if !at.is_object() {
        *at = Value::Object(Map::new());
    }
    if let Some(members) = at.as_object_mut() {
        put(members.entry(first).or_insert(Value::Null), rest, value);
    }
}

/// The merge patch that makes one document of another; none if that takes a `null` as a value,
/// which no patch can set.
pub(super) fn difference(from: &Value, to: &Value) -> Option<Map<String, Value>> {
    let empty = Map::new();
    let (from, to) = (from.as_object().unwrap_or(&empty), to.as_object().unwrap_or(&empty));
    let mut patch = Map::new();
    for name in from.keys().filter(|name| !to.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    for (name, wanted) in to {
        let said = match from.get(name) {
            Some(found) if found == wanted => continue,
            Some(found) if found.is_object() && wanted.is_object() => {
                Value::Object(difference(found, wanted)?)
            }
            _ if holds_null(wanted) => return None,
            _ => wanted.clone(),
        };
        patch.insert(name.clone(), said);
    }
    Some(patch)
}

fn holds_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(members) => members.values().any(holds_null),
        _ => false,
    }
}
