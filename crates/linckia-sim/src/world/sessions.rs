//! Clients with sessions that hop between regions: they carry a token, write marks and read them.
//!
//! What the HTTP door does with a token is done here with the same parts of the model: verify,
//! compare with what is applied, join what was shown, leave out what every region has. What always
//! holds: a client does one thing at a time, and what it did and saw is in the history.

use linckia_apply::{Found, Query, Reading};
use linckia_drill::history::{Deed, Entry};
use linckia_model::{
    Ack, Answer, Extras, Fault, Key, NewEvent, Operation, Refusal, SessionKeys, Token, Vector,
    Write,
};
use linckia_region::Input;
use serde_json::json;

use super::{Moment, World};

/// Keys that sessions mark.
pub(crate) const LEDGER_KEYS: usize = 3;

/// A client that waits looks again after this, in microseconds.
const LOOK_AGAIN: u64 = 4_000;

/// A client and its token.
#[derive(Default)]
pub(crate) struct Client {
    /// Its number in the history: a client that starts anew is another one.
    number: usize,
    token: Option<Vec<u8>>,
    /// What it is doing.
    busy: Option<Visit>,
    /// A write whose answer never came: it is tried again.
    unsure: Option<(usize, String)>,
    marks: u64,
}

impl Client {
    pub(super) fn new(number: usize) -> Self {
        Self { number, ..Self::default() }
    }
}

/// One call of a client.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    session: usize,
    region: usize,
    life: u64,
    key: usize,
    /// What it writes; a read if there is none.
    mark: Option<String>,
    begun: u64,
    /// It waits no longer for what it has seen.
    until: u64,
}

/// What a plan makes a session do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Call {
    pub session: usize,
    pub region: usize,
    pub key: usize,
    pub writes: bool,
    pub wait_milliseconds: u64,
}

fn ledger(number: usize) -> Key {
    Key::new("default", "Ledger", &number.to_string())
}

impl World {
    fn session_keys() -> SessionKeys {
        SessionKeys::of([7; 32])
    }

    pub(super) fn call(&mut self, call: Call) {
        let Call { session, region, key, writes, wait_milliseconds } = call;
        self.give_up_on_the_dead(session);
        let life = self.places[region].life;
        let up = self.places[region].machine.is_some();
        let (begun, until) = (self.now, self.now + wait_milliseconds * 1_000);
        let client = &mut self.clients[session];
        if client.busy.is_some() || !up {
            return;
        }
        let (key, mark) = match (writes, client.unsure.take()) {
            (false, unsure) => {
                client.unsure = unsure;
                (key, None)
            }
            (true, Some((key, mark))) => (key, Some(mark)),
            (true, None) => {
                client.marks += 1;
                (key, Some(format!("s{session}-{}", client.marks)))
            }
        };
        let visit = Visit { session, region, life, key, mark, begun, until };
        client.busy = Some(visit.clone());
        self.visit(visit);
    }

    /// A client whose region died hears nothing any more.
    fn give_up_on_the_dead(&mut self, session: usize) {
        let busy = self.clients[session].busy.as_ref();
        let dead = busy.is_some_and(|visit| self.places[visit.region].life != visit.life);
        if dead && let Some(visit) = self.clients[session].busy.take() {
            self.clients[session].unsure = visit.mark.map(|mark| (visit.key, mark));
        }
    }

    /// Goes on with a call: waits, or does it.
    pub(super) fn visit(&mut self, visit: Visit) {
        let place = &self.places[visit.region];
        let Some(machine) = place.machine.as_ref().filter(|_| place.life == visit.life) else {
            return;
        };
        let applied = machine.region().applied();
        let Token { mut seen, epoch } = self.token(visit.session, applied);
        let incarnations = place.heard.incarnations.as_ref();
        if incarnations.is_some_and(|lives| lives.lost(&seen).next().is_some()) {
            // 410: what it has seen is lost. It starts anew.
            self.sessions_begun += 1;
            let client = &mut self.clients[visit.session];
            (client.token, client.number) = (None, self.sessions_begun);
            seen = Vector::new();
        }
        let place = &self.places[visit.region];
        let Some(machine) = &place.machine else { return };
        let (applied, entered) = (machine.region().applied(), machine.region().is_entered());
        // A region that does not know of a lapse does not know what tokens leave out.
        let known = place.heard.incarnations.as_ref().map_or(0, |lives| lives.epoch);
        let knows = epoch <= known || self.fault == Some(Fault::TokenOfAnyEpoch);
        let covered = knows && applied.covers_all(&seen);
        let behind = !covered && self.fault != Some(Fault::SessionIgnored);
        if behind || !entered {
            if self.now >= visit.until {
                // 503: nothing was written, and the client may go elsewhere.
                let busy = self.clients[visit.session].busy.take();
                let mark = busy.and_then(|visit| Some((visit.key, visit.mark?)));
                self.clients[visit.session].unsure = mark;
                return;
            }
            let region = visit.region;
            self.at(self.now + LOOK_AGAIN, Moment::Visit(visit));
            return self.hand(region, Input::Want { vector: seen });
        }
        self.serial += 1;
        let ticket = self.serial;
        self.calls.insert(ticket, visit.clone());
        let Some(mark) = visit.mark else {
            let query = Query::Aggregate { key: ledger(visit.key) };
            return self.hand(visit.region, Input::Read { ticket, query });
        };
        let deed = Deed::Begins { key: visit.key.to_string(), mark: mark.clone() };
        self.did(visit.session, deed);
        let event = NewEvent {
            key: ledger(visit.key),
            event_type: "Marked".into(),
            operation: Operation::Patch,
            data: json!({ mark.as_str(): true }),
            event_id: mark.as_str().into(),
            extras: Extras::default(),
        };
        let (events, ack) = (vec![event], Ack::default());
        let write = Write { events, atomic: false, precondition: None, entity_tag: false, ack };
        self.hand(visit.region, Input::Write { ticket, write });
    }

