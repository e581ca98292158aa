//! Raft's storage over the journal: its log, and the roster as its state machine.
//!
//! Reads come from memory; a change is taken and made durable in one step, on a thread that may
//! wait for the disk.

use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, PoisonError};

use linckia_log::Disk;
use openraft::storage::{LogFlushed, LogState, RaftLogStorage, RaftStateMachine, Snapshot};
use openraft::{
    AnyError, BasicNode, EntryPayload, ErrorSubject, ErrorVerb, OptionalSend, RaftLogReader,
    RaftSnapshotBuilder, StorageError, StorageIOError, StoredMembership,
};
use tokio::sync::watch;

use super::journal::{Journal, Line, Memory};
use super::{Entry, EntryId, SnapshotMeta, Types, Vote};
use crate::roster::{Outcome, Roster};

type Stored<T> = Result<T, StorageError<u64>>;

/// Raft's log. Clones are the same log.
#[derive(Clone)]
pub(super) struct Log {
    memory: Arc<Mutex<Memory>>,
    journal: Arc<Mutex<Journal>>,
}

impl Log {
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        fresh: impl FnOnce() -> io::Result<u64>,
    ) -> io::Result<Self> {
        let (journal, memory) = Journal::open(disk, fresh)?;
        let (journal, memory) = (Arc::new(Mutex::new(journal)), Arc::new(Mutex::new(memory)));
        Ok(Self { memory, journal })
    }

    /// The number of this member among Raft's nodes.
    pub(super) fn node(&self) -> u64 {
        self.read(|memory| memory.node)
    }

    fn read<T>(&self, look: impl FnOnce(&Memory) -> T) -> T {
        look(&self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn change(&self, line: Line) -> io::Result<()> {
        let log = self.clone();
        let work = tokio::task::spawn_blocking(move || {
            let mut journal = log.journal.lock().unwrap_or_else(PoisonError::into_inner);
            let counts =
                log.memory.lock().unwrap_or_else(PoisonError::into_inner).take(line.clone());
            if counts { journal.write(&line, || log.read(Memory::clone)) } else { Ok(()) }
        });
        work.await.map_err(io::Error::other)?
    }
}

fn failed(subject: ErrorSubject<u64>, verb: ErrorVerb, error: &io::Error) -> StorageError<u64> {
    StorageIOError::new(subject, verb, AnyError::new(error)).into()
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Stored<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        Ok(self
            .read(|memory| memory.entries.range(range).map(|(_, entry)| entry.clone()).collect()))
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Stored<LogState<Types>> {
        Ok(self.read(|memory| {
            let last = memory.entries.values().next_back().map(|entry| entry.log_id);
            LogState { last_purged_log_id: memory.purged, last_log_id: last.or(memory.purged) }
        }))
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Stored<()> {
        let saved = self.change(Line::Vote(*vote)).await;
        saved.map_err(|error| failed(ErrorSubject::Vote, ErrorVerb::Write, &error))
    }

    async fn read_vote(&mut self) -> Stored<Option<Vote>> {
        Ok(self.read(|memory| memory.vote))
    }

    async fn save_committed(&mut self, committed: Option<EntryId>) -> Stored<()> {
        let saved = self.change(Line::Committed(committed)).await;
        saved.map_err(|error| failed(ErrorSubject::Store, ErrorVerb::Write, &error))
    }

    async fn read_committed(&mut self) -> Stored<Option<EntryId>> {
        Ok(self.read(|memory| memory.committed))
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Stored<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().collect();
        callback.log_io_completed(self.change(Line::Entries(entries)).await);
        Ok(())
    }

    async fn truncate(&mut self, from: EntryId) -> Stored<()> {
        let cut = self.change(Line::Truncate(from.index)).await;
        cut.map_err(|error| failed(ErrorSubject::Log(from), ErrorVerb::Delete, &error))
    }

    async fn purge(&mut self, until: EntryId) -> Stored<()> {
        let gone = self.change(Line::Purge(until)).await;
        gone.map_err(|error| failed(ErrorSubject::Log(until), ErrorVerb::Delete, &error))
    }
}

/// The roster and how far it is.
pub(super) struct Machine {
    log: Log,
    applied: Option<EntryId>,
    membership: StoredMembership<u64, BasicNode>,
    roster: watch::Sender<Arc<Roster>>,
    /// This member's node is among those that decide, and everything before that is applied.
    entered: watch::Sender<bool>,
}

/// What is heard of the roster.
pub(super) struct Heard {
    pub(super) roster: watch::Receiver<Arc<Roster>>,
    pub(super) entered: watch::Receiver<bool>,
}

impl Machine {
    /// As of the last snapshot; Raft brings the entries behind it.
    pub(super) fn new(log: Log) -> (Self, Heard) {
        let snapshot = log.read(|memory| memory.snapshot.clone());
        let (meta, roster) = snapshot.unwrap_or_default();
        let (roster, decided) = watch::channel(Arc::new(*roster));
        let (entered, has_entered) = watch::channel(false);
        let (applied, membership) = (meta.last_log_id, meta.last_membership);
        let machine = Self { log, applied, membership, roster, entered };
        machine.look_who_decides();
        (machine, Heard { roster: decided, entered: has_entered })
    }

    fn look_who_decides(&self) {
        let node = self.log.node();
        let decides = self.membership.membership().voter_ids().any(|voter| voter == node);
        self.entered.send_if_modified(|entered| decides && !std::mem::replace(entered, true));
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Taken;

    async fn applied_state(
        &mut self,
    ) -> Stored<(Option<EntryId>, StoredMembership<u64, BasicNode>)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Stored<Vec<Outcome>>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut roster = (**self.roster.borrow()).clone();
        let mut outcomes = Vec::new();
        for entry in entries {
            self.applied = Some(entry.log_id);
            outcomes.push(match entry.payload {
                EntryPayload::Blank => Outcome::Nothing,
                EntryPayload::Normal(proposal) => roster.decide(proposal.at, &proposal.command),
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                    Outcome::Nothing
                }
            });
        }
        self.roster.send_replace(Arc::new(roster));
        self.look_who_decides();
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> Taken {
        let number = self.applied.map_or(0, |applied| applied.index);
        Taken {
            log: self.log.clone(),
            meta: SnapshotMeta {
                last_log_id: self.applied,
                last_membership: self.membership.clone(),
                snapshot_id: number.to_string(),
            },
            roster: Arc::clone(&self.roster.borrow()),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Stored<Box<Roster>> {
        Ok(Box::default())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, roster: Box<Roster>) -> Stored<()> {
        let saved = self.log.change(Line::Snapshot(meta.clone(), roster.clone())).await;
        let subject = ErrorSubject::Snapshot(Some(meta.signature()));
        saved.map_err(|error| failed(subject, ErrorVerb::Write, &error))?;
        (self.applied, self.membership) = (meta.last_log_id, meta.last_membership.clone());
        self.roster.send_replace(Arc::new(*roster));
        self.look_who_decides();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Stored<Option<Snapshot<Types>>> {
        let snapshot = self.log.read(|memory| memory.snapshot.clone());
        Ok(snapshot.map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}

/// A snapshot on its way to the disk.
pub(super) struct Taken {
    log: Log,
    meta: SnapshotMeta,
    roster: Arc<Roster>,
}

impl RaftSnapshotBuilder<Types> for Taken {
    async fn build_snapshot(&mut self) -> Stored<Snapshot<Types>> {
        let roster = Box::new((*self.roster).clone());
        let saved = self.log.change(Line::Snapshot(self.meta.clone(), roster.clone())).await;
        let subject = ErrorSubject::Snapshot(Some(self.meta.signature()));
        saved.map_err(|error| failed(subject, ErrorVerb::Write, &error))?;
        Ok(Snapshot { meta: self.meta.clone(), snapshot: roster })
    }
}
