//! What the region refused, in the door's words.
//!
//! Between a region's answers and the problems a client gets. What always holds: each refusal says
//! whether and when trying again makes sense.

use bytes::BytesMut;
use linckia_apply::Found;
use linckia_model::{
    Answer, Dot, Holders, Incarnations, Level, Refusal, RegionName, Unattainable, Vector,
};
use serde_json::{Map, Value, json};

use crate::port::Unavailable;
use crate::problem::{Kind, Problem};
use crate::render::answer;

/// A full queue empties within this.
const RETRY_BUSY_SECONDS: u32 = 1;

/// Nothing drains a full log within seconds.
const RETRY_FULL_SECONDS: u32 = 30;

/// The problem of one refused event whose data stands at `data` in the body.
pub(crate) fn problem_of(refusal: &Refusal, data: &str) -> Box<Problem> {
    match refusal {
        Refusal::IdReused(dot) => {
            let detail = format!(
                "this event id was used on this aggregate with other content (its first copy is \
                 {dot}); give a new event a new id, or repeat the first one unchanged"
            );
            Problem::new(Kind::IdReused, detail)
                .with("dot", dot.to_string())
                .showing([dot].into_iter().collect())
        }
        Refusal::VersionConflict { version, entity_tag } => {
            let detail = match entity_tag {
                Some(_) => {
                    "the aggregate is not what the precondition names; read it, decide, and \
                            send again with its `etag`"
                }
                None => "there is no such aggregate here, and the precondition names one",
            };
            let tag = entity_tag.as_ref().map(|tag| Value::from(format!("\"{tag}\"")));
            Problem::new(Kind::VersionConflict, detail)
                .with("currentVersion", *version)
                .with("etag", tag.unwrap_or(Value::Null))
        }
        Refusal::NotFound => Problem::new(Kind::NotFound, "there is no such aggregate here"),
        Refusal::NotAnInteger(path) => {
            let detail = format!("`{path}` holds no integer to add to; set it with `patch` first");
            Problem::event(format!("{data}{path}"), detail)
        }
        Refusal::Overflow(path) => {
            let detail = format!("the sum at `{path}` would leave the range of 64-bit integers");
            Problem::event(format!("{data}{path}"), detail)
        }
        Refusal::Inadmissible(no) => {
            let detail = format!("the policy of this aggregate type does not let it: {no}");
            Problem::event(format!("{data}{}", no.pointer), detail)
        }
        Refusal::PolicyChanging => Problem::new(
            Kind::Unavailable,
            "the policy of this aggregate type is being changed; the same request again does it",
        )
        .retry_after(RETRY_BUSY_SECONDS),
        Refusal::Sibling => Problem::new(
            Kind::Unavailable,
            "another event of the atomic request was refused, and with it this one",
        ),
        Refusal::LogFull { used, bound } => log_full(*used, *bound),
        Refusal::DiskFull { free, kept } => disk_full(*free, *kept),
        Refusal::Busy => busy(),
        Refusal::Entering => Unavailable::Entering.into(),
        Refusal::Closed => {
            let detail = "this directory was taken for lost and its log is closed: the region \
                          lives on in another directory, and this one takes no writes";
            Problem::new(Kind::Unavailable, detail).retry_after(RETRY_FULL_SECONDS)
        }
        Refusal::Poisoned(reason) => {
            let detail = format!(
                "the log met an I/O error ({reason}) and takes nothing until the region restarts; \
                 write in another region"
            );
            Problem::new(Kind::Unavailable, detail).retry_after(RETRY_FULL_SECONDS)
        }
        Refusal::Unreadable(why) => {
            tracing::error!(why, "the first copy of an id cannot be read");
            let detail = format!(
                "this event id was used on this aggregate, and its first copy cannot be read here \
                 ({why}), so nothing is written; the same request in another region is answered"
            );
            Problem::new(Kind::Unreadable, detail)
        }
        Refusal::Unattainable(Unattainable::Alone) => Problem::parameter(
            "`Linckia-Ack`: the fleet has one region, and no other one can hold the event; ask \
             for `local`, or add a region",
        ),
        Refusal::Unattainable(Unattainable::Stranger(region)) => Problem::parameter(format!(
            "`Linckia-Ack`: the fleet has no region `{region}`; GET /v1/regions lists its regions"
        )),
        Refusal::AckTimeout(late) => ack_timeout(&late.0, &late.1),
    }
}

