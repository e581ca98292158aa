//! A region that is a map and a vector of events: just enough to answer what the door asks.
//!
//! Behind every test of this binary. What always holds: it does what the port's documentation
//! says, in the simplest way; knobs make it refuse.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::Response;
use linckia_api::{
    Answers, CatchUpView, ClosedView, DemandShown, FindingShown, ForwardRequest, LapsedView,
    LinkView, Membership, NoBackup, NotForwarded, PassShown, Region, RegionView, RepairDemand,
    RepairsView, Unavailable,
};
use linckia_apply::{
    AggregateView, ConflictView, Digests, EventFilter, Found, Lag, Query, Range, Reading,
};
use linckia_control::{Command, Outcome, Roster, Undecided};
use linckia_model::{
    Answer, Dot, Epochs, Event, FoldSettings, Hlc, Holders, Identity, Incarnations, Key, Level,
    NewEvent, Operation, Origin, Policies, Policy, Precondition, Refusal, RegionName, Transaction,
    Vector, Write, undo,
};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

pub const ORIGIN: &str = "us-east-1.7f3a9c01d2e4b5a6";

/// 2025-01-01T00:00:00Z.
pub const START_MILLISECONDS: u64 = 1_735_689_600_000;

#[derive(Clone, Default)]
struct State {
    log: Vec<Arc<Event>>,
    documents: BTreeMap<Key, Document>,
    ids: BTreeMap<(Key, Arc<str>), usize>,
}

#[derive(Clone, Default)]
struct Document {
    version: u64,
    data: Option<Value>,
}

pub struct Fake {
    name: RegionName,
    state: Mutex<State>,
    applied: watch::Sender<Arc<Vector>>,
    pub busy: AtomicBool,
    pub full: AtomicBool,
    pub unready: AtomicBool,
    /// No other region says that it holds anything.
    pub cut: AtomicBool,
    /// Events with a sequence up to this are gone.
    pub truncated: Mutex<u64>,
    pub conflicts: Mutex<Vec<ConflictView>>,
    /// What was decided; `cut`: nothing is.
    pub roster: watch::Sender<Arc<Roster>>,
    policies: watch::Sender<Arc<Policies>>,
    pub incarnations: watch::Sender<Arc<Incarnations>>,
    members: [RegionName; 2],
    /// A region that does not stop writing.
    pub late: AtomicBool,
    /// An event of every aggregate has left the logs.
    pub forgotten: AtomicBool,
    /// What every region has.
    pub everywhere: Mutex<Vector>,
    /// What clients waited for.
    pub wanted: Mutex<Vec<Vector>>,
}

impl Fake {
    pub fn new() -> Self {
        Self {
            name: RegionName::parse("us-east-1").unwrap(),
            state: Mutex::default(),
            applied: watch::channel(Arc::default()).0,
            busy: AtomicBool::new(false),
            full: AtomicBool::new(false),
            unready: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            truncated: Mutex::default(),
            conflicts: Mutex::default(),
            roster: watch::channel(Arc::default()).0,
            policies: watch::channel(Arc::default()).0,
            incarnations: watch::channel(Arc::default()).0,
            members: ["us-east-1", "eu-west-1"].map(|name| RegionName::parse(name).unwrap()),
            late: AtomicBool::new(false),
            forgotten: AtomicBool::new(false),
            everywhere: Mutex::default(),
            wanted: Mutex::default(),
        }
    }

    /// The region that does not stop, if one is late.
    fn late(&self) -> RegionName {
        let late = if self.late.load(Ordering::Relaxed) { "eu-west-1" } else { "nobody" };
        RegionName::parse(late).unwrap()
    }

    pub fn log(&self) -> Vec<Arc<Event>> {
        self.state.lock().unwrap().log.clone()
    }

    /// The other region is some events ahead.
    fn vector_of(&self, is_self: bool) -> Vector {
        let mut vector = self.vector();
        if !is_self {
            vector.set(&origin(), vector.get(&origin()) + 5);
        }
        vector
    }

