//! Clients: a write is judged and stamped at once, and answered when it is durable and applied.

use std::sync::Arc;

use linckia_log::Usage;
use linckia_model::{Fault, Now, Refusal, Write};

use crate::error::Result;
use crate::input::Output;
use crate::region::{Region, Rooms, Step, WAITING_MAX};
use crate::rooms::{Durable, Here};

/// Room that is kept below the bound of the log, so that what was stamped can always be appended.
const MARGIN_SEGMENTS: u64 = 2;

/// What the logs take, and how large a segment may become.
#[derive(Clone, Copy)]
pub(crate) struct Room {
    pub(crate) usage: Usage,
    pub(crate) segment_bytes: u64,
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
        if let Some(refusal) = self.refusal(room) {
            let answers = write.events.iter().map(|_| Err(refusal.clone())).collect();
            steps.push(Step::Out(Output::Answer { ticket, answers }));
            return Ok(());
        }
        let durable = Durable { logs: rooms.logs, known: &self.durable };
        let mut here = Here { apply: &mut self.apply, view: rooms.view, durable };
        let atomic = write.atomic;
        let captured = self.capture.write(now, &mut self.clock, write, &mut here)?;
        if atomic {
            if !captured.events.is_empty() {
                steps.push(Step::Append(captured.events));
            }
        } else {
            let single = |event: Arc<_>| Step::Append(vec![event]);
            steps.extend(captured.events.into_iter().map(single));
        }
        let at_once = self.settings.fault == Some(Fault::AcknowledgedBeforeSync);
        if at_once || captured.after <= self.apply.applied().get(&self.settings.origin) {
            steps.push(Step::Out(Output::Answer { ticket, answers: captured.answers }));
        } else {
            self.waiting.entry(captured.after).or_default().push((ticket, captured.answers));
            self.waiting_count += 1;
        }
        Ok(())
    }

    fn refusal(&self, Room { usage, segment_bytes }: Room) -> Option<Refusal> {
        if let Some(reason) = &self.poisoned {
            return Some(Refusal::Poisoned(reason.clone()));
        }
        if usage.used + MARGIN_SEGMENTS * segment_bytes > usage.bound {
            return Some(Refusal::LogFull { used: usage.used, bound: usage.bound });
        }
        (self.waiting_count >= WAITING_MAX).then_some(Refusal::Busy)
    }

    /// Writing has ended: everything that waits is told so. What was durable may have been written;
    /// a retry with the same id elsewhere is safe.
    pub(crate) fn poison(&mut self, reason: String, steps: &mut Vec<Step>) {
        if self.poisoned.is_some() {
            return;
        }
        for (_, waiting) in std::mem::take(&mut self.waiting) {
            for (ticket, answers) in waiting {
                let refusal = || Err(Refusal::Poisoned(reason.clone()));
                let answers = answers.iter().map(|_| refusal()).collect();
                steps.push(Step::Out(Output::Answer { ticket, answers }));
            }
        }
        self.waiting_count = 0;
        let alarm = crate::input::Alarm::Poisoned { reason: reason.clone() };
        steps.push(Step::Out(Output::Alarm(alarm)));
        self.poisoned = Some(reason);
    }
}
