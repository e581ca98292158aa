//! What takes back what some events of a key still show: compensating events, ordinary ones.
//!
//! Pure: given all events of the key and which of them are to be undone. A path that one of those
//! wrote last becomes what the fold without them has there; an increment that still counts is met
//! by its negative; all else stays. What always holds: an event that is undone already, or of which
//! nothing shows, is left alone, so that the same request again asks for nothing. The rules:
//! `docs/consistency.md`, and decision 0020.

mod changes;
mod leaves;
#[cfg(test)]
mod tests;
mod writers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::as_of::folded;
use super::{FoldSettings, canonical};
use crate::event::{Event, Identity, Operation};
use crate::policy::{Epochs, FieldKind, Policy, Shape};

/// How the ids of compensating events begin.
const ID_PREFIX: &str = "undo";

/// One compensating event. Several that undo one event share its id, in one atomic batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Compensation {
    /// The id of the event that it undoes.
    pub undoes: Arc<str>,
    /// The same wherever and whenever the same event is undone for the same time.
    pub event_id: Arc<str>,
    pub operation: Operation,
    pub data: Value,
}

/// Why there is nothing to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Others wrote since what these events wrote.
    NothingShows,
    /// They are undone.
    Undone,
    /// No event that its policy admits would lead there.
    Unclear,
    /// Too many events of a document that is too large to be judged.
    TooLong,
}

/// What undoing comes to, of one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Undo {
    /// Of the state that it was judged by: what is written holds for that one only.
    pub version: u64,
    pub entity_tag: Option<String>,
    pub outcome: Result<Vec<Compensation>, Left>,
}

/// Judges what takes back the named ones of a key's events, all of which are given, in whatever
/// order.
pub fn undo(
    events: &[Arc<Event>],
    named: &dyn Fn(&Event) -> bool,
    epochs: &Epochs,
    settings: &FoldSettings,
) -> Undo {
    let mut events: Vec<Arc<Event>> = events.to_vec();
    events.sort_by_cached_key(|event| event.stamp());
    let history = History::of(&events, named);
    let of_interest = |event: &Event| history.taken.contains_key(&unit(event));
    let (with, writers) = writers::replay(&events, &of_interest, epochs, settings);
    let left = |out: &BTreeSet<Identity>| -> Vec<Arc<Event>> {
        events.iter().filter(|event| !out.contains(&unit(event))).map(Arc::clone).collect()
    };
    let tag = |outcome| Undo {
        version: with.version(),
        entity_tag: canonical::entity_tag(&with),
        outcome,
    };
    if history.roots.is_empty() {
        return tag(Err(Left::Undone));
    }
    if writers.gave_up() {
        return tag(Err(Left::TooLong));
    }
    let without = folded(&left(&history.void_then), epochs, settings).folded().value;
    let beneath = (!history.void.is_empty())
        .then(|| writers::replay(&left(&history.void), &of_interest, epochs, settings).1);
    if beneath.as_ref().is_some_and(writers::Writers::gave_up) {
        return tag(Err(Left::TooLong));
    }
    let value = with.folded().value;
    let changes = changes::Changes {
        history: &history,
        writers: &writers,
        beneath: beneath.as_ref(),
        policy: epochs.open_policy(),
        with: value.as_ref(),
        without: without.as_ref(),
    };
    let (planned, target) = changes.plan();
    if planned.is_empty() {
        return tag(Err(Left::NothingShows));
    }
    let admitted =
        planned.iter().all(|one| epochs.open_policy().admits(one.operation, &one.data).is_ok());
    let reached = admitted && {
        let after = compensated(&events, &planned, epochs);
        folded(&after, epochs, settings).folded().value == target
    };
    tag(if reached { Ok(planned) } else { Err(Left::Unclear) })
}

/// The events with those that compensate behind them, as if written having seen all of them.
fn compensated(
    events: &[Arc<Event>],
    planned: &[Compensation],
    epochs: &Epochs,
) -> Vec<Arc<Event>> {
    let mut all = events.to_vec();
    for (place, one) in (0..).zip(planned) {
        let Some(last) = all.last() else { break };
        let mut event = Event::clone(last);
        let own = events.iter().filter(|known| known.dot.origin == event.dot.origin);
        let highest = own.map(|known| known.dot.sequence).max().unwrap_or(0);
        event.dot.sequence = highest + 1 + u64::from(place);
        for known in &all {
            event.deps.raise(&known.dot.origin, known.dot.sequence);
        }
        event.hlc = event.hlc.next();
        event.ctx = None;
        event.identity = Identity { event_id: Arc::clone(&one.event_id), place };
        (event.operation, event.data) = (one.operation, one.data.clone());
        event.policy_epoch = epochs.open();
        all.push(Arc::new(event));
    }
    all
}

/// Which events are to be taken out, and under whose name.
struct History {
    /// Whatever the fold goes without: the event to be undone that it belongs to. Itself, or what
    /// it has undone and brought back since.
    taken: BTreeMap<Identity, Identity>,
    /// The events to be undone, in order; those that are undone are none of them: in their name
    /// nothing changes, and yet the fold goes without them.
    roots: Vec<Identity>,
    /// How often each was undone before.
    rounds: BTreeMap<Identity, u64>,
    /// What is undone and stays so, with all that undid it: what compensates for it covers what
    /// lies beneath.
    void: BTreeSet<Identity>,
    /// What will be undone, with all that undid it.
    void_then: BTreeSet<Identity>,
}

