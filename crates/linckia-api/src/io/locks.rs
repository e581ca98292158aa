//! Leases with fences: take one, keep it, give it back. A majority of the members decides each.
//!
//! What always holds: a lease that is answered was decided; where nobody can decide, nobody gets
//! one; what was asked for may have been decided all the same, and asking again is safe.

use std::time::Duration;

use bytes::BytesMut;
use linckia_control::{Command, LEASES_MAX, Lease, Outcome, Undecided};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::asked::Asked;
use super::respond::{self, Answered};
use crate::json::Object;
use crate::port::Region;
use crate::problem::{self, Kind, Problem};
use crate::time::{Timestamp, parse_duration};

/// How long a lease may be: shorter than a way around the earth it could not be kept.
const TTL_MIN: Duration = Duration::from_millis(100);
const TTL_MAX: Duration = Duration::from_secs(24 * 3600);

/// A client waits at most this for a lock.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A decision is waited for so long: longer than an election takes.
const DECISION_LONGEST: Duration = Duration::from_secs(8);

/// Whoever waits for a lock asks again at least this long after it was told that it is held.
const AGAIN_MIN: Duration = Duration::from_millis(100);

/// Room for a lease.
const LEASE_BYTES: usize = 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Acquire {
    owner: String,
    #[serde(default)]
    ttl: Option<String>,
    #[serde(default)]
    wait: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Renew {
    owner: String,
    fence: u64,
    #[serde(default)]
    ttl: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    owner: String,
    fence: u64,
}

/// `POST /v1/locks/{name}/acquire`.
pub(super) async fn acquire<R: Region>(mut asked: Asked<'_, R>) -> problem::Outcome<Answered> {
    let name = asked.lock_name()?;
    let body: Acquire = asked.read_json(r#"{"owner":…,"ttl":"10s","wait":"0s"}"#).await?;
    let owner = checked_owner(&asked, body.owner)?;
    let ttl = ttl(body.ttl.as_deref())?.unwrap_or(Duration::from_secs(10));
    let wait = match body.wait.as_deref() {
        None => Duration::ZERO,
        Some(text) => duration("/wait", text, Duration::ZERO, WAIT_MAX)?,
    };
    let ttl_milliseconds = ttl.as_millis() as u64;
    let command = Command::Acquire { name: name.clone(), owner, ttl_milliseconds };
    let deadline = Instant::now() + wait;
    let mut roster = asked.region().roster();
    loop {
        let lease = match decide(&asked, command.clone()).await? {
            Outcome::Held(lease) => lease,
            outcome => return answer(&name, outcome),
        };
        let again = Instant::now() + AGAIN_MIN;
        if again > deadline {
            return answer(&name, Outcome::Held(lease));
        }
        // What was decided elsewhere may not be heard here yet: not at once in any case.
        sleep_until(again).await;
        // Until it is given back, or ran out, or there is no more time.
        let remaining = lease.expires_at.saturating_sub(roster.borrow().now());
        let runs_out = Instant::now() + Duration::from_millis(remaining);
        let given_back = roster.wait_for(|roster| {
            roster.leases().holder(&name, 0).is_none_or(|held| held.fence != lease.fence)
        });
        if let Ok(Err(_)) = timeout_at(runs_out.min(deadline), given_back).await {
            return answer(&name, Outcome::Held(lease));
        }
    }
}

/// `POST /v1/locks/{name}/renew`.
pub(super) async fn renew<R: Region>(mut asked: Asked<'_, R>) -> problem::Outcome<Answered> {
    let name = asked.lock_name()?;
    let body: Renew = asked.read_json(r#"{"owner":…,"fence":7}"#).await?;
    let owner = checked_owner(&asked, body.owner)?;
    let ttl_milliseconds = ttl(body.ttl.as_deref())?.map(|ttl| ttl.as_millis() as u64);
    let command = Command::Renew { name: name.clone(), owner, fence: body.fence, ttl_milliseconds };
    answer(&name, decide(&asked, command).await?)
}

/// `POST /v1/locks/{name}/release`.
pub(super) async fn release<R: Region>(mut asked: Asked<'_, R>) -> problem::Outcome<Answered> {
    let name = asked.lock_name()?;
    let body: Release = asked.read_json(r#"{"owner":…,"fence":7}"#).await?;
    let owner = checked_owner(&asked, body.owner)?;
    let command = Command::Release { name: name.clone(), owner, fence: body.fence };
    answer(&name, decide(&asked, command).await?)
}

fn checked_owner<R: Region>(asked: &Asked<'_, R>, owner: String) -> problem::Outcome<String> {
    asked.checked("owner", &owner).map_err(|problem| problem.at("/owner"))?;
    Ok(owner)
}

fn ttl(text: Option<&str>) -> problem::Outcome<Option<Duration>> {
    text.map(|text| duration("/ttl", text, TTL_MIN, TTL_MAX)).transpose()
}

fn duration(
    pointer: &str,
    text: &str,
    least: Duration,
    most: Duration,
) -> problem::Outcome<Duration> {
    let parsed = parse_duration(text).filter(|time| *time >= least && *time <= most);
    parsed.ok_or_else(|| {
        let (least, most) = (least.as_millis(), most.as_secs());
        let detail = format!("`{text}`: a time such as `500ms` or `10s`, {least}ms to {most}s");
        Problem::parameter(detail).at(pointer)
    })
}

pub(super) async fn decide<R: Region>(
    asked: &Asked<'_, R>,
    command: Command,
) -> problem::Outcome<Outcome> {
    let decided = asked.region().decide(command, DECISION_LONGEST).await;
    decided.map_err(|undecided| undecided_problem(&undecided))
}

fn undecided_problem(undecided: &Undecided) -> Box<Problem> {
    let advice = match undecided {
        Undecided::NotBegun(_) => "it begins by itself when they can be reached",
        Undecided::Entering(_) => "it is when a majority of the others can be reached",
        Undecided::NoMajority(_) => {
            "what was asked for may come to be all the same; asking again is safe, here or in \
             another region"
        }
        Undecided::Failed(_) => "ask another region; this one's log says more",
    };
    Problem::new(Kind::Unavailable, format!("{undecided}; {advice}")).retry_after(1)
}

fn answer(name: &str, outcome: Outcome) -> problem::Outcome<Answered> {
    let time = |lease: &Lease| Timestamp::from_milliseconds(lease.expires_at).as_str().to_owned();
    match outcome {
        Outcome::Leased(lease) => {
            let mut out = BytesMut::with_capacity(LEASE_BYTES);
            let mut object = Object::open(&mut out);
            object.text("name", name);
            object.text("owner", &lease.owner);
            object.number("fence", lease.fence);
            object.text("expiresAt", &time(&lease));
            object.close();
            Ok(respond::ok(out))
        }
        Outcome::Released => {
            let mut out = BytesMut::with_capacity(LEASE_BYTES);
            let mut object = Object::open(&mut out);
            object.text("name", name);
            object.flag("released", true);
            object.close();
            Ok(respond::ok(out))
        }
        Outcome::Held(lease) => {
            let detail = format!(
                "`{}` holds the lock; try again when it was given back or has run out, or ask \
                 with `wait`",
                lease.owner
            );
            Err(Problem::new(Kind::LockHeld, detail)
                .with("owner", &*lease.owner)
                .with("fence", lease.fence)
                .with("expiresAt", time(&lease)))
        }
        Outcome::Lost => {
            let detail = "the lock is not held by this owner under this fence: it was given back, \
                          or ran out, and another may hold it; stop what it protected";
            Err(Problem::new(Kind::LeaseLost, detail))
        }
        Outcome::Full => {
            let detail = format!("{LEASES_MAX} locks are held, the most that a fleet keeps");
            Err(Problem::new(Kind::RateLimited, detail).with("limit", LEASES_MAX).retry_after(1))
        }
        _ => Err(crate::refusal::broken("a lock")),
    }
}
