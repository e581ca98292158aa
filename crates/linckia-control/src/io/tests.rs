//! Members in one process, on disks in memory, with links that can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use linckia_log::MemoryDisk;
use linckia_model::RegionName;

use super::{Agreement, AgreementSettings, Undecided};
use crate::port::Peers;
use crate::roster::{Command, Outcome};

type Members = Arc<Mutex<BTreeMap<RegionName, Agreement<Links>>>>;

/// The links of one member.
struct Links {
    name: RegionName,
    members: Members,
    cut: Arc<Mutex<BTreeSet<RegionName>>>,
}

impl Peers for Links {
    async fn ask(&self, to: &RegionName, question: Vec<u8>, longest: Duration) -> Option<Vec<u8>> {
        let cut = |name| self.cut.lock().unwrap().contains(name);
        if cut(to) || cut(&self.name) {
            tokio::time::sleep(longest).await;
            return None;
        }
        let member = self.members.lock().unwrap().get(to)?.clone();
        Some(member.answer(&self.name, &question).await)
    }
}

/// A fleet of members.
struct Fleet {
    names: Vec<RegionName>,
    disks: BTreeMap<RegionName, Arc<MemoryDisk>>,
    members: Members,
    cut: Arc<Mutex<BTreeSet<RegionName>>>,
    nodes: u64,
    /// What members are told at their start.
    has_history: bool,
    begin_anew: bool,
}

const LONG: Duration = Duration::from_secs(20);

fn region(name: &str) -> RegionName {
    RegionName::parse(name).unwrap()
}

fn acquire(name: &str, owner: &str) -> Command {
    let (name, owner) = (name.to_owned(), owner.to_owned());
    Command::Acquire { name, owner, ttl_milliseconds: 60_000 }
}

impl Fleet {
    fn new(names: &[&str]) -> Self {
        let names: Vec<RegionName> = names.iter().map(|name| region(name)).collect();
        let disks = names.iter().map(|name| (name.clone(), Arc::new(MemoryDisk::new()))).collect();
        let (members, cut) = (Members::default(), Arc::default());
        Self { names, disks, members, cut, nodes: 0, has_history: false, begin_anew: false }
    }

    async fn start(&mut self, name: &str) {
        let name = region(name);
        self.nodes += 1;
        let node = self.nodes;
        let links = Links {
            name: name.clone(),
            members: Arc::clone(&self.members),
            cut: Arc::clone(&self.cut),
        };
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        let (members, time) = (self.names.clone(), Arc::new(now));
        let settings = AgreementSettings {
            asleep: false,
            name: name.clone(),
            members,
            has_history: self.has_history,
            begin_anew: self.begin_anew,
            restored: false,
            time,
        };
        let disk = Arc::clone(&self.disks[&name]);
        let opened = Agreement::open(settings, disk as _, Arc::new(links), || Ok(node)).await;
        self.members.lock().unwrap().insert(name, opened.unwrap());
    }

