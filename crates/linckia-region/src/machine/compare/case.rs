//! Suspects looked at again, and those judged that are not one side's delay: who is right, and what
//! is put right here.
//!
//! What always holds: a key counts as different only where both sides have applied what the other
//! one's row rests on; a region changes its own rows alone, to a state that rests on the same
//! events at that moment.

use std::collections::BTreeMap;

use linckia_apply::{KeyCopy, KeySeen, Replaced, Replacement};
use linckia_model::{Fault, Key, Now, RegionName, Vector};
use linckia_ship::{Ask, Copied, Frame, LOOKED_MAX, Seen};

use super::book::{Finding, JudgedBy, Side};
use super::jobs::{CompareJob, Judge, Judged};
use super::{ANSWER_MILLISECONDS, Counting, Machine, Mandate, Suspect};
use crate::error::Result;
use crate::input::{Alarm, Output, Role};

/// A key is looked at so often before it is left to a later pass: one side is behind, or it is
/// written all the time.
const TRIES_MAX: u32 = 6;

/// The first look is repeated after so long, each further one after twice as long as the one
/// before, in milliseconds.
const AGAIN_MILLISECONDS: u64 = 500;

/// While another key is judged one is looked at again after so long, in milliseconds.
const TURN_MILLISECONDS: u64 = 50;

/// Other regions are asked who is right for so long, in milliseconds.
const WITNESS_MILLISECONDS: u64 = 3_000;

/// A digest; none where nothing shows.
type Digest = Option<[u8; 32]>;

/// Suspects of one peer that are looked at together.
pub(super) struct Looking {
    suspects: Vec<Suspect>,
    number: u64,
    since: u64,
    own: Option<(Vector, Vec<KeySeen>)>,
    theirs: Option<(Vector, Vec<Seen>)>,
}

/// A key that is judged.
pub(super) struct Case {
    suspect: Suspect,
    since: u64,
    own: Option<Judged>,
    /// Who was asked under which number, and what they said.
    numbers: BTreeMap<u64, RegionName>,
    told: BTreeMap<RegionName, (Vector, Seen)>,
    /// What is to come, from where, under which number, and how that is known.
    awaited: Option<(u64, RegionName, Digest, JudgedBy)>,
}

/// Who is right.
struct Verdict {
    right: Digest,
    by: JudgedBy,
}

impl Looking {
    pub(super) fn is_demanded(&self) -> bool {
        self.suspects.iter().any(|suspect| suspect.mandate.demanded)
    }

    pub(super) fn into_suspects(self) -> Vec<Suspect> {
        self.suspects
    }
}

impl Case {
    pub(super) fn is_demanded(&self) -> bool {
        self.suspect.mandate.demanded
    }

    pub(super) fn into_suspect(self) -> Suspect {
        self.suspect
    }
}

impl Machine {
    /// Looks at suspects that are due, those of one peer together.
    pub(super) fn look(&mut self, now: Now, outputs: &mut Vec<Output>) {
        let comparing = &mut self.comparing;
        if let Some(looking) = &comparing.looking {
            let late = now.monotonic.saturating_sub(looking.since) >= ANSWER_MILLISECONDS;
            if late && let Some(looking) = comparing.looking.take() {
                looking.suspects.into_iter().for_each(|suspect| self.look_again(now, suspect));
            }
            return;
        }
        let due = |suspect: &Suspect| suspect.due <= now.monotonic;
        let Some(first) = comparing.suspects.iter().find(|suspect| due(suspect)) else { return };
        let peer = first.peer.clone();
        let mut suspects = Vec::new();
        comparing.suspects.retain(|suspect| {
            let taken = due(suspect) && suspect.peer == peer && suspects.len() < LOOKED_MAX;
            if taken {
                suspects.push(suspect.clone());
            }
            !taken
        });
        let (number, epoch) = (comparing.next_number(), comparing.epoch);
        let keys: Vec<Vec<u8>> = suspects.iter().map(|suspect| suspect.key.clone()).collect();
        let known = self.region.apply.applied().clone();
        comparing.jobs.push_back(CompareJob::Look { keys: keys.clone(), known });
        let (since, own, theirs) = (now.monotonic, None, None);
        comparing.looking = Some(Looking { suspects, number, since, own, theirs });
        let frame = Frame::Compare { number, epoch, ask: Ask::Look { keys, differ: false } };
        outputs.push(Output::Send { peer, role: Role::Pull, frame });
    }

