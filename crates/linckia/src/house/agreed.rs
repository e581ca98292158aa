//! Between the core and the agreement: what was agreed goes in, what the core says of it comes out.
//!
//! What always holds: the core hears of every change in order; what it says is proposed until it is
//! decided or the change is over; a change of policy that nobody finishes is aborted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use linckia_control::{
    Agreement, Command, Outcome, PolicyBooks, Promise, Restored, Roster, names, written,
};
use linckia_model::{Incarnations, Origin, RegionName, TypeName, Vector};
use linckia_region::{CatchUp, Output};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;

use super::consult::{Consults, FleetTime};
use super::core::{Order, Orders};
use super::lapsing::Lapsing;
use super::place::Place;
use crate::backup::forget_restored;

/// Time between looks at what is under way.
const LOOK: Duration = Duration::from_secs(1);

/// A proposal is waited for so long, then made again.
const DECISION_LONGEST: Duration = Duration::from_secs(5);

/// A region that is not taken in with what it was restored with asks so often.
const OTHER_HISTORY_PAUSE: Duration = Duration::from_secs(30);

/// A change that is this old, in milliseconds, was left by whoever began it.
const LEFT_MILLISECONDS: u64 = 60_000;

/// What the core has said, and is not decided yet.
#[derive(Default)]
pub(super) struct Said {
    words: Mutex<Words>,
    told: Notify,
}

#[derive(Default)]
struct Words {
    /// Types that are no longer written: the epoch that begins, and how far was written.
    stopped: BTreeMap<TypeName, (u64, Vector)>,
    /// Logs that are being closed: the attempt, and what is promised.
    promised: BTreeMap<Origin, (u64, Promise)>,
    /// Closed logs that are held to their end: the attempt.
    levelled: BTreeMap<Origin, u64>,
    /// Closed logs with the first event that depends on what is lost.
    void: BTreeMap<Origin, u64>,
    /// Logs that no region writes.
    strays: BTreeSet<Origin>,
    /// This region came back after a lapse, and all that count know of it.
    returned: bool,
}

impl Said {
    /// Takes what the core says of what was agreed.
    pub(super) fn tell(&self, output: Output) {
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        match output {
            Output::Stopped { name, epoch, written } => {
                words.stopped.insert(name, (epoch, written));
            }
            Output::Promised { origin, attempt, promise } => {
                let promise = Promise::new(&promise.held, promise.heard, promise.hlc);
                words.promised.insert(origin, (attempt, promise));
            }
            Output::Levelled { origin, attempt } => drop(words.levelled.insert(origin, attempt)),
            Output::Void { origin, first } => drop(words.void.insert(origin, first)),
            Output::Stray { origin } => drop(words.strays.insert(origin)),
            Output::Returned => words.returned = true,
            Output::Answer { .. }
            | Output::Reading { .. }
            | Output::Send { .. }
            | Output::Alarm(_) => {}
        }
        self.told.notify_one();
    }

    /// How far was written before that epoch; what is over is forgotten.
    fn stopped(&self, name: &TypeName, wanted: u64) -> Option<Vector> {
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        let (epoch, written) = words.stopped.get(name)?;
        if *epoch == wanted { Some(written.clone()) } else { words.stopped.remove(name).and(None) }
    }
}

/// How the core stands to what was agreed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stands {
    /// Its directory is known not to be an old copy, or nobody is left to say so.
    pub(super) compared: bool,
    pub(super) writable: bool,
    /// Until then what keeps it from being known as the region's only one: a peer's words, or none
    /// where the directory was moved.
    pub(super) awaits_word: Option<String>,
    /// Its logs do not reach back: it loads the state from another region.
    pub(super) catch_up: Option<CatchUp>,
}

/// This region, the origin in which it writes in this life of its directory, and all regions that
/// hold data.
pub(super) struct Own {
    pub(super) name: RegionName,
    pub(super) origin: Origin,
    pub(super) regions: Vec<RegionName>,
    /// The logs that its directory held when it started.
    pub(super) held: Vec<Origin>,
    pub(super) dir: PathBuf,
    /// To be kept once it is known to be the region's only one.
    pub(super) place: Option<Place>,
    /// What its directory was restored with, from a backup.
    pub(super) restored: Option<Box<Restored>>,
    /// A region that was not heard of for so long lapses; zero: never by itself.
    pub(super) lapse_after: Duration,
    /// In parts per million.
    pub(super) lapse_at: u32,
}

