//! Sessions that hop between regions: circles of clients that read each other's marks.
//!
//! A circle lives for some deeds, is judged by itself, and gives way to the next one with new keys:
//! so histories stay short however long a soak is. What always holds: a session keeps its token
//! wherever it goes; it is given up only where a disk may have taken what it saw.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::ledger::{Ledger, Notes};
use super::visitor::{DrillDoor, Looked, Tried, Visitor};
use crate::account::{Receipt, Written};
use crate::history::{self, Deed};
use crate::schedule::Random;

/// Clients of a circle, one beginning in each region of a fleet of three.
pub(super) const MEMBERS: usize = 3;

/// Deeds of each client of a circle.
const DEEDS: u64 = 96;

/// Deeds of one client on one aggregate.
const DEEDS_OF_KEY: u64 = 32;

/// One deed of so many is a read, and before one of so many a session hops.
pub(super) const READS: u64 = 5;
const HOPS: u64 = 6;

/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(50);

/// A session that no region has caught up with for so long, in milliseconds: every failure but the
/// loss of a disk is healed sooner.
const BEHIND_LONGEST: u64 = 45_000;
/// Where disks are lost.
const BEHIND_LONGEST_WITH_DISKS: u64 = 3_000;

/// What all wanderers of a soak share.
pub(super) struct Wandering {
    pub(super) ledger: Ledger,
    pub(super) doors: Arc<[DrillDoor]>,
    pub(super) kind: Arc<str>,
    pub(super) levels: Vec<String>,
    /// Between two deeds of one client.
    pub(super) pace: Duration,
    pub(super) seed: u64,
    /// A write that is under way at the end has until then, in milliseconds from the start.
    pub(super) last: u64,
    /// Disks may be lost.
    pub(super) destroys: bool,
    /// How often each region's disk was lost: it shows less then.
    pub(super) births: Vec<AtomicU64>,
    pub(super) circles: AtomicU64,
    /// Sessions that were given up.
    pub(super) given_up: AtomicU64,
}

/// One circle after the other, until the soak is over; the first guarantee that was broken.
pub(super) async fn circles(
    wandering: Arc<Wandering>,
    place: usize,
) -> anyhow::Result<Option<String>> {
    let level = place % wandering.levels.len();
    // Not all at once.
    let mut due = wandering.pace.mul_f64((place % 97) as f64 / 97.0);
    let mut broken = None;
    while !wandering.ledger.is_over() {
        let number = wandering.circles.fetch_add(1, Ordering::Relaxed);
        let ledger = Arc::new(wandering.ledger.branch(wandering.levels.len()));
        let mut members = JoinSet::new();
        for member in 0..MEMBERS {
            let visitor = Visitor {
                doors: Arc::clone(&wandering.doors),
                kind: Arc::clone(&wandering.kind),
                ack: wandering.levels[level].clone(),
                at: (member + number as usize) % wandering.doors.len(),
                token: String::new(),
            };
            let seed = wandering.seed ^ (number * MEMBERS as u64 + member as u64);
            let wanderer = Wanderer {
                random: Random::new(seed),
                session: ledger.session(),
                ledger: Arc::clone(&ledger),
                wandering: Arc::clone(&wandering),
                visitor,
                level,
                circle: number,
                member,
                due,
            };
            members.spawn(wanderer.run());
        }
        while let Some(ended) = members.join_next().await {
            due = due.max(ended??);
        }
        let (notes, judged) = judge(ledger.notes()).await?;
        wandering.ledger.gather(notes);
        broken = broken.or(judged);
    }
    Ok(broken)
}

/// What a circle's history breaks. Nothing is declared lost: where disks are lost, sessions that
/// saw what they held were given up.
async fn judge(mut notes: Notes) -> anyhow::Result<(Notes, Option<String>)> {
    let history = std::mem::take(&mut notes.history);
    let judged = tokio::task::spawn_blocking(move || {
        history::check(&history, &[].into()).err().map(|broken| broken.to_string())
    });
    Ok((notes, judged.await?))
}

struct Wanderer {
    wandering: Arc<Wandering>,
    /// The circle's.
    ledger: Arc<Ledger>,
    visitor: Visitor,
    random: Random,
    level: usize,
    circle: u64,
    member: usize,
    session: usize,
    /// When its next deed is due, from the start.
    due: Duration,
}