    fn holders_of(&self, dot: &Dot) -> Holders {
        let region = |name: &str| RegionName::parse(name).unwrap();
        let (mut durable, mut unconfirmed) = (vec![region("us-east-1")], Vec::new());
        let cut = self.cut.load(Ordering::Relaxed);
        if cut { &mut unconfirmed } else { &mut durable }.push(region("eu-west-1"));
        Holders { dot: dot.clone(), durable, unconfirmed }
    }

    fn vector(&self) -> Vector {
        Vector::clone(&self.applied.borrow())
    }
}

fn origin() -> Origin {
    Origin::parse(ORIGIN).unwrap()
}

/// Logs of a region that lost its directory twice.
fn earlier() -> Vec<ClosedView> {
    let view = |life: u64, end, awaited: &[&str]| ClosedView {
        origin: Origin::parse(&format!("eu-west-1.{life:016x}")).unwrap(),
        end,
        heard: 9,
        begun_at: 1_700_000_000_000,
        awaited: awaited.iter().map(|region| (*region).to_owned()).collect(),
    };
    vec![view(2, None, &["us-east-1"]), view(1, Some(7), &[])]
}

fn tag(document: &Document) -> Option<String> {
    document.data.as_ref().map(|data| format!("{:x}-{}", document.version, data.to_string().len()))
}

impl State {
    fn write(
        &mut self,
        new: NewEvent,
        precondition: Option<&Precondition>,
        tagged: bool,
    ) -> Result<Answer, Refusal> {
        let id = (new.key.clone(), Arc::clone(&new.event_id));
        if let Some(place) = self.ids.get(&id) {
            let first = &self.log[*place];
            let same = first.event_type == new.event_type
                && first.operation == new.operation
                && first.data == new.data;
            let answer = self.answer(first, true, false, tagged);
            return if same { Ok(answer) } else { Err(Refusal::IdReused(first.dot.clone())) };
        }
        let before = self.documents.get(&new.key).cloned().unwrap_or_default();
        self.check(&before, precondition)?;
        let mut after = before.clone();
        after.version += 1;
        apply(&mut after.data, &new)?;
        let sequence = self.log.len() as u64 + 1;
        let event = Arc::new(Event {
            dot: Dot::new(origin(), sequence),
            hlc: Hlc::from_milliseconds(START_MILLISECONDS + sequence),
            deps: Vector::new(),
            transaction: Transaction::single(sequence),
            key: new.key.clone(),
            event_type: new.event_type,
            operation: new.operation,
            data: new.data,
            ctx: None,
            identity: Identity { event_id: new.event_id, place: 0 },
            version: after.version,
            policy_epoch: 0,
            schema_version: 0,
            extras: new.extras,
        });
        let created = before.data.is_none();
        self.documents.insert(new.key, after);
        self.ids.insert(id, self.log.len());
        self.log.push(Arc::clone(&event));
        Ok(self.answer(&event, false, created, tagged))
    }

    fn check(&self, before: &Document, precondition: Option<&Precondition>) -> Result<(), Refusal> {
        let current = tag(before);
        let conflict =
            Refusal::VersionConflict { version: before.version, entity_tag: tag(before) };
        match precondition {
            Some(Precondition::Match(expected)) if current.as_ref() != Some(expected) => {
                Err(conflict)
            }
            Some(Precondition::Exists) if current.is_none() => Err(conflict),
            Some(Precondition::Absent) if current.is_some() => Err(conflict),
            Some(Precondition::Deletable) if current.is_none() => Err(Refusal::NotFound),
            _ => Ok(()),
        }
    }

    fn answer(&self, event: &Event, duplicate: bool, created: bool, tagged: bool) -> Answer {
        let document = self.documents.get(&event.key).filter(|_| tagged);
        Answer {
            event_id: Arc::clone(&event.identity.event_id),
            dot: event.dot.clone(),
            hlc: event.hlc,
            version: event.version,
            duplicate,
            created,
            entity_tag: document.and_then(tag),
        }
    }

