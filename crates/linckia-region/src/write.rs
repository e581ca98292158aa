//! Clients: a write is judged and stamped at once, and answered when it is durable and applied.

use std::sync::Arc;

use linckia_log::Usage;
use linckia_model::{
    Ack, Dot, Fault, Holders, Level, Now, Origin, Refusal, RegionName, Vector, Write,
};

use crate::error::Result;
use crate::input::Output;
use crate::promises::{Answers, Promise};
use crate::region::{REMOTE_MAX, Region, Rooms, Step, WAITING_MAX, held_by};
use crate::rooms::{Durable, Here};

/// Room that is kept below the bound of the log, so that what was stamped can always be appended.
pub(crate) const MARGIN_SEGMENTS: u64 = 2;

/// What the logs take, and how large a segment may become.
#[derive(Clone, Copy)]
pub(crate) struct Room {
    pub(crate) usage: Usage,
    pub(crate) segment_bytes: u64,
    /// Left on the disk, and kept free there.
    pub(crate) free: u64,
    pub(crate) kept: u64,
}

impl Region {
    pub(crate) fn write(
        &mut self,
        now: Now,
        ticket: u64,
        write: Write,
        room: Room,
        rooms: Rooms<'_>,
        steps: &mut Vec<Step>,
    ) -> Result<()> {
        if let Some(refusal) = self.refusal(room, &write.ack) {
            let answers = write.events.iter().map(|_| Err(refusal.clone())).collect();
            steps.push(Step::Out(Output::Answer { ticket, answers }));
            return Ok(());
        }
        let durable = Durable { logs: rooms.logs, known: &self.durable, view: Some(rooms.view) };
        let mut here = Here { apply: &mut self.apply, view: rooms.view, durable };
        let (atomic, ack) = (write.atomic, write.ack.clone());
        let captured = self.capture.write(now, &mut self.clock, write, &mut here)?;
        if atomic {
            if !captured.events.is_empty() {
                steps.push(Step::Append(captured.events));
            }
        } else {
            let single = |event: Arc<_>| Step::Append(vec![event]);
            steps.extend(captured.events.into_iter().map(single));
        }
        let elsewhere = match ack.level {
            Level::Local => Vector::new(),
            _ => elsewhere(&captured.answers, &self.settings.origin),
        };
        let at_once = self.settings.fault == Some(Fault::AcknowledgedBeforeSync);
        let here = captured.after <= self.apply.applied().get(&self.settings.origin);
        // A refusal waits for what it shows, and for nothing elsewhere.
        let refused = captured.answers.iter().all(std::result::Result::is_err);
        let ack = if refused { Ack::default() } else { ack };
        let level_here = ack.level == Level::Local;
        if at_once || (here && level_here) {
            steps.push(Step::Out(Output::Answer { ticket, answers: captured.answers }));
            return Ok(());
        }
        let answers = captured.answers;
        self.promises.keep(now.monotonic, ticket, answers, captured.after, elsewhere, ack);
        if here {
            // Written before: it may be where it should be already.
            self.answer(steps);
        }
        Ok(())
    }

    fn refusal(&self, room: Room, ack: &Ack) -> Option<Refusal> {
        let Room { usage, segment_bytes, free, kept } = room;
        if let Err(unattainable) = ack.level.attainable(&self.members) {
            return Some(Refusal::Unattainable(unattainable));
        }
        if let Some(reason) = &self.poisoned {
            return Some(Refusal::Poisoned(reason.clone()));
        }
        if let Some(refusal) = self.incarnation_refusal() {
            return Some(refusal);
        }
        if usage.used + MARGIN_SEGMENTS * segment_bytes > usage.bound {
            return Some(Refusal::LogFull { used: usage.used, bound: usage.bound });
        }
        if free < kept {
            return Some(Refusal::DiskFull { free, kept });
        }
        if self.apply.awaits_policy() {
            return Some(Refusal::PolicyChanging);
        }
        let remote = ack.level != Level::Local && self.promises.remote() >= REMOTE_MAX;
        (remote || self.promises.len() >= WAITING_MAX).then_some(Refusal::Busy)
    }

    /// Answers what waited as long as it was told to: written, and not known to be where it should.
    pub(crate) fn expire_promises(&mut self, now: Now, steps: &mut Vec<Step>) {
        for Promise { ticket, answers, level, .. } in self.promises.expired(now.monotonic) {
            let late = |answer: linckia_model::Answer| {
                let holders = self.holders(&answer.dot);
                let sequence = answer.dot.sequence;
                let own = &self.settings.name;
                let reach = level.reach(own, &self.members, |region| {
                    if holders.durable.contains(region) { sequence } else { 0 }
                });
                let visible = self.apply.applied().covers(&answer.dot);
                if reach >= sequence && visible {
                    return Ok(answer);
                }
                Err(Refusal::AckTimeout(Box::new((answer, holders))))
            };
            let answers = answers.into_iter().map(|answer| answer.and_then(late)).collect();
            steps.push(Step::Out(Output::Answer { ticket, answers }));
        }
    }

    /// Who holds this event durably, as far as is known here.
    pub(crate) fn holders(&self, dot: &Dot) -> Holders {
        let holds = |region: &&RegionName| match **region == self.settings.name {
            true => self.durable.covers(dot),
            false => held_by(&self.held, region, &dot.origin) >= dot.sequence,
        };
        let (durable, unconfirmed) = self.members.iter().partition::<Vec<&RegionName>, _>(holds);
        let sorted = |mut regions: Vec<&RegionName>| {
            regions.sort();
            regions.into_iter().cloned().collect()
        };
        Holders { dot: dot.clone(), durable: sorted(durable), unconfirmed: sorted(unconfirmed) }
    }

    /// Writing has ended: what waits for this disk is told so. It may have been written, and a
    /// retry with the same id elsewhere is safe. What waits for other disks goes on waiting.
    pub(crate) fn poison(&mut self, reason: String, steps: &mut Vec<Step>) {
        if self.poisoned.is_some() {
            return;
        }
        let durable = self.durable.get(&self.settings.origin);
        for Promise { ticket, answers, .. } in self.promises.beyond(durable) {
            let refusal = || Err(Refusal::Poisoned(reason.clone()));
            let answers = answers.iter().map(|_| refusal()).collect();
            steps.push(Step::Out(Output::Answer { ticket, answers }));
        }
        let alarm = crate::input::Alarm::Poisoned { reason: reason.clone() };
        steps.push(Step::Out(Output::Alarm(alarm)));
        self.poisoned = Some(reason);
    }
}

/// The first copies that answers name in other logs than the own one.
fn elsewhere(answers: &Answers, own: &Origin) -> Vector {
    let dots = answers.iter().flatten().map(|answer| &answer.dot);
    dots.filter(|dot| dot.origin != *own).collect()
}
