//! A key's state as bytes, for the store.
//!
//! Format 3: the origins that occur, then the tail, the current state and records, naming origins
//! by place. Of a tail stand its base and checkpoints, and how many events lie between; the stamps
//! of those are the store's rows of history, their bytes are in the logs. Format 4, of keys that
//! were ever written under a policy, adds each state's policy epoch, its versions, fields and what
//! records wait for; keys under the default policy pay nothing for it. What always holds: a state
//! read from its bytes folds as the one that was written, and its size does not grow with its tail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::field::Field;
use super::member::Member;
use super::record::{Kind, Record, RecordKey, Records, Status};
use super::sorted::Sorted;
use super::tail::{Checkpoint, Segment, Tail};
use super::tree::{Counter, Held, Node};
use super::whole::{Version, Whole};
use super::{Copies, KeyState, State};
use crate::codec::{Reader, Writer};
use crate::error::{Error, Result};
use crate::event::Identity;
use crate::hlc::Hlc;
use crate::name::Origin;
use crate::vector::{Dot, Stamp, Vector};

const FORMAT: u8 = 3;
const FORMAT_POLICY: u8 = 4;

/// A checkpoint of more bytes does not go into the row: rows are written often, late events rare.
const CHECKPOINT_BYTES_MAX: usize = 2 << 10;

/// A node with a field's memory.
const FIELD: u8 = 1 << 4;

/// What comes next of a tail: a checkpoint, or the last one, where the current state stands.
const CHECKPOINT: u8 = 0;
const CURRENT: u8 = 1;

/// Names and ids in a state are bounded by those of events; this only stops nonsense early.
const TEXT_BYTES_MAX: usize = 16 << 20;

/// Deeper documents than this are refused at the door; beyond it the bytes are not ours.
const DEPTH_MAX: usize = 512;

#[derive(Default)]
struct Out {
    body: Writer,
    origins: Vec<Origin>,
    policy: bool,
}

impl Out {
    fn dot(&mut self, dot: &Dot) {
        let known = self.origins.iter().position(|origin| *origin == dot.origin);
        let place = known.unwrap_or_else(|| {
            self.origins.push(dot.origin.clone());
            self.origins.len() - 1
        });
        self.body.number(place as u64);
        self.body.number(dot.sequence);
    }

    fn stamp(&mut self, stamp: &Stamp) {
        self.dot(&stamp.dot);
        self.body.fixed(stamp.hlc.bits());
    }

