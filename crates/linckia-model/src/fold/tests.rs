//! The rulings of `docs/fold.md` on small cases; every case is tried in every order of arrival.

mod policies;
mod random;

use std::collections::HashMap;

use serde_json::{Value, json};

use super::*;
use crate::event::{Extras, Identity, Transaction};
use crate::name::{Key, Origin};

struct Log(HashMap<Dot, Arc<Event>>);

impl EventSource for Log {
    fn event(&self, dot: &Dot) -> std::result::Result<Option<Arc<Event>>, Cause> {
        Ok(self.0.get(dot).cloned())
    }

    fn between(
        &self,
        _: &Key,
        first: &Stamp,
        last: &Stamp,
    ) -> std::result::Result<Vec<Arc<Event>>, Cause> {
        let mut events: Vec<_> = self.0.values().cloned().collect();
        events.retain(|event| (first..=last).contains(&&event.stamp()));
        events.sort_by_cached_key(|event| event.stamp());
        Ok(events)
    }
}

fn origin(region: &str) -> Origin {
    Origin::parse(&format!("{region}.00000000000000aa")).unwrap()
}

/// `(region, sequence, milliseconds, operation, data, deps as (region, sequence))`.
type Case<'a> = (&'a str, u64, u64, Operation, Value, &'a [(&'a str, u64)]);

fn event(case: &Case<'_>, id: Option<&str>) -> Arc<Event> {
    let (region, sequence, milliseconds, operation, data, deps) = case;
    let origin = origin(region);
    let mut vector: Vector = deps.iter().map(|(r, n)| (super::tests::origin(r), *n)).collect();
    vector.set(&origin, sequence - 1);
    let own = format!("{region}-{sequence}");
    Arc::new(Event {
        dot: Dot::new(origin, *sequence),
        hlc: Hlc::from_milliseconds(*milliseconds),
        deps: vector,
        transaction: Transaction::single(*sequence),
        key: Key::new("default", "T", "1"),
        event_type: "Changed".into(),
        operation: *operation,
        data: data.clone(),
        ctx: None,
        identity: Identity { event_id: id.unwrap_or(&own).into(), place: 0 },
        version: 0,
        policy_epoch: 0,
        schema_version: 0,
        extras: Extras::default(),
    })
}

fn fold(events: &[Arc<Event>]) -> KeyState {
    fold_under(events, Epochs::none())
}

fn fold_under(events: &[Arc<Event>], epochs: &Epochs) -> KeyState {
    let settings = FoldSettings::default();
    let log = Log(events.iter().map(|e| (e.dot.clone(), Arc::clone(e))).collect());
    let mut state = KeyState::default();
    let mut seen: Vec<Arc<Event>> = Vec::new();
    for event in events {
        let copies = seen.iter().filter(|e| e.identity == event.identity);
        let earlier: Vec<Stamp> = copies.map(|e| e.stamp()).collect();
        state.apply(event, &earlier, &log, epochs, &settings).unwrap();
        seen.push(Arc::clone(event));
        let decoded = KeyState::decode(&state.encode(), &Vector::new()).unwrap();
        check_decoded(&decoded, &state);
    }
    state
}

/// What was read from a row is what was written, but for the events in memory.
fn check_decoded(decoded: &KeyState, state: &KeyState) {
    assert_eq!(decoded.current, state.current);
    assert_eq!(decoded.records, state.records);
    assert_eq!(decoded.tail_length(), state.tail_length());
    assert_eq!(decoded.needs_from(), state.needs_from());
    assert_eq!(decoded.shown(), state.shown());
    let floor = |state: &KeyState| Some((state.tail.as_ref()?.floor(), state.unsettled_until()));
    assert_eq!(floor(decoded), floor(state));
    let base = |state: &KeyState| state.tail.as_ref().map(|tail| Arc::clone(&tail.base));
    assert_eq!(base(decoded), base(state));
}

fn permutations(events: &[Arc<Event>]) -> Vec<Vec<Arc<Event>>> {
    if events.len() <= 1 {
        return vec![events.to_vec()];
    }
    let mut all = Vec::new();
    for place in 0..events.len() {
        let mut rest = events.to_vec();
        let first = rest.remove(place);
        for mut tail in permutations(&rest) {
            tail.insert(0, first.clone());
            all.push(tail);
        }
    }
    all
}

/// Losers by dot text, joined, against the winner, with the paths.
type Expected<'a> = (&'a [&'a str], &'a str, &'a [&'a str], Kind);

