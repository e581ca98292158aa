//! What members say to each other, as JSON: questions, and one answer to each. Raft's own, and what
//! brings a member in or a command to whoever leads.

use std::collections::BTreeMap;

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};

use super::{EntryId, Proposal, SnapshotMeta, Types, Vote};
use crate::roster::{Outcome, Roster};

/// From one member to another.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Question {
    /// Raft's own, for the node of that number: a member that lost its journal is another node.
    Append(u64, AppendEntriesRequest<Types>),
    Vote(u64, VoteRequest<u64>),
    Snapshot(u64, Vote, SnapshotMeta, Box<Roster>),
    /// Who are you, and whom do you know?
    Introduce,
    /// The asker's journal is a new one, of this node: take it in the place of the old.
    Enter(u64),
    /// Decide this, proposed at that time, if you lead.
    Propose(Proposal),
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    Append(AppendEntriesResponse<u64>),
    Vote(VoteResponse<u64>),
    Snapshot(SnapshotResponse<u64>),
    Introduction(Introduction),
    Entered,
    Decided(Outcome),
    /// Another member leads, or nobody is known to.
    Elsewhere(Option<String>),
    /// What went wrong.
    Failed(String),
}

/// A member, by its own account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Introduction {
    pub(super) node: u64,
    /// The members that agree, by node; none before they began.
    pub(super) members: BTreeMap<u64, String>,
    /// Where they were decided: a later membership counts more than an earlier one.
    pub(super) since: Option<EntryId>,
    pub(super) leader: Option<String>,
    /// Its logs hold events: it is not a new region, whatever its journal knows.
    pub(super) has_history: bool,
}

impl Introduction {
    pub(super) fn began(&self) -> bool {
        !self.members.is_empty()
    }
}
