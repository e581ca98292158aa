//! Between the core and the agreement: what was agreed goes in, what the core says of it comes out.
//!
//! What always holds: the core hears of every change in order; what it says is proposed until it is
//! decided or the change is over; a change that nobody finishes is aborted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use linckia_control::{Agreement, Command, PolicyBooks, written};
use linckia_model::{Origin, RegionName, TypeName, Vector};
use tokio::sync::{Notify, watch};

use super::consult::{Consults, FleetTime};
use super::core::{Order, Orders};

/// Time between looks at what is under way.
const LOOK: Duration = Duration::from_secs(1);

/// A proposal is waited for so long, then made again.
const DECISION_LONGEST: Duration = Duration::from_secs(5);

/// A change that is this old, in milliseconds, was left by whoever began it.
const LEFT_MILLISECONDS: u64 = 60_000;

/// What the core has stopped writing: per type the epoch that begins, and how far was written.
#[derive(Default)]
pub(super) struct Stopped {
    types: Mutex<BTreeMap<TypeName, (u64, Vector)>>,
    told: Notify,
}

impl Stopped {
    pub(super) fn tell(&self, name: TypeName, epoch: u64, written: Vector) {
        let mut types = self.types.lock().unwrap_or_else(PoisonError::into_inner);
        types.insert(name, (epoch, written));
        self.told.notify_one();
    }

    /// How far was written before that epoch; what is over is forgotten.
    fn of(&self, name: &TypeName, wanted: u64) -> Option<Vector> {
        let mut types = self.types.lock().unwrap_or_else(PoisonError::into_inner);
        let (epoch, written) = types.get(name)?;
        if *epoch == wanted { Some(written.clone()) } else { types.remove(name).and(None) }
    }
}

/// This region, and the origin in which it writes in this life of its directory.
pub(super) struct Own {
    pub(super) name: RegionName,
    pub(super) origin: Origin,
}

/// Carries both ways until the core ends. `entered` becomes true once this member is one of those
/// that decide, they know in which origin it writes, and the core knows what was decided before.
pub(super) async fn follow(
    own: Own,
    agreement: Agreement<Consults>,
    orders: Orders,
    stopped: Arc<Stopped>,
    time: FleetTime,
    entered: watch::Sender<bool>,
) {
    let (mut roster, mut decides) = (agreement.roster(), agreement.entered());
    let mut known: Option<Arc<PolicyBooks>> = None;
    loop {
        let decides_now = *decides.borrow_and_update();
        let decided = Arc::clone(&roster.borrow_and_update());
        let books = decided.policies();
        if !known.as_ref().is_some_and(|known| Arc::ptr_eq(known, books)) {
            if !orders.send(Order::Agreed(books.agreed())).await {
                return;
            }
            known = Some(Arc::clone(books));
        }
        let present = decided.origin_of(own.name.as_str()) == Some(own.origin.as_str());
        if decides_now && present {
            entered.send_if_modified(|entered| !std::mem::replace(entered, true));
        }
        let mut due = due(&own, books, &stopped, time.now());
        if decides_now && !present {
            let (region, origin) = (own.name.to_string(), own.origin.to_string());
            due = vec![Command::Present { region, origin }];
        }
        for command in due {
            if let Err(undecided) = agreement.decide(command, DECISION_LONGEST).await {
                tracing::debug!(%undecided, "a step of a policy's change waits");
            }
        }
        tokio::select! {
            changed = roster.changed() => if changed.is_err() { return },
            changed = decides.changed() => if changed.is_err() { return },
            () = stopped.told.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// What this region has to say of the changes that are under way.
fn due(own: &Own, books: &PolicyBooks, stopped: &Stopped, now: u64) -> Vec<Command> {
    let mut due = Vec::new();
    for (changing, change) in books.changes() {
        let (name_of, epoch) = (changing.clone(), change.epoch);
        if now.saturating_sub(change.begun_at) > LEFT_MILLISECONDS {
            due.push(Command::AbortPolicy { name: name_of, epoch });
        } else if change.awaited.contains(own.name.as_str())
            && let Some(vector) = stopped.of(changing, epoch)
        {
            let (origin, written) = (own.origin.to_string(), written(&vector));
            due.push(Command::PolicyReady { name: name_of, epoch, origin, written });
        }
    }
    due
}
