//! `regions`: the regions of the fleet as one of them sees it, and the shapes that `status` shares;
//! `region lapse`: one of them is waited for no more.
//!
//! What always holds: members that a region does not tell are shown as unknown, not as zero.

use std::collections::BTreeMap;

use clap::Args;
use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::door::encode;
use super::text::{number, plain, print, print_bytes, remark, table};
use super::{Context, Outcome};

/// `GET /v1/regions`.
#[derive(Debug, Deserialize)]
pub(crate) struct RegionList {
    pub(crate) items: Vec<Region>,
}

/// One region, as one region sees it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Region {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) url: Option<String>,
    #[serde(default, rename = "self")]
    pub(crate) is_self: bool,
    #[serde(default)]
    pub(crate) verdict: Option<String>,
    #[serde(default)]
    pub(crate) said_by: Vec<String>,
    #[serde(default)]
    pub(crate) vector: Option<BTreeMap<String, u64>>,
    #[serde(default)]
    pub(crate) lag: Option<Lag>,
    /// "member", "expected", "joining", "lapsed" or "returning".
    #[serde(default)]
    membership: Option<String>,
    #[serde(default)]
    closed: Vec<Closed>,
    #[serde(default)]
    lapsed: Option<Lapsed>,
    #[serde(default)]
    catch_up: Option<CatchUp>,
}

/// Since when nobody waits for a region, and why.
#[derive(Debug, Clone, Deserialize)]
struct Lapsed {
    at: String,
    reason: String,
}

impl Lapsed {
    fn line(&self, region: &str) -> String {
        format!("{region} has lapsed since {}: {}", self.at, self.reason)
    }
}

/// How far the region has come that loads the state from another one.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CatchUp {
    #[serde(default)]
    from: Option<String>,
    received_bytes: u64,
    of_bytes: u64,
    awaits_logs: bool,
}

impl CatchUp {
    fn line(&self, region: &str) -> String {
        let Self { from, received_bytes, of_bytes, awaits_logs } = self;
        let mebibytes = |bytes: u64| number(bytes.div_ceil(1 << 20));
        match from {
            None if *awaits_logs => {
                format!("{region} has loaded a snapshot, and applies the events since")
            }
            None => format!("{region} looks for a region to load a snapshot from"),
            Some(from) if *awaits_logs => {
                format!("{region} has loaded a snapshot from {from}, and fetches the events since")
            }
            Some(from) => format!(
                "{region} loads a snapshot from {from}: {} of about {} MiB",
                mebibytes(*received_bytes),
                mebibytes((*of_bytes).max(*received_bytes)),
            ),
        }
    }
}

/// The log of a directory that a region lost.
#[derive(Debug, Clone, Deserialize)]
struct Closed {
    origin: String,
    #[serde(default)]
    end: Option<u64>,
    #[serde(default)]
    lost: Option<u64>,
    #[serde(default)]
    awaited: Vec<String>,
}

impl Closed {
    fn line(&self) -> String {
        let Self { origin, end, lost, awaited } = self;
        let awaited = awaited.join(", ");
        match end {
            None => format!("{origin} is being closed; waits for {awaited}"),
            Some(end) => {
                let lost = match lost {
                    Some(lost) if *lost > 0 => format!("; {} events are lost", number(*lost)),
                    _ => String::new(),
                };
                let rest = match awaited.is_empty() {
                    true => String::new(),
                    false => format!("; not all of it is yet in {awaited}"),
                };
                format!("{origin} was closed and ends at {}{lost}{rest}", number(*end))
            }
        }
    }
}

impl Region {
    /// What keeps it from being a member like the others, but for a lapse.
    fn entering(&self) -> Option<String> {
        let name = &self.name;
        match self.membership.as_deref()? {
            "expected" => Some(format!(
                "{name} has not joined yet, and nobody waits for it: start it once every other \
                 region has it in its configuration"
            )),
            "joining" => {
                Some(format!("{name} joins, and takes requests once all other regions know of it"))
            }
            "returning" => Some(format!(
                "{name} comes back, and takes requests once all other regions know of it"
            )),
            _ => None,
        }
    }
}

/// How far something is behind: of one origin, or of several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Lag {
    One(Behind),
    Several(BTreeMap<String, Behind>),
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(crate) struct Behind {
    pub(crate) events: u64,
    pub(crate) milliseconds: f64,
}

impl Lag {
    /// All events that are missing, and the age of the oldest.
    pub(crate) fn whole(&self) -> Behind {
        match self {
            Self::One(behind) => *behind,
            Self::Several(origins) => {
                let mut whole = Behind { events: 0, milliseconds: 0.0 };
                for behind in origins.values() {
                    whole.events += behind.events;
                    whole.milliseconds = whole.milliseconds.max(behind.milliseconds);
                }
                whole
            }
        }
    }
}

