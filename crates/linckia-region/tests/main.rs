//! One machine alone, on a disk in memory: what it answers when, what can be asked of it, and how
//! it ends and comes back. Links are the simulator's.

use std::sync::Arc;

use linckia_apply::{ApplySettings, ConflictFilter, EventFilter, Found, Query, Reading};
use linckia_log::{Logs, MemoryDisk, Settings};
use linckia_model::{
    Ack, Agreed, AgreedPolicies, ClockSettings, Extras, Key, NewEvent, Now, Operation, Origin,
    Policies, Policy, Refusal, RegionName, TypeName, Vector, Write,
};
use linckia_region::{
    Alarm, Input, Machine, NotPinned, Output, RegionSettings, read_rows, take_rows,
};
use linckia_store::{Batch, MemoryStore, Rows as _, Table, View};
use serde_json::{Value, json};

fn told(agreed: &AgreedPolicies) -> Agreed {
    Agreed { policies: agreed.clone(), incarnations: None }
}

struct Bench {
    disk: Arc<MemoryDisk>,
    machine: Machine,
    now: Now,
    ticket: u64,
}

fn region(name: &str) -> RegionName {
    RegionName::parse(name).expect("the name is a region's")
}

fn open(disk: &Arc<MemoryDisk>, now: Now, settings: Settings, apply: ApplySettings) -> Machine {
    let segment = settings.segment_bytes_max;
    let (logs, _) = Logs::open(disk.clone(), settings, &mut || [7; 16]).expect("the logs open");
    let region_settings = RegionSettings {
        name: region("a"),
        origin: Origin::new(&region("a"), 1, 0),
        members: vec![region("a")],
        clock: ClockSettings::default(),
        agreed: Agreed::default(),
        apply,
        heartbeat_milliseconds: 100,
        gather_milliseconds: 5,
        linger_milliseconds: 5,
        history_bytes: u64::MAX,
        disk_reserve_bytes: 1 << 20,
        catch_up_events: u64::MAX,
        compared_per_second: 0,
        compare_rest_milliseconds: 0,
        page_bytes: 4 << 20,
        place: String::new(),
        moved: false,
        seed: 0,
        fault: None,
    };
    // The store is empty at every start: it is rebuilt from the log.
    Machine::open(region_settings, logs, Arc::new(MemoryStore::new()), segment, now)
        .expect("the machine recovers")
}

impl Bench {
    fn new() -> Self {
        Self::with(Settings::small())
    }

    fn with(settings: Settings) -> Self {
        Self::open(settings, ApplySettings::default())
    }

    fn applying(apply: ApplySettings) -> Self {
        Self::open(Settings::small(), apply)
    }

    fn open(settings: Settings, apply: ApplySettings) -> Self {
        let (disk, now) = (Arc::new(MemoryDisk::new()), Now { wall: 10_000, monotonic: 1 });
        let machine = open(&disk, now, settings, apply);
        Self { disk, machine, now, ticket: 0 }
    }

    fn hand(&mut self, input: Input) -> Vec<Output> {
        self.now.wall += 1;
        self.now.monotonic += 1;
        self.machine.handle(self.now, input).expect("the store works")
    }

    fn sync(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        while let Some((kind, job)) = self.machine.begin_sync(self.now) {
            outputs.extend(self.hand(Input::Synced { kind, done: job.run() }));
        }
        outputs
    }

    fn write(&mut self, id: &str, key: &str, operation: Operation, data: Value) -> Vec<Output> {
        self.ticket += 1;
        let event = NewEvent {
            key: Key::new("default", "T", key),
            event_type: "Changed".into(),
            operation,
            data,
            event_id: id.into(),
            extras: Extras::default(),
        };
        let write = Write {
            events: vec![event],
            atomic: false,
            precondition: None,
            entity_tag: false,
            ack: Ack::default(),
        };
        self.hand(Input::Write { ticket: self.ticket, write })
    }

    fn put(&mut self, id: &str, key: &str) {
        self.write(id, key, Operation::Put, json!({"by": id}));
        let answered = self.sync();
        assert!(matches!(&answered[..], [Output::Answer { answers, .. }] if answers[0].is_ok()));
    }

    fn read(&mut self, query: &Query) -> Reading {
        self.ticket += 1;
        let mut outputs = self.hand(Input::Read { ticket: self.ticket, query: query.clone() });
        outputs.extend(self.flush());
        let reading = outputs.into_iter().find_map(|output| match output {
            Output::Reading { ticket, reading } if ticket == self.ticket => reading,
            _ => None,
        });
        reading.expect("a reader is answered at once or after the flush")
    }

