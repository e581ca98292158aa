//! The step from a request to events: identity first, then preconditions, then the fold ahead.
//!
//! States are folded ahead for keys with events on their way to the disk, so that a precondition
//! and a version see what was given a sequence and is not applied yet.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use linckia_model::{
    Answer, Cause, Claim, ClaimRef, Clock, Dot, Event, EventSource, FoldSettings, Hlc, Identity,
    Key, KeyState, Map, NewEvent, Now, Operation, Origin, Policies, Precondition, RecordChange,
    Refusal, Stamp, Transaction, Vector, Write, canonical, content_hash, map, with_causes,
};

use crate::check::check;
use crate::port::Standing;

/// A key with events of this region that are not applied yet.
#[derive(Clone)]
struct Staged {
    state: KeyState,
    /// The last of those events, and all of them.
    last: u64,
    pending: VecDeque<Arc<Event>>,
    /// What the last of them put on record.
    change: RecordChange,
    /// A remote event was folded in since: what is staged is no longer what applying will give.
    touched: bool,
}

/// The state that applying one event of ours gives, known since it was captured.
#[derive(Debug)]
pub struct Prepared {
    pub state: KeyState,
    pub change: RecordChange,
}

/// What one request came to.
#[derive(Debug, Default)]
pub struct Captured {
    /// Events to append, in order; those of an atomic request are one transaction.
    pub events: Vec<Arc<Event>>,
    /// One answer per event of the request, in order.
    pub answers: Vec<Result<Answer, Refusal>>,
    /// The answers, refusals too, may be given once this sequence of the own log is durable and
    /// applied.
    pub after: u64,
}

/// The maker of this region's events.
pub struct Capture {
    origin: Origin,
    /// The sequence given last.
    last: u64,
    fold: FoldSettings,
    policies: Arc<Policies>,
    staged: Map<Key, Staged>,
    /// The last event of ours that the state judged last rests on.
    shown_until: u64,
    /// Events on their way to the disk, by key and identity.
    fresh: Map<Claim, Arc<Event>>,
}

/// What is folded ahead comes last in order, mostly: then nothing is read.
struct Ahead<'a, S>(&'a S);

impl<S: Standing> EventSource for Ahead<'_, S> {
    fn event(&self, dot: &Dot) -> Result<Option<Arc<Event>>, Cause> {
        self.0.event(dot)
    }

    fn between(&self, key: &Key, first: &Stamp, last: &Stamp) -> Result<Vec<Arc<Event>>, Cause> {
        self.0.between(key, first, last)
    }
}

/// The answer to an id that this event has.
fn repeated(new: &NewEvent, event: &Event) -> Result<Answer, Refusal> {
    let same = event.operation == new.operation
        && event.event_type == new.event_type
        && event.data == new.data;
    if !same {
        return Err(Refusal::IdReused(event.dot.clone()));
    }
    Ok(answer_again(new, &event.dot, event.hlc, event.version))
}

fn answer_again(new: &NewEvent, dot: &Dot, hlc: Hlc, version: u64) -> Answer {
    Answer {
        event_id: Arc::clone(&new.event_id),
        dot: dot.clone(),
        hlc,
        version,
        duplicate: true,
        created: false,
        entity_tag: None,
    }
}

/// What a request asks of each of its events.
struct Terms {
    precondition: Option<Precondition>,
    entity_tag: bool,
}

impl Terms {
    fn of(write: &Write) -> Self {
        Self { precondition: write.precondition.clone(), entity_tag: write.entity_tag }
    }
}

/// One event that passed every check, before it gets its dot.
struct Draft {
    new: NewEvent,
    identity: Identity,
    version: u64,
    created: bool,
}

impl Capture {
    /// Goes on after the last durable sequence of its origin. `seed` is for hashes: a secret.
    pub fn new(origin: Origin, last: u64, fold: FoldSettings, seed: u64) -> Self {
        Self {
            origin,
            last,
            fold,
            policies: Arc::default(),
            staged: map(seed),
            shown_until: 0,
            fresh: map(seed),
        }
    }

