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
    Answer, Clock, ClockSettings, Event, Fault, Heartbeat, Now, Origin, Refusal, RegionName, Vector,
};
use linckia_ship::{Pulling, Serving};
use linckia_store::View;

use crate::error::Result;
use crate::input::{Output, Role};
use crate::rooms::{Durable, Here};

/// What a region is told at its start.
#[derive(Clone, Debug)]
pub struct RegionSettings {
    pub name: RegionName,
    /// Its own log.
    pub origin: Origin,
    /// All regions of the fleet, this one included.
    pub members: Vec<RegionName>,
    pub clock: ClockSettings,
    pub apply: ApplySettings,
    /// Time between heartbeats, in milliseconds.
    pub heartbeat_milliseconds: u64,
    /// Applied events may wait this long for company on the way to peers, in milliseconds; the
    /// first after a silence does not.
    pub gather_milliseconds: u64,
    /// Received events may wait this long for company on the way to the disk, in milliseconds.
    pub linger_milliseconds: u64,
    /// Makes sessions of this life differ from those of earlier ones.
    pub seed: u64,
    /// A planted fault, for the simulator.
    pub fault: Option<Fault>,
}

/// Writes whose answers wait for the disk: beyond it clients are told to try again.
pub(crate) const WAITING_MAX: usize = 65_536;

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
    /// Tell the outside.
    Out(Output),
}

/// Answers that wait for their events.
pub(crate) type Waiting = (u64, Vec<std::result::Result<Answer, Refusal>>);

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
    /// Answers by the own sequence they wait for.
    pub(crate) waiting: BTreeMap<u64, Vec<Waiting>>,
    pub(crate) waiting_count: usize,
    /// A heartbeat of ours that waits for its time to be durable.
    pub(crate) heartbeat: Option<Heartbeat>,
    pub(crate) beat_at: u64,
    /// How much may be new to peers since something was sent to them, and when that was.
    pub(crate) unsent: usize,
    sent_at: u64,
    /// Since when each peer has not had everything that is known, for its lag.
    pub(crate) peers_behind_since: BTreeMap<RegionName, u64>,
    pub(crate) drift_told: bool,
    pub(crate) poisoned: Option<String>,
    /// How long remote events took to become visible, for the metrics.
    pub(crate) visible: Vec<u64>,
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
        let pulling =
            |peer: &RegionName| (peer.clone(), Pulling::new(settings.name.clone(), settings.seed));
        Self {
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
            waiting: BTreeMap::new(),
            waiting_count: 0,
            heartbeat: None,
            beat_at: 0,
            unsent: 0,
            sent_at: 0,
            peers_behind_since: BTreeMap::new(),
            drift_told: false,
            poisoned: None,
            visible: Vec::new(),
            more: false,
            settings,
        }
    }

    pub fn name(&self) -> &RegionName {
        &self.settings.name
    }

    pub fn applied(&self) -> &Vector {
        self.apply.applied()
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
        let events = Durable { logs: rooms.logs, known: &self.durable };
        let offerable = self.apply.offerable().total();
        let applied = self.apply.run(
            now,
            &mut self.clock,
            &self.durable,
            rooms.view,
            &events,
            &mut |event| self.capture.prepared(event).map(|ready| (ready.state, ready.change)),
        )?;
        self.more = applied.len() >= self.settings.apply.budget;
        let mut here = Here { apply: &mut self.apply, view: rooms.view, durable: events };
        for event in &applied {
            self.capture.applied(event, &mut here);
            let remote = event.dot.origin != self.settings.origin;
            if remote && self.visible.len() < VISIBLE_MAX {
                self.visible.push(now.wall.saturating_sub(event.hlc.milliseconds()));
            }
        }
        self.answer(steps);
        // What is held back for its clock is offered, and not applied.
        self.unsent += (self.apply.offerable().total() - offerable) as usize;
        self.pump(now, rooms, steps);
        Ok(())
    }

    /// Answers the writes whose events are durable and applied.
    pub(crate) fn answer(&mut self, steps: &mut Vec<Step>) {
        let applied = self.apply.applied().get(&self.settings.origin);
        while let Some(first) = self.waiting.first_entry() {
            if *first.key() > applied {
                break;
            }
            for (ticket, answers) in first.remove() {
                self.waiting_count -= 1;
                steps.push(Step::Out(Output::Answer { ticket, answers }));
            }
        }
    }

    /// True if something for peers has waited long enough for company, or has enough of it.
    pub(crate) fn sends(&self, now: Now) -> bool {
        let waited =
            now.monotonic.saturating_sub(self.sent_at) >= self.settings.gather_milliseconds;
        self.unsent > 0 && (waited || self.unsent >= OFFERED_MAX)
    }

    /// Sends peers what they lack, when it is time.
    pub(crate) fn pump(&mut self, now: Now, rooms: Rooms<'_>, steps: &mut Vec<Step>) {
        if !self.sends(now) {
            return;
        }
        (self.unsent, self.sent_at) = (0, now.monotonic);
        let records = Durable { logs: rooms.logs, known: &self.durable };
        let offered = self.apply.offerable();
        let mut frames = Vec::new();
        for (peer, serving) in &mut self.serving {
            serving.pump(offered, &records, &mut frames);
            for frame in frames.drain(..) {
                let (peer, role) = (peer.clone(), Role::Serve);
                steps.push(Step::Out(Output::Send { peer, role, frame }));
            }
        }
    }
}
