//! All that the logs have of one aggregate, page by page, and what it was at an earlier moment.
//!
//! Under undo and `?at=`. What always holds: an answer is given only where the fold of what was
//! read is the state that is there; else history is gone, and it is said.

use std::sync::Arc;

use bytes::BytesMut;
use linckia_apply::{AggregateView, Found, Query};
use linckia_model::{AsOf, Event, FoldSettings, Hlc, Key, Stamp, Vector, Was, as_of};
use tokio::sync::Semaphore;

use super::asked::Asked;
use super::respond::{self, Answered};
use super::sessions::Seen;
use crate::port::Region;
use crate::problem::{Kind, Outcome, Problem};
use crate::refusal;
use crate::render::answer::ANSWER_BYTES;
use crate::render::state;
use crate::time::parse_timestamp;

/// Events read at once; a page may end earlier.
const PAGE: usize = 500;

/// What is read of one aggregate takes at most so much memory.
const BYTES_MAX: usize = 64 << 20;

/// Events that are folded for a look into the past.
const EVENTS_MAX: usize = 100_000;

/// An aggregate that is written meanwhile is read again so often.
const TRIES: usize = 4;

/// Looks into the past that are folded at once.
static ROOM: Semaphore = Semaphore::const_new(2);

/// What was read of an aggregate, and how it stood meanwhile.
pub(super) struct Past {
    pub(super) events: Vec<Arc<Event>>,
    pub(super) version: u64,
    pub(super) entity_tag: Option<String>,
    stable: Hlc,
    /// What the answer rests on.
    vector: Vector,
}

/// Why there is nothing.
pub(super) enum Unread {
    /// It has more events than are read.
    TooLong,
    /// It was written between two pages.
    Changing,
}

/// Reads all of an aggregate's events, `events_max` at most.
pub(super) async fn read<R: Region>(
    asked: &Asked<'_, R>,
    key: &Key,
    events_max: usize,
) -> Outcome<Result<Past, Unread>> {
    let (mut all, mut weight, mut after) = (Vec::new(), 0, None::<Stamp>);
    let mut first: Option<(u64, Option<String>)> = None;
    loop {
        let query = Query::Past { key: key.clone(), after: after.take(), limit: PAGE };
        let (vector, found) = asked.read(query).await?;
        let Found::Past { events, next, version, entity_tag, stable } = found else {
            return Err(refusal::unexpected(&found));
        };
        let stands = (version, entity_tag);
        if first.get_or_insert_with(|| stands.clone()) != &stands {
            return Ok(Err(Unread::Changing));
        }
        weight += events.iter().map(|event| event.weight()).sum::<usize>();
        all.extend(events);
        if all.len() > events_max || weight > BYTES_MAX {
            return Ok(Err(Unread::TooLong));
        }
        if next.is_none() {
            let (version, entity_tag) = stands;
            return Ok(Ok(Past { events: all, version, entity_tag, stable, vector }));
        }
        after = next;
    }
}

/// The moment that is asked about.
#[derive(Clone)]
enum Moment {
    /// In milliseconds since 1970, all of it included.
    Time(u64),
    Vector(Vector),
}

impl Moment {
    fn parse(text: &str) -> Outcome<Self> {
        if let Some(time) = parse_timestamp(text) {
            return Ok(Self::Time(time));
        }
        Vector::parse(text).map(Self::Vector).map_err(|_| {
            Problem::parameter(format!(
                "`at` is a time such as 2026-01-31T12:00:00Z, or a vector as `Linckia-Vector` \
                 gives it, not `{text}`"
            ))
        })
    }

    fn counts(&self, event: &Event) -> bool {
        match self {
            Self::Time(time) => event.hlc.milliseconds() <= *time,
            Self::Vector(vector) => vector.covers(&event.dot),
        }
    }

    /// No event that counts can still arrive.
    fn is_settled(&self, stable: Hlc, applied: &Vector) -> bool {
        match self {
            Self::Time(time) => *time < stable.milliseconds(),
            Self::Vector(vector) => applied.covers_all(vector),
        }
    }
}

/// `GET /v1/aggregates/{type}/{id}?at=…`.
pub(super) async fn get<R: Region>(asked: Asked<'_, R>, at: &str) -> Outcome<Answered> {
    let (key, moment) = (asked.key()?, Moment::parse(at)?);
    let busy = |detail| Problem::new(Kind::Unavailable, detail).retry_after(1);
    let Ok(place) = ROOM.try_acquire() else {
        return Err(busy("others look into the past of this region; try again"));
    };
    for _ in 0..TRIES {
        let past = match read(&asked, &key, EVENTS_MAX).await? {
            Ok(past) => past,
            Err(Unread::Changing) => continue,
            Err(Unread::TooLong) => {
                let detail = format!(
                    "this aggregate has more than {EVENTS_MAX} events, or than {} MiB of them: \
                     too much to be folded again; its history is under …/events",
                    BYTES_MAX >> 20
                );
                return Err(Problem::unsupported(&detail));
            }
        };
        let (epochs, counted) = (asked.region().policies().borrow().clone(), moment.clone());
        let (of, events) = (key.clone(), past.events);
        let folding = tokio::task::spawn_blocking(move || {
            // However long the client waits, the work takes its place.
            let _place = place;
            let settings = FoldSettings::default();
            as_of(&events, &|event| counted.counts(event), epochs.of(&of), &settings)
        });
        let AsOf { was, version, entity_tag } =
            folding.await.map_err(|_| refusal::broken("a look into the past"))?;
        if (version, &entity_tag) != (past.version, &past.entity_tag) {
            let detail = "the logs of this region have let go of a part of this aggregate's \
                          history, so that its state then cannot be told; a backup may have it";
            return Err(Problem::new(Kind::PositionExpired, detail));
        }
        let settled = moment.is_settled(past.stable, &past.vector);
        return answer(&asked, key, was, &past.vector, (at, settled));
    }
    Err(busy("this aggregate is written all the time; try again"))
}

fn answer<R: Region>(
    asked: &Asked<'_, R>,
    key: Key,
    was: Option<Was>,
    vector: &Vector,
    (at, settled): (&str, bool),
) -> Outcome<Answered> {
    let seen = || Seen(vector.clone());
    let Some(Was { value: data, version, entity_tag, conflicts, updated_at }) = was else {
        let problem = Problem::new(Kind::NotFound, "there was no such aggregate then");
        return Err(problem.showing(vector.clone()));
    };
    let view = AggregateView { key, version, data, conflicts, updated_at, entity_tag };
    let mut out = BytesMut::with_capacity(ANSWER_BYTES);
    state::write_as_of(&mut out, &view, asked.region().name().as_str(), at, settled);
    let response = asked.showing(respond::ok(out), seen);
    Ok(respond::with_tag(respond::at_vector(response, vector), Some(&view.entity_tag)))
}
