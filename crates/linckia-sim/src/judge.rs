//! The judge: what every region shows, against the plain fold of what it has applied.
//!
//! The letters are those of the contract's last section. `causal` looks after every input, `probe`
//! at moments of the plan, `verdict` once at the end, when every region has applied everything.

use std::collections::{BTreeMap, BTreeSet};

use linckia_apply::{ConflictFilter, Found, Query, Reading};
use linckia_model::{
    Ack, Dot, Event, FoldSettings, Key, Level, Now, Origin, RegionName, Vector, Write, decode_event,
};
use linckia_region::{Input, Machine, Output};

use crate::reference::{self, RefDot, RefEvent, RefPolicies, RefRecord};
use crate::translate;
use crate::world::{Acknowledged, Archive, Asked, World, key, key_name};

const NOW: Now = Now { wall: 0, monotonic: 0 };

/// Every event of these logs up to that vector, with those that the logs have let go of.
pub(crate) fn events(
    archive: &Archive,
    machine: &Machine,
    upto: &Vector,
) -> Result<Vec<Event>, String> {
    let mut all = Vec::new();
    for (origin, last) in upto.iter() {
        let at =
            |error: linckia_log::Error| format!("the log of {origin} is not readable: {error}");
        let reader = machine.logs().reader(origin.as_str()).map_err(at)?;
        let first = reader.first();
        if first > 1 {
            let chain = reader.chain_at(first - 1).map_err(at)?;
            let before = archive.before(origin, chain);
            if before.len() as u64 != first - 1 {
                return Err(format!("{origin} begins at {first} after {}", before.len()));
            }
            all.extend(before.into_iter().take_while(|event| event.dot.sequence <= last));
        }
        let batch = reader.read(first, u64::MAX, usize::MAX).map_err(at)?;
        for (place, record) in batch.iter().enumerate() {
            if record.sequence() > last {
                break;
            }
            if record.sequence() != first + place as u64 {
                return Err(format!("(f) {origin} has a gap before {}", record.sequence()));
            }
            let dot = Dot::new(origin.clone(), record.sequence());
            let event = decode_event(dot, record.payload(), upto);
            all.push(event.map_err(|error| format!("{origin}: {error}"))?);
        }
        if machine.logs().durable(origin.as_str()).unwrap_or(0) < last {
            return Err(format!("{origin} is applied beyond what is durable"));
        }
    }
    Ok(all)
}

/// After every input: what is applied is causally closed, whatever was lost or overtaken, and the
/// store is not ahead of the logs.
pub(crate) fn causal(world: &mut World, region: usize) {
    let Some(machine) = &world.places[region].machine else { return };
    let (applied, stored) = (machine.region().applied(), machine.apply().stored());
    if !machine.region().durable().covers_all(stored) {
        let stored = stored.clone();
        return world.fail(format!("region {region}: the store is at {stored}, ahead of its logs"));
    }
    if *applied == world.places[region].checked {
        return;
    }
    let vector = applied.clone();
    let open = vector.iter().find_map(|(origin, last)| {
        if world.places[region].checked.get(origin) == last {
            return None;
        }
        let first = event_at(machine, origin, world.places[region].checked.get(origin) + 1)?;
        let stable = world.places[region].stable;
        if first.hlc <= stable {
            return Some(format!("{} is of {}, below stable time {stable}", first.dot, first.hlc));
        }
        let event = event_at(machine, origin, last)?;
        let missing = event.deps.beyond(&vector).next()?;
        let (missing, _, upto) = missing;
        Some(format!("{} is applied without {missing}:{upto}, on which it depends", event.dot))
    });
    let stable = machine.apply().stable();
    (world.places[region].checked, world.places[region].stable) = (vector, stable);
    if let Some(open) = open {
        world.fail(format!("{}: {open}", key_name(region)));
    }
}

