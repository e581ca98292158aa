//! `compare` and `repair`: whether the regions hold the same, key by key, and putting right what is
//! wrong.
//!
//! Each region compares itself with all others (`POST /v1/repairs`) and is asked until it is
//! through. What always holds: nothing is changed without `--yes`; exit 0 means that every region
//! was compared with every other, and no key differs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::future::join_all;
use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::door::{Door, Failure, JSON_BODY};
use super::text::{plain, print, remark, short, table};
use super::{Context, Outcome, wrong_use};
use crate::config::units::parse_duration;

/// Between two looks at how far a region is.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A comparison is followed for so long, unless told otherwise.
const WAIT: Duration = Duration::from_secs(600);

/// Of a digest, this much tells it apart on a screen.
const DIGEST_SHOWN: usize = 12;

/// Compares every key in every region with the other regions, under load too.
#[derive(Debug, Args)]
pub struct CompareArguments {
    /// Follow it so long at most.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    wait: Option<Duration>,
    /// By the digests that rows carry: faster, and blind for a row that was changed beside them.
    #[arg(long)]
    quick: bool,
}

/// Puts right, in each region, what another one shows to be wrong.
#[derive(Debug, Args)]
pub struct RepairArguments {
    /// Aggregates: TYPE/ID.
    #[arg(value_name = "TYPE/ID", required_unless_present = "all", conflicts_with = "all")]
    keys: Vec<String>,
    /// Every key that differs.
    #[arg(long)]
    all: bool,
    /// Take the keys from this region, whoever is right: where nobody else can say.
    #[arg(long, value_name = "REGION", conflicts_with = "all")]
    from: Option<String>,
    /// Only says what differs.
    #[arg(long)]
    dry_run: bool,
    /// Does it.
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
    /// Follow it so long at most.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    wait: Option<Duration>,
}

#[derive(Debug, Clone, Deserialize)]
struct Repairs {
    region: String,
    demand: Option<Demand>,
    findings: Vec<Finding>,
}

