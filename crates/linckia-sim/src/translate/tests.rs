//! The fold against the reference on random histories of one key, without a world around them:
//! here events are written that capture would refuse, so that what is out of place is ruled too.

use std::collections::BTreeSet;
use std::sync::Arc;

use linckia_model::{
    Cause, Event, EventSource, Extras, FoldSettings, Hlc, Identity, Key, KeyState, Origin,
    Policies, Transaction, Vector,
};

use super::*;
use crate::plan::{policies, region_name};
use crate::random::Random;
use crate::reference::{RefPolicies, fold_under};

const REGIONS: usize = 3;

struct Given(Vec<Arc<Event>>);

impl EventSource for Given {
    fn event(&self, dot: &Dot) -> Result<Option<Arc<Event>>, Cause> {
        Ok(self.0.iter().find(|event| event.dot == *dot).cloned())
    }

    fn between(&self, _: &Key, _: &Stamp, _: &Stamp) -> Result<Vec<Arc<Event>>, Cause> {
        panic!("no flush takes anything here")
    }
}

/// Events in order, each of a writer that has seen some prefix of every log; all of an epoch have
/// seen all of the epoch before.
fn history(random: &mut Random, all: &[Policy]) -> Vec<Arc<Event>> {
    let origins: Vec<Origin> =
        (0..REGIONS).map(|number| Origin::new(&region_name(number), 1, 0)).collect();
    let (mut events, mut least) = (Vec::new(), Vector::new());
    let mut last = [0; REGIONS];
    for epoch in 0..=all.len() {
        for _ in 0..random.below(9) {
            let own = random.below(REGIONS as u64) as usize;
            let mut deps = Vector::new();
            for (origin, last) in origins.iter().zip(last) {
                deps.set(origin, random.between(least.get(origin), last));
            }
            deps.set(&origins[own], last[own]);
            last[own] += 1;
            // What another policy admits is often out of place under this one.
            let spoken = if random.percent(30) { random.pick(all) } else { &all[epoch.max(1) - 1] };
            let (operation, data) = policies::drawn(random, spoken);
            let event_id = match random.percent(15) {
                true => format!("again{}", random.below(2)),
                false => format!("{own}-{}", last[own]),
            };
            events.push(Arc::new(Event {
                dot: Dot::new(origins[own].clone(), last[own]),
                hlc: Hlc::from_milliseconds(events.len() as u64 + 1),
                deps,
                transaction: Transaction::single(last[own]),
                key: Key::new("default", "T", "1"),
                event_type: "Changed".into(),
                operation,
                data,
                ctx: None,
                identity: Identity { event_id: event_id.as_str().into(), place: 0 },
                version: 0,
                policy_epoch: epoch as u64,
                schema_version: 0,
                extras: Extras::default(),
            }));
        }
        least = origins.iter().cloned().zip(last).collect();
    }
    events
}

#[test]
fn the_fold_and_the_reference_agree_on_whatever_is_written() {
    let settings = FoldSettings::default();
    for seed in 0..4_000 {
        let random = &mut Random::new(seed);
        let all: Vec<Policy> = (0..2).map(|_| policies::policy(random, REGIONS)).collect();
        let mut agreed = Policies::default();
        for (epoch, policy) in (1..).zip(&all) {
            agreed.open("default", "T", epoch, policy.clone()).unwrap();
        }
        let given = Given(history(random, &all));
        let mut state = KeyState::default();
        for (place, event) in given.0.iter().enumerate() {
            let copies = given.0[..place].iter().filter(|e| e.identity == event.identity);
            let earlier: Vec<Stamp> = copies.map(|e| e.stamp()).collect();
            state.apply(event, &earlier, &given, agreed.of(&event.key), &settings).unwrap();
        }
        let events: Vec<RefEvent> = given.0.iter().map(|event| super::event(event)).collect();
        let by_epoch: RefPolicies = (1..).zip(all.iter().map(policy)).collect();
        let wanted = fold_under(&by_epoch, &events, settings.window_milliseconds);
        let records = state.records().map(|(key, r)| record(&(key.clone(), r.clone())));
        let records: BTreeSet<RefRecord> = records.collect();
        let folded = state.folded();
        assert_eq!(folded.value, wanted.value, "seed {seed}");
        assert_eq!(folded.version, wanted.version, "seed {seed}");
        assert_eq!(frontier(&state), wanted.frontier, "seed {seed}");
        assert_eq!(records, wanted.records, "seed {seed}");
    }
}
