//! Raft's messages over the links between the regions. Whatever goes wrong on the way is told to
//! Raft, which tries again.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use linckia_model::RegionName;
use openraft::error::{
    Fatal, NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable,
};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::storage::Snapshot;
use openraft::{AnyError, BasicNode, OptionalSend};

use super::message::{Question, Reply};
use super::{Types, Vote};
use crate::port::Peers;

type Failure = RPCError<u64, BasicNode, RaftError<u64>>;

/// A roster may be large, and the link busy.
const SNAPSHOT_LONGEST: Duration = Duration::from_secs(30);

/// The way to every member.
pub(super) struct Network<P>(pub(super) Arc<P>);

/// The way to one.
pub(super) struct Way<P> {
    peers: Arc<P>,
    node: u64,
    /// None if a member's name is no region's: it is never reached.
    region: Option<RegionName>,
}

/// Asks a member. None if no answer came that could be understood.
pub(super) async fn ask<P: Peers>(
    peers: &P,
    region: &RegionName,
    question: &Question,
    longest: Duration,
) -> Option<Reply> {
    let question = serde_json::to_vec(question).ok()?;
    let answer = peers.ask(region, question, longest).await?;
    serde_json::from_slice(&answer).ok()
}

impl<P: Peers> Way<P> {
    async fn ask(&self, question: Question, longest: Duration) -> Result<Reply, Failure> {
        let silent = || Unreachable::new(&AnyError::error("the link gave no answer"));
        let region = self.region.as_ref().ok_or_else(silent)?;
        let reply = ask(&*self.peers, region, &question, longest).await;
        Ok(reply.ok_or_else(silent)?)
    }
}

fn unexpected(reply: &Reply) -> Failure {
    let text = match reply {
        Reply::Failed(reason) => reason.clone(),
        _ => "the answer is not to what was asked".to_owned(),
    };
    NetworkError::new(&AnyError::error(text)).into()
}

impl<P: Peers> RaftNetworkFactory<Types> for Network<P> {
    type Network = Way<P>;

    async fn new_client(&mut self, node: u64, member: &BasicNode) -> Way<P> {
        let region = RegionName::parse(&member.addr).ok();
        Way { peers: Arc::clone(&self.0), node, region }
    }
}

impl<P: Peers> RaftNetwork<Types> for Way<P> {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, Failure> {
        let question = Question::Append(self.node, request);
        match self.ask(question, option.hard_ttl()).await? {
            Reply::Append(answer) => Ok(answer),
            reply => Err(unexpected(&reply)),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, Failure> {
        match self.ask(Question::Vote(self.node, request), option.hard_ttl()).await? {
            Reply::Vote(answer) => Ok(answer),
            reply => Err(unexpected(&reply)),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<Types>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<Types, Fatal<u64>>> {
        let question = Question::Snapshot(self.node, vote, snapshot.meta, snapshot.snapshot);
        let asked = tokio::select! {
            asked = self.ask(question, SNAPSHOT_LONGEST) => asked,
            closed = cancel => return Err(StreamingError::Closed(closed)),
        };
        let silent = |failure: Failure| Unreachable::new(&AnyError::error(failure.to_string()));
        match asked.map_err(silent)? {
            Reply::Snapshot(answer) => Ok(answer),
            reply => Err(silent(unexpected(&reply)).into()),
        }
    }
}