    fn stamps<'a>(&mut self, stamps: impl ExactSizeIterator<Item = &'a Stamp>) {
        self.body.number(stamps.len() as u64);
        stamps.for_each(|stamp| self.stamp(stamp));
    }

    fn node(&mut self, node: &Node) {
        let held = match &node.held {
            Held::Never => 0,
            Held::Absent => 1,
            Held::Value(_) => 2,
            Held::Object => 3,
            Held::Field(_) => FIELD,
        };
        let flags = u8::from(node.by.is_some()) << 2 | u8::from(node.counter.is_some()) << 3;
        self.body.byte(held | flags);
        if let Some(by) = &node.by {
            self.stamp(by);
        }
        if let Held::Value(value) = &node.held {
            self.value(value);
        }
        if let Held::Field(field) = &node.held {
            self.field(field);
        }
        if let Some(counter) = &node.counter {
            self.body.byte(u8::from(counter.made));
            self.body.0.extend_from_slice(&counter.settled.to_be_bytes());
            self.body.number(counter.increments.len() as u64);
            for (stamp, amount) in &counter.increments {
                self.stamp(stamp);
                self.body.fixed(*amount as u64);
            }
        }
        self.body.number(node.children.len() as u64);
        for (name, child) in node.children.iter() {
            self.body.text(name);
            self.node(child);
        }
    }

    fn value(&mut self, value: &Value) {
        self.body.bytes(&serde_json::to_vec(value).expect("a JSON value has a text"));
    }

    fn field(&mut self, field: &Field) {
        match field {
            Field::Set(members) => {
                self.body.byte(0);
                self.body.number(members.len() as u64);
                for (member, adds) in members {
                    self.value(&member.value());
                    self.stamps(adds.iter());
                }
            }
            Field::Most(given) => self.given(1, given, Member::value),
            Field::Least(given) => self.given(2, given, Member::value),
            Field::Flag(writes) => self.given(3, writes, |on| Value::Bool(*on)),
        }
    }

    fn given<T>(&mut self, code: u8, given: &[(Stamp, T)], value: impl Fn(&T) -> Value) {
        self.body.byte(code);
        self.body.number(given.len() as u64);
        for (by, what) in given {
            self.stamp(by);
            self.value(&value(what));
        }
    }

    fn policy(&mut self, state: &State) {
        self.body.number(state.epoch);
        self.body.byte(u8::from(state.whole.is_some()));
        let Some(whole) = &state.whole else { return };
        self.body.number(whole.shown as u64);
        self.body.number(whole.versions.len() as u64);
        for Version { by, document } in &whole.versions {
            self.stamp(by);
            self.body.byte(u8::from(document.is_some()));
            if let Some(document) = document {
                self.value(document);
            }
        }
    }

    fn state(&mut self, state: &State) {
        if self.policy {
            self.policy(state);
        }
        self.node(&state.tree);
        self.body.number(state.version);
        self.stamps(state.frontier.iter());
        if self.policy {
            self.records(&state.open);
        }
    }

    fn vector(&mut self, vector: &Vector) {
        self.body.number(vector.len() as u64);
        for (origin, sequence) in vector.iter() {
            let dot = Dot::new(origin.clone(), sequence);
            self.dot(&dot);
        }
    }

    /// The current state stands at the last checkpoint.
    fn tail(&mut self, tail: &Tail) {
        self.state(&tail.base);
        self.stamp(&tail.first);
        self.vector(&tail.shown);
        let mut left_out: Option<Segment> = None;
        for (place, Checkpoint { segment, last, state }) in tail.chain.iter().enumerate() {
            let mut all = segment.clone();
            all.events = None;
            if let Some(before) = left_out.take() {
                let mut whole = before;
                whole.join(&all);
                all = whole;
            }
            let is_current = place + 1 == tail.chain.len();
            let before = self.body.0.len();
            self.body.byte(if is_current { CURRENT } else { CHECKPOINT });
            self.body.number(all.length);
            self.body.byte(u8::from(all.floor.is_some()));
            if let Some(floor) = &all.floor {
                self.vector(floor);
            }
            self.stamp(last);
            if is_current {
                break;
            }
            let begun = self.body.0.len();
            self.state(state);
            if self.body.0.len() - begun > CHECKPOINT_BYTES_MAX {
                self.body.0.truncate(before);
                left_out = Some(all);
            }
        }
    }

    fn records(&mut self, records: &Records) {
        self.body.number(records.len() as u64);
        for (key, record) in records {
            self.stamps(key.losers.iter());
            self.stamp(&key.winner);
            self.body.byte(record.kind.code());
            self.body.number(record.paths.len() as u64);
            record.paths.iter().for_each(|path| self.body.text(path));
            if self.policy {
                self.status(&record.status);
            }
        }
    }

    fn status(&mut self, status: &Status) {
        match status {
            Status::Settled => self.body.byte(0),
            Status::Open => self.body.byte(1),
            Status::SettledBy(by) => {
                self.body.byte(2);
                self.stamp(by);
            }
        }
    }
}

struct In<'a> {
    body: Reader<'a>,
    origins: Vec<Origin>,
    policy: bool,
}