    fn view(&self, key: &Key, document: &Document) -> Option<AggregateView> {
        let last = self.log.iter().rev().find(|event| event.key == *key)?;
        Some(AggregateView {
            key: key.clone(),
            version: document.version,
            data: document.data.clone()?,
            conflicts: 0,
            updated_at: last.hlc,
            entity_tag: tag(document)?,
        })
    }
}

fn apply(data: &mut Option<Value>, new: &NewEvent) -> Result<(), Refusal> {
    match new.operation {
        Operation::Put => *data = Some(new.data.clone()),
        Operation::Delete => *data = None,
        Operation::Record => {}
        Operation::Patch => merge(data.get_or_insert_with(|| json!({})), &new.data),
        Operation::Increment => add(data.get_or_insert_with(|| json!({})), &new.data, "")?,
        Operation::Add | Operation::Remove => {
            let judged = Policy::default().admits(new.operation, &new.data);
            judged.map_err(Refusal::Inadmissible)?;
        }
    }
    Ok(())
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let members = target.as_object_mut().unwrap();
    for (name, value) in patch {
        if value.is_null() {
            members.remove(name);
        } else {
            merge(members.entry(name).or_insert(Value::Null), value);
        }
    }
}

fn add(target: &mut Value, more: &Value, pointer: &str) -> Result<(), Refusal> {
    let wrong = || Refusal::NotAnInteger(pointer.to_owned());
    match more {
        Value::Object(more) => {
            let members = target.as_object_mut().ok_or_else(wrong)?;
            for (name, value) in more {
                let empty = if value.is_object() { json!({}) } else { json!(0) };
                add(members.entry(name).or_insert(empty), value, &format!("{pointer}/{name}"))?;
            }
            Ok(())
        }
        _ => {
            let sum = target.as_i64().ok_or_else(wrong)?.checked_add(more.as_i64().unwrap());
            *target = json!(sum.ok_or_else(|| Refusal::Overflow(pointer.to_owned()))?);
            Ok(())
        }
    }
}

fn wanted(event: &Event, filter: &EventFilter) -> bool {
    let is = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|it| it == value);
    event.key.data_set == filter.data_set
        && is(&filter.event_type, &event.event_type)
        && is(&filter.aggregate_type, &event.key.aggregate_type)
        && is(&filter.aggregate_id, &event.key.aggregate_id)
        && is(&filter.region, event.dot.origin.region())
        && filter.takes(event)
}

impl Fake {
    fn events(&self, after: Vector, limit: usize, filter: &EventFilter) -> Found {
        let state = self.state.lock().unwrap();
        let truncated = *self.truncated.lock().unwrap();
        let had = after.get(&origin());
        let missing = match had < truncated {
            true => vec![(origin(), had + 1, truncated)],
            false => Vec::new(),
        };
        let mut next = after;
        if had < truncated {
            next.set(&origin(), truncated);
        }
        let mut events = Vec::new();
        for event in state.log.iter().skip(next.get(&origin()) as usize) {
            if events.len() == limit {
                break;
            }
            next.set(&event.dot.origin, event.dot.sequence);
            if wanted(event, filter) {
                events.push(Arc::clone(event));
            }
        }
        Found::Events { events, next, missing }
    }