impl Own {
    fn presents(&self) -> Command {
        Command::Present {
            region: self.name.to_string(),
            origin: self.origin.to_string(),
            members: names(&self.regions),
            held: self.held.iter().map(Origin::to_string).collect(),
            restored: self.restored.clone(),
        }
    }
}

/// What is told of it.
pub(super) struct Told {
    /// True while this member is one of those that decide, they know in which origin it writes, and
    /// the core may write in it.
    pub(super) entered: watch::Sender<bool>,
    pub(super) incarnations: watch::Sender<Arc<Incarnations>>,
}

/// Carries both ways until the core ends.
pub(super) async fn follow(
    mut own: Own,
    agreement: Agreement<Consults>,
    orders: Orders,
    said: Arc<Said>,
    time: FleetTime,
    mut stands: watch::Receiver<Stands>,
    told: Told,
) {
    let (mut roster, mut decides) = (agreement.roster(), agreement.entered());
    let mut known: Option<Arc<Roster>> = None;
    // One at a time, and beside: what is decided meanwhile is heard.
    let mut proposing = JoinSet::new();
    let mut lapsing = Lapsing::new(own.lapse_after, own.lapse_at);
    loop {
        let decides_now = *decides.borrow_and_update();
        let decided = Arc::clone(&roster.borrow_and_update());
        if !known.as_ref().is_some_and(|known| is_same(known, &decided)) {
            let agreed = decided.agreed(&own.regions);
            let incarnations = agreed.incarnations.clone().unwrap_or_default();
            told.incarnations.send_replace(Arc::new(incarnations));
            if !orders.send(Order::Agreed(agreed)).await {
                return;
            }
            tell_unconfigured(&own, known.as_deref(), &decided);
            if let Some(known) = &known {
                tell_lapses(known, &decided);
                tell_joins(known, &decided);
                tell_ends(known, &decided);
            }
            known = Some(Arc::clone(&decided));
        }
        let (compared, writable) = {
            let stands = stands.borrow_and_update();
            (stands.compared, stands.writable)
        };
        if compared {
            agreement.wake();
            if let Some(Err(error)) = own.place.take().map(|place| place.keep()) {
                tracing::warn!("{error:#}; a move of the directory would not be noticed");
            }
        }
        let present = decided.incarnations().of(own.name.as_str()) == Some(own.origin.as_str());
        if present && own.restored.take().is_some() {
            forget_restored(&own.dir);
        }
        let enters = decides_now && present && writable;
        told.entered.send_if_modified(|entered| std::mem::replace(entered, enters) != enters);
        if proposing.is_empty() {
            let incarnations = Arc::clone(&told.incarnations.borrow());
            let mut due = due(&own, decided.policies(), &said, time.now());
            if decides_now && present {
                due.extend(closings_due(&own, &incarnations, &said));
            } else if decides_now && !incarnations.closings.contains_key(&own.origin) {
                due = vec![own.presents()];
            }
            if enters && lapsing.is_due() {
                let (reply, status) = oneshot::channel();
                if !orders.send(Order::Status { reply }).await {
                    return;
                }
                if let Ok(status) = status.await {
                    due.extend(lapsing.due(&own, &status, &decided, time.now()));
                }
            }
            if !due.is_empty() {
                proposing.spawn(propose(agreement.clone(), due));
            }
        }
        tokio::select! {
            changed = roster.changed() => if changed.is_err() { return },
            changed = decides.changed() => if changed.is_err() { return },
            changed = stands.changed() => if changed.is_err() { return },
            Some(_) = proposing.join_next() => {}
            () = said.told.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Says which logs have an end now that they had not before.
fn tell_ends(before: &Roster, decided: &Roster) {
    for (log, closing) in decided.incarnations().closings() {
        if decided.incarnations().is_restored(log) {
            continue;
        }
        let known = before.incarnations().closing(log).and_then(|closing| closing.end);
        if let Some(end) = closing.end.filter(|end| known != Some(*end)) {
            let lost = closing.heard.saturating_sub(end);
            tracing::warn!(
                log,
                end,
                lost,
                "the log of a lost directory is closed: what was written after its end is lost"
            );
        }
    }
}

/// Says which members are missing in this region's configuration.
fn tell_unconfigured(own: &Own, before: Option<&Roster>, decided: &Roster) {
    let told = |region: &str| before.is_some_and(|it| it.incarnations().of(region).is_some());
    for region in decided.incarnations().members().filter(|region| !told(region)) {
        if !own.regions.iter().any(|known| known.as_str() == region) {
            tracing::error!(
                region,
                "a region is a member of the fleet and not in this one's configuration: its \
                 events come by way of others, and acknowledgements do not wait for it. Add it to \
                 [[peers]] and restart; if it has left for good, let it lapse"
            );
        }
    }
}

/// Says who has lapsed, and who is back.
fn tell_lapses(before: &Roster, decided: &Roster) {
    let (before, now) = (before.incarnations().lapsed(), decided.incarnations().lapsed());
    for (region, lapse) in now.iter().filter(|(region, _)| !before.contains_key(*region)) {
        let reason = &lapse.reason;
        tracing::warn!(region, reason, "a region has lapsed: nobody waits for it any more");
    }
    for region in before.keys().filter(|region| !now.contains_key(*region)) {
        tracing::info!(region, "a region that had lapsed comes back, in another incarnation");
    }
}

/// Says who has joined.
fn tell_joins(before: &Roster, decided: &Roster) {
    let (before, now) = (before.incarnations(), decided.incarnations());
    let joins = |region: &&str| now.is_joining(region) && !before.is_joining(region);
    for region in now.members().filter(joins) {
        tracing::info!(region, "a region joins the fleet: it takes requests once all know of it");
    }
}

async fn propose(agreement: Agreement<Consults>, due: Vec<Command>) {
    for command in due {
        match agreement.decide(command, DECISION_LONGEST).await {
            Ok(Outcome::OtherHistory) => {
                tracing::error!(
                    "this directory was restored from a backup, and the fleet has begun with \
                     something else: start this region in an empty directory, or begin a new fleet \
                     with it"
                );
                tokio::time::sleep(OTHER_HISTORY_PAUSE).await;
            }
            Ok(_) => {}
            Err(undecided) => tracing::debug!(%undecided, "a step of what is being agreed waits"),
        }
    }
}

/// True if nothing changed that a core is told.
fn is_same(known: &Roster, decided: &Roster) -> bool {
    Arc::ptr_eq(known.policies(), decided.policies())
        && Arc::ptr_eq(known.incarnations(), decided.incarnations())
}

/// What this region has to say of the changes of policy that are under way.
fn due(own: &Own, books: &PolicyBooks, said: &Said, now: u64) -> Vec<Command> {
    let mut due = Vec::new();
    for (changing, change) in books.changes() {
        let (name_of, epoch) = (changing.clone(), change.epoch);
        if now.saturating_sub(change.begun_at) > LEFT_MILLISECONDS {
            due.push(Command::AbortPolicy { name: name_of, epoch });
        } else if change.awaited.contains(own.name.as_str())
            && let Some(vector) = said.stopped(changing, epoch)
        {
            let (origin, written) = (own.origin.to_string(), written(&vector));
            due.push(Command::PolicyReady { name: name_of, epoch, origin, written });
        }
    }
    due
}

/// What this region has to say of logs that are closed or should be; what is decided is forgotten.
fn closings_due(own: &Own, agreed: &Incarnations, said: &Said) -> Vec<Command> {
    let mut words = said.words.lock().unwrap_or_else(PoisonError::into_inner);
    let Words { promised, levelled, void, strays, returned, .. } = &mut *words;
    *returned &= agreed.returning.contains_key(&own.name);
    let waits = |origin: &Origin, attempt: u64, ended: bool| {
        agreed.closings.get(origin).is_some_and(|closing| {
            closing.attempt == attempt
                && closing.end.is_some() == ended
                && closing.awaited.contains(&own.name)
        })
    };
    promised.retain(|origin, (attempt, _)| waits(origin, *attempt, false));
    levelled.retain(|origin, attempt| waits(origin, *attempt, true));
    void.retain(|origin, first| agreed.end(origin).is_some_and(|end| end >= *first));
    strays.retain(|origin| !agreed.closings.contains_key(origin));
    let by = || own.origin.to_string();
    let promises = promised.iter().map(|(origin, (attempt, promise))| Command::Promise {
        origin: origin.to_string(),
        attempt: *attempt,
        by: by(),
        promise: promise.clone(),
    });
    let levels = levelled.iter().map(|(origin, attempt)| Command::Level {
        origin: origin.to_string(),
        attempt: *attempt,
        by: by(),
    });
    let void = void
        .iter()
        .map(|(origin, first)| Command::Void { origin: origin.to_string(), first: *first });
    let members = || names(&own.regions);
    let strays = strays
        .iter()
        .map(|origin| Command::Close { origin: origin.to_string(), members: members() });
    let returned = returned.then(|| Command::Returned { by: by() });
    promises.chain(levels).chain(void).chain(strays).chain(returned).collect()
}
