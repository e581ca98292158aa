//! Sessions at the door: before a request is answered, does this region hold all that its client
//! has seen; after it, what has the client seen now.
//!
//! Around every data call that carries `Linckia-Session`. What always holds: an answer is read at a
//! vector that covers the client's token, unless the client asked for a stale one and is told; what
//! an answer shows, or a write made, is in the token that goes back with it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use linckia_apply::{Query, Reading};
use linckia_model::{Incarnations, RegionName, SessionKeys, Token, Vector};
use serde_json::{Map, Value, json};

use super::respond::Answered;
use super::service::House;
use crate::headers::{self, SESSION, STALE, VECTOR};
use crate::port::{Region, Unavailable};
use crate::problem::{Kind, Outcome, Problem};
use crate::refusal;
use crate::route::{Call, Matched, Verb};
use crate::session::{self, Behind};

/// While a client waits, what lacks is asked for again after this.
const WANT_AGAIN: Duration = Duration::from_secs(1);

/// What an answer shows or wrote, where that is less than everything applied.
#[derive(Clone)]
pub(super) struct Seen(pub(super) Vector);

/// A request within a session.
#[derive(Clone)]
pub(super) struct Session {
    keys: Arc<SessionKeys>,
    seen: Vector,
    /// The last lapse or return that a region knew of which left something out of its token.
    epoch: u64,
    /// By how much the answer is behind it, where the client takes that.
    stale: Option<String>,
}

/// What became of entering.
pub(super) enum Entered {
    /// Without a session.
    Plain,
    Within(Session),
    Behind(BehindOne),
}

/// What became of a region that was behind.
pub(super) enum CaughtUp {
    Within(Session),
    /// Another region is to answer.
    Elsewhere(RegionName),
}

/// A session that this region is behind, and what its client wants then.
pub(super) struct BehindOne {
    session: Session,
    behind: Behind,
}

/// Whether this region has applied what the client has seen. Errors: 400, 501.
pub(super) fn enter<R: Region>(
    house: &House<R>,
    headers: &http::HeaderMap,
    matched: &Matched<'_>,
) -> Outcome<Entered> {
    let behind = headers::single(headers, &headers::BEHIND)?.map(Behind::parse).transpose()?;
    let Some(token) = headers::single(headers, &SESSION)? else { return Ok(Entered::Plain) };
    if matches!(
        matched.route.call,
        Call::Live | Call::Ready | Call::Metrics | Call::OpenApi | Call::ProblemPage | Call::Root
    ) {
        return Ok(Entered::Plain);
    }
    let Some(keys) = &house.settings.session_keys else {
        let detail = "`Linckia-Session`: this region has no session keys; set `[session] keys` in \
                      its configuration to a file that all regions share";
        return Err(Problem::unsupported(detail));
    };
    let keys = Arc::clone(&keys.borrow());
    let applied = house.region.applied_now();
    let Token { seen, epoch } = session::read(&keys, token, &applied)?;
    let session = Session { keys, seen, epoch, stale: None };
    if session.is_covered(house, &applied) {
        return Ok(Entered::Within(session));
    }
    not_lost(house, &session)?;
    let behind = behind.unwrap_or(Behind::DEFAULT);
    if behind == Behind::Stale && matched.route.verb != Verb::Get {
        let detail = "`Linckia-Behind: stale` is for reads; a write waits, fails or is forwarded";
        return Err(Problem::parameter(detail));
    }
    Ok(Entered::Behind(BehindOne { session, behind }))
}

impl BehindOne {
    /// Does what the client wants. Errors: 503.
    pub(super) async fn caught_up<R: Region>(self, house: &House<R>) -> Outcome<CaughtUp> {
        let Self { mut session, behind } = self;
        if let Behind::Wait(longest) = behind {
            return wait(house, session, longest).await;
        }
        // What was answered a moment ago is applied, if not yet told to everybody.
        let Reading { vector, .. } = house.region.read(Query::Vector).await?;
        if session.is_covered(house, &vector) {
            return Ok(CaughtUp::Within(session));
        }
        match behind {
            Behind::Stale => {
                session.stale = Some(staleness(house, &session, &vector).await?);
                Ok(CaughtUp::Within(session))
            }
            Behind::Forward => match nearest(house, &session.seen, &vector).await? {
                Some(region) => Ok(CaughtUp::Elsewhere(region)),
                None => Err(problem(house, &session, &vector).await),
            },
            Behind::Fail | Behind::Wait(_) => Err(problem(house, &session, &vector).await),
        }
    }
}

