//! The door's port on the core: every call is an order, every answer comes back on its own channel.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use linckia_api::{
    Answers, CatchUpView, ClosedView, ForwardRequest, LapsedView, LinkView, Membership, NoBackup,
    NotForwarded, Region, RegionView, RepairDemand, RepairsView, RequestSpan, Unavailable,
};
use linckia_apply::{Query, Reading};
use linckia_control::{Agreement, Command, Outcome, Roster, Undecided};
use linckia_model::{Dot, Holders, Incarnations, Origin, Policies, RegionName, Vector, Write};
use linckia_net::{Client, ClientOptions};
use linckia_region::{CatchUp, Status, Verdict};
use tokio::sync::{mpsc, oneshot, watch};

use super::agreed::Stands;
use super::consult::Consults;
use super::core::{Core, NotTaken, Order, Orders};
use super::forward::Forwards;
use super::repairs;
use super::telemetry::Telemetry;

/// The supervisor is on this machine: it answers at once or not at all.
const CONTROL_LONGEST: Duration = Duration::from_secs(1);

/// Earlier logs of a region that are shown.
const CLOSED_SHOWN: usize = 8;

/// What the members agree on, and whether this region is one of them.
pub(super) struct Agreed {
    pub(super) agreement: Agreement<Consults>,
    /// The core knows what was decided before this region entered.
    pub(super) entered: watch::Receiver<bool>,
    pub(super) incarnations: watch::Receiver<Arc<Incarnations>>,
    /// The log that this directory writes.
    pub(super) origin: Origin,
    /// The regions, this one included: those that hold data.
    pub(super) regions: Vec<RegionName>,
    /// Where this directory was before, if it was moved.
    pub(super) moved_from: Option<String>,
}

/// The region behind the door.
pub(super) struct House {
    name: RegionName,
    orders: Orders,
    applied: watch::Receiver<Arc<Vector>>,
    everywhere: watch::Receiver<Arc<Vector>>,
    forwards: Arc<Forwards>,
    policies: watch::Receiver<Arc<Policies>>,
    stands: watch::Receiver<Stands>,
    agreed: Agreed,
    /// The supervisor of a local fleet.
    control: Option<Client>,
    poisoned: Arc<Mutex<Option<String>>>,
    telemetry: Option<Telemetry>,
}

impl House {
    pub(super) fn new(
        name: RegionName,
        core: &Core,
        forwards: Arc<Forwards>,
        agreed: Agreed,
        control: Option<String>,
        telemetry: Option<Telemetry>,
    ) -> Self {
        let options = ClientOptions {
            connect_longest: CONTROL_LONGEST,
            answer_longest: CONTROL_LONGEST,
            ..ClientOptions::default()
        };
        let control = control.and_then(|url| Client::new(&url, options).ok());
        let poisoned = core.poisoned();
        let (applied, everywhere) = (core.applied(), core.everywhere());
        Self {
            name,
            orders: core.orders(),
            applied,
            everywhere,
            forwards,
            policies: core.policies(),
            stands: core.stands(),
            agreed,
            control,
            poisoned,
            telemetry,
        }
    }

    async fn ask<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<T>) -> Order,
    ) -> Result<T, Unavailable> {
        let (reply, answer) = oneshot::channel();
        self.orders.try_send(order(reply)).map_err(|error| match error {
            NotTaken::Full => Unavailable::Busy,
            NotTaken::Ended => Unavailable::Stopping,
        })?;
        answer.await.map_err(|_| Unavailable::Stopping)
    }

    /// Why this region is not in the fleet, or not yet.
    fn outside(&self) -> String {
        if self.agreed.agreement.is_replaced() {
            return "another directory of this region is a member in this one's place: this one was \
                    copied, or taken for lost"
                .to_owned();
        }
        if let Some(words) = &self.stands.borrow().awaits_word {
            let from = self.agreed.moved_from.as_deref().unwrap_or("another place");
            return match words.is_empty() {
                true => format!(
                    "its directory was moved or copied from {from}: it takes requests once another \
                     member has said that it sees no other one of this region; where none can, and \
                     this is the only one, start it with --only-copy"
                ),
                false => words.clone(),
            };
        }
        if let Some(catch_up) = &self.stands.borrow().catch_up {
            return in_words(catch_up);
        }
        let roster = self.agreed.agreement.roster();
        let roster = roster.borrow();
        let (lives, own) = (roster.incarnations(), self.agreed.origin.as_str());
        if lives.lapsed().contains_key(self.name.as_str()) {
            return "it was away for too long, and has lapsed: it goes on in another incarnation \
                    once its log is closed"
                .to_owned();
        }
        if lives.is_joining(self.name.as_str()) {
            return "it joins the fleet, and gets what there is; it takes requests once all other \
                    regions know of it"
                .to_owned();
        }
        if lives.returning().any(|name| name == self.name.as_str()) {
            return "it comes back after a lapse, and gets what it has missed; it takes writes \
                    once all other regions know of it"
                .to_owned();
        }
        if lives.closings().any(|(origin, _)| origin == own) {
            return format!(
                "its directory was taken for lost and its log {own} is closed: the region lives on \
                 in another directory"
            );
        }
        let earlier =
            |(origin, _): &(&str, _)| Origin::parse(origin).is_ok_and(|o| o.is_of(&self.name));
        let awaited = lives.closings().filter(earlier).filter(|(_, it)| it.end.is_none());
        let awaited: BTreeSet<&str> =
            awaited.flat_map(|(_, it)| it.awaited.iter().map(String::as_str)).collect();
        if !awaited.is_empty() {
            let awaited: Vec<&str> = awaited.into_iter().collect();
            return format!(
                "its directory is new: the log of the one before is being closed, which waits for \
                 {}",
                awaited.join(", ")
            );
        }
        if lives.of(self.name.as_str()) == Some(own) {
            return match lives.closings().any(|it| earlier(&it)) {
                true => {
                    "it gets again what the other members hold, or asks them what they know of \
                         its log"
                        .to_owned()
                }
                false => "it has just started, and asks the other members what they know of its \
                          log"
                .to_owned(),
            };
        }
        "its directory is new: it takes writes once the other members have taken it in, which \
         they do where it is in their [[peers]]"
            .to_owned()
    }

    async fn status(&self) -> Result<Status, Unavailable> {
        self.ask(|reply| Order::Status { reply }).await
    }

    async fn control(&self, path: &str) -> Option<serde_json::Value> {
        let client = self.control.as_ref()?;
        let (status, _, body) = client.request(http::Method::GET, path, &[], "").await.ok()?;
        let found = status.is_success().then(|| serde_json::from_slice(&body).ok());
        found.flatten()
    }
}

