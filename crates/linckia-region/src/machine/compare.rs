//! Comparing with other regions what is held: a pass over all keys with one peer after the other,
//! all the time at a low rate, and at once when an operator asks for it.
//!
//! A page of rows goes out as sections of one hash each; of those that differ come rows, and keys
//! whose rows differ are suspects (`compare/case.rs`). What always holds: the core reads only a key
//! that it replaces; a region that is not whole neither asks nor answers; each one repairs itself.

mod book;
mod case;
mod jobs;
mod pass;
mod scrub;

use std::collections::{BTreeMap, VecDeque};

use linckia_apply::ReadRows;
use linckia_model::{Key, Now, RegionName, Vector};
use linckia_ship::{Ask, Frame, Tell};

use super::Machine;
use crate::error::Result;
use crate::input::{Output, Role};
use book::Book;
pub use book::{DemandView, Finding, JudgedBy, PassView, RepairView, Side, Totals};
use case::{Case, Looking};
pub(super) use jobs::{CompareDone, CompareJob};
use scrub::Scrub;

/// An answer is waited for so long, in milliseconds; then it is asked again.
const ANSWER_MILLISECONDS: u64 = 5_000;

/// Keys that wait to be looked at; the others are found by a later pass.
const SUSPECTS_MAX: usize = 4_096;

/// Questions of peers that wait for the store: what finds no room is asked again.
const SERVED_MAX: usize = 16;

/// On whose word a key is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct Mandate {
    /// An operator's.
    demanded: bool,
    /// What is wrong here is put right.
    repair: bool,
    /// From where, whoever is right.
    from: Option<RegionName>,
}

/// A key whose row is not the same here and there, as was seen once.
#[derive(Clone, Debug)]
struct Suspect {
    key: Vec<u8>,
    peer: RegionName,
    mandate: Mandate,
    tries: u32,
    /// When it is looked at next, on the monotonic clock.
    due: u64,
}

/// Where a pass stands.
enum Stands {
    /// The next page is read from then on.
    Due(u64),
    Reading,
    /// These rows are at the other end.
    Asked {
        number: u64,
        rows: ReadRows,
        times: u32,
        at: u64,
    },
}

/// A pass over all keys with one peer.
struct Pass {
    peer: RegionName,
    demanded: bool,
    verify: bool,
    from: Vec<u8>,
    stands: Stands,
    view: PassView,
}

/// What an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct DemandOrder {
    /// These keys; none: all.
    pub keys: Option<Vec<Key>>,
    /// What is wrong here is put right, where it is known to be.
    pub repair: bool,
    /// These keys are taken from there, whoever is right.
    pub from: Option<RegionName>,
    /// Rows are compared by the digests that they carry, which are not held against their states.
    pub quick: bool,
}

/// An order under way.
struct Demand {
    order: DemandOrder,
    /// Peers that are still to be compared with.
    peers: VecDeque<RegionName>,
    /// The store is to be brought to this vector first.
    asked_at: Vector,
    view: DemandView,
}

/// When digests of ranges are counted anew: after a repair is in the store.
enum Counting {
    Not,
    /// Once so many flushes have landed.
    After(u64),
    Reading,
    Going(linckia_apply::Recount),
    Done(Vec<linckia_apply::Amendment>),
}

/// Everything about comparing.
pub(super) struct Comparing {
    rate: u64,
    /// Between two passes that run by themselves, in milliseconds.
    rest: u64,
    /// The last lapse or return that is known: what is let go of below stable time depends on it.
    epoch: u64,
    /// What was applied when the region was first seen to be whole: what is stored must have that.
    whole_at: Option<Vector>,
    number: u64,
    pass: Option<Pass>,
    /// With whom the last pass was that ran by itself.
    last: Option<RegionName>,
    rest_until: u64,
    suspects: VecDeque<Suspect>,
    looking: Option<Looking>,
    case: Option<Case>,
    served: VecDeque<(RegionName, u64, Ask)>,
    /// Ours to read; with one pass, one look and one case at most three.
    jobs: VecDeque<CompareJob>,
    serves_turn: bool,
    counting: Counting,
    scrub: Scrub,
    demands: u64,
    demand: Option<Demand>,
    book: Book,
}

