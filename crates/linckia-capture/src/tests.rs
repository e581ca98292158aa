//! Requests against small states: identity before preconditions, all or nothing, what is ahead of
//! the disk counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use linckia_model::{
    Abridged, Ack, Answer, Cause, Clock, ClockSettings, Dot, Epochs, Event, EventSource, Extras,
    FoldSettings, Hlc, Identity, Key, KeyState, NewEvent, Now, Operation, Origin, Policies, Policy,
    Precondition, Refusal, RegionName, Stamp, Unread, Vector, Write, canonical,
};
use serde_json::{Value, json};

use crate::{Capture, Captured, Standing};

/// A region whose disk answers when the test says so.
#[derive(Default)]
struct Here {
    applied: Vector,
    states: BTreeMap<Key, KeyState>,
    events: BTreeMap<Dot, Arc<Event>>,
    /// The log has let go of all events.
    dropped: bool,
    /// No event can be read.
    damaged: bool,
}

impl EventSource for Here {
    fn event(&self, dot: &Dot) -> Result<Option<Arc<Event>>, Cause> {
        Ok(self.events.get(dot).cloned())
    }

    fn between(&self, _: &Key, _: &Stamp, _: &Stamp) -> Result<Vec<Arc<Event>>, Cause> {
        panic!("no flush takes anything here")
    }
}

impl Standing for Here {
    type Error = Unread;

    fn applied(&self) -> &Vector {
        &self.applied
    }

    fn state(&mut self, key: &Key) -> Result<KeyState, Unread> {
        Ok(self.states.get(key).cloned().unwrap_or_default())
    }

    fn copies(&mut self, key: &Key, identity: &Identity) -> Result<Vec<Stamp>, Unread> {
        let same = |event: &&Arc<Event>| event.key == *key && event.identity == *identity;
        Ok(self.events.values().filter(same).map(|event| event.stamp()).collect())
    }

    fn event(&self, dot: &Dot) -> Result<Option<Arc<Event>>, Cause> {
        if self.damaged {
            return Err("a record is damaged".into());
        }
        Ok(self.events.get(dot).filter(|_| !self.dropped).cloned())
    }

    fn between(&self, key: &Key, first: &Stamp, last: &Stamp) -> Result<Vec<Arc<Event>>, Cause> {
        EventSource::between(self, key, first, last)
    }

    fn abridged(&self, stamp: &Stamp) -> Result<Option<Abridged>, Unread> {
        Ok(self.events.get(&stamp.dot).map(|event| event.abridged()))
    }
}

struct Bench {
    capture: Capture,
    clock: Clock,
    here: Here,
}

const NOW: Now = Now { wall: 1_000, monotonic: 1_000 };

impl Bench {
    fn new() -> Self {
        let origin = Origin::new(&RegionName::parse("a").unwrap(), 1, 0);
        Self {
            capture: Capture::new(origin, 0, FoldSettings::default(), 0),
            clock: Clock::new(ClockSettings::default(), Hlc::ZERO),
            here: Here::default(),
        }
    }

    fn write(&mut self, write: &Write) -> Captured {
        let captured = self.capture.write(NOW, &mut self.clock, write.clone(), &mut self.here);
        captured.unwrap()
    }

    /// The disk is done: these events are applied.
    fn apply(&mut self, events: &[Arc<Event>]) {
        for event in events {
            let mut state = self.here.states.remove(&event.key).unwrap_or_default();
            let epochs = Epochs::none();
            let settings = FoldSettings::default();
            state.apply(event, &[], &self.here, epochs, &settings).unwrap();
            self.here.states.insert(event.key.clone(), state);
            self.here.events.insert(event.dot.clone(), Arc::clone(event));
            self.here.applied.set(&event.dot.origin, event.dot.sequence);
            self.capture.applied(std::slice::from_ref(event), &mut self.here).unwrap();
        }
    }
}

fn new(id: &str, operation: Operation, data: Value) -> NewEvent {
    NewEvent {
        key: Key::new("default", "T", "1"),
        event_type: "Changed".into(),
        operation,
        data,
        event_id: id.into(),
        extras: Extras::default(),
    }
}

