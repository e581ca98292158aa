//! What a seed makes happen: regions, clocks, writes and faults, each at its moment.
//!
//! The plan is drawn whole before anything runs, so that a change in the code under test does not
//! change what is tested.

use linckia_model::{Ack, Level, Operation, Policy, RegionName};
use serde_json::{Value, json};

mod losses;
pub(crate) mod policies;

use crate::random::Random;
use crate::world::{Call, LEDGER_KEYS};

/// How much a plan holds.
#[derive(Clone, Copy, Debug)]
pub struct PlanSize {
    pub regions_min: u64,
    pub regions_max: u64,
    pub writes: u64,
    pub keys: u64,
    pub crashes: u64,
    pub cuts: u64,
    /// Clock jumps, lossy spells and failing disks too.
    pub troubles: bool,
}

impl PlanSize {
    /// The scenario of the figures: three regions, 60 writes, 8 keys, one crash and one cut.
    pub const FIGURE: Self = Self {
        regions_min: 3,
        regions_max: 3,
        writes: 60,
        keys: 8,
        crashes: 1,
        cuts: 1,
        troubles: false,
    };

    /// Everything, in three to five regions.
    pub const EVERYTHING: Self = Self {
        regions_min: 3,
        regions_max: 5,
        writes: 48,
        keys: 4,
        crashes: 3,
        cuts: 3,
        troubles: true,
    };
}

/// One event that a client wants written.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    pub key: usize,
    pub id: String,
    pub operation: Operation,
    pub data: Value,
}

/// Something that happens at its moment.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// A client writes in a region; several wishes are one transaction.
    Write { region: usize, wishes: Vec<Wish>, ack: Ack },
    /// A client with a session calls.
    Call(Call),
    /// The machine under a region stops dead and is started again later.
    Crash { region: usize, down_milliseconds: u64 },
    /// The disk under a region is lost; it comes back later with an empty one.
    Destroy { region: usize, down_milliseconds: u64 },
    /// The machine under a region stops dead, and its store is gone; its logs are not.
    LoseStore { region: usize, down_milliseconds: u64 },
    /// The disk under a region is full for a while; the region is told so, or finds out.
    FillDisk { region: usize, milliseconds: u64, told: bool },
    /// Nobody hears a region, and it hears nobody, for a while.
    Away { region: usize, milliseconds: u64 },
    /// The others wait for a region no more.
    Lapse { region: usize },
    /// A region that was not there when the fleet began joins it.
    Join { region: usize },
    /// Somebody copies a region's disk.
    Copy { region: usize },
    /// A region stops dead, and its disk is replaced by the copy.
    PutBack { region: usize, down_milliseconds: u64 },
    /// What `from` sends to `to` is swallowed for a while.
    Cut { from: usize, to: usize, milliseconds: u64 },
    /// A region's wall clock jumps.
    Jump { region: usize, milliseconds: i64 },
    /// Frames are lost, doubled and overtaken for a while, everywhere.
    Spell { milliseconds: u64, percent: u64 },
    /// The nth write or sync of a region's disk from now fails.
    DiskFault { region: usize, nth: u64, sync: bool },
    /// The judge looks at a region.
    Probe { region: usize },
    /// The fleet agrees on the next policy of the plan's aggregates.
    ChangePolicy,
    /// A row of a region's store goes bad.
    Rot { region: usize },
}

/// The whole of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub regions: usize,
    pub keys: usize,
    /// Clients that carry tokens from region to region.
    pub sessions: usize,
    /// Some region's disk is full for a while.
    pub fills_disks: bool,
    /// Some region loses its disk, or gets an old copy of it.
    pub loses_disks: bool,
    /// A region that is not there at the start.
    pub joins: Option<usize>,
    /// Of the plan's aggregates: none, one from the start, or one and the one it changes to.
    pub policies: Vec<Policy>,
    /// Logs let go of history beyond so many bytes, if at all.
    pub history_bytes: Option<u64>,
    /// Where nothing is here and a peer has so many events, their state is fetched.
    pub catch_up_events: u64,
    /// Regions compare all the time what they hold.
    pub compares: bool,
    /// Rows go bad.
    pub rots: bool,
    /// Events of a key after which its state is kept as a checkpoint.
    pub tail_portion: usize,
    /// Each region's wall clock is this far off at the start, in milliseconds.
    pub clock_offsets: Vec<i64>,
    /// One-way delays in milliseconds, by from and to.
    pub delays: Vec<Vec<u64>>,
    /// In order of time, in milliseconds.
    pub happenings: Vec<(u64, Happening)>,
}

