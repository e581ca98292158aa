//! Comparing with the other regions, and repair: what was found, and an operator's order.
//!
//! What always holds: an order is taken or refused at once, and what comes of it is read here
//! again; without `dryRun` it changes this region alone.

use bytes::BytesMut;
use http::StatusCode;
use linckia_model::{Key, NAME_BYTES_MAX};
use serde::Deserialize;

use super::asked::Asked;
use super::respond::{self, Answered};
use crate::port::Region;
use crate::problem::{Kind, Outcome, Problem};
use crate::render::repair::write_repairs;
use crate::repair::RepairDemand;

/// Keys of an order.
const KEYS_MAX: usize = 256;

/// Room for some findings.
const REPAIRS_BYTES: usize = 4 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Demand {
    #[serde(default)]
    keys: Option<Vec<Name>>,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    quick: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Name {
    #[serde(default)]
    data_set: Option<String>,
    aggregate_type: String,
    aggregate_id: String,
}

/// `GET /v1/repairs`.
pub(super) async fn list<R: Region>(asked: Asked<'_, R>) -> Outcome<Answered> {
    shown(&asked, StatusCode::OK).await
}

async fn shown<R: Region>(asked: &Asked<'_, R>, status: StatusCode) -> Outcome<Answered> {
    let view = asked.region().repairs().await?;
    let mut out = BytesMut::with_capacity(REPAIRS_BYTES);
    write_repairs(&mut out, &view, asked.region().name().as_str());
    Ok(respond::json(status, out))
}

/// `POST /v1/repairs`.
pub(super) async fn order<R: Region>(mut asked: Asked<'_, R>) -> Outcome<Answered> {
    let body: Demand = asked.read_json(r#"{"keys":[…],"from":"…","dryRun":true}"#).await?;
    let demand = checked(&asked, body)?;
    if asked.region().repair(demand).await?.is_none() {
        let detail = "a comparison is under way already: `GET /v1/repairs` shows how far it is";
        return Err(Problem::new(Kind::Unavailable, detail).retry_after(1));
    }
    shown(&asked, StatusCode::ACCEPTED).await
}

fn checked<R: Region>(asked: &Asked<'_, R>, body: Demand) -> Outcome<RepairDemand> {
    let Demand { keys, from, dry_run, quick } = body;
    if from.is_some() && keys.is_none() {
        let detail = "`from` goes with `keys`: a region is not replaced by another one unseen";
        return Err(Problem::parameter(detail).at("/from"));
    }
    let members = asked.region().members();
    let from = match from {
        None => None,
        Some(name) => {
            let found = members.iter().find(|region| region.as_str() == name);
            let Some(found) = found.filter(|region| *region != asked.region().name()) else {
                let detail = format!("`{name}` is no other region of this fleet");
                return Err(Problem::parameter(detail).at("/from"));
            };
            Some(found.clone())
        }
    };
    let keys = match keys {
        None => None,
        Some(names) if names.is_empty() || names.len() > KEYS_MAX => {
            let detail = format!("`keys` names 1 to {KEYS_MAX} aggregates; without it, all");
            return Err(Problem::parameter(detail).at("/keys"));
        }
        Some(names) => Some(names.iter().map(key).collect::<Outcome<Vec<Key>>>()?),
    };
    Ok(RepairDemand { keys, repair: !dry_run, from, quick })
}

fn key(name: &Name) -> Outcome<Key> {
    let data_set = name.data_set.as_deref().unwrap_or("default");
    let parts = [data_set, &name.aggregate_type, &name.aggregate_id];
    let fits =
        |part: &&str| !part.is_empty() && part.len() <= NAME_BYTES_MAX && !part.contains('\0');
    if !parts.iter().all(fits) {
        let detail = format!("the names of an aggregate have 1 to {NAME_BYTES_MAX} bytes each");
        return Err(Problem::parameter(detail).at("/keys"));
    }
    Ok(Key::new(data_set, &name.aggregate_type, &name.aggregate_id))
}
