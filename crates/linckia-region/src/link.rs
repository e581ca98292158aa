//! Peers: links that open and close, and what comes over them. Nothing received is believed before
//! the log has taken it.

use std::sync::Arc;

use linckia_model::{Event, Fault, Now, Origin, RegionName, Vector};
use linckia_ship::{Frame, News, RELAY_MILLISECONDS, Reaction, Serving, Tell};

use crate::input::{Alarm, Output, Role};
use crate::region::{Region, Rooms, Step};

/// Records that came, for the mirror of their origin; somebody may wait until they are durable.
pub(crate) struct Arrived {
    pub(crate) origin: Origin,
    pub(crate) records: Vec<u8>,
    pub(crate) prompt: bool,
}

/// While clients wait, this much silence is enough, in milliseconds: a little more than two
/// heartbeats.
const WANTED_SILENCE_MILLISECONDS: u64 = 600;

/// A client that waits is thought of for so long, in milliseconds.
const WANTED_MILLISECONDS: u64 = 1_000;

/// A peer pulls at least twice within this, in milliseconds: what it said longer ago is not passed
/// on, and others may know better.
const TOLD_MILLISECONDS: u64 = 1_000;

/// Events of one origin kept decoded on their way to the disk; the others are read from the log.
const ARRIVING_MAX: usize = 16_384;

impl Region {
    pub(crate) fn opened(
        &mut self,
        now: Now,
        peer: &RegionName,
        role: Role,
        steps: &mut Vec<Step>,
    ) {
        match role {
            Role::Pull => {
                if let Some(pulling) = self.pulling.get_mut(peer) {
                    let hello = pulling.opened(now);
                    self.send(steps, peer, role, hello);
                }
            }
            Role::Serve => drop(self.serving.insert(peer.clone(), Serving::new())),
        }
    }

    pub(crate) fn closed(&mut self, peer: &RegionName, role: Role) {
        match role {
            Role::Pull => {
                if let Some(pulling) = self.pulling.get_mut(peer) {
                    pulling.closed();
                }
            }
            Role::Serve => drop(self.serving.remove(peer)),
        }
    }

    /// Takes a frame; answers records that the machine should append to a mirror.
    pub(crate) fn received(
        &mut self,
        now: Now,
        peer: &RegionName,
        role: Role,
        frame: Frame,
        rooms: Rooms<'_>,
        steps: &mut Vec<Step>,
    ) -> Option<Arrived> {
        match role {
            Role::Serve => {
                self.served(now, peer, frame, rooms, steps);
                None
            }
            Role::Pull => self.pulled(now, peer, frame, steps),
        }
    }

    fn served(
        &mut self,
        now: Now,
        peer: &RegionName,
        frame: Frame,
        rooms: Rooms<'_>,
        steps: &mut Vec<Step>,
    ) {
        let Some(serving) = self.serving.get_mut(peer) else { return };
        match frame {
            Frame::Hello { protocol_min, protocol_max, .. } => {
                let answer = if self.settings.members.contains(peer) {
                    serving.hello(&self.settings.name, protocol_min, protocol_max)
                } else {
                    let own = &self.settings.name;
                    let reason = format!("{peer} is no member of the fleet that {own} knows");
                    Frame::Refuse { reason, elsewhere: false }
                };
                self.send(steps, peer, Role::Serve, answer);
            }
            Frame::Pull(pull) => {
                self.compare_pulled(peer, pull.logged.get(&self.settings.origin), steps);
                let Some(serving) = self.serving.get_mut(peer) else { return };
                for (origin, last) in pull.logged.iter() {
                    self.known.raise(origin, last.min(self.lives.end(origin)));
                }
                let counts = pull.holds && self.lives.is_current(peer, &pull.origin);
                serving.pull(now, pull);
                let held = match self.settings.fault {
                    Some(Fault::SentCountsAsHeld) => serving.sent(),
                    _ => serving.logged(),
                };
                if counts {
                    self.held.insert(peer.clone(), held.clone());
                }
                self.answer(steps);
                // There may be room in its window now, or all to be sent anew.
                self.unsent += 1;
                self.pump(now, rooms, steps);
            }
            Frame::Compare { number, epoch, ask } => {
                // A region that knows of other lapses lets go of other things.
                let ask = (epoch == self.lives.epoch()).then_some(ask);
                steps.push(Step::Asked { peer: peer.clone(), asked: (number, ask) });
            }
            Frame::SnapshotPull(asked) => {
                steps.push(Step::Donate { peer: peer.clone(), asked });
            }
            _ => {}
        }
    }

