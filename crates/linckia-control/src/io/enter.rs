//! How the members begin, and how one that lost its journal comes back.
//!
//! A member's journal has a number, drawn when it is made, which is its node. A new journal knows
//! of no vote it gave, so it must not vote for a member that gave one: it asks the others first.
//! Where one of them knows a membership, it asks the leader to be taken in in its old node's place;
//! where all members are new, the first of them by name makes them the membership.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use linckia_model::RegionName;
use openraft::BasicNode;
use tokio::time::sleep;

use super::agreement::Inner;
use super::message::{Introduction, Question, Reply};
use super::network::ask;
use crate::port::Peers;

/// Time between attempts, and for each.
const AGAIN: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(2);

/// Time between looks whether another node is this member's, and between the first ones.
const LOOK: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_millis(50);

/// An answer to one is waited for so long.
const LOOK_LONGEST: Duration = Duration::from_millis(700);

/// At its start a member waits so long for others to say that it is one.
const CONFIRM_LONGEST: Duration = Duration::from_millis(1_500);

/// A member is taken in once it has what was decided: within this, or it asks again.
const ENTERING_LONGEST: Duration = Duration::from_secs(30);

/// A member on its way in.
pub(super) struct Entering<P> {
    inner: Arc<Inner<P>>,
    /// It was told that the members cannot begin.
    told: AtomicBool,
    /// One of the others has said whether this node is a member.
    sure: AtomicBool,
}

impl<P: Peers> Entering<P> {
    pub(super) fn new(inner: Arc<Inner<P>>) -> Self {
        Self { inner, told: AtomicBool::new(false), sure: AtomicBool::new(false) }
    }

    /// Asks until this member's node is among the members, then says who leads. Ends with Raft.
    pub(super) async fn run(self) {
        let Inner { node, settings, .. } = &*self.inner;
        while !self.inner.votes() {
            self.attempt().await;
            sleep(AGAIN).await;
        }
        self.confirm().await;
        let (mut metrics, mut told) = (self.inner.raft.metrics(), None);
        let mut decides = self.inner.heard.entered.clone();
        loop {
            let replaced = self.inner.replaced.load(Ordering::Relaxed);
            let enters = *decides.borrow_and_update() && !replaced;
            self.inner.enters.send_if_modified(|was| std::mem::replace(was, enters) != enters);
            let leader = self.inner.leader();
            if leader != told {
                match &leader {
                    Some(leader) => tracing::info!(leader, "the members agree"),
                    None => tracing::warn!("no member leads: nothing is decided"),
                }
                told.clone_from(&leader);
            }
            let settled = self.inner.is_settled(*node, &settings.name);
            // Who hears of no leader may be a member no more.
            let unsure = replaced || leader.is_none() || !self.sure.load(Ordering::Relaxed);
            tokio::select! {
                changed = metrics.changed() => if changed.is_err() { return },
                changed = decides.changed() => if changed.is_err() { return },
                () = sleep(LOOK), if !settled && !replaced => self.attempt().await,
                () = sleep(LOOK), if unsure => self.look_for_another().await,
            }
        }
    }

    /// Before this member counts itself in, one of the others should have seen its node among the
    /// members, or another one in its place. If none can be reached it goes on.
    async fn confirm(&self) {
        let settings = &self.inner.settings;
        if settings.members.iter().all(|name| *name == settings.name) {
            self.sure.store(true, Ordering::Relaxed);
        }
        let known =
            || self.sure.load(Ordering::Relaxed) || self.inner.replaced.load(Ordering::Relaxed);
        let asked = async {
            while !known() {
                self.look_for_another().await;
                sleep(SOON).await;
            }
        };
        let _ = tokio::time::timeout(CONFIRM_LONGEST, asked).await;
    }

