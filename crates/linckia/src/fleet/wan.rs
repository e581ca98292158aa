//! The emulated wide area between the regions of a local fleet, without root.
//!
//! Where it stands: the supervisor starts it before the regions and writes its addresses into
//! their configurations; operators change its rules through the control server. For each dialling
//! and serving region there is one listener, so that it is known whose bytes come in.
//!
//! What always holds: bytes from A to B obey the rule of the link A → B, whoever opened the
//! connection; a change is in force when the call returns; a cut swallows bytes and resets nothing.
//!
//! Reading order: `wan/rule.rs`, `wan/profile.rs`, `wan/shape.rs`, `wan/pump.rs`,
//! `wan/connection.rs`.

mod connection;
mod profile;
mod pump;
mod rule;
mod shape;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

pub use profile::{Profile, ProfileChoice};
use pump::Way;
pub use rule::{LinkItem, Rule, RuleChange};
use shape::Bottleneck;

/// Connections from one region to another at a time. A region holds one or two; during a cut the
/// ones it gave up stay open, and beyond this bound new ones wait in the kernel.
const CONNECTIONS_PER_LINK_MAX: usize = 256;

/// How long an accept loop rests after an error such as too many open files.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// A directed pair of regions, `(from, to)`.
type Pair = (String, String);

struct Link {
    rule: watch::Sender<Rule>,
    bottleneck: Arc<Bottleneck>,
}

/// The emulator. Dropping it closes every connection.
pub struct Wan {
    regions: Vec<String>,
    profile: Profile,
    links: BTreeMap<Pair, Link>,
    addresses: BTreeMap<Pair, SocketAddr>,
    _accepting: JoinSet<()>,
}

impl Wan {
    /// Opens the links between `regions` (name and peer port), in the shape of `profile`.
    pub async fn start(regions: &[(String, SocketAddr)], profile: Profile) -> io::Result<Self> {
        let mut links = BTreeMap::new();
        for (from, to) in pairs(regions) {
            let rule = profile.rule(&from.0, &to.0);
            let link = Link { rule: watch::Sender::new(rule), bottleneck: Arc::default() };
            links.insert((from.0.clone(), to.0.clone()), link);
        }
        let mut addresses = BTreeMap::new();
        let mut accepting = JoinSet::new();
        for (number, (dialler, server)) in pairs(regions).enumerate() {
            let pair = (dialler.0.clone(), server.0.clone());
            let back = (server.0.clone(), dialler.0.clone());
            let (Some(out), Some(back)) = (links.get(&pair), links.get(&back)) else {
                continue;
            };
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            addresses.insert(pair, listener.local_addr()?);
            let seed = (number as u64) << 32;
            let (out, back) = (way(out, back, seed), way(back, out, seed | 1));
            accepting.spawn(accept(listener, server.1, out, back));
        }
        let regions = regions.iter().map(|(name, _)| name.clone()).collect();
        Ok(Self { regions, profile, links, addresses, _accepting: accepting })
    }

    /// Where `dialler` dials to reach `server`.
    #[must_use]
    pub fn address(&self, dialler: &str, server: &str) -> Option<SocketAddr> {
        self.addresses.get(&(dialler.to_owned(), server.to_owned())).copied()
    }

    /// Every link as it is now, in the order of the regions.
    #[must_use]
    pub fn items(&self) -> Vec<LinkItem> {
        self.items_of(&self.all_pairs())
    }

    /// Changes the rule from one region to another, and back unless `one_way`.
    pub fn set(
        &self,
        from: &str,
        to: &str,
        one_way: bool,
        change: &RuleChange,
    ) -> Result<Vec<LinkItem>, String> {
        let pairs = self.pairs_between(from, to, one_way)?;
        for pair in &pairs {
            change.applied_to(self.profile.rule(&pair.0, &pair.1))?;
        }
        self.change(&pairs, |_, rule| {
            // Checked above: whether the words are right does not depend on the rule.
            *rule = change.applied_to(*rule).unwrap_or(*rule);
        });
        Ok(self.items_of(&pairs))
    }

