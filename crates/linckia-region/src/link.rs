//! Peers: links that open and close, and what comes over them.

use std::sync::Arc;

use linckia_model::{Event, Now, Origin, RegionName};
use linckia_ship::{Frame, Reaction, Serving};

use crate::input::{Alarm, Output, Role};
use crate::region::{Region, Rooms, Step};

/// Received events kept decoded on their way to the disk; the others are read from the log.
const ARRIVING_MAX: usize = 8_192;

impl Region {
    pub(crate) fn opened(&mut self, now: Now, peer: &RegionName, role: Role, steps: &mut Vec<Step>) {
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
    ) -> Option<(Origin, Vec<u8>)> {
        match role {
            Role::Serve => {
                self.served(peer, frame, rooms, steps);
                None
            }
            Role::Pull => self.pulled(now, peer, frame, steps),
        }
    }

    fn served(
        &mut self,
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
                    Frame::Refuse { reason }
                };
                self.send(steps, peer, Role::Serve, answer);
            }
            Frame::Pull(pull) => {
                self.known.join(&pull.logged);
                serving.pull(pull);
                let records = crate::rooms::Durable { logs: rooms.logs, known: &self.durable };
                let mut frames = Vec::new();
                serving.pump(self.apply.offerable(), &records, &mut frames);
                for frame in frames {
                    self.send(steps, peer, Role::Serve, frame);
                }
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
    ) -> Option<(Origin, Vec<u8>)> {
        let pulling = self.pulling.get_mut(peer)?;
        match pulling.receive(now, frame) {
            Reaction::Nothing => {}
            Reaction::Append { origin, records } => {
                let member = self.settings.members.iter().any(|member| origin.is_of(member));
                if member && origin != self.settings.origin {
                    return Some((origin, records));
                }
                if !member {
                    let detail = format!("{origin} is no member's log");
                    let alarm = Alarm::Malformed { peer: peer.clone(), detail };
                    steps.push(Step::Out(Output::Alarm(alarm)));
                }
            }
            Reaction::Beat { heartbeats, wall } => {
                if let Some(wall) = wall {
                    self.clock.hear(peer, wall, now);
                }
                for heartbeat in heartbeats {
                    if self.known.get(&heartbeat.origin) < heartbeat.after {
                        self.known.set(&heartbeat.origin, heartbeat.after);
                    }
                    if heartbeat.origin != self.settings.origin {
                        self.apply.heard(heartbeat);
                    }
                }
            }
            Reaction::Refused(reason) => {
                let alarm = Alarm::Refused { peer: peer.clone(), reason };
                steps.push(Step::Out(Output::Alarm(alarm)));
            }
        }
        self.ask(now, steps);
        None
    }

    /// Sends the pulls that are due.
    pub(crate) fn ask(&mut self, now: Now, steps: &mut Vec<Step>) {
        let live = |peer: &RegionName, pulling: &linckia_ship::Pulling| {
            pulling.live(now).then(|| peer.clone())
        };
        let mut live: Vec<RegionName> =
            self.pulling.iter().filter_map(|(peer, pulling)| live(peer, pulling)).collect();
        live.push(self.settings.name.clone());
        for (peer, pulling) in &mut self.pulling {
            let direct = live.iter().filter(|region| *region != peer).cloned().collect();
            if let Some(frame) = pulling.ask(now, &self.durable, self.apply.applied(), direct) {
                let (peer, role) = (peer.clone(), Role::Pull);
                steps.push(Step::Out(Output::Send { peer, role, frame }));
            }
        }
    }

    /// An event was appended to a mirror: it waits, decoded, for the disk.
    pub(crate) fn arrived(&mut self, event: Arc<Event>) {
        let dot = &event.dot;
        if self.known.get(&dot.origin) < dot.sequence {
            self.known.set(&dot.origin, dot.sequence);
        }
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