fn check_events(events: &[Arc<Event>], value: Option<Value>, version: u64, on: &[Expected<'_>]) {
    check_under(Epochs::none(), events, value, version, on);
}

fn check_under(
    epochs: &Epochs,
    events: &[Arc<Event>],
    value: Option<Value>,
    version: u64,
    on: &[Expected<'_>],
) {
    let short = |stamp: &Stamp| format!("{}{}", stamp.dot.origin.region(), stamp.dot.sequence);
    for order in permutations(events) {
        let state = fold_under(&order, epochs);
        let arrival: Vec<String> = order.iter().map(|e| short(&e.stamp())).collect();
        assert_eq!(state.folded().value, value, "arrival {arrival:?}");
        assert_eq!(state.version(), version, "arrival {arrival:?}");
        let found: Vec<_> = state
            .records()
            .map(|(key, record)| {
                let losers: Vec<String> = key.losers.iter().map(&short).collect();
                let paths: Vec<String> = record.paths.iter().cloned().collect();
                (losers, short(&key.winner), paths, record.kind)
            })
            .collect();
        let wanted: Vec<_> = on
            .iter()
            .map(|(losers, winner, paths, kind)| {
                let text = |list: &[&str]| list.iter().map(|t| t.to_string()).collect::<Vec<_>>();
                (text(losers), winner.to_string(), text(paths), *kind)
            })
            .collect();
        assert_eq!(found, wanted, "arrival {arrival:?}");
    }
}

fn check(cases: &[Case<'_>], value: Option<Value>, on: &[Expected<'_>]) {
    let events: Vec<_> = cases.iter().map(|case| event(case, None)).collect();
    check_events(&events, value, cases.len() as u64, on);
}

use Kind::{IdReused, UpdateDelete, UpdateUpdate};
use Operation::{Delete, Increment, Patch, Put, Record as OnlyHistory};

#[test]
fn concurrent_writes_of_one_path_leave_the_earlier_on_record() {
    check(
        &[("a", 1, 1, Patch, json!({"n": 1}), &[]), ("b", 1, 2, Patch, json!({"n": 2}), &[])],
        Some(json!({"n": 2})),
        &[(&["a1"], "b1", &["/n"], UpdateUpdate)],
    );
}

#[test]
fn what_the_writer_had_seen_is_superseded() {
    check(
        &[
            ("a", 1, 1, Patch, json!({"n": 1}), &[]),
            ("b", 1, 2, Patch, json!({"n": 2}), &[("a", 1)]),
        ],
        Some(json!({"n": 2})),
        &[],
    );
}

#[test]
fn different_paths_do_not_meet() {
    check(
        &[("a", 1, 1, Patch, json!({"m": 1}), &[]), ("b", 1, 2, Patch, json!({"n": 2}), &[])],
        Some(json!({"m": 1, "n": 2})),
        &[],
    );
}

#[test]
fn a_put_hides_all_and_a_later_patch_recreates_what_it_emptied() {
    check(
        &[
            ("a", 1, 1, Put, json!({"m": 1, "n": 1}), &[]),
            ("b", 1, 2, Put, json!({"m": 2}), &[]),
            ("c", 1, 3, Patch, json!({"n": 3}), &[("a", 1)]),
        ],
        Some(json!({"m": 2, "n": 3})),
        &[(&["a1"], "b1", &["/m", "/n"], UpdateDelete), (&["b1"], "c1", &["/n"], UpdateDelete)],
    );
}

#[test]
fn an_update_after_a_concurrent_delete_wins_and_the_delete_is_on_record() {
    check(
        &[
            ("a", 1, 1, Put, json!({"n": 1}), &[]),
            ("b", 1, 2, Delete, json!({}), &[("a", 1)]),
            ("c", 1, 3, Patch, json!({"n": 2}), &[("a", 1)]),
        ],
        Some(json!({"n": 2})),
        &[(&["b1"], "c1", &["", "/n"], UpdateDelete)],
    );
}

#[test]
fn an_update_before_a_concurrent_delete_loses() {
    check(
        &[
            ("a", 1, 1, Put, json!({"n": 1}), &[]),
            ("b", 1, 2, Patch, json!({"n": 2}), &[("a", 1)]),
            ("c", 1, 3, Delete, json!({}), &[("a", 1)]),
        ],
        None,
        &[(&["b1"], "c1", &["/n"], UpdateDelete)],
    );
}

#[test]
fn null_of_nothing_is_nothing() {
    check(
        &[("a", 1, 1, Patch, json!({"n": null}), &[]), ("b", 1, 2, Patch, json!({"n": 1}), &[])],
        Some(json!({"n": 1})),
        &[],
    );
}

#[test]
fn a_scalar_over_an_object_and_back() {
    check(
        &[
            ("a", 1, 1, Patch, json!({"n": {"x": 1}}), &[]),
            ("b", 1, 2, Patch, json!({"n": 5}), &[]),
            ("c", 1, 3, Patch, json!({"n": {"y": 2}}), &[]),
        ],
        Some(json!({"n": {"y": 2}})),
        &[(&["a1"], "b1", &["/n/x"], UpdateDelete), (&["b1"], "c1", &["/n"], UpdateUpdate)],
    );
}

#[test]
fn increments_sum_and_a_reset_hides_them_as_one() {
    check(
        &[
            ("a", 1, 1, Increment, json!({"n": 1}), &[]),
            ("b", 1, 2, Increment, json!({"n": 2}), &[]),
            ("c", 1, 3, Put, json!({"n": 10}), &[]),
            ("a", 2, 4, Increment, json!({"n": 4}), &[]),
        ],
        Some(json!({"n": 14})),
        &[(&["a1", "b1"], "c1", &["/n"], UpdateUpdate)],
    );
}

#[test]
fn an_increment_of_a_text_has_no_effect_and_is_on_record() {
    check(
        &[("a", 1, 1, Put, json!({"n": "x"}), &[]), ("b", 1, 2, Increment, json!({"n": 2}), &[])],
        Some(json!({"n": "x"})),
        &[(&["b1"], "a1", &["/n"], UpdateUpdate)],
    );
}

#[test]
fn a_record_moves_only_the_version() {
    check(
        &[("a", 1, 1, Put, json!({"n": 1}), &[]), ("b", 1, 2, OnlyHistory, json!({"n": 2}), &[])],
        Some(json!({"n": 1})),
        &[],
    );
}

#[test]
fn a_copy_accumulates_once_and_other_content_is_on_record() {
    let first = event(&("a", 1, 1, Increment, json!({"n": 1}), &[]), Some("x"));
    let second = event(&("b", 1, 2, Increment, json!({"n": 1}), &[]), Some("x"));
    let third = event(&("c", 1, 3, Increment, json!({"n": 7}), &[]), Some("x"));
    check_events(&[first.clone(), second.clone()], Some(json!({"n": 1})), 1, &[]);
    check_events(
        &[first, second, third],
        Some(json!({"n": 1})),
        1,
        &[(&["c1"], "a1", &[], IdReused)],
    );
}

#[test]
fn covering_a_later_copy_covers_the_earlier() {
    let first = event(&("a", 1, 1, Patch, json!({"n": 1}), &[]), Some("x"));
    let copy = event(&("b", 1, 2, Patch, json!({"n": 1}), &[("a", 0)]), Some("x"));
    let after = event(&("b", 2, 3, Delete, json!({}), &[]), None);
    let state = fold(&[copy, after, first]);
    assert_eq!(state.folded().frontier.len(), 1);
    assert_eq!(state.folded().value, None);
}

#[test]
fn origins_compare_as_text() {
    assert!(origin("us-east-1") < origin("us-east"));
    check(
        &[
            ("us-east-1", 1, 1, Patch, json!({"n": 1}), &[]),
            ("us-east", 1, 1, Patch, json!({"n": 2}), &[]),
        ],
        Some(json!({"n": 2})),
        &[(&["us-east-11"], "us-east1", &["/n"], UpdateUpdate)],
    );
}

#[test]
fn what_is_stable_is_forgotten_and_only_the_version_stays() {
    let events = [
        event(&("a", 1, 1, Put, json!({"n": 1}), &[]), None),
        event(&("a", 2, 2, Delete, json!({}), &[]), None),
    ];
    let mut state = fold(&events);
    let settings = FoldSettings::default();
    let below = Hlc::from_milliseconds(1);
    assert_eq!(state.settle(below, Epochs::none(), &settings), Settled::Unsettled);
    assert_eq!(state.settle(Hlc::from_milliseconds(2), Epochs::none(), &settings), Settled::Gone);
    let mut gone = KeyState::default();
    Arc::make_mut(&mut gone.current).version = 2;
    assert_eq!(state, gone);
}

#[test]
fn a_tail_that_cannot_be_read_again_is_an_error_and_changes_nothing() {
    let mut state = fold(&[
        event(&("a", 1, 2, Patch, json!({"n": 1}), &[]), None),
        event(&("a", 2, 4, Patch, json!({"n": 2}), &[]), None),
    ]);
    let settings = FoldSettings::default();
    state.take(Hlc::ZERO, Epochs::none(), &settings);
    state.stored();
    let (before, lost) = (state.folded().value, Log(HashMap::new()));
    let late = event(&("b", 1, 3, Patch, json!({"n": 3}), &[]), None);
    let error = state.apply(&late, &[], &lost, Epochs::none(), &settings).unwrap_err();
    assert!(crate::with_causes(&error).ends_with("0 of 2 are there"), "{error}");
    assert_eq!(state.folded().value, before);
}