    /// One side was behind, or did not answer.
    fn look_again(&mut self, now: Now, mut suspect: Suspect) {
        if suspect.tries >= TRIES_MAX {
            return self.stays_behind(&suspect);
        }
        self.region.apply.want_stored();
        suspect.due = now.monotonic + (AGAIN_MILLISECONDS << suspect.tries);
        suspect.tries += 1;
        if !self.comparing.suspect(suspect.clone()) {
            self.stays_behind(&suspect);
        }
    }

    /// The rows here were looked at.
    pub(super) fn looked(&mut self, now: Now, at: Vector, seen: Vec<KeySeen>) {
        let Some(looking) = &mut self.comparing.looking else { return };
        if looking.own.is_none() && seen.len() == looking.suspects.len() {
            looking.own = Some((at, seen));
            self.sort_out(now);
        }
    }

    /// A peer has looked: at suspects, or at the key that is judged.
    pub(super) fn look_told(
        &mut self,
        now: Now,
        peer: &RegionName,
        number: u64,
        at: Vector,
        seen: Vec<Seen>,
    ) {
        let comparing = &mut self.comparing;
        if let Some(looking) = &mut comparing.looking
            && looking.number == number
            && seen.len() == looking.suspects.len()
        {
            looking.theirs = Some((at, seen));
            return self.sort_out(now);
        }
        if let Some(case) = &mut comparing.case
            && case.numbers.get(&number) == Some(peer)
            && let Some(seen) = seen.into_iter().next()
        {
            case.told.insert(peer.clone(), (at, seen));
        }
    }

    /// Where both sides have looked: equal, behind, or to be judged.
    fn sort_out(&mut self, now: Now) {
        let whole = |looking: &Looking| looking.own.is_some() && looking.theirs.is_some();
        if !self.comparing.looking.as_ref().is_some_and(whole) {
            return;
        }
        let Some(looking) = self.comparing.looking.take() else { return };
        let (Some((own_at, own)), Some((at, theirs))) = (looking.own, looking.theirs) else {
            return;
        };
        let blind = self.region.settings.fault == Some(Fault::ComparedWithoutVectors);
        for ((suspect, own), theirs) in looking.suspects.into_iter().zip(own).zip(theirs) {
            let equal = own.digest == theirs.digest;
            if equal && !own.stale {
                continue;
            }
            let one = own.is_one_with(&own_at, &theirs.shown, &at) || blind;
            if !one {
                self.look_again(now, suspect);
            } else if self.comparing.case.is_some() {
                // Another key is judged: this one's turn comes.
                let due = now.monotonic + TURN_MILLISECONDS;
                if !self.comparing.suspect(Suspect { due, ..suspect.clone() }) {
                    self.stays_behind(&suspect);
                }
            } else if equal {
                self.rewrite(now, suspect);
            } else {
                self.open_case(now, suspect);
            }
        }
    }

    /// The row here has the right state, and not its digest.
    fn rewrite(&mut self, now: Now, suspect: Suspect) {
        let Ok(key) = Key::from_bytes(&suspect.key) else { return };
        if !suspect.mandate.repair {
            return;
        }
        match self.region.apply.rewrite(&key, self.store.as_ref()) {
            Ok(()) => self.count_again(),
            Err(_) => self.look_again(now, suspect),
        }
    }

    /// Digests of ranges hold what the row that was wrong put into them.
    fn count_again(&mut self) {
        // A flush that is under way does not have it.
        let flushes = self.region.apply.flushes() + 1 + u64::from(!self.region.apply.is_still());
        self.comparing.counting = Counting::After(flushes);
    }

    fn open_case(&mut self, now: Now, suspect: Suspect) {
        let durable = self.region.durable.iter();
        let logs = durable.filter_map(|(origin, _)| {
            Some((origin.clone(), self.logs.reader(origin.as_str()).ok()?))
        });
        let judge = Judge {
            key: suspect.key.clone(),
            logs: logs.collect(),
            known: self.region.apply.applied().clone(),
            policies: self.region.apply.policies().clone(),
            fold: self.region.settings.apply.fold,
        };
        self.comparing.jobs.push_back(CompareJob::Judge(Box::new(judge)));
        self.comparing.case = Some(Case {
            suspect,
            since: now.monotonic,
            own: None,
            numbers: BTreeMap::new(),
            told: BTreeMap::new(),
            awaited: None,
        });
    }