fn write(events: Vec<NewEvent>, atomic: bool, precondition: Option<Precondition>) -> Write {
    Write { events, atomic, precondition, entity_tag: true, ack: Ack::default() }
}

fn single(id: &str, operation: Operation, data: Value) -> Write {
    write(vec![new(id, operation, data)], false, None)
}

fn answer(captured: &Captured) -> &Answer {
    captured.answers[0].as_ref().expect("the write is taken")
}

fn refusal(captured: &Captured) -> &Refusal {
    captured.answers[0].as_ref().expect_err("the write is refused")
}

#[test]
fn sequences_are_gapless_and_deps_end_just_before() {
    let mut bench = Bench::new();
    for sequence in 1..=3 {
        let made = bench.write(&single(&format!("e{sequence}"), Operation::Patch, json!({"n": 1})));
        let event = &made.events[0];
        assert_eq!(event.dot.sequence, sequence);
        assert_eq!(event.deps.get(&event.dot.origin), sequence - 1);
        assert_eq!(made.after, sequence);
        assert_eq!(answer(&made).version, sequence);
    }
}

#[test]
fn a_repeated_id_is_answered_with_the_first_copy_before_it_is_durable_and_after() {
    let mut bench = Bench::new();
    let first = bench.write(&single("x", Operation::Increment, json!({"n": 1})));
    let again = bench.write(&single("x", Operation::Increment, json!({"n": 1})));
    assert!(again.events.is_empty() && answer(&again).duplicate);
    assert_eq!(again.after, 1, "it waits for the first copy's sync");
    bench.apply(&first.events);
    let later = bench.write(&single("x", Operation::Increment, json!({"n": 1})));
    assert_eq!(answer(&later).dot, answer(&first).dot);
    bench.here.dropped = true;
    let last = bench.write(&single("x", Operation::Increment, json!({"n": 1})));
    assert_eq!(last.answers, later.answers, "the log need not have it any more");
}

#[test]
fn a_repeated_id_with_other_content_is_refused() {
    let mut bench = Bench::new();
    bench.write(&single("x", Operation::Patch, json!({"n": 1})));
    let made = bench.write(&single("x", Operation::Patch, json!({"n": 2})));
    assert!(matches!(refusal(&made), Refusal::IdReused(dot) if dot.sequence == 1));
    let first = bench.write(&single("y", Operation::Patch, json!({"n": 1})));
    bench.apply(&first.events);
    bench.here.dropped = true;
    let made = bench.write(&single("y", Operation::Patch, json!({"n": 2})));
    assert!(matches!(refusal(&made), Refusal::IdReused(dot) if dot.sequence == 2));
}

#[test]
fn an_id_whose_first_copy_cannot_be_read_is_refused_and_nothing_else_is() {
    let mut bench = Bench::new();
    let first = bench.write(&single("x", Operation::Increment, json!({"n": 1})));
    bench.apply(&first.events);
    bench.here.damaged = true;
    let again = new("x", Operation::Increment, json!({"n": 1}));
    let made = bench.write(&write(vec![again.clone()], false, None));
    assert!(matches!(refusal(&made), Refusal::Unreadable(why) if why.contains("damaged")));
    let fresh = new("y", Operation::Increment, json!({"n": 1}));
    let made = bench.write(&write(vec![again.clone(), fresh.clone()], false, None));
    assert!(made.answers[0].is_err() && made.answers[1].is_ok());
    assert_eq!(made.events.len(), 1);
    let made = bench.write(&write(vec![new("z", Operation::Record, json!({})), again], true, None));
    assert!(made.events.is_empty());
    assert!(matches!(made.answers[..], [Err(Refusal::Sibling), Err(Refusal::Unreadable(_))]));
}

#[test]
fn identity_is_looked_up_before_preconditions() {
    let mut bench = Bench::new();
    let events = vec![new("x", Operation::Put, json!({}))];
    let create = write(events, false, Some(Precondition::Absent));
    bench.write(&create);
    assert!(answer(&bench.write(&create)).duplicate);
}

