//! The regions' keeper: starts them, starts them again, stops them, and keeps `fleet.json` true.
//!
//! Where it stands: one task under `up`; the control server sends it orders, the processes their
//! ends. What always holds: it alone starts and signals processes and writes `fleet.json`; the
//! state it publishes changes after the fact, never before.

use std::fs;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::plan::RegionPlan;
use super::process::{Ended, Launch, Process, Request, STOP_GRACE, last_lines};
use super::slot::{Notice, Slot, Wanted};
use super::state::{FLEET_FILE, FleetState, RegionState};

/// Orders waiting: one for each control connection, and the end.
const ORDERS_MAX: usize = 64;
/// Ends waiting: every region a few times over.
const ENDS_MAX: usize = 64;

/// Operators waiting for the same region to be gone; more are refused.
const WAITING_MAX: usize = 64;

/// A region that was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    pub pid: u32,
    /// Where in its log this life began.
    pub log_from: u64,
}

/// What the supervisor can be asked; each answers through its channel.
#[derive(Debug)]
pub enum Order {
    /// Answered once the process exists; its clock is off by so much until the next such order.
    Start {
        region: String,
        clock_offset: Option<String>,
        answer: oneshot::Sender<Result<Started, String>>,
    },
    /// Answered once the process is gone.
    Stop { region: String, kill: bool, answer: oneshot::Sender<Result<RegionState, String>> },
}

type Waiting = Vec<oneshot::Sender<Result<RegionState, String>>>;

struct Region {
    plan: RegionPlan,
    slot: Slot,
    process: Option<Process>,
    waiting: Waiting,
}

pub struct Supervisor {
    regions: Vec<Region>,
    launch: Launch,
    restart_after: Option<Duration>,
    state: watch::Sender<FleetState>,
    orders: mpsc::Receiver<Order>,
    ends: mpsc::Receiver<Ended>,
    ends_sender: mpsc::Sender<Ended>,
}

impl Supervisor {
    /// A supervisor of `plans`, none of them started; where to send orders; what is so.
    pub fn new(
        plans: Vec<RegionPlan>,
        launch: Launch,
        restart_after: Option<Duration>,
        state: FleetState,
    ) -> (Self, mpsc::Sender<Order>, watch::Receiver<FleetState>) {
        let (orders_sender, orders) = mpsc::channel(ORDERS_MAX);
        let (ends_sender, ends) = mpsc::channel(ENDS_MAX);
        let (state, seen) = watch::channel(state);
        let region = |plan| Region { plan, slot: Slot::new(), process: None, waiting: Vec::new() };
        let regions = plans.into_iter().map(region).collect();
        let supervisor = Self { regions, launch, restart_after, state, orders, ends, ends_sender };
        (supervisor, orders_sender, seen)
    }

