//! A third region in between: a link that is cut, and a region that is dead for good.
//!
//! Scenarios over `fleet` and `door`. What always holds: the direct way is shown to be closed
//! before the other one is judged.

use serde_json::json;

use crate::account::same_events;
use crate::door::event;
use crate::fleet::Fleet;
use crate::processes::eventually;

const SECONDS: u64 = 20;

#[test]
fn what_two_regions_cannot_send_each_other_comes_by_the_third() {
    let fleet = Fleet::near();
    let [a, b, c] = [0, 1, 2].map(|at| fleet.doors[at].clone());
    let cut = fleet.cli(&["wan", "cut", &a.name, &b.name, "--json"]).done().json();
    assert_eq!(cut["items"].as_array().unwrap().len(), 2, "both directions: {cut}");
    for (from, to) in [(&a, &b), (&b, &a)] {
        let id = format!("from-{}", from.name);
        let written = from.write(&event(&id, &id, "put", &json!({"by": from.name})));
        let thing = eventually(SECONDS, "it is visible by way of the third", || to.thing(&id));
        assert_eq!(thing["data"], json!({"by": from.name}));
        let seen = to.events().into_iter().find(|event| event.id == id).unwrap();
        assert_eq!(seen.origin, written["origin"].as_str().unwrap(), "under its own dot");
    }
    let shown = fleet.cli(&["wan", "show", "--json"]).done().json();
    let cuts = shown["items"].as_array().unwrap().iter().filter(|link| link["cut"] == true);
    assert_eq!(cuts.count(), 2, "it was cut all the time");
    // A chain: what comes back by the third depends on what came there by the third.
    for number in 0..30 {
        let (from, to) = if number % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let id = format!("chain-{number}");
        from.write(&event(&id, "chain", "increment", &json!({"n": 1})));
        eventually(SECONDS, "the next link of the chain", || {
            (to.thing("chain")?["version"] == number + 1).then_some(())
        });
    }
    assert_eq!(c.thing("chain").unwrap()["data"], json!({"n": 30}));
    fleet.converged();
    assert_eq!(same_events(&fleet).len(), 32);
}

#[test]
fn survivors_serve_the_last_events_of_a_dead_region() {
    let fleet = Fleet::near();
    let [a, b, c] = [0, 1, 2].map(|at| fleet.doors[at].clone());
    fleet.cli(&["wan", "cut", &c.name, "--json"]).done();
    for number in 0..50 {
        a.write(&event(&format!("tail-{number}"), "tail", "increment", &json!({"n": 1})));
    }
    eventually(SECONDS, "the neighbour has all", || {
        (b.thing("tail")?["version"] == 50).then_some(())
    });
    fleet.cli(&["stop", &a.name, "--kill", "--json"]).done();
    assert_eq!(c.thing("tail"), None, "it was cut off all the time");
    fleet.cli(&["wan", "heal", "--json"]).done();
    eventually(SECONDS, "the other neighbour gets a dead region's events", || {
        (c.thing("tail")?["data"] == json!({"n": 50})).then_some(())
    });
    assert_eq!(fleet.pid_of(&a.name), None, "nobody started it again");
    let dots = |at: usize| fleet.doors[at].events();
    assert_eq!(dots(1), dots(2), "under the same dots");
    // The survivors go on among themselves, on top of it.
    c.write(&event("next", "tail", "increment", &json!({"n": 1})));
    eventually(SECONDS, "the survivors go on", || {
        (b.thing("tail")?["data"] == json!({"n": 51})).then_some(())
    });
    fleet.cli(&["start", &a.name, "--json"]).done();
    fleet.converged();
    assert_eq!(a.thing("tail").unwrap()["data"], json!({"n": 51}));
}