impl Wanderer {
    /// When its next deed would be due.
    async fn run(mut self) -> anyhow::Result<Duration> {
        for deed in 0..DEEDS {
            let now = Duration::from_millis(self.ledger.now());
            tokio::time::sleep(self.due.saturating_sub(now)).await;
            self.due += self.wandering.pace;
            if self.ledger.is_over() {
                break;
            }
            if self.random.below(HOPS) == 0 {
                self.visitor.at = self.random.below(self.visitor.doors.len() as u64) as usize;
            }
            if self.random.below(READS) == 0 {
                self.read(deed).await;
            } else {
                self.write(deed).await?;
            }
        }
        Ok(self.due)
    }

    fn key_of(&self, member: usize, deed: u64) -> String {
        format!("{}-{member}-{}", self.circle, deed / DEEDS_OF_KEY)
    }

    /// A region that lost its disk is another one, for what it shows.
    fn region_here(&self) -> String {
        let region = self.visitor.region();
        match self.wandering.births[self.visitor.at].load(Ordering::SeqCst) {
            0 => region.to_owned(),
            birth => format!("{region} reborn {birth}"),
        }
    }

    async fn write(&mut self, deed: u64) -> anyhow::Result<()> {
        let key = self.key_of(self.member, deed);
        let id = format!("{}-{}-{}-{deed}", self.visitor.kind, self.circle, self.member);
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
                Tried::Lost => {
                    self.goes_on_without();
                    self.ledger.note(self.session, begins.clone());
                }
                Tried::Elsewhere => self.visitor.move_on(),
                Tried::Behind => {
                    if self.waits_in_vain(begun) {
                        self.ledger.note(self.session, begins.clone());
                    }
                    self.visitor.move_on();
                }
                Tried::Refused(why) => {
                    self.ledger.surprise(why);
                    break None;
                }
            }
            if self.ledger.now() >= self.wandering.last {
                break None;
            }
            tokio::time::sleep(AGAIN).await;
        };
        let done = acknowledged.is_some();
        let level = self.level;
        let write =
            Written { level, key: key.clone(), id: id.clone(), begun, acknowledged, attempts };
        self.ledger.written(&self.visitor.ack, write)?;
        if done {
            self.ledger.note(self.session, Deed::Wrote { key, mark: id });
        }
        Ok(())
    }

    /// Gives the session up if it has been behind since `begun` for too long. True if it did.
    fn waits_in_vain(&mut self, begun: u64) -> bool {
        let destroys = self.wandering.destroys;
        let longest = if destroys { BEHIND_LONGEST_WITH_DISKS } else { BEHIND_LONGEST };
        if self.ledger.now() - begun < longest {
            return false;
        }
        if !destroys {
            let region = self.visitor.region();
            self.ledger
                .surprise(format!("a session was behind for {longest} ms, last in {region}"));
        }
        self.wandering.given_up.fetch_add(1, Ordering::Relaxed);
        self.visitor.token.clear();
        self.session = self.ledger.session();
        true
    }

    /// What its session has seen is declared lost: another one goes on with what remains.
    fn goes_on_without(&mut self) {
        if !self.wandering.destroys {
            let region = self.visitor.region();
            self.ledger.surprise(format!("{region} declares lost what a session has seen"));
        }
        self.wandering.given_up.fetch_add(1, Ordering::Relaxed);
        self.session = self.ledger.session();
    }

    /// Reads an aggregate of its circle.
    async fn read(&mut self, deed: u64) {
        let member = self.random.below(MEMBERS as u64) as usize;
        let back = self.random.below(2) * DEEDS_OF_KEY;
        let key = self.key_of(member, deed.saturating_sub(back));
        let first = self.ledger.now();
        while self.ledger.now() < self.wandering.last {
            let begun = self.ledger.begin();
            let region = self.region_here();
            match self.visitor.look(&key).await {
                Looked::Shown(marks) => {
                    self.ledger.note(self.session, Deed::Read { region, key, marks, begun });
                    return;
                }
                Looked::Behind => {
                    self.waits_in_vain(first);
                    self.visitor.move_on();
                }
                Looked::Lost => self.goes_on_without(),
                Looked::Elsewhere | Looked::Refused => self.visitor.move_on(),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}