    fn find(&self, query: Query) -> Found {
        match query {
            Query::Events { after, limit, filter } => self.events(after, limit, &filter),
            Query::Vector => Found::Vector,
            Query::Digests => Found::Digests(Digests {
                root: [0xab; 32],
                ranges: vec![Range { count: 1, hash: [1; 32] }; 256],
            }),
            Query::Aggregate { key } => {
                let state = self.state.lock().unwrap();
                let document = state.documents.get(&key);
                let view = document.and_then(|document| state.view(&key, document));
                let of_key = state.log.iter().filter(|event| event.key == key);
                let shown = of_key.map(|event| (event.dot.origin.clone(), event.dot.sequence));
                Found::Aggregate { view, shown: shown.collect() }
            }
            Query::Aggregates { data_set, aggregate_type, prefix, after, at, limit } => {
                if at.is_some_and(|at| at != self.vector()) {
                    return Found::Expired;
                }
                let state = self.state.lock().unwrap();
                let mut views: Vec<AggregateView> = state
                    .documents
                    .iter()
                    .filter(|(key, _)| {
                        key.data_set == data_set
                            && key.aggregate_type == aggregate_type
                            && key.aggregate_id.starts_with(&prefix)
                            && after.as_deref().is_none_or(|after| &*key.aggregate_id > after)
                    })
                    .filter_map(|(key, document)| state.view(key, document))
                    .take(limit + 1)
                    .collect();
                let more = views.len() > limit;
                views.truncate(limit);
                let last = views.last().map(|view| view.key.aggregate_id.to_string());
                Found::Aggregates(views, last.filter(|_| more))
            }
            Query::History { key, after, limit, backward } => {
                let mut events = self.log();
                events.retain(|event| event.key == key);
                if backward {
                    events.reverse();
                }
                if let Some(after) = after {
                    let place = events.iter().position(|event| event.stamp() == after).unwrap();
                    events.drain(..=place);
                }
                let more = events.len() > limit;
                events.truncate(limit);
                let last = events.last().map(|event| event.stamp());
                Found::History(events, last.filter(|_| more))
            }
            Query::Past { key, .. } => {
                let mut events = self.log();
                events.retain(|event| event.key == key);
                let epochs = Epochs::none();
                let judged = undo(&events, &|_| false, epochs, &FoldSettings::default());
                let forgotten = u64::from(self.forgotten.load(Ordering::Relaxed));
                Found::Past {
                    events,
                    next: None,
                    version: judged.version + forgotten,
                    entity_tag: judged.entity_tag,
                    stable: Hlc::from_milliseconds(4_000),
                }
            }
            Query::Conflicts { filter, after, limit } => {
                let mut records = self.conflicts.lock().unwrap().clone();
                records.retain(|record| {
                    record.key.data_set == filter.data_set
                        && filter.open.is_none_or(|open| open == record.open)
                        && after.as_ref().is_none_or(|after| record.id > *after)
                });
                let more = records.len() > limit;
                records.truncate(limit);
                let last = records.last().map(|record| record.id.clone());
                Found::Conflicts(records, last.filter(|_| more))
            }
            Query::Conflict { id } => {
                let records = self.conflicts.lock().unwrap();
                let record = records.iter().find(|record| record.id == id);
                Found::Conflict(record.cloned().map(Box::new))
            }
        }
    }
}

impl Region for Fake {
    fn name(&self) -> &RegionName {
        &self.name
    }

    async fn write(&self, write: Write) -> Result<Answers, Unavailable> {
        if self.busy.load(Ordering::Relaxed) {
            return Err(Unavailable::Busy);
        }
        if self.full.load(Ordering::Relaxed) {
            let refused = Refusal::LogFull { used: 9, bound: 10 };
            return Ok(write.events.iter().map(|_| Err(refused.clone())).collect());
        }
        let mut state = self.state.lock().unwrap();
        let before = write.atomic.then(|| state.clone());
        let precondition = write.precondition.as_ref();
        let mut answers: Answers = write
            .events
            .into_iter()
            .map(|event| state.write(event, precondition, write.entity_tag))
            .collect();
        if let Some(before) = before
            && answers.iter().any(Result::is_err)
        {
            *state = before;
            for answer in answers.iter_mut().filter(|answer| answer.is_ok()) {
                *answer = Err(Refusal::Sibling);
            }
        }
        if write.ack.level != Level::Local && self.cut.load(Ordering::Relaxed) {
            for answer in &mut answers {
                if let Ok(written) = answer {
                    let holders = self.holders_of(&written.dot);
                    *answer = Err(Refusal::AckTimeout(Box::new((written.clone(), holders))));
                }
            }
        }
        let sequence = state.log.len() as u64;
        self.applied.send_if_modified(|vector| {
            let grown = vector.get(&origin()) < sequence;
            *vector = Arc::new([(origin(), sequence)].into_iter().filter(|it| it.1 > 0).collect());
            grown
        });
        Ok(answers)
    }