    pub(super) fn judged(&mut self, now: Now, judged: Judged) {
        let Some(case) = &mut self.comparing.case else { return };
        if case.own.is_none() && case.suspect.key == judged.key {
            (case.own, case.since) = (Some(judged), now.monotonic);
        }
    }

    /// Goes on with the key that is judged.
    pub(super) fn judge(&mut self, now: Now, outputs: &mut Vec<Output>) -> Result<()> {
        let peers = self.comparable_peers(now);
        let comparing = &mut self.comparing;
        let Some(case) = &mut comparing.case else { return Ok(()) };
        let waited = now.monotonic.saturating_sub(case.since);
        if case.own.is_none() || case.awaited.is_some() {
            if waited >= ANSWER_MILLISECONDS
                && let Some(case) = comparing.case.take()
            {
                self.look_again(now, case.suspect);
            }
            return Ok(());
        }
        if case.numbers.is_empty() && !peers.is_empty() {
            let ask = Ask::Look { keys: vec![case.suspect.key.clone()], differ: false };
            for peer in peers {
                comparing.number += 1;
                let (number, epoch) = (comparing.number, comparing.epoch);
                case.numbers.insert(number, peer.clone());
                let frame = Frame::Compare { number, epoch, ask: ask.clone() };
                outputs.push(Output::Send { peer, role: Role::Pull, frame });
            }
            return Ok(());
        }
        if case.told.len() < case.numbers.len() && waited < WITNESS_MILLISECONDS {
            return Ok(());
        }
        let Some(case) = comparing.case.take() else { return Ok(()) };
        self.decide(now, case, outputs);
        Ok(())
    }

    /// Everybody who could be asked has said what the key shows there.
    fn decide(&mut self, now: Now, mut case: Case, outputs: &mut Vec<Output>) {
        let Some(own) = &case.own else { return };
        let blind = self.region.settings.fault == Some(Fault::ComparedWithoutVectors);
        let one =
            |(at, seen): &(Vector, Seen)| own.seen.is_one_with(&own.at, &seen.shown, at) || blind;
        let told = case.told.iter().filter(|(_, told)| one(told));
        let told: Vec<Side> =
            told.map(|(region, (_, seen))| (region.clone(), seen.digest)).collect();
        let own_digest = own.seen.digest;
        if told.iter().all(|(_, digest)| *digest == own_digest) {
            // The key has moved on, or whoever differs does not answer.
            return self.look_again(now, case.suspect);
        }
        let name = self.region.settings.name.clone();
        let sides: Vec<Side> = [(name.clone(), own_digest)].into_iter().chain(told).collect();
        let verdict = self.verdict(&case.suspect.mandate, own.refolded, own.of_all, &sides);
        let Ok(key) = Key::from_bytes(&case.suspect.key) else { return };
        let right = verdict.as_ref().map(|verdict| verdict.right);
        let wrong = |side: &&Side| right.is_some_and(|right| side.1 != right);
        let finding = Finding {
            key,
            at: now.wall,
            wrong: sides.iter().filter(wrong).map(|(region, _)| region.clone()).collect(),
            judged_by: verdict.as_ref().map(|verdict| verdict.by),
            sides: sides.clone(),
            repaired: None,
        };
        if self.comparing.book.found(finding.clone()) {
            outputs.push(Output::Alarm(Alarm::Differs(Box::new(finding))));
        }
        let Some(Verdict { right, by }) = verdict else { return };
        if right == own_digest {
            return self.tell_the_others(&case.suspect, right, &sides, outputs);
        }
        let source = sides.iter().find(|(_, digest)| *digest == right);
        let Some((source, _)) = source.filter(|_| case.suspect.mandate.repair) else { return };
        let number = self.comparing.next_number();
        case.awaited = Some((number, source.clone(), right, by));
        case.since = now.monotonic;
        let ask = Ask::Fetch { key: case.suspect.key.clone() };
        let (peer, role) = (source.clone(), Role::Pull);
        let frame = Frame::Compare { number, epoch: self.comparing.epoch, ask };
        outputs.push(Output::Send { peer, role, frame });
        self.comparing.case = Some(case);
    }

