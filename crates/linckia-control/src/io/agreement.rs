//! The handle: what a region asks to be decided, and what members ask each other.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use linckia_log::Disk;
use linckia_model::RegionName;
use openraft::error::{ClientWriteError, RaftError};
use openraft::{BasicNode, Config, SnapshotPolicy};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use super::enter::Entering;
use super::message::{Introduction, Question, Reply};
use super::network::{Network, ask};
use super::storage::{Heard, Log, Machine};
use super::{EntryId, Proposal, Raft};
use crate::port::Peers;
use crate::roster::{Command, Outcome, Roster};

/// Time between a leader's signs of life, and how long one message may take: longer than the way
/// around the earth and back over satellites.
const HEARTBEAT: Duration = Duration::from_millis(750);

/// Without a sign of life another member stands for election after a time between these.
const ELECTION: (Duration, Duration) = (Duration::from_millis(2_000), Duration::from_millis(4_000));

/// Entries behind which a snapshot is taken, and entries kept behind it for members that lag.
const SNAPSHOT_ENTRIES: u64 = 2_000;
const KEPT_ENTRIES: u64 = 500;

/// A leader takes no time from others that is further than this from its own, in milliseconds.
const APART_MILLISECONDS: u64 = 5_000;

/// Each step of taking a member in may take so long; it asks again.
const TAKING_LONGEST: Duration = Duration::from_secs(10);

/// Time between attempts while nobody is known to lead.
const AGAIN: Duration = Duration::from_millis(100);

/// What a member is told at its start.
#[derive(Clone)]
pub struct AgreementSettings {
    pub name: RegionName,
    /// All members, this one and a witness included.
    pub members: Vec<RegionName>,
    /// Its logs hold events: where its journal is new, it was lost.
    pub has_history: bool,
    /// The members may begin although some have history: what was decided before is lost for good.
    pub begin_anew: bool,
    /// Its directory was restored from a backup: with a new journal it begins a new fleet, and
    /// enters none.
    pub restored: bool,
    /// It neither votes nor takes entries before [`Agreement::wake`]: its directory may be an old
    /// copy, that has forgotten votes.
    pub asleep: bool,
    /// The fleet's time as it is known here, in milliseconds since 1970.
    pub time: Arc<dyn Fn() -> u64 + Send + Sync>,
}

/// Why nothing was decided, as far as is known here: it may have been, all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecided {
    /// The members have not begun: these have never been heard.
    #[error(
        "the members have not agreed on anything yet, which they do once all of them were heard; \
         not heard from here: {}", names(.0)
    )]
    NotBegun(Vec<RegionName>),
    /// This member's journal is new, and the others have not taken it in.
    #[error("this member has not been taken in yet; heard from here: {}", names(.0))]
    Entering(Vec<RegionName>),
    /// These can be reached.
    #[error("no majority of the members decides; heard from here: {}", names(.0))]
    NoMajority(Vec<RegionName>),
    #[error("this region's part in the agreement has failed: {0}")]
    Failed(String),
}