    /// Runs the flushes that are due.
    fn flush(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        while let Some(job) = self.machine.begin_store(self.now) {
            outputs.extend(self.hand(Input::Stored { done: job.run() }));
        }
        outputs
    }

    fn value(&mut self, key: &str) -> Option<Value> {
        let key = Key::new("default", "T", key);
        match self.read(&Query::Aggregate { key }).found {
            Found::Aggregate { view, .. } => view.map(|view| view.data),
            other => panic!("an aggregate is answered by one, not by {other:?}"),
        }
    }

    fn list(&mut self, after: Option<&str>, at: Option<Vector>, limit: usize) -> Reading {
        self.read(&Query::Aggregates {
            data_set: "default".into(),
            aggregate_type: "T".into(),
            prefix: String::new(),
            after: after.map(str::to_owned),
            at,
            limit,
        })
    }
}

fn refusals(outputs: &[Output]) -> Vec<&Refusal> {
    let answers = outputs.iter().filter_map(|output| match output {
        Output::Answer { answers, .. } => Some(answers),
        _ => None,
    });
    answers.flatten().filter_map(|answer| answer.as_ref().err()).collect()
}

#[test]
fn nothing_is_answered_or_readable_before_it_is_durable() {
    let mut bench = Bench::new();
    assert_eq!(bench.write("1", "k", Operation::Put, json!({"n": 1})), Vec::new());
    assert_eq!(bench.value("k"), None);
    let answered = bench.sync();
    assert!(matches!(&answered[..], [Output::Answer { ticket: 1, .. }]));
    assert_eq!(bench.value("k"), Some(json!({"n": 1})));
}

#[test]
fn one_sync_answers_everything_gathered_before_it() {
    let mut bench = Bench::new();
    for n in 0..20 {
        bench.write(&n.to_string(), "k", Operation::Increment, json!({"n": 1}));
    }
    assert_eq!(bench.sync().len(), 20);
    assert_eq!(bench.value("k"), Some(json!({"n": 20})));
}

#[test]
fn a_crash_keeps_what_was_answered_and_loses_nothing_else_than_what_was_not() {
    let mut bench = Bench::new();
    bench.put("1", "k");
    bench.write("2", "k", Operation::Put, json!({"by": "lost"}));
    bench.disk.crash(&mut || 0);
    bench.machine = open(&bench.disk, bench.now, Settings::small(), ApplySettings::default());
    assert_eq!(bench.value("k"), Some(json!({"by": "1"})));
    bench.put("3", "k");
    let total = bench.machine.region().applied().total();
    assert_eq!(total, 2, "the sequence goes on after what was durable");
}

#[test]
fn events_wait_for_their_policy_and_nothing_is_written_meanwhile() {
    let mut bench = Bench::new();
    let mut policies = Policies::default();
    let deletes = Policy::from_json(&json!({"strategy": "DeleteWins"})).unwrap();
    policies.open("default", "T", 1, deletes).unwrap();
    let agreed = AgreedPolicies { policies, ..AgreedPolicies::default() };
    bench.put("1", "k");
    bench.hand(Input::Agreed(told(&agreed)));
    bench.put("2", "k");
    let refused = bench.write("3", "k", Operation::Patch, json!({"n": 1}));
    assert!(matches!(refusals(&refused)[..], [Refusal::Inadmissible(_)]));
    // The store is empty at the start, and the policies are not known yet.
    bench.machine = open(&bench.disk, bench.now, Settings::small(), ApplySettings::default());
    assert_eq!(bench.value("k"), Some(json!({"by": "1"})));
    let refused = bench.write("4", "k", Operation::Put, json!({}));
    assert_eq!(refusals(&refused), [&Refusal::PolicyChanging]);
    bench.hand(Input::Agreed(told(&agreed)));
    assert_eq!(bench.value("k"), Some(json!({"by": "2"})));
    bench.put("5", "k");
}