/// Why a region answers nothing that loads the state from another one.
pub(super) fn in_words(CatchUp { donor, bytes, of, awaits_logs }: &CatchUp) -> String {
    let Some(donor) = donor else {
        if *awaits_logs {
            return "it has loaded a snapshot, and applies the events since".to_owned();
        }
        return "its logs do not reach back to its state: it looks for a region that it can load \
                a snapshot from"
            .to_owned();
    };
    if *awaits_logs {
        return format!("it has loaded a snapshot from {donor}, and fetches the events since");
    }
    let mebibytes = |bytes: &u64| bytes.div_ceil(1 << 20);
    format!(
        "its logs do not reach back to its state: it loads a snapshot from {donor}, {} of about \
         {} MiB",
        mebibytes(bytes),
        mebibytes(of).max(mebibytes(bytes))
    )
}

/// How a region stands to the others.
fn membership(roster: &Roster, region: &RegionName) -> Membership {
    let (lives, region) = (roster.incarnations(), region.as_str());
    match () {
        () if lives.lapsed().contains_key(region) => Membership::Lapsed,
        () if lives.is_expected(region) => Membership::Expected,
        () if lives.is_joining(region) => Membership::Joining,
        () if lives.returning().any(|name| name == region) => Membership::Returning,
        () => Membership::Member,
    }
}

/// The earlier logs of a region, the latest closing first.
fn closed_views(roster: &Roster, region: &RegionName) -> Vec<ClosedView> {
    let each = roster.incarnations().closings().filter_map(|(origin, closing)| {
        let origin = Origin::parse(origin).ok().filter(|origin| origin.is_of(region))?;
        Some((closing.begun_at, origin, closing))
    });
    let mut each: Vec<_> = each.collect();
    each.sort_by_key(|(begun_at, ..)| std::cmp::Reverse(*begun_at));
    let view = |(begun_at, origin, closing): (u64, Origin, &linckia_control::Closing)| ClosedView {
        origin,
        end: closing.end,
        heard: closing.heard,
        begun_at,
        awaited: closing.awaited.iter().cloned().collect(),
    };
    each.into_iter().take(CLOSED_SHOWN).map(view).collect()
}

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Healthy => "healthy",
        Verdict::Suspect => "suspect",
        Verdict::Down => "down",
    }
}

/// The URL of a region in what the supervisor says of its fleet.
fn url_of(fleet: Option<&serde_json::Value>, name: &RegionName) -> Option<String> {
    let regions = fleet?.get("regions")?.as_array()?;
    let found = regions.iter().find(|region| region["name"].as_str() == Some(name.as_str()))?;
    found["url"].as_str().map(str::to_owned)
}

impl Region for House {
    fn name(&self) -> &RegionName {
        &self.name
    }

    async fn write(&self, write: Write) -> Result<Answers, Unavailable> {
        if !*self.agreed.entered.borrow() {
            return Err(Unavailable::Entering);
        }
        let came = Instant::now();
        self.ask(|reply| Order::Write { write, came, reply }).await
    }

