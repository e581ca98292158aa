//! Directories that a plan destroys: for a share of the seeds a region loses its disk and comes
//! back with an empty one, or with an old copy.
//!
//! Drawn from a generator of their own, so that seeds without losses are what they were.

use linckia_model::Ack;

use super::{Happening, Plan, SPAN_MILLISECONDS};
use crate::random::Random;

/// Seeds in which a disk is lost, in a hundred.
const SHARE: u64 = 30;

/// Seeds in which logs let go of history, in a hundred.
const SHORT: u64 = 40;

/// Seeds in which a disk is full for a while, in a hundred.
const FULL: u64 = 15;

/// The first one happens by then, in milliseconds: some when all else is quiet.
const LAST: u64 = SPAN_MILLISECONDS + 1_800;

/// Of the others those in which an old copy of a disk is put back, in a hundred.
const COPIES: u64 = 12;

/// Seeds in which a region lapses, in a hundred, and those of them in which another one does too.
const LAPSES: u64 = 20;
const BOTH: u64 = 25;

/// Those in which another one is lost too, in a hundred: of the same region or another.
const TWICE: u64 = 35;

/// Seeds in which regions compare what they hold, in a hundred, and those of them in which rows go
/// bad.
const COMPARES: u64 = 15;
const ROTS: u64 = 70;

/// Seeds in which a region joins, in a hundred.
const JOINS: u64 = 12;

/// Numbers of the events around a loss: those of others are lower.
const LOSS_IDS: u64 = 1_000_000;
const LAPSE_IDS: u64 = 2_000_000;
const JOIN_IDS: u64 = 3_000_000;

impl Plan {
    /// For a share of the seeds a disk is full for a while.
    pub(super) fn draw_full(&mut self, random: &mut Random) {
        if !random.percent(FULL) {
            return;
        }
        self.fills_disks = true;
        for _ in 0..random.between(1, 3) {
            let (at, region) = (random.between(100, LAST), self.region(random));
            let milliseconds = random.between(50, 1_500);
            let told = random.percent(70);
            self.push(at, Happening::FillDisk { region, milliseconds, told });
        }
    }

    /// For a share of the seeds a region joins a fleet that has begun, and is written to at once.
    pub(super) fn draw_join(&mut self, random: &mut Random) {
        // One of the others keeps its state at least, and an old copy may tell on alone.
        let copied = |(_, it): &(u64, Happening)| matches!(it, Happening::Copy { .. });
        let few = if self.loses_disks { 4 } else { 3 };
        if !random.percent(JOINS) || self.regions < few || self.happenings.iter().any(copied) {
            return;
        }
        let (at, region) = (random.between(100, LAST), self.region(random));
        self.joins = Some(region);
        self.push(at, Happening::Join { region });
        for write in 0..random.between(3, 12) {
            let wishes = vec![self.wish(random, JOIN_IDS + at, write)];
            let (ack, when) = (Ack::default(), at + random.below(1_500));
            self.push(when, Happening::Write { region, wishes, ack });
        }
        if random.percent(30) {
            let down_milliseconds = random.between(1, 400);
            let (when, region) = (at + random.between(50, 1_200), self.region(random));
            self.push(when, Happening::Crash { region, down_milliseconds });
        }
    }

    /// For a share of the seeds logs are short.
    pub(super) fn draw_history(&mut self, random: &mut Random) {
        if !random.percent(SHORT) {
            return;
        }
        self.history_bytes = Some(*random.pick(&[0, 32 << 10, 64 << 10, 256 << 10]));
        if random.percent(30) {
            self.catch_up_events = random.between(1, 20);
        }
        // Of what logs let go of at least one region keeps the state.
        if random.percent(45) && !self.loses_disks {
            let (at, region) = (random.between(300, LAST), self.region(random));
            let down_milliseconds = random.between(1, 300);
            self.push(at, Happening::LoseStore { region, down_milliseconds });
        }
        // Whoever loads, or is loaded from, dies on the way.
        let lost = |(at, happening): &(u64, Happening)| {
            let loss = matches!(happening, Happening::LoseStore { .. } | Happening::Destroy { .. });
            loss.then_some(*at)
        };
        let losses: Vec<u64> = self.happenings.iter().filter_map(lost).collect();
        for at in losses {
            if random.percent(50) {
                continue;
            }
            let (when, region) = (at + random.between(50, 1_200), self.region(random));
            let down_milliseconds = random.between(1, 400);
            self.push(when, Happening::Crash { region, down_milliseconds });
        }
    }