/// At every acknowledgement: the event is on as many disks as was promised, now.
pub(crate) fn held(world: &mut World, region: usize, level: &Level, dot: &Dot) {
    // Who answered may not have heard yet that a disk was lost.
    let disks = world.disks_with(dot).into_iter();
    let holders: BTreeSet<usize> = disks.map(|(region, _)| region).collect();
    // Nor that a region has lapsed, or is back.
    let lapsed = world.lapsed_for(region);
    let counts = |number: &&usize| !lapsed.contains(&world.places[**number].name);
    let counting = world.places.len() - lapsed.len();
    let enough = match level {
        Level::Local => holders.contains(&region),
        Level::Any => holders.len() >= 2,
        Level::Quorum => 2 * holders.iter().filter(counts).count() > counting,
        Level::All => holders.iter().filter(counts).count() == counting,
        Level::Regions(named) => {
            let held = |name: &RegionName| {
                holders.iter().any(|number| world.places[*number].name == *name)
            };
            named.iter().all(held)
        }
    };
    if !enough {
        world.fail(format!("(b) {dot} is acknowledged as {level} and durable in {holders:?} only"));
    }
}

fn event_at(machine: &Machine, origin: &Origin, sequence: u64) -> Option<Event> {
    let batch = machine.logs().read(origin.as_str(), sequence, 1, 1).ok()?;
    let record = batch.first()?;
    let known = machine.region().applied();
    decode_event(Dot::new(origin.clone(), sequence), record.payload(), known).ok()
}

/// Looks at one region in the middle of things.
pub(crate) fn probe(world: &mut World, region: usize) {
    let wanted = Judged::of(world);
    let archive = &world.archive;
    let Some(machine) = &mut world.places[region].machine else { return };
    if machine.catch_up().is_some() {
        // It shows nothing until the state is here.
        return;
    }
    let flushed = machine.flush(NOW).map_err(|error| error.to_string());
    let judged = flushed.and_then(|()| shows(machine, &Histories::of(archive, machine, &wanted)?));
    if let Err(violation) = judged {
        world.fail(format!("{}: {violation}", key_name(region)));
    }
}

/// Looks at everything, when every region has applied everything.
pub(crate) fn verdict(world: &mut World) {
    if let Err(violation) = judge_all(world) {
        world.fail(violation);
    }
}

fn judge_all(world: &mut World) -> Result<(), String> {
    let wanted = Judged::of(world);
    let (lost, ends) = (lost(world), world.ends());
    let mut first: Option<(Vector, Histories)> = None;
    let mut digests = Vec::new();
    for (number, place) in world.places.iter_mut().enumerate() {
        let machine = place.machine.as_mut().ok_or("a region is down at the end")?;
        let at = |violation: String| format!("{}: {violation}", key_name(number));
        machine.flush(NOW).map_err(|error| at(error.to_string()))?;
        let applied = machine.region().applied().clone();
        let (vector, histories) = match first.take() {
            None => {
                let histories = Histories::of(&world.archive, machine, &wanted).map_err(at)?;
                acknowledged(&world.ledger, &lost, &histories).map_err(at)?;
                (applied.clone(), histories)
            }
            Some(first) => first,
        };
        // Equal chains at equal vectors are equal logs: what was read of one was read of all.
        same_logs(machine, &applied, &vector, &histories).map_err(at)?;
        refused(machine, &ends).map_err(at)?;
        shows(machine, &histories).map_err(at)?;
        shows_records(machine).map_err(at)?;
        first = Some((vector, histories));
        let ask = Input::Read { ticket: 0, query: Query::Digests };
        let outputs = machine.handle(NOW, ask).map_err(|error| at(error.to_string()))?;
        let reading = outputs.into_iter().find_map(|output| match output {
            Output::Reading { reading, .. } => reading,
            _ => None,
        });
        let Some(Reading { vector, found: Found::Digests(found) }) = reading else {
            return Err("digests are answered at once after a flush, by digests".to_owned());
        };
        digests.push((vector, found.root));
    }
    let differ = digests.windows(2).any(|pair| pair[0] != pair[1]);
    if differ {
        return Err(format!("(c) digests or vectors differ: {digests:?}"));
    }
    Ok(())
}

fn same_logs(
    machine: &Machine,
    applied: &Vector,
    vector: &Vector,
    histories: &Histories,
) -> Result<(), String> {
    if applied != vector {
        return Err(format!("(c) applied {applied} where another region has {vector}"));
    }
    for (origin, last) in vector.iter() {
        if machine.logs().durable(origin.as_str()).unwrap_or(0) < last {
            return Err(format!("{origin} is applied beyond what is durable"));
        }
        if chain_at(machine, origin, last)? != histories.chains[origin] {
            return Err(format!("(f) {origin} is not the same log as elsewhere at {last}"));
        }
    }
    Ok(())
}

