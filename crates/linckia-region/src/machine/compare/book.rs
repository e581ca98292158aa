//! What comparing has found and done, for operators: bounded, the latest of it.
//!
//! It lives as long as the process; the region's log has a line of everything in it.

use std::collections::{BTreeMap, VecDeque};

use linckia_model::{Key, RegionName};

/// Findings remembered.
const FINDINGS_MAX: usize = 256;

/// How it is known which side is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JudgedBy {
    /// The key was folded anew from the logs here.
    Logs,
    /// More than half of the regions that could be asked show the same.
    Majority,
    /// A person said so.
    Operator,
}

/// A key's digest in a region; none where nothing shows.
pub type Side = (RegionName, Option<[u8; 32]>);

/// A key of which regions that rest on the same events show different things.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub key: Key,
    /// When it was judged last, in milliseconds since 1970.
    pub at: u64,
    /// This region first.
    pub sides: Vec<Side>,
    pub judged_by: Option<JudgedBy>,
    /// The regions that are wrong; empty where nobody can say.
    pub wrong: Vec<RegionName>,
    /// From where this region took the key, and when.
    pub repaired: Option<(RegionName, u64)>,
}

/// One comparing of all keys with a peer.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PassView {
    /// Keys read here.
    pub keys: u64,
    /// Keys that looked different.
    pub differed: u64,
    /// Those among them that one side was behind with to the end: not compared.
    pub behind: u64,
    /// When it ended, in milliseconds since 1970; none while it goes on.
    pub ended_at: Option<u64>,
}

/// What an operator has asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemandView {
    pub number: u64,
    pub running: bool,
    /// By peer.
    pub passes: BTreeMap<RegionName, PassView>,
    /// Peers that could not be asked to the end.
    pub unreachable: Vec<RegionName>,
}

/// Everything there is to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct RepairView {
    /// Keys a second that are compared all the time.
    pub rate: u64,
    pub demand: Option<DemandView>,
    /// The last pass with each peer that ran by itself.
    pub passes: BTreeMap<RegionName, PassView>,
    /// The latest first.
    pub findings: Vec<Finding>,
    /// Since the start.
    pub totals: Totals,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Totals {
    /// Rows compared.
    pub keys: u64,
    /// Keys found different.
    pub differences: u64,
    /// Keys put right here.
    pub repairs: u64,
}

/// What is remembered.
#[derive(Default)]
pub(super) struct Book {
    pub(super) totals: Totals,
    pub(super) passes: BTreeMap<RegionName, PassView>,
    findings: VecDeque<Finding>,
}

impl Book {
    /// Takes a finding; true if the key was not found so before.
    pub(super) fn found(&mut self, finding: Finding) -> bool {
        let known = self.findings.iter().position(|it| it.key == finding.key);
        let before = known.and_then(|place| self.findings.remove(place));
        let new = before.is_none_or(|it| {
            it.repaired.is_some() || it.sides != finding.sides || it.wrong != finding.wrong
        });
        if self.findings.len() == FINDINGS_MAX {
            self.findings.pop_front();
        }
        self.findings.push_back(finding);
        self.totals.differences += u64::from(new);
        new
    }

    pub(super) fn repaired(&mut self, key: &Key, from: &RegionName, at: u64) {
        self.totals.repairs += 1;
        if let Some(finding) = self.findings.iter_mut().rev().find(|it| it.key == *key) {
            finding.repaired = Some((from.clone(), at));
        }
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        self.findings.iter().rev().cloned().collect()
    }
}