/// The event stands, and is not known to be where it was asked to be.
fn ack_timeout(answer: &Answer, holders: &Holders) -> Box<Problem> {
    let names = |regions: &[RegionName]| {
        let names: Vec<&str> = regions.iter().map(RegionName::as_str).collect();
        if names.is_empty() { "no region".to_owned() } else { names.join(", ") }
    };
    if holders.durable.is_empty() {
        let detail = "no region has confirmed yet that the event is on its disk: it may be written \
                      or not; a retry with the same `eventId` is safe";
        return Problem::new(Kind::AckTimeout, detail).with("eventId", &*answer.event_id);
    }
    let detail = format!(
        "the event is written and stays written; it is durable in {}, and not known to be in {}; \
         GET /v1/acks/{} asks again, and a retry with the same `eventId` is safe",
        names(&holders.durable),
        names(&holders.unconfirmed),
        holders.dot
    );
    Problem::new(Kind::AckTimeout, detail)
        .with("eventId", &*answer.event_id)
        .with("dot", holders.dot.to_string())
        .with("durable", named(&holders.durable))
        .with("unconfirmed", named(&holders.unconfirmed))
        .showing([&holders.dot].into_iter().collect())
}

fn named(regions: &[RegionName]) -> Vec<Value> {
    regions.iter().map(|region| region.as_str().into()).collect()
}

/// What answers and refusals show: events that were written, or that they name.
pub(crate) fn shown(answers: &[Result<Answer, Refusal>]) -> Vector {
    let dots = answers.iter().filter_map(|answer| match answer {
        Ok(answer) => Some(&answer.dot),
        Err(Refusal::IdReused(dot)) => Some(dot),
        Err(Refusal::AckTimeout(late)) if !late.1.durable.is_empty() => Some(&late.1.dot),
        Err(_) => None,
    });
    dots.collect()
}

/// An event that is on a disk, whether or not it is yet where it was asked to be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Landed {
    pub(crate) dot: Dot,
    pub(crate) duplicate: bool,
    /// Who holds it, if it was not known in time to be where it was asked to be.
    pub(crate) late: Option<Holders>,
}

impl Landed {
    /// Who holds it, where that is not all that was asked for.
    pub(crate) fn holders(&self) -> Value {
        let Some(Holders { durable, unconfirmed, .. }) = &self.late else { return Value::Null };
        json!({"durable": named(durable), "unconfirmed": named(unconfirmed)})
    }
}

/// What was written of an atomic request. Errors: the refusal that mattered and its place; that an
/// event may be written or not is one.
pub(crate) fn landed(
    answers: &[Result<Answer, Refusal>],
) -> Result<Vec<Landed>, (usize, &Refusal)> {
    if let Some(refused) = common(answers, true).filter(|(_, refusal)| !stands(refusal)) {
        return Err(refused);
    }
    let each = answers.iter().enumerate().map(|(place, answer)| match answer {
        Ok(Answer { dot, duplicate, .. }) => {
            Ok(Landed { dot: dot.clone(), duplicate: *duplicate, late: None })
        }
        Err(Refusal::AckTimeout(late)) if !late.1.durable.is_empty() => {
            let (answer, holders) = &**late;
            let (dot, late) = (holders.dot.clone(), Some(holders.clone()));
            Ok(Landed { dot, duplicate: answer.duplicate, late })
        }
        Err(refusal) => Err((place, refusal)),
    });
    each.collect()
}