fn chain_at(machine: &Machine, origin: &Origin, sequence: u64) -> Result<[u8; 16], String> {
    let reader = machine.logs().reader(origin.as_str());
    let chain = reader.and_then(|reader| reader.chain_at(sequence));
    chain.map_err(|error| format!("{origin} at {sequence}: {error}"))
}

/// Every record is shown with both its sides, whatever logs have let go of.
fn shows_records(machine: &mut Machine) -> Result<(), String> {
    let records = machine.apply().all_records(machine.store()).map_err(|e| e.to_string())?;
    let Key { data_set, .. } = key(0);
    let filter = ConflictFilter { data_set, aggregate_type: None, aggregate_id: None, open: None };
    let query = Query::Conflicts { filter, after: None, limit: usize::MAX - 1 };
    match answer(machine, query)? {
        Found::Conflicts(shown, None) if shown.len() == records.len() => Ok(()),
        found => Err(format!("{} records, and it shows {found:?}", records.len())),
    }
}

fn answer(machine: &mut Machine, query: Query) -> Result<Found, String> {
    let ask = Input::Read { ticket: 0, query };
    let outputs = machine.handle(NOW, ask).map_err(|error| error.to_string())?;
    let reading = outputs.into_iter().find_map(|output| match output {
        Output::Reading { reading, .. } => reading,
        _ => None,
    });
    Ok(reading.ok_or("a query is answered at once after a flush")?.found)
}

/// Whoever repeats an id is answered with its first copy, and nothing is written.
pub(crate) fn repeated(world: &mut World) {
    if world.plan.history_bytes.is_none() {
        return;
    }
    let lost = lost(world);
    let ledger = world.ledger.iter().filter(|ack| {
        let incarnations = world.agreed().incarnations.unwrap_or_default();
        !lost.contains(&(ack.dot.clone(), ack.event_id.clone())) && !incarnations.is_lost(&ack.dot)
    });
    let ledger: Vec<Acknowledged> = ledger.cloned().collect();
    for region in 0..world.places.len() {
        for ack in &ledger {
            let event = world.event(&ack.wish);
            let Some(machine) = &mut world.places[region].machine else { return };
            let given = machine.last_given();
            let events = vec![event];
            let ack_level = Ack::default();
            let write = Write {
                events,
                atomic: false,
                precondition: None,
                entity_tag: false,
                ack: ack_level,
            };
            let outputs = machine.handle(NOW, Input::Write { ticket: u64::MAX, write });
            let outputs = outputs.unwrap_or_default();
            let refused = |output: &Output| {
                matches!(output, Output::Answer { answers, .. }
                    if answers.iter().all(|answer| !matches!(answer, Ok(it) if !it.duplicate)))
            };
            let known = outputs.iter().any(refused) && machine.last_given() == given;
            if !known {
                let (name, id) = (key_name(region), &ack.event_id);
                return world.fail(format!("{name} takes {id} for new: {outputs:?}"));
            }
        }
    }
}

/// Nothing of a closed log was taken beyond its end.
fn refused(machine: &Machine, ends: &[(Origin, u64)]) -> Result<(), String> {
    for (origin, end) in ends {
        let held = machine.logs().durable(origin.as_str()).unwrap_or(0);
        if held > *end {
            return Err(format!("holds {origin} up to {held}, which ends at {end}"));
        }
    }
    Ok(())
}

/// What was acknowledged, is declared lost, and could not be kept: every disk that held it then is
/// lost.
fn lost(world: &World) -> BTreeSet<(Dot, String)> {
    let incarnations = world.agreed().incarnations.unwrap_or_default();
    let lost = world.ledger.iter().filter(|ack| {
        let gone = incarnations.is_lost(&ack.dot) || world.was_put_back(&ack.dot);
        gone && (world.are_lost(&ack.disks) || world.is_void(&ack.dot))
    });
    lost.map(|ack| (ack.dot.clone(), ack.event_id.clone())).collect()
}

