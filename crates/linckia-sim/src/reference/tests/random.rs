//! Random histories, held against a document without any memory, and against the law that whoever
//! has seen everything is in no conflict.

use serde_json::{Value, json};

use super::*;

/// The value, by an implementation that remembers nothing but the document.
fn without_memory(document: &mut Option<Value>, event: &RefEvent) {
    match event.operation {
        RefOperation::Put => *document = Some(event.data.clone()),
        RefOperation::Delete => *document = None,
        RefOperation::Patch => merge(document.get_or_insert_default(), &event.data),
        RefOperation::Increment => count(document.get_or_insert_default(), &event.data),
        RefOperation::Record | RefOperation::Add | RefOperation::Remove => {}
    }
}

/// RFC 7396, section 2.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(members) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, member) in members {
        match member {
            Value::Null => drop(target.as_object_mut().unwrap().remove(name)),
            _ => merge(&mut target[name.as_str()], member),
        }
    }
}

/// Documents hold no null here: null is a path where nothing is.
fn count(target: &mut Value, amounts: &Value) {
    let Value::Object(members) = amounts else {
        if target.is_null() || target.is_i64() {
            *target = json!(target.as_i64().unwrap_or(0) + amounts.as_i64().unwrap());
        }
        return;
    };
    if target.is_null() {
        *target = json!({});
    }
    if let Value::Object(document) = target {
        for (name, member) in members {
            count(document.entry(name).or_insert(Value::Null), member);
        }
    }
}

/// Small numbers from a seed (an LCG's upper bits).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % bound
    }

    fn document(&mut self, operation: RefOperation, depth: u64) -> Value {
        let names = (0..3).filter(|_| self.below(2) == 0).collect::<Vec<_>>();
        let members = names.into_iter().map(|name| {
            let member = match (operation, self.below(6)) {
                (_, 0..=2) if depth > 0 => self.document(operation, depth - 1),
                (RefOperation::Increment, _) => json!(self.below(5)),
                (RefOperation::Patch, 3 | 4) => Value::Null,
                (_, 3) => json!("text"),
                _ => json!(self.below(9)),
            };
            (["x", "y", "z"][name].to_owned(), member)
        });
        Value::Object(members.collect())
    }

    /// An event of one of three origins, having seen any part of the others.
    fn event(&mut self, sequences: &mut [u64; 3]) -> RefEvent {
        let origins = ["a", "b", "c"];
        let own = self.below(3) as usize;
        sequences[own] += 1;
        let seen = [0, 1, 2].map(|at| (origins[at].into(), self.below(sequences[at] + 1)));
        let mut deps = BTreeMap::from(seen);
        deps.insert(origins[own].into(), sequences[own] - 1);
        let operation = match self.below(9) {
            0 => RefOperation::Put,
            1 => RefOperation::Delete,
            2 => RefOperation::Record,
            3..=5 => RefOperation::Patch,
            _ => RefOperation::Increment,
        };
        let data = self.document(operation, 2);
        let name = format!("{}{} record", origins[own], sequences[own]);
        let hlc = sequences.iter().sum::<u64>();
        RefEvent { deps, operation, data, ..event(&name, hlc) }
    }

    fn history(seed: u64) -> Vec<RefEvent> {
        let (mut dice, mut sequences) = (Dice(seed), [0; 3]);
        (0..20).map(|_| dice.event(&mut sequences)).collect()
    }
}

#[test]
fn random_histories_show_what_a_plain_document_shows() {
    for seed in 0..200 {
        let events = Dice::history(seed);
        let mut document = None;
        for length in 1..=events.len() {
            without_memory(&mut document, &events[length - 1]);
            let state = fold(&events[..length], WINDOW);
            assert_eq!(state.value, document, "seed {seed}, event {length}");
        }
    }
}

/// What still goes on record then are increments without effect, which lie after what they met.
#[test]
fn whoever_has_seen_everything_is_in_no_conflict() {
    for seed in 0..200 {
        let mut events = Dice::history(seed);
        for event in &mut events {
            event.deps.extend(["a", "b", "c"].map(|origin| (origin.into(), u64::MAX)));
        }
        let at = |dot: &RefDot| events.iter().position(|event| event.dot == *dot);
        for record in fold(&events, WINDOW).records {
            let refused = record.losers.iter().all(|loser| at(loser) > at(&record.winner));
            assert!(refused, "seed {seed}: {record:?}");
        }
    }
}