/// Two cells: events and milliseconds.
pub(crate) fn lag_cells(lag: Option<&Lag>) -> [String; 2] {
    match lag.map(Lag::whole) {
        Some(whole) => [number(whole.events), milliseconds(whole.milliseconds)],
        None => [unknown(), unknown()],
    }
}

pub(crate) fn milliseconds(value: f64) -> String {
    if value > 0.0 && value < 10.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

pub(crate) fn unknown() -> String {
    "–".to_owned()
}

/// The number of events a region has applied.
pub(crate) fn applied(vector: Option<&BTreeMap<String, u64>>) -> String {
    vector.map_or_else(unknown, |vector| number(vector.values().sum()))
}

/// Runs `regions`.
pub async fn run(context: &Context) -> anyhow::Result<Outcome> {
    let door = context.addresses.one().await?;
    let answer = door.get("/v1/regions").await?;
    if context.json {
        print_bytes(&answer.body)?;
        return Ok(Outcome::Done);
    }
    let list: RegionList = door.read(&answer)?;
    let rows = list.items.iter().map(row).collect();
    let header = ["REGION", "VERDICT", "SAID BY", "APPLIED", "BEHIND", "BEHIND MS", "URL", ""];
    let mut text = table(&header, &[3, 4, 5], rows);
    let closed = list.items.iter().flat_map(|region| &region.closed);
    let catching_up = |region: &Region| Some(region.catch_up.as_ref()?.line(&region.name));
    let lapsed = |region: &Region| Some(region.lapsed.as_ref()?.line(&region.name));
    let lapsed = list.items.iter().filter_map(lapsed);
    let catching_up = list.items.iter().filter_map(catching_up);
    let entering = list.items.iter().filter_map(Region::entering);
    for line in lapsed.chain(entering).chain(closed.map(Closed::line)).chain(catching_up) {
        text.push_str(&format!("\n{line}"));
    }
    print(&text)?;
    Ok(Outcome::Done)
}

/// Lets the other regions wait for one no more.
#[derive(Debug, Args)]
pub struct LapseArguments {
    /// The region, as `linckia regions` names it.
    #[arg(value_name = "REGION")]
    name: String,
    /// Why; `linckia regions` shows it.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Does it; without it this only says what it would mean.
    #[arg(long)]
    yes: bool,
}

/// Runs `region lapse`.
pub async fn lapse(context: &Context, arguments: &LapseArguments) -> anyhow::Result<Outcome> {
    let door = context.addresses.one().await?;
    let LapseArguments { name: region, reason, yes } = arguments;
    if !yes {
        let list: RegionList = door.read(&door.get("/v1/regions").await?)?;
        let found = list.items.iter().find(|item| item.name == *region);
        let verdict = match found.and_then(|item| item.verdict.as_deref()) {
            Some(verdict) => format!("{region} seems {verdict} from {}", said_by(found)),
            None => format!("{region} is not among the regions of this fleet"),
        };
        remark(&format!(
            "{verdict}.\nA lapse closes its log where the other regions stand, and they wait for \
             it no more: what it took and had not passed on is lost to clients (410), until it \
             comes back and that is looked for in its directory, under aside/. Locks and policies \
             stay. It comes back by itself, in another incarnation.\nNothing was done; repeat it \
             with --yes."
        ));
        return Ok(Outcome::Refused);
    }
    let body = reason.as_ref().map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
    let path = format!("/v1/regions/{}/lapse", encode(region));
    let headers = [("content-type", "application/json")];
    let answer = door.send(Method::POST, &path, &headers, body.to_string().into()).await?;
    if context.json {
        print_bytes(&answer.body)?;
        return Ok(Outcome::Done);
    }
    let lapsed: Lapsed = door.read(&answer)?;
    print(&plain(&format!("{}.", lapsed.line(region))))?;
    Ok(Outcome::Done)
}

fn said_by(region: Option<&Region>) -> String {
    region.map(|region| region.said_by.join(", ")).unwrap_or_default()
}

fn row(region: &Region) -> Vec<String> {
    let [events, time] = lag_cells(region.lag.as_ref());
    vec![
        region.name.clone(),
        region.verdict.clone().unwrap_or_else(unknown),
        region.said_by.join(", "),
        applied(region.vector.as_ref()),
        events,
        time,
        region.url.clone().unwrap_or_else(unknown),
        if region.is_self { "(asked)".to_owned() } else { String::new() },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_read_in_both_shapes() {
        let check = |text: &str, cells: [&str; 2]| {
            let lag: Option<Lag> = serde_json::from_str(text).unwrap();
            assert_eq!(lag_cells(lag.as_ref()), cells, "{text}");
        };
        check("null", ["–", "–"]);
        check("{}", ["0", "0"]);
        check(r#"{"events":1234,"milliseconds":7.25}"#, ["1,234", "7.2"]);
        check(
            r#"{"a":{"events":2,"milliseconds":80},"b":{"events":3,"milliseconds":40}}"#,
            ["5", "80"],
        );
    }
}
