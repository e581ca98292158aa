//! The head of a region: what it knows, and what is to be done.
//!
//! One struct, cut by command: `write` (clients), `link` (peers), `tick` (time and the disk),
//! `view` (what an operator asks). Every command reads the rooms and pushes steps; nothing here
//! touches a disk.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use linckia_apply::{Apply, ApplySettings};
use linckia_capture::Capture;
use linckia_log::Logs;
use linckia_model::{
    Agreed, Clock, ClockSettings, Event, Fault, Heartbeat, Level, Now, Origin, RegionName, Vector,
};
use linckia_ship::{Ask, Cut, Gap, Page, Pulling, Serving, SnapshotPull, Tell};
use linckia_store::View;

use crate::barrier::Barrier;
use crate::error::Result;
use crate::incarnations::Lives;
use crate::input::{Alarm, Output, Role};
use crate::leaving::Leaving;
use crate::promises::Promises;
use crate::rooms::{Durable, Here};
use crate::trace::Traces;

/// What a region is told at its start.
#[derive(Clone, Debug)]
pub struct RegionSettings {
    pub name: RegionName,
    /// Its own log.
    pub origin: Origin,
    /// All regions of the fleet, this one included.
    pub members: Vec<RegionName>,
    pub clock: ClockSettings,
    /// What was agreed when this region last heard of it. Without it events of epochs that are not
    /// known wait for [`Input::Agreed`](crate::Input::Agreed), and new events would be written
    /// under the default policy: hand in what the region knew when it stopped.
    pub agreed: Agreed,
    pub apply: ApplySettings,
    /// Time between heartbeats, in milliseconds.
    pub heartbeat_milliseconds: u64,
    /// Applied events may wait this long for company on the way to peers, in milliseconds; the
    /// first after a silence does not.
    pub gather_milliseconds: u64,
    /// Disk that the logs may take before they let go of what every region has, in bytes.
    pub history_bytes: u64,
    /// Room that is kept free on the disk, in bytes, beside two segments: with less no write is
    /// taken; with half of it nothing from peers; with a quarter nothing goes to the store.
    pub disk_reserve_bytes: u64,
    /// Where nothing is here and a peer has applied so many events, their state is fetched in place
    /// of them.
    pub catch_up_events: u64,
    /// Keys that are compared with other regions all the time, a second; 0: none.
    pub compared_per_second: u64,
    /// Between comparing all keys with one region and with the next, in milliseconds.
    pub compare_rest_milliseconds: u64,
    /// Bytes of a page of a snapshot, about.
    pub page_bytes: usize,
    /// Received events may wait this long for company on the way to the disk, in milliseconds.
    pub linger_milliseconds: u64,
    /// Host and path of the directory, in words that tell one from another.
    pub place: String,
    /// The directory was somewhere else before: a peer must say that this region is nowhere else.
    pub moved: bool,
    /// Makes sessions of this life differ from those of earlier ones.
    pub seed: u64,
    /// A planted fault, for the simulator.
    pub fault: Option<Fault>,
}

/// Writes whose answers wait: beyond it clients are told to try again.
pub(crate) const WAITING_MAX: usize = 65_536;

/// Answers among them that wait for other regions: they may wait a minute, and must not leave those
/// without room that wait for the disk here.
pub(crate) const REMOTE_MAX: usize = 32_768;

/// So many events for peers do not wait for company.
const OFFERED_MAX: usize = 256;

/// Measures kept until somebody asks for them.
const VISIBLE_MAX: usize = 4_096;

/// Something the machine does to the rooms, in order.
pub(crate) enum Step {
    /// Append these events of ours, one transaction.
    Append(Vec<Arc<Event>>),
    /// Make this hybrid time durable.
    Clock(u64),
    /// Keep on the disk what was promised of logs that are being closed.
    Promise(String),
    /// Keep on the disk what is to be left before the region goes on.
    Leave(Leaving),
    /// A peer does not hold a log as far back as it was asked for.
    Gap {
        peer: RegionName,
        gap: Gap,
    },
    /// A peer wants a snapshot, or more of it.
    Donate {
        peer: RegionName,
        asked: SnapshotPull,
    },
    /// What a donor sent of one.
    Cut {
        peer: RegionName,
        cut: Cut,
    },
    Page {
        peer: RegionName,
        page: Page,
    },
    NoSnapshot {
        peer: RegionName,
        snapshot: u64,
    },
    /// A peer wants to know what is held here, or has said what it holds.
    Asked {
        peer: RegionName,
        /// None of it if it knows of other lapses than this region.
        asked: (u64, Option<Ask>),
    },
    Told {
        peer: RegionName,
        told: (u64, Tell),
    },
    /// Tell the outside.
    Out(Output),
}

