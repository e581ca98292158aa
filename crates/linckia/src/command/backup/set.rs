//! The backups that lie in one place: numbered runs, each a manifest and its parts.
//!
//! A run is whole once its manifest is there, which is written last. A run that goes on from the
//! one before names it by its hash; a full one begins a line of its own. What always holds: a
//! manifest carries its own hash, so what it says is as it was written.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Context as _;
use linckia_api::Timestamp;
use linckia_model::Hlc;
use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::backup::{Logs, other_format};

const MANIFEST: &str = "manifest.json";

/// What a run consists of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) format: u32,
    pub(crate) number: u64,
    /// The hash of the manifest of the run that it goes on from; none of a full one.
    pub(crate) previous: Option<String>,
    pub(crate) region: String,
    /// By the clock of whoever took it, in milliseconds since 1970.
    pub(crate) taken_at: u64,
    /// The hybrid time of the state with which its line begins.
    pub(crate) from: u64,
    pub(crate) after: Logs,
    pub(crate) upto: Logs,
    pub(crate) complete: u64,
    pub(crate) latest: u64,
    pub(crate) pages: u64,
    pub(crate) records: u64,
    pub(crate) parts: Vec<Part>,
    /// Of all that stands here, with this empty.
    pub(crate) blake3: String,
}

/// A file of frames.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) blake3: String,
}

/// The first thing that is wrong with what lies there.
#[derive(Debug)]
pub(crate) struct Flaw {
    pub(crate) file: String,
    pub(crate) offset: u64,
    pub(crate) what: String,
}

impl fmt::Display for Flaw {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} at byte {}: {}", self.file, self.offset, self.what)
    }
}

impl std::error::Error for Flaw {}

/// The directory of a run.
pub(crate) fn run_name(number: u64) -> String {
    format!("{number:06}")
}

/// Where a part of a run lies.
pub(crate) fn part_name(run: u64, part: &str) -> String {
    format!("{}/{part}", run_name(run))
}

impl Manifest {
    /// With its hash.
    pub(crate) fn sealed(mut self) -> anyhow::Result<Self> {
        self.blake3 = self.hash()?;
        Ok(self)
    }

    fn hash(&self) -> anyhow::Result<String> {
        let open = Self { blake3: String::new(), ..self.clone() };
        Ok(blake3::hash(&serde_json::to_vec(&open)?).to_hex().to_string())
    }

    pub(crate) fn file(&self) -> String {
        format!("{}/{MANIFEST}", run_name(self.number))
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.previous.is_none()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    pub(crate) async fn write(&self, place: &Place) -> anyhow::Result<()> {
        place.put(&self.file(), serde_json::to_vec(self)?).await
    }

    async fn read(place: &Place, number: u64) -> anyhow::Result<Self> {
        let file = format!("{}/{MANIFEST}", run_name(number));
        let bytes = place.get(&file).await?;
        let flaw = |offset, what: String| Flaw { file: place.shown(&file), offset, what };
        if let Some(what) = other_format(&bytes) {
            return Err(flaw(0, what).into());
        }
        let manifest: Self = serde_json::from_slice(&bytes).map_err(|error| {
            // A manifest is one line.
            let offset = error.column().saturating_sub(1) as u64;
            flaw(offset, format!("it is no manifest that this version reads: {error}"))
        })?;
        if manifest.number != number || manifest.hash()? != manifest.blake3 {
            return Err(flaw(0, "the manifest does not verify".to_owned()).into());
        }
        Ok(manifest)
    }
}

/// Everything in one place.
#[derive(Debug, Default)]
pub(crate) struct Set {
    pub(crate) runs: Vec<Manifest>,
    /// Files of runs that were broken off.
    pub(crate) broken: Vec<String>,
    /// The highest number of all.
    pub(crate) last: u64,
}

impl Set {
    /// Reads the manifests; a line of runs that is not whole is a [`Flaw`].
    pub(crate) async fn read(place: &Place) -> anyhow::Result<Self> {
        let mut files: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for name in place.list().await? {
            let number = name
                .split_once('/')
                .and_then(|(run, _)| run.parse().ok().filter(|number| run_name(*number) == run));
            if let Some(number) = number {
                files.entry(number).or_default().push(name);
            }
        }
        let mut set = Self::default();
        for (number, files) in files {
            set.last = number;
            if files.iter().any(|file| file.ends_with(&format!("/{MANIFEST}"))) {
                set.take(place, Manifest::read(place, number).await?)?;
            } else {
                set.broken.extend(files);
            }
        }
        Ok(set)
    }

    fn take(&mut self, place: &Place, manifest: Manifest) -> Result<(), Flaw> {
        let before = self.runs.last();
        if let Some(previous) = &manifest.previous
            && before.map(|before| &before.blake3) != Some(previous)
        {
            let last = before.map_or(0, |before| before.number);
            let what = format!(
                "it goes on from a backup that is not here: what lies between {} and {} is missing",
                run_name(last),
                run_name(manifest.number)
            );
            return Err(Flaw { file: place.shown(&manifest.file()), offset: 0, what });
        }
        self.runs.push(manifest);
        Ok(())
    }