    fn pulled(
        &mut self,
        now: Now,
        peer: &RegionName,
        frame: Frame,
        steps: &mut Vec<Step>,
    ) -> Option<Arrived> {
        let pulling = self.pulling.get_mut(peer)?;
        match pulling.receive(now, frame) {
            Reaction::Nothing => {}
            Reaction::Append { origin, records, prompt } => {
                let member = self.is_of_fleet(&origin);
                if member && origin != self.settings.origin {
                    return Some(Arrived { origin, records, prompt });
                }
                if !member {
                    let detail = format!("{origin} is no member's log");
                    let alarm = Alarm::Malformed { peer: peer.clone(), detail };
                    steps.push(Step::Out(Output::Alarm(alarm)));
                }
            }
            Reaction::Beat(News { heartbeats, wall, held, .. }) => {
                if let Some(wall) = wall {
                    self.clock.hear(peer, wall, now);
                }
                let own = heartbeats.iter().filter(|beat| beat.origin == self.settings.origin);
                let own = own.max_by_key(|beat| beat.hlc);
                self.compare_beaten(peer, own, steps);
                for heartbeat in heartbeats {
                    let after = heartbeat.after.min(self.lives.end(&heartbeat.origin));
                    self.known.raise(&heartbeat.origin, after);
                    if heartbeat.origin != self.settings.origin {
                        self.apply.heard(heartbeat);
                    }
                }
                self.held_elsewhere(now, held);
                self.answer(steps);
            }
            Reaction::Gap(gap) => {
                if self.is_of_fleet(&gap.origin) {
                    steps.push(Step::Gap { peer: peer.clone(), gap });
                }
            }
            Reaction::Cut(cut) => steps.push(Step::Cut { peer: peer.clone(), cut }),
            Reaction::NoSnapshot(snapshot) => {
                steps.push(Step::NoSnapshot { peer: peer.clone(), snapshot });
            }
            Reaction::Compared(number, epoch, tell) => {
                let same = epoch == self.lives.epoch();
                let tell = if same { tell } else { Tell::NotNow };
                steps.push(Step::Told { peer: peer.clone(), told: (number, tell) });
            }
            Reaction::Page(page) => steps.push(Step::Page { peer: peer.clone(), page }),
            Reaction::Refused(reason, elsewhere) => {
                if elsewhere {
                    self.refused_elsewhere(now, &reason);
                }
                let alarm = Alarm::Refused { peer: peer.clone(), reason };
                steps.push(Step::Out(Output::Alarm(alarm)));
            }
        }
        self.ask(now, steps);
        None
    }

    /// What a peer heard others say of their logs, for those that do not tell us themselves.
    fn held_elsewhere(&mut self, now: Now, held: Vec<(RegionName, Vector)>) {
        for (region, vector) in held {
            let member = self.settings.members.contains(&region) && region != self.settings.name;
            let tells = self.serving.get(&region);
            if member && !tells.is_some_and(|serving| serving.is_fresh(now, TOLD_MILLISECONDS)) {
                self.held.insert(region, vector);
            }
        }
    }

    /// What peers that pull from here said a moment ago to hold.
    pub(crate) fn told_to_us(&self, now: Now) -> Vec<(RegionName, Vector)> {
        let fresh = self.serving.iter().filter(|(_, it)| it.is_fresh(now, TOLD_MILLISECONDS));
        fresh.filter_map(|(peer, _)| Some((peer.clone(), self.held.get(peer)?.clone()))).collect()
    }

    /// A client waits for what is not applied here: links that have just fallen silent are not
    /// waited for, the others are asked at once for what they brought.
    pub(crate) fn want(&mut self, now: Now, vector: &Vector, steps: &mut Vec<Step>) {
        if !self.apply.applied().covers_all(vector) {
            self.wanted_until = now.monotonic + WANTED_MILLISECONDS;
            self.ask(now, steps);
        }
    }

    /// Sends the pulls that are due. A peer need not relay the regions that are heard directly. Our
    /// own name is not among them: what we hold of our own log is in the vector, and the logs of
    /// our earlier incarnations are asked of everybody.
    pub(crate) fn ask(&mut self, now: Now, steps: &mut Vec<Step>) {
        let mut live = 0u64;
        let longest = match now.monotonic < self.wanted_until {
            true => WANTED_SILENCE_MILLISECONDS,
            false => RELAY_MILLISECONDS,
        };
        for (bit, pulling) in self.pulling.values().enumerate() {
            live |= u64::from(pulling.live_within(now, longest)) << bit;
        }
        let donor = self.catch_up.donor.as_ref();
        let due = |(bit, (peer, pulling)): (usize, (&RegionName, &linckia_ship::Pulling))| {
            let direct = if donor == Some(peer) { 0 } else { live & !(1 << bit) };
            pulling.due(now, direct).then(|| (peer.clone(), direct))
        };
        let due: Vec<(RegionName, u64)> = self.pulling.iter().enumerate().filter_map(due).collect();
        for (peer, direct) in due {
            let heard = self.pulling.keys().enumerate();
            let heard = heard.filter(|(bit, _)| direct & (1 << bit) != 0);
            let regions: Vec<RegionName> = heard.map(|(_, region)| region.clone()).collect();
            if let Some(pulling) = self.pulling.get_mut(&peer) {
                let applied = self.apply.applied();
                let holds = !self.catch_up.wanted;
                let frame = pulling.ask(now, &self.durable, applied, direct, regions, holds);
                let role = Role::Pull;
                steps.push(Step::Out(Output::Send { peer, role, frame }));
            }
        }
    }

    /// An event was appended to a log: it waits, decoded, for the disk.
    pub(crate) fn arrived(&mut self, now: Now, event: Arc<Event>) {
        self.traces.arrived(now, &event);
        let dot = &event.dot;
        self.known.raise(&dot.origin, dot.sequence);
        let queue = self.arriving.entry(dot.origin.clone()).or_default();
        let follows = queue.back().is_none_or(|last| last.dot.sequence + 1 == dot.sequence);
        if follows && queue.len() < ARRIVING_MAX {
            queue.push_back(event);
        }
    }

    /// The records of a peer were refused by the log: ask again from what is held.
    pub(crate) fn mirror_refused(
        &mut self,
        now: Now,
        peer: &RegionName,
        alarm: Option<Alarm>,
        steps: &mut Vec<Step>,
    ) {
        if let Some(pulling) = self.pulling.get_mut(peer) {
            pulling.start_over();
        }
        match alarm {
            // What cannot be taken would come again at once: wait for the silence to pass.
            Some(alarm) => steps.push(Step::Out(Output::Alarm(alarm))),
            None => self.ask(now, steps),
        }
    }
}
