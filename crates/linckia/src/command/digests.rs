//! `digests`: whether regions hold the same, by the digest of each.
//!
//! Asks every region of the fleet, or the one that was named. What always holds: `equal` means
//! that every region answered, all vectors are equal and all roots are equal; equal vectors with
//! unequal roots never pass as a delay.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use futures_util::future::join_all;
use serde::Deserialize;

use super::door::{Door, Failure};
use super::regions::unknown;
use super::text::{VALUE_SHOWN, print, print_bytes, short, table};
use super::{Context, Outcome};
use crate::config::units::parse_duration;

/// Between two looks of `--wait`: a digest costs a region some work.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Of a root, this much tells it apart on a screen.
const ROOT_SHOWN: usize = 16;

/// Compares what the regions hold.
#[derive(Debug, Args)]
pub struct DigestsArguments {
    /// Wait until all are equal, so long at most; exit 1 if they are not then.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    wait: Option<Duration>,
}

#[derive(Debug, Deserialize)]
struct Digest {
    vector: BTreeMap<String, u64>,
    root: String,
}

struct Said {
    label: String,
    answer: Result<(Digest, Bytes), Failure>,
}

/// How digests stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Equal,
    /// Some region did not answer.
    Incomplete,
    /// Vectors differ: somebody is behind.
    Behind,
    /// Equal vectors, unequal roots: what may never happen.
    Diverged,
}

/// Runs `digests`.
pub async fn run(context: &Context, arguments: &DigestsArguments) -> anyhow::Result<Outcome> {
    let doors = context.addresses.many().await?;
    let start = Instant::now();
    let (said, verdict) = loop {
        let said = join_all(doors.iter().map(ask)).await;
        let verdict = verdict(&said);
        let over = arguments.wait.is_none_or(|wait| start.elapsed() >= wait);
        if over || matches!(verdict, Verdict::Equal | Verdict::Diverged) {
            break (said, verdict);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    if context.addresses.names_one() {
        return one(context, said);
    }
    if context.json {
        print(&json(&said, verdict))?;
    } else {
        print(&show(&said, verdict))?;
    }
    let waited_in_vain = arguments.wait.is_some() && verdict != Verdict::Equal;
    let failed = waited_in_vain || matches!(verdict, Verdict::Incomplete | Verdict::Diverged);
    Ok(if failed { Outcome::Refused } else { Outcome::Done })
}

async fn ask(door: &Door) -> Said {
    let answer = async {
        let answer = door.get("/v1/digests").await?;
        Ok((door.read(&answer)?, answer.body))
    };
    Said { label: door.label().to_owned(), answer: answer.await }
}

/// The one region that was named: there is nothing to compare.
fn one(context: &Context, mut said: Vec<Said>) -> anyhow::Result<Outcome> {
    let Some(Said { label, answer }) = said.pop() else {
        anyhow::bail!("no region was asked");
    };
    let (digest, body) = answer?;
    if context.json {
        print_bytes(&body)?;
    } else {
        let row = vec![label, vector_text(&digest.vector), digest.root];
        print(&table(&["REGION", "VECTOR", "ROOT"], &[], vec![row]))?;
    }
    Ok(Outcome::Done)
}

fn verdict(said: &[Said]) -> Verdict {
    let digests: Vec<&Digest> =
        said.iter().filter_map(|said| Some(&said.answer.as_ref().ok()?.0)).collect();
    let diverged = digests.iter().enumerate().any(|(place, one)| {
        digests[..place].iter().any(|other| one.vector == other.vector && one.root != other.root)
    });
    if diverged {
        Verdict::Diverged
    } else if digests.len() < said.len() {
        Verdict::Incomplete
    } else if digests.windows(2).all(|pair| pair[0].vector == pair[1].vector) {
        Verdict::Equal
    } else {
        Verdict::Behind
    }
}

fn show(said: &[Said], verdict: Verdict) -> String {
    let rows = said.iter().map(|said| match &said.answer {
        Ok((digest, _)) => {
            vec![said.label.clone(), vector_text(&digest.vector), short(&digest.root, ROOT_SHOWN)]
        }
        Err(failure) => {
            vec![said.label.clone(), short(&failure.to_string(), 2 * VALUE_SHOWN), unknown()]
        }
    });
    let sentence = match verdict {
        Verdict::Equal => "Equal: all regions hold the same, at the same vector.",
        Verdict::Incomplete => "Not known: a region does not answer.",
        Verdict::Behind => {
            "Not equal yet: the vectors differ, so events are still on their way (--wait 30s waits \
             for them)."
        }
        Verdict::Diverged => {
            "NOT EQUAL: regions at the same vector hold different values. This must never happen; \
             keep the data directories and report it."
        }
    };
    let table = table(&["REGION", "VECTOR", "ROOT"], &[], rows.collect());
    format!("{table}\n\n{sentence}")
}

fn vector_text(vector: &BTreeMap<String, u64>) -> String {
    if vector.is_empty() {
        return "(nothing yet)".to_owned();
    }
    let dots: Vec<String> =
        vector.iter().map(|(origin, last)| format!("{origin}:{last}")).collect();
    dots.join(",")
}

/// `{"equal":…,"items":[…]}`; an item is the door's body with the region's name put in front.
fn json(said: &[Said], verdict: Verdict) -> String {
    let items = said.iter().map(|said| {
        let name = serde_json::Value::from(said.label.as_str());
        match &said.answer {
            Ok((_, body)) => {
                let body = String::from_utf8_lossy(body);
                let members = body.trim().strip_prefix('{').unwrap_or("}");
                format!("{{\"region\":{name},{members}")
            }
            Err(failure) => {
                let problem = serde_json::Value::from(failure.to_string());
                format!("{{\"region\":{name},\"problem\":{problem}}}")
            }
        }
    });
    let items: Vec<String> = items.collect();
    format!("{{\"equal\":{},\"items\":[{}]}}", verdict == Verdict::Equal, items.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(label: &str, sequence: u64, root: &str) -> Said {
        let body = format!("{{\"vector\":{{\"a.1\":{sequence}}},\"root\":\"{root}\"}}\n");
        let digest = serde_json::from_str(&body).unwrap();
        Said { label: label.to_owned(), answer: Ok((digest, Bytes::from(body))) }
    }

    #[test]
    fn a_delay_is_no_divergence() {
        let check = |digests: &[(u64, &str)], expected: Verdict| {
            let all: Vec<Said> = digests.iter().map(|(n, root)| said("a", *n, root)).collect();
            assert_eq!(verdict(&all), expected, "{digests:?}");
        };
        check(&[(1, "x"), (1, "x"), (1, "x")], Verdict::Equal);
        check(&[(1, "x"), (2, "y")], Verdict::Behind);
        check(&[(1, "x"), (2, "x")], Verdict::Behind);
        check(&[(1, "x"), (2, "y"), (1, "z")], Verdict::Diverged);
    }

    #[test]
    fn items_are_the_doors_own() {
        let all = [said("a", 1, "x"), said("b", 1, "x")];
        assert_eq!(
            json(&all, verdict(&all)),
            concat!(
                r#"{"equal":true,"items":[{"region":"a","vector":{"a.1":1},"root":"x"},"#,
                r#"{"region":"b","vector":{"a.1":1},"root":"x"}]}"#
            )
        );
        assert!(show(&all, Verdict::Equal).contains("a.1:1"));
    }
}