    pub(super) fn draw_losses(&mut self, random: &mut Random) {
        if !random.percent(SHARE) {
            if random.percent(COPIES) {
                self.draw_copy(random);
            }
            return;
        }
        self.loses_disks = true;
        let (mut at, mut region) = (random.between(100, LAST), self.region(random));
        let losses = if random.percent(TWICE) { 2 } else { 1 };
        for _ in 0..losses {
            let down_milliseconds =
                if random.percent(40) { random.between(1, 9) } else { random.between(10, 800) };
            self.push(at, Happening::Destroy { region, down_milliseconds });
            // What it wrote last is on its way when it dies, or who wrote comes again.
            let (back, before) = (at + down_milliseconds, random.percent(50));
            // Who is back at once writes while its clock may still be behind what was told.
            let soon = if down_milliseconds < 10 { 500 } else { 1_200 };
            for write in 0..random.between(3, 12) {
                let when = match before {
                    true => at.saturating_sub(random.below(100)),
                    false => back + random.below(soon),
                };
                let wishes = vec![self.wish(random, LOSS_IDS + at, write)];
                let ack = Ack::default();
                self.push(when, Happening::Write { region, wishes, ack });
            }
            // Often while what the first one made necessary is under way.
            at += if random.percent(60) { random.between(100, 1_500) } else { 4_000 };
            region = if random.percent(40) { region } else { self.region(random) };
        }
    }

    /// A region is away, mostly, and lapses; some of its clients do not notice.
    pub(super) fn draw_lapses(&mut self, random: &mut Random) {
        // An old copy that nobody can tell so is written on: its log goes two ways.
        let copied = |(_, it): &(u64, Happening)| matches!(it, Happening::Copy { .. });
        if !random.percent(LAPSES) || self.happenings.iter().any(copied) {
            return;
        }
        // One region keeps its state at least.
        if self.loses_disks && self.regions < 5 {
            return;
        }
        self.loses_disks = true;
        let (mut at, mut region) = (random.between(100, LAST), self.region(random));
        let lapses = if random.percent(BOTH) { 2 } else { 1 };
        for _ in 0..lapses {
            let away = random.between(50, 2_500);
            match random.below(10) {
                // The others take a region for gone that is there.
                0 => {}
                1..=3 => self.push(at, Happening::Crash { region, down_milliseconds: away }),
                _ => self.push(at, Happening::Away { region, milliseconds: away }),
            }
            let lapse = at + random.below(away);
            self.push(lapse, Happening::Lapse { region });
            for write in 0..random.between(3, 14) {
                let wishes = vec![self.wish(random, LAPSE_IDS + at, write)];
                let wrote = if random.percent(50) { region } else { self.region(random) };
                let when = (at + random.below(away + 2_000)).saturating_sub(100);
                self.push(when, Happening::Write { region: wrote, wishes, ack: Ack::default() });
            }
            at += if random.percent(60) { random.between(20, 1_500) } else { 3_000 };
            region = self.region(random);
        }
    }

    /// A disk is copied, and the copy put back later: some events of the region are in between, or
    /// none.
    fn draw_copy(&mut self, random: &mut Random) {
        self.loses_disks = true;
        let (region, copied) = (self.region(random), random.below(SPAN_MILLISECONDS));
        let at = copied + random.between(1, 1_500);
        self.push(copied, Happening::Copy { region });
        let down_milliseconds = random.between(1, 500);
        self.push(at, Happening::PutBack { region, down_milliseconds });
        for write in 0..random.below(6) {
            let wishes = vec![self.wish(random, LOSS_IDS + at, write)];
            let when = random.between(copied, at + down_milliseconds + 800);
            self.push(when, Happening::Write { region, wishes, ack: Ack::default() });
        }
    }

    /// Regions compare what they hold, and rows of one of them go bad. Where logs let go of
    /// history one bad region is outvoted; nobody may have taken a bad row for its own.
    pub(super) fn draw_rot(&mut self, random: &mut Random) {
        self.compares = random.percent(COMPARES);
        let donates = |(_, it): &(u64, Happening)| matches!(it, Happening::LoseStore { .. });
        let short = self.history_bytes.is_some();
        let loads = self.happenings.iter().any(donates) || self.catch_up_events < u64::MAX;
        if !self.compares || self.loses_disks || short && loads || !random.percent(ROTS) {
            return;
        }
        self.rots = true;
        // Where all are wrong nobody shows what is right.
        let spared = self.region(random);
        let times = if short { 1 } else { random.between(1, 3) };
        for _ in 0..times {
            let at = random.between(200, SPAN_MILLISECONDS + 1_000);
            let others = self.regions as u64 - 1;
            let region = (spared + 1 + random.below(others) as usize) % self.regions;
            self.push(at, Happening::Rot { region });
        }
    }

    fn region(&self, random: &mut Random) -> usize {
        random.below(self.regions as u64) as usize
    }
}