    /// Cuts one region from another, or without `to` from all others.
    pub fn cut(
        &self,
        from: &str,
        to: Option<&str>,
        one_way: bool,
    ) -> Result<Vec<LinkItem>, String> {
        let pairs = match to {
            Some(to) => self.pairs_between(from, to, one_way)?,
            None => {
                let pairs = self.pairs_of(from)?;
                pairs.into_iter().filter(|(source, _)| !one_way || source == from).collect()
            }
        };
        self.change(&pairs, |_, rule| rule.cut = true);
        Ok(self.items_of(&pairs))
    }

    /// Goes back to the profile: between two regions, around one, or everywhere.
    pub fn heal(&self, from: Option<&str>, to: Option<&str>) -> Result<Vec<LinkItem>, String> {
        let pairs = match (from, to) {
            (Some(from), Some(to)) => self.pairs_between(from, to, false)?,
            (Some(one), None) | (None, Some(one)) => self.pairs_of(one)?,
            (None, None) => self.all_pairs(),
        };
        self.change(&pairs, |pair, rule| *rule = self.profile.rule(&pair.0, &pair.1));
        Ok(self.items_of(&pairs))
    }

    fn change(&self, pairs: &[Pair], change: impl Fn(&Pair, &mut Rule)) {
        for pair in pairs {
            if let Some(link) = self.links.get(pair) {
                link.rule.send_modify(|rule| change(pair, rule));
            }
        }
    }

    fn items_of(&self, pairs: &[Pair]) -> Vec<LinkItem> {
        let item = |pair: &Pair| {
            let link = self.links.get(pair)?;
            Some(LinkItem::new(&pair.0, &pair.1, &link.rule.borrow()))
        };
        pairs.iter().filter_map(item).collect()
    }

    fn pairs_between(&self, from: &str, to: &str, one_way: bool) -> Result<Vec<Pair>, String> {
        self.known(from)?;
        self.known(to)?;
        if from == to {
            return Err(format!(
                "a link leads from one region to another, not from {from} to itself"
            ));
        }
        let mut pairs = vec![(from.to_owned(), to.to_owned())];
        if !one_way {
            pairs.push((to.to_owned(), from.to_owned()));
        }
        Ok(pairs)
    }

    fn pairs_of(&self, region: &str) -> Result<Vec<Pair>, String> {
        self.known(region)?;
        let touches = |(from, to): &Pair| from == region || to == region;
        Ok(self.all_pairs().into_iter().filter(touches).collect())
    }

    fn all_pairs(&self) -> Vec<Pair> {
        pairs(&self.regions).map(|(from, to)| (from.clone(), to.clone())).collect()
    }

    fn known(&self, region: &str) -> Result<(), String> {
        if self.regions.iter().any(|name| name == region) {
            return Ok(());
        }
        Err(format!(
            "there is no region \"{region}\" in this fleet: its regions are {}",
            self.regions.join(", ")
        ))
    }
}

/// Every ordered pair of two different ones.
fn pairs<T>(all: &[T]) -> impl Iterator<Item = (&T, &T)> {
    all.iter().enumerate().flat_map(move |(at, from)| {
        all.iter().enumerate().filter(move |(other, _)| *other != at).map(move |(_, to)| (from, to))
    })
}

fn way(forward: &Link, reverse: &Link, seed: u64) -> Way {
    Way {
        forward: forward.rule.subscribe(),
        reverse: reverse.rule.subscribe(),
        bottleneck: Arc::clone(&forward.bottleneck),
        seed,
    }
}

/// Accepts one link's connections until the emulator ends.
async fn accept(listener: TcpListener, target: SocketAddr, out: Way, back: Way) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_PER_LINK_MAX));
    let mut number = 0u64;
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((client, _)) => {
                number += 2;
                let out = Way { seed: out.seed + number, ..out.clone() };
                let back = Way { seed: back.seed + number, ..back.clone() };
                tokio::spawn(async move {
                    connection::carry(client, target, out, back).await;
                    drop(permit);
                });
            }
            Err(_) => sleep(ACCEPT_REST).await,
        }
    }
}
