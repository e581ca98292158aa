//! A pass over all keys with one peer: pages read here, sections sent, keys that differ noted.
//!
//! Part of comparing (`compare.rs`). What always holds: one page is under way at a time; what finds
//! no room among the suspects is told as behind.

use std::collections::{BTreeMap, BTreeSet};

use linckia_apply::ReadRows;
use linckia_model::{Now, RegionName};
use linckia_ship::{Ask, Differing, Frame, SECTION_ROWS};

use super::book::PassView;
use super::jobs::{CompareJob, PAGE_ROWS_MAX, sections_of};
use super::{ANSWER_MILLISECONDS, Comparing, Machine, Mandate, Pass, Stands, Suspect};
use crate::input::{Output, Role};

/// A question that is not answered is asked so often.
const ASKED_TIMES_MAX: u32 = 3;

/// Between two pages at least, in milliseconds, at whatever rate.
const PAGE_MILLISECONDS: u64 = 250;

impl Machine {
    pub(super) fn begin_pass(&mut self, now: Now) {
        let peers = self.comparable_peers(now);
        let comparing = &mut self.comparing;
        let stored = self.region.apply.stored();
        if let Some(demand) = &mut comparing.demand
            && demand.view.running
            && stored.covers_all(&demand.asked_at)
            && comparing.pass.as_ref().is_none_or(|pass| !pass.demanded)
            && let Some(peer) = demand.peers.pop_front()
        {
            match peers.contains(&peer) {
                true => comparing.pass = Some(Pass::new(now, peer, true, !demand.order.quick)),
                false => demand.view.unreachable.push(peer),
            }
        }
        let rests = now.monotonic < comparing.rest_until || comparing.rate == 0;
        if comparing.pass.is_some() || rests || peers.is_empty() {
            return;
        }
        let after = peers.iter().find(|peer| Some(*peer) > comparing.last.as_ref());
        if let Some(peer) = after.or(peers.first()).cloned() {
            comparing.last = Some(peer.clone());
            comparing.pass = Some(Pass::new(now, peer, false, true));
        }
    }

    pub(super) fn go_on_with_pass(&mut self, now: Now, outputs: &mut Vec<Output>) {
        let comparing = &mut self.comparing;
        let Some(pass) = &mut comparing.pass else { return };
        match &mut pass.stands {
            Stands::Due(at) if now.monotonic >= *at => {
                let rows = match pass.demanded {
                    true => PAGE_ROWS_MAX,
                    false => (comparing.rate * PAGE_MILLISECONDS / 1_000) as usize,
                };
                let verify = pass.verify.then(|| self.region.apply.applied().clone());
                let job = CompareJob::Page { from: pass.from.clone(), rows: rows.max(1), verify };
                comparing.jobs.push_back(job);
                pass.stands = Stands::Reading;
            }
            Stands::Asked { number, rows, times, at }
                if now.monotonic.saturating_sub(*at) >= ANSWER_MILLISECONDS =>
            {
                if *times >= ASKED_TIMES_MAX {
                    return self.abandon_pass(now);
                }
                comparing.number += 1;
                (*number, *at, *times) = (comparing.number, now.monotonic, *times + 1);
                let sections = sections_of(rows);
                let ask = Ask::Page { from: pass.from.clone(), sections, verify: pass.verify };
                let frame = Frame::Compare { number: *number, epoch: comparing.epoch, ask };
                let (peer, role) = (pass.peer.clone(), Role::Pull);
                outputs.push(Output::Send { peer, role, frame });
            }
            _ => {}
        }
    }

    /// The peer does not answer.
    fn abandon_pass(&mut self, now: Now) {
        let comparing = &mut self.comparing;
        comparing.rest_until = now.monotonic + comparing.rest;
        if let (Some(Pass { peer, demanded: true, .. }), Some(demand)) =
            (comparing.pass.take(), &mut comparing.demand)
        {
            demand.view.unreachable.push(peer);
        }
    }

    /// A page was read here: its sections go out.
    pub(super) fn page_compared(&mut self, now: Now, rows: ReadRows, outputs: &mut Vec<Output>) {
        let comparing = &mut self.comparing;
        let (number, epoch) = (comparing.next_number(), comparing.epoch);
        let Some(pass) = &mut comparing.pass else { return };
        if !matches!(pass.stands, Stands::Reading) {
            return;
        }
        pass.view.keys += rows.read as u64;
        comparing.book.totals.keys += rows.read as u64;
        let sections = sections_of(&rows);
        let ask = Ask::Page { from: pass.from.clone(), sections, verify: pass.verify };
        pass.stands = Stands::Asked { number, rows, times: 1, at: now.monotonic };
        let (peer, role) = (pass.peer.clone(), Role::Pull);
        let frame = Frame::Compare { number, epoch, ask };
        outputs.push(Output::Send { peer, role, frame });
    }