#[test]
fn a_type_stops_until_its_change_is_over_and_what_was_written_is_applied() {
    let mut bench = Bench::new();
    let name = TypeName { data_set: "default".to_owned(), aggregate_type: "T".to_owned() };
    let stopped = |outputs: &[Output]| {
        outputs.iter().find_map(|output| match output {
            Output::Stopped { epoch, written, .. } => Some((*epoch, written.total())),
            _ => None,
        })
    };
    bench.put("1", "k");
    // One more is on its way to the disk when the type is closed: not told before it is there.
    bench.write("2", "k", Operation::Put, json!({"by": "2"}));
    let mut agreed = AgreedPolicies::default();
    agreed.policies.set_closed("default", "T", true);
    agreed.closing.push((name.clone(), 1));
    let outputs = bench.hand(Input::Agreed(told(&agreed)));
    assert_eq!(stopped(&outputs), None);
    let refused = bench.write("3", "k", Operation::Put, json!({}));
    assert_eq!(refusals(&refused), [&Refusal::PolicyChanging]);
    let outputs = bench.sync();
    assert_eq!(stopped(&outputs), Some((1, 2)));
    // After a crash it is closed from the first moment, and told again.
    bench.disk.crash(&mut || 0);
    bench.machine = open(&bench.disk, bench.now, Settings::small(), ApplySettings::default());
    let outputs = bench.hand(Input::Agreed(told(&agreed)));
    assert_eq!(stopped(&outputs), Some((1, 2)));
    // The epoch is open, but somebody wrote what is not here yet.
    agreed.closing.clear();
    agreed.policies.set_closed("default", "T", false);
    let elsewhere = Origin::new(&region("b"), 1, 0);
    agreed.awaited.push((name, [(elsewhere, 1)].into_iter().collect()));
    bench.hand(Input::Agreed(told(&agreed)));
    let refused = bench.write("4", "k", Operation::Put, json!({}));
    assert_eq!(refusals(&refused), [&Refusal::PolicyChanging]);
    agreed.awaited.clear();
    bench.hand(Input::Agreed(told(&agreed)));
    bench.put("5", "k");
}

#[test]
fn a_clean_end_comes_back_whole() {
    let mut bench = Bench::new();
    for n in 0..50 {
        bench.put(&n.to_string(), &format!("k{n}"));
    }
    let digests = bench.read(&Query::Digests).found;
    bench.machine.close(bench.now).unwrap();
    bench.machine = open(&bench.disk, bench.now, Settings::small(), ApplySettings::default());
    assert_eq!(bench.read(&Query::Digests).found, digests);
}

#[test]
fn the_first_failed_sync_ends_writing_and_says_so() {
    let mut bench = Bench::new();
    bench.put("1", "k");
    bench.write("2", "k", Operation::Put, json!({}));
    bench.disk.fail_sync(1);
    let outputs = bench.sync();
    assert!(matches!(refusals(&outputs)[..], [Refusal::Poisoned(_)]));
    let alarm = |output: &Output| matches!(output, Output::Alarm(Alarm::Poisoned { .. }));
    assert!(outputs.iter().any(alarm));
    let later = bench.write("3", "k", Operation::Put, json!({}));
    assert!(matches!(refusals(&later)[..], [Refusal::Poisoned(_)]));
    assert_eq!(bench.value("k"), Some(json!({"by": "1"})), "reading goes on");
}

#[test]
fn a_full_log_refuses_and_keeps_answering_reads() {
    let settings = Settings { bytes_max: 256 << 10, ..Settings::small() };
    let mut bench = Bench::with(settings);
    let text = "x".repeat(4_000);
    let refused = (0..200).find_map(|n| {
        let outputs = bench.write(&n.to_string(), "k", Operation::Put, json!({"text": text}));
        bench.sync();
        refusals(&outputs).first().map(|refusal| (n, (*refusal).clone()))
    });
    let (n, refusal) = refused.expect("a bounded log is full some day");
    assert!(matches!(refusal, Refusal::LogFull { .. }), "{refusal:?}");
    assert!(n > 10 && bench.value("k").is_some());
}

#[test]
fn a_full_disk_refuses_until_there_is_room() {
    let mut bench = Bench::new();
    bench.put("1", "k");
    let full = bench.hand(Input::Disk { free: 900_000 });
    assert!(full.is_empty());
    let alarmed = bench.hand(Input::Tick);
    let alarm = |output: &Output| matches!(output, Output::Alarm(Alarm::DiskFull { .. }));
    assert_eq!(alarmed.iter().filter(|output| alarm(output)).count(), 1);
    assert!(!bench.hand(Input::Tick).iter().any(alarm), "it is told once");
    let outputs = bench.write("2", "k", Operation::Put, json!({}));
    assert!(matches!(refusals(&outputs)[..], [Refusal::DiskFull { free: 900_000, .. }]));
    assert_eq!(bench.value("k"), Some(json!({"by": "1"})), "reading goes on");
    bench.hand(Input::Disk { free: 9_000_000 });
    bench.put("3", "k");
    assert_eq!(bench.value("k"), Some(json!({"by": "3"})));
}