/// Errors: 410 if what the client has seen was declared lost.
fn not_lost<R: Region>(house: &House<R>, session: &Session) -> Outcome<()> {
    let lost = refusal::lost(&session.seen, &house.region.incarnations().borrow());
    lost.map_or(Ok(()), |problem| Err(session.lost(house, problem)))
}

/// Resolves once something of this is declared lost.
pub(super) async fn until_lost<R: Region>(house: &House<R>, wanted: &Vector) -> Box<Problem> {
    let mut incarnations = house.region.incarnations();
    let lost = incarnations.wait_for(|lives| lives.lost(wanted).next().is_some()).await;
    match lost.ok().and_then(|lives| refusal::lost(wanted, &lives)) {
        Some(problem) => problem,
        // The region stops, and says so to who waits for it.
        None => std::future::pending().await,
    }
}

async fn wait<R: Region>(
    house: &House<R>,
    session: Session,
    longest: Duration,
) -> Outcome<CaughtUp> {
    let begun = tokio::time::Instant::now();
    let known = async {
        let covered = covered_within(house, &session.seen, longest).await?;
        let mut incarnations = house.region.incarnations();
        let known = incarnations.wait_for(|lives| session.is_known(house, lives));
        let rest = longest.saturating_sub(begun.elapsed());
        let known = tokio::time::timeout(rest, known).await.is_ok_and(|known| known.is_ok());
        Outcome::Ok(covered.filter(|_| known))
    };
    let covered = tokio::select! {
        biased;
        covered = known => covered?,
        never = want_on(house, &session.seen) => match never {},
        lost = until_lost(house, &session.seen) => return Err(session.lost(house, lost)),
    };
    match covered {
        Some(_) => Ok(CaughtUp::Within(session)),
        None => Err(problem(house, &session, &house.region.applied_now()).await),
    }
}

/// The applied vector once it covers the wanted one; none if that takes longer. Errors: 503.
pub(super) async fn covered_within<R: Region>(
    house: &House<R>,
    wanted: &Vector,
    longest: Duration,
) -> Outcome<Option<Vector>> {
    let (mut applied, mut stopping) = (house.region.applied(), house.stopping.clone());
    let covered = async {
        let covered = applied.wait_for(|vector| vector.covers_all(wanted)).await;
        covered.map(|vector| Vector::clone(&vector)).map_err(|_| Unavailable::Stopping)
    };
    tokio::select! {
        biased;
        vector = covered => Ok(Some(vector?)),
        () = tokio::time::sleep(longest) => Ok(None),
        _ = stopping.wait_for(|stopping| *stopping) => Err(Unavailable::Stopping.into()),
    }
}

/// Asks for what lacks, again and again: a link may fall silent meanwhile.
async fn want_on<R: Region>(house: &House<R>, seen: &Vector) -> Infallible {
    loop {
        house.region.want(seen);
        tokio::time::sleep(WANT_AGAIN).await;
    }
}

/// A region that can be reached and is not behind; the one whose log lacks most here if all are.
async fn nearest<R: Region>(
    house: &House<R>,
    seen: &Vector,
    have: &Vector,
) -> Outcome<Option<RegionName>> {
    let regions = house.region.regions().await?;
    let there = || regions.iter().filter(|region| !region.is_self && region.verdict != "down");
    let whole = there().find(|region| region.vector.covers_all(seen));
    let missing = seen.beyond(have).max_by_key(|(_, first, last)| last - first);
    let home = missing.and_then(|(origin, _, _)| there().find(|region| origin.is_of(&region.name)));
    Ok(whole.or(home).map(|region| region.name.clone()))
}