#[test]
fn preconditions_see_what_is_not_applied_yet() {
    let mut bench = Bench::new();
    let put = |id, tag: Option<Precondition>| {
        write(vec![new(id, Operation::Put, json!({"n": id}))], false, tag)
    };
    let first = bench.write(&put("1", Some(Precondition::Absent)));
    let tag = answer(&first).entity_tag.clone().expect("the tag was asked for");
    let refused = bench.write(&put("2", Some(Precondition::Absent)));
    assert!(matches!(refusal(&refused), Refusal::VersionConflict { version: 1, .. }));
    let second = bench.write(&put("3", Some(Precondition::Match(tag.clone()))));
    assert_eq!(answer(&second).version, 2);
    let late = bench.write(&put("4", Some(Precondition::Match(tag))));
    assert!(matches!(refusal(&late), Refusal::VersionConflict { version: 2, .. }));
    bench.apply(&first.events);
    bench.apply(&second.events);
    let state = &bench.here.states[&Key::new("default", "T", "1")];
    assert_eq!(canonical::entity_tag(state), answer(&second).entity_tag);
}

#[test]
fn of_several_keys_only_those_that_are_named_have_to_be_unchanged() {
    let mut bench = Bench::new();
    let first = bench.write(&single("1", Operation::Put, json!({"n": 1})));
    let tag = answer(&first).entity_tag.clone();
    let judged: std::collections::BTreeMap<_, _> =
        [(Key::new("default", "T", "1"), (1, tag))].into_iter().collect();
    let note = |id: &str| {
        let mut other = new("other", Operation::Put, json!({}));
        other.key = Key::new("default", "T", "2");
        let note = new(id, Operation::Patch, json!({"by": id}));
        write(vec![other, note], true, Some(Precondition::UnchangedEach(judged.clone())))
    };
    let made = bench.write(&note("a"));
    assert!(made.answers.iter().all(Result::is_ok), "{:?}", made.answers);
    let late = bench.write(&note("b"));
    assert!(matches!(late.answers[1], Err(Refusal::VersionConflict { version: 2, .. })));
    assert!(late.events.is_empty(), "all or nothing");
}

#[test]
fn a_refusal_waits_until_what_it_shows_is_durable() {
    let mut bench = Bench::new();
    let put = |id: &str, precondition| {
        write(vec![new(id, Operation::Put, json!({}))], false, precondition)
    };
    let first = bench.write(&put("1", None));
    let refused = bench.write(&put("2", Some(Precondition::Absent)));
    assert!(matches!(refusal(&refused), Refusal::VersionConflict { version: 1, .. }));
    assert_eq!(refused.after, first.after, "the version it tells may still be lost");
    let batch = write(
        vec![new("3", Operation::Put, json!({})), new("4", Operation::Increment, json!({"a": 1}))],
        true,
        Some(Precondition::Absent),
    );
    assert_eq!(bench.write(&batch).after, first.after);
    bench.apply(&first.events);
    assert_eq!(bench.write(&put("5", Some(Precondition::Absent))).after, 0, "it is durable");
}

#[test]
fn a_delete_of_nothing_writes_nothing() {
    let mut bench = Bench::new();
    let delete =
        write(vec![new("x", Operation::Delete, json!({}))], false, Some(Precondition::Deletable));
    let made = bench.write(&delete);
    assert_eq!(refusal(&made), &Refusal::NotFound);
    assert!(made.events.is_empty() && bench.capture.last() == 0);
}

#[test]
fn increments_are_judged_by_what_is_there() {
    let mut bench = Bench::new();
    bench.write(&single("1", Operation::Put, json!({"n": "x", "m": i64::MAX})));
    let text = bench.write(&single("2", Operation::Increment, json!({"n": 1})));
    assert_eq!(refusal(&text), &Refusal::NotAnInteger("/n".to_owned()));
    let much = bench.write(&single("3", Operation::Increment, json!({"m": 1})));
    assert_eq!(refusal(&much), &Refusal::Overflow("/m".to_owned()));
}

#[test]
fn an_atomic_batch_is_one_transaction_with_one_timestamp() {
    let mut bench = Bench::new();
    let events = (0..3).map(|n| new(&n.to_string(), Operation::Increment, json!({"n": 1})));
    let made = bench.write(&write(events.collect(), true, None));
    let transactions: Vec<_> = made.events.iter().map(|event| event.transaction).collect();
    assert!(transactions.iter().all(|t| t.first == 1 && t.size == 3));
    assert!(made.events.iter().all(|event| event.hlc == made.events[0].hlc));
    assert_eq!(made.answers.iter().filter(|answer| answer.is_ok()).count(), 3);
}

