//! Disks that are lost: a region comes back with an empty one, in another incarnation, and the
//! members close the one before; and regions that lapse, which put aside what the others do not
//! wait for.
//!
//! What always holds: what an acknowledged event was durable on is remembered, so that the judge
//! knows whether losing it was inevitable.

use std::collections::BTreeSet;
use std::sync::Arc;

use linckia_control::{Closing, Command, Promise, names};
use linckia_drill::history::Mark;
use linckia_log::{Disk as _, MemoryDisk};
use linckia_model::{Agreed, Dot, Event, Hlc, Incarnations, Origin, RegionName, Vector};
use linckia_region::{Input, LEAVING_FILE, Leaving, Output};
use linckia_store::MemoryStore;

use super::{Moment, Place, World};
use crate::judge;
use crate::plan::Happening;

/// A region whose disk is new is taken in by the others within this, in microseconds.
const TAKEN_IN: u64 = 400_000;

/// The others notice that a region is gone within this, in microseconds.
const LINGERS: u64 = 500_000;

/// Of a return somebody hears within this, in microseconds.
const HEARS_LATE: u64 = 4_000_000;

/// A decision is made within this after it was asked for, in microseconds.
const TAKES: u64 = 300_000;

/// A disk: a region's, of a number.
pub(crate) type Disk = (usize, u64);

/// What was on a disk that was lost.
#[derive(Default)]
pub(crate) struct Buried {
    /// Everything durable there.
    held: Vector,
    /// Marks that sessions made there, with their dots.
    marks: Vec<(Mark, Dot)>,
}

impl Place {
    /// Its store is gone, and what was judged of it.
    pub(super) fn lose_state(&mut self) {
        self.store = MemoryStore::new();
        (self.checked, self.stable) = (Vector::new(), Hlc::ZERO);
    }
}

impl World {
    /// The disk of a region is gone for good; the region is down for a while.
    pub(super) fn destroy(&mut self, region: usize, down_milliseconds: u64) {
        self.bury(region);
        self.swift = self.loss_random.percent(60);
        // What it sent last may still be on its way when the others hear that it is gone, and even
        // when it is back.
        let linger = self.loss_random.below(LINGERS);
        self.die(region, Some(linger));
        let offset = self.loss_random.below(1_000) as i64 - 1_000;
        let place = &mut self.places[region];
        place.disk_number += 1;
        place.disk = Arc::new(MemoryDisk::new());
        place.lose_state();
        place.survived = Vector::new();
        place.clock_offset = offset;
        self.begin_anew(region, down_milliseconds * 1_000);
    }

    /// A region that is down comes back in another incarnation.
    fn begin_anew(&mut self, region: usize, down: u64) {
        let number = self.places[region].disk_number;
        let place = &mut self.places[region];
        place.origin = Origin::new(&place.name, 0xa0 + region as u64 + (number << 16), 0);
        let incarnations = Some(Incarnations::default());
        place.heard = Agreed { incarnations, ..Agreed::default() };
        self.at(self.now + down, Moment::Restart { region });
        let longest = self.takes(TAKEN_IN);
        let taken_in = self.now + down + self.loss_random.below(longest);
        self.at(taken_in, Moment::Present { region, disk_number: number });
    }

    /// A region that was not there comes, with an empty disk.
    pub(super) fn join(&mut self, region: usize) {
        self.places[region].expected = false;
        self.swift = self.loss_random.percent(60);
        self.begin_anew(region, 0);
    }

    /// True for what cannot happen to a region that is not there yet.
    pub(super) fn comes_too_early(&self, happening: &Happening) -> bool {
        match happening {
            Happening::Crash { region, .. }
            | Happening::Destroy { region, .. }
            | Happening::LoseStore { region, .. }
            | Happening::Copy { region }
            | Happening::PutBack { region, .. } => self.places[*region].expected,
            _ => false,
        }
    }

    pub(super) fn copy(&mut self, region: usize) {
        let place = &mut self.places[region];
        place.copy = Some((place.disk.durable_copy(), place.heard.clone()));
    }

    /// The disk of a region is replaced by its copy; the store is gone.
    pub(super) fn put_back(&mut self, region: usize, down_milliseconds: u64) {
        let Some((copy, heard)) = self.places[region].copy.take() else { return };
        self.bury(region);
        self.crash(region);
        let place = &mut self.places[region];
        place.disk_number += 1;
        place.put_back = true;
        (place.disk, place.heard) = (Arc::new(copy), heard);
        place.lose_state();
        place.survived = Vector::new();
        self.at(self.now + down_milliseconds * 1_000, Moment::Restart { region });
    }

