//! The world of one run: regions, their disks and clocks, the wires, the clients, and time.
//!
//! One queue of moments; at each, something is handed to a region's machine and its outputs become
//! later moments. What always holds: a region that is down hears nothing, what its disk had not
//! synced is lost or kept as chance says, and every acknowledgement is written in the ledger.

mod archive;
mod end;
mod lives;
mod losses;
mod moment;
mod outputs;
mod policies;
mod rot;
mod sessions;
mod writes;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use linckia_control::Roster;
use linckia_drill::history::{Entry, Mark};
use linckia_log::MemoryDisk;
use linckia_model::{Agreed, Dot, Fault, Hlc, Key, Now, Origin, RegionName, Vector, with_causes};
use linckia_region::{Input, Machine, Role, StoreJob};
use linckia_ship::Frame;
use linckia_store::MemoryStore;

use crate::judge;
use crate::network::{Network, Wire};
use crate::plan::{Happening, Plan, Wish, region_name};
use crate::queue::Queue;
use crate::random::Random;
pub(crate) use archive::Archive;
use losses::{Buried, Disk};
use moment::Moment;
pub use sessions::Call;
pub(crate) use sessions::LEDGER_KEYS;
use sessions::{Client, Visit};
pub(crate) use writes::Asked;

/// Milliseconds of wall clock at the start of every run.
const EPOCH: u64 = 1_700_000_000_000;

/// Ticks of a region, in microseconds.
const TICK: u64 = 40_000;

/// A dialler tries again after this, in microseconds.
const REDIAL: u64 = 150_000;

/// Everything heals at this moment, in microseconds; then the fleet has time to converge.
const HEAL: u64 = 5_000_000;

/// A run that has not converged by then has failed, in microseconds.
const END: u64 = 40_000_000;

/// After healing, for answers that are still to come, in microseconds.
const REST: u64 = 1_000_000;

/// How often convergence is looked for after healing, in microseconds.
const LOOK: u64 = 250_000;

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Inputs handled by all machines.
    pub inputs: u64,
    pub acknowledged: usize,
    pub conflicts: usize,
    /// What was violated, if anything.
    pub violation: Option<String>,
    /// What happened, when it was asked for.
    pub trace: Vec<String>,
}

/// One simulated region.
pub(crate) struct Place {
    pub(crate) name: RegionName,
    pub(crate) origin: Origin,
    disk: Arc<MemoryDisk>,
    store: MemoryStore,
    pub(crate) machine: Option<Machine>,
    /// The job with the store under way.
    job: Option<StoreJob>,
    /// Counts the starts: moments of earlier lives are void.
    pub(crate) life: u64,
    clock_offset: i64,
    /// What this region has heard that was agreed.
    heard: Agreed,
    /// Counts the disks that it lost.
    pub(crate) disk_number: u64,
    /// A copy of its disk, and what it had heard by then.
    copy: Option<(MemoryDisk, Agreed)>,
    /// It hears nothing of what is agreed until then.
    deaf_until: u64,
    /// It is not there yet: it is going to join.
    expected: bool,
    /// It got the copy.
    put_back: bool,
    /// What was durable in its logs when it died last, and the marks of sessions among it.
    pub(crate) survived: Vector,
    last_marks: Vec<(Mark, Dot)>,
    /// The vector at which causality was looked at last, and stable time then.
    pub(crate) checked: Vector,
    pub(crate) stable: Hlc,
    /// What of its logs is archived.
    archived: Vector,
}

/// One acknowledged event.
#[derive(Debug, Clone)]
pub(crate) struct Acknowledged {
    pub(crate) dot: Dot,
    pub(crate) key: Key,
    pub(crate) event_id: String,
    /// What was asked for.
    pub(crate) wish: Wish,
    /// Where it was durable then.
    pub(crate) disks: BTreeSet<Disk>,
}