    /// Starts every region and keeps them until `stop` comes; returns when all are gone.
    pub async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        for at in 0..self.regions.len() {
            // A failure is told of and tried again like an end.
            let _ = self.start(at);
        }
        self.publish();
        loop {
            let restart = self.regions.iter().filter_map(|region| region.slot.restart_at).min();
            let due = restart.unwrap_or_else(Instant::now);
            tokio::select! {
                // Its sender's end is an end too.
                _ = &mut stop => break,
                Some(ended) = self.ends.recv() => self.ended(&ended),
                Some(order) = self.orders.recv() => self.obey(order),
                () = sleep_until(due), if restart.is_some() => self.restart(),
            }
        }
        self.stop_all().await;
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Start { region, clock_offset, answer } => {
                let started =
                    self.find(&region).and_then(|at| self.start_by_order(at, clock_offset));
                // Who asked may have gone: what was asked is done all the same.
                let _ = answer.send(started);
            }
            Order::Stop { region, kill, answer } => match self.find(&region) {
                Ok(at) => self.stop_by_order(at, kill, answer),
                Err(reason) => drop(answer.send(Err(reason))),
            },
        }
    }

    fn start_by_order(
        &mut self,
        at: usize,
        clock_offset: Option<String>,
    ) -> Result<Started, String> {
        if let Some(running) = self.running(at) {
            return if self.regions[at].slot.wanted == Wanted::Running {
                match clock_offset {
                    None => Ok(running),
                    Some(_) => Err(format!(
                        "{} runs, and a clock offset takes effect at a start: stop it first",
                        self.name(at)
                    )),
                }
            } else {
                Err(format!("{} is being stopped: start it once it is gone", self.name(at)))
            };
        }
        self.regions[at].slot.start();
        self.regions[at].plan.clock_offset = clock_offset;
        let started = self.start(at);
        self.publish();
        started
    }

    fn stop_by_order(
        &mut self,
        at: usize,
        kill: bool,
        answer: oneshot::Sender<Result<RegionState, String>>,
    ) {
        let region = &mut self.regions[at];
        region.slot.stop();
        let Some(process) = &region.process else {
            let _ = answer.send(Ok(self.state_of(at)));
            return;
        };
        if region.waiting.len() >= WAITING_MAX {
            let busy = format!("too many wait for {} to stop: ask again", region.plan.name);
            let _ = answer.send(Err(busy));
            return;
        }
        process.ask(if kill { Request::Kill } else { Request::End });
        region.waiting.push(answer);
    }

    /// Starts the process of a region that has none.
    fn start(&mut self, at: usize) -> Result<Started, String> {
        let region = &mut self.regions[at];
        match Process::start(&self.launch, &region.plan, at, self.ends_sender.clone()) {
            Ok(process) => {
                let started = Started { pid: process.pid, log_from: process.log_from };
                region.process = Some(process);
                Ok(started)
            }
            Err(error) => {
                let name = &region.plan.name;
                let how = format!("{name} cannot be started: {error}");
                let notice = region.slot.ended(Instant::now(), Duration::ZERO, self.restart_after);
                if notice != Notice::Nothing {
                    say(&how);
                }
                Err(how)
            }
        }
    }

    fn restart(&mut self) {
        let now = Instant::now();
        for at in 0..self.regions.len() {
            if self.regions[at].slot.restart_at.is_some_and(|due| due <= now) {
                self.regions[at].slot.restart();
                // A failure is told of and tried again like an end.
                let _ = self.start(at);
            }
        }
        self.publish();
    }

    fn ended(&mut self, ended: &Ended) {
        let restart_after = self.restart_after;
        let Some(region) = self.regions.get_mut(ended.region) else {
            return;
        };
        let Some(process) = region.process.take_if(|process| process.pid == ended.pid) else {
            return;
        };
        let lived = process.started.elapsed();
        let notice = region.slot.ended(Instant::now(), lived, restart_after);
        let (name, how) = (&region.plan.name, &ended.how);
        let next = match restart_after {
            Some(_) => "it is started again".to_owned(),
            None => format!("it stays down until `linckia start {name}`"),
        };
        match notice {
            Notice::Nothing => {}
            Notice::Ended => say(&format!("{name} ended by itself ({how}); {next}")),
            Notice::Loop => say(&format!(
                "{name} does not stay up ({how}); {next}, and this is not said again. \
                 The last lines of {}:\n{}",
                region.plan.log().display(),
                last_lines(&region.plan.log(), process.log_from)
            )),
        }
        self.publish();
        let state = self.state_of(ended.region);
        for answer in self.regions[ended.region].waiting.drain(..) {
            let _ = answer.send(Ok(state.clone()));
        }
    }

    /// Asks all of them at once; what does not end is killed by its own watcher.
    async fn stop_all(&mut self) {
        for region in &mut self.regions {
            region.slot.stop();
            if let Some(process) = &region.process {
                process.ask(Request::End);
            }
        }
        // A moment more than the watchers need.
        let patience = sleep_until(Instant::now() + STOP_GRACE + Duration::from_secs(1));
        tokio::pin!(patience);
        while self.regions.iter().any(|region| region.process.is_some()) {
            tokio::select! {
                Some(ended) = self.ends.recv() => self.ended(&ended),
                () = &mut patience => break,
            }
        }
        let file = self.state.borrow().dir.join(FLEET_FILE);
        if let Err(error) = fs::remove_file(&file) {
            say(&format!("cannot remove {}: {error}", file.display()));
        }
    }

    /// The file first: who hears of a change finds it there.
    fn publish(&mut self) {
        let regions = (0..self.regions.len()).map(|at| self.state_of(at)).collect();
        let state = FleetState { regions, ..self.state.borrow().clone() };
        if let Err(error) = state.write() {
            let file = state.dir.join(FLEET_FILE);
            say(&format!("cannot write {}: {error}; it is out of date", file.display()));
        }
        self.state.send_replace(state);
    }

    fn state_of(&self, at: usize) -> RegionState {
        let Region { plan, slot, process, .. } = &self.regions[at];
        let pid = process.as_ref().map(|process| process.pid);
        RegionState { pid, restarts: slot.restarts, ..plan.state() }
    }

    fn running(&self, at: usize) -> Option<Started> {
        let process = self.regions[at].process.as_ref()?;
        Some(Started { pid: process.pid, log_from: process.log_from })
    }

    fn name(&self, at: usize) -> &str {
        &self.regions[at].plan.name
    }

    fn find(&self, name: &str) -> Result<usize, String> {
        self.regions.iter().position(|region| region.plan.name == name).ok_or_else(|| {
            let names: Vec<_> = (0..self.regions.len()).map(|at| self.name(at)).collect();
            format!(
                "there is no region \"{name}\" in this fleet: its regions are {}",
                names.join(", ")
            )
        })
    }
}

/// Tells the operator; stdout is for what was asked for.
pub fn say(text: &str) {
    eprintln!("linckia up: {text}");
}
