//! Random histories under every policy: whatever the order of arrival, whatever was settled on the
//! way, and whether it lay in a store in between, what stands is what replay in order gives.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};
use serde_json::{Map, json};

use super::*;
use crate::policy::{FieldKind, Policies, Strategy};

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize].clone()
    }

    fn policy(&mut self) -> Policy {
        let strategy = self.pick(&Strategy::ALL);
        let regions = match strategy {
            Strategy::RegionPriority => json!(["b", "c"]),
            _ => json!([]),
        };
        let mut fields = Map::new();
        if strategy.by_path() {
            for pointer in ["/a", "/b", "/o/p", "/o/q"] {
                let kind = self.pick(&FieldKind::ALL);
                if self.below(4) > 0 {
                    fields.insert(pointer.to_owned(), json!(kind.name()));
                }
            }
        }
        let json = json!({ "strategy": strategy.name(), "regions": regions, "fields": fields });
        Policy::from_json(&json).unwrap()
    }

    fn scalar(&mut self) -> Value {
        match self.below(6) {
            0 => json!("x"),
            1 => json!(true),
            2 => json!(1.5),
            _ => json!(self.below(5)),
        }
    }

    fn value(&mut self, kind: Option<FieldKind>, depth: u64) -> Value {
        match kind {
            _ if self.below(12) == 0 => self.scalar(),
            Some(FieldKind::Set) => {
                let count = self.below(3);
                (0..count).map(|_| self.scalar()).collect()
            }
            Some(FieldKind::Flag) => json!(self.below(2) == 0),
            Some(FieldKind::Map) => {
                let names = ["k", "l"].into_iter().filter(|_| self.below(2) == 0);
                let names: Vec<&str> = names.collect();
                let members = names.into_iter().map(|name| (name.to_owned(), self.value(None, 1)));
                Value::Object(members.collect())
            }
            Some(_) => json!(self.below(9)),
            None if depth == 0 && self.below(3) == 0 => json!({ "z": self.scalar() }),
            None => self.scalar(),
        }
    }

    /// Data of an operation, which says something of these fields, mostly what they take.
    fn data(&mut self, operation: Operation, policy: &Policy) -> Value {
        let mut data = Map::new();
        for pointer in ["/a", "/b", "/o/p", "/o/q", "/z"] {
            if self.below(2) == 0 {
                continue;
            }
            let kind = policy.fields().get(pointer).copied();
            let value = match operation {
                Operation::Patch if self.below(4) == 0 => Value::Null,
                Operation::Increment if kind == Some(FieldKind::Map) => json!({ "k": 1 }),
                Operation::Increment => json!(self.below(5)),
                Operation::Add | Operation::Remove => self.value(Some(FieldKind::Set), 1),
                _ => self.value(kind, 0),
            };
            match pointer.strip_prefix("/o/") {
                None => drop(data.insert(pointer[1..].to_owned(), value)),
                Some(name) => {
                    let inner = data.entry("o").or_insert(json!({}));
                    inner.as_object_mut().unwrap().insert(name.to_owned(), value);
                }
            }
        }
        if operation == Operation::Patch && self.below(10) == 0 {
            data.insert("o".to_owned(), self.scalar());
        }
        Value::Object(data)
    }

    fn operation(&mut self, policy: &Policy) -> Operation {
        loop {
            let operation = self.pick(&Operation::ALL);
            if policy.admits(operation, &json!({})).is_ok() || self.below(20) == 0 {
                return operation;
            }
        }
    }
}

const REGIONS: [&str; 3] = ["a", "b", "c"];

struct Writer {
    applied: Vector,
    clock: u64,
    next: u64,
}

/// Events as three regions would write them, each having applied some of the others'; epochs change
/// where everybody has applied everything.
fn history(dice: &mut Dice, epochs: &Epochs, last_epoch: u64) -> Vec<Arc<Event>> {
    let mut writers: Vec<Writer> =
        REGIONS.iter().map(|_| Writer { applied: Vector::new(), clock: 0, next: 1 }).collect();
    let mut events: Vec<Arc<Event>> = Vec::new();
    for epoch in 0..=last_epoch {
        let policy = epochs.get(epoch).unwrap();
        let count = dice.below(if epoch == 0 { 4 } else { 14 });
        for _ in 0..count {
            let place = dice.below(3) as usize;
            for _ in 0..dice.below(8) {
                let fits = |e: &&Arc<Event>| {
                    let applied = &writers[place].applied;
                    !applied.covers(&e.dot)
                        && applied.get(&e.dot.origin) + 1 == e.dot.sequence
                        && e.deps.iter().all(|(o, n)| *o == e.dot.origin || applied.get(o) >= n)
                };
                let Some(event) = events.iter().filter(fits).min_by_key(|_| dice.below(9)) else {
                    break;
                };
                let writer = &mut writers[place];
                writer.applied.raise(&event.dot.origin, event.dot.sequence);
                writer.clock = writer.clock.max(event.hlc.milliseconds());
            }
            let writer = &mut writers[place];
            writer.clock += 1 + dice.below(4);
            let operation = dice.operation(policy);
            let deps: Vec<(String, u64)> =
                writer.applied.iter().map(|(o, n)| (o.region().to_owned(), n)).collect();
            let deps: Vec<(&str, u64)> = deps.iter().map(|(r, n)| (r.as_str(), *n)).collect();
            let data = dice.data(operation, policy);
            let case = (REGIONS[place], writer.next, writer.clock, operation, data, &deps[..]);
            let id = (dice.below(6) == 0).then(|| format!("id{}", dice.below(3)));
            let mut event = Arc::unwrap_or_clone(super::event(&case, id.as_deref()));
            event.policy_epoch = epoch;
            writer.applied.raise(&event.dot.origin, event.dot.sequence);
            writer.next += 1;
            events.push(Arc::new(event));
        }
        let all: Vector = events.iter().map(|event| &event.dot).collect();
        let clock = writers.iter().map(|writer| writer.clock).max().unwrap_or(0);
        writers.iter_mut().for_each(|w| (w.applied, w.clock) = (all.clone(), clock));
    }
    events
}

