//! When what fails in a soak: a walk drawn from a seed.
//!
//! Pure. Processes and links fail in two lanes beside each other, each one failure after the other.
//! What always holds: equal seeds make equal schedules; every failure is healed before the end; the
//! disks that are lost are far enough apart for the fleet to hold everything twice in between.

use crate::failure::Failure;

/// Where a schedule's choices come from: SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A number of that range, its ends included.
    pub const fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }
}

/// A failure and its time, in milliseconds from the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    pub at: u64,
    pub until: u64,
    pub failure: Failure,
}

/// Steady at the start, and after the last failure.
const STEADY: u64 = 1_500;

/// How long a failure lasts, and how long its lane is well afterwards.
const LASTS: (u64, u64) = (500, 4_000);
const WELL: (u64, u64) = (500, 3_000);

/// A wrong clock stays wrong for longer: its effects come late.
const CLOCK_LASTS: (u64, u64) = (2_000, 6_000);

/// How wrong a clock is at most: ten times what it may stray unnoticed.
const OFFSET_MOST: u64 = 5_000;

/// Between the losses of two disks.
const DISKS_APART: u64 = 20_000;

/// The failures of a soak, in the order of their beginnings.
///
/// # Panics
/// With fewer than two regions.
pub fn schedule(seed: u64, span: u64, regions: &[String], destroys: bool) -> Vec<Planned> {
    assert!(regions.len() > 1, "a fleet of one has nothing to survive with");
    let mut random = Random::new(seed);
    let mut plan = Vec::new();
    let mut disk_lost = None;
    lane(&mut random, span, &mut plan, |random, now| {
        let region = || regions.len() as u64;
        let region = regions[random.below(region()) as usize].clone();
        let disk_free = disk_lost.is_none_or(|lost: u64| now >= lost + DISKS_APART);
        if destroys && disk_free {
            disk_lost = Some(now);
            // What burns loses its links first: what it takes then is nowhere else.
            return (Failure::Destroy { region, cut_off: true }, LASTS);
        }
        match random.below(8) {
            0..=2 => (Failure::Stop { region }, LASTS),
            3 => (Failure::Restart { region }, LASTS),
            4..=5 => (Failure::Die { region }, LASTS),
            _ => {
                let size = random.between(100, OFFSET_MOST) as i64;
                let offset = if random.below(2) == 0 { size } else { -size };
                (Failure::Clock { region, offset }, CLOCK_LASTS)
            }
        }
    });
    lane(&mut random, span, &mut plan, |random, _| {
        let from = random.below(regions.len() as u64) as usize;
        let step = random.between(1, regions.len() as u64 - 1) as usize;
        let other = regions[(from + step) % regions.len()].clone();
        let to = (random.below(3) > 0).then_some(other);
        (Failure::Cut { from: regions[from].clone(), to, one_way: random.below(2) == 0 }, LASTS)
    });
    plan.sort_by_key(|planned: &Planned| planned.at);
    plan
}

/// One failure after the other, as long as there is time.
fn lane(
    random: &mut Random,
    span: u64,
    plan: &mut Vec<Planned>,
    mut draw: impl FnMut(&mut Random, u64) -> (Failure, (u64, u64)),
) {
    let mut at = STEADY + random.between(0, WELL.1);
    loop {
        let (failure, (least, most)) = draw(random, at);
        let until = at + random.between(least, most);
        if until + STEADY > span {
            return;
        }
        plan.push(Planned { at, until, failure });
        at = until + random.between(WELL.0, WELL.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regions() -> Vec<String> {
        ["a", "b", "c"].map(str::to_owned).into()
    }

    #[test]
    fn equal_seeds_make_equal_schedules_and_all_is_healed() {
        let plan = schedule(7, 120_000, &regions(), false);
        assert_eq!(plan, schedule(7, 120_000, &regions(), false));
        assert_ne!(plan, schedule(8, 120_000, &regions(), false));
        assert!(plan.len() > 30, "{}", plan.len());
        for links in [false, true] {
            let lane: Vec<&Planned> =
                plan.iter().filter(|planned| planned.failure.is_of_links() == links).collect();
            assert!(lane.windows(2).all(|pair| pair[0].until < pair[1].at));
        }
        assert!(plan.iter().all(|planned| planned.until + STEADY <= 120_000));
        let some = |is: fn(&Failure) -> bool| plan.iter().any(|planned| is(&planned.failure));
        assert!(some(|failure| matches!(failure, Failure::Clock { .. })));
        assert!(some(|failure| matches!(failure, Failure::Cut { one_way: true, .. })));
        assert!(!some(|failure| failure.destroyed().is_some()));
        assert!(schedule(7, 1_000, &regions(), true).is_empty());
    }

    #[test]
    fn lost_disks_are_far_apart() {
        let plan = schedule(3, 120_000, &regions(), true);
        let lost: Vec<u64> = plan
            .iter()
            .filter(|planned| planned.failure.destroyed().is_some())
            .map(|planned| planned.at)
            .collect();
        assert!(lost.len() > 1, "{lost:?}");
        assert!(lost.windows(2).all(|pair| pair[1] - pair[0] >= DISKS_APART), "{lost:?}");
    }
}
