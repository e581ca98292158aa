//! The core's thread: takes orders, drives the machine, hands out what comes of it.
//!
//! One thread owns the machine. Beside it stand hands (`hands.rs`) that sync, make segments and
//! move rows, so that the core gathers the next batch while the disk works on the last. What
//! always holds: every order is answered or its asker sees the end of the core; queues are bounded;
//! the core never waits for the outside.

mod alarms;
mod backup;
mod catching;
mod orders;
mod publish;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use linckia_api::{Answers, Unavailable};
use linckia_apply::Reading;
use linckia_model::{Policies, RegionName, Vector};
use linckia_region::{Alarm, Input, Machine, NotPinned, Output, Pinned, Role};
use linckia_ship::Frame;
use tokio::sync::{mpsc, oneshot, watch};

use catching::Catching;
pub(super) use orders::{NotTaken, Order, Orders};

use super::agreed::{Said, Stands};
use super::consult::FleetTime;
use super::hands::Hands;
use super::measures::{Measures, Queues};
use super::telemetry::Telemetry;
use super::time::Clocks;

/// Orders that wait for the core: beyond it askers are told to try again.
const ORDERS_MAX: usize = 8_192;

/// Orders taken before the disk is given its next batch.
const BATCH_MAX: usize = 512;

/// At the end the disk gets so long for what is under way.
const CLOSE_LONGEST: Duration = Duration::from_secs(30);

/// Time between ticks.
const TICK: Duration = Duration::from_millis(25);

/// How long the core sleeps at most while something waits for company.
const LINGER: Duration = Duration::from_millis(1);

/// The same alarm is told again after this.
const TELL_AGAIN: Duration = Duration::from_secs(10);

/// Time between measures.
const MEASURE: Duration = Duration::from_secs(1);

/// A handle on the core's thread.
pub(super) struct Core {
    orders: Orders,
    applied: watch::Receiver<Arc<Vector>>,
    everywhere: watch::Receiver<Arc<Vector>>,
    policies: watch::Receiver<Arc<Policies>>,
    said: Arc<Said>,
    stands: watch::Receiver<Stands>,
    thread: Mutex<Option<JoinHandle<anyhow::Result<()>>>>,
    alive: watch::Receiver<()>,
    failure: Arc<Mutex<Option<String>>>,
    poisoned: Arc<Mutex<Option<String>>>,
}

impl Core {
    /// Starts the threads.
    pub(super) fn start(
        mut machine: Machine,
        clocks: Clocks,
        time: FleetTime,
        dir: &Path,
        telemetry: Option<Telemetry>,
    ) -> anyhow::Result<Self> {
        let measures = Measures::new(dir.to_owned(), machine.last_given());
        if telemetry.is_some() {
            machine.begin_traces();
        }
        let waiting = Arc::new(AtomicUsize::new(0));
        let (sender, orders) = sync_channel(ORDERS_MAX);
        let vector = Arc::new(machine.region().applied().clone());
        let (applied_sender, applied) = watch::channel(vector);
        let (everywhere_sender, everywhere) = watch::channel(Arc::default());
        let (policies_sender, policies) = watch::channel(Arc::default());
        let said = Arc::new(Said::default());
        let (stands_sender, stands) = watch::channel(Stands::default());
        let (alive_sender, alive) = watch::channel(());
        let failure = Arc::new(Mutex::new(None));
        let poisoned = Arc::new(Mutex::new(None));
        let hands = Hands::start(&sender)?;
        let driver = Driver {
            machine,
            clocks,
            time,
            orders,
            hands,
            applied: applied_sender,
            everywhere: everywhere_sender,
            policies: policies_sender,
            said: Arc::clone(&said),
            stands: stands_sender,
            tickets: BTreeMap::new(),
            readers: BTreeMap::new(),
            backup: None,
            ticket: 0,
            links: BTreeMap::new(),
            outputs: Vec::new(),
            told: None,
            poisoned: Arc::clone(&poisoned),
            leaves: None,
            measures,
            catching: Catching::default(),
            waiting: Arc::clone(&waiting),
            telemetry,
        };
        let failed = Arc::clone(&failure);
        let thread = std::thread::Builder::new()
            .name("core".to_owned())
            .spawn(move || {
                let ended = driver.run();
                if let Err(error) = &ended {
                    tracing::error!(error = format!("{error:#}"), "the region cannot go on");
                    let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                    *failed = Some(format!("{error:#}"));
                }
                drop(alive_sender);
                ended
            })
            .context("the core's thread cannot be started")?;
        let thread = Mutex::new(Some(thread));
        Ok(Self {
            orders: Orders { queue: sender, waiting },
            applied,
            everywhere,
            policies,
            said,
            stands,
            thread,
            alive,
            failure,
            poisoned,
        })
    }

