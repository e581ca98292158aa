//! Every record that was ever durable in some region, for the judge: logs let go of what every
//! region has.
//!
//! What always holds: records are known by their chain, so that a log that went two ways is
//! archived as two.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use linckia_log::Chain;
use linckia_model::{Dot, Event, Origin, Vector, decode_event};
use linckia_region::Machine;

use super::World;

/// Records by origin and the chain after them: the chain before, and the event.
#[derive(Default)]
pub(crate) struct Archive(HashMap<(Origin, Chain), (Chain, Event)>);

impl Archive {
    /// Takes what has become durable in a region since `seen`.
    pub(super) fn take(&mut self, machine: &Machine, seen: &Vector) -> Result<(), String> {
        for (origin, from, last) in machine.region().durable().beyond(seen) {
            let at = |error: linckia_log::Error| format!("the log of {origin}: {error}");
            let reader = machine.logs().reader(origin.as_str()).map_err(at)?;
            let from = from.max(reader.first());
            if from > last {
                continue;
            }
            let mut before = reader.chain_at(from - 1).map_err(at)?;
            let batch = reader.read(from, u64::MAX, usize::MAX).map_err(at)?;
            for record in batch.iter() {
                let name = (origin.clone(), record.chain());
                if let Entry::Vacant(place) = self.0.entry(name) {
                    let dot = Dot::new(origin.clone(), record.sequence());
                    let event = decode_event(dot, record.payload(), machine.region().durable());
                    let event = event.map_err(|error| format!("{origin}: {error}"))?;
                    place.insert((before, event));
                }
                before = record.chain();
            }
        }
        Ok(())
    }

    /// The events of a log that were before this chain, the first first.
    pub(crate) fn before(&self, origin: &Origin, chain: Chain) -> Vec<Event> {
        let (mut events, mut chain) = (Vec::new(), chain);
        while let Some((before, event)) = self.0.get(&(origin.clone(), chain)) {
            events.push(event.clone());
            chain = *before;
        }
        events.reverse();
        events
    }
}

impl World {
    /// What became durable in a region is archived, where logs let go of anything.
    pub(super) fn archive(&mut self, region: usize) {
        let place = &mut self.places[region];
        let Some(machine) = &place.machine else { return };
        if self.plan.history_bytes.is_none() || place.archived == *machine.region().durable() {
            return;
        }
        let taken = self.archive.take(machine, &place.archived);
        place.archived = machine.region().durable().clone();
        if let Err(violation) = taken {
            self.fail(violation);
        }
    }
}
