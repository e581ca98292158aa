//! Time and the disk: what became durable, heartbeats, and what is due.

use linckia_model::{Heartbeat, Hlc, Now, Origin};
use linckia_ship::News;

use crate::error::Result;
use crate::input::{Alarm, Output, Role};
use crate::region::{Region, Rooms, Step};

impl Region {
    /// These logs are durable up to there, and the clock up to `clock`.
    pub(crate) fn synced(
        &mut self,
        now: Now,
        advanced: Vec<(Origin, u64)>,
        clock: Hlc,
        rooms: Rooms<'_>,
        steps: &mut Vec<Step>,
    ) -> Result<()> {
        for (origin, upto) in advanced {
            self.durable.set(&origin, upto);
            if let Some(arriving) = self.arriving.get_mut(&origin) {
                while arriving.front().is_some_and(|event| event.dot.sequence <= upto) {
                    if let Some(event) = arriving.pop_front() {
                        self.traces.durable(now, &event.dot);
                        self.apply.enqueue(event);
                    }
                }
            }
        }
        self.tell_what_is_held();
        self.tell_stopped(steps);
        self.tell_incarnations(rooms.logs, steps);
        if let Some(heartbeat) = self.heartbeat.take_if(|heartbeat| heartbeat.hlc <= clock) {
            self.apply.heard(heartbeat);
        }
        self.advance(now, rooms, steps)?;
        self.ask(now, steps);
        Ok(())
    }

    /// What became durable is worth telling; at once, where somebody waits to hear it.
    fn tell_what_is_held(&mut self) {
        for (peer, pulling) in &mut self.pulling {
            let awaited = self.prompted.iter().any(|(origin, sequence)| {
                origin.is_of(peer) && self.durable.get(origin) >= sequence
            });
            pulling.durable_grew(awaited);
        }
        if !self.prompted.is_empty() {
            self.prompted =
                self.prompted.beyond(&self.durable).map(|(o, _, n)| (o.clone(), n)).collect();
        }
    }

    pub(crate) fn tick(&mut self, now: Now, rooms: Rooms<'_>, steps: &mut Vec<Step>) -> Result<()> {
        if now.monotonic.saturating_sub(self.beat_at) >= self.settings.heartbeat_milliseconds {
            self.beat_at = now.monotonic;
            self.tell_stopped(steps);
            self.stop_waiting_for_peers(now);
            self.tell_incarnations(rooms.logs, steps);
            self.take_heartbeat(now, steps);
            self.send_beats(now, steps);
            self.watch_clock(now, steps);
        }
        self.advance(now, rooms, steps)?;
        self.expire_promises(now, steps);
        self.apply.evict();
        self.ask(now, steps);
        Ok(())
    }

    /// Takes a time for a heartbeat; it is told once that time is durable.
    fn take_heartbeat(&mut self, now: Now, steps: &mut Vec<Step>) {
        if self.heartbeat.is_some() || self.poisoned.is_some() || !self.is_entered() {
            return;
        }
        let hlc = self.clock.next(now);
        let after = self.capture.last();
        let mut deps = self.apply.applied().clone();
        deps.set(&self.settings.origin, after);
        let origin = self.settings.origin.clone();
        let epoch = self.lives.epoch();
        self.heartbeat = Some(Heartbeat { origin, after, hlc, deps, epoch });
        steps.push(Step::Clock(hlc.bits()));
    }

    fn send_beats(&mut self, now: Now, steps: &mut Vec<Step>) {
        let news = News {
            heartbeats: self.apply.heartbeats().cloned().collect(),
            wall: self.clock.told(now),
            applied: self.apply.applied().clone(),
            held: self.told_to_us(now),
        };
        for (peer, serving) in &self.serving {
            let mut news = news.clone();
            // Whoever tells it may be gone, and this be an old copy of it.
            news.heartbeats.extend(self.apply.waiting(peer).cloned());
            if let Some(frame) = serving.beat(now, news) {
                let (peer, role) = (peer.clone(), Role::Serve);
                steps.push(Step::Out(Output::Send { peer, role, frame }));
            }
        }
    }

    /// Alarms once when the wall clock leaves the fleet's time, until it is back.
    fn watch_clock(&mut self, now: Now, steps: &mut Vec<Step>) {
        let milliseconds = self.clock.drift(now);
        let far = milliseconds.unsigned_abs() > 2 * self.settings.clock.epsilon_milliseconds;
        if far && !self.drift_told {
            steps.push(Step::Out(Output::Alarm(Alarm::ClockDrift { milliseconds })));
        }
        self.drift_told = far;
    }
}