/// True if the event is written all the same.
fn stands(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::AckTimeout(late) if !late.1.durable.is_empty())
}

/// The problem of a whole array of which an event is not known to be where it was asked to be: that
/// must not look like success. `answers` has what became of each.
pub(crate) fn unacknowledged(
    answers: &[Result<Answer, Refusal>],
    data: &str,
    level: &Level,
) -> Option<Box<Problem>> {
    let late = answers.iter().filter(|answer| matches!(answer, Err(Refusal::AckTimeout(_))));
    let late = late.count();
    if late == 0 {
        return None;
    }
    let mut each = BytesMut::new();
    answer::write_array(&mut each, answers, data, level);
    let each: Value = serde_json::from_slice(&each).unwrap_or_default();
    let detail = format!(
        "{late} of {} events are written and stay written, and are not known to be durable as \
         `{level}` asks; `answers` says what became of each, and a retry with the same ids is safe",
        answers.len()
    );
    let problem = Problem::new(Kind::AckTimeout, detail).with("answers", each);
    Some(problem.showing(shown(answers)))
}

impl From<Unavailable> for Box<Problem> {
    fn from(reason: Unavailable) -> Self {
        match reason {
            Unavailable::Busy => busy(),
            Unavailable::Entering => {
                let detail = "this region has just started, or its directory is new, and the other \
                              members have not said yet that it may answer (`GET /readyz` says \
                              what it waits for); ask another region, or try again";
                Problem::new(Kind::Unavailable, detail).retry_after(RETRY_BUSY_SECONDS)
            }
            Unavailable::Stopping => {
                Problem::new(Kind::Unavailable, "this region is stopping; ask another one")
                    .retry_after(RETRY_BUSY_SECONDS)
            }
        }
    }
}

fn log_full(used: u64, bound: u64) -> Box<Problem> {
    let detail = format!(
        "the log of this region holds {used} of {bound} bytes and takes no new writes; write in \
         another region, or give it room"
    );
    let problem = Problem::new(Kind::LogFull, detail).with("used", used).with("bound", bound);
    problem.retry_after(RETRY_FULL_SECONDS)
}

fn disk_full(free: u64, kept: u64) -> Box<Problem> {
    let detail = format!(
        "the disk of this region has {free} bytes left, and takes no new writes with less than \
         {kept}; write in another region, or make room"
    );
    let problem = Problem::new(Kind::DiskFull, detail).with("free", free).with("kept", kept);
    problem.retry_after(RETRY_FULL_SECONDS)
}

fn busy() -> Box<Problem> {
    let detail = "more is waiting here than the region can hold; try again in a moment";
    Problem::new(Kind::Unavailable, detail).retry_after(RETRY_BUSY_SECONDS)
}

/// The one problem that stands for a whole request: of an atomic one the refusal that mattered,
/// otherwise one that met all its events and that time may cure. The place is that of the event.
pub(crate) fn common(
    answers: &[Result<Answer, Refusal>],
    atomic: bool,
) -> Option<(usize, &Refusal)> {
    if atomic {
        let mut refused = answers.iter().enumerate();
        let cause = refused.find_map(|(place, answer)| match answer {
            Err(Refusal::Sibling) | Ok(_) => None,
            Err(refusal) => Some((place, refusal)),
        });
        let sibling = || {
            let place = answers.iter().position(Result::is_err)?;
            answers[place].as_ref().err().map(|refusal| (place, refusal))
        };
        return cause.or_else(sibling);
    }
    let passing = |answer: &Result<Answer, Refusal>| {
        use Refusal::{Busy, DiskFull, LogFull, Poisoned, PolicyChanging};
        let full = matches!(answer, Err(LogFull { .. } | DiskFull { .. }));
        full || matches!(answer, Err(Busy | PolicyChanging | Poisoned(_)))
    };
    let first = answers.first()?.as_ref().err()?;
    answers.iter().all(passing).then_some((0, first))
}