impl In<'_> {
    fn dot(&mut self) -> Result<Dot> {
        let place = self.body.number("origin")?;
        let origin = self.origins.get(place as usize).cloned();
        let origin = origin.ok_or(Error::Code { what: "origin", code: place })?;
        Ok(Dot { origin, sequence: self.body.number("sequence")? })
    }

    fn stamp(&mut self) -> Result<Stamp> {
        let dot = self.dot()?;
        Ok(Stamp { hlc: Hlc::from_bits(self.body.fixed("HLC")?), dot })
    }

    fn vector(&mut self) -> Result<Vector> {
        let count = self.body.number("vector")?;
        let each = (0..count).map(|_| self.dot().map(|dot| (dot.origin, dot.sequence)));
        each.collect()
    }

    /// A tail whose last checkpoint has no state yet: the current one is to be put there.
    fn tail(&mut self) -> Result<Tail> {
        let base = Arc::new(self.state()?);
        let mut tail = Tail::new(base, self.stamp()?);
        tail.shown = self.vector()?;
        loop {
            let kind = self.body.byte("checkpoint")?;
            let length = self.body.number("length")?;
            let known = self.body.byte("floor")? != 0;
            let floor = if known { Some(self.vector()?) } else { None };
            let segment = Segment { length, floor, events: None, taken: true };
            let last = self.stamp()?;
            let is_current = kind == CURRENT;
            let state = if is_current { State::default() } else { self.state()? };
            tail.chain.push(Checkpoint { segment, last, state: Arc::new(state) });
            if is_current {
                return Ok(tail);
            }
        }
    }

    fn stamps<C: FromIterator<Stamp>>(&mut self) -> Result<C> {
        let count = self.body.number("stamps")?;
        (0..count).map(|_| self.stamp()).collect()
    }

    fn node(&mut self, depth: usize) -> Result<Node> {
        if depth > DEPTH_MAX {
            return Err(Error::Code { what: "depth", code: depth as u64 });
        }
        let flags = self.body.byte("node")?;
        let by = if flags & 4 != 0 { Some(self.stamp()?) } else { None };
        let held = match flags & (FIELD | 3) {
            FIELD => Held::Field(Box::new(self.field()?)),
            0 => Held::Never,
            1 => Held::Absent,
            2 => Held::Value(self.value()?),
            _ => Held::Object,
        };
        let counter = if flags & 8 != 0 { Some(Box::new(self.counter()?)) } else { None };
        let mut children = Sorted::default();
        for _ in 0..self.body.number("children")? {
            let name = self.body.text("name", TEXT_BYTES_MAX)?.into();
            let name: Arc<str> = name;
            children.insert(name, Arc::new(self.node(depth + 1)?));
        }
        Ok(Node { held, by, counter, children })
    }

    fn value(&mut self) -> Result<Value> {
        let bytes = self.body.bytes("value", TEXT_BYTES_MAX)?;
        serde_json::from_slice(bytes).map_err(|error| Error::Json(error.to_string()))
    }

    fn member(&mut self) -> Result<Member> {
        Member::new(&self.value()?).ok_or(Error::Code { what: "member", code: 0 })
    }

    fn field(&mut self) -> Result<Field> {
        let code = self.body.byte("field")?;
        let count = self.body.number("field")?;
        if code == 0 {
            let members = (0..count).map(|_| Ok((self.member()?, self.stamps()?)));
            return Ok(Field::Set(members.collect::<Result<_>>()?));
        }
        let given = (0..count).map(|_| Ok((self.stamp()?, self.member()?)));
        let given: Vec<(Stamp, Member)> = given.collect::<Result<_>>()?;
        let on = |(by, member)| match member {
            Member::Bool(on) => Ok((by, on)),
            _ => Err(Error::Code { what: "flag", code: 0 }),
        };
        match code {
            1 => Ok(Field::Most(given)),
            2 => Ok(Field::Least(given)),
            3 => Ok(Field::Flag(given.into_iter().map(on).collect::<Result<_>>()?)),
            code => Err(Error::Code { what: "field", code: u64::from(code) }),
        }
    }

    fn policy(&mut self) -> Result<(u64, Option<Box<Whole>>)> {
        let epoch = self.body.number("epoch")?;
        if self.body.byte("versions")? == 0 {
            return Ok((epoch, None));
        }
        let shown = self.body.number("version")? as usize;
        let mut versions = Vec::new();
        for _ in 0..self.body.number("versions")? {
            let by = self.stamp()?;
            let known = self.body.byte("document")? != 0;
            let document = if known { Some(self.value()?) } else { None };
            versions.push(Version { by, document });
        }
        Ok((epoch, Some(Box::new(Whole { versions, shown }))))
    }

    fn status(&mut self) -> Result<Status> {
        match self.body.byte("status")? {
            0 => Ok(Status::Settled),
            1 => Ok(Status::Open),
            2 => Ok(Status::SettledBy(self.stamp()?)),
            code => Err(Error::Code { what: "status", code: u64::from(code) }),
        }
    }

    fn counter(&mut self) -> Result<Counter> {
        let made = self.body.byte("counter")? != 0;
        let high = i128::from(self.body.fixed("sum")? as i64);
        let settled = (high << 64) | i128::from(self.body.fixed("sum")?);
        let mut increments = Vec::new();
        for _ in 0..self.body.number("increments")? {
            let stamp = self.stamp()?;
            increments.push((stamp, self.body.fixed("amount")? as i64));
        }
        Ok(Counter { made, settled, increments })
    }

    fn records(&mut self) -> Result<Records> {
        let mut records = Records::new();
        for _ in 0..self.body.number("records")? {
            let losers = self.stamps()?;
            let winner = self.stamp()?;
            let kind = Kind::from_code(self.body.byte("kind")?)?;
            let mut paths = BTreeSet::new();
            for _ in 0..self.body.number("paths")? {
                paths.insert(self.body.text("path", TEXT_BYTES_MAX)?.to_owned());
            }
            let status = if self.policy { self.status()? } else { Status::Settled };
            records.insert(RecordKey { losers, winner }, Record { paths, kind, status });
        }
        Ok(records)
    }

    fn state(&mut self) -> Result<State> {
        let (epoch, whole) = if self.policy { self.policy()? } else { (0, None) };
        Ok(State {
            epoch,
            whole,
            tree: self.node(0)?,
            version: self.body.number("version")?,
            frontier: self.stamps()?,
            open: if self.policy { self.records()? } else { Records::new() },
        })
    }
}

