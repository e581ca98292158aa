//! Policies of a plan: for a share of the seeds the plan's aggregates are written under one from
//! the start, and some change it under way.
//!
//! Drawn from a generator of their own, so that seeds without policies are what they were. What
//! always holds: repetitions of an event id mean what their first use meant.

use std::collections::BTreeMap;

use linckia_model::{FieldKind, Operation, Policy, Strategy};
use serde_json::{Map, Value, json};

use super::{Happening, Plan, SPAN_MILLISECONDS, region_name};
use crate::random::Random;

/// Seeds with policies, in a hundred.
const SHARE: u64 = 40;

/// Seeds with policies that change them, in a hundred.
const CHANGES: u64 = 60;

/// Where plans may have fields.
const POINTERS: [&str; 5] = ["/a", "/b", "/n", "/o/p", "/o/q"];

/// Written beside the fields.
const PLAIN: [&str; 2] = ["/x", "/o/y"];

impl Plan {
    pub(super) fn draw_policies(&mut self, random: &mut Random) {
        if !random.percent(SHARE) {
            return;
        }
        self.policies.push(policy(random, self.regions));
        let mut changes_at = u64::MAX;
        if random.percent(CHANGES) {
            self.policies.push(policy(random, self.regions));
            changes_at = random.between(SPAN_MILLISECONDS / 8, SPAN_MILLISECONDS / 2);
            self.push(changes_at, Happening::ChangePolicy);
        }
        let policies = self.policies.clone();
        let mut said: BTreeMap<String, (Operation, Value)> = BTreeMap::new();
        for (at, happening) in &mut self.happenings {
            let Happening::Write { wishes, .. } = happening else { continue };
            // A change takes its time: some writers are early.
            let late = *at > changes_at && random.percent(90);
            let policy = if late { policies.last() } else { policies.first() };
            let Some(policy) = policy else { continue };
            for wish in wishes {
                let new = drawn(random, policy);
                let again = said.get(&wish.id).filter(|_| random.percent(85));
                let content = again.cloned().unwrap_or(new);
                (wish.operation, wish.data) = content.clone();
                said.entry(wish.id.clone()).or_insert(content);
            }
        }
    }
}

/// Some policy of a fleet of so many regions.
pub(crate) fn policy(random: &mut Random, fleet: usize) -> Policy {
    let strategy = *random.pick(&Strategy::ALL);
    let mut regions = Vec::new();
    if strategy == Strategy::RegionPriority {
        let first = random.below(fleet as u64) as usize;
        regions.push(region_name(first));
        let second = (first + 1) % fleet;
        if random.percent(50) {
            regions.push(region_name(second));
        }
    }
    let mut fields = BTreeMap::new();
    if matches!(strategy, Strategy::LastWriterWins | Strategy::Manual) {
        for pointer in POINTERS {
            if random.percent(70) {
                fields.insert(pointer.to_owned(), *random.pick(&FieldKind::ALL));
            }
        }
    }
    Policy::new(strategy, regions, fields).expect("what is drawn is a policy")
}

/// An operation that the policy admits, and data for it.
pub(crate) fn drawn(random: &mut Random, policy: &Policy) -> (Operation, Value) {
    let sets = policy.fields().values().any(|kind| *kind == FieldKind::Set);
    let by_path = matches!(policy.strategy(), Strategy::LastWriterWins | Strategy::Manual);
    let whole = policy.strategy() == Strategy::LastWriterWinsWhole;
    let operation = match random.below(20) {
        0..=4 => Operation::Put,
        5 | 6 => Operation::Delete,
        7 => Operation::Record,
        8..=10 if sets => Operation::Add,
        11..=13 if sets => Operation::Remove,
        14..=16 if by_path || whole => Operation::Increment,
        _ if by_path || whole => Operation::Patch,
        draw if draw % 2 == 0 => Operation::Put,
        _ => Operation::Delete,
    };
    (operation, data(random, policy, operation))
}

fn data(random: &mut Random, policy: &Policy, operation: Operation) -> Value {
    let mut document = Map::new();
    for pointer in POINTERS.into_iter().chain(PLAIN) {
        let kind = policy.fields().get(pointer).copied();
        let speaks = random.percent(55);
        let value = match (operation, kind) {
            (Operation::Add | Operation::Remove, Some(FieldKind::Set)) => some_members(random),
            (Operation::Add | Operation::Remove, _) => continue,
            (Operation::Increment, None | Some(FieldKind::Counter)) => {
                json!(random.below(9) as i64 - 2)
            }
            (Operation::Increment, Some(FieldKind::Map)) => json!({ "k": random.below(5) }),
            (Operation::Increment, _) => continue,
            (Operation::Patch, _) if random.percent(20) => Value::Null,
            (Operation::Put | Operation::Patch, kind) => taken(random, kind, operation),
            _ => continue,
        };
        if !speaks {
            continue;
        }
        match pointer.strip_prefix("/o/") {
            None => drop(document.insert(pointer[1..].to_owned(), value)),
            Some(name) => {
                let inner = document.entry("o").or_insert_with(|| json!({}));
                if let Value::Object(inner) = inner {
                    inner.insert(name.to_owned(), value);
                }
            }
        }
    }
    if operation == Operation::Patch && random.percent(8) {
        document.insert("o".to_owned(), random.pick(&[Value::Null, json!(1)]).clone());
    }
    Value::Object(document)
}

fn some_members(random: &mut Random) -> Value {
    let all = [json!("x"), json!("y"), json!(1), json!(1.0), json!(true)];
    all.into_iter().filter(|_| random.percent(35)).collect()
}

fn taken(random: &mut Random, kind: Option<FieldKind>, operation: Operation) -> Value {
    match kind {
        None if random.percent(20) => json!("t"),
        None | Some(FieldKind::Counter) => json!(random.below(50)),
        Some(FieldKind::Set) => some_members(random),
        Some(FieldKind::Map) => {
            let mut members = Map::new();
            for name in ["k", "l", "m"] {
                match random.below(6) {
                    0 | 1 => drop(members.insert(name.to_owned(), json!(random.below(9)))),
                    2 => drop(members.insert(name.to_owned(), json!({ "z": random.below(9) }))),
                    3 if operation == Operation::Patch => {
                        drop(members.insert(name.to_owned(), Value::Null));
                    }
                    _ => {}
                }
            }
            Value::Object(members)
        }
        Some(FieldKind::Max | FieldKind::Min) if random.percent(20) => json!(4.5),
        Some(FieldKind::Max | FieldKind::Min) => json!(random.below(10)),
        Some(FieldKind::Flag) => json!(random.percent(50)),
    }
}