    /// The lines, each a full backup and those that go on from it.
    pub(crate) fn lines(&self) -> Vec<&[Manifest]> {
        let mut lines = Vec::new();
        let mut begin = 0;
        for at in 1..=self.runs.len() {
            if self.runs.get(at).is_none_or(Manifest::is_full) {
                lines.push(&self.runs[begin..at]);
                begin = at;
            }
        }
        lines.retain(|line| !line.is_empty());
        lines
    }

    /// The ranges of times that can be restored, oldest first, in words.
    pub(crate) fn ranges(&self) -> String {
        let each: Vec<String> = self.lines().into_iter().map(range).collect();
        each.join("; ")
    }

    /// The runs to read for the state at that millisecond; without one, the latest.
    pub(crate) fn until(&self, time: Option<u64>) -> anyhow::Result<(&[Manifest], u64)> {
        let lines = self.lines();
        let newest = lines.last().context("no backup lies here")?;
        let Some(time) = time else { return Ok((newest, last_millisecond(newest))) };
        let holds = |line: &&&[Manifest]| {
            milliseconds(line[0].from) <= time && time <= last_millisecond(line)
        };
        let line = lines.iter().rev().find(holds).with_context(|| {
            format!(
                "the backups here do not reach to {}: they can be restored to any time from {}",
                text(time),
                self.ranges()
            )
        })?;
        // Behind a run that has everything of then, nothing of then follows.
        let all = |run: &Manifest| milliseconds(run.complete) > time;
        let through = line.iter().position(all).map_or(line.len(), |at| at + 1);
        Ok((&line[..through], time))
    }
}

pub(crate) fn milliseconds(hlc: u64) -> u64 {
    Hlc::from_bits(hlc).milliseconds()
}

/// A time for the operator.
pub(crate) fn text(milliseconds: u64) -> String {
    Timestamp::from_milliseconds(milliseconds).as_str().to_owned()
}

fn last_millisecond(line: &[Manifest]) -> u64 {
    line.iter().map(|run| milliseconds(run.latest)).max().unwrap_or(0)
}

/// From when to when a line of runs can be restored.
pub(crate) fn range(line: &[Manifest]) -> String {
    let from = line.first().map_or(0, |run| milliseconds(run.from));
    format!("{} to {}", text(from), text(last_millisecond(line)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::FORMAT;

    fn manifest(number: u64, previous: Option<&Manifest>, times: [u64; 3]) -> Manifest {
        let [from, complete, latest] = times.map(|time| Hlc::from_milliseconds(time).bits());
        let manifest = Manifest {
            format: FORMAT,
            number,
            previous: previous.map(|it| it.blake3.clone()),
            region: "a".to_owned(),
            taken_at: 0,
            from,
            after: Logs::new(),
            upto: Logs::new(),
            complete,
            latest,
            pages: 0,
            records: 0,
            parts: Vec::new(),
            blake3: String::new(),
        };
        manifest.sealed().unwrap()
    }

    fn set() -> Set {
        let one = manifest(1, None, [10, 12, 15]);
        let two = manifest(2, Some(&one), [10, 20, 25]);
        let three = manifest(3, Some(&two), [10, 30, 35]);
        let four = manifest(4, None, [50, 52, 55]);
        Set { runs: vec![one, two, three, four], ..Set::default() }
    }

    #[test]
    fn the_runs_of_a_time_are_those_that_may_have_something_of_then() {
        let set = set();
        let check = |time, expected: Option<&[u64]>| {
            let found = set.until(time).ok();
            let numbers = found.map(|(runs, _)| runs.iter().map(|run| run.number).collect());
            let expected: Option<Vec<u64>> = expected.map(<[u64]>::to_vec);
            assert_eq!(numbers, expected, "{time:?}");
        };
        check(Some(9), None);
        check(Some(10), Some(&[1]));
        check(Some(11), Some(&[1]));
        check(Some(12), Some(&[1, 2]));
        check(Some(29), Some(&[1, 2, 3]));
        check(Some(35), Some(&[1, 2, 3]));
        check(Some(36), None);
        check(Some(49), None);
        check(Some(50), Some(&[4]));
        check(None, Some(&[4]));
        let refused = set.until(Some(40)).unwrap_err().to_string();
        assert!(refused.contains("00.010Z to 1970-01-01T00:00:00.035Z; "), "{refused}");
    }

    #[tokio::test]
    async fn a_run_that_is_missing_or_changed_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::parse(dir.path().to_str().unwrap()).unwrap();
        for run in &set().runs {
            run.write(&place).await.unwrap();
        }
        assert_eq!(Set::read(&place).await.unwrap().runs, set().runs);
        place.put("000005/part-000001", b"x".to_vec()).await.unwrap();
        let read = Set::read(&place).await.unwrap();
        assert_eq!((read.broken, read.last), (vec!["000005/part-000001".to_owned()], 5));
        let path = dir.path().join("000001/manifest.json");
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, whole.replacen("\"takenAt\":0", "\"takenAt\":1", 1)).unwrap();
        let flaw = Set::read(&place).await.unwrap_err().to_string();
        assert!(flaw.contains("000001/manifest.json at byte 0"), "{flaw}");
        std::fs::write(&path, whole).unwrap();
        std::fs::remove_dir_all(dir.path().join("000002")).unwrap();
        let flaw = Set::read(&place).await.unwrap_err().to_string();
        assert!(flaw.contains("between 000001 and 000003 is missing"), "{flaw}");
    }
}