    /// The other end has read its rows: what differs is suspect.
    pub(super) fn page_told(
        &mut self,
        now: Now,
        peer: &RegionName,
        number: u64,
        told: Vec<Differing>,
    ) {
        let comparing = &mut self.comparing;
        let mandate = comparing.mandate();
        let Some(pass) = &mut comparing.pass else { return };
        match &pass.stands {
            Stands::Asked { number: asked, .. } if *asked == number && pass.peer == *peer => {}
            _ => return,
        }
        let before = std::mem::replace(&mut pass.stands, Stands::Due(now.monotonic));
        let Stands::Asked { rows, .. } = before else { return };
        let mut keys: BTreeSet<Vec<u8>> = rows.stale.iter().cloned().collect();
        for differing in &told {
            differing_keys(&rows, differing, &mut keys);
        }
        pass.view.differed += keys.len() as u64;
        if !pass.demanded {
            let pace = rows.read as u64 * 1_000 / comparing.rate.max(1);
            pass.stands = Stands::Due(now.monotonic + pace.max(PAGE_MILLISECONDS));
        }
        let next = rows.next;
        let mandate = Mandate { demanded: pass.demanded, ..mandate };
        let mut lost = 0;
        for key in keys {
            let (peer, mandate) = (peer.clone(), mandate.clone());
            let suspect = Suspect { key, peer, mandate, tries: 0, due: now.monotonic };
            lost += u64::from(!comparing.suspect(suspect));
        }
        let Some(pass) = &mut comparing.pass else { return };
        pass.view.behind += lost;
        match next {
            Some(next) => pass.from = next,
            None => self.end_pass(now),
        }
    }

    fn end_pass(&mut self, now: Now) {
        let comparing = &mut self.comparing;
        let Some(Pass { peer, demanded, mut view, .. }) = comparing.pass.take() else { return };
        view.ended_at = Some(now.wall);
        comparing.rest_until = now.monotonic + comparing.rest;
        match &mut comparing.demand {
            Some(demand) if demanded => drop(demand.view.passes.insert(peer, view)),
            _ => drop(comparing.book.passes.insert(peer, view)),
        }
    }

    /// One side was behind with a key to the end.
    pub(super) fn stays_behind(&mut self, suspect: &Suspect) {
        let comparing = &mut self.comparing;
        let passes = match &mut comparing.demand {
            Some(demand) if suspect.mandate.demanded => &mut demand.view.passes,
            _ => &mut comparing.book.passes,
        };
        let of_pass = passes.get_mut(&suspect.peer);
        let under_way = comparing.pass.as_mut().filter(|pass| pass.peer == suspect.peer);
        if let Some(view) = under_way.map(|pass| &mut pass.view).or(of_pass) {
            view.behind += 1;
        }
    }
}

impl Comparing {
    /// On whose word the keys of the pass under way are looked at.
    fn mandate(&self) -> Mandate {
        match (&self.pass, &self.demand) {
            (Some(Pass { demanded: true, .. }), Some(demand)) => {
                Mandate { demanded: true, repair: demand.order.repair, from: None }
            }
            _ => Mandate { demanded: false, repair: true, from: None },
        }
    }
}

impl Pass {
    fn new(now: Now, peer: RegionName, demanded: bool, verify: bool) -> Self {
        let (from, stands) = (Vec::new(), Stands::Due(now.monotonic));
        Self { peer, demanded, verify, from, stands, view: PassView::default() }
    }
}

/// Keys of a section whose rows are not the same here and there, as far as rows were listed.
fn differing_keys(own: &ReadRows, told: &Differing, keys: &mut BTreeSet<Vec<u8>>) {
    let Some(first) =
        usize::try_from(told.section).ok().and_then(|it| it.checked_mul(SECTION_ROWS))
    else {
        return;
    };
    let own = own.rows.iter().skip(first).take(SECTION_ROWS);
    let last = told.rows.last().map(|(key, _)| key);
    let listed = |key: &Vec<u8>| told.whole || last.is_some_and(|last| key <= last);
    let own: BTreeMap<_, _> = own.filter(|(key, _)| listed(key)).map(|(k, d)| (k, d)).collect();
    let theirs: BTreeMap<_, _> = told.rows.iter().map(|(key, digest)| (key, digest)).collect();
    for (key, digest) in &own {
        if theirs.get(key) != Some(digest) {
            keys.insert((*key).clone());
        }
    }
    keys.extend(theirs.keys().filter(|key| !own.contains_key(*key)).map(|key| (*key).clone()));
}
