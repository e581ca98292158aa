//! What undoing comes to, on small cases and on random ones; the random ones against a reference
//! that knows flat documents only: per path who wrote last, and what is there without the undone.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::event::{Extras, Transaction};
use crate::hlc::Hlc;
use crate::name::{Key, Origin};
use crate::policy::Policies;
use crate::vector::Dot;
use crate::vector::Vector;
use Operation::{Add, Delete, Increment, Patch, Put};

fn event(sequence: u64, id: &str, operation: Operation, data: Value) -> Arc<Event> {
    let origin = Origin::parse("a.00000000000000aa").unwrap();
    let mut deps = Vector::new();
    deps.set(&origin, sequence - 1);
    Arc::new(Event {
        dot: Dot::new(origin, sequence),
        hlc: Hlc::from_milliseconds(sequence),
        deps,
        transaction: Transaction::single(sequence),
        key: Key::new("default", "T", "1"),
        event_type: "Changed".into(),
        operation,
        data,
        ctx: None,
        identity: Identity { event_id: id.into(), place: 0 },
        version: 0,
        policy_epoch: 0,
        schema_version: 0,
        extras: Extras::default(),
    })
}

struct Bench {
    epochs: Epochs,
    events: Vec<Arc<Event>>,
}

impl Bench {
    fn new(epochs: &Epochs) -> Self {
        Self { epochs: epochs.clone(), events: Vec::new() }
    }

    fn write(&mut self, id: &str, operation: Operation, data: Value) -> &mut Self {
        let sequence = self.events.len() as u64 + 1;
        let mut event = Event::clone(&event(sequence, id, operation, data));
        event.policy_epoch = self.epochs.open();
        self.events.push(Arc::new(event));
        self
    }

    fn value(&self) -> Option<Value> {
        folded(&self.events, &self.epochs, &FoldSettings::default()).folded().value
    }

    fn judge(&self, ids: &[&str]) -> Result<Vec<Compensation>, Left> {
        let named = |event: &Event| ids.contains(&&*event.identity.event_id);
        undo(&self.events, &named, &self.epochs, &FoldSettings::default()).outcome
    }

    fn undo_what_shows(&mut self, ids: &[&str]) -> Vec<String> {
        if self.judge(ids).is_ok() { self.undo(ids) } else { Vec::new() }
    }

    /// Undoes for real: the ids of what was written.
    fn undo(&mut self, ids: &[&str]) -> Vec<String> {
        let planned = self.judge(ids).unwrap();
        let mut places: BTreeMap<Arc<str>, u32> = BTreeMap::new();
        for one in &planned {
            self.write(&one.event_id, one.operation, one.data.clone());
            let place = places.entry(Arc::clone(&one.event_id)).or_default();
            let event = self.events.last_mut().unwrap();
            Arc::make_mut(event).identity.place = *place;
            *place += 1;
        }
        planned.iter().map(|one| one.event_id.to_string()).collect()
    }
}

/// Writes, undoes, holds the value against what is expected, asks again, and undoes the undo.
#[track_caller]
fn check(writes: &[(&str, Operation, Value)], undone: &[&str], expected: Option<Value>) {
    check_under(Epochs::none(), writes, undone, expected);
}

#[track_caller]
fn check_under(
    epochs: &Epochs,
    writes: &[(&str, Operation, Value)],
    undone: &[&str],
    expected: Option<Value>,
) {
    let mut bench = Bench::new(epochs);
    for (id, operation, data) in writes {
        bench.write(id, *operation, data.clone());
    }
    let before = bench.value();
    let ids = bench.undo(undone);
    assert_eq!(bench.value(), expected);
    assert!(bench.judge(undone).is_err(), "asked again: nothing");
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    bench.undo(&ids);
    assert_eq!(bench.value(), before, "the undo is undone");
    bench.undo(undone);
    assert_eq!(bench.value(), expected, "and done once more");
}

