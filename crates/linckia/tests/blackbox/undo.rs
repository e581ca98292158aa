//! Undo in real processes: what a client did by mistake in two regions is taken back in all, once,
//! and can be brought back; where history is gone it is refused.
//!
//! Scenarios over `fleet` and `door`. What always holds: at the end all regions hold the same.

use serde_json::{Value, json};

use crate::door::{Door, event};
use crate::fleet::Fleet;
use crate::history;

/// An event of a job that went wrong.
fn mistake(id: &str, thing: &str, operation: &str, data: &Value) -> Value {
    let mut event = event(id, thing, operation, data);
    event["metadata"] = json!({"correlationId": "job-7"});
    event
}

fn undo(door: &Door, filter: &Value, dry_run: bool) -> Value {
    let mut items = Vec::new();
    let mut target = "/v1/undo?limit=2".to_owned();
    loop {
        let body = json!({"where": filter, "dryRun": dry_run});
        let answer = door.ask("POST", &target, Some(&body));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let mut page = answer.json();
        items.append(page["items"].as_array_mut().unwrap());
        let Some(next) = page["next"].as_str() else {
            page["items"] = items.into();
            return page;
        };
        target = format!("/v1/undo?limit=2&cursor={next}");
    }
}

fn written(page: &Value) -> usize {
    let items = page["items"].as_array().unwrap();
    items.iter().map(|item| item["compensations"].as_array().unwrap().len()).sum()
}

#[test]
fn a_job_is_undone_in_every_region_once_and_brought_back() {
    let fleet = Fleet::near();
    let [a, b, c] = [0, 1, 2].map(|at| fleet.doors[at].clone());
    a.write(&event("p0", "price", "put", &json!({"net": 10, "name": "Tea"})));
    a.write(&event("s0", "stock", "put", &json!({"count": 100})));
    a.write(&event("k0", "kept", "put", &json!({"n": 1})));
    fleet.converged();
    a.write(&mistake("p1", "price", "patch", &json!({"net": 1000})));
    b.write(&mistake("s1", "stock", "increment", &json!({"count": -90})));
    b.write(&mistake("n1", "new", "put", &json!({"n": 1})));
    a.write(&mistake("k1", "kept", "delete", &json!({})));
    fleet.converged();
    b.write(&event("p2", "price", "patch", &json!({"name": "Green tea"})));
    b.write(&event("s2", "stock", "increment", &json!({"count": -1})));
    fleet.converged();
    let before: Vec<Value> = shown(&a);

    let job = json!({"correlationId": "job-7"});
    let dry = undo(&c, &job, true);
    assert_eq!((dry["items"].as_array().unwrap().len(), written(&dry)), (4, 4), "{dry}");
    assert_eq!(shown(&c), before, "a dry run changes nothing");
    let text = fleet.cli(&["undo", "--where", "correlationId=job-7", "--dry-run"]);
    assert!(text.done().stdout.contains("4 events would be written for 4 aggregates"));

    let done = undo(&c, &job, false);
    assert_eq!(written(&done), 4, "{done}");
    fleet.converged();
    let after = vec![
        json!({"net": 10, "name": "Green tea"}),
        json!({"count": 99}),
        Value::Null,
        json!({"n": 1}),
    ];
    for door in &fleet.doors {
        assert_eq!(shown(door), after, "{}", door.name);
        let again = undo(door, &job, false);
        assert_eq!(written(&again), 0, "{}: {again}", door.name);
    }

    // The undo is found by its own correlation, and undone.
    let id = done["correlationId"].as_str().unwrap();
    let filter = format!("correlationId={id}");
    let back = fleet.cli(&["undo", "--where", &filter, "--yes"]);
    assert!(back.done().stdout.contains("4 events were written for 4 aggregates"));
    fleet.converged();
    for door in &fleet.doors {
        assert_eq!(shown(door), before, "{}", door.name);
    }
    assert_eq!(written(&undo(&b, &job, false)), 4, "and once more");
    fleet.converged();
    assert_eq!(shown(&a), after);
}

fn shown(door: &Door) -> Vec<Value> {
    let data = |thing: &str| door.thing(thing).map_or(Value::Null, |thing| thing["data"].clone());
    ["price", "stock", "new", "kept"].map(data).into()
}

#[test]
fn two_regions_that_undo_the_same_apart_undo_it_once() {
    let fleet = Fleet::near();
    let [a, b] = [0, 1].map(|at| fleet.doors[at].clone());
    a.write(&mistake("i1", "sum", "increment", &json!({"n": 5})));
    a.write(&event("i2", "sum", "increment", &json!({"n": 2})));
    fleet.converged();
    fleet.cli(&["wan", "cut", &a.name]).done();
    let job = json!({"correlationId": "job-7"});
    for door in [&a, &b] {
        assert_eq!(written(&undo(door, &job, false)), 1);
    }
    fleet.cli(&["wan", "heal"]).done();
    fleet.converged();
    for door in &fleet.doors {
        assert_eq!(door.thing("sum").unwrap()["data"], json!({"n": 2}), "{}", door.name);
    }
}

#[test]
fn where_history_is_gone_undo_is_refused_and_says_so() {
    let fleet = history::short();
    let a = fleet.doors[0].clone();
    a.write(&event("o0", "old", "put", &json!({"n": 1, "m": 1})));
    history::let_go(&fleet);
    a.write(&mistake("o1", "old", "patch", &json!({"n": 2})));
    a.write(&event("y0", "young", "put", &json!({"n": 1})));
    a.write(&mistake("y1", "young", "patch", &json!({"n": 2})));
    let page = undo(&a, &json!({"correlationId": "job-7"}), false);
    let left = |thing: &str| {
        let items = page["items"].as_array().unwrap();
        items.iter().find(|item| item["aggregateId"] == thing).unwrap()["left"].clone()
    };
    assert_eq!((left("old"), left("young")), (json!("history-gone"), Value::Null), "{page}");
    assert_ne!(page["missing"], json!({}), "what was not searched is named");
    assert_eq!(a.thing("old").unwrap()["data"], json!({"n": 2, "m": 1}));
    assert_eq!(a.thing("young").unwrap()["data"], json!({"n": 1}));
    let cli = fleet.cli(&["undo", "--where", "aggregateId=old,aggregateType=Thing", "--dry-run"]);
    assert!(cli.ended(1).stdout.contains("1 refused"));
}
