//! The rulings of policies on small cases; every case is tried in every order of arrival.

use super::*;
use crate::policy::Policies;

fn epochs(json: Value) -> Epochs {
    Epochs::always(Policy::from_json(&json).unwrap())
}

fn fields(json: Value) -> Epochs {
    epochs(json!({ "strategy": "LastWriterWins", "fields": json }))
}

fn check(epochs: &Epochs, cases: &[Case<'_>], value: Option<Value>, on: &[Expected<'_>]) {
    let events: Vec<_> = cases.iter().map(|case| event(case, None)).collect();
    check_under(epochs, &events, value, cases.len() as u64, on);
}

use Kind::{UpdateDelete, UpdateUpdate};
use Operation::{Add, Delete, Increment, Patch, Put, Remove};

#[test]
fn a_set_keeps_an_add_that_its_remover_had_not_seen() {
    let set = fields(json!({"/s": "set"}));
    check(
        &set,
        &[
            ("a", 1, 1, Add, json!({"s": ["x", 2]}), &[]),
            ("b", 1, 2, Add, json!({"s": ["x"]}), &[]),
            ("c", 1, 3, Remove, json!({"s": ["x"]}), &[("a", 1)]),
        ],
        Some(json!({"s": [2, "x"]})),
        &[],
    );
    check(
        &set,
        &[
            ("a", 1, 1, Add, json!({"s": ["x"]}), &[]),
            ("b", 1, 2, Add, json!({"s": ["y"]}), &[]),
            ("c", 1, 3, Put, json!({"s": ["z"]}), &[("a", 1)]),
            ("c", 2, 4, Remove, json!({"s": ["z", "q"]}), &[("a", 1)]),
        ],
        Some(json!({"s": ["y"]})),
        &[],
    );
}

#[test]
fn what_is_out_of_place_has_no_effect_and_is_on_record() {
    check(
        &fields(json!({"/s": "set"})),
        &[
            ("a", 1, 1, Put, json!({"s": ["x"], "n": 1}), &[]),
            ("b", 1, 2, Patch, json!({"s": 5}), &[("a", 1)]),
            ("c", 1, 3, Add, json!({"n": ["y"]}), &[("a", 1)]),
            ("d", 1, 4, Add, json!({"o": ["y"]}), &[("a", 1)]),
        ],
        Some(json!({"n": 1, "s": ["x"]})),
        &[
            (&["b1"], "a1", &["/s"], UpdateUpdate),
            (&["c1"], "a1", &["/n"], UpdateUpdate),
            (&["d1"], "d1", &["/o"], UpdateUpdate),
        ],
    );
}

#[test]
fn a_counter_that_is_put_keeps_increments_that_were_not_seen() {
    check(
        &fields(json!({"/n": "counter"})),
        &[
            ("a", 1, 1, Increment, json!({"n": 1}), &[]),
            ("b", 1, 2, Increment, json!({"n": 2}), &[]),
            ("c", 1, 3, Put, json!({"n": 10}), &[("a", 1)]),
            ("d", 1, 4, Patch, json!({"n": 20}), &[]),
        ],
        Some(json!({"n": 22})),
        &[(&["c1"], "d1", &["/n"], UpdateUpdate)],
    );
    check(
        &fields(json!({"/n": "counter"})),
        &[
            ("a", 1, 1, Put, json!({"n": 7}), &[]),
            ("b", 1, 2, Increment, json!({"n": 2}), &[]),
            ("c", 1, 3, Put, json!({}), &[("a", 1)]),
        ],
        Some(json!({"n": 2})),
        &[],
    );
}

#[test]
fn a_delete_of_the_whole_hides_fields_as_it_hides_anything() {
    check(
        &fields(json!({"/n": "counter", "/s": "set"})),
        &[
            ("a", 1, 1, Increment, json!({"n": 1}), &[]),
            ("b", 1, 2, Add, json!({"s": ["x"]}), &[]),
            ("c", 1, 3, Delete, json!({}), &[("a", 1)]),
        ],
        None,
        &[(&["b1"], "c1", &["/s"], UpdateDelete)],
    );
}

