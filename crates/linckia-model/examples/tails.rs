//! What an event of a key costs, by how long the key's tail is: folding it, the copy that capture
//! and flushes take, and the row.
//!
//! `cargo run --release -p linckia-model --example tails`. What always holds: stable time stands
//! still, as it does while a region is away, and every event is of one of two regions in turn.

use std::sync::Arc;
use std::time::Instant;

use linckia_model::{
    Cause, Dot, Epochs, Event, EventSource, Extras, FoldSettings, Hlc, Identity, Key, KeyState,
    Operation, Origin, Stamp, Transaction, Vector,
};
use serde_json::json;

/// Events between two flushes of the key.
const FLUSH: u64 = 8;

/// Every so many events one comes before the last few.
const LATE: u64 = 50;

/// Where it is told what the events since the mark before cost.
const MARKS: [u64; 9] = [16, 104, 304, 1_008, 3_008, 10_008, 30_008, 60_008, 99_992];

struct Log(Vec<Arc<Event>>);

impl EventSource for Log {
    fn event(&self, _: &Dot) -> Result<Option<Arc<Event>>, Cause> {
        Ok(None)
    }

    fn between(&self, _: &Key, first: &Stamp, last: &Stamp) -> Result<Vec<Arc<Event>>, Cause> {
        let from = self.0.partition_point(|event| event.stamp() < *first);
        let until = self.0.partition_point(|event| event.stamp() <= *last);
        Ok(self.0[from..until].to_vec())
    }
}

fn event(number: u64, origins: &[Origin; 2], sequences: &mut [u64; 2]) -> Arc<Event> {
    let place = (number % 2) as usize;
    let mut deps = Vector::new();
    origins.iter().zip(&*sequences).for_each(|(origin, sequence)| deps.set(origin, *sequence));
    sequences[place] += 1;
    let event_id = format!("event-{number}");
    Arc::new(Event {
        dot: Dot::new(origins[place].clone(), sequences[place]),
        hlc: Hlc::from_milliseconds(number * 2),
        deps,
        transaction: Transaction::single(sequences[place]),
        key: Key::new("default", "Order", "order-1"),
        event_type: "Changed".into(),
        operation: Operation::Patch,
        data: json!({ "state": "packed", "line": number % 16, "note": "x".repeat(100) }),
        ctx: None,
        identity: Identity { event_id: event_id.as_str().into(), place: 0 },
        version: number,
        policy_epoch: 0,
        schema_version: 0,
        extras: Extras::default(),
    })
}

fn main() {
    let origins = ["a.0000000000000001", "b.0000000000000001"];
    let origins = origins.map(|name| Origin::parse(name).expect("it is an origin"));
    let (mut sequences, mut log, mut state) = ([0; 2], Log(Vec::new()), KeyState::default());
    let settings = FoldSettings::default();
    let (mut begun, mut since, mut row, mut mark) = (Instant::now(), 0, 0, 0);
    let mut held: Option<Arc<Event>> = None;
    println!("tail      microseconds per event   row bytes   bodies in memory");
    for number in 1..=100_000 {
        let new = event(number, &origins, &mut sequences);
        if number % LATE == 0 {
            held = Some(new);
            continue;
        }
        let late = held.take_if(|_| number % LATE == 4);
        for event in [Some(new), late].into_iter().flatten() {
            let applied = state.apply(&event, &[], &log, Epochs::none(), &settings);
            applied.expect("the log has everything");
            let place = log.0.partition_point(|known| known.stamp() < event.stamp());
            log.0.insert(place, event);
        }
        since += 1;
        if number % FLUSH == 0 {
            state.take(Hlc::ZERO, Epochs::none(), &settings);
            row = state.clone().encode().len();
            state.stored();
        }
        if MARKS.get(mark) == Some(&number) {
            let microseconds = begun.elapsed().as_secs_f64() * 1e6 / f64::from(since);
            println!(
                "{:<9} {microseconds:<24.2} {row:<11} {}",
                state.tail_length(),
                state.bodies()
            );
            (begun, since) = (Instant::now(), 0);
            mark += 1;
        }
    }
}
