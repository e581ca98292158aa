//! A region that was away for too long: an operator says that nobody is to wait for it any more.
//!
//! What always holds: what is answered was decided by a majority; asking again changes nothing.

use bytes::BytesMut;
use linckia_control::{CLOSED_MAX, Command, Outcome, names};
use serde::Deserialize;

use super::asked::Asked;
use super::locks::decide;
use super::respond::{self, Answered};
use crate::port::{LapsedView, Region};
use crate::problem::{self, Kind, Problem};
use crate::render::fleet;

/// The longest reason, in bytes.
const REASON_BYTES_MAX: usize = 500;

/// Room for an answer.
const LAPSE_BYTES: usize = 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lapse {
    #[serde(default)]
    reason: Option<String>,
}

/// `POST /v1/regions/{name}/lapse`.
pub(super) async fn lapse<R: Region>(mut asked: Asked<'_, R>) -> problem::Outcome<Answered> {
    let name = asked.matched.segments[0].to_string();
    let body: Lapse = asked.read_json(r#"{"reason":"…"}"#).await?;
    let reason = body.reason.unwrap_or_else(|| "an operator said so".to_owned());
    if reason.is_empty() || reason.len() > REASON_BYTES_MAX {
        let detail = format!("a reason has 1 to {REASON_BYTES_MAX} bytes");
        return Err(Problem::parameter(detail).at("/reason"));
    }
    let regions = asked.region().members();
    let there = || asked.region().roster().borrow().incarnations().of(&name).is_some();
    if !regions.iter().any(|region| region.as_str() == name) && !there() {
        let known: Vec<&str> = regions.iter().map(|region| region.as_str()).collect();
        let detail = format!("`{name}` is no region of this fleet: {}", known.join(", "));
        return Err(Problem::new(Kind::NotFound, detail));
    }
    let members = names(regions);
    let mut roster = asked.region().roster();
    let command = Command::Lapse { region: name.clone(), reason, members, by: None };
    match decide(&asked, command).await? {
        Outcome::Nothing => {}
        Outcome::LastMember => {
            let detail = format!("without `{name}` no region would be left that has not lapsed");
            return Err(Problem::parameter(detail));
        }
        Outcome::ClosingGone => {
            let detail = format!("`{name}` has not said in which incarnation it lives: start it");
            return Err(Problem::new(Kind::Unavailable, detail).retry_after(1));
        }
        Outcome::Full => {
            let detail = format!("the fleet remembers {CLOSED_MAX} closed logs, and takes no more");
            return Err(Problem::new(Kind::RateLimited, detail).with("limit", CLOSED_MAX));
        }
        _ => return Err(crate::refusal::broken("a lapse")),
    }
    // What was decided elsewhere may be heard here a moment later; it may be over by then.
    let heard = roster.wait_for(|roster| roster.incarnations().lapsed().contains_key(&name));
    let heard = tokio::time::timeout(HEARD_LONGEST, heard).await;
    let Ok(Ok(roster)) = heard else {
        let detail = format!("`{name}` has lapsed, and is back or not heard of here yet");
        return Err(Problem::new(Kind::Unavailable, detail).retry_after(1));
    };
    let view = roster
        .incarnations()
        .lapsed()
        .get(&name)
        .map(|lapse| LapsedView { at: lapse.at, reason: lapse.reason.clone() });
    let Some(view) = view else { return Err(crate::refusal::broken("a lapse")) };
    let mut out = BytesMut::with_capacity(LAPSE_BYTES);
    fleet::write_lapsed(&mut out, &view);
    Ok(respond::ok(out))
}

/// A decision is heard of within this, or this region has lost touch.
const HEARD_LONGEST: std::time::Duration = std::time::Duration::from_secs(5);
