//! One client of the loss of a region: it writes marks, reads them, and moves to another region
//! when its own does not answer.
//!
//! What a careful application does: one id per write, the same at every attempt; another region
//! after an error. What always holds: it does one thing at a time, and notes what it saw, not what
//! it hopes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::ledger::Ledger;
use super::visitor::{Looked, Tried, Visitor};
use crate::account::{Receipt, Written};
use crate::history::Deed;

/// Between two deeds of a client.
const PACE: Duration = Duration::from_millis(15);

/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(20);

/// Marks of one aggregate: more make each write fold a large document.
const MARKS_MAX: u64 = 40;

/// One deed of so many is a read.
const READS: u64 = 3;

pub(super) struct Caller {
    pub(super) ledger: Arc<Ledger>,
    pub(super) visitor: Visitor,
    pub(super) level: usize,
    pub(super) number: usize,
    /// The place of the region it belongs to.
    pub(super) home: usize,
    pub(super) session: usize,
    pub(super) deeds: u64,
    /// What was acknowledged to it, by aggregate.
    pub(super) own: BTreeMap<String, BTreeSet<String>>,
    /// The region it lost starts from nothing: another one, for what it shows.
    pub(super) reborn: bool,
}

impl Caller {
    /// Writes and reads until the drill is over; a write that is under way then has until `last`,
    /// in milliseconds from the start.
    pub(super) async fn run(mut self, last: u64) -> anyhow::Result<()> {
        while !self.ledger.is_over() {
            if self.ledger.is_healed() {
                self.visitor.at = self.home;
            }
            self.deeds += 1;
            if self.deeds.is_multiple_of(READS) {
                self.read().await;
            } else if !self.write(last).await? {
                return Ok(());
            }
            tokio::time::sleep(PACE).await;
        }
        Ok(())
    }

    fn key_of(&self, number: usize, deeds: u64) -> String {
        format!("l{}-c{number}-{}", self.level, deeds / MARKS_MAX)
    }

    fn region_here(&self) -> String {
        let region = self.visitor.region();
        match self.reborn && self.ledger.is_healed() && self.visitor.at == self.home {
            true => format!("{region} reborn"),
            false => region.to_owned(),
        }
    }

    /// False once there is no more time.
    async fn write(&mut self, last: u64) -> anyhow::Result<bool> {
        let key = self.key_of(self.number, self.deeds);
        let kind = &self.visitor.kind;
        let id = format!("{kind}-l{}-c{}-{}", self.level, self.number, self.deeds);
        let begins = Deed::Begins { key: key.clone(), mark: id.clone() };
        self.ledger.note(self.session, begins.clone());
        let (begun, mut attempts) = (self.ledger.now(), 0);
        let acknowledged = loop {
            attempts += 1;
            match self.visitor.mark(&key, &id).await {
                Tried::Acknowledged(origin, sequence) => {
                    let (when, region) = (self.ledger.now(), self.visitor.region().to_owned());
                    break Some(Receipt { when, region, origin, sequence });
                }
                Tried::Elsewhere => self.visitor.move_on(),
                Tried::Behind => {
                    self.begin_anew();
                    self.ledger.note(self.session, begins.clone());
                }
                Tried::Lost => {
                    self.session = self.ledger.session();
                    self.ledger.note(self.session, begins.clone());
                    continue;
                }
                Tried::Refused(why) => {
                    self.ledger.surprise(why);
                    break None;
                }
            }
            if self.ledger.now() >= last {
                break None;
            }
            tokio::time::sleep(AGAIN).await;
        };
        let goes_on = acknowledged.is_some() || self.ledger.now() < last;
        let level = self.level;
        let write =
            Written { level, key: key.clone(), id: id.clone(), begun, acknowledged, attempts };
        let done = write.acknowledged.is_some();
        self.ledger.written(&self.visitor.ack, write)?;
        if done {
            self.own.entry(key.clone()).or_default().insert(id.clone());
            self.ledger.note(self.session, Deed::Wrote { key, mark: id });
        }
        Ok(goes_on)
    }

    /// A session that waits for what may never come is given up for a new one.
    fn begin_anew(&mut self) {
        self.visitor.token.clear();
        self.session = self.ledger.session();
    }

    /// Reads an aggregate of its own, or of the client beside it.
    async fn read(&mut self) {
        let beside = self.deeds.is_multiple_of(2 * READS) && self.number > 0;
        let number = if beside { self.number - 1 } else { self.number };
        let key = self.key_of(number, self.deeds.saturating_sub(1));
        for _ in 0..2 {
            let begun = self.ledger.begin();
            let region = self.region_here();
            let marks = match self.visitor.look(&key).await {
                Looked::Shown(marks) => marks,
                Looked::Behind => {
                    self.begin_anew();
                    continue;
                }
                Looked::Lost => {
                    self.session = self.ledger.session();
                    continue;
                }
                Looked::Elsewhere => return self.visitor.move_on(),
                Looked::Refused => return,
            };
            if !beside && self.own.get(&key).is_some_and(|own| !own.is_subset(&marks)) {
                self.ledger.stale(self.level);
            }
            self.ledger.note(self.session, Deed::Read { region, key, marks, begun });
            return;
        }
    }
}