fn names(regions: &[RegionName]) -> String {
    let names: Vec<&str> = regions.iter().map(RegionName::as_str).collect();
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

/// A member's part in the agreement. Clones are the same part.
pub struct Agreement<P> {
    pub(super) inner: Arc<Inner<P>>,
}

impl<P> Clone for Agreement<P> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

pub(super) struct Inner<P> {
    pub(super) settings: AgreementSettings,
    pub(super) peers: Arc<P>,
    pub(super) node: u64,
    pub(super) raft: Raft,
    pub(super) heard: Heard,
    pub(super) enters: watch::Sender<bool>,
    /// Another node is this member's, by a later membership.
    pub(super) replaced: AtomicBool,
    awake: AtomicBool,
    entering: std::sync::Mutex<Option<JoinHandle<()>>>,
}

impl<P: Peers> Agreement<P> {
    /// Opens the journal of a directory and begins, or goes on. `fresh` numbers a new journal.
    /// What was known to be decided is in the roster when it returns.
    ///
    /// # Errors
    /// The journal cannot be read, or does not verify.
    pub async fn open(
        settings: AgreementSettings,
        disk: Arc<dyn Disk>,
        peers: Arc<P>,
        fresh: impl FnOnce() -> io::Result<u64>,
    ) -> io::Result<Self> {
        let log = Log::open(disk, fresh)?;
        let node = log.node();
        let (machine, heard) = Machine::new(log.clone());
        let milliseconds = |time: Duration| time.as_millis() as u64;
        let config = Config {
            cluster_name: "linckia".to_owned(),
            heartbeat_interval: milliseconds(HEARTBEAT),
            election_timeout_min: milliseconds(ELECTION.0),
            election_timeout_max: milliseconds(ELECTION.1),
            snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_ENTRIES),
            max_in_snapshot_log_to_keep: KEPT_ENTRIES,
            ..Config::default()
        };
        let config = Arc::new(config.validate().map_err(io::Error::other)?);
        let network = Network(Arc::clone(&peers));
        let raft = Raft::new(node, config, network, log, machine).await;
        let raft = raft.map_err(io::Error::other)?;
        let entering = std::sync::Mutex::default();
        let (enters, replaced) = (watch::channel(false).0, AtomicBool::new(false));
        let awake = AtomicBool::new(!settings.asleep);
        raft.runtime_config().elect(!settings.asleep);
        let inner = Inner { settings, peers, node, raft, heard, enters, replaced, awake, entering };
        let inner = Arc::new(inner);
        let task = tokio::spawn(Entering::new(Arc::clone(&inner)).run());
        *inner.entering.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(task);
        Ok(Self { inner })
    }

    /// What is decided, as far as is known here, whenever it changes.
    pub fn roster(&self) -> watch::Receiver<Arc<Roster>> {
        self.inner.heard.roster.clone()
    }

    /// True while this member is one of those that decide, and knows what was decided before: a
    /// member whose journal was lost is not, until it was taken in.
    pub fn entered(&self) -> watch::Receiver<bool> {
        self.inner.enters.subscribe()
    }

    /// From here on it takes part: its directory is known not to be an old copy.
    pub fn wake(&self) {
        if !self.inner.awake.swap(true, Ordering::Relaxed) {
            self.inner.raft.runtime_config().elect(true);
        }
    }

    /// True if the others took in another journal in this one's place: it is that of a directory
    /// that was copied, or taken for lost.
    pub fn is_replaced(&self) -> bool {
        self.inner.replaced.load(Ordering::Relaxed)
    }

    /// Has a command decided. Errors: [`Undecided`], when it was not within `longest`; asking again
    /// is safe where the command is.
    pub async fn decide(&self, command: Command, longest: Duration) -> Result<Outcome, Undecided> {
        let deadline = Instant::now() + longest;
        let proposal = Proposal { at: (self.inner.settings.time)(), command };
        match timeout_at(deadline, self.inner.decide(&proposal, deadline)).await {
            Ok(decided) => decided,
            Err(_) => Err(self.inner.undecided().await),
        }
    }

    /// Answers what another member asks.
    pub async fn answer(&self, from: &RegionName, question: &[u8]) -> Vec<u8> {
        let reply = match serde_json::from_slice(question) {
            Ok(question) => self.inner.answer(from, question).await,
            Err(error) => Reply::Failed(format!("the question is not understood: {error}")),
        };
        serde_json::to_vec(&reply).unwrap_or_default()
    }

    /// The member that leads, as far as is known here.
    pub fn leader(&self) -> Option<String> {
        self.inner.leader()
    }

    /// Ends its tasks; what is under way may be decided without this member.
    pub async fn close(&self) {
        let entering = &self.inner.entering;
        let task = entering.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(task) = task {
            task.abort();
        }
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::warn!(%error, "the agreement did not end cleanly");
        }
    }
}