#[derive(Debug, Clone, Deserialize)]
struct Demand {
    number: u64,
    running: bool,
    passes: Vec<Pass>,
    unreachable: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Pass {
    peer: String,
    keys: u64,
    differed: u64,
    behind: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    aggregate_type: String,
    aggregate_id: String,
    at: String,
    sides: Vec<Side>,
    judged_by: Option<String>,
    wrong: Vec<String>,
    repaired: Option<Value>,
}

#[derive(Debug, Clone, Deserialize)]
struct Side {
    region: String,
    digest: Option<String>,
}

/// What one region came to.
struct Said {
    label: String,
    answer: Result<(Repairs, Value), Failure>,
    /// When the latest finding was made that it knew before.
    began: String,
}

/// Runs `compare`.
pub async fn compare(context: &Context, arguments: &CompareArguments) -> anyhow::Result<Outcome> {
    let order = json!({ "dryRun": true, "quick": arguments.quick });
    let doors = context.addresses.many().await?;
    let said = ask_all(&doors, &order, arguments.wait).await;
    finish(context, &said, false)
}

/// Runs `repair`.
pub async fn repair(context: &Context, arguments: &RepairArguments) -> anyhow::Result<Outcome> {
    let mut order = Map::new();
    if !arguments.all {
        let keys: anyhow::Result<Vec<Value>> =
            arguments.keys.iter().map(|key| named(key)).collect();
        order.insert("keys".to_owned(), keys?.into());
    }
    if let Some(from) = &arguments.from {
        order.insert("from".to_owned(), from.as_str().into());
    }
    let looks = arguments.dry_run || !arguments.yes;
    order.insert("dryRun".to_owned(), looks.into());
    let mut doors = context.addresses.many().await?;
    if let Some(from) = &arguments.from {
        // It is taken for right: it has nothing to take from itself.
        doors.retain(|door| door.label() != from);
    }
    let said = ask_all(&doors, &order.into(), arguments.wait).await;
    let outcome = finish(context, &said, !looks)?;
    if looks && !arguments.dry_run {
        remark("Nothing was changed; repeat it with --yes.");
        return Ok(Outcome::Refused);
    }
    Ok(outcome)
}

fn named(text: &str) -> anyhow::Result<Value> {
    let Some((aggregate_type, aggregate_id)) = text.split_once('/') else {
        return Err(wrong_use(format!("{text}: write TYPE/ID")));
    };
    Ok(json!({ "aggregateType": aggregate_type, "aggregateId": aggregate_id }))
}

/// Has all regions compare at once, and follows each to its end.
async fn ask_all(doors: &[Door], order: &Value, wait: Option<Duration>) -> Vec<Said> {
    let until = Instant::now() + wait.unwrap_or(WAIT);
    join_all(doors.iter().map(|door| ask(door, order, until))).await
}

async fn ask(door: &Door, order: &Value, until: Instant) -> Said {
    let mut began = String::new();
    let answer = async {
        began = newest(&door.read::<Repairs>(&door.get("/v1/repairs").await?)?);
        let body = order.to_string();
        let number = loop {
            match door.send(Method::POST, "/v1/repairs", &[JSON_BODY], body.clone().into()).await {
                Ok(answer) => {
                    let view: Repairs = door.read(&answer)?;
                    break view.demand.map_or(0, |demand| demand.number);
                }
                // Another order is under way, or the region starts.
                Err(failure) if failure.again() && Instant::now() < until => {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                Err(failure) => return Err(failure),
            }
        };
        loop {
            let answer = door.get("/v1/repairs").await?;
            let view: Repairs = door.read(&answer)?;
            let runs = |demand: &Demand| demand.number == number && demand.running;
            if !view.demand.as_ref().is_some_and(runs) || Instant::now() >= until {
                return Ok((view, door.read::<Value>(&answer)?));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let answer = answer.await;
    Said { label: door.label().to_owned(), answer, began }
}

/// When the latest finding was made.
fn newest(view: &Repairs) -> String {
    view.findings.first().map(|finding| finding.at.clone()).unwrap_or_default()
}

/// How it ended in all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Equal,
    /// Keys were written all the time, or a side was behind to the end.
    Behind,
    /// A region did not answer, or could not ask another one.
    Incomplete,
    Differ,
    Repaired,
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Behind => "behind",
            Self::Incomplete => "incomplete",
            Self::Differ => "differ",
            Self::Repaired => "repaired",
        }
    }
}

/// The findings of this order: those of the regions that were asked, one for each key.
fn found(said: &[Said]) -> BTreeMap<(String, String), Finding> {
    let mut found: BTreeMap<(String, String), Finding> = BTreeMap::new();
    for said in said {
        let Ok((view, _)) = &said.answer else { continue };
        let new = |finding: &&Finding| finding.at > said.began;
        for finding in view.findings.iter().filter(new) {
            let key = (finding.aggregate_type.clone(), finding.aggregate_id.clone());
            let known = found.get(&key).is_some_and(|it| it.repaired.is_some());
            if !known {
                found.insert(key, finding.clone());
            }
        }
    }
    found
}

fn verdict(said: &[Said], found: &BTreeMap<(String, String), Finding>, repaired: bool) -> Verdict {
    let demands: Vec<&Demand> =
        said.iter().filter_map(|said| said.answer.as_ref().ok()?.0.demand.as_ref()).collect();
    if !found.is_empty() {
        let all = found.values().all(|finding| finding.repaired.is_some());
        return if repaired && all { Verdict::Repaired } else { Verdict::Differ };
    }
    let open = |demand: &&Demand| demand.running || !demand.unreachable.is_empty();
    if demands.len() < said.len() || demands.iter().any(open) {
        Verdict::Incomplete
    } else if demands.iter().flat_map(|demand| &demand.passes).any(|pass| pass.behind > 0) {
        Verdict::Behind
    } else {
        Verdict::Equal
    }
}

fn finish(context: &Context, said: &[Said], repaired: bool) -> anyhow::Result<Outcome> {
    let found = found(said);
    let verdict = verdict(said, &found, repaired);
    if context.json {
        let items = said.iter().map(|said| match &said.answer {
            Ok((_, body)) => body.clone(),
            Err(failure) => json!({ "region": said.label, "problem": failure.to_string() }),
        });
        let items: Vec<Value> = items.collect();
        let body = json!({ "verdict": verdict.word(), "differing": found.len(), "items": items });
        print(&body.to_string())?;
    } else {
        print(&show(said, &found, verdict))?;
    }
    let fine = matches!(verdict, Verdict::Equal | Verdict::Behind | Verdict::Repaired);
    Ok(if fine { Outcome::Done } else { Outcome::Refused })
}

fn show(said: &[Said], found: &BTreeMap<(String, String), Finding>, verdict: Verdict) -> String {
    let mut rows = Vec::new();
    for said in said {
        match &said.answer {
            Ok((view, _)) => {
                let demand = view.demand.iter();
                for pass in demand.clone().flat_map(|demand| &demand.passes) {
                    rows.push(vec![
                        view.region.clone(),
                        pass.peer.clone(),
                        pass.keys.to_string(),
                        pass.differed.to_string(),
                        pass.behind.to_string(),
                    ]);
                }
                for peer in demand.flat_map(|demand| &demand.unreachable) {
                    let none = || "–".to_owned();
                    rows.push(vec![view.region.clone(), peer.clone(), none(), none(), none()]);
                }
            }
            Err(failure) => {
                let problem = short(&failure.to_string(), 60);
                rows.push(vec![said.label.clone(), problem, String::new(), String::new()]);
            }
        }
    }
    let head = ["REGION", "WITH", "KEYS", "LOOKED DIFFERENT", "BEHIND"];
    let mut text = table(&head, &[2, 3, 4], rows);
    for ((aggregate_type, aggregate_id), finding) in found {
        let digest = |side: &Side| match &side.digest {
            Some(digest) => format!("{} {}", side.region, short(digest, DIGEST_SHOWN)),
            None => format!("{} nothing", side.region),
        };
        let sides: Vec<String> = finding.sides.iter().map(digest).collect();
        let wrong = match (&finding.judged_by, finding.wrong.is_empty()) {
            (Some(by), false) => format!("wrong by {by}: {}", finding.wrong.join(", ")),
            _ => "nobody can say who is right: `linckia repair … --from REGION`".to_owned(),
        };
        let done = if finding.repaired.is_some() { "; put right" } else { "" };
        let line =
            format!("\n{aggregate_type}/{aggregate_id}: {}; {wrong}{done}", sides.join(", "));
        text.push_str(&plain(&line));
    }
    let sentence = match verdict {
        Verdict::Equal => "Equal: every region shows the same as every other.",
        Verdict::Behind => {
            "No key differs; those that were written all the time could not be compared."
        }
        Verdict::Incomplete => "Not known: not every region could be compared with every other.",
        Verdict::Differ => "NOT EQUAL.",
        Verdict::Repaired => "Put right: every key that differed was taken from where it is right.",
    };
    format!("{text}\n\n{sentence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(body: Value) -> Said {
        let view = serde_json::from_value(body.clone()).unwrap();
        Said { label: "a".to_owned(), answer: Ok((view, body)), began: "2026".to_owned() }
    }

    fn check(behind: u64, unreachable: &[&str], findings: Value, expected: Verdict) {
        let pass = json!({"peer": "b", "keys": 3, "differed": 1, "behind": behind});
        let demand = json!({"number": 1, "running": false, "passes": [pass],
            "unreachable": unreachable});
        let all = [said(json!({"region": "a", "demand": demand, "findings": findings}))];
        assert_eq!(verdict(&all, &found(&all), true), expected);
        assert!(show(&all, &found(&all), expected).contains("REGION"));
    }

    #[test]
    fn a_key_that_differs_is_never_a_delay() {
        let finding = |at: &str, repaired: Value| {
            json!([{"aggregateType": "T", "aggregateId": "1", "at": at, "wrong": ["b"],
                "sides": [{"region": "a", "digest": null}], "judgedBy": "logs",
                "repaired": repaired}])
        };
        check(0, &[], json!([]), Verdict::Equal);
        check(2, &[], json!([]), Verdict::Behind);
        check(0, &["b"], json!([]), Verdict::Incomplete);
        check(0, &["b"], finding("2026-02", Value::Null), Verdict::Differ);
        check(0, &[], finding("2026-02", json!({"from": "b"})), Verdict::Repaired);
        check(0, &[], finding("2025-12", Value::Null), Verdict::Equal);
    }
}