    /// The region leaves what it named, and goes on: in another incarnation, where its disk is an
    /// old copy or it has lapsed.
    pub(super) fn leave_logs(&mut self, region: usize) {
        let Some(machine) = &self.places[region].machine else { return };
        let left = machine.logs().read_small(LEAVING_FILE).ok().flatten().unwrap_or_default();
        let left = String::from_utf8(left).expect("it is a text");
        let left = Leaving::parse(&left).expect("the region wrote it");
        if left == Leaving::default() {
            return;
        }
        self.bury(region);
        self.crash(region);
        let place = &mut self.places[region];
        place.disk_number += 1;
        let dirs: Vec<String> = left.logs.iter().map(|log| format!("logs/{log}/")).collect();
        for (path, _) in place.disk.files() {
            if dirs.iter().any(|dir| path.starts_with(dir)) || path.ends_with(LEAVING_FILE) {
                place.disk.remove(&path).expect("it is there");
            }
        }
        for dir in dirs.iter().map(|dir| dir.trim_end_matches('/')).chain(["small"]) {
            place.disk.sync_dir(dir).expect("it is there");
        }
        if left.store {
            place.lose_state();
        }
        match left.incarnation {
            true => {
                // A machine that was off for long has a clock to match.
                let offset = self.loss_random.below(1_000) as i64 - 1_000;
                self.places[region].clock_offset = offset;
                self.begin_anew(region, 50_000);
            }
            false => self.at(self.now + 50_000, Moment::Restart { region }),
        }
    }

    /// Nobody hears a region for a while, and it hears nobody.
    pub(super) fn away(&mut self, region: usize, milliseconds: u64) {
        let until = self.now + milliseconds * 1_000;
        for other in (0..self.places.len()).filter(|other| *other != region) {
            self.network.cut(region, other, until);
            self.network.cut(other, region, until);
        }
        self.places[region].deaf_until = until;
    }

    /// The others wait for a region no more.
    pub(super) fn lapse(&mut self, region: usize) {
        let regions: Vec<_> = self.places.iter().map(|place| place.name.clone()).collect();
        let (region, members) = (self.places[region].name.to_string(), names(&regions));
        let reason = "away".to_owned();
        self.decide(Command::Lapse { region, reason, members, by: None });
        self.change_policy_again();
    }

    /// The disk of a region has no room left for a while.
    pub(super) fn fill_disk(&mut self, region: usize, milliseconds: u64, told: bool) {
        self.places[region].disk.set_room(Some(0));
        if told {
            self.hand(region, Input::Disk { free: 0 });
        }
        self.at(self.now + milliseconds * 1_000, Moment::Room { region });
    }

    pub(super) fn make_room(&mut self, region: usize) {
        self.places[region].disk.set_room(None);
        self.hand(region, Input::Disk { free: u64::MAX });
    }

    /// After some losses everything is decided at once.
    fn takes(&self, longest: u64) -> u64 {
        if self.swift { 1_000 } else { longest }
    }

    /// Remembers what is on a disk that is about to be lost.
    fn bury(&mut self, region: usize) {
        let place = &self.places[region];
        let buried = match &place.machine {
            Some(machine) => {
                let held = machine.region().durable().clone();
                Buried { held, marks: self.marks_on(region) }
            }
            None => Buried { held: place.survived.clone(), marks: place.last_marks.clone() },
        };
        self.graves.insert((region, place.disk_number), buried);
    }

    /// The marks of sessions on the disk of a region that is up.
    pub(super) fn marks_on(&self, region: usize) -> Vec<(Mark, Dot)> {
        let place = &self.places[region];
        let Some(machine) = &place.machine else { return Vec::new() };
        let durable = machine.region().durable();
        marks_of(judge::events(&self.archive, machine, durable).unwrap_or_default(), &place.origin)
    }

    /// A region with a new disk says in which incarnation it lives.
    pub(super) fn present(&mut self, region: usize, disk_number: u64) {
        let place = &self.places[region];
        if place.disk_number != disk_number {
            return;
        }
        let (region, origin) = (place.name.to_string(), place.origin.to_string());
        let regions: Vec<_> = self.places.iter().map(|place| place.name.clone()).collect();
        let (members, held) = (names(&regions), BTreeSet::new());
        let lives = self.roster.incarnations();
        let comes_back = lives.lapsed().contains_key(&region) || lives.of(&region).is_none();
        if comes_back && self.loss_random.percent(80) {
            // Somebody hears of the return long after the others.
            let late = self.loss_random.below(regions.len() as u64) as usize;
            if self.places[late].name.as_str() != region {
                self.places[late].deaf_until = self.now + self.loss_random.below(HEARS_LATE);
            }
        }
        self.decide(Command::Present { region, origin, members, held, restored: None });
        // What it aborted is asked for again.
        self.change_policy_again();
    }

    /// A step of a closing is decided some time from now.
    pub(super) fn step(&mut self, region: usize, output: Output) {
        let by = self.places[region].origin.to_string();
        let command = match output {
            Output::Promised { origin, attempt, promise } => {
                let origin = origin.to_string();
                let promise = Promise::new(&promise.held, promise.heard, promise.hlc);
                Command::Promise { origin, attempt, by, promise }
            }
            Output::Levelled { origin, attempt } => {
                Command::Level { origin: origin.to_string(), attempt, by }
            }
            Output::Void { origin, first } => {
                let cut = self.voids.entry(origin.clone()).or_insert(first);
                *cut = (*cut).min(first);
                Command::Void { origin: origin.to_string(), first }
            }
            Output::Stray { origin } => {
                let regions: Vec<_> = self.places.iter().map(|place| place.name.clone()).collect();
                Command::Close { origin: origin.to_string(), members: names(&regions) }
            }
            Output::Returned => Command::Returned { by },
            _ => return,
        };
        let longest = self.takes(TAKES);
        let when = self.now + self.loss_random.below(longest);
        let life = self.places[region].life;
        self.at(when, Moment::Decide { region, life, command: Box::new(command) });
    }