#[test]
fn pages_of_a_list_are_read_at_the_first_ones_vector() {
    let mut bench = Bench::new();
    for n in 0..5 {
        bench.put(&n.to_string(), &format!("k{n}"));
    }
    let first = bench.list(None, None, 2);
    let Found::Aggregates(items, Some(next)) = first.found else { panic!("there is more") };
    assert_eq!((items.len(), next.as_str()), (2, "k1"));
    bench.put("late", "k1b");
    let second = bench.list(Some("k1"), Some(first.vector.clone()), 10);
    let Found::Aggregates(items, None) = second.found else { panic!("this is the end") };
    let ids: Vec<&str> = items.iter().map(|item| &*item.key.aggregate_id).collect();
    assert_eq!(ids, ["k2", "k3", "k4"]);
    assert_eq!(second.vector, first.vector);
    let unknown = bench.list(Some("k1"), Some(Vector::new()), 10);
    assert_eq!(unknown.found, Found::Expired);
}

#[test]
fn a_page_of_a_list_ends_where_its_documents_take_too_much() {
    let mut bench = Bench::with(Settings::default());
    let text = "x".repeat(700 << 10);
    for number in 10..30 {
        let (id, key) = (format!("e{number}"), format!("k{number}"));
        let outputs = bench.write(&id, &key, Operation::Put, json!({ "text": text }));
        assert_eq!(refusals(&outputs), Vec::<&Refusal>::new());
        bench.sync();
    }
    bench.flush();
    let (mut after, mut ids, mut pages) = (None::<String>, Vec::new(), 0);
    loop {
        let Found::Aggregates(items, next) = bench.list(after.as_deref(), None, 1_000).found else {
            panic!()
        };
        assert!(items.len() <= 12, "{} of 700 KiB", items.len());
        ids.extend(items.iter().map(|item| item.key.aggregate_id.to_string()));
        (after, pages) = (next, pages + 1);
        if after.is_none() {
            break;
        }
    }
    assert_eq!((ids.len(), pages), (20, 2));
    assert!(ids.is_sorted());
}

#[test]
fn the_logs_are_listed_beyond_a_vector_until_caught_up() {
    let mut bench = Bench::new();
    for n in 0..5 {
        bench.put(&n.to_string(), &format!("k{}", n % 2));
    }
    let mut after = Vector::new();
    let mut seen = Vec::new();
    loop {
        let filter = EventFilter { data_set: "default".into(), ..EventFilter::default() };
        let query = Query::Events { after: after.clone(), limit: 2, filter };
        let Found::Events { events, next, missing } = bench.read(&query).found else {
            panic!("events are answered by events")
        };
        assert!(missing.is_empty());
        seen.extend(events.iter().map(|event| event.identity.event_id.to_string()));
        if next == after {
            break;
        }
        after = next;
    }
    assert_eq!(seen, ["0", "1", "2", "3", "4"]);
}

#[test]
fn history_goes_both_ways_and_pages() {
    let mut bench = Bench::new();
    for n in 0..5 {
        bench.put(&n.to_string(), "k");
    }
    let key = Key::new("default", "T", "k");
    let mut page = |after, backward| {
        let query = Query::History { key: key.clone(), after, limit: 3, backward };
        let Found::History(events, next) = bench.read(&query).found else { panic!("history") };
        let ids: Vec<String> = events.iter().map(|e| e.identity.event_id.to_string()).collect();
        (ids, next)
    };
    let (ids, next) = page(None, false);
    assert_eq!(ids, ["0", "1", "2"]);
    assert_eq!(page(next, false), (vec!["3".to_owned(), "4".to_owned()], None));
    let (ids, next) = page(None, true);
    assert_eq!(ids, ["4", "3", "2"]);
    assert_eq!(page(next, true), (vec!["1".to_owned(), "0".to_owned()], None));
}

#[test]
fn one_region_alone_has_no_conflicts_and_forgets_its_tombstones() {
    let mut bench = Bench::new();
    bench.put("1", "k");
    bench.write("2", "k", Operation::Delete, json!({}));
    bench.sync();
    for _ in 0..400 {
        bench.hand(Input::Tick);
        bench.sync();
    }
    let filter = ConflictFilter { data_set: "default".into(), ..ConflictFilter::default() };
    let found = bench.read(&Query::Conflicts { filter, after: None, limit: 10 }).found;
    assert_eq!(found, Found::Conflicts(Vec::new(), None));
    let states = bench.machine.apply().all_states(bench.machine.store()).unwrap();
    assert_eq!(states[0].1.tail_length(), 0);
    assert!(states[0].1.folded().frontier.is_empty() && states[0].1.version() == 2);
    bench.put("3", "k");
    assert_eq!(bench.value("k"), Some(json!({"by": "3"})));
}