    fn token(&self, session: usize, known: &Vector) -> Token {
        let token = self.clients[session].token.as_ref();
        let token = token.map(|token| Self::session_keys().verify(token, known));
        token.map(|token| token.expect("a token of this fleet")).unwrap_or_default()
    }

    /// The client gets its token back, with what an answer showed it.
    fn shown(&mut self, visit: &Visit, shown: &Vector) {
        let Some(machine) = &self.places[visit.region].machine else { return };
        let region = machine.region();
        let everywhere = match self.fault {
            Some(Fault::TokenPrunedByApplied) => region.applied(),
            _ => region.everywhere(),
        };
        let Token { mut seen, epoch } = self.token(visit.session, region.applied());
        seen.join(shown);
        let heard = self.places[visit.region].heard.incarnations.as_ref();
        let epoch = epoch.max(heard.map_or(0, |lives| lives.epoch));
        let open = seen.beyond(everywhere).map(|(origin, _, last)| (origin.clone(), last));
        let seen = open.collect();
        let token = Self::session_keys().sign(&Token { seen, epoch });
        self.clients[visit.session].token = Some(token);
    }

    /// True if the ticket was a session's.
    pub(super) fn answered_to_session(
        &mut self,
        ticket: u64,
        answers: &[Result<Answer, Refusal>],
    ) -> bool {
        let Some(visit) = self.calls.remove(&ticket) else { return false };
        self.clients[visit.session].busy = None;
        if let (Some(mark), Some(Ok(answer))) = (visit.mark.clone(), answers.first()) {
            self.shown(&visit, &[&answer.dot].into_iter().collect());
            self.did(visit.session, Deed::Wrote { key: visit.key.to_string(), mark });
        }
        true
    }

    pub(super) fn read_by_session(&mut self, ticket: u64, reading: Option<Reading>) {
        let Some(visit) = self.calls.remove(&ticket) else { return };
        self.clients[visit.session].busy = None;
        let Some(Reading { found: Found::Aggregate { view, shown }, .. }) = reading else {
            return;
        };
        if self.fault != Some(Fault::ReadsNotInToken) {
            self.shown(&visit, &shown);
        }
        let data = view.map(|view| view.data).unwrap_or_default();
        let marks = data.as_object().into_iter().flat_map(|members| members.keys().cloned());
        let deed = Deed::Read {
            region: self.places[visit.region].name.to_string(),
            key: visit.key.to_string(),
            marks: marks.collect(),
            begun: visit.begun,
        };
        self.did(visit.session, deed);
    }

    fn did(&mut self, client: usize, deed: Deed) {
        let session = self.clients[client].number;
        self.history.push(Entry { session, at: self.now, deed });
    }

    /// Every client reads everything everywhere once more, and the history is judged.
    pub(crate) fn judge_sessions(&mut self) {
        self.now += 1;
        for session in 0..self.clients.len() {
            for region in 0..self.places.len() {
                for key in 0..LEDGER_KEYS {
                    self.clients[session].busy = None;
                    let (writes, wait_milliseconds) = (false, 0);
                    self.call(Call { session, region, key, writes, wait_milliseconds });
                }
            }
        }
        let history = std::mem::take(&mut self.history);
        if let Err(broken) = linckia_drill::history::check(&history, &self.lost_marks()) {
            self.fail(format!("(a) {broken}"));
        }
    }
}