/// The regions of every run; one name begins like another on purpose.
pub(crate) fn region_name(number: usize) -> RegionName {
    let names = ["a", "b", "b-1", "c", "d"];
    RegionName::parse(names[number]).expect("the names are regions")
}

/// Everything planned happens within this time, in milliseconds.
const SPAN_MILLISECONDS: u64 = 3_000;

impl Plan {
    pub fn new(seed: u64, size: PlanSize) -> Self {
        let mut random = Random::new(seed ^ 0x6c69_6e63_6b69_6121);
        let regions = random.between(size.regions_min, size.regions_max) as usize;
        let keys = if size.troubles { random.between(1, size.keys) } else { size.keys } as usize;
        let delays =
            (0..regions).map(|_| (0..regions).map(|_| random.between(1, 120)).collect()).collect();
        let offset = |random: &mut Random| random.below(400) as i64 - 200;
        let mut plan = Self {
            seed,
            regions,
            keys,
            sessions: 0,
            fills_disks: false,
            loses_disks: false,
            joins: None,
            policies: Vec::new(),
            history_bytes: None,
            catch_up_events: u64::MAX,
            compares: false,
            rots: false,
            tail_portion: Random::new(seed ^ 0x74_61_69_6c).between(1, 6) as usize,
            clock_offsets: (0..regions).map(|_| offset(&mut random)).collect(),
            delays,
            happenings: Vec::new(),
        };
        plan.writes(&mut random, size);
        plan.faults(&mut random, size);
        if size.troubles {
            plan.levels(&mut Random::new(seed ^ 0x61_636b));
            plan.calls(&mut Random::new(seed ^ 0x74_6f_6b_65_6e));
            plan.draw_losses(&mut Random::new(seed ^ 0x6c_6f_73_73));
            plan.draw_lapses(&mut Random::new(seed ^ 0x61_77_61_79));
            plan.draw_join(&mut Random::new(seed ^ 0x6a_6f_69_6e));
            plan.draw_full(&mut Random::new(seed ^ 0x66_75_6c_6c));
            plan.draw_history(&mut Random::new(seed ^ 0x70_61_73_74));
            plan.draw_rot(&mut Random::new(seed ^ 0x72_6f_74));
            plan.draw_policies(&mut Random::new(seed ^ 0x72_75_6c_65_73));
        }
        plan.happenings.sort_by_key(|(at, _)| *at);
        plan
    }

    fn push(&mut self, at: u64, happening: Happening) {
        self.happenings.push((at, happening));
    }

    fn writes(&mut self, random: &mut Random, size: PlanSize) {
        let mut sent: Vec<Wish> = Vec::new();
        // Bursts meet on purpose: several regions write one key within a few milliseconds.
        let mut at = 0;
        let writes = if size.troubles { random.between(8, size.writes) } else { size.writes };
        for number in 0..writes {
            if random.percent(60) {
                at += random.below(2 * SPAN_MILLISECONDS / writes);
            }
            let region = random.below(self.regions as u64) as usize;
            let again = !sent.is_empty() && random.percent(12);
            let wishes = if again {
                let mut wish = random.pick(&sent).clone();
                if random.percent(15) {
                    wish.data = json!({"a": 7});
                }
                vec![wish]
            } else {
                let count = if random.percent(12) { random.between(2, 4) } else { 1 };
                let wish = |random: &mut Random, place| self.wish(random, number, place);
                (0..count).map(|place| wish(random, place)).collect()
            };
            sent.extend(wishes.iter().filter(|_| wishes.len() == 1).cloned());
            let ack = Ack::default();
            self.push(at.min(SPAN_MILLISECONDS), Happening::Write { region, wishes, ack });
        }
    }

    /// Some writers want to know that other regions hold what they wrote.
    fn levels(&mut self, random: &mut Random) {
        let regions = self.regions as u64;
        for (_, happening) in &mut self.happenings {
            let Happening::Write { ack, .. } = happening else { continue };
            if random.percent(50) {
                continue;
            }
            let level = match random.below(5) {
                0 | 1 => Level::Any,
                2 => Level::Quorum,
                3 => Level::All,
                _ => {
                    let named = (0..self.regions).filter(|_| random.percent(50));
                    let mut named: Vec<RegionName> = named.map(region_name).collect();
                    if named.is_empty() {
                        named.push(region_name(random.below(regions) as usize));
                    }
                    Level::Regions(named.into())
                }
            };
            let timeout = if random.percent(50) { 5_000 } else { random.between(1, 600) };
            *ack = Ack { level, timeout_milliseconds: Some(timeout) };
        }
    }