/// Where logs here do not reach back: the state is to come from elsewhere, and until it is here the
/// region neither answers nor tells its time.
#[derive(Default)]
pub(crate) struct Catching {
    pub(crate) wanted: bool,
    /// The logs go on behind what the state would be folded from again: nothing is applied to it.
    pub(crate) beyond: bool,
    /// The donor passes on all logs, whoever else is heard.
    pub(crate) donor: Option<RegionName>,
    /// The state is here, and what was logged since is being applied: so much was at that moment.
    pub(crate) settling: Option<(u64, u64)>,
}

/// A region's head.
pub struct Region {
    pub(crate) settings: RegionSettings,
    pub(crate) clock: Clock,
    pub(crate) capture: Capture,
    pub(crate) apply: Apply,
    pub(crate) serving: BTreeMap<RegionName, Serving>,
    pub(crate) pulling: BTreeMap<RegionName, Pulling>,
    /// Durable in the logs here.
    pub(crate) durable: Vector,
    /// Appended to the logs, not known to be durable.
    pub(crate) arriving: BTreeMap<Origin, VecDeque<Arc<Event>>>,
    /// Known to exist somewhere.
    pub(crate) known: Vector,
    /// Answers that wait for disks, here and elsewhere.
    pub(crate) promises: Promises,
    /// Durable in each peer's logs, as it last said.
    pub(crate) held: BTreeMap<RegionName, Vector>,
    /// Somebody waits elsewhere until these, received, are durable here.
    pub(crate) prompted: Vector,
    /// Regions that count: those that have not lapsed.
    pub(crate) members: Vec<RegionName>,
    /// A heartbeat of ours that waits for its time to be durable.
    pub(crate) heartbeat: Option<Heartbeat>,
    pub(crate) beat_at: u64,
    /// How much may be new to peers since something was sent to them, and when that was.
    pub(crate) unsent: usize,
    sent_at: u64,
    /// The last event of ours that was offered to peers.
    pumped: u64,
    /// Since when each peer has not had everything that is known, for its lag.
    pub(crate) peers_behind_since: BTreeMap<RegionName, u64>,
    /// Until when, on the monotonic clock, clients wait for what is not here.
    pub(crate) wanted_until: u64,
    pub(crate) barrier: Barrier,
    pub(crate) lives: Lives,
    pub(crate) catch_up: Catching,
    pub(crate) drift_told: bool,
    pub(crate) poisoned: Option<String>,
    /// How long remote events took to become visible, for the metrics.
    pub(crate) visible: Vec<(Origin, u64)>,
    pub(crate) traces: Traces,
    /// More can be applied than the last input had budget for.
    pub(crate) more: bool,
}

/// What a command may look at.
#[derive(Clone, Copy)]
pub(crate) struct Rooms<'a> {
    pub(crate) logs: &'a Logs,
    pub(crate) view: &'a dyn View,
}

impl Region {
    pub(crate) fn new(settings: RegionSettings, clock: Clock, apply: Apply, logs: &Logs) -> Self {
        let own = settings.origin.as_str();
        let last = logs.tail(own).map_or(0, |position| position.sequence);
        let peers = || settings.members.iter().filter(|member| **member != settings.name);
        let pulling = |peer: &RegionName| {
            let (name, origin) = (settings.name.clone(), settings.origin.clone());
            (peer.clone(), Pulling::new(name, origin, settings.place.clone(), settings.seed))
        };
        let mut region = Self {
            capture: Capture::new(
                settings.origin.clone(),
                last,
                settings.apply.fold,
                settings.apply.seed,
            ),
            pulling: peers().map(pulling).collect(),
            serving: BTreeMap::new(),
            clock,
            apply,
            durable: Vector::new(),
            arriving: BTreeMap::new(),
            known: Vector::new(),
            promises: Promises::default(),
            held: BTreeMap::new(),
            prompted: Vector::new(),
            members: settings.members.clone(),
            heartbeat: None,
            beat_at: 0,
            unsent: 0,
            sent_at: 0,
            pumped: 0,
            peers_behind_since: BTreeMap::new(),
            wanted_until: 0,
            barrier: Barrier::default(),
            lives: Lives::default(),
            catch_up: Catching::default(),
            drift_told: false,
            poisoned: None,
            visible: Vec::new(),
            traces: Traces::default(),
            more: false,
            settings,
        };
        region.agree_policies(region.settings.agreed.policies.clone());
        region
    }

    /// The last sequence given to an event of this region, durable or not.
    pub fn written(&self) -> u64 {
        self.capture.last()
    }

    pub fn name(&self) -> &RegionName {
        &self.settings.name
    }

    /// Its own log.
    pub fn origin(&self) -> &Origin {
        &self.settings.origin
    }

    pub fn applied(&self) -> &Vector {
        self.apply.applied()
    }

    /// What every member has applied: nobody can be behind it.
    pub fn everywhere(&self) -> &Vector {
        self.apply.everywhere()
    }