    async fn read(&self, query: Query) -> Result<Reading, Unavailable> {
        if self.busy.load(Ordering::Relaxed) {
            return Err(Unavailable::Busy);
        }
        let vector = self.vector();
        Ok(Reading { vector, found: self.find(query) })
    }

    async fn holders(&self, dot: Dot) -> Result<Option<Holders>, Unavailable> {
        Ok(self.vector().covers(&dot).then(|| self.holders_of(&dot)))
    }

    /// What is beyond the log is not applied yet; of an empty vector nothing is held any more.
    async fn backup(&self, after: Option<Vector>) -> Result<mpsc::Receiver<Bytes>, NoBackup> {
        let (pieces, given) = mpsc::channel(2);
        match after {
            _ if self.busy.load(Ordering::Relaxed) => return Err(NoBackup::UnderWay),
            Some(after) if after.is_empty() => return Err(NoBackup::Gap(origin())),
            Some(after) if !self.vector().covers_all(&after) => return Err(NoBackup::Behind),
            after => {
                let whole = if after.is_some() { "since" } else { "whole" };
                for piece in [whole, " of it"] {
                    pieces.send(Bytes::from(piece)).await.unwrap();
                }
            }
        }
        Ok(given)
    }

    fn applied(&self) -> watch::Receiver<Arc<Vector>> {
        self.applied.subscribe()
    }

    fn applied_now(&self) -> Arc<Vector> {
        Arc::clone(&self.applied.borrow())
    }

    fn everywhere(&self) -> Arc<Vector> {
        Arc::new(self.everywhere.lock().unwrap().clone())
    }

    fn want(&self, vector: &Vector) {
        self.wanted.lock().unwrap().push(vector.clone());
    }

    async fn forward(
        &self,
        to: &RegionName,
        request: ForwardRequest,
    ) -> Result<Response<Bytes>, NotForwarded> {
        if to.as_str() != "eu-west-1" {
            return Err(NotForwarded::Unreachable);
        }
        let behind = request.headers["linckia-behind"].to_str().unwrap();
        let text = format!("{} {} {behind}", request.method, request.target);
        let response = Response::builder().status(202).header("linckia-session", "theirs");
        Ok(response.body(Bytes::from([text.as_bytes(), &request.body].join(&b' '))).unwrap())
    }

    fn incarnations(&self) -> watch::Receiver<Arc<Incarnations>> {
        self.incarnations.subscribe()
    }

    fn policies(&self) -> watch::Receiver<Arc<Policies>> {
        self.policies.subscribe()
    }

    fn members(&self) -> &[RegionName] {
        &self.members
    }

    fn roster(&self) -> watch::Receiver<Arc<Roster>> {
        self.roster.subscribe()
    }