    /// From here on these policies say what may be written, and under which epochs.
    pub fn set_policies(&mut self, policies: Arc<Policies>) {
        self.policies = policies;
    }

    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The sequence given last.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// True while events of this key are folded ahead of what is applied.
    pub fn is_ahead(&self, key: &Key) -> bool {
        self.staged.contains_key(key)
    }

    /// Judges a request and makes its events.
    ///
    /// # Errors
    /// Those of the state: the region must stop. Refusals are answers.
    pub fn write<S: Standing>(
        &mut self,
        now: Now,
        clock: &mut Clock,
        write: Write,
        standing: &mut S,
    ) -> Result<Captured, S::Error> {
        let mut captured = Captured { after: 0, ..Captured::default() };
        if write.atomic {
            self.transaction(now, clock, write, standing, &mut captured)?;
        } else {
            let terms = Terms::of(&write);
            captured.events.reserve(write.events.len());
            captured.answers.reserve(write.events.len());
            for new in write.events {
                self.single(now, clock, &terms, new, standing, &mut captured)?;
            }
        }
        Ok(captured)
    }

    fn single<S: Standing>(
        &mut self,
        now: Now,
        clock: &mut Clock,
        terms: &Terms,
        new: NewEvent,
        standing: &mut S,
        captured: &mut Captured,
    ) -> Result<(), S::Error> {
        let identity = Identity { event_id: Arc::clone(&new.event_id), place: 0 };
        if let Some(known) = self.known(&new, &identity, standing)? {
            captured.wait_for(&self.origin, &known);
            captured.answers.push(known);
            return Ok(());
        }
        match self.judge(new, identity, terms, standing)? {
            Err(refusal) => {
                captured.after = captured.after.max(self.shown_until);
                captured.answers.push(Err(refusal));
            }
            Ok(draft) => {
                let hlc = clock.next(now);
                let transaction = Transaction::single(self.last + 1);
                self.stage(draft, hlc, transaction, terms, standing, captured)?;
            }
        }
        Ok(())
    }

    /// All or nothing: every event is judged on top of those before it; the first refusal undoes
    /// it.
    fn transaction<S: Standing>(
        &mut self,
        now: Now,
        clock: &mut Clock,
        write: Write,
        standing: &mut S,
        captured: &mut Captured,
    ) -> Result<(), S::Error> {
        let (terms, count) = (Terms::of(&write), write.events.len());
        let (first, before) = (self.last + 1, self.staged_states(&write));
        let mut places: BTreeMap<(Key, Arc<str>), u32> = BTreeMap::new();
        let mut wanted = Vec::new();
        for new in write.events {
            let name = (new.key.clone(), Arc::clone(&new.event_id));
            let place = places.entry(name).or_insert(0);
            let identity = Identity { event_id: Arc::clone(&new.event_id), place: *place };
            *place += 1;
            let known = self.known(&new, &identity, standing)?;
            if let Some(Err(refusal)) = known {
                captured.refuse_all(count, wanted.len(), refusal);
                return Ok(());
            }
            wanted.push((new, identity, known));
        }
        let size = wanted.iter().filter(|(_, _, known)| known.is_none()).count() as u32;
        let later = Terms { precondition: None, entity_tag: terms.entity_tag };
        let (mut hlc, mut judged) = (None, BTreeSet::new());
        for (place, (new, identity, known)) in wanted.into_iter().enumerate() {
            if let Some(known) = known {
                captured.wait_for(&self.origin, &known);
                captured.answers.push(known);
                continue;
            }
            let key = new.key.clone();
            let terms = if judged.insert(key.clone()) { &terms } else { &later };
            match self.judge(new, identity, terms, standing)? {
                Err(refusal) => {
                    // What the refusal shows of this very request is undone with it.
                    let shown_until =
                        before.get(&key).and_then(|staged| Some(staged.as_ref()?.last));
                    self.undo(first, before, captured);
                    captured.refuse_all(count, place, refusal);
                    captured.after = shown_until.unwrap_or(0);
                    return Ok(());
                }
                Ok(draft) => {
                    let hlc = *hlc.get_or_insert_with(|| clock.next(now));
                    let index = captured.events.len() as u32;
                    let transaction = Transaction { first, index, size };
                    self.stage(draft, hlc, transaction, terms, standing, captured)?;
                }
            }
        }
        Ok(())
    }

