//! Policies of aggregate types: read, and changed by agreement of all regions.
//!
//! What always holds: a change that is answered with 200 holds in this region and is open in the
//! fleet; one that is answered otherwise has changed nothing, or is said to be under way.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use linckia_control::{Command, Outcome as Decided, Roster, names};
use linckia_model::{Policy, TypeName};
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout_at};

use super::asked::Asked;
use super::locks::decide;
use super::respond::{self, Answered};
use crate::json;
use crate::port::Region;
use crate::problem::{Kind, Outcome, Problem};
use crate::refusal;
use crate::render::state;

/// Every region is waited for so long; then the change is aborted.
const CHANGE_LONGEST: Duration = Duration::from_secs(10);

/// What was written before is applied here within this, or the answer says so.
const APPLIED_LONGEST: Duration = Duration::from_secs(5);

/// Room for a policy.
const POLICY_BYTES: usize = 1024;

/// `GET /v1/policies`: what was agreed; types without a policy are under the default.
pub(super) async fn list<R: Region>(asked: Asked<'_, R>) -> Outcome<Answered> {
    let data_set = asked.data_set()?;
    let roster = asked.region().roster().borrow().clone();
    let agreed: Vec<Value> = roster
        .policies()
        .open(&data_set)
        .map(|(aggregate_type, epoch, policy)| shown(aggregate_type, epoch, policy))
        .collect();
    let mut out = BytesMut::with_capacity(POLICY_BYTES * (agreed.len() + 1));
    state::write_page(&mut out, &agreed, None, json::serialized);
    Ok(respond::ok(out))
}

/// `GET /v1/policies/{aggregateType}`.
pub(super) async fn get<R: Region>(asked: Asked<'_, R>) -> Outcome<Answered> {
    let name = type_name(&asked)?;
    let (epoch, policy) = asked.region().roster().borrow().policies().policy(&name);
    Ok(answer(&name, epoch, &policy))
}

/// `PUT /v1/policies/{aggregateType}`.
pub(super) async fn put<R: Region>(mut asked: Asked<'_, R>) -> Outcome<Answered> {
    let name = type_name(&asked)?;
    let (policy, expected) = read(&mut asked).await?;
    let members: BTreeSet<String> = names(asked.region().members());
    let begin =
        Command::BeginPolicy { name: name.clone(), expected, policy: policy.clone(), members };
    let epoch = match decide(&asked, begin).await? {
        Decided::PolicyHolds(epoch) => epoch,
        Decided::PolicyBegun(epoch) => opened(&asked, &name, epoch).await?,
        Decided::PolicyOther(open) => {
            let detail = format!(
                "the policy of {} is at epoch {open}, and `epoch` names another: read it, decide, \
                 and send again; without `epoch` whatever holds is replaced",
                name.aggregate_type
            );
            return Err(Problem::new(Kind::VersionConflict, detail)
                .at("/epoch")
                .with("currentVersion", open)
                .with("etag", Value::Null));
        }
        Decided::PolicyChanging(_) => {
            let detail = "another change of this type's policy is under way; try again when it is \
                          over";
            return Err(Problem::new(Kind::Unavailable, detail).retry_after(1));
        }
        Decided::Closing => {
            let detail = "the log of a lost directory is being closed; a policy is changed once \
                          all members have said what they hold of it (`GET /v1/regions` says who \
                          is waited for)";
            return Err(Problem::new(Kind::Unavailable, detail).retry_after(1));
        }
        Decided::Full => {
            let detail = "as many policies were agreed, of this type or in all, as a fleet keeps: \
                          those of all epochs are kept";
            return Err(Problem::new(Kind::RateLimited, detail));
        }
        _ => return Err(refusal::broken("a policy")),
    };
    if holds_here(&asked, &name, epoch).await {
        return Ok(answer(&name, epoch, &policy));
    }
    let detail = format!(
        "epoch {epoch} of {} is open in the fleet, and this region has not applied yet what was \
         written before: until it has, it takes no writes of the type",
        name.aggregate_type
    );
    Err(Problem::new(Kind::Unavailable, detail).with("epoch", epoch).retry_after(1))
}

/// Waits until the epoch is open; aborts the change where somebody does not stop in time.
async fn opened<R: Region>(asked: &Asked<'_, R>, name: &TypeName, epoch: u64) -> Outcome<u64> {
    let mut roster = asked.region().roster();
    // What was decided elsewhere may not be heard here yet.
    let over = |roster: &Arc<Roster>| roster.policies().is_over(name, epoch);
    let deadline = Instant::now() + CHANGE_LONGEST;
    // Late, or the region ends: either way what is known is looked at.
    let _ = timeout_at(deadline, roster.wait_for(over)).await;
    let known = roster.borrow().clone();
    if known.policies().policy(name).0 == epoch {
        return Ok(epoch);
    }
    let awaited = known.policies().change(name).map(|change| change.awaited.clone());
    let abort = Command::AbortPolicy { name: name.clone(), epoch };
    if let Decided::PolicyOpened(epoch) = decide(asked, abort).await? {
        return Ok(epoch);
    }
    let late: Vec<String> = awaited.unwrap_or_default().into_iter().collect();
    let detail = format!(
        "the policy of {} was not changed: {} did not stop writing the type in time; every region \
         must be there for a change",
        name.aggregate_type,
        if late.is_empty() { "a region".to_owned() } else { late.join(", ") }
    );
    Err(Problem::new(Kind::Unavailable, detail).with("awaited", late).retry_after(1))
}

/// Waits until the type is written under the epoch in this region. False if that takes long.
async fn holds_here<R: Region>(asked: &Asked<'_, R>, name: &TypeName, epoch: u64) -> bool {
    let mut policies = asked.region().policies();
    let held = policies.wait_for(|policies| {
        let epochs = policies.of_type(&name.data_set, &name.aggregate_type);
        epochs.open() >= epoch && !epochs.is_closed()
    });
    timeout_at(Instant::now() + APPLIED_LONGEST, held).await.is_ok_and(|held| held.is_ok())
}

/// The policy in the body, and the epoch that it says to replace.
async fn read<R: Region>(asked: &mut Asked<'_, R>) -> Outcome<(Policy, Option<u64>)> {
    let mut value = asked.read_value().await?;
    let epoch = match value.as_object_mut().and_then(|members| members.remove("epoch")) {
        None => None,
        Some(epoch) => Some(epoch.as_u64().ok_or_else(|| {
            Problem::parameter("`epoch` is the number that GET gives").at("/epoch")
        })?),
    };
    let policy =
        Policy::from_json(&value).map_err(|error| Problem::parameter(error.to_string()))?;
    Ok((policy, epoch))
}

fn type_name<R: Region>(asked: &Asked<'_, R>) -> Outcome<TypeName> {
    let aggregate_type = asked.aggregate_type()?.to_owned();
    Ok(TypeName { data_set: asked.data_set()?.to_string(), aggregate_type })
}

fn shown(aggregate_type: &str, epoch: u64, policy: &Policy) -> Value {
    let mut members = Map::new();
    members.insert("aggregateType".to_owned(), aggregate_type.into());
    if let Value::Object(of) = policy.to_json() {
        members.extend(of);
    }
    members.insert("epoch".to_owned(), epoch.into());
    Value::Object(members)
}

fn answer(name: &TypeName, epoch: u64, policy: &Policy) -> Answered {
    let mut out = BytesMut::with_capacity(POLICY_BYTES);
    json::serialized(&mut out, &shown(&name.aggregate_type, epoch, policy));
    respond::ok(out)
}