impl Comparing {
    pub(super) fn new(rate: u64, rest: u64) -> Self {
        Self {
            rate,
            rest,
            epoch: 0,
            whole_at: None,
            number: 0,
            pass: None,
            last: None,
            rest_until: 0,
            suspects: VecDeque::new(),
            looking: None,
            case: None,
            served: VecDeque::new(),
            jobs: VecDeque::new(),
            serves_turn: false,
            counting: Counting::Not,
            scrub: Scrub::default(),
            demands: 0,
            demand: None,
            book: Book::default(),
        }
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// What was read or told before does not count with what is from here on.
    fn ask_anew(&mut self, now: Now) {
        let looked = self.looking.take().map(Looking::into_suspects).unwrap_or_default();
        let judged = self.case.take().map(Case::into_suspect);
        for suspect in looked.into_iter().chain(judged) {
            self.suspect(suspect);
        }
        if let Some(pass) = &mut self.pass {
            pass.stands = Stands::Due(now.monotonic);
        }
    }

    fn suspect(&mut self, suspect: Suspect) -> bool {
        let known = |it: &&mut Suspect| it.key == suspect.key && it.peer == suspect.peer;
        if let Some(known) = self.suspects.iter_mut().find(known) {
            known.mandate.demanded |= suspect.mandate.demanded;
            known.mandate.repair |= suspect.mandate.repair;
            return true;
        }
        let room = self.suspects.len() < SUSPECTS_MAX;
        if room {
            self.suspects.push_back(suspect);
        }
        room
    }
}

impl Machine {
    /// True if what is stored here can be held against others': the region has all that it had
    /// when it began, or more.
    fn is_comparable(&self) -> bool {
        let stored = self.region.apply.stored();
        self.comparing.whole_at.as_ref().is_some_and(|at| stored.covers_all(at))
    }

    /// Peers that can be compared with now.
    fn comparable_peers(&self, now: Now) -> Vec<RegionName> {
        let counts = |peer: &RegionName| self.region.members.contains(peer);
        let live = self.region.pulling.iter().filter(|(peer, it)| it.live(now) && counts(peer));
        live.map(|(peer, _)| peer.clone()).collect()
    }

    /// Goes on with comparing; at every tick.
    pub(super) fn compare(&mut self, now: Now, outputs: &mut Vec<Output>) -> Result<()> {
        let counts = self.region.members.contains(&self.region.settings.name);
        match (self.region.is_entered() && counts, self.comparing.whole_at.is_some()) {
            (true, false) => {
                self.comparing.whole_at = Some(self.region.applied().clone());
                self.comparing.rest_until = now.monotonic + self.comparing.rest;
            }
            (false, true) => {
                let comparing = &mut self.comparing;
                (comparing.whole_at, comparing.pass) = (None, None);
                (comparing.looking, comparing.case) = (None, None);
                comparing.suspects.clear();
                comparing.jobs.clear();
                comparing.scrub = Scrub::default();
            }
            _ => {}
        }
        let epoch = self.region.lives.epoch();
        if std::mem::replace(&mut self.comparing.epoch, epoch) != epoch {
            self.comparing.ask_anew(now);
        }
        self.scrub(now);
        if !self.is_comparable() {
            return Ok(());
        }
        self.begin_pass(now);
        self.go_on_with_pass(now, outputs);
        self.look(now, outputs);
        self.judge(now, outputs)?;
        self.recount();
        self.end_demand(now);
        Ok(())
    }

    /// An operator wants keys compared. None while another one's order is under way.
    pub fn demand(&mut self, now: Now, order: DemandOrder) -> Option<u64> {
        if self.comparing.demand.as_ref().is_some_and(|demand| demand.view.running) {
            return None;
        }
        self.region.apply.want_stored();
        let peers: VecDeque<RegionName> = self.region.pulling.keys().cloned().collect();
        let counting = |peer: &RegionName| self.region.members.contains(peer);
        let mut peers: VecDeque<RegionName> = peers.into_iter().filter(counting).collect();
        let comparing = &mut self.comparing;
        comparing.demands += 1;
        let number = comparing.demands;
        let mut view =
            DemandView { number, running: true, passes: BTreeMap::new(), unreachable: Vec::new() };
        if let Some(keys) = &order.keys {
            let mandate =
                Mandate { demanded: true, repair: order.repair, from: order.from.clone() };
            let wanted = |peer: &&RegionName| order.from.as_ref().is_none_or(|from| from == *peer);
            for peer in peers.iter().filter(wanted) {
                let known = PassView { keys: keys.len() as u64, ..PassView::default() };
                view.passes.insert(peer.clone(), known);
                for key in keys {
                    let (key, peer, mandate) = (key.to_bytes(), peer.clone(), mandate.clone());
                    let suspect = Suspect { key, peer, mandate, tries: 0, due: now.monotonic };
                    comparing.suspects.push_front(suspect);
                }
            }
            peers.clear();
        }
        let asked_at = self.region.apply.applied().clone();
        comparing.demand = Some(Demand { order, peers, asked_at, view });
        Some(number)
    }

    fn end_demand(&mut self, now: Now) {
        let comparing = &mut self.comparing;
        let Some(demand) = &mut comparing.demand else { return };
        let passes = comparing.pass.as_ref().is_some_and(|pass| pass.demanded);
        let waits = comparing.suspects.iter().any(|it| it.mandate.demanded)
            || comparing.looking.as_ref().is_some_and(Looking::is_demanded)
            || comparing.case.as_ref().is_some_and(Case::is_demanded);
        if demand.view.running && demand.peers.is_empty() && !passes && !waits {
            demand.view.running = false;
            for pass in demand.view.passes.values_mut() {
                pass.ended_at.get_or_insert(now.wall);
            }
        }
    }