    /// Asks the others who this member is; each answer counts as it comes.
    async fn look_for_another(&self) {
        let inner = &self.inner;
        let others = inner.settings.members.iter().filter(|name| **name != inner.settings.name);
        let ask = |name| ask(&*inner.peers, name, &Question::Introduce, LOOK_LONGEST);
        let mut asked: FuturesUnordered<_> = others.map(ask).collect();
        let own = inner.since();
        let mut seen = false;
        while let Some(reply) = asked.next().await {
            let Some(Reply::Introduction(other)) = reply else { continue };
            let named = other.members.values().any(|name| name == inner.settings.name.as_str());
            let here = other.members.contains_key(&inner.node);
            // What is known there is older than what is known here: it says nothing.
            if !named || other.since < own {
                continue;
            }
            if here {
                seen = true;
                continue;
            }
            if other.since > own {
                return self.found_another();
            }
        }
        if seen {
            self.sure.store(true, Ordering::Relaxed);
            inner.replaced.store(false, Ordering::Relaxed);
        }
    }

    fn found_another(&self) {
        self.sure.store(true, Ordering::Relaxed);
        if !self.inner.replaced.swap(true, Ordering::Relaxed) {
            tracing::error!(
                "another directory of this region is a member in this one's place: this one was \
                 copied, or taken for lost. It takes no requests; keep it, and start the region in \
                 the other one, or in an empty one"
            );
        }
    }

    async fn attempt(&self) {
        let settings = &self.inner.settings;
        let others = settings.members.iter().filter(|name| **name != settings.name);
        let asked = others.map(|name| async move {
            let reply = ask(&*self.inner.peers, name, &Question::Introduce, LONGEST).await;
            let known = match reply {
                Some(Reply::Introduction(introduction)) => Some(introduction),
                _ => None,
            };
            (name.clone(), known)
        });
        let asked = join_all(asked).await;
        let heard: BTreeMap<RegionName, Introduction> =
            asked.iter().filter_map(|(name, known)| Some((name.clone(), known.clone()?))).collect();
        let began = heard.values().find(|introduction| introduction.began());
        match began {
            _ if !self.inner.members().is_empty() => self.ask_to_enter(self.inner.leader()).await,
            Some(other) if settings.restored && !other.members.contains_key(&self.inner.node) => {
                self.tell_restored();
            }
            Some(introduction) => self.ask_to_enter(introduction.leader.clone()).await,
            None if heard.len() + 1 == settings.members.len() => self.begin(&heard).await,
            None => {}
        }
    }

    fn tell_restored(&self) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::error!(
                "this directory was restored from a backup, and the other members have begun \
                 without it: it begins a new fleet, with others whose directories are empty. To \
                 enter this fleet, start the region in an empty directory"
            );
        }
    }

    /// All members are new: the first by name says who they are.
    async fn begin(&self, heard: &BTreeMap<RegionName, Introduction>) {
        let Inner { settings, node, raft, .. } = &*self.inner;
        let lost = settings.has_history || heard.values().any(|member| member.has_history);
        if lost && !settings.begin_anew {
            if !self.told.swap(true, Ordering::Relaxed) {
                tracing::error!(
                    "every member's agreement journal is new, and there are events: what was \
                     decided is lost. Put a directory `agreement` back, or start one region with \
                     --begin-agreement: fences and policies then begin anew"
                );
            }
            return;
        }
        if !settings.begin_anew && heard.keys().any(|name| *name < settings.name) {
            return;
        }
        let others = heard.iter().map(|(name, introduction)| (introduction.node, name));
        let members = others.chain([(*node, &settings.name)]);
        let members: BTreeMap<u64, BasicNode> =
            members.map(|(node, name)| (node, BasicNode::new(name.as_str()))).collect();
        match raft.initialize(members).await {
            Ok(()) => tracing::info!("the members begin to agree"),
            Err(error) => tracing::warn!(%error, "the members could not begin to agree"),
        }
    }

    async fn ask_to_enter(&self, leader: Option<String>) {
        let Some(leader) = leader.and_then(|name| RegionName::parse(&name).ok()) else { return };
        let question = Question::Enter(self.inner.node);
        let reply = ask(&*self.inner.peers, &leader, &question, ENTERING_LONGEST).await;
        if let Some(Reply::Failed(reason)) = reply {
            tracing::warn!(%leader, reason, "not taken in yet; asking again");
        }
    }
}