/// A run in progress.
pub struct World {
    pub(crate) plan: Plan,
    fault: Option<Fault>,
    pub(crate) places: Vec<Place>,
    network: Network,
    random: Random,
    /// What a majority has decided.
    roster: Roster,
    /// For what only plans with policies do.
    policy_random: Random,
    /// For what only plans that lose disks do.
    loss_random: Random,
    /// For what only plans do in which rows go bad.
    rot_random: Random,
    graves: BTreeMap<Disk, Buried>,
    pub(crate) archive: Archive,
    /// Closed logs with the first event that depends on what is lost.
    voids: BTreeMap<Origin, u64>,
    /// Decisions take no time.
    pub(crate) swift: bool,
    /// Somebody has asked for the plan's next policy.
    policy_asked: bool,
    now: u64,
    queue: Queue<Moment>,
    serial: u64,
    pub(crate) tickets: BTreeMap<u64, Asked>,
    pub(crate) ledger: Vec<Acknowledged>,
    /// Clients with sessions, their calls by ticket, and what they did and saw.
    clients: Vec<Client>,
    calls: BTreeMap<u64, Visit>,
    sessions_begun: usize,
    history: Vec<Entry>,
    inputs: u64,
    trace: Option<Vec<String>>,
    violation: Option<String>,
    done: bool,
}

/// Runs a seed to its end.
///
/// A region that panics is a violation like another.
pub fn run_seed(plan: Plan, fault: Option<Fault>, trace: bool) -> Outcome {
    let run = AssertUnwindSafe(|| World::new(plan, fault, trace).run());
    std::panic::catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without a word");
        let violation = Some(format!("a region panics: {text}"));
        Outcome { inputs: 0, acknowledged: 0, conflicts: 0, violation, trace: Vec::new() }
    })
}

pub(crate) fn key(number: usize) -> Key {
    Key::new("default", "Thing", &number.to_string())
}

