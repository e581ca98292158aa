//! When events whose writers want a trace came, became durable and were applied here.
//!
//! Plain data for whoever makes spans of it. What always holds: an event that is not sampled costs
//! a look at its extras; what is kept has a bound, and beyond it events go untraced.

use std::collections::BTreeMap;

use linckia_model::{Dot, Event, Now};

/// Traced events between their arrival and their application, and traces not asked for yet.
const TRACED_MAX: usize = 4_096;

/// What happened to one event here, by this region's wall clock, in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    pub dot: Dot,
    /// The W3C trace context that the event carries.
    pub traceparent: Box<str>,
    /// Its hybrid time: when it was born, by its own region's clock.
    pub born: u64,
    /// Appended to the log here.
    pub arrived: u64,
    pub durable: u64,
    pub applied: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Traces {
    on: bool,
    open: BTreeMap<Dot, Traced>,
    done: Vec<Traced>,
}

impl Traces {
    pub(crate) fn begin(&mut self) {
        self.on = true;
    }

    pub(crate) fn arrived(&mut self, now: Now, event: &Event) {
        if !self.on || self.open.len() >= TRACED_MAX {
            return;
        }
        let Some(traceparent) = event.extras.traceparent.as_ref() else { return };
        if is_sampled(traceparent) {
            let (dot, born) = (event.dot.clone(), event.hlc.milliseconds());
            let traceparent = traceparent.clone();
            let (arrived, durable, applied) = (now.wall, now.wall, now.wall);
            let traced = Traced { dot, traceparent, born, arrived, durable, applied };
            self.open.insert(traced.dot.clone(), traced);
        }
    }

    pub(crate) fn durable(&mut self, now: Now, dot: &Dot) {
        if let Some(traced) = self.open.get_mut(dot) {
            traced.durable = now.wall;
        }
    }

    pub(crate) fn applied(&mut self, now: Now, dot: &Dot) {
        if self.open.is_empty() {
            return;
        }
        if let Some(mut traced) = self.open.remove(dot)
            && self.done.len() < TRACED_MAX
        {
            traced.applied = now.wall;
            self.done.push(traced);
        }
    }

    pub(crate) fn take(&mut self) -> Vec<Traced> {
        std::mem::take(&mut self.done)
    }
}

/// The last bit of a W3C trace context's flags.
fn is_sampled(traceparent: &str) -> bool {
    let flags = traceparent.get(53..55).and_then(|flags| u8::from_str_radix(flags, 16).ok());
    flags.is_some_and(|flags| flags & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bit_of_the_flags_samples() {
        let of =
            |flags: &str| is_sampled(&format!("00-{}-{}-{flags}", "a".repeat(32), "b".repeat(16)));
        assert!(of("01") && of("03") && of("ff"));
        assert!(!of("00") && !of("02") && !of("") && !of("zz"));
    }
}