#[test]
fn a_path_goes_back() {
    let create = ("0", Put, json!({"a": 1, "b": {"c": 1, "d": [1]}}));
    check(
        &[create.clone(), ("x", Patch, json!({"a": 2, "b": {"c": null}}))],
        &["x"],
        Some(json!({"a": 1, "b": {"c": 1, "d": [1]}})),
    );
    check(
        &[create.clone(), ("x", Patch, json!({"a": 2, "e": 3})), ("1", Patch, json!({"a": 4}))],
        &["x"],
        Some(json!({"a": 4, "b": {"c": 1, "d": [1]}})),
    );
    check(
        &[create.clone(), ("x", Patch, json!({"b": 7})), ("1", Patch, json!({"f": true}))],
        &["x"],
        Some(json!({"a": 1, "b": {"c": 1, "d": [1]}, "f": true})),
    );
    check(
        &[create.clone(), ("x", Patch, json!({"a": 2})), ("y", Patch, json!({"a": 3, "g": 1}))],
        &["x", "y"],
        Some(json!({"a": 1, "b": {"c": 1, "d": [1]}})),
    );
    let nothing = [create, ("x", Patch, json!({"a": 2})), ("1", Patch, json!({"a": 2}))];
    let mut bench = Bench::new(Epochs::none());
    for (id, operation, data) in nothing {
        bench.write(id, operation, data);
    }
    assert_eq!(bench.judge(&["x"]), Err(Left::NothingShows));
    assert_eq!(bench.judge(&["z"]), Err(Left::Undone));
}

#[test]
fn what_another_undo_put_there_covers_nothing() {
    let create = ("0", Put, json!({"a": 0}));
    for (first, second) in [("x", "y"), ("y", "x")] {
        let mut bench = Bench::new(Epochs::none());
        bench.write(create.0, create.1, create.2.clone());
        bench.write("x", Put, json!({"a": 1, "b": 1})).write("y", Patch, json!({"b": 2}));
        let mut ids = bench.undo(&[first]);
        ids.extend(bench.undo(&[second]));
        assert_eq!(bench.value(), Some(json!({"a": 0})));
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        bench.undo(&ids);
        assert_eq!(bench.value(), Some(json!({"a": 1, "b": 2})));
    }
    check(
        &[
            ("0", Put, json!({"n": 3})),
            ("x", Patch, json!({"n": 10})),
            ("y", Increment, json!({"n": 1})),
        ],
        &["x", "y"],
        Some(json!({"n": 3})),
    );
    let mut bench = Bench::new(Epochs::none());
    bench.write("0", Put, json!({"n": 3})).write("x", Patch, json!({"n": 10}));
    bench.write("y", Increment, json!({"n": 1}));
    bench.undo(&["x"]);
    assert_eq!(bench.value(), Some(json!({"n": 4})));
    bench.undo(&["y"]);
    assert_eq!(bench.value(), Some(json!({"n": 3})));
}

#[test]
fn absence_is_a_value() {
    check(&[("x", Put, json!({"a": 1}))], &["x"], None);
    check(&[("x", Patch, json!({}))], &["x"], None);
    check(
        &[("0", Put, json!({"a": {}})), ("x", Delete, json!({}))],
        &["x"],
        Some(json!({"a": {}})),
    );
    check(
        &[("0", Put, json!({"a": null, "b": 1})), ("x", Delete, json!({}))],
        &["x"],
        Some(json!({"a": null, "b": 1})),
    );
    check(
        &[("x", Put, json!({"a": 1})), ("0", Patch, json!({"b": 1}))],
        &["x"],
        Some(json!({"b": 1})),
    );
    check(
        &[("0", Put, json!({"a": 1})), ("x", Put, json!({"b": 1})), ("1", Patch, json!({"c": 1}))],
        &["x"],
        Some(json!({"a": 1, "c": 1})),
    );
    check(
        &[("0", Put, json!({"o": {}})), ("x", Patch, json!({"o": {"in": {"p": 1}}}))],
        &["x"],
        Some(json!({"o": {}})),
    );
}

