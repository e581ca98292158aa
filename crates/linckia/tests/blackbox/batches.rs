//! Promises within one region: atomic batches, preconditions, and reading one's own writes.
//!
//! Scenarios over `door`. What always holds: races are run many times, with both sides let go at
//! the same moment, and exactly one winner is counted each time.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::door::{Door, JSON, event};
use crate::fleet::Fleet;
use crate::http::Answer;
use crate::processes::eventually;

const ROUNDS: usize = 60;

fn increment(id: &str, thing: &str) -> Value {
    event(id, thing, "increment", &json!({"n": 1}))
}

fn post(door: &Door, query: &str, events: &[Value]) -> Answer {
    door.ask("POST", &format!("/v1/events{query}"), Some(&json!(events)))
}

#[test]
fn an_atomic_batch_is_all_or_nothing_here_and_elsewhere() {
    let fleet = Fleet::near();
    let [a, b] = [0, 1].map(|at| &fleet.doors[at]);
    a.write(&increment("taken", "taken"));
    let reused = event("taken", "taken", "increment", &json!({"n": 2}));
    let refused = post(a, "?atomic=true", &[increment("x", "x"), reused.clone()]);
    assert_eq!((refused.status, refused.problem().as_str()), (409, "id-reused"));
    assert_eq!(refused.json()["pointer"], "/1", "{}", refused.text());
    assert_eq!(a.thing("x"), None, "nothing is written");
    let mixed = post(a, "", &[increment("y", "y"), reused]);
    assert_eq!(mixed.status, 207, "{}", mixed.text());
    let parts = mixed.json();
    assert_eq!(parts[0]["duplicate"], false, "{parts}");
    assert_eq!(parts[1]["type"], "/problems/id-reused", "{parts}");
    let whole = post(a, "?atomic=true", &[increment("p", "p"), increment("q", "q")]);
    assert_eq!(whole.status, 201, "{}", whole.text());
    let answers = whole.json();
    assert_eq!(answers[0]["hlc"], answers[1]["hlc"], "one time for all");
    let again = post(a, "?atomic=true", &[increment("p", "p"), increment("q", "q")]);
    assert_eq!(again.status, 200, "{}", again.text());
    pairs_are_never_seen_apart(a, b);
    fleet.converged();
    for door in &fleet.doors {
        assert_eq!(door.thing("x"), None);
        let pair = ["pair-1", "pair-2"].map(|id| door.thing(id).unwrap()["data"]["n"].clone());
        assert_eq!(pair, [json!(ROUNDS), json!(ROUNDS)], "{}", door.name);
    }
}

/// Both halves of a pair stand in every list that anyone reads while they are written.
fn pairs_are_never_seen_apart(writer: &Door, reader: &Door) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers = [writer, reader].map(|door| {
            let done = &done;
            scope.spawn(move || {
                let mut seen = 0;
                while !done.load(Ordering::Relaxed) {
                    let items = door.items("/v1/aggregates/Thing?prefix=pair-");
                    let values: Vec<_> = items.iter().map(|item| &item["data"]["n"]).collect();
                    assert!(values.is_empty() || values.len() == 2, "{values:?}");
                    assert_eq!(values.first(), values.last(), "{}: torn", door.name);
                    seen += 1;
                }
                seen
            })
        });
        for round in 0..ROUNDS {
            let half = |side: u8| increment(&format!("{round}-{side}"), &format!("pair-{side}"));
            let answer = post(writer, "?atomic=true", &[half(1), half(2)]);
            assert_eq!(answer.status, 201, "{}", answer.text());
        }
        eventually(20, "the last pair is there", || {
            (reader.thing("pair-2")?["version"] == ROUNDS).then_some(())
        });
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
}

/// Lets two clients go at the same moment; what each was answered.
fn race(door: &Door, target: &str, header: (&str, &str), round: usize) -> [Answer; 2] {
    let go = Barrier::new(2);
    thread::scope(|scope| {
        [0, 1]
            .map(|side| {
                let go = &go;
                scope.spawn(move || {
                    let body = json!({"round": round, "side": side}).to_string();
                    go.wait();
                    door.try_ask("PUT", target, &[JSON, header], body.as_bytes()).unwrap()
                })
            })
            .map(|racer| racer.join().unwrap())
    })
}

#[test]
fn of_two_writers_with_one_precondition_exactly_one_wins() {
    let fleet = Fleet::near();
    let door = &fleet.doors[0];
    for round in 0..ROUNDS {
        let fresh = format!("/v1/aggregates/Thing/fresh-{round}");
        judge(door, &fresh, 201, race(door, &fresh, ("if-none-match", "*"), round));
    }
    let shared = "/v1/aggregates/Thing/shared";
    assert_eq!(door.ask("PUT", shared, Some(&json!({}))).status, 201);
    for round in 0..ROUNDS {
        let read = door.get(shared);
        let tag = read.header("etag").unwrap().to_owned();
        judge(door, shared, 200, race(door, shared, ("if-match", &tag), round));
    }
    let state = door.get(shared).json();
    assert_eq!(state["version"], ROUNDS + 1, "each round wrote once: {state}");
    assert_eq!(state["conflicts"], 0, "what was seen was superseded: {state}");
    fleet.converged();
    assert_eq!(fleet.doors[2].thing("shared").unwrap()["version"], ROUNDS + 1);
}

/// One has it, the other is told what is there now.
fn judge(door: &Door, target: &str, good: u16, answers: [Answer; 2]) {
    let mut statuses = [answers[0].status, answers[1].status];
    statuses.sort_unstable();
    assert_eq!(statuses, [good, 412], "{} and {}", answers[0].text(), answers[1].text());
    let winner = answers.iter().position(|answer| answer.status == good).unwrap();
    let now = door.get(target);
    assert_eq!(now.json()["data"]["side"], winner);
    let tag = now.header("etag").unwrap();
    assert_eq!(answers[winner].header("etag"), Some(tag), "its writer holds the new tag");
    let loser = answers[1 - winner].json();
    assert_eq!(loser["type"], "/problems/version-conflict");
    assert_eq!((&loser["etag"], &loser["currentVersion"]), (&json!(tag), &now.json()["version"]));
}

#[test]
fn a_read_after_a_write_in_the_same_region_shows_it() {
    let fleet = Fleet::near();
    thread::scope(|scope| {
        for door in &fleet.doors {
            scope.spawn(move || {
                for round in 1..=ROUNDS {
                    let own = format!("own-{}", door.name);
                    door.write(&increment(&format!("{own}-{round}"), &own));
                    let thing = door.thing(&own).expect("just written");
                    assert_eq!(thing["data"]["n"], round, "{}", door.name);
                    assert_eq!(thing["version"], round, "{}", door.name);
                    let history = door.items(&format!("/v1/aggregates/Thing/{own}/events"));
                    assert_eq!(history.len(), round);
                }
                let gone = format!("/v1/aggregates/Thing/own-{}", door.name);
                assert_eq!(door.ask("DELETE", &gone, None).status, 200);
                assert_eq!(door.get(&gone).status, 404);
            });
        }
    });
    fleet.converged();
    for door in &fleet.doors {
        assert_eq!(door.items("/v1/aggregates/Thing"), Vec::<Value>::new(), "{}", door.name);
    }
}