    /// Durable in the logs here.
    pub fn durable(&self) -> &Vector {
        &self.durable
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    pub fn poisoned(&self) -> Option<&str> {
        self.poisoned.as_deref()
    }

    pub(crate) fn send(
        &self,
        steps: &mut Vec<Step>,
        peer: &RegionName,
        role: Role,
        frame: linckia_ship::Frame,
    ) {
        steps.push(Step::Out(Output::Send { peer: peer.clone(), role, frame }));
    }

    /// Applies what has become applicable, answers who waits for it, offers it to peers.
    pub(crate) fn advance(
        &mut self,
        now: Now,
        rooms: Rooms<'_>,
        steps: &mut Vec<Step>,
    ) -> Result<()> {
        if self.catch_up.beyond {
            self.more = false;
            self.pump(now, rooms, steps);
            return Ok(());
        }
        let events = Durable { logs: rooms.logs, known: &self.durable, view: Some(rooms.view) };
        let offerable = self.apply.offerable().total();
        let below = self.apply.below().len();
        let turn = self.apply.run(
            now,
            &mut self.clock,
            &self.durable,
            rooms.view,
            &events,
            &mut |event| self.capture.prepared(event).map(|ready| (ready.state, ready.change)),
        )?;
        let applied = turn.applied;
        self.more = turn.more;
        if self.apply.below().len() > below {
            let origins = self.apply.below().iter().map(Origin::to_string);
            let alarm = |origin| Step::Out(Output::Alarm(Alarm::BelowStable { origin }));
            steps.extend(origins.map(alarm));
        }
        let mut here = Here { apply: &mut self.apply, view: rooms.view, durable: events };
        self.capture.applied(&applied, &mut here)?;
        for event in &applied {
            let remote = event.dot.origin != self.settings.origin;
            if remote && self.visible.len() < VISIBLE_MAX {
                let milliseconds = now.wall.saturating_sub(event.hlc.milliseconds());
                self.visible.push((event.dot.origin.clone(), milliseconds));
            }
            self.traces.applied(now, &event.dot);
        }
        self.pass_barriers();
        self.answer(steps);
        // What is held back for its clock is offered, and not applied.
        self.unsent += (self.apply.offerable().total() - offerable) as usize;
        self.pump(now, rooms, steps);
        Ok(())
    }

    /// Answers the writes whose events are applied here and durable where they should be.
    pub(crate) fn answer(&mut self, steps: &mut Vec<Step>) {
        if self.promises.len() == 0 {
            return;
        }
        let own = &self.settings.origin;
        let applied = self.apply.applied().get(own);
        let (durable, held) = (&self.durable, &self.held);
        let (name, members) = (&self.settings.name, &self.members);
        let of = |origin: &Origin, region: &RegionName| {
            if region == name { durable.get(origin) } else { held_by(held, region, origin) }
        };
        let reach = |level: &Level| match level {
            Level::Local => applied,
            level => level.reach(name, members, |region| of(own, region)).min(applied),
        };
        let reached = |level: &Level, elsewhere: &Vector| {
            let each = |(origin, sequence): (&Origin, u64)| {
                level.reach(name, members, |region| of(origin, region)) >= sequence
            };
            elsewhere.iter().all(each)
        };
        let mut kept = Vec::new();
        self.promises.kept(reach, reached, &mut kept);
        let answer = |(ticket, answers)| Step::Out(Output::Answer { ticket, answers });
        steps.extend(kept.into_iter().map(answer));
    }

    /// True if something for peers has waited long enough for company, or has enough of it.
    pub(crate) fn sends(&self, now: Now) -> bool {
        let waited =
            now.monotonic.saturating_sub(self.sent_at) >= self.settings.gather_milliseconds;
        // Where another region's disk is waited for, company is not.
        let hurries = self.promises.awaited().is_some_and(|awaited| awaited > self.pumped);
        self.unsent > 0 && (waited || hurries || self.unsent >= OFFERED_MAX)
    }

    /// Sends peers what they lack, when it is time.
    pub(crate) fn pump(&mut self, now: Now, rooms: Rooms<'_>, steps: &mut Vec<Step>) {
        if !self.sends(now) {
            return;
        }
        (self.unsent, self.sent_at) = (0, now.monotonic);
        let records = Durable { logs: rooms.logs, known: &self.durable, view: Some(rooms.view) };
        let offered = self.apply.offerable();
        let own = &self.settings.origin;
        self.pumped = offered.get(own);
        let prompt = self.promises.awaited().map(|awaited| (own, awaited));
        let mut frames = Vec::new();
        for (peer, serving) in &mut self.serving {
            serving.pump(offered, prompt, &records, &mut frames);
            for frame in frames.drain(..) {
                let (peer, role) = (peer.clone(), Role::Serve);
                steps.push(Step::Out(Output::Send { peer, role, frame }));
            }
        }
    }
}

/// What a region has said to hold of a log.
pub(crate) fn held_by(
    held: &BTreeMap<RegionName, Vector>,
    region: &RegionName,
    origin: &Origin,
) -> u64 {
    held.get(region).map_or(0, |vector| vector.get(origin))
}