#[test]
fn a_list_asked_for_during_a_flush_shows_what_was_applied_when_it_was_asked() {
    let mut bench = Bench::new();
    let list = || Query::Conflicts {
        filter: ConflictFilter { data_set: "default".into(), ..ConflictFilter::default() },
        after: None,
        limit: 10,
    };
    bench.put("one", "k");
    assert!(bench.hand(Input::Read { ticket: 100, query: list() }).is_empty());
    let first = bench.machine.begin_store(bench.now).expect("a reader waits");
    bench.put("two", "k");
    let asked_at = bench.machine.region().applied().clone();
    assert!(bench.hand(Input::Read { ticket: 200, query: list() }).is_empty());
    assert!(bench.machine.begin_store(bench.now).is_none(), "one flush at a time");

    let outputs = bench.hand(Input::Stored { done: first.run() });
    assert!(matches!(&outputs[..], [Output::Reading { ticket: 100, .. }]), "{outputs:?}");
    let outputs = bench.flush();
    let [Output::Reading { ticket: 200, reading }] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(reading.as_ref().map(|reading| &reading.vector), Some(&asked_at));
    assert!(bench.machine.begin_store(bench.now).is_none(), "nobody wants another");
}

#[test]
fn a_disk_that_is_slow_with_flushes_bounds_what_is_applied_and_loses_nothing() {
    let apply = ApplySettings { flush_events_max: 4, ..ApplySettings::default() };
    let mut bench = Bench::applying(apply);
    for number in 0..4 {
        bench.put(&format!("before-{number}"), "k");
    }
    let slow = bench.machine.begin_store(bench.now).expect("as many as make a flush due");
    let mut answered = 0;
    for number in 0..6 {
        bench.write(&format!("during-{number}"), "k", Operation::Put, json!({"n": number}));
        answered += bench.sync().len();
    }
    assert_eq!(answered, 4, "durable events wait for room");
    let outputs = bench.hand(Input::Stored { done: slow.run() });
    assert_eq!(outputs.len(), 2, "and are answered once there is some: {outputs:?}");
    assert_eq!(bench.value("k"), Some(json!({"n": 5})));
}

#[test]
fn a_backup_reads_the_state_at_one_vector_and_all_of_the_logs() {
    let mut bench = Bench::new();
    bench.put("one", "k");
    bench.machine.want_state().expect("nothing is in the way");
    bench.put("two", "k");
    assert_eq!(bench.machine.want_state(), Err(NotPinned::Busy), "one at a time");
    assert!(bench.machine.cut_state().unwrap().is_none(), "the store is not far enough");
    bench.flush();
    let pinned = bench.machine.cut_state().unwrap().expect("the store is there");
    assert_eq!((pinned.upto.total(), pinned.logs.len()), (2, 1));
    let log = &pinned.logs[0];
    assert_eq!((log.after, log.last), (0, 2));
    assert_eq!(log.reader.read(1, u64::MAX, 9).unwrap().len(), 2);
    assert_eq!(bench.machine.pin_logs(&Vector::new()).err(), Some(NotPinned::Busy));

    // The rows are those of the store as it was.
    bench.put("three", "other");
    bench.flush();
    let (cut, view) = pinned.state.as_ref().expect("a whole one");
    assert_eq!(cut.at, pinned.upto);
    let (mut place, mut rows, mut pages) = (Vec::new(), Batch::default(), 0);
    loop {
        let page = read_rows(view.as_ref(), &mut place, 64).unwrap();
        if page.is_empty() {
            break;
        }
        take_rows(&page, &mut rows).expect("a page reads");
        pages += 1;
    }
    assert!(pages > 2, "they are of about so many bytes");
    let copy = MemoryStore::new();
    copy.write(&rows).unwrap();
    let all = |view: &dyn View, table| view.scan(table, &[], &[], 99, false).unwrap();
    for table in Table::ALL {
        assert_eq!(all(&copy, table), all(view.as_ref(), table), "{table:?}");
    }
    assert_eq!(all(&copy, Table::States).len(), 1);
    drop(pinned);

    let before: Vector = [(Origin::new(&region("a"), 1, 0), 2)].into_iter().collect();
    let since = bench.machine.pin_logs(&before).expect("it is over");
    assert_eq!((since.state.is_none(), since.logs[0].after, since.logs[0].last), (true, 2, 3));
    drop(since);
    let beyond: Vector = [(Origin::new(&region("a"), 1, 0), 4)].into_iter().collect();
    assert_eq!(bench.machine.pin_logs(&beyond).err(), Some(NotPinned::Behind));
}