    async fn decide(&self, command: Command, _: Duration) -> Result<Outcome, Undecided> {
        if self.cut.load(Ordering::Relaxed) {
            return Err(Undecided::NoMajority(Vec::new()));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        let mut roster = (**self.roster.borrow()).clone();
        for region in self.members.iter().map(ToString::to_string) {
            let origin = format!("{region}.0000000000000001");
            let (members, held) = (BTreeSet::new(), BTreeSet::new());
            roster.decide(now, &Command::Present { origin, region, members, held, restored: None });
        }
        let outcome = roster.decide(now, &command);
        if let Outcome::PolicyBegun(epoch) = outcome
            && let Command::BeginPolicy { name, .. } = &command
        {
            let stopped = self.members.iter().filter(|member| **member != self.late());
            for region in stopped.map(ToString::to_string) {
                let (name, written) = (name.clone(), BTreeMap::new());
                let origin = format!("{region}.0000000000000001");
                roster.decide(now, &Command::PolicyReady { name, epoch, origin, written });
            }
        }
        self.policies.send_replace(Arc::new(roster.policies().agreed().policies));
        self.roster.send_replace(Arc::new(roster));
        Ok(outcome)
    }

    async fn regions(&self) -> Result<Vec<RegionView>, Unavailable> {
        let lag = vec![Lag { origin: origin(), events: 2, milliseconds: 30 }];
        let view = |name: &str, is_self: bool| RegionView {
            name: RegionName::parse(name).unwrap(),
            url: is_self.then(|| "http://127.0.0.1:7401".to_owned()),
            is_self,
            verdict: "healthy",
            vector: self.vector_of(is_self),
            lag: lag.clone(),
            closed: if is_self { Vec::new() } else { earlier() },
            membership: Membership::Member,
            lapsed: {
                let roster = self.roster.borrow();
                let lapse = roster.incarnations().lapsed().get(name);
                lapse.map(|it| LapsedView { at: it.at, reason: it.reason.clone() })
            },
            catch_up: (!is_self).then(|| CatchUpView {
                from: Some(RegionName::parse("us-east-1").unwrap()),
                received_bytes: 1_000,
                of_bytes: 4_000,
                awaits_logs: false,
            }),
        };
        Ok(vec![view("us-east-1", true), view("eu-west-1", false)])
    }

    async fn links(&self) -> Result<Vec<LinkView>, Unavailable> {
        let view = |from: &str, to: &str, round_trip_milliseconds| LinkView {
            from: RegionName::parse(from).unwrap(),
            to: RegionName::parse(to).unwrap(),
            connected: true,
            round_trip_milliseconds,
            lag: Vec::new(),
        };
        let there = view("us-east-1", "eu-west-1", Some(80.123));
        Ok(vec![there, view("eu-west-1", "us-east-1", None)])
    }

    async fn repairs(&self) -> Result<RepairsView, Unavailable> {
        let name = |text: &str| RegionName::parse(text).unwrap();
        let pass = PassShown {
            peer: name("eu-west-1"),
            keys: 7,
            differed: 1,
            behind: 0,
            ended_at: Some(1_700_000_000_000),
        };
        let finding = FindingShown {
            key: Key::new("default", "Thing", "t-1"),
            at: 1_700_000_000_000,
            sides: vec![(name("us-east-1"), Some([7; 32])), (name("eu-west-1"), None)],
            judged_by: Some("logs"),
            wrong: vec![name("us-east-1")],
            repaired: Some((name("eu-west-1"), 1_700_000_000_000)),
        };
        Ok(RepairsView {
            keys_per_second: 200,
            demand: Some(DemandShown {
                number: 1,
                running: false,
                passes: vec![pass.clone()],
                unreachable: vec![name("eu-west-1")],
            }),
            passes: vec![pass],
            findings: vec![finding],
            compared: 7,
            differences: 1,
            repairs: 1,
        })
    }

    async fn repair(&self, demand: RepairDemand) -> Result<Option<u64>, Unavailable> {
        // A quick one is refused, as if another were under way.
        Ok((!demand.quick).then_some(1))
    }

    async fn emulated(&self) -> Option<Value> {
        let item = json!({"from": "us-east-1", "to": "eu-west-1", "delay": "40ms", "cut": false});
        Some(json!({ "items": [item] }))
    }

    fn ready(&self) -> Result<(), String> {
        match self.unready.load(Ordering::Relaxed) {
            true => Err("recovering".to_owned()),
            false => Ok(()),
        }
    }
}