#[test]
fn an_increment_is_met_by_its_negative() {
    check(
        &[("0", Put, json!({"n": 10})), ("x", Increment, json!({"n": 5, "m": 1}))],
        &["x"],
        Some(json!({"n": 10, "m": 0})),
    );
    check(
        &[
            ("0", Put, json!({"n": 10, "a": 1})),
            ("x", Increment, json!({"n": 5})),
            ("1", Increment, json!({"n": 7})),
            ("y", Patch, json!({"a": 2})),
            ("z", Increment, json!({"n": 100})),
        ],
        &["x", "y", "z"],
        Some(json!({"n": 17, "a": 1})),
    );
    let mut bench = Bench::new(Epochs::none());
    bench.write("0", Put, json!({"n": 10})).write("x", Increment, json!({"n": 5}));
    let only = bench.judge(&["x"]).unwrap();
    assert_eq!((only[0].operation, &only[0].data), (Increment, &json!({"n": -5})));
    bench.write("1", Patch, json!({"n": 1}));
    assert_eq!(bench.judge(&["x"]), Err(Left::NothingShows), "a reset lies between");
    check(
        &[
            ("0", Put, json!({"n": 3})),
            ("x", Put, json!({"n": 10})),
            ("1", Increment, json!({"n": 1})),
        ],
        &["x"],
        Some(json!({"n": 4})),
    );
}

#[test]
fn fields_go_back_member_by_member() {
    let mut policies = Policies::default();
    let fields = json!({"/c": "counter", "/s": "set", "/m": "map", "/x": "max", "/f": "flag"});
    let policy = json!({"strategy": "LastWriterWins", "fields": fields});
    policies.open("default", "T", 1, Policy::from_json(&policy).unwrap()).unwrap();
    let epochs = policies.of_type("default", "T");
    let create = ("0", Put, json!({"c": 1, "s": ["a"], "m": {"k": 1}, "x": 5, "f": false}));
    let touch = |data: Value| ("x", Patch, data);
    let check = |writes: &[(&str, Operation, Value)], expected: Value| {
        check_under(epochs, writes, &["x"], Some(expected));
    };
    let is = |name: &str, value: Value| {
        let mut document = create.2.clone();
        document[name] = value;
        document
    };
    check(
        &[
            create.clone(),
            ("x", Add, json!({"s": ["b", "c"]})),
            ("1", Add, json!({"s": ["c", "d"]})),
        ],
        is("s", json!(["a", "c", "d"])),
    );
    check(&[create.clone(), touch(json!({"x": 9, "f": true, "m": {"l": 2}}))], create.2.clone());
    check(
        &[create.clone(), touch(json!({"c": 9})), ("1", Increment, json!({"c": 1}))],
        is("c", json!(2)),
    );
}

#[test]
fn whole_documents_are_put_back() {
    for strategy in ["DeleteWins", "UpdateWins", "LastWriterWinsWhole"] {
        let mut policies = Policies::default();
        let policy = Policy::from_json(&json!({"strategy": strategy})).unwrap();
        policies.open("default", "T", 1, policy).unwrap();
        let epochs = policies.of_type("default", "T");
        let create = ("0", Put, json!({"a": 1, "b": 1}));
        let first = Some(create.2.clone());
        check_under(epochs, &[create.clone(), ("x", Put, json!({"a": 2}))], &["x"], first.clone());
        check_under(epochs, &[create.clone(), ("x", Delete, json!({}))], &["x"], first);
        check_under(epochs, &[("x", Put, json!({"a": 2}))], &["x"], None);
    }
}

/// What a flat document is by the words of the contract: per name who wrote it last, and what.
#[derive(Clone, Default)]
struct Flat(BTreeMap<String, (u64, Option<i64>)>);

impl Flat {
    fn of(events: &[Arc<Event>], skip: &dyn Fn(&Event) -> bool) -> Self {
        let mut all = Self::default();
        for event in events.iter().filter(|event| !skip(event)) {
            let sequence = event.dot.sequence;
            if event.operation != Patch {
                for (_, held) in all.0.iter_mut().filter(|(_, (_, value))| value.is_some()) {
                    *held = (sequence, None);
                }
            }
            for (name, value) in event.data.as_object().unwrap() {
                let before = all.0.get(name).and_then(|(_, value)| *value);
                if before.is_some() || !value.is_null() {
                    all.0.insert(name.clone(), (sequence, value.as_i64()));
                }
            }
        }
        all
    }

    fn value(&self, name: &str) -> Option<i64> {
        self.0.get(name).and_then(|(_, value)| *value)
    }
}