/// 503: what is missing, and whether its origin can be reached.
async fn problem<R: Region>(house: &House<R>, session: &Session, have: &Vector) -> Box<Problem> {
    let seen = &session.seen;
    house.metrics.behind();
    let regions = house.region.regions().await.unwrap_or_default();
    let reachable = |origin: &linckia_model::Origin| {
        let region = regions.iter().find(|region| origin.is_of(&region.name));
        region.is_some_and(|region| region.verdict != "down")
    };
    let each =
        seen.beyond(have).map(|(origin, _, _)| (origin.to_string(), reachable(origin).into()));
    let problem =
        refusal::behind(seen, have).with("reachable", Value::Object(each.collect::<Map<_, _>>()));
    let lives = house.region.incarnations();
    let lives = lives.borrow();
    match session.is_known(house, &lives) {
        true => problem,
        false => problem.with("lapses", json!({"seen": session.epoch, "known": lives.epoch})),
    }
}

/// `eu-west-1=17 events/340ms`, by region; `lapsed` where it is not known of all what lacks.
async fn staleness<R: Region>(
    house: &House<R>,
    session: &Session,
    have: &Vector,
) -> Outcome<String> {
    let seen = &session.seen;
    let regions = house.region.regions().await?;
    let own = regions.iter().find(|region| region.is_self);
    let each = seen.beyond(have).map(|(origin, first, last)| {
        let lag = own.and_then(|own| own.lag.iter().find(|lag| lag.origin == *origin));
        let milliseconds = lag.map_or(0, |lag| lag.milliseconds);
        format!("{}={} events/{milliseconds}ms", origin.region(), last - first + 1)
    });
    let known = session.is_known(house, &house.region.incarnations().borrow());
    Ok(each.chain((!known).then(|| "lapsed".to_owned())).collect::<Vec<_>>().join(", "))
}

impl Session {
    /// True if this region has applied what the client has seen.
    fn is_covered<R: Region>(&self, house: &House<R>, applied: &Vector) -> bool {
        applied.covers_all(&self.seen)
            && self.is_known(house, &house.region.incarnations().borrow())
    }

    /// True if this region knows of the lapses by which the token was cut short, and is not itself
    /// one of those that were not waited for.
    fn is_known<R: Region>(&self, house: &House<R>, lives: &Incarnations) -> bool {
        self.epoch <= lives.epoch && !lives.lapsed.contains(house.region.name())
    }

    /// Puts what the client has seen now into the answer.
    pub(super) fn leave<R: Region>(mut self, house: &House<R>, response: &mut Answered) {
        if let Some(Ok(stale)) = self.stale.take().map(HeaderValue::try_from) {
            response.headers_mut().insert(STALE, stale);
        }
        if response.body().is_stream() {
            // What it will show or write is not known before its headers leave.
            return;
        }
        let extensions = response.extensions_mut();
        match extensions.remove::<Seen>() {
            Some(Seen(shown)) => self.seen.join(&shown),
            None => {
                let at = response.headers().get(VECTOR).and_then(|text| text.to_str().ok());
                if let Some(Ok(at)) = at.map(Vector::parse) {
                    self.seen.join(&at);
                }
            }
        }
        if let Ok(token) = HeaderValue::try_from(self.token(house)) {
            response.headers_mut().insert(SESSION, token);
        }
    }

    fn token<R: Region>(&self, house: &House<R>) -> String {
        // In this order: what is left out goes by lapses that the epoch counts.
        let everywhere = house.region.everywhere();
        let epoch = house.region.incarnations().borrow().epoch.max(self.epoch);
        session::token(&self.keys, &self.seen, &everywhere, epoch)
    }

    /// Puts into a refusal of what is lost the token of a client that goes on with what remains.
    fn lost<R: Region>(&self, house: &House<R>, mut problem: Box<Problem>) -> Box<Problem> {
        let seen = house.region.incarnations().borrow().within(&self.seen);
        problem.session = Some(Self { seen, ..self.clone() }.token(house));
        problem
    }

    /// Puts into a refusal what it shows: the events it names, or how things stand here.
    pub(super) async fn refused<R: Region>(mut self, house: &House<R>, problem: &mut Problem) {
        problem.stale = self.stale.take();
        let shows = [Kind::NotFound, Kind::VersionConflict, Kind::IdReused].contains(&problem.kind);
        match problem.seen.take() {
            Some(seen) => self.seen.join(&seen),
            None if shows => match house.region.read(Query::Vector).await {
                Ok(Reading { vector, .. }) => self.seen.join(&vector),
                Err(_) => return,
            },
            None => return,
        }
        problem.session = Some(self.token(house));
    }
}