impl History {
    fn of(events: &[Arc<Event>], named: &dyn Fn(&Event) -> bool) -> Self {
        let units: Vec<Identity> = events.iter().map(|event| unit(event)).collect();
        let named: BTreeSet<&Identity> =
            events.iter().zip(&units).filter(|(event, _)| named(event)).map(|(_, id)| id).collect();
        let (undoes, rounds) = links(&units);
        let undone = undone(&units, &undoes, BTreeSet::new());
        let mut within: BTreeSet<&Identity> = BTreeSet::new();
        let mut taken: BTreeMap<Identity, Identity> = BTreeMap::new();
        let mut roots = Vec::new();
        for id in &units {
            let target = undoes.get(id).copied();
            // What undid a named event goes with that one, and is not undone itself.
            if target.is_some_and(|target| named.contains(target) || within.contains(target)) {
                within.insert(id);
            }
            let known = target.and_then(|target| taken.get(target)).cloned();
            if let Some(root) = known {
                taken.insert(id.clone(), root);
            } else if named.contains(id)
                && !within.contains(id)
                && taken.insert(id.clone(), id.clone()).is_none()
                && !undone.contains(id)
            {
                roots.push(id.clone());
            }
        }
        let undone_then = self::undone(&units, &undoes, roots.iter().collect());
        let (before, then) = (void(&units, &undoes, undone), void(&units, &undoes, undone_then));
        let live = |id: &Identity| taken.get(id).is_some_and(|root| roots.contains(root));
        let void = before.intersection(&then).filter(|id| !live(id));
        let void = void.map(|id| Identity::clone(id)).collect();
        let void_then = then.into_iter().cloned().collect();
        let rounds = rounds.into_iter().map(|(id, rounds)| (id.clone(), rounds)).collect();
        Self { taken, roots, rounds, void, void_then }
    }

    /// The id of what compensates this event now.
    fn new_id(&self, root: &Identity) -> Arc<str> {
        let round = self.rounds.get(root).copied().unwrap_or(0);
        format!("{ID_PREFIX}.{}.{round}", name_of(root)).into()
    }
}

/// What is undone by what is not, if these are. Whoever undoes an event comes after it in order:
/// seen from the end, his fate is known.
fn undone<'a>(
    units: &'a [Identity],
    undoes: &BTreeMap<&'a Identity, &'a Identity>,
    mut undone: BTreeSet<&'a Identity>,
) -> BTreeSet<&'a Identity> {
    for id in units.iter().rev() {
        if let Some(target) = undoes.get(id)
            && !undone.contains(id)
        {
            undone.insert(target);
        }
    }
    undone
}

/// These, with all that undid them, and what undid that.
fn void<'a>(
    units: &'a [Identity],
    undoes: &BTreeMap<&'a Identity, &'a Identity>,
    mut void: BTreeSet<&'a Identity>,
) -> BTreeSet<&'a Identity> {
    for id in units {
        if undoes.get(id).is_some_and(|target| void.contains(target)) {
            void.insert(id);
        }
    }
    void
}

type Links<'a> = (BTreeMap<&'a Identity, &'a Identity>, BTreeMap<&'a Identity, u64>);

/// Who undoes whom, and how often each was undone.
fn links(units: &[Identity]) -> Links<'_> {
    let is_one = |id: &&Identity| parse_id(&id.event_id).is_some();
    let (mut undoes, mut rounds) = (BTreeMap::new(), BTreeMap::new());
    if !units.iter().any(|id| is_one(&id)) {
        return (undoes, rounds);
    }
    let names: BTreeMap<String, &Identity> = units.iter().map(|id| (name_of(id), id)).collect();
    for id in units.iter().filter(is_one) {
        let Some((name, round)) = parse_id(&id.event_id) else { continue };
        if let Some(target) = names.get(name) {
            undoes.insert(id, *target);
            let rounds = rounds.entry(*target).or_insert(0);
            *rounds = (*rounds).max(round + 1);
        }
    }
    (undoes, rounds)
}

/// Whom an event is undone as: all that undoes one event at once is one.
fn unit(event: &Event) -> Identity {
    match parse_id(&event.identity.event_id) {
        Some(_) => Identity { place: 0, ..event.identity.clone() },
        None => event.identity.clone(),
    }
}

fn parse_id(id: &str) -> Option<(&str, u64)> {
    let (name, round) = id.strip_prefix(ID_PREFIX)?.strip_prefix('.')?.split_once('.')?;
    Some((name, round.parse().ok().filter(|round| *round < u64::MAX)?))
}

/// The name of an event in the id of what undoes it.
fn name_of(identity: &Identity) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(identity.event_id.as_bytes());
    hasher.update(&[0]);
    hasher.update(&identity.place.to_be_bytes());
    hasher.finalize().to_hex()[..32].to_owned()
}

/// The field that lies exactly there.
fn kind_at(policy: &Policy, place: &[String]) -> Option<FieldKind> {
    match place.iter().fold(policy.shape(), |shape, name| shape.child(name)) {
        Shape::Field(kind) => Some(kind),
        _ => None,
    }
}
