//! Raft among the members: its types, its journal, its messages, and the way into it. Hands of the
//! crate; what is decided, `roster` decides.

mod agreement;
mod enter;
mod journal;
mod message;
mod network;
mod storage;
#[cfg(test)]
mod tests;

use openraft::BasicNode;

pub use agreement::{Agreement, AgreementSettings, Undecided};

use crate::roster::{Command, Outcome, Roster};

/// A command on its way into the roster, with the time at which it was asked for.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Proposal {
    /// In milliseconds since 1970, by the fleet's clock.
    at: u64,
    command: Command,
}

openraft::declare_raft_types!(
    /// Raft as it is used here: a node is a member's name, a snapshot the roster itself.
    pub(crate) Types:
        D = Proposal,
        R = Outcome,
        NodeId = u64,
        Node = BasicNode,
        SnapshotData = Roster,
);

pub(crate) type Entry = openraft::Entry<Types>;
pub(crate) type EntryId = openraft::LogId<u64>;
pub(crate) type Vote = openraft::Vote<u64>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<u64, BasicNode>;
pub(crate) type Raft = openraft::Raft<Types>;