#[test]
fn a_refusal_in_an_atomic_batch_undoes_all_of_it() {
    let mut bench = Bench::new();
    bench.write(&single("0", Operation::Put, json!({"n": "text"})));
    let events = vec![
        new("1", Operation::Patch, json!({"m": 1})),
        new("2", Operation::Increment, json!({"n": 1})),
    ];
    let made = bench.write(&write(events, true, None));
    assert!(made.events.is_empty() && bench.capture.last() == 1);
    assert_eq!(made.answers[0], Err(Refusal::Sibling));
    assert_eq!(made.answers[1], Err(Refusal::NotAnInteger("/n".to_owned())));
    let next = bench.write(&single("1", Operation::Patch, json!({"m": 1})));
    assert_eq!((answer(&next).version, answer(&next).duplicate), (2, false));
}

#[test]
fn one_id_several_times_in_a_batch_is_several_events() {
    let mut bench = Bench::new();
    let events = vec![new("x", Operation::Increment, json!({"n": 1})); 2];
    let batch = write(events, true, None);
    let made = bench.write(&batch);
    assert_eq!(made.events.len(), 2);
    let again = bench.write(&batch);
    assert!(
        again.events.is_empty()
            && again.answers.iter().all(|a| { a.as_ref().is_ok_and(|answer| answer.duplicate) })
    );
}

#[test]
fn a_remote_event_is_folded_under_what_is_ahead() {
    let mut bench = Bench::new();
    let made = bench.write(&single("1", Operation::Increment, json!({"n": 1})));
    let mut remote = Event::clone(&made.events[0]);
    remote.dot = Dot::new(Origin::new(&RegionName::parse("b").unwrap(), 1, 0), 1);
    remote.hlc = Hlc::from_milliseconds(1);
    remote.deps = Vector::new();
    remote.identity = Identity { event_id: "r".into(), place: 0 };
    bench.apply(&[Arc::new(remote)]);
    let next = bench.write(&single("2", Operation::Increment, json!({"n": 1})));
    assert_eq!(answer(&next).version, 3);
}

fn agreed(closed: bool) -> Arc<Policies> {
    let mut policies = Policies::default();
    let json = json!({"strategy": "LastWriterWins", "fields": {"/s": "set"}});
    policies.open("default", "T", 2, Policy::from_json(&json).unwrap()).unwrap();
    policies.set_closed("default", "T", closed);
    Arc::new(policies)
}

#[test]
fn events_carry_the_open_epoch_and_what_the_policy_does_not_admit_is_refused() {
    let mut bench = Bench::new();
    let before = bench.write(&single("a", Operation::Add, json!({"s": ["x"]})));
    let Refusal::Inadmissible(no) = refusal(&before) else { panic!("there is no set yet") };
    assert_eq!(no.pointer, "/s");
    bench.capture.set_policies(agreed(false));
    let made = bench.write(&single("a", Operation::Add, json!({"s": ["x"]})));
    assert_eq!(made.events[0].policy_epoch, 2);
    let wrong = bench.write(&single("b", Operation::Patch, json!({"s": "x"})));
    assert!(matches!(refusal(&wrong), Refusal::Inadmissible(_)));
    assert_eq!((wrong.after, bench.capture.last()), (0, 1), "it shows nothing and took nothing");
}

#[test]
fn a_closed_type_takes_no_writes_and_still_knows_what_was_written() {
    let mut bench = Bench::new();
    bench.capture.set_policies(agreed(false));
    bench.write(&single("a", Operation::Put, json!({"n": 1})));
    bench.capture.set_policies(agreed(true));
    let closed = bench.write(&single("b", Operation::Put, json!({"n": 2})));
    assert_eq!(refusal(&closed), &Refusal::PolicyChanging);
    assert_eq!((closed.after, closed.events.len()), (0, 0));
    let again = bench.write(&single("a", Operation::Put, json!({"n": 1})));
    assert!(answer(&again).duplicate);
}