fn writes() -> impl Strategy<Value = Vec<(Operation, Value, bool)>> {
    let value = prop_oneof![Just(Value::Null), (0..3_i64).prop_map(Value::from)];
    let data = proptest::collection::btree_map("[abc]", value, 0..3);
    let one = (0..8_u8, data, any::<bool>()).prop_map(|(kind, data, undone)| {
        let set =
            |data: BTreeMap<String, Value>| data.into_iter().collect::<serde_json::Map<_, _>>();
        match kind {
            0 => (Delete, json!({}), undone),
            1 => {
                let kept = data.into_iter().filter(|(_, value)| !value.is_null()).collect();
                (Put, Value::Object(set(kept)), undone)
            }
            _ => (Patch, Value::Object(set(data)), undone),
        }
    });
    proptest::collection::vec(one, 1..9)
}

proptest! {
    #[test]
    fn what_they_wrote_last_is_as_without_them(writes in writes()) {
        let mut bench = Bench::new(Epochs::none());
        let mut ids = Vec::new();
        for (place, (operation, data, undone)) in writes.iter().enumerate() {
            let id = format!("{place}");
            bench.write(&id, *operation, data.clone());
            ids.extend(undone.then_some(id));
        }
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let undone = |event: &Event| ids.contains(&&*event.identity.event_id);
        let by = |sequence: u64| undone(&bench.events[sequence as usize - 1]);
        let with = Flat::of(&bench.events, &|_| false);
        let without = Flat::of(&bench.events, &undone);
        let before = bench.value();
        let outcome = bench.judge(&ids);
        prop_assert_ne!(&outcome, &Err(Left::Unclear));
        let mut after = Bench::new(Epochs::none());
        after.events.clone_from(&bench.events);
        let written = if outcome.is_ok() { after.undo(&ids) } else { Vec::new() };
        let value = after.value();
        for name in ["a", "b", "c"] {
            let last = with.0.get(name);
            let expected = match last {
                Some((sequence, _)) if by(*sequence) => without.value(name),
                _ => with.value(name),
            };
            let found = value.as_ref().and_then(|value| value.get(name)).and_then(Value::as_i64);
            prop_assert_eq!(found, expected, "{} of {:?}", name, value);
        }
        prop_assert!(after.judge(&ids).is_err(), "the same again asks for nothing");
        if !written.is_empty() {
            let written: Vec<&str> = written.iter().map(String::as_str).collect();
            after.undo(&written);
            prop_assert_eq!(after.value(), before);
        }
    }

    /// Of the first ones something shows, so that they are known as undone when the others are.
    #[test]
    fn one_after_the_other_is_as_at_once(
        writes in writes(),
        first in proptest::collection::vec(any::<bool>(), 9),
    ) {
        let mut bench = Bench::new(Epochs::none());
        let ids: Vec<String> = (0..writes.len()).map(|place| place.to_string()).collect();
        for (id, (operation, data, _)) in ids.iter().zip(&writes) {
            bench.write(id, *operation, data.clone());
        }
        let all = ids.iter().zip(&writes).zip(&first);
        let undone = || all.clone().filter(|((_, (.., undone)), _)| *undone);
        let all: Vec<&str> = undone().map(|((id, _), _)| &**id).collect();
        let of = |part| {
            let these = undone().filter(move |(_, first)| **first == part);
            these.map(|((id, _), _)| &**id)
        };
        let (sooner, later): (Vec<&str>, Vec<&str>) = (of(true).collect(), of(false).collect());
        let before = bench.value();
        let mut apart = Bench::new(Epochs::none());
        apart.events.clone_from(&bench.events);
        let mut written = apart.undo_what_shows(&sooner);
        let shown: BTreeSet<&str> = written.iter().map(String::as_str).collect();
        if !sooner.is_empty() && shown.len() == sooner.len() {
            written.extend(apart.undo_what_shows(&later));
            bench.undo_what_shows(&all);
            let names = |bench: &Bench| -> Vec<_> {
                let value = bench.value().unwrap_or_default();
                ["a", "b", "c"].map(|name| value.get(name).cloned()).to_vec()
            };
            prop_assert_eq!(names(&apart), names(&bench));
            let written: Vec<&str> = written.iter().map(String::as_str).collect();
            apart.undo_what_shows(&written);
            prop_assert_eq!(apart.value(), before, "and all of it brought back");
        }
    }
}