    fn staged_states(&self, write: &Write) -> BTreeMap<Key, Option<Staged>> {
        let keys = write.events.iter().map(|new| &new.key);
        keys.map(|key| (key.clone(), self.staged.get(key).cloned())).collect()
    }

    fn undo(&mut self, first: u64, before: BTreeMap<Key, Option<Staged>>, captured: &mut Captured) {
        self.last = first - 1;
        for event in captured.events.drain(..) {
            self.forget(&event);
        }
        for (key, staged) in before {
            match staged {
                Some(staged) => drop(self.staged.insert(key, staged)),
                None => drop(self.staged.swap_remove(&key)),
            }
        }
    }

    /// The answer to an id that was used before on this aggregate, if it was.
    fn known<S: Standing>(
        &self,
        new: &NewEvent,
        identity: &Identity,
        standing: &mut S,
    ) -> Result<Option<Result<Answer, Refusal>>, S::Error> {
        if let Some(event) = self.fresh.get(&ClaimRef { key: &new.key, identity }) {
            return Ok(Some(repeated(new, event)));
        }
        let mut copies = standing.copies(&new.key, identity)?;
        copies.sort_unstable();
        // Of copies that are older than the window nothing may be left.
        for copy in &copies {
            match standing.event(&copy.dot) {
                Ok(Some(event)) => return Ok(Some(repeated(new, &event))),
                Ok(None) => {}
                // Whether it is the same is not to be known, and nobody else has to wait for it.
                Err(cause) => return Ok(Some(Err(Refusal::Unreadable(with_causes(&*cause))))),
            }
            if let Some(left) = standing.abridged(copy)? {
                let same = left.content == content_hash(new.operation, &new.event_type, &new.data);
                return Ok(Some(match same {
                    true => Ok(answer_again(new, &copy.dot, left.hlc, left.version)),
                    false => Err(Refusal::IdReused(copy.dot.clone())),
                }));
            }
        }
        Ok(None)
    }

    fn judge<S: Standing>(
        &mut self,
        new: NewEvent,
        identity: Identity,
        terms: &Terms,
        standing: &mut S,
    ) -> Result<Result<Draft, Refusal>, S::Error> {
        let epochs = self.policies.of(&new.key);
        // A refusal by policy shows nothing of the state.
        self.shown_until = 0;
        if epochs.is_closed() {
            return Ok(Err(Refusal::PolicyChanging));
        }
        if let Err(inadmissible) = epochs.open_policy().admits(new.operation, &new.data) {
            return Ok(Err(Refusal::Inadmissible(inadmissible)));
        }
        if !self.staged.contains_key(&new.key) {
            let state = standing.state(&new.key)?;
            let change = RecordChange::default();
            let staged =
                Staged { state, last: 0, pending: VecDeque::new(), change, touched: false };
            self.staged.insert(new.key.clone(), staged);
        }
        let Some(staged) = self.staged.get(&new.key) else {
            unreachable!("the state was just staged")
        };
        let state = &staged.state;
        if state.epoch() > epochs.open() {
            // The policy it was written under is not known here yet.
            if staged.last == 0 {
                self.staged.swap_remove(&new.key);
            }
            return Ok(Err(Refusal::PolicyChanging));
        }
        let exists = state.exists();
        let refusal = terms
            .precondition
            .as_ref()
            .and_then(|precondition| check(precondition, &new.key, state, exists))
            .or_else(|| match new.operation {
                Operation::Increment => state.check_increment(&new.data).err(),
                _ => None,
            });
        self.shown_until = staged.last;
        let Some(refusal) = refusal else {
            let version = state.version() + 1;
            return Ok(Ok(Draft { new, identity, version, created: !exists }));
        };
        if staged.last == 0 {
            self.staged.swap_remove(&new.key);
        }
        Ok(Err(refusal))
    }