    /// A step is decided; one of a region that died meanwhile may never have left it.
    pub(super) fn decide_step(&mut self, region: usize, life: u64, command: Command) {
        if self.places[region].life == life || self.loss_random.percent(50) {
            self.decide(command);
        }
    }

    /// The disks on which an event is durable now, or was until they were lost.
    pub(crate) fn disks_with(&self, dot: &Dot) -> BTreeSet<Disk> {
        let holds = self.places.iter().enumerate().filter(|(_, place)| match &place.machine {
            Some(machine) => machine.region().durable().covers(dot),
            None => place.survived.covers(dot),
        });
        let alive = holds.map(|(number, place)| (number, place.disk_number));
        let graves = self.graves.iter().filter(|(_, buried)| buried.held.covers(dot));
        alive.chain(graves.map(|(disk, _)| *disk)).collect()
    }

    /// The others have taken this region out of those that count.
    pub(super) fn is_given_up(&self, region: usize) -> bool {
        self.roster.incarnations().lapsed().contains_key(self.places[region].name.as_str())
    }

    /// The others that a region knows to have lapsed.
    pub(crate) fn lapsed_for(&self, region: usize) -> BTreeSet<RegionName> {
        let Place { heard, name, .. } = &self.places[region];
        let mut lapsed = heard.incarnations.clone().unwrap_or_default().lapsed;
        lapsed.remove(name);
        lapsed
    }

    /// True if the event is of a log of which an old copy was put back: what only the disk held is
    /// then lost without a word, where nobody had heard of it.
    pub(crate) fn was_put_back(&self, dot: &Dot) -> bool {
        self.places.iter().any(|place| place.put_back && dot.origin.is_of(&place.name))
    }

    /// True if all of these disks are lost.
    pub(crate) fn are_lost(&self, disks: &BTreeSet<Disk>) -> bool {
        disks.iter().all(|disk| self.graves.contains_key(disk))
    }

    /// True if the event's log was cut off before it, because it depends on what is lost.
    pub(crate) fn is_void(&self, dot: &Dot) -> bool {
        self.voids.get(&dot.origin).is_some_and(|first| dot.sequence >= *first)
    }

    /// Where logs end beyond which nothing can be held: not those of which a part proved void.
    pub(crate) fn ends(&self) -> Vec<(Origin, u64)> {
        let closings = self.roster.incarnations().agreed(&[]).closings.into_iter();
        let whole = closings.filter(|(origin, _)| !self.voids.contains_key(origin));
        whole.filter_map(|(origin, it)| Some((origin, it.end?))).collect()
    }

    /// Marks that were lost with their disks, and stand in no log.
    pub(super) fn lost_marks(&self) -> BTreeSet<Mark> {
        let incarnations = self.roster.incarnations().agreed(&[]);
        let marks = self.graves.values().flat_map(|buried| &buried.marks);
        let lost = marks.filter(|(_, dot)| incarnations.is_lost(dot) || self.was_put_back(dot));
        let mut lost: BTreeSet<Mark> = lost.map(|(mark, _)| mark.clone()).collect();
        let machine = self.places.first().and_then(|place| place.machine.as_ref());
        let events =
            |it| judge::events(&self.archive, it, it.region().applied()).unwrap_or_default();
        let all = machine.map(events);
        for event in all.unwrap_or_default() {
            lost.remove(&mark_of(&event));
        }
        lost
    }

    /// True once every log that nobody writes is closed, and all regions are in the fleet.
    pub(super) fn is_whole(&self) -> bool {
        let open = |closing: &Closing| closing.end.is_none() || !closing.awaited.is_empty();
        let entered = |place: &super::Place| {
            place.machine.as_ref().is_some_and(|machine| machine.region().is_entered())
        };
        let lives = self.roster.incarnations();
        let lapsed = lives.returning().next().is_some() || !lives.lapsed().is_empty();
        !lapsed
            && !lives.closings().any(|(_, closing)| open(closing))
            && self.places.iter().all(entered)
    }
}

/// The mark that an event makes, if it is a session's.
fn mark_of(event: &Event) -> Mark {
    (event.key.aggregate_id.to_string(), event.identity.event_id.to_string())
}

fn marks_of(events: Vec<Event>, own: &Origin) -> Vec<(Mark, Dot)> {
    let own = events.into_iter().filter(|event| event.dot.origin == *own);
    own.map(|event| (mark_of(&event), event.dot)).collect()
}