/// The highest time at which everything is applied and covered by every event still to come.
fn stable(done: &[Arc<Event>], rest: &[Arc<Event>]) -> Hlc {
    let open = |event: &&Arc<Event>| rest.iter().any(|r| !r.deps.covers(&event.dot));
    let bound = done.iter().filter(open).chain(rest).map(|event| event.hlc).min();
    bound.map_or(Hlc::MAX, |hlc| Hlc::from_bits(hlc.bits() - 1))
}

/// Some order in which a region may apply them.
fn arrival(dice: &mut Dice, events: &[Arc<Event>]) -> Vec<Arc<Event>> {
    let (mut left, mut applied, mut order) = (events.to_vec(), Vector::new(), Vec::new());
    while !left.is_empty() {
        let fits = |e: &Arc<Event>| {
            e.dot.sequence == applied.get(&e.dot.origin) + 1 && e.depends_within(&applied)
        };
        let ready: Vec<usize> = (0..left.len()).filter(|at| fits(&left[*at])).collect();
        let event = left.remove(dice.pick(&ready));
        applied.raise(&event.dot.origin, event.dot.sequence);
        order.push(event);
    }
    order
}

/// Logs with everything, and a store to which flushes took some of it.
struct Flushed {
    all: Log,
    stored: Log,
}

impl EventSource for Flushed {
    fn event(&self, dot: &Dot) -> std::result::Result<Option<Arc<Event>>, Cause> {
        self.all.event(dot)
    }

    fn between(
        &self,
        key: &Key,
        first: &Stamp,
        last: &Stamp,
    ) -> std::result::Result<Vec<Arc<Event>>, Cause> {
        self.stored.between(key, first, last)
    }
}

type Rows = BTreeMap<RecordKey, Record>;

fn applied(
    dice: &mut Dice,
    order: &[Arc<Event>],
    epochs: &Epochs,
    settles: bool,
) -> (KeyState, Rows) {
    let portion = 1 + dice.below(5) as usize;
    let settings = FoldSettings { tail_portion: portion, ..FoldSettings::default() };
    // Only what flushes took can be read again.
    let all = order.iter().map(|event| (event.dot.clone(), Arc::clone(event))).collect();
    let mut log = Flushed { all: Log(all), stored: Log(HashMap::new()) };
    let (mut state, mut rows) = (KeyState::default(), Rows::new());
    for (place, event) in order.iter().enumerate() {
        let copies = order[..place].iter().filter(|e| e.identity == event.identity);
        let earlier: Vec<Stamp> = copies.map(|e| e.stamp()).collect();
        let change = state.apply(event, &earlier, &log, epochs, &settings).unwrap();
        change.removed.iter().for_each(|key| assert!(rows.remove(key).is_some()));
        let before = rows.len() + change.removed.len();
        rows.extend(change.put);
        assert_eq!(rows.len() as i64 - before as i64, change.growth);
        let stable = match settles && dice.below(2) == 0 {
            true => stable(&order[..=place], &order[place + 1..]),
            false => Hlc::ZERO,
        };
        state.settle(stable, epochs, &settings);
        if dice.below(3) == 0 {
            // A flush, which is done at once or when more was applied, or after a restart.
            state.take(stable, epochs, &settings);
            if dice.below(2) == 0 {
                log.stored.0.extend(order[..=place].iter().map(|e| (e.dot.clone(), Arc::clone(e))));
                state.stored();
                assert_eq!(state.bodies(), 0);
            }
            if dice.below(3) == 0 {
                log.stored.0.extend(order[..=place].iter().map(|e| (e.dot.clone(), Arc::clone(e))));
                let decoded = KeyState::decode(&state.encode(), &Vector::new()).unwrap();
                check_decoded(&decoded, &state);
                state = decoded;
            }
        }
    }
    (state, rows)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]
    #[test]
    fn arrival_and_settling_change_nothing(seed: u64) {
        let dice = &mut Dice(seed);
        let mut policies = Policies::default();
        let last = dice.below(3);
        for epoch in 1..=last {
            policies.open("default", "T", epoch, dice.policy()).unwrap();
        }
        let epochs = policies.of_type("default", "T");
        let events = history(dice, epochs, last);
        let mut ordered = events.clone();
        ordered.sort_by_key(|event| event.stamp());
        let (wanted, records) = applied(dice, &ordered, epochs, false);
        for settles in [false, true] {
            let order = arrival(dice, &events);
            let (found, rows) = applied(dice, &order, epochs, settles);
            let (wanted, found) = (wanted.folded(), found.folded());
            prop_assert_eq!(&found.value, &wanted.value);
            prop_assert_eq!(found.version, wanted.version);
            if wanted.value.is_some() {
                prop_assert_eq!(found.frontier, wanted.frontier);
            }
            prop_assert_eq!(&rows, &records, "settles {}", settles);
        }
    }
}