    /// What comparing has come to since the start.
    pub fn repair_totals(&self) -> Totals {
        self.comparing.book.totals
    }

    /// What comparing has found, and where it stands.
    pub fn repairs(&self) -> RepairView {
        let comparing = &self.comparing;
        let mut passes = comparing.book.passes.clone();
        let mut demand = comparing.demand.as_ref().map(|demand| demand.view.clone());
        if let Some(Pass { peer, demanded, view, .. }) = &comparing.pass {
            match &mut demand {
                Some(demand) if *demanded => drop(demand.passes.insert(peer.clone(), view.clone())),
                _ => drop(passes.entry(peer.clone()).or_insert_with(|| view.clone())),
            }
        }
        let (rate, findings) = (comparing.rate, comparing.book.findings());
        RepairView { rate, demand, passes, findings, totals: comparing.book.totals }
    }

    /// A peer wants to know what is held here.
    pub(super) fn compare_asked(
        &mut self,
        now: Now,
        peer: &RegionName,
        (number, ask): (u64, Option<Ask>),
        outputs: &mut Vec<Output>,
    ) {
        if let Some(Ask::Look { keys, differ }) = &ask {
            // Both ends are compared at what they have now.
            self.region.apply.want_stored();
            if *differ && self.comparing.rate > 0 {
                let mandate = Mandate { repair: true, ..Mandate::default() };
                for key in keys {
                    let (key, peer, mandate) = (key.clone(), peer.clone(), mandate.clone());
                    let suspect = Suspect { key, peer, mandate, tries: 0, due: now.monotonic };
                    self.comparing.suspect(suspect);
                }
                return;
            }
        }
        if let Some(ask) = ask
            && self.is_comparable()
            && self.comparing.served.len() < SERVED_MAX
        {
            return self.comparing.served.push_back((peer.clone(), number, ask));
        }
        let (peer, role) = (peer.clone(), Role::Serve);
        let epoch = self.region.lives.epoch();
        let frame = Frame::Compared { number, epoch, tell: Tell::NotNow };
        outputs.push(Output::Send { peer, role, frame });
    }

    /// A peer has answered.
    pub(super) fn compare_told(
        &mut self,
        now: Now,
        peer: &RegionName,
        (number, tell): (u64, Tell),
        outputs: &mut Vec<Output>,
    ) -> Result<()> {
        match tell {
            // It is asked again.
            Tell::NotNow => {}
            Tell::Page { differing } => self.page_told(now, peer, number, differing),
            Tell::Look { at, seen } => self.look_told(now, peer, number, at, seen),
            Tell::Fetch { at, key, found } => {
                self.fetched(now, peer, number, (at, key, found), outputs)?;
            }
        }
        Ok(())
    }

    /// What is to be read next for comparing: ours and peers' in turn.
    pub(super) fn begin_compare(&mut self) -> Option<CompareJob> {
        let comparing = &mut self.comparing;
        comparing.serves_turn = !comparing.serves_turn;
        if (comparing.serves_turn || comparing.jobs.is_empty())
            && let Some((peer, number, ask)) = comparing.served.pop_front()
        {
            let known = self.region.apply.applied().clone();
            return Some(CompareJob::Serve { peer, number, ask, known });
        }
        comparing.jobs.pop_front()
    }

    pub(super) fn compare_read(
        &mut self,
        now: Now,
        done: CompareDone,
        outputs: &mut Vec<Output>,
    ) -> Result<()> {
        match done {
            CompareDone::Page(rows) => self.page_compared(now, rows, outputs),
            CompareDone::Look(at, seen) => self.looked(now, at, seen),
            CompareDone::Judged(judged) => self.judged(now, judged),
            CompareDone::Served { peer, number, tell } => {
                let epoch = self.region.lives.epoch();
                let frame = Frame::Compared { number, epoch, tell };
                outputs.push(Output::Send { peer, role: Role::Serve, frame });
            }
            CompareDone::Counting(counting) => {
                self.comparing.counting = Counting::Going(counting);
            }
            CompareDone::Scrubbed(done) => self.scrubbed(done, outputs),
            CompareDone::Counted(lacks) => self.comparing.counting = Counting::Done(lacks),
        }
        Ok(())
    }

    fn recount(&mut self) {
        let flushes = self.region.apply.flushes();
        let counting = std::mem::replace(&mut self.comparing.counting, Counting::Not);
        self.comparing.counting = match counting {
            Counting::After(count) if flushes >= count => {
                self.comparing.jobs.push_back(CompareJob::Recount(None));
                Counting::Reading
            }
            Counting::Going(counting) => {
                self.comparing.jobs.push_back(CompareJob::Recount(Some(counting)));
                Counting::Reading
            }
            Counting::Done(lacks) if self.region.apply.amend(&lacks) => Counting::Not,
            other => other,
        };
    }
}
