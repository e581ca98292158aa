//! Event streams that are resumed across kills of the region that serves them.
//!
//! A scenario over `ledger`: one reader stays with its region, another goes to the next one. What
//! always holds: a reader keeps nothing but the last `id`, which it sends as `Last-Event-ID`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::account::{same_events, settle};
use crate::door::{Door, Logged};
use crate::fleet::Fleet;
use crate::http::Wire;
use crate::ledger::Ledger;
use crate::processes::eventually;

const WRITERS: usize = 3;
const BETWEEN: usize = 80;

/// What a stream brought.
#[derive(Default)]
struct Reader {
    seen: Mutex<Vec<Logged>>,
    last_id: Mutex<Option<String>>,
    socket: Mutex<Option<TcpStream>>,
    resumed: Mutex<usize>,
    stop: AtomicBool,
}

impl Reader {
    /// Reads one door after the other, from where the last one stopped.
    fn follow(&self, doors: &[Door]) {
        for door in doors.iter().cycle() {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            // A door that is down, or a stream that was cut off: the next one.
            if self.read(door).is_err() {
                thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn read(&self, door: &Door) -> std::io::Result<()> {
        let mut wire = Wire::connect(door.address)?;
        *self.socket.lock().unwrap() = Some(wire.socket());
        let last = self.last_id.lock().unwrap().clone();
        let mut headers = vec![("accept", "text/event-stream")];
        headers.extend(last.as_deref().map(|id| ("last-event-id", id)));
        wire.send(&crate::http::request("GET", "/v1/events", &headers, b""))?;
        let head = wire.head()?;
        assert_eq!(head.status, 200, "{} {last:?}", door.name);
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        *self.resumed.lock().unwrap() += usize::from(last.is_some());
        let mut text = String::new();
        let mut bytes = Vec::new();
        while let Some(piece) = wire.chunk()? {
            bytes.extend(piece);
            // A piece may end within a character.
            let Ok(more) = String::from_utf8(std::mem::take(&mut bytes)).map_err(|error| {
                bytes = error.into_bytes();
            }) else {
                continue;
            };
            text.push_str(&more);
            while let Some(end) = text.find("\n\n") {
                let block: String = text.drain(..end + 2).collect();
                self.take(block.trim_end());
            }
        }
        Ok(())
    }

    fn take(&self, block: &str) {
        if block.starts_with(':') {
            return;
        }
        let (mut id, mut data) = (None, None);
        for line in block.lines() {
            match line.split_once(": ") {
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("data", value)) => data = Some(value.to_owned()),
                _ => panic!("no line of a stream without gaps: {line:?} in {block:?}"),
            }
        }
        let event: Value = serde_json::from_str(&data.expect("data")).unwrap();
        let event = Logged::of(&event);
        let id = id.expect("id");
        assert!(id.split(',').any(|dot| dot == event.dot()), "{id} is no place behind {event:?}");
        self.seen.lock().unwrap().push(event);
        *self.last_id.lock().unwrap() = Some(id);
    }

    fn end(&self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(socket) = self.socket.lock().unwrap().take() {
            // Closed already is as good.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// Ends the readers also where the test fails.
struct End<'a>([&'a Reader; 2]);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|reader| reader.end());
    }
}

#[test]
fn a_stream_that_is_resumed_across_kills_misses_nothing_and_repeats_nothing() {
    let fleet = Fleet::near();
    let ledger = Ledger::default();
    let doors = fleet.doors.clone();
    let (faithful, wandering) = (Reader::default(), Reader::default());
    thread::scope(|scope| {
        let _readers = End([&faithful, &wandering]);
        scope.spawn(|| faithful.follow(&doors[1..2]));
        scope.spawn(|| wandering.follow(&doors[1..3]));
        {
            let _writers = ledger.end();
            (0..WRITERS).for_each(|writer| ledger.begin(scope, &doors, writer));
            for region in [1, 2, 1].map(|at: usize| doors[at].name.as_str()) {
                ledger.advance(WRITERS, BETWEEN);
                let killed = fleet.kill(region);
                fleet.back(region, killed);
            }
            ledger.advance(WRITERS, BETWEEN);
        }
        // The writers are told to end; each finishes the id that it is at.
        eventually(40, "the writers have ended", || {
            let before: Vec<_> = doors.iter().map(Door::applied).collect();
            thread::sleep(Duration::from_millis(100));
            (doors.iter().map(Door::applied).collect::<Vec<_>>() == before).then_some(())
        });
        fleet.converged();
        let expected = same_events(&fleet).len();
        for reader in [&faithful, &wandering] {
            eventually(20, "the stream brings the last event", || {
                (distinct(reader) == expected).then_some(())
            });
        }
    });
    settle(&fleet, &ledger);
    for (reader, kills) in [(&faithful, 2), (&wandering, 2)] {
        judge(&fleet, reader, kills);
    }
}

fn distinct(reader: &Reader) -> usize {
    reader.seen.lock().unwrap().iter().map(Logged::dot).collect::<BTreeSet<_>>().len()
}

fn judge(fleet: &Fleet, reader: &Reader, kills: usize) {
    let resumed = *reader.resumed.lock().unwrap();
    assert!(resumed >= kills, "it was cut off {kills} times and resumed {resumed} times");
    let expected = same_events(fleet);
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    let seen = reader.seen.lock().unwrap();
    for event in seen.iter() {
        let before = last.insert(&event.origin, event.sequence).unwrap_or(0);
        // The place is a vector, which covers all that was read: so nothing comes twice either.
        assert_eq!(event.sequence, before + 1, "{}: missed or repeated", event.origin);
        let place = (event.origin.clone(), event.sequence);
        assert_eq!(Some(event), expected.get(&place));
    }
    assert_eq!(seen.len(), expected.len());
}