    /// Those who are wrong look themselves.
    fn tell_the_others(
        &mut self,
        suspect: &Suspect,
        right: Digest,
        sides: &[Side],
        outputs: &mut Vec<Output>,
    ) {
        if !suspect.mandate.repair {
            return;
        }
        let own = self.region.settings.name.clone();
        let wrong = |side: &&Side| side.0 != own && side.1 != right;
        for (peer, _) in sides.iter().filter(wrong) {
            let number = self.comparing.next_number();
            let ask = Ask::Look { keys: vec![suspect.key.clone()], differ: true };
            let (peer, role) = (peer.clone(), Role::Pull);
            let frame = Frame::Compare { number, epoch: self.comparing.epoch, ask };
            outputs.push(Output::Send { peer, role, frame });
        }
    }

    /// Who is right: an operator's word, else what the logs here give where it is what some side
    /// shows, else what more than half of at least three show.
    fn verdict(
        &self,
        mandate: &Mandate,
        refolded: Option<Digest>,
        of_all: bool,
        sides: &[Side],
    ) -> Option<Verdict> {
        let of = |region: &RegionName| sides.iter().find(|side| side.0 == *region);
        if let Some(from) = &mandate.from {
            let (_, right) = of(from)?;
            return Some(Verdict { right: *right, by: JudgedBy::Operator });
        }
        let votes = |right: &Digest| sides.iter().filter(|side| side.1 == *right).count();
        let most = sides.iter().find(|(_, right)| 2 * votes(right) > sides.len());
        let most = most.filter(|_| sides.len() > 2);
        let most = most.map(|(_, right)| Verdict { right: *right, by: JudgedBy::Majority });
        if !of_all && most.is_some() {
            return most;
        }
        let shown = |right: &Digest| sides.iter().any(|side| side.1 == *right);
        if let Some(right) = refolded.filter(shown) {
            let right = match self.region.settings.fault {
                Some(Fault::RepairTakesTheWrongSide) => {
                    sides.iter().find(|side| side.1 != right).map_or(right, |side| side.1)
                }
                _ => right,
            };
            return Some(Verdict { right, by: JudgedBy::Logs });
        }
        most
    }

    /// The state that is to take the place of the one here has come.
    pub(super) fn fetched(
        &mut self,
        now: Now,
        peer: &RegionName,
        number: u64,
        (at, key, found): (Vector, Vec<u8>, Option<Copied>),
        outputs: &mut Vec<Output>,
    ) -> Result<()> {
        let awaited = |case: &Case| {
            let asked = case.awaited.as_ref();
            asked.is_some_and(|(asked, from, ..)| *asked == number && from == peer)
                && case.suspect.key == key
        };
        if !self.comparing.case.as_ref().is_some_and(awaited) {
            return Ok(());
        }
        let Some(Case { suspect, own: Some(own), awaited: Some((.., right, by)), .. }) =
            self.comparing.case.take()
        else {
            return Ok(());
        };
        let Ok(name) = Key::from_bytes(&key) else { return Ok(()) };
        let (Some(Copied { row, records }), false) = (found, self.region.capture.is_ahead(&name))
        else {
            self.look_again(now, suspect);
            return Ok(());
        };
        let new = Replacement {
            key,
            copy: KeyCopy { row, records },
            at,
            right,
            own_records: own.records,
            own_at: own.at,
        };
        match self.region.apply.replace(&new, self.store.as_ref())? {
            Replaced::Done => {
                self.count_again();
                self.comparing.book.repaired(&name, peer, now.wall);
                let (from, key) = (peer.clone(), Box::new(name));
                outputs.push(Output::Alarm(Alarm::Repaired { key, from, by }));
            }
            Replaced::Later => self.look_again(now, suspect),
            Replaced::Malformed => {
                let detail = format!("its state of {name:?} does not read");
                outputs.push(Output::Alarm(Alarm::Malformed { peer: peer.clone(), detail }));
            }
        }
        Ok(())
    }
}
