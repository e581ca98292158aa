//! What a policy lets be written, asked before an event is born.
//!
//! The fold does not rely on it: an event that is out of place has no effect there and goes on
//! record (ruling 17). This is so that its writer hears of it.

use serde_json::{Map, Value};

use super::{FieldKind, Policy, Shape, Strategy, is_members};
use crate::event::Operation;

/// Why a policy does not let something be written, and where in its data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Inadmissible {
    /// Into the event's data; the root for the operation itself.
    pub pointer: String,
    pub reason: String,
}

type Admission = Result<(), Inadmissible>;

fn no<T>(pointer: &str, reason: impl Into<String>) -> Result<T, Inadmissible> {
    Err(Inadmissible { pointer: pointer.to_owned(), reason: reason.into() })
}

impl Policy {
    /// Judges an operation and its data.
    ///
    /// # Errors
    /// What is out of place, and where.
    pub fn admits(&self, operation: Operation, data: &Value) -> Admission {
        let strategy = self.strategy.name();
        match (self.strategy, operation) {
            (_, Operation::Record) => Ok(()),
            (
                Strategy::RegionPriority | Strategy::DeleteWins | Strategy::UpdateWins,
                Operation::Put | Operation::Delete,
            ) => Ok(()),
            (Strategy::RegionPriority | Strategy::DeleteWins | Strategy::UpdateWins, _) => no(
                "",
                format!(
                    "under {strategy} a type is written by put and delete alone, not by {}",
                    operation.name()
                ),
            ),
            (Strategy::LastWriterWinsWhole, Operation::Add | Operation::Remove) => no(
                "",
                format!("under {strategy} there are no sets to {} members of", operation.name()),
            ),
            (Strategy::LastWriterWinsWhole, _) | (_, Operation::Delete) => Ok(()),
            (_, Operation::Add | Operation::Remove) if data == &Value::Object(Map::new()) => {
                no("", format!("{} names members of sets, and this names none", operation.name()))
            }
            (_, Operation::Add | Operation::Remove) => {
                members(data, self.shape(), operation, &mut String::new())
            }
            (_, operation) => match (self.shape(), data.as_object()) {
                (shape @ Shape::Above(_), Some(data)) => {
                    below(data, shape, operation, &mut String::new())
                }
                _ => Ok(()),
            },
        }
    }
}

fn step(pointer: &mut String, name: &str) -> usize {
    let before = pointer.len();
    pointer.push('/');
    pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
    before
}

/// Every leaf is an array of members, and lies at a set.
fn members(data: &Value, shape: Shape<'_>, operation: Operation, at: &mut String) -> Admission {
    let name = operation.name();
    match (data, shape) {
        (data, Shape::Field(FieldKind::Set)) if is_members(data) => Ok(()),
        (_, Shape::Field(FieldKind::Set)) => {
            no(at, format!("{name} takes an array of texts, numbers and booleans for a set"))
        }
        (Value::Object(data), _) => data.iter().try_for_each(|(member, data)| {
            let before = step(at, member);
            members(data, shape.child(member), operation, at)?;
            at.truncate(before);
            Ok(())
        }),
        _ => no(at, format!("{name} changes the members of sets, and there is no set here")),
    }
}

/// What is said of fields is what they take.
fn below(
    data: &Map<String, Value>,
    shape: Shape<'_>,
    operation: Operation,
    at: &mut String,
) -> Admission {
    for (name, value) in data {
        let before = step(at, name);
        match (shape.child(name), value) {
            (Shape::Field(kind), value) => field(kind, value, operation, at)?,
            (shape @ Shape::Above(_), Value::Object(data)) => below(data, shape, operation, at)?,
            _ => {}
        }
        at.truncate(before);
    }
    Ok(())
}

fn field(kind: FieldKind, value: &Value, operation: Operation, at: &str) -> Admission {
    let name = kind.name();
    match operation {
        Operation::Increment if kind == FieldKind::Counter && !value.is_object() => Ok(()),
        Operation::Increment if kind == FieldKind::Map && value.is_object() => Ok(()),
        Operation::Increment => no(at, format!("a {name} is not incremented")),
        Operation::Patch if value.is_null() => Ok(()),
        _ if kind.takes(value) => Ok(()),
        _ => {
            let takes = match kind {
                FieldKind::Counter => "an integer",
                FieldKind::Set => "an array of texts, numbers and booleans",
                FieldKind::Map => "an object",
                FieldKind::Max | FieldKind::Min => "a number",
                FieldKind::Flag => "true or false",
            };
            no(at, format!("a {name} takes {takes}"))
        }
    }
}
