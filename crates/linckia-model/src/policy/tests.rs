//! Which policies there are, which are refused and why, and what each lets be written.

use serde_json::{Value, json};

use super::*;
use crate::event::Operation;

fn policy(json: &Value) -> Policy {
    Policy::from_json(json).unwrap()
}

#[test]
fn a_policy_is_read_and_written_as_the_door_has_it() {
    let json = json!({
        "strategy": "Manual", "regions": [], "fields": {"/n": "counter", "/o/tags": "set"}
    });
    assert_eq!(policy(&json).to_json(), json);
    let json = json!({"strategy": "RegionPriority", "regions": ["b", "a"], "fields": {}});
    assert_eq!(policy(&json).to_json(), json);
    assert_eq!(policy(&json!({"strategy": "LastWriterWins"})), Policy::default());
}

#[test]
fn what_is_no_policy_is_refused_and_says_why() {
    let check = |json: Value, wanted: &str| {
        let error = Policy::from_json(&json).unwrap_err().to_string();
        assert!(error.contains(wanted), "{json}: {error}");
    };
    check(json!([]), "an object");
    check(json!({"strategy": "Best"}), "LastWriterWinsWhole");
    check(json!({"strategy": "Manual", "epoch": 1}), "\"epoch\"");
    check(json!({"strategy": "RegionPriority"}), "needs its regions");
    check(json!({"strategy": "RegionPriority", "regions": ["a", "a"]}), "twice");
    check(json!({"strategy": "RegionPriority", "regions": ["A"]}), "\"A\"");
    check(json!({"strategy": "Manual", "regions": ["a"]}), "belong to RegionPriority");
    check(json!({"strategy": "DeleteWins", "fields": {"/n": "set"}}), "fold by path");
    check(json!({"strategy": "LastWriterWinsWhole", "fields": {"/n": "set"}}), "fold by path");
    let fields = |fields: Value| json!({"strategy": "Manual", "fields": fields});
    check(fields(json!({"n": "set"})), "begins with /");
    check(fields(json!({"": "set"})), "begins with /");
    check(fields(json!({"/~2": "set"})), "~0 and ~1");
    check(fields(json!({"/n": "list"})), "counter, set, map");
    check(fields(json!({"/m": "map", "/m/n": "set"})), "lies inside");
    let many: Map<String, Value> = (0..65).map(|n| (format!("/{n}"), json!("max"))).collect();
    check(fields(Value::Object(many)), "more than the 64");
}

#[test]
fn operations_are_admitted_by_strategy_and_by_what_fields_take() {
    use Operation::{Add, Delete, Increment, Patch, Put, Record, Remove};
    let check = |policy: &Policy, operation, data: Value, wanted: Result<(), &str>| {
        let judged = policy.admits(operation, &data).map_err(|no| no.pointer);
        assert_eq!(judged, wanted.map_err(str::to_owned), "{operation:?} {data}");
    };
    for strategy in ["DeleteWins", "UpdateWins"] {
        let only = policy(&json!({ "strategy": strategy }));
        for operation in [Put, Delete, Record] {
            check(&only, operation, json!({}), Ok(()));
        }
        for operation in [Patch, Increment, Add, Remove] {
            check(&only, operation, json!({}), Err(""));
        }
    }
    let plain = Policy::default();
    check(&plain, Increment, json!({"n": 1}), Ok(()));
    check(&plain, Add, json!({"o": {"n": ["a"]}}), Err("/o/n"));
    let fields = policy(&json!({"strategy": "LastWriterWins", "fields": {
        "/n": "counter", "/o/s": "set", "/m": "map", "/x": "max", "/f": "flag"
    }}));
    check(&fields, Put, json!({"n": 1, "o": {"s": ["a", 1, true]}, "m": {}, "x": 1.5}), Ok(()));
    check(&fields, Patch, json!({"n": null, "o": {"s": null}, "o2": "x", "f": false}), Ok(()));
    check(&fields, Put, json!({"n": null}), Err("/n"));
    check(&fields, Put, json!({"o": {"s": [[]]}}), Err("/o/s"));
    check(&fields, Patch, json!({"m": 1}), Err("/m"));
    check(&fields, Patch, json!({"f": 1}), Err("/f"));
    check(&fields, Increment, json!({"n": 1, "m": {"k": 1}, "z": 1}), Ok(()));
    check(&fields, Increment, json!({"x": 1}), Err("/x"));
    check(&fields, Add, json!({"o": {"s": ["a"]}}), Ok(()));
    check(&fields, Remove, json!({"o": {"s": "a"}}), Err("/o/s"));
    check(&fields, Add, json!({"n": ["a"]}), Err("/n"));
}

#[test]
fn epochs_ascend_and_what_is_not_known_is_none() {
    let mut policies = Policies::default();
    let manual = policy(&json!({"strategy": "Manual"}));
    assert_eq!(policies.get("default", "T", 0), Some(&Policy::default()));
    assert_eq!(policies.get("default", "T", 1), None);
    policies.open("default", "T", 3, manual.clone()).unwrap();
    assert_eq!(policies.get("default", "T", 3), Some(&manual));
    assert_eq!(policies.get("other", "T", 3), None);
    let error = policies.open("default", "T", 3, manual).unwrap_err();
    assert_eq!(error, PolicyError::Epoch { given: 3, last: 3 });
    policies.set_closed("default", "T", true);
    assert!(policies.of_type("default", "T").is_closed());
    assert_eq!(policies.of_type("default", "T").open(), 3);
}