    /// Gives the event its dot, folds it ahead and writes its answer.
    fn stage<S: Standing>(
        &mut self,
        draft: Draft,
        hlc: Hlc,
        transaction: Transaction,
        terms: &Terms,
        standing: &S,
        captured: &mut Captured,
    ) -> Result<(), S::Error> {
        let Draft { new, identity, version, created } = draft;
        self.last += 1;
        let mut deps: Vector = standing.applied().clone();
        deps.set(&self.origin, self.last - 1);
        let epochs = self.policies.of(&new.key);
        let event = Arc::new(Event {
            dot: Dot::new(self.origin.clone(), self.last),
            hlc,
            deps,
            transaction,
            key: new.key,
            event_type: new.event_type,
            operation: new.operation,
            data: new.data,
            ctx: None,
            identity,
            version,
            policy_epoch: epochs.open(),
            schema_version: 0,
            extras: new.extras,
        });
        let staged =
            self.staged.get_mut(&event.key).expect("the key was staged when it was judged");
        let ahead = Ahead(standing);
        staged.change = staged.state.apply(&event, &[], &ahead, epochs, &self.fold)?;
        staged.last = self.last;
        staged.pending.push_back(Arc::clone(&event));
        let entity_tag = if terms.entity_tag { canonical::entity_tag(&staged.state) } else { None };
        let claim = ClaimRef { key: &event.key, identity: &event.identity }.to_owned();
        self.fresh.insert(claim, Arc::clone(&event));
        captured.after = self.last;
        captured.answers.push(Ok(Answer {
            event_id: Arc::clone(&event.identity.event_id),
            dot: event.dot.clone(),
            hlc,
            version,
            duplicate: false,
            created,
            entity_tag,
        }));
        captured.events.push(event);
        Ok(())
    }

    fn forget(&mut self, event: &Event) {
        self.fresh.swap_remove(&ClaimRef { key: &event.key, identity: &event.identity });
    }

    /// Asked of every event just before it is applied: the state that applying it gives, if nothing
    /// else came between. Then what was folded ahead need not be folded again, and no copy of it
    /// was applied.
    pub fn prepared(&mut self, event: &Event) -> Option<Prepared> {
        let staged = self.staged.get_mut(&event.key)?;
        if event.dot.origin != self.origin {
            staged.touched = true;
            return None;
        }
        let last = staged.last == event.dot.sequence && staged.pending.len() == 1;
        if !last || staged.touched {
            return None;
        }
        let staged = self.staged.swap_remove(&event.key)?;
        Some(Prepared { state: staged.state, change: staged.change })
    }

    /// Events were applied: those of ours are no longer ahead, and what still is ahead of those of
    /// others is folded anew.
    ///
    /// # Errors
    /// Those of the state: the region must stop.
    pub fn applied<S: Standing>(
        &mut self,
        events: &[Arc<Event>],
        standing: &mut S,
    ) -> Result<(), S::Error> {
        let mut touched = BTreeSet::new();
        for event in events {
            if event.dot.origin != self.origin {
                if self.staged.contains_key(&event.key) {
                    touched.insert(&event.key);
                }
                continue;
            }
            self.forget(event);
            if let Some(staged) = self.staged.get_mut(&event.key) {
                staged.pending.retain(|ahead| ahead.dot.sequence > event.dot.sequence);
                if staged.pending.is_empty() {
                    self.staged.swap_remove(&event.key);
                }
            }
        }
        touched.into_iter().try_for_each(|key| self.fold_ahead(key, standing))
    }

    /// What is ahead of a key is folded over what is applied.
    fn fold_ahead<S: Standing>(&mut self, key: &Key, standing: &mut S) -> Result<(), S::Error> {
        let Some(staged) = self.staged.get_mut(key) else { return Ok(()) };
        let mut state = standing.state(key)?;
        for event in &staged.pending {
            // No id is twice among those that are ahead.
            let copies = standing.copies(key, &event.identity)?;
            let (ahead, epochs) = (Ahead(standing), self.policies.of(key));
            state.apply(event, &copies, &ahead, epochs, &self.fold)?;
        }
        staged.state = state;
        Ok(())
    }
}

impl Captured {
    fn wait_for(&mut self, own: &Origin, known: &Result<Answer, Refusal>) {
        if let Ok(answer) = known
            && answer.dot.origin == *own
        {
            self.after = self.after.max(answer.dot.sequence);
        }
    }

    fn refuse_all(&mut self, count: usize, culprit: usize, refusal: Refusal) {
        self.answers = (0..count).map(|_| Err(Refusal::Sibling)).collect();
        self.answers[culprit] = Err(refusal);
        self.after = 0;
    }
}