#[test]
fn a_member_of_a_map_survives_a_delete_that_had_not_seen_it() {
    check(
        &fields(json!({"/m": "map"})),
        &[
            ("a", 1, 1, Put, json!({"m": {"k": 1, "l": 1}}), &[]),
            ("b", 1, 2, Patch, json!({"m": {"k": 2}}), &[("a", 1)]),
            ("c", 1, 3, Patch, json!({"m": {"k": null, "l": null}}), &[("a", 1)]),
        ],
        Some(json!({"m": {"k": 2}})),
        &[],
    );
}

#[test]
fn most_and_least_take_what_is_given_until_a_put_resets_it() {
    check(
        &fields(json!({"/x": "max", "/y": "min"})),
        &[
            ("a", 1, 1, Patch, json!({"x": 9, "y": 9}), &[]),
            ("b", 1, 2, Patch, json!({"x": 5, "y": 5}), &[("a", 1)]),
            ("c", 1, 3, Put, json!({"x": 1, "y": 7.5}), &[("a", 1)]),
        ],
        Some(json!({"x": 5, "y": 5})),
        &[],
    );
}

#[test]
fn a_flag_that_is_on_stays_on_unless_that_was_seen() {
    check(
        &fields(json!({"/f": "flag"})),
        &[
            ("a", 1, 1, Patch, json!({"f": true}), &[]),
            ("b", 1, 2, Patch, json!({"f": false}), &[]),
            ("c", 1, 3, Patch, json!({"f": false}), &[("a", 1)]),
        ],
        Some(json!({"f": false})),
        &[(&["b1"], "a1", &["/f"], UpdateUpdate)],
    );
}

#[test]
fn a_whole_document_is_what_its_last_writer_saw_with_its_change() {
    check(
        &epochs(json!({"strategy": "LastWriterWinsWhole"})),
        &[
            ("a", 1, 1, Put, json!({"m": 1, "n": 1}), &[]),
            ("b", 1, 2, Patch, json!({"m": 2}), &[("a", 1)]),
            ("c", 1, 3, Increment, json!({"n": 5}), &[("a", 1)]),
        ],
        Some(json!({"m": 1, "n": 6})),
        &[(&["b1"], "c1", &[""], UpdateUpdate)],
    );
}

#[test]
fn the_best_region_wins_and_what_it_hid_shows_when_it_is_replaced_by_less() {
    let priority = epochs(json!({"strategy": "RegionPriority", "regions": ["a", "b"]}));
    let cases: [Case<'_>; 3] = [
        ("a", 1, 1, Put, json!({"n": 1}), &[]),
        ("b", 1, 2, Put, json!({"n": 2}), &[]),
        ("c", 1, 3, Put, json!({"n": 3}), &[("a", 1)]),
    ];
    let lost: Expected<'_> = (&["b1"], "a1", &[""], UpdateUpdate);
    check(&priority, &cases[..2], Some(json!({"n": 1})), &[lost]);
    let late: Expected<'_> = (&["c1"], "b1", &[""], UpdateUpdate);
    check(&priority, &cases, Some(json!({"n": 2})), &[lost, late]);
}

#[test]
fn deletes_or_updates_win_whatever_the_time() {
    let cases: [Case<'_>; 3] = [
        ("a", 1, 1, Put, json!({"n": 1}), &[]),
        ("b", 1, 2, Delete, json!({}), &[("a", 1)]),
        ("c", 1, 3, Put, json!({"n": 3}), &[("a", 1)]),
    ];
    let deletes = epochs(json!({"strategy": "DeleteWins"}));
    check(&deletes, &cases, None, &[(&["c1"], "b1", &[""], UpdateDelete)]);
    let updates = epochs(json!({"strategy": "UpdateWins"}));
    check(&updates, &cases, Some(json!({"n": 3})), &[(&["b1"], "c1", &[""], UpdateDelete)]);
}