    pub(super) fn orders(&self) -> Orders {
        self.orders.clone()
    }

    pub(super) fn applied(&self) -> watch::Receiver<Arc<Vector>> {
        self.applied.clone()
    }

    pub(super) fn everywhere(&self) -> watch::Receiver<Arc<Vector>> {
        self.everywhere.clone()
    }

    /// The policies as they hold here.
    pub(super) fn policies(&self) -> watch::Receiver<Arc<Policies>> {
        self.policies.clone()
    }

    /// What the core says of what was agreed.
    pub(super) fn said(&self) -> Arc<Said> {
        Arc::clone(&self.said)
    }

    /// Whether the region may write its log.
    pub(super) fn stands(&self) -> watch::Receiver<Stands> {
        self.stands.clone()
    }

    /// Why the region takes no writes, once its log has failed.
    pub(super) fn poisoned(&self) -> Arc<Mutex<Option<String>>> {
        Arc::clone(&self.poisoned)
    }

    /// Resolves when the core's thread has ended.
    pub(super) async fn ended(&self) {
        let mut alive = self.alive.clone();
        while alive.changed().await.is_ok() {}
    }

    /// Why the core ended by itself, if it did.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets the core finish what is on its way to the disk, flush and close.
    pub(super) fn stop(&self) -> anyhow::Result<()> {
        let _ = self.orders.queue.send(Order::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        match thread.map(JoinHandle::join) {
            Some(Ok(ended)) => ended,
            Some(Err(_)) => anyhow::bail!("the core panicked; its log says where"),
            None => Ok(()),
        }
    }
}

/// A link's current life and the way to its peer.
struct Link {
    life: u64,
    frames: mpsc::Sender<Frame>,
}

/// What the core's thread owns.
struct Driver {
    machine: Machine,
    clocks: Clocks,
    time: FleetTime,
    orders: Receiver<Order>,
    hands: Hands,
    applied: watch::Sender<Arc<Vector>>,
    everywhere: watch::Sender<Arc<Vector>>,
    policies: watch::Sender<Arc<Policies>>,
    said: Arc<Said>,
    stands: watch::Sender<Stands>,
    tickets: BTreeMap<u64, oneshot::Sender<Answers>>,
    readers: BTreeMap<u64, oneshot::Sender<Result<Reading, Unavailable>>>,
    /// A backup waits for the state.
    backup: Option<oneshot::Sender<Result<Pinned, NotPinned>>>,
    ticket: u64,
    links: BTreeMap<(RegionName, Role), Link>,
    outputs: Vec<Output>,
    /// The last alarm told, and when.
    told: Option<(Alarm, Instant)>,
    poisoned: Arc<Mutex<Option<String>>>,
    /// The directory is to be left, for that reason: the core ends.
    leaves: Option<&'static str>,
    measures: Measures,
    catching: Catching,
    /// Orders in front of the core, but for those of its hands.
    waiting: Arc<AtomicUsize>,
    telemetry: Option<Telemetry>,
}

impl Driver {
    fn run(mut self) -> anyhow::Result<()> {
        let (mut ticked, mut measured) = (Instant::now(), Instant::now());
        self.measure()?;
        loop {
            let wait = if self.machine.more(self.clocks.now()) {
                Duration::ZERO
            } else if self.machine.lingers() {
                LINGER
            } else {
                TICK.saturating_sub(ticked.elapsed())
            };
            match self.orders.recv_timeout(wait) {
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(order) => {
                    self.take(order)?;
                    if self.take_more()? {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if ticked.elapsed() >= TICK || self.machine.more(self.clocks.now()) {
                ticked = Instant::now();
                self.hand(Input::Tick)?;
                self.tell_time();
                self.trace();
            }
            self.cut_backup()?;
            self.give_work();
            self.publish();
            self.catching.tell(self.machine.catch_up());
            if let Some(reason) = self.leaves {
                self.close()?;
                anyhow::bail!(reason);
            }
            if measured.elapsed() >= MEASURE {
                measured = Instant::now();
                self.measure()?;
            }
        }
        self.close()
    }

    /// Takes what else is waiting. True if the last order was to stop.
    fn take_more(&mut self) -> anyhow::Result<bool> {
        for _ in 0..BATCH_MAX {
            match self.orders.try_recv() {
                Ok(Order::Stop) => return Ok(true),
                Ok(order) => self.take(order)?,
                Err(_) => break,
            }
        }
        Ok(false)
    }

    fn take(&mut self, order: Order) -> anyhow::Result<()> {
        if !matches!(order, Order::Done(_) | Order::Panicked(_) | Order::Stop) {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        match order {
            Order::Write { write, came, reply } => {
                self.ticket += 1;
                self.tickets.insert(self.ticket, reply);
                let ticket = self.ticket;
                self.hand(Input::Write { ticket, write })?;
                self.measures.wrote(came, self.machine.last_given());
                Ok(())
            }
            Order::Read { query, reply } => {
                self.ticket += 1;
                self.readers.insert(self.ticket, reply);
                let ticket = self.ticket;
                self.hand(Input::Read { ticket, query })
            }
            Order::Holders { dot, reply } => {
                let _ = reply.send(self.machine.holders(&dot));
                Ok(())
            }
            Order::Backup { after, reply } => {
                self.backup(after, reply);
                Ok(())
            }
            Order::Want { vector } => self.hand(Input::Want { vector }),
            Order::Agreed(agreed) => self.hand(Input::Agreed(agreed)),
            Order::Status { reply } => {
                let _ = reply.send(self.machine.status(self.clocks.now()));
                Ok(())
            }
            Order::Repairs { reply } => {
                let _ = reply.send(self.machine.repairs());
                Ok(())
            }
            Order::Repair { order, reply } => {
                let _ = reply.send(self.machine.demand(self.clocks.now(), order));
                Ok(())
            }
            Order::Opened { peer, role, life, frames } => {
                let key = (peer.clone(), role);
                let before = self.links.insert(key, Link { life, frames });
                if before.is_some() {
                    self.hand(Input::Closed { peer: peer.clone(), role })?;
                }
                self.hand(Input::Opened { peer, role })
            }
            Order::Closed { peer, role, life } => {
                let key = (peer.clone(), role);
                if self.links.get(&key).is_some_and(|link| link.life == life) {
                    self.links.remove(&key);
                    self.hand(Input::Closed { peer, role })?;
                }
                Ok(())
            }
            Order::Received { peer, role, life, frame } => {
                let key = (peer.clone(), role);
                if self.links.get(&key).is_some_and(|link| link.life == life) {
                    self.hand(Input::Received { peer, role, frame })?;
                }
                Ok(())
            }
            Order::Done(input) => self.done(input),
            Order::Panicked(name) => {
                anyhow::bail!("the thread {name} panicked; its log says where")
            }
            Order::Stop => Ok(()),
        }
    }

    /// Hands in what a hand has done; most events are applied by that.
    fn done(&mut self, input: Input) -> anyhow::Result<()> {
        let (began, before) = (Instant::now(), self.machine.region().applied().total());
        self.hand(input)?;
        let region = self.machine.region();
        if region.applied().total() > before {
            self.measures.applied(began.elapsed());
        }
        self.measures.durable(region.durable().get(region.origin()));
        Ok(())
    }

    fn hand(&mut self, input: Input) -> anyhow::Result<()> {
        let mut outputs = std::mem::take(&mut self.outputs);
        self.machine.handle_into(self.clocks.now(), input, &mut outputs)?;
        for output in outputs.drain(..) {
            self.output(output);
        }
        self.outputs = outputs;
        Ok(())
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Answer { ticket, answers } => {
                if let Some(reply) = self.tickets.remove(&ticket) {
                    let _ = reply.send(answers);
                }
            }
            Output::Reading { ticket, reading } => {
                if let Some(reply) = self.readers.remove(&ticket) {
                    // An asker that went away needs no answer.
                    let _ = reply.send(reading.ok_or(Unavailable::Busy));
                }
            }
            Output::Send { peer, role, frame } => {
                // A full queue drops the frame: the other end notices the gap and asks again.
                if let Some(link) = self.links.get(&(peer, role))
                    && link.frames.try_send(frame).is_err()
                {
                    self.measures.frame_dropped();
                }
            }
            Output::Alarm(alarm) => self.alarm(alarm),
            agreed => self.said.tell(agreed),
        }
    }

    /// Tells an alarm, unless the same one was told a moment ago.
    fn alarm(&mut self, alarm: Alarm) {
        if let Alarm::Poisoned { reason } = &alarm {
            let mut poisoned = self.poisoned.lock().unwrap_or_else(PoisonError::into_inner);
            *poisoned = Some(reason.clone());
        }
        self.leaves = alarms::ending(&alarm).or(self.leaves);
        let now = Instant::now();
        let again = self
            .told
            .as_ref()
            .is_some_and(|(told, at)| *told == alarm && now.duration_since(*at) < TELL_AGAIN);
        if !again {
            alarms::tell(&alarm);
            self.told = Some((alarm, now));
        }
    }

    /// Gives the hands what is due.
    fn give_work(&mut self) {
        while let Some((kind, job)) = self.machine.begin_sync(self.clocks.now()) {
            self.hands.sync(kind, job);
        }
        if let Some(job) = self.machine.begin_spare() {
            self.hands.make_spare(job);
        }
        if let Some(job) = self.machine.begin_store(self.clocks.now()) {
            self.hands.store(job);
        }
    }

    fn tell_time(&mut self) {
        let now = self.clocks.now();
        self.time.set(self.machine.fleet_time(now) as i64 - now.wall as i64);
    }

    /// Passes on what happened to sampled events.
    fn trace(&mut self) {
        if let Some(telemetry) = &self.telemetry {
            telemetry.traced(self.machine.take_traced());
        }
    }

    fn measure(&mut self) -> anyhow::Result<()> {
        if let Some(free) = self.measures.disk_free() {
            self.hand(Input::Disk { free })?;
        }
        let status = self.machine.status(self.clocks.now());
        let frames = self.links.iter().map(|((peer, role), link)| {
            let role = if *role == Role::Pull { "pull" } else { "serve" };
            (peer.to_string(), role, link.frames.max_capacity() - link.frames.capacity())
        });
        let queues = Queues {
            orders: self.waiting.load(Ordering::Relaxed),
            answers: self.tickets.len(),
            reads: self.readers.len(),
            frames: frames.collect(),
        };
        self.measures.status(&status, self.machine.usage(), &queues);
        self.measures.repairs(self.machine.repair_totals());
        self.measures.visible(self.machine.take_visible());
        Ok(())
    }

    /// Waits for the disk, flushes and closes. What is not answered was not acknowledged.
    fn close(mut self) -> anyhow::Result<()> {
        self.give_work();
        self.machine.hurry();
        while self.machine.syncing() {
            match self.orders.recv_timeout(CLOSE_LONGEST) {
                Ok(Order::Done(input)) => self.hand(input)?,
                Ok(_) => {}
                Err(_) => {
                    anyhow::bail!("the disk did not answer within {} s", CLOSE_LONGEST.as_secs())
                }
            }
        }
        self.machine.close(self.clocks.now()).context("the region did not close cleanly")
    }
}
