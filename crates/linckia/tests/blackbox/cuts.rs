//! Cut and heal: writes of one key, and of one id, on both sides of a cut.
//!
//! Scenarios over `fleet` and `door`. What always holds: what must come out is computed here from
//! the answers' timestamps, as the contract's fold says, not asked of a region.

use serde_json::{Value, json};

use crate::account::same_events;
use crate::door::{Door, dot_of, event};
use crate::fleet::Fleet;
use crate::processes::eventually;

/// The order of the fold: time, then origin, then sequence.
fn place(answer: &Value) -> (String, String, u64) {
    let text = |name: &str| answer[name].as_str().unwrap().to_owned();
    (text("hlc"), text("origin"), answer["sequence"].as_u64().unwrap())
}

/// The records of one thing, in every region the same.
#[track_caller]
fn records(fleet: &Fleet, thing: &str) -> Vec<Value> {
    let target = format!("/v1/conflicts?aggregateType=Thing&aggregateId={thing}");
    let of = |door: &Door| door.items(&target).into_iter().map(lasting).collect::<Vec<_>>();
    let first = of(&fleet.doors[0]);
    for door in &fleet.doors[1..] {
        assert_eq!(of(door), first, "{}", door.name);
    }
    first
}

/// A record without its stage, which each region reaches at its own time.
fn lasting(mut record: Value) -> Value {
    let stage = record.as_object_mut().unwrap().remove("stage").expect("a stage");
    assert!(stage == "provisional" || stage == "confirmed", "{stage}");
    record
}

fn dots(record: &Value) -> Vec<String> {
    let events = record["conflictingEvents"].as_array().unwrap();
    let mut dots: Vec<_> =
        events.iter().map(|event| event["dot"].as_str().unwrap().to_owned()).collect();
    dots.sort();
    dots
}

fn sorted(answers: &[&Value]) -> Vec<String> {
    let mut dots: Vec<_> = answers.iter().map(|answer| dot_of(answer)).collect();
    dots.sort();
    dots
}

#[track_caller]
fn apart(fleet: &Fleet) {
    for pair in [[0, 1], [0, 2], [1, 2]] {
        let [a, b] = pair.map(|at| fleet.doors[at].name.as_str());
        let links = fleet.cli(&["wan", "cut", a, b, "--json"]).done().json();
        assert!(links["items"].as_array().unwrap().iter().all(|link| link["cut"] == true));
    }
}

#[test]
fn the_winner_is_the_same_everywhere_and_the_loser_is_on_record_everywhere() {
    let fleet = Fleet::near();
    let [a, b, c] = [0, 1, 2].map(|at| fleet.doors[at].clone());
    a.write(&event("seed", "deleted", "put", &json!({"name": "seed", "kept": 1})));
    fleet.converged();
    fleet.cli(&["wan", "cut", &a.name, "--json"]).done();
    let at_a = a.write(&event("at-a", "key", "put", &json!({"name": "A"})));
    let at_b = b.write(&event("at-b", "key", "put", &json!({"name": "B"})));
    let deleted = a.write(&event("gone", "deleted", "delete", &json!({})));
    let patched = c.write(&event("patched", "deleted", "patch", &json!({"name": "C"})));
    assert_eq!(a.thing("key").unwrap()["data"], json!({"name": "A"}), "its own side's write");
    eventually(20, "the uncut link goes on", || {
        (c.thing("key")?["data"] == json!({"name": "B"})).then_some(())
    });
    assert_eq!(a.thing("deleted"), None);
    fleet.cli(&["wan", "heal", "--json"]).done();
    fleet.converged();

    let winner = if place(&at_a) > place(&at_b) { ("at-a", "A") } else { ("at-b", "B") };
    let patch_wins = place(&patched) > place(&deleted);
    for door in &fleet.doors {
        assert_eq!(door.thing("key").unwrap()["data"], json!({"name": winner.1}), "{}", door.name);
        let thing = door.thing("deleted").map(|thing| thing["data"].clone());
        assert_eq!(thing, patch_wins.then(|| json!({"name": "C"})), "{}", door.name);
    }
    let on_key = records(&fleet, "key");
    assert_eq!(on_key.len(), 1, "{on_key:?}");
    let record = &on_key[0];
    assert_eq!(record["conflictType"], "update-update");
    assert_eq!(record["paths"], json!(["/name"]));
    assert_eq!(record["resolvedEvent"], winner.0);
    assert_eq!(dots(record), sorted(&[&at_a, &at_b]));
    let values = record["conflictingEvents"].as_array().unwrap().iter();
    let mut values: Vec<_> = values.map(|event| event["data"]["name"].as_str().unwrap()).collect();
    values.sort_unstable();
    assert_eq!(values, ["A", "B"], "both values are on record");
    let on_deleted = records(&fleet, "deleted");
    assert_eq!(on_deleted.len(), 1, "{on_deleted:?}");
    assert_eq!(on_deleted[0]["conflictType"], "update-delete");
    assert_eq!(dots(&on_deleted[0]), sorted(&[&deleted, &patched]));
    shown_by_the_command(&fleet, record);
}