impl KeyState {
    /// The bytes for the store; events that no flush has taken are taken for stored.
    pub fn encode(&self) -> Vec<u8> {
        if self.tail.as_ref().is_some_and(|tail| !tail.open.is_empty()) {
            let mut closed = self.clone();
            if let Some(tail) = &mut closed.tail {
                tail.close(&closed.current, 0);
            }
            return closed.encode();
        }
        let policy = self.current.epoch != 0
            || self.tail.as_ref().is_some_and(|tail| tail.base.epoch != 0)
            || self.records.values().any(|record| record.status != Status::Settled);
        let mut out = Out { policy, ..Out::default() };
        out.body.byte(u8::from(self.tail.is_some()));
        if let Some(tail) = &self.tail {
            out.tail(tail);
        }
        out.state(&self.current);
        out.records(&self.records);
        out.body.number(self.copies.0.len() as u64);
        for (identity, stamps) in &self.copies.0 {
            out.body.text(&identity.event_id);
            out.body.number(u64::from(identity.place));
            out.stamps(stamps.iter());
        }
        let mut whole = Writer(Vec::with_capacity(out.body.0.len() + 64));
        whole.byte(if policy { FORMAT_POLICY } else { FORMAT });
        whole.number(out.origins.len() as u64);
        out.origins.iter().for_each(|origin| whole.text(origin.as_str()));
        whole.0.extend_from_slice(&out.body.0);
        whole.0
    }

    /// The inverse of [`KeyState::encode`]; `known` lends its origins' names. Errors: those of
    /// [`Error`] that speak of bytes.
    pub fn decode(bytes: &[u8], known: &Vector) -> Result<Self> {
        let mut body = Reader(bytes);
        let format = body.byte("format")?;
        if format != FORMAT && format != FORMAT_POLICY {
            return Err(Error::Format(format));
        }
        let mut origins = Vec::new();
        for _ in 0..body.number("origins")? {
            origins.push(body.origin(known)?);
        }
        let mut input = In { body, origins, policy: format == FORMAT_POLICY };
        let has_tail = input.body.byte("tail")? != 0;
        let mut tail = if has_tail { Some(Box::new(input.tail()?)) } else { None };
        let current = Arc::new(input.state()?);
        if let Some(last) = tail.iter_mut().find_map(|tail| tail.chain.last_mut()) {
            last.state = Arc::clone(&current);
        }
        let records = Arc::new(input.records()?);
        let mut copies = BTreeMap::new();
        for _ in 0..input.body.number("copies")? {
            let event_id = input.body.text("event id", TEXT_BYTES_MAX)?.into();
            let place = input.body.number("place")? as u32;
            copies.insert(Identity { event_id, place }, input.stamps()?);
        }
        Ok(Self { tail, current, records, copies: Copies(copies) })
    }
}
