//! The ledger outside the fleet: which ids were acknowledged, and which may have been written.
//!
//! Filled by writers under faults, judged by `account`. What always holds: an id is on the ledger
//! before its first byte is sent; an id stands for one event, whose effect is one on a counter; a
//! writer that got no answer either asks again elsewhere with the same id, or gives the id up.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::door::{Door, JSON, event};
use crate::http::{Answer, Wire};
use crate::processes::eventually;

/// Counters that all writers share, so that regions write the same keys.
pub const COUNTERS: u64 = 8;

/// Between two events of a writer: what is written must be read back within the test's time.
const PACE: Duration = Duration::from_millis(4);

/// Nobody is without any region for longer.
const OUTAGE_MAX: Duration = Duration::from_secs(40);

/// What became of an id.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    /// Sent at least once, and nobody said that it was written.
    Possible,
    /// The answers' dots, one after the other.
    Acknowledged(Value),
}

/// One id's page.
#[derive(Debug, Clone)]
pub struct Page {
    pub fate: Fate,
    /// How often it was sent, so that a copy more than that is a wonder.
    pub sent: usize,
}

#[derive(Default)]
pub struct Ledger {
    pages: Mutex<BTreeMap<String, Page>>,
    stop: AtomicBool,
}

impl Ledger {
    pub fn pages(&self) -> BTreeMap<String, Page> {
        self.pages.lock().unwrap().clone()
    }

    /// Acknowledged ids of one writer so far.
    pub fn acknowledged(&self, writer: usize) -> usize {
        let own = format!("w{writer}-");
        let pages = self.pages.lock().unwrap();
        let own = pages.range(own.clone()..).take_while(|(id, _)| id.starts_with(&own));
        own.filter(|(_, page)| page.fate != Fate::Possible).count()
    }

    /// Waits until every writer has so many acknowledgements more.
    #[track_caller]
    pub fn advance(&self, writers: usize, more: usize) {
        let before: Vec<_> = (0..writers).map(|writer| self.acknowledged(writer)).collect();
        let what = format!("every writer has {more} acknowledgements more than {before:?}");
        eventually(60, &what, || {
            let all = before.iter().enumerate();
            let done = all.clone().all(|(writer, count)| self.acknowledged(writer) >= count + more);
            done.then_some(())
        });
    }

    /// Ends the writers when `scope` ends, also where a test fails before.
    pub fn end(&self) -> End<'_> {
        End(self)
    }

    /// Begins writer number `writer`, at home in the region of the same number.
    pub fn begin<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        doors: &'scope [Door],
        writer: usize,
    ) {
        scope.spawn(move || {
            let mut wires: Vec<Option<Wire>> = doors.iter().map(|_| None).collect();
            for number in 0.. {
                if self.stop.load(Ordering::Relaxed) {
                    return;
                }
                self.one(doors, &mut wires, writer, number);
                thread::sleep(PACE);
            }
        });
    }

    /// One id, from its first try to its last.
    fn one(&self, doors: &[Door], wires: &mut [Option<Wire>], writer: usize, number: u64) {
        let id = format!("w{writer}-{number}");
        let body = event(&id, &format!("c{}", number % COUNTERS), "increment", &json!({"n": 1}));
        let body = body.to_string();
        let begun = Instant::now();
        let mut at = writer % doors.len();
        loop {
            assert!(begun.elapsed() < OUTAGE_MAX, "{id} is not taken anywhere");
            if self.send(&doors[at], &mut wires[at], &id, body.as_bytes()) {
                return;
            }
            let sent = self.pages.lock().unwrap().get(&id).is_some_and(|page| page.sent > 0);
            if sent && number.is_multiple_of(3) {
                return;
            }
            at = (at + 1) % doors.len();
            if at == writer % doors.len() {
                // All were tried: the first may be back.
                thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// True once it is acknowledged.
    fn send(&self, door: &Door, wire: &mut Option<Wire>, id: &str, body: &[u8]) -> bool {
        if wire.is_none() {
            *wire = Wire::connect(door.address).ok();
        }
        let Some(open) = wire else {
            return false;
        };
        {
            let mut pages = self.pages.lock().unwrap();
            let page = Page { fate: Fate::Possible, sent: 0 };
            pages.entry(id.to_owned()).or_insert(page).sent += 1;
        }
        let Ok(answer) = open.ask("POST", "/v1/events", &[JSON], body) else {
            *wire = None;
            return false;
        };
        self.answered(&door.name, id, &answer)
    }

    fn answered(&self, region: &str, id: &str, answer: &Answer) -> bool {
        match answer.status {
            200 | 201 => {
                let body = answer.json();
                assert_eq!(body["eventId"], id);
                assert_eq!(body["duplicate"], answer.status == 200, "{region}: {body}");
                self.pages.lock().unwrap().get_mut(id).unwrap().fate = Fate::Acknowledged(body);
                true
            }
            503 => false,
            status => panic!("{region}: {id}: {status} {}", answer.text()),
        }
    }
}

/// Ends the writers when dropped.
pub struct End<'a>(&'a Ledger);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}
