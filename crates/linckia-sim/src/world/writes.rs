//! Clients without sessions: what they want written, and what they are answered.
//!
//! What always holds: every acknowledgement is written in the ledger, and so is an event that was
//! late elsewhere and is known to be on its own region's disk.

use linckia_model::{Ack, Answer, Extras, NewEvent, Refusal, RegionName, Write};
use linckia_region::Input;

use super::{Acknowledged, World, key, key_name};
use crate::judge;
use crate::plan::Wish;

/// Bytes of an event beyond what it says.
const PADDING: usize = 700;

/// A request that waits for its answer.
pub(crate) struct Asked {
    pub(crate) region: usize,
    pub(crate) life: u64,
    pub(crate) wishes: Vec<Wish>,
    pub(crate) ack: Ack,
}

impl World {
    pub(super) fn write(&mut self, region: usize, wishes: Vec<Wish>, ack: Ack) {
        if self.places[region].machine.is_none() {
            return;
        }
        self.serial += 1;
        let ticket = self.serial;
        let atomic = wishes.len() > 1;
        let events = wishes.iter().map(|wish| self.event(wish)).collect();
        let life = self.places[region].life;
        self.tickets.insert(ticket, Asked { region, life, wishes, ack: ack.clone() });
        let write = Write { events, atomic, precondition: None, entity_tag: false, ack };
        self.hand(region, Input::Write { ticket, write });
    }

    pub(crate) fn event(&self, wish: &Wish) -> NewEvent {
        NewEvent {
            key: key(wish.key),
            event_type: "Changed".into(),
            operation: wish.operation,
            data: wish.data.clone(),
            event_id: wish.id.as_str().into(),
            extras: self.padding(),
        }
    }

    /// Where logs let go of anything, events are large enough to fill segments.
    fn padding(&self) -> Extras {
        let actor = self.plan.history_bytes.map(|_| "x".repeat(PADDING).into());
        Extras { actor, ..Extras::default() }
    }

    pub(super) fn answered(
        &mut self,
        region: usize,
        ticket: u64,
        answers: Vec<Result<Answer, Refusal>>,
    ) {
        if self.answered_to_session(ticket, &answers) {
            return;
        }
        let Some(asked) = self.tickets.remove(&ticket) else {
            return self.fail(format!("region {region} answered ticket {ticket} twice"));
        };
        for (wish, answer) in asked.wishes.into_iter().zip(answers) {
            self.note(|| format!("{} answers {} {answer:?}", key_name(region), wish.id));
            let dot = match answer {
                Ok(answer) => {
                    judge::held(self, region, &asked.ack.level, &answer.dot);
                    answer.dot
                }
                // Written, and told to be on this disk at least.
                Err(Refusal::AckTimeout(late)) if late.1.durable.contains(self.name(region)) => {
                    late.0.dot
                }
                Err(_) => continue,
            };
            let disks = self.disks_with(&dot);
            let (key, event_id) = (key(wish.key), wish.id.clone());
            self.ledger.push(Acknowledged { dot, key, event_id, wish, disks });
        }
    }

    fn name(&self, region: usize) -> &RegionName {
        &self.places[region].name
    }
}