/// (b), (f): every acknowledged id stands under its dot, or is lost.
fn acknowledged(
    ledger: &[Acknowledged],
    lost: &BTreeSet<(Dot, String)>,
    histories: &Histories,
) -> Result<(), String> {
    let by_dot: BTreeMap<&Dot, &Event> = histories.all.iter().map(|e| (&e.dot, e)).collect();
    let kept = |ack: &&Acknowledged| !lost.contains(&(ack.dot.clone(), ack.event_id.clone()));
    for ack in ledger.iter().filter(kept) {
        let found = by_dot.get(&ack.dot).ok_or_else(|| {
            format!("(b) {} was acknowledged as {} and is not there", ack.event_id, ack.dot)
        })?;
        if *found.identity.event_id != *ack.event_id || found.key != ack.key {
            return Err(format!(
                "(f) {} was acknowledged for {} and holds {}",
                ack.dot, ack.event_id, found.identity.event_id
            ));
        }
    }
    Ok(())
}

/// (h)
fn order_extends_causality(all: &[Event]) -> Result<(), String> {
    let by_dot: BTreeMap<&Dot, &Event> = all.iter().map(|e| (&e.dot, e)).collect();
    for event in all {
        for (origin, sequence) in event.deps.iter().filter(|(_, sequence)| *sequence > 0) {
            let dot = Dot::new(origin.clone(), sequence);
            let Some(before) = by_dot.get(&dot) else {
                return Err(format!("{} depends on {dot}, which is nowhere", event.dot));
            };
            let same = before.transaction.first == event.transaction.first
                && before.dot.origin == event.dot.origin;
            if before.hlc > event.hlc || (before.hlc == event.hlc && !same) {
                return Err(format!("(h) {} comes after {dot} and not in HLC order", event.dot));
            }
        }
    }
    Ok(())
}

/// No event of one policy epoch is concurrent with one of another.
fn epochs_do_not_meet(all: &[Event]) -> Result<(), String> {
    let Key { data_set, aggregate_type, .. } = key(0);
    let of_the_type = |event: &&Event| {
        event.key.data_set == data_set && event.key.aggregate_type == aggregate_type
    };
    let all = || all.iter().filter(of_the_type);
    let mut lasts: BTreeMap<u64, Vector> = BTreeMap::new();
    for event in all() {
        lasts.entry(event.policy_epoch).or_default().raise(&event.dot.origin, event.dot.sequence);
    }
    for event in all() {
        let mut before = lasts.range(..event.policy_epoch);
        let met = before.find_map(|(epoch, last)| {
            let (origin, first, _) = last.beyond(&event.deps).next()?;
            Some(format!("{origin}:{first} or later of epoch {epoch}"))
        });
        if let Some(met) = met {
            let epoch = event.policy_epoch;
            return Err(format!("{} of epoch {epoch} has not seen {met}", event.dot));
        }
    }
    Ok(())
}

/// What is looked at: so many aggregates, under these policies.
struct Judged {
    keys: usize,
    /// Records are what replay gives: those of bad rows are put right with them or stay.
    records: bool,
    policies: RefPolicies,
}

impl Judged {
    fn of(world: &World) -> Self {
        let agreed = world.agreed().policies.policies;
        let Key { data_set, aggregate_type, .. } = key(0);
        let epochs = agreed.of_type(&data_set, &aggregate_type).iter();
        let policies = epochs.map(|(epoch, policy)| (epoch, translate::policy(policy)));
        let records = !world.plan.rots;
        Self { keys: world.plan.keys, records, policies: policies.collect() }
    }
}

/// What a region's logs hold up to its vector, and what the plain fold makes of it.
struct Histories {
    all: Vec<Event>,
    /// Where each log stands.
    chains: BTreeMap<Origin, [u8; 16]>,
    wanted: Vec<reference::RefState>,
    records: bool,
}