/// The region broke its word; nothing that a client could mend.
pub(crate) fn broken(what: &str) -> Box<Problem> {
    tracing::error!(what, "the region answered what was not asked");
    Problem::new(Kind::Unavailable, "the region answered what was not asked; its log says more")
}

/// The answer to a question of which this is not the answer.
pub(crate) fn unexpected(found: &Found) -> Box<Problem> {
    match found {
        Found::Expired => Problem::new(
            Kind::PositionExpired,
            "the pages of this list are no longer kept at its vector; begin again without `cursor`",
        ),
        Found::Unreadable(why) => {
            tracing::error!(why, "a log cannot be read");
            let detail = "a part of a log that this answer needs cannot be read in this region; \
                          ask another one, and see the log of this one";
            Problem::new(Kind::Unreadable, detail)
        }
        _ => broken("query"),
    }
}

/// Per origin the first and last sequence of what is missing.
pub(crate) fn missing<'a>(
    ranges: impl IntoIterator<Item = (&'a linckia_model::Origin, u64, u64)>,
) -> Value {
    let ranges = ranges.into_iter();
    Value::Object(
        ranges
            .map(|(origin, first, last)| (origin.to_string(), json!([first, last])))
            .collect::<Map<_, _>>(),
    )
}

/// What is lost of what was asked for, if anything is: at once, and for good.
pub(crate) fn lost(wanted: &Vector, incarnations: &Incarnations) -> Option<Box<Problem>> {
    let ranges: Vec<_> = incarnations.lost(wanted).collect();
    let (origin, first, last) = ranges.first()?;
    let more = if ranges.len() > 1 { " and others that `lost` names" } else { "" };
    let detail = format!(
        "the events {origin}:{first} to {last}{more} were lost with a directory that was \
         destroyed before it had passed them on; they will not come back. Decide from the state \
         that remains"
    );
    Some(Problem::new(Kind::LostWrites, detail).with("lost", missing(ranges)))
}

/// What a vector lacks of the one that was waited for.
pub(crate) fn behind(wanted: &Vector, have: &Vector) -> Box<Problem> {
    let detail = "this region has not applied all of the vector yet; `missing` says what lacks";
    Problem::new(Kind::Behind, detail)
        .with("missing", missing(wanted.beyond(have)))
        .retry_after(RETRY_BUSY_SECONDS)
}

#[cfg(test)]
mod tests {
    use linckia_model::Hlc;

    use super::*;

    #[test]
    fn what_is_late_is_written_all_the_same() {
        let dot = Dot::parse("a.0000000000000001:4").unwrap();
        let answer = Answer {
            event_id: "e".into(),
            dot: dot.clone(),
            hlc: Hlc::from_bits(1),
            version: 1,
            duplicate: false,
            created: true,
            entity_tag: None,
        };
        let late = |durable: &[&str]| {
            let names = |names: &[&str]| {
                names.iter().map(|name| RegionName::parse(name).unwrap()).collect()
            };
            let (durable, unconfirmed) = (names(durable), names(&["b"]));
            let holders = Holders { dot: dot.clone(), durable, unconfirmed };
            Err(Refusal::AckTimeout(Box::new((answer.clone(), holders))))
        };
        let both = [Ok(answer.clone()), late(&["a"])];
        let found = landed(&both).unwrap();
        assert_eq!((found.len(), &found[1].dot), (2, &dot));
        assert_eq!(found[1].holders(), json!({"durable": ["a"], "unconfirmed": ["b"]}));
        assert!(landed(&[late(&[])]).is_err(), "it may be written or not");
        let refused = [late(&["a"]), Err(Refusal::Busy)];
        assert_eq!(landed(&refused).unwrap_err(), (1, &Refusal::Busy));
    }
}