impl<P: Peers> Inner<P> {
    /// Members by node; none before they began.
    pub(super) fn members(&self) -> BTreeMap<u64, String> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let membership = metrics.membership_config.membership();
        let voters = membership.voter_ids().collect::<Vec<_>>();
        let nodes = membership.nodes().filter(|(node, _)| voters.contains(node));
        nodes.map(|(node, member)| (*node, member.addr.clone())).collect()
    }

    /// Where the members were decided, as far as is known here.
    pub(super) fn since(&self) -> Option<EntryId> {
        *self.raft.metrics().borrow().membership_config.log_id()
    }

    /// True if this node is one of those that decide, as far as is known here.
    pub(super) fn votes(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        metrics.membership_config.membership().voter_ids().any(|voter| voter == self.node)
    }

    /// True if this node is the only one of its member, and no change of members is half done.
    pub(super) fn is_settled(&self, node: u64, name: &RegionName) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let membership = metrics.membership_config.membership();
        let own = |(_, member): &(&u64, &BasicNode)| member.addr == name.as_str();
        let nodes: Vec<u64> = membership.nodes().filter(own).map(|(node, _)| *node).collect();
        let votes = membership.voter_ids().any(|voter| voter == node);
        membership.get_joint_config().len() == 1 && votes && nodes == [node]
    }

    pub(super) fn leader(&self) -> Option<String> {
        let metrics = self.raft.metrics();
        let leader = metrics.borrow().current_leader?;
        self.members().remove(&leader)
    }

    async fn decide(&self, proposal: &Proposal, deadline: Instant) -> Result<Outcome, Undecided> {
        loop {
            let leader = match self.propose(proposal.clone()).await? {
                Ok(outcome) => return Ok(outcome),
                Err(leader) => leader,
            };
            if let Some(region) = leader.and_then(|name| RegionName::parse(&name).ok()) {
                let question = Question::Propose(proposal.clone());
                // Who leads may be cut off meanwhile, and another one be elected.
                let longest = deadline.saturating_duration_since(Instant::now()).min(ELECTION.0);
                match ask(&*self.peers, &region, &question, longest).await {
                    Some(Reply::Decided(outcome)) => return Ok(outcome),
                    Some(Reply::Failed(reason)) => {
                        tracing::debug!(%region, reason, "a leader could not decide");
                    }
                    _ => {}
                }
            }
            sleep(AGAIN).await;
        }
    }

    /// Decides here if this member leads; else says who does.
    async fn propose(
        &self,
        mut proposal: Proposal,
    ) -> Result<Result<Outcome, Option<String>>, Undecided> {
        let own = (self.settings.time)();
        let (least, most) = (own.saturating_sub(APART_MILLISECONDS), own + APART_MILLISECONDS);
        proposal.at = proposal.at.clamp(least, most);
        match self.raft.client_write(proposal).await {
            Ok(written) => Ok(Ok(written.data)),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                Ok(Err(forward.leader_node.map(|member| member.addr)))
            }
            Err(error) => Err(Undecided::Failed(error.to_string())),
        }
    }

    async fn undecided(&self) -> Undecided {
        let others = self.settings.members.iter().filter(|name| **name != self.settings.name);
        let began = !self.members().is_empty();
        let asked = others.map(|name| async move {
            let reply = ask(&*self.peers, name, &Question::Introduce, HEARTBEAT * 2).await;
            let began = matches!(&reply, Some(Reply::Introduction(known)) if known.began());
            (name.clone(), matches!(reply, Some(Reply::Introduction(_))), began)
        });
        let asked: Vec<(RegionName, bool, bool)> = join_all(asked).await;
        let of = |wanted: bool| {
            let some = asked.iter().filter(|(_, heard, _)| *heard == wanted);
            some.map(|(name, ..)| name.clone()).collect()
        };
        let others_began = asked.iter().any(|(_, _, began)| *began);
        match (began, others_began) {
            (true, _) => Undecided::NoMajority(of(true)),
            (false, true) => Undecided::Entering(of(true)),
            (false, false) => Undecided::NotBegun(of(false)),
        }
    }

    async fn answer(&self, from: &RegionName, question: Question) -> Reply {
        let failed = |error: &dyn std::fmt::Display| Reply::Failed(error.to_string());
        match question {
            Question::Append(node, _) | Question::Vote(node, _) | Question::Snapshot(node, ..)
                if node != self.node =>
            {
                Reply::Failed(format!("node {node} is no more: its journal was lost"))
            }
            Question::Append(..) | Question::Vote(..) | Question::Snapshot(..)
                if !self.awake.load(Ordering::Relaxed) =>
            {
                Reply::Failed("it has just started, and does not take part yet".to_owned())
            }
            Question::Append(_, request) => match self.raft.append_entries(request).await {
                Ok(answer) => Reply::Append(answer),
                Err(error) => failed(&error),
            },
            Question::Vote(_, request) => match self.raft.vote(request).await {
                Ok(answer) => Reply::Vote(answer),
                Err(error) => failed(&error),
            },
            Question::Snapshot(_, vote, meta, snapshot) => {
                let snapshot = openraft::storage::Snapshot { meta, snapshot };
                match self.raft.install_full_snapshot(vote, snapshot).await {
                    Ok(answer) => Reply::Snapshot(answer),
                    Err(error) => failed(&error),
                }
            }
            Question::Introduce => Reply::Introduction(Introduction {
                node: self.node,
                members: self.members(),
                since: self.since(),
                leader: self.leader(),
                has_history: self.settings.has_history,
            }),
            Question::Enter(node) => self.take_in(from, node).await,
            Question::Propose(proposal) => match self.propose(proposal).await {
                Ok(Ok(outcome)) => Reply::Decided(outcome),
                Ok(Err(leader)) => Reply::Elsewhere(leader),
                Err(error) => failed(&error),
            },
        }
    }

    /// As the leader: a member has lost its journal, its new node takes the old one's place.
    async fn take_in(&self, from: &RegionName, node: u64) -> Reply {
        if !self.settings.members.contains(from) {
            return Reply::Failed(format!("{from} is no member of the fleet"));
        }
        if self.is_settled(node, from) {
            return Reply::Entered;
        }
        // Asked again, each step goes on where the one before ended.
        let entered = async {
            if !self.members().contains_key(&node) {
                let member = BasicNode::new(from.as_str());
                self.raft.add_learner(node, member, false).await?;
            }
            let members = self.members();
            let others = members.iter().filter(|(_, name)| *name != from.as_str());
            let voters: BTreeSet<u64> = others.map(|(node, _)| *node).chain([node]).collect();
            self.raft.change_membership(voters, false).await?;
            let metrics = self.raft.metrics();
            let left: BTreeSet<u64> = {
                let metrics = metrics.borrow();
                let nodes = metrics.membership_config.membership().nodes();
                let own =
                    nodes.filter(|(other, member)| **other != node && member.addr == from.as_str());
                own.map(|(other, _)| *other).collect()
            };
            if !left.is_empty() {
                let gone = openraft::ChangeMembers::RemoveNodes(left);
                self.raft.change_membership(gone, false).await?;
            }
            Ok(())
        };
        let entered = tokio::time::timeout(TAKING_LONGEST, entered).await;
        let Ok(entered) = entered else {
            return Reply::Failed("it takes longer than it may; ask again".to_owned());
        };
        match entered {
            Ok(()) => {
                tracing::info!(region = %from, node, "entered the agreement with a new journal");
                Reply::Entered
            }
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                Reply::Elsewhere(forward.leader_node.map(|member| member.addr))
            }
            Err(error) => Reply::Failed(error.to_string()),
        }
    }
}