impl Histories {
    fn of(archive: &Archive, machine: &Machine, judged: &Judged) -> Result<Self, String> {
        let upto = machine.region().applied().clone();
        let all = events(archive, machine, &upto)?;
        order_extends_causality(&all)?;
        epochs_do_not_meet(&all)?;
        let mut by_key: BTreeMap<&Key, Vec<RefEvent>> = BTreeMap::new();
        for event in &all {
            by_key.entry(&event.key).or_default().push(translate::event(event));
        }
        let window = FoldSettings::default().window_milliseconds;
        let folded = |number: usize| {
            let events = by_key.remove(&key(number)).unwrap_or_default();
            reference::fold_under(&judged.policies, &events, window)
        };
        let wanted = (0..judged.keys).map(folded).collect();
        let chain =
            |(origin, last): (&Origin, u64)| Ok((origin.clone(), chain_at(machine, origin, last)?));
        let chains: Result<_, String> = upto.iter().map(chain).collect();
        Ok(Self { chains: chains?, wanted, records: judged.records, all })
    }
}

/// (b), (d), (i), and what (c) and (e) follow from: values, versions, frontiers and records are
/// those of the plain fold. After a flush.
fn shows(machine: &Machine, histories: &Histories) -> Result<(), String> {
    let states = machine.apply().all_states(machine.store()).map_err(|e| e.to_string())?;
    let states: BTreeMap<Key, _> = states.into_iter().collect();
    let mut records: BTreeMap<Key, BTreeSet<RefRecord>> = BTreeMap::new();
    let found = machine.apply().all_records(machine.store()).map_err(|e| e.to_string())?;
    for (key, record_key, record) in found {
        let record = translate::record(&(record_key, record));
        if !records.entry(key.clone()).or_default().insert(record) {
            return Err(format!("{key:?} has a record twice"));
        }
    }
    for (number, wanted) in histories.wanted.iter().enumerate() {
        let key = key(number);
        let state = states.get(&key);
        let folded = state.map(|state| state.folded());
        let value = folded.as_ref().and_then(|folded| folded.value.clone());
        let aggregate = number.to_string();
        differs(&aggregate, "value", &wanted.value, &value)?;
        let version = folded.as_ref().map_or(0, |folded| folded.version);
        differs(&aggregate, "version", &wanted.version, &version)?;
        if wanted.value.is_some() {
            let frontier: BTreeSet<RefDot> = state.map(translate::frontier).unwrap_or_default();
            differs(&aggregate, "frontier", &wanted.frontier, &frontier)?;
        }
        let found = records.remove(&key).unwrap_or_default();
        if histories.records {
            differs(&aggregate, "records", &wanted.records, &found)?;
        }
    }
    Ok(())
}

fn differs<T: PartialEq + std::fmt::Debug>(
    aggregate: &str,
    what: &str,
    wanted: &T,
    found: &T,
) -> Result<(), String> {
    if wanted == found {
        return Ok(());
    }
    Err(format!("{what} of aggregate {aggregate}: the fold gives {wanted:?}, found {found:?}"))
}

/// Records at the end, in the first region that is up.
pub(crate) fn conflicts(world: &World) -> usize {
    let machine = world.places.iter().find_map(|place| place.machine.as_ref());
    machine
        .and_then(|machine| machine.apply().all_records(machine.store()).ok())
        .map_or(0, |records| records.len())
}

/// A request that a region has taken in this life, and not answered.
pub(crate) fn unanswered(world: &World) -> Option<u64> {
    let waits = |asked: &Asked| {
        let place = &world.places[asked.region];
        place.machine.is_some() && place.life == asked.life
    };
    world.tickets.iter().find(|(_, asked)| waits(asked)).map(|(ticket, _)| *ticket)
}

/// Writes into the trace where every region stands.
pub(crate) fn explain(world: &mut World) {
    let stands: Vec<String> = world
        .places
        .iter()
        .map(|place| match &place.machine {
            None => format!("{} is down", place.name),
            Some(machine) => {
                let region = machine.region();
                let (applied, durable) = (region.applied(), region.durable());
                let (links, loads) = (region.describe_links(), machine.catch_up());
                let name = &place.name;
                let (entered, stable) = (region.is_entered(), place.stable);
                format!(
                    "{name} applied {applied} of {durable}; entered {entered}; stable {stable}; \
                     loads {loads:?}; {links}"
                )
            }
        })
        .collect();
    for stand in stands {
        world.explain(stand);
    }
}
