//! When a run is over: everything healed, every log closed that should be, every region with all
//! that any has.

use super::{HEAL, LOOK, Moment, REST, World};
use crate::judge;

impl World {
    /// After healing: done when every region has applied everything, then all is judged.
    pub(super) fn look(&mut self) {
        let vectors: Option<Vec<_>> = self
            .places
            .iter()
            .map(|place| place.machine.as_ref().map(|machine| machine.region().applied().clone()))
            .collect();
        let logged: Vec<u64> = self
            .places
            .iter()
            .filter_map(|place| {
                let machine = place.machine.as_ref()?;
                Some(machine.region().durable().get(&place.origin))
            })
            .collect();
        let whole = vectors.is_some_and(|vectors| {
            let equal = vectors.windows(2).all(|pair| pair[0] == pair[1]);
            equal
                && vectors.iter().all(|vector| {
                    let own = self.places.iter().map(|place| vector.get(&place.origin));
                    own.eq(logged.iter().copied())
                })
        });
        let whole = whole && self.is_whole();
        // What waits for other regions is answered by what they say next.
        let answered = judge::unanswered(self).is_none();
        let rested = whole && answered && self.now >= HEAL + REST;
        if rested && self.is_repaired() {
            self.done = true;
            (0..self.places.len()).for_each(|region| self.finish_jobs(region));
            judge::verdict(self);
            if self.violation.is_none() {
                self.judge_sessions();
            }
            if self.violation.is_none() {
                judge::repeated(self);
            }
        } else {
            self.at(self.now + LOOK, Moment::Look);
        }
    }
}