    /// Clients hop: each call in some region, soon after the last one.
    fn calls(&mut self, random: &mut Random) {
        self.sessions = random.between(2, 3) as usize;
        for session in 0..self.sessions {
            let mut at = random.below(SPAN_MILLISECONDS / 2);
            for _ in 0..random.between(6, 12) {
                let soon = if random.percent(70) { 60 } else { 500 };
                at += random.below(soon);
                let call = Call {
                    session,
                    region: random.below(self.regions as u64) as usize,
                    key: random.below(LEDGER_KEYS as u64) as usize,
                    writes: random.percent(45),
                    wait_milliseconds: random.below(400),
                };
                self.push(at.min(SPAN_MILLISECONDS + 1_000), Happening::Call(call));
            }
        }
    }

    fn wish(&self, random: &mut Random, number: u64, place: u64) -> Wish {
        let key = random.below(self.keys as u64) as usize;
        let id = format!("e{number}-{place}");
        let (operation, data) = match random.below(20) {
            0..=6 => (Operation::Patch, patch(random)),
            7..=10 => (Operation::Put, document(random)),
            11..=13 => (Operation::Delete, json!({})),
            14..=18 => (Operation::Increment, amounts(random)),
            _ => (Operation::Record, json!({"seen": number})),
        };
        Wish { key, id, operation, data }
    }

    fn faults(&mut self, random: &mut Random, size: PlanSize) {
        let regions = self.regions as u64;
        let moment = |random: &mut Random| random.below(SPAN_MILLISECONDS);
        let count = |random: &mut Random, max: u64| {
            if size.troubles { random.below(max + 1) } else { max }
        };
        for _ in 0..count(random, size.crashes) {
            let region = random.below(regions) as usize;
            let down_milliseconds = random.between(20, 800);
            self.push(moment(random), Happening::Crash { region, down_milliseconds });
        }
        for _ in 0..count(random, size.cuts) {
            let from = random.below(regions) as usize;
            let to = (from + random.between(1, regions - 1) as usize) % self.regions;
            let milliseconds = random.between(50, 2_000);
            let at = moment(random);
            self.push(at, Happening::Cut { from, to, milliseconds });
            if random.percent(70) {
                self.push(at, Happening::Cut { from: to, to: from, milliseconds });
            }
        }
        for _ in 0..random.between(1, 3) {
            let region = random.below(regions) as usize;
            self.push(moment(random), Happening::Probe { region });
        }
        if !size.troubles {
            return;
        }
        for _ in 0..random.below(3) {
            let region = random.below(regions) as usize;
            let milliseconds = random.below(4_000) as i64 - 2_000;
            self.push(moment(random), Happening::Jump { region, milliseconds });
        }
        if random.percent(30) {
            let (milliseconds, percent) = (random.between(100, 1_500), random.between(1, 25));
            self.push(moment(random), Happening::Spell { milliseconds, percent });
        }
        if random.percent(10) {
            let region = random.below(regions) as usize;
            let (nth, sync) = (random.between(1, 8), random.percent(50));
            self.push(moment(random), Happening::DiskFault { region, nth, sync });
        }
    }
}

fn scalar(random: &mut Random) -> Value {
    match random.below(6) {
        0 => json!("x"),
        1 => json!([1, 2]),
        2 => json!(true),
        _ => json!(random.below(100)),
    }
}

const NAMES: [&str; 3] = ["a", "b", "n"];

fn document(random: &mut Random) -> Value {
    let mut members = serde_json::Map::new();
    for name in NAMES {
        if random.percent(45) {
            members.insert(name.to_owned(), scalar(random));
        }
    }
    if random.percent(25) {
        members.insert("o".to_owned(), json!({ "p": scalar(random) }));
    }
    Value::Object(members)
}

fn patch(random: &mut Random) -> Value {
    let mut members = serde_json::Map::new();
    for name in NAMES {
        match random.below(8) {
            0 | 1 => drop(members.insert(name.to_owned(), scalar(random))),
            2 => drop(members.insert(name.to_owned(), Value::Null)),
            _ => {}
        }
    }
    let nested = match random.below(8) {
        0 => Some(json!({ "p": scalar(random) })),
        1 => Some(json!({ "q": scalar(random), "p": null })),
        2 => Some(scalar(random)),
        3 => Some(Value::Null),
        4 => Some(json!({})),
        _ => None,
    };
    members.extend(nested.map(|value| ("o".to_owned(), value)));
    Value::Object(members)
}

fn amounts(random: &mut Random) -> Value {
    let amount = |random: &mut Random| json!(random.below(9) as i64 - 2);
    match random.below(6) {
        0 => json!({ "o": { "c": amount(random) } }),
        1 => json!({ "n": amount(random), "c": amount(random) }),
        2 => json!({ "a": amount(random) }),
        _ => json!({ "n": amount(random) }),
    }
}