impl World {
    pub fn new(plan: Plan, fault: Option<Fault>, trace: bool) -> Self {
        let mut random = Random::new(plan.seed);
        let network = Network::new(Random::new(random.bits()));
        let origin_of = |number: usize| {
            let name = region_name(number);
            let origin = Origin::new(&name, 0xa0 + number as u64, 0);
            (name, origin)
        };
        let origins: Vec<_> = (0..plan.regions).map(origin_of).collect();
        let there = (0..plan.regions).filter(|number| plan.joins != Some(*number));
        let there: Vec<_> = there.map(|number| origins[number].clone()).collect();
        let roster = policies::at_the_start(&plan.policies, &there);
        let names: Vec<_> = origins.iter().map(|(name, _)| name.clone()).collect();
        let place = |number: usize| {
            let (name, origin) = origins[number].clone();
            Place {
                origin,
                name,
                disk: Arc::new(MemoryDisk::new()),
                store: MemoryStore::new(),
                machine: None,
                job: None,
                life: 0,
                clock_offset: plan.clock_offsets[number],
                heard: roster.agreed(&names),
                disk_number: 0,
                copy: None,
                deaf_until: 0,
                expected: plan.joins == Some(number),
                put_back: false,
                survived: Vector::new(),
                last_marks: Vec::new(),
                checked: Vector::new(),
                stable: Hlc::ZERO,
                archived: Vector::new(),
            }
        };
        let mut world = Self {
            places: (0..plan.regions).map(place).collect(),
            fault,
            network,
            random,
            roster,
            policy_random: Random::new(plan.seed ^ 0x6f_70_65_6e),
            loss_random: Random::new(plan.seed ^ 0x67_72_61_76_65),
            rot_random: Random::new(plan.seed ^ 0x6d_6f_75_6c),
            graves: BTreeMap::new(),
            archive: Archive::default(),
            voids: BTreeMap::new(),
            swift: false,
            policy_asked: false,
            now: 0,
            queue: Queue::new(),
            serial: 0,
            tickets: BTreeMap::new(),
            ledger: Vec::new(),
            clients: (0..plan.sessions).map(Client::new).collect(),
            calls: BTreeMap::new(),
            sessions_begun: plan.sessions,
            history: Vec::new(),
            inputs: 0,
            trace: trace.then(Vec::new),
            violation: None,
            done: false,
            plan,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for (at, happening) in self.plan.happenings.clone() {
            self.at(at * 1_000 + 300_000, Moment::Planned(happening));
        }
        for region in 0..self.places.len() {
            self.start(region);
            for server in (0..self.places.len()).filter(|server| *server != region) {
                let soon = self.random.below(20_000);
                self.at(soon, Moment::Dial { dialler: region, server });
            }
        }
        self.at(HEAL, Moment::Look);
    }

    fn at(&mut self, when: u64, moment: Moment) {
        self.queue.push(when, moment);
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>10.3} ms  {}", self.now as f64 / 1_000.0, text()));
        }
    }

    pub(crate) fn fail(&mut self, violation: String) {
        self.note(|| format!("VIOLATION: {violation}"));
        self.violation.get_or_insert(violation);
    }

    /// Runs to the end.
    pub fn run(mut self) -> Outcome {
        while self.violation.is_none() && !self.done {
            let Some((when, moment)) = self.queue.pop() else { break };
            if when > END {
                let what = match judge::unanswered(&self) {
                    Some(ticket) => format!("ticket {ticket} was never answered"),
                    None => "the regions did not converge after everything healed".to_owned(),
                };
                self.fail(what);
                judge::explain(&mut self);
                break;
            }
            self.now = when;
            self.happen(moment);
        }
        Outcome {
            inputs: self.inputs,
            acknowledged: self.ledger.len(),
            conflicts: judge::conflicts(&self),
            violation: self.violation,
            trace: self.trace.unwrap_or_default(),
        }
    }

    pub(crate) fn explain(&mut self, text: String) {
        self.note(|| text);
    }

    fn clocks(&self, region: usize) -> Now {
        let monotonic = self.now / 1_000;
        let wall = (EPOCH + monotonic) as i64 + self.places[region].clock_offset;
        Now { wall: wall as u64, monotonic }
    }

    fn happen(&mut self, moment: Moment) {
        match moment {
            Moment::Planned(happening) => self.planned(happening),
            Moment::Restart { region } => self.start(region),
            Moment::Tick { region, life } if self.places[region].life == life => {
                self.hand(region, Input::Tick);
                self.at(self.now + TICK, Moment::Tick { region, life });
            }
            Moment::Tick { .. } => {}
            Moment::Dial { dialler, server } => self.dial(dialler, server),
            Moment::Arrive { wire, frame } => self.arrive(wire, frame),
            Moment::Sync { region, life, kind, job } if self.places[region].life == life => {
                let done = job.run();
                self.hand(region, Input::Synced { kind, done });
            }
            Moment::Sync { .. } => {}
            Moment::Store { region, life } if self.places[region].life == life => {
                self.finish_job(region);
            }
            Moment::Store { .. } => {}
            Moment::Visit(visit) => self.visit(visit),
            Moment::Abort { epoch } => self.abort_policy(epoch),
            Moment::Gone { region } => self.close_links(region),
            Moment::Leave { region } => self.leave_logs(region),
            Moment::Present { region, disk_number } => self.present(region, disk_number),
            Moment::Decide { region, life, command } => self.decide_step(region, life, *command),
            Moment::Hears { region } => self.hears(region),
            Moment::Ready { region, life, epoch, written } => {
                if self.places[region].life == life {
                    self.ready(region, epoch, &written);
                }
            }
            Moment::Room { region } => self.make_room(region),
            Moment::Look => self.look(),
        }
    }

    fn planned(&mut self, happening: Happening) {
        self.note(|| format!("{happening:?}"));
        if self.comes_too_early(&happening) {
            return;
        }
        match happening {
            Happening::Write { region, wishes, ack } => self.write(region, wishes, ack),
            Happening::Call(call) => self.call(call),
            Happening::ChangePolicy => self.change_policy(),
            Happening::Rot { region } => self.rot(region),
            Happening::Away { region, milliseconds } => self.away(region, milliseconds),
            Happening::Lapse { region } => self.lapse(region),
            Happening::Join { region } => self.join(region),
            Happening::Copy { region } => self.copy(region),
            Happening::PutBack { region, down_milliseconds } => {
                self.put_back(region, down_milliseconds);
            }
            Happening::Destroy { region, down_milliseconds } => {
                self.destroy(region, down_milliseconds);
            }
            Happening::FillDisk { region, milliseconds, told } => {
                self.fill_disk(region, milliseconds, told);
            }
            Happening::LoseStore { region, down_milliseconds } => {
                self.lose_store(region, down_milliseconds);
            }
            Happening::Crash { region, down_milliseconds } => {
                self.crash(region);
                let back = self.now + down_milliseconds * 1_000;
                self.at(back, Moment::Restart { region });
            }
            Happening::Cut { from, to, milliseconds } => {
                self.network.cut(from, to, self.now + milliseconds * 1_000);
            }
            Happening::Jump { region, milliseconds } => {
                self.places[region].clock_offset += milliseconds;
            }
            Happening::Spell { milliseconds, percent } => {
                self.network.spell(self.now + milliseconds * 1_000, percent);
            }
            Happening::DiskFault { region, nth, sync: true } => {
                self.places[region].disk.fail_sync(nth);
            }
            Happening::DiskFault { region, nth, sync: false } => {
                self.places[region].disk.fail_write(nth);
            }
            // In the middle of things a bad row shows what it shows.
            Happening::Probe { .. } if self.plan.rots => {}
            Happening::Probe { region } => {
                self.finish_jobs(region);
                judge::probe(self, region);
            }
        }
    }

    fn dial(&mut self, dialler: usize, server: usize) {
        if self.network.is_open(dialler, server) {
            return;
        }
        let up = |region: usize| self.places[region].machine.is_some();
        let now = self.now;
        if !up(dialler) || !up(server) || !self.network.open(dialler, server, now) {
            self.at(now + REDIAL, Moment::Dial { dialler, server });
            return;
        }
        let peer = self.places[dialler].name.clone();
        self.hand(server, Input::Opened { peer, role: Role::Serve });
        let peer = self.places[server].name.clone();
        self.hand(dialler, Input::Opened { peer, role: Role::Pull });
    }

    fn arrive(&mut self, wire: Wire, frame: Frame) {
        if !self.network.is_alive(&wire) {
            return;
        }
        let (to, from, role) = if wire.forth {
            (wire.server, wire.dialler, Role::Serve)
        } else {
            (wire.dialler, wire.server, Role::Pull)
        };
        let peer = self.places[from].name.clone();
        self.hand(to, Input::Received { peer, role, frame });
    }

    /// Hands an input to a region that is up, and lets its outputs happen.
    fn hand(&mut self, region: usize, input: Input) {
        let now = self.clocks(region);
        let Some(machine) = &mut self.places[region].machine else { return };
        self.inputs += 1;
        let outputs = match machine.handle(now, input) {
            Ok(outputs) => outputs,
            Err(error) => {
                return self.fail(format!("region {region} stops: {}", with_causes(&error)));
            }
        };
        self.archive(region);
        self.sync(region, now);
        for output in outputs {
            self.output(region, output);
        }
        judge::causal(self, region);
        let poisoned = self.places[region]
            .machine
            .as_ref()
            .is_some_and(|machine| machine.region().poisoned().is_some());
        if poisoned {
            // What an operator's supervisor does: the process ends and is started again.
            self.crash(region);
            self.at(self.now + 50_000, Moment::Restart { region });
        }
    }

    fn sync(&mut self, region: usize, now: Now) {
        let life = self.places[region].life;
        while let Some((kind, job)) =
            self.places[region].machine.as_mut().and_then(|machine| machine.begin_sync(now))
        {
            let when = self.now + self.random.between(100, 4_000);
            self.at(when, Moment::Sync { region, life, kind, job });
        }
        let job = self.places[region].machine.as_mut().and_then(|machine| machine.begin_store(now));
        if job.is_some() {
            self.places[region].job = job;
            let when = self.now + self.random.between(100, 20_000);
            self.at(when, Moment::Store { region, life });
        }
    }

    /// The job under way gets done, and those that it makes room for.
    fn finish_jobs(&mut self, region: usize) {
        while self.places[region].job.is_some() {
            self.finish_job(region);
        }
    }

    fn finish_job(&mut self, region: usize) {
        if let Some(job) = self.places[region].job.take() {
            let done = job.run();
            self.hand(region, Input::Stored { done });
        }
    }
}

pub(crate) fn key_name(region: usize) -> String {
    format!("region {region}")
}