#[test]
fn a_manual_record_is_open_until_a_write_of_its_paths_that_saw_both() {
    let manual = epochs(json!({"strategy": "Manual"}));
    let cases: [Case<'_>; 4] = [
        ("a", 1, 1, Patch, json!({"n": 1}), &[]),
        ("b", 1, 2, Patch, json!({"n": 2}), &[]),
        ("c", 1, 3, Patch, json!({"m": 1}), &[("a", 1), ("b", 1)]),
        ("a", 2, 4, Patch, json!({"n": 1}), &[("b", 1)]),
    ];
    let events: Vec<_> = cases.iter().map(|case| event(case, None)).collect();
    for order in permutations(&events) {
        let state = fold_under(&order, &manual);
        let statuses: Vec<&Status> = state.records().map(|(_, record)| &record.status).collect();
        assert_eq!(statuses, [&Status::SettledBy(events[3].stamp())]);
    }
    for order in permutations(&events[..3]) {
        let mut state = fold_under(&order, &manual);
        state.settle(Hlc::MAX, &manual, &FoldSettings::default());
        let open: Vec<bool> = state.records().map(|(_, record)| record.is_open()).collect();
        assert_eq!(open, [true], "it waits, stable or not");
    }
}

#[test]
fn what_shows_goes_on_as_put_when_the_policy_changes() {
    let mut policies = Policies::default();
    let policy = |json: Value| Policy::from_json(&json).unwrap();
    let fields = policy(json!({"strategy": "LastWriterWins", "fields": {"/s": "set"}}));
    policies.open("default", "T", 1, fields).unwrap();
    let deletes = policy(json!({"strategy": "DeleteWins"}));
    policies.open("default", "T", 2, deletes).unwrap();
    let under = |epoch: u64, case: Case<'_>| {
        Arc::new(Event { policy_epoch: epoch, ..Arc::unwrap_or_clone(event(&case, None)) })
    };
    let events = [
        under(0, ("a", 1, 1, Put, json!({"s": ["x"], "t": "y"}), &[])),
        under(1, ("a", 2, 2, Add, json!({"s": ["z"]}), &[])),
        under(1, ("b", 1, 3, Remove, json!({"s": ["x"]}), &[("a", 1)])),
        under(2, ("a", 3, 4, Put, json!({"n": 1}), &[("b", 1)])),
        under(2, ("b", 2, 5, Delete, json!({}), &[("a", 2)])),
    ];
    let epochs = policies.of_type("default", "T");
    check_under(epochs, &events[..2], Some(json!({"s": ["x", "z"], "t": "y"})), 2, &[]);
    check_under(epochs, &events[..3], Some(json!({"s": ["z"], "t": "y"})), 3, &[]);
    check_under(epochs, &events, None, 5, &[(&["a3"], "b2", &[""], UpdateDelete)]);
}

#[test]
fn a_dry_run_says_what_another_policy_would_change() {
    let cases: [Case<'_>; 2] =
        [("a", 1, 1, Put, json!({"n": 1}), &[]), ("b", 1, 2, Delete, json!({}), &[])];
    let events: Vec<_> = cases.iter().map(|case| event(case, None)).collect();
    let updates = Policy::from_json(&json!({"strategy": "UpdateWins"})).unwrap();
    let settings = FoldSettings::default();
    let run = dry_run(&events, Epochs::none(), &updates, &settings);
    assert_eq!((run.before, run.after), (None, Some(json!({"n": 1}))));
    let sides = |(key, _): &(RecordKey, Record)| {
        let name = |stamp: &Stamp| stamp.dot.origin.region().to_owned();
        (name(&key.losers[0]), name(&key.winner))
    };
    let appear: Vec<_> = run.appear.iter().map(sides).collect();
    let disappear: Vec<_> = run.disappear.iter().map(sides).collect();
    assert_eq!(appear, [("b".to_owned(), "a".to_owned())]);
    assert_eq!(disappear, [("a".to_owned(), "b".to_owned())]);
    let same = dry_run(&events, Epochs::none(), &Policy::default(), &settings);
    assert_eq!((same.before, same.appear.len(), same.disappear.len()), (same.after, 0, 0));
}