    async fn read(&self, query: Query) -> Result<Reading, Unavailable> {
        // What is not there again cannot be told from what never was.
        let shows = !matches!(query, Query::Vector | Query::Digests);
        if shows && !*self.agreed.entered.borrow() {
            return Err(Unavailable::Entering);
        }
        self.ask(|reply| Order::Read { query, reply }).await?
    }

    async fn holders(&self, dot: Dot) -> Result<Option<Holders>, Unavailable> {
        self.ask(|reply| Order::Holders { dot, reply }).await
    }

    fn applied(&self) -> watch::Receiver<Arc<Vector>> {
        self.applied.clone()
    }

    fn applied_now(&self) -> Arc<Vector> {
        Arc::clone(&self.applied.borrow())
    }

    fn everywhere(&self) -> Arc<Vector> {
        Arc::clone(&self.everywhere.borrow())
    }

    fn want(&self, vector: &Vector) {
        // A core that is too busy to hear it is not waiting for its peers.
        let _ = self.orders.try_send(Order::Want { vector: vector.clone() });
    }

    async fn forward(
        &self,
        to: &RegionName,
        request: ForwardRequest,
    ) -> Result<Response<Bytes>, NotForwarded> {
        self.forwards.forward(to, request).await
    }

    async fn backup(&self, after: Option<Vector>) -> Result<mpsc::Receiver<Bytes>, NoBackup> {
        let roster = || (**self.agreed.agreement.roster().borrow()).clone();
        super::backup::begin(self.name.clone(), &self.orders, roster, after).await
    }

    fn incarnations(&self) -> watch::Receiver<Arc<Incarnations>> {
        self.agreed.incarnations.clone()
    }

    fn policies(&self) -> watch::Receiver<Arc<Policies>> {
        self.policies.clone()
    }

    fn members(&self) -> &[RegionName] {
        &self.agreed.regions
    }

    fn roster(&self) -> watch::Receiver<Arc<Roster>> {
        self.agreed.agreement.roster()
    }

    async fn decide(&self, command: Command, longest: Duration) -> Result<Outcome, Undecided> {
        self.agreed.agreement.decide(command, longest).await
    }

    async fn regions(&self) -> Result<Vec<RegionView>, Unavailable> {
        let status = self.status().await?;
        let fleet = self.control("/fleet").await;
        let roster = Arc::clone(&self.agreed.agreement.roster().borrow());
        let catch_up = self.stands.borrow().catch_up.clone();
        let catch_up = catch_up.map(|it| CatchUpView {
            from: it.donor,
            received_bytes: it.bytes,
            of_bytes: it.of,
            awaits_logs: it.awaits_logs,
        });
        let view = |region: linckia_region::RegionStatus| RegionView {
            catch_up: catch_up.clone().filter(|_| region.is_self),
            closed: closed_views(&roster, &region.name),
            lapsed: {
                let lapse = roster.incarnations().lapsed().get(region.name.as_str());
                lapse.map(|it| LapsedView { at: it.at, reason: it.reason.clone() })
            },
            membership: membership(&roster, &region.name),
            url: url_of(fleet.as_ref(), &region.name),
            name: region.name,
            is_self: region.is_self,
            verdict: word(region.verdict),
            vector: region.vector,
            lag: region.lag,
        };
        Ok(status.regions.into_iter().map(view).collect())
    }

    async fn links(&self) -> Result<Vec<LinkView>, Unavailable> {
        let status = self.status().await?;
        let view = |link: linckia_region::LinkStatus| LinkView {
            from: link.from,
            to: link.to,
            connected: link.connected,
            round_trip_milliseconds: link.round_trip_milliseconds.map(|n| n as f64),
            lag: link.lag,
        };
        Ok(status.links.into_iter().map(view).collect())
    }

    async fn repairs(&self) -> Result<RepairsView, Unavailable> {
        self.ask(|reply| Order::Repairs { reply }).await.map(repairs::view)
    }

    async fn repair(&self, demand: RepairDemand) -> Result<Option<u64>, Unavailable> {
        if !*self.agreed.entered.borrow() {
            return Err(Unavailable::Entering);
        }
        let order = repairs::order(demand);
        self.ask(|reply| Order::Repair { order, reply }).await
    }

    async fn emulated(&self) -> Option<serde_json::Value> {
        self.control("/links").await
    }

    fn begin_span(&self, parent: Option<&str>) -> Option<RequestSpan> {
        self.telemetry.as_ref()?.begin(parent)
    }

    fn end_span(&self, span: RequestSpan, verb: &'static str, path: &'static str, status: u16) {
        if let Some(telemetry) = &self.telemetry {
            telemetry.end(span, verb, path, status);
        }
    }

    fn ready(&self) -> Result<(), String> {
        // The door opens after recovery, so only a log that failed since is in the way.
        let poisoned = self.poisoned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = poisoned.as_ref() {
            return Err(format!("the log failed: {reason}"));
        }
        if *self.agreed.entered.borrow() { Ok(()) } else { Err(self.outside()) }
    }
}