/// `linckia conflicts`, as a list, as one record and for people, at every region.
fn shown_by_the_command(fleet: &Fleet, record: &Value) {
    let id = record["conflictId"].as_str().unwrap();
    for door in &fleet.doors {
        let list = fleet.cli(&["conflicts", "--region", &door.name, "--json"]).done().json();
        let items = list["items"].as_array().unwrap();
        assert_eq!(items.len(), 2, "{list}");
        assert!(items.iter().any(|item| lasting(item.clone()) == *record), "{}: {list}", door.name);
        let one = fleet.cli(&["conflicts", id, "--region", &door.name, "--json"]).done().json();
        assert_eq!(&lasting(one), record);
        let text = fleet.cli(&["conflicts", "--region", &door.name]).done().stdout;
        let line = text.lines().find(|line| line.contains(&id[..8])).expect("its line");
        assert!(line.contains("Thing/key") && line.contains("/name"), "{line}");
        assert!(line.contains("\"A\"") && line.contains("\"B\""), "{line}");
    }
}

#[test]
fn three_sides_that_write_one_key_agree_on_it_field_by_field() {
    let fleet = Fleet::near();
    apart(&fleet);
    let mut answers = Vec::new();
    for door in &fleet.doors {
        let data = json!({"shared": door.name, door.name.as_str(): 1, "nested": {"by": door.name}});
        answers.push(door.write(&event(&door.name, "key", "patch", &data)));
        door.write(&event(&format!("n-{}", door.name), "sum", "increment", &json!({"n": 7})));
    }
    for door in &fleet.doors {
        assert_eq!(door.applied(), 2, "{} is alone", door.name);
    }
    fleet.cli(&["wan", "heal", "--json"]).done();
    fleet.converged();
    let last = answers.iter().max_by_key(|answer| place(answer)).unwrap();
    let region = last["region"].as_str().unwrap();
    let mut expected = json!({"shared": region, "nested": {"by": region}});
    for door in &fleet.doors {
        expected[&door.name] = json!(1);
    }
    for door in &fleet.doors {
        let thing = door.thing("key").unwrap();
        assert_eq!((&thing["data"], &thing["version"]), (&expected, &json!(3)), "{}", door.name);
        assert_eq!(door.thing("sum").unwrap()["data"], json!({"n": 21}));
    }
    let records = records(&fleet, "key");
    assert_eq!(records.len(), 2, "each loser once: {records:?}");
    for loser in answers.iter().filter(|answer| *answer != last) {
        let named = |record: &&Value| dots(record).contains(&dot_of(loser));
        let own: Vec<_> = records.iter().filter(named).collect();
        assert!(!own.is_empty(), "{loser} is on no record: {records:?}");
        for record in own {
            assert_eq!(record["paths"], json!(["/nested/by", "/shared"]));
        }
    }
}

#[test]
fn one_id_on_both_sides_of_a_cut_counts_once() {
    let fleet = Fleet::near();
    let [a, b, c] = [0, 1, 2].map(|at| fleet.doors[at].clone());
    let by = |id: &str, thing: &str, n: i64| event(id, thing, "increment", &json!({"n": n}));
    a.write(&by("before", "same", 10));
    fleet.converged();
    fleet.cli(&["wan", "cut", &a.name, "--json"]).done();
    let copies = [a.write(&by("twice", "same", 1)), b.write(&by("twice", "same", 1))];
    let reused = [a.write(&by("reused", "other", 1)), b.write(&by("reused", "other", 5))];
    a.write(&by("only-a", "same", 100));
    b.write(&by("only-b", "same", 1_000));
    fleet.cli(&["wan", "heal", "--json"]).done();
    fleet.converged();

    let first = copies.iter().min_by_key(|answer| place(answer)).unwrap();
    for door in &fleet.doors {
        let thing = door.thing("same").unwrap();
        assert_eq!((&thing["data"]["n"], &thing["version"]), (&json!(1_111), &json!(4)));
        let history = door.items("/v1/aggregates/Thing/same/events");
        let twice: Vec<_> = history.iter().filter(|event| event["eventId"] == "twice").collect();
        assert_eq!(twice.len(), 1, "the first in order alone");
        assert_eq!(dot_of(&twice[0]["metadata"]), dot_of(first), "{}", door.name);
        let again = door.ask("POST", "/v1/events", Some(&by("twice", "same", 1)));
        assert_eq!(again.status, 200, "{}", again.text());
        assert_eq!(
            (&again.json()["duplicate"], dot_of(&again.json())),
            (&json!(true), dot_of(first))
        );
    }
    let logged = same_events(&fleet);
    let twice = logged.values().filter(|event| event.id == "twice").count();
    assert_eq!(twice, 2, "the log lists both copies, each under its dot");
    counted_as_the_first(&fleet, &reused);
    // Elsewhere the id means another thing.
    c.write(&by("twice", "elsewhere", 1));
}

/// An id with two contents: the first in order counts, and it is on record, and said.
fn counted_as_the_first(fleet: &Fleet, reused: &[Value; 2]) {
    let value = if place(&reused[0]) < place(&reused[1]) { 1 } else { 5 };
    for door in &fleet.doors {
        let thing = door.thing("other").unwrap();
        assert_eq!((&thing["data"]["n"], &thing["version"]), (&json!(value), &json!(1)));
        for n in [1, 5, 9] {
            check_again(door, n, value);
        }
    }
    let records = records(fleet, "other");
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["conflictType"], "id-reused");
    assert_eq!(dots(&records[0]), sorted(&[&reused[0], &reused[1]]));
}

fn check_again(door: &Door, n: i64, counted: i64) {
    let again = event("reused", "other", "increment", &json!({"n": n}));
    let answer = door.ask("POST", "/v1/events", Some(&again));
    let expected = if n == counted { (200, "") } else { (409, "id-reused") };
    let problem = answer.problem();
    assert_eq!((answer.status, problem.as_str()), expected, "{} {n}: {}", door.name, answer.text());
}