    /// Stops a member as a power cut does: what is not durable is gone.
    async fn crash(&mut self, name: &str) {
        let name = region(name);
        let member = self.members.lock().unwrap().remove(&name).unwrap();
        member.close().await;
        let mut seed = 7u64;
        self.disks[&name].crash(&mut || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed
        });
    }

    fn member(&self, name: &str) -> Agreement<Links> {
        self.members.lock().unwrap()[&region(name)].clone()
    }

    async fn decide(&self, at: &str, command: Command) -> Result<Outcome, Undecided> {
        self.member(at).decide(command, LONG).await
    }

    async fn fence(&self, at: &str, name: &str, owner: &str) -> u64 {
        match self.decide(at, acquire(name, owner)).await {
            Ok(Outcome::Leased(lease)) => lease.fence,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_agree_whoever_is_asked_and_whoever_dies() {
    let mut fleet = Fleet::new(&["a", "b", "c"]);
    fleet.start("a").await;
    fleet.start("b").await;
    let early = fleet.member("b").decide(acquire("l", "one"), Duration::from_millis(700)).await;
    assert_eq!(early, Err(Undecided::NotBegun(vec![region("c")])));
    fleet.start("c").await;
    assert_eq!(fleet.fence("a", "l", "one").await, 1);
    assert_eq!(fleet.fence("b", "l", "one").await, 1);
    assert!(matches!(fleet.decide("c", acquire("l", "two")).await, Ok(Outcome::Held(_))));
    let leader = fleet.member("a").leader().unwrap();
    fleet.crash(&leader).await;
    let rest: Vec<&str> = ["a", "b", "c"].into_iter().filter(|name| *name != leader).collect();
    assert!(matches!(fleet.decide(rest[0], acquire("l", "two")).await, Ok(Outcome::Held(_))));
    assert_eq!(fleet.fence(rest[1], "m", "two").await, 2);
    // Without a majority nothing is decided.
    fleet.crash(rest[0]).await;
    let alone = fleet.member(rest[1]);
    let undecided = alone.decide(acquire("n", "two"), Duration::from_millis(500)).await;
    assert_eq!(undecided, Err(Undecided::NoMajority(Vec::new())));
    fleet.start(&leader).await;
    // What was answered for is there after the power cut, before anybody was heard.
    let known = fleet.member(&leader).roster().borrow().leases().holder("l", 0).cloned();
    assert_eq!(known.unwrap().owner, "one");
    fleet.fence(&leader, "o", "two").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_lost_its_journal_enters_as_a_new_one() {
    let mut fleet = Fleet::new(&["a", "b", "c"]);
    for name in ["a", "b", "c"] {
        fleet.start(name).await;
    }
    assert_eq!(fleet.fence("a", "l", "one").await, 1);
    fleet.crash("b").await;
    fleet.disks.insert(region("b"), Arc::new(MemoryDisk::new()));
    fleet.start("b").await;
    assert!(matches!(fleet.decide("b", acquire("l", "two")).await, Ok(Outcome::Held(_))));
    // It counts again: with one of the two others gone there is a majority.
    let mut roster = fleet.member("b").roster();
    let entered = roster.wait_for(|roster| roster.leases().holder("l", 0).is_some());
    tokio::time::timeout(LONG, entered).await.unwrap().unwrap();
    let leader = fleet.member("b").leader().unwrap();
    let other = if leader == "a" { "c" } else { "a" };
    let other = if leader == "b" { "a" } else { other };
    // A change of membership is two steps: the second may be under way.
    tokio::time::sleep(Duration::from_secs(2)).await;
    fleet.crash(other).await;
    assert_eq!(fleet.fence("b", "m", "two").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_cut_off_decides_nothing_and_the_others_go_on() {
    let mut fleet = Fleet::new(&["a", "b", "w"]);
    for name in ["a", "b", "w"] {
        fleet.start(name).await;
    }
    assert_eq!(fleet.fence("b", "l", "one").await, 1);
    let leader = fleet.member("a").leader().unwrap();
    fleet.cut.lock().unwrap().insert(region(&leader));
    let cut = fleet.member(&leader);
    let undecided = cut.decide(acquire("m", "two"), Duration::from_secs(1)).await;
    assert_eq!(undecided, Err(Undecided::NoMajority(Vec::new())));
    let other = if leader == "a" { "b" } else { "a" };
    assert_eq!(fleet.fence(other, "n", "three").await, 2);
    fleet.cut.lock().unwrap().clear();
    assert!(matches!(fleet.decide(&leader, acquire("n", "two")).await, Ok(Outcome::Held(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_all_lost_their_journals_begin_anew_only_when_told() {
    let mut fleet = Fleet::new(&["a", "b"]);
    fleet.has_history = true;
    fleet.start("a").await;
    fleet.start("b").await;
    let short = Duration::from_secs(2);
    let refused = fleet.member("a").decide(acquire("l", "one"), short).await;
    assert_eq!(refused, Err(Undecided::NotBegun(Vec::new())));
    fleet.crash("b").await;
    fleet.begin_anew = true;
    fleet.start("b").await;
    assert_eq!(fleet.fence("a", "l", "one").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_loses_its_journal_again_and_again_leaves_no_nodes_behind() {
    let mut fleet = Fleet::new(&["a", "b", "c"]);
    for name in ["a", "b", "c"] {
        fleet.start(name).await;
    }
    fleet.fence("a", "l", "one").await;
    for _ in 0..3 {
        fleet.crash("b").await;
        fleet.disks.insert(region("b"), Arc::new(MemoryDisk::new()));
        fleet.start("b").await;
        // It may be lost again before it was taken in for good.
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    let a = fleet.member("a");
    let settled = async {
        while !(["a", "b", "c"].iter().all(|name| {
            let member = fleet.member(name);
            let node = member.inner.node;
            a.inner.is_settled(node, &region(name)) && member.inner.members().len() == 3
        })) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LONG, settled).await.expect("one node a member, and no change half done");
}
