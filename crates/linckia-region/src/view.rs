//! What an operator asks: regions, links and how far behind each is.

use linckia_apply::Lag;
use linckia_model::{Hlc, Now, RegionName, Vector};

use crate::region::Region;

/// A peer silent this long is suspect; three times as long, down. In milliseconds.
const SUSPECT_MILLISECONDS: u64 = 1_000;

/// How a region seems from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Healthy,
    Suspect,
    Down,
}

/// A region as seen from here.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionStatus {
    pub name: RegionName,
    pub is_self: bool,
    pub verdict: Verdict,
    /// What it has applied, as last heard.
    pub vector: Vector,
    pub lag: Vec<Lag>,
    /// The time of the last event or heartbeat of its own log that is applied here, however it
    /// came, in milliseconds since 1970; 0 before any is.
    pub told: u64,
}

/// One directed link of this region: events flow from `from` to `to`.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkStatus {
    pub from: RegionName,
    pub to: RegionName,
    pub connected: bool,
    pub round_trip_milliseconds: Option<u64>,
    pub lag: Vec<Lag>,
}

/// The fleet as seen from here, and this region's own measures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    pub regions: Vec<RegionStatus>,
    pub links: Vec<LinkStatus>,
    pub stable: Hlc,
    pub conflicts: u64,
    pub poisoned: Option<String>,
    pub clocks: ClockStatus,
    /// Logs whose next events wait until the fleet's time has come near theirs.
    pub held_back: u64,
    /// Answers that wait for disks, here or elsewhere.
    pub promises: u64,
    /// What the logs take of their bound, in parts per million.
    pub log_share: u32,
}

/// This region's wall clock beside the others', in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClockStatus {
    /// Ahead of the fleet's time.
    pub drift: i64,
    /// How far ahead of ours each peer's was, as last heard.
    pub offsets: Vec<(RegionName, i64)>,
    /// How far stable time is behind our wall clock.
    pub stable_age: u64,
}

impl Region {
    /// The state of every link, for a trace.
    pub fn describe_links(&self) -> String {
        format!("pulling {:?} serving {:?}", self.pulling, self.serving)
    }

    /// Everything an operator's page shows, at one moment.
    pub fn status(&mut self, now: Now, log_share: u32) -> Status {
        let peers: Vec<RegionName> = self.pulling.keys().cloned().collect();
        let own = self.own_status(now);
        let own_lag = own.lag.clone();
        let mut regions = vec![own];
        let mut links = Vec::new();
        for peer in peers {
            regions.push(self.peer_status(&peer, now));
            links.extend(self.links_with(&peer, &own_lag, now));
        }
        regions.sort_by(|a, b| a.name.cmp(&b.name));
        Status {
            regions,
            links,
            stable: self.apply.stable(),
            conflicts: self.apply.conflicts(),
            poisoned: self.poisoned.clone(),
            clocks: self.clock_status(now),
            held_back: self.held_back(),
            promises: self.promises.len() as u64,
            log_share,
        }
    }

    fn clock_status(&mut self, now: Now) -> ClockStatus {
        let offsets = self.clock.offsets(now);
        ClockStatus {
            offsets: offsets.map(|(peer, offset)| (peer.clone(), offset)).collect(),
            drift: self.clock.drift(now),
            stable_age: now.wall.saturating_sub(self.apply.stable().milliseconds()),
        }
    }

    fn held_back(&self) -> u64 {
        let applied = self.apply.applied();
        let held =
            self.apply.offerable().iter().filter(|(origin, upto)| *upto > applied.get(origin));
        held.count() as u64
    }

    fn own_status(&self, now: Now) -> RegionStatus {
        let applied = self.apply.applied();
        RegionStatus {
            name: self.settings.name.clone(),
            is_self: true,
            verdict: Verdict::Healthy,
            vector: applied.clone(),
            lag: self.lag(applied, |origin| {
                let told = self.apply.told_until(origin).milliseconds();
                now.wall.saturating_sub(told)
            }),
            told: self.apply.told_in(&self.settings.name).1.milliseconds(),
        }
    }

    fn lag(&self, has: &Vector, age: impl Fn(&linckia_model::Origin) -> u64) -> Vec<Lag> {
        let each = self.known.iter().map(|(origin, known)| {
            let events = known.saturating_sub(has.get(origin));
            let milliseconds = if events == 0 { 0 } else { age(origin) };
            Lag { origin: origin.clone(), events, milliseconds }
        });
        each.collect()
    }

    /// What a peer has applied, as last heard on either link.
    fn applied_at(&self, peer: &RegionName) -> Vector {
        let mut vector = self.pulling.get(peer).map(|p| p.applied().clone()).unwrap_or_default();
        if let Some(serving) = self.serving.get(peer) {
            vector.join(serving.applied());
        }
        vector
    }

    fn peer_status(&mut self, peer: &RegionName, now: Now) -> RegionStatus {
        let vector = self.applied_at(peer);
        let behind = !vector.covers_all(&self.known);
        if behind {
            self.peers_behind_since.entry(peer.clone()).or_insert(now.monotonic);
        } else {
            self.peers_behind_since.remove(peer);
        }
        let since = self.peers_behind_since.get(peer).copied().unwrap_or(now.monotonic);
        let lag = self.lag(&vector, |_| now.monotonic.saturating_sub(since));
        RegionStatus {
            name: peer.clone(),
            is_self: false,
            verdict: self.verdict(peer, now),
            vector,
            lag,
            told: self.apply.told_in(peer).1.milliseconds(),
        }
    }

    fn verdict(&self, peer: &RegionName, now: Now) -> Verdict {
        let silent = self.pulling.get(peer).and_then(|pulling| pulling.silent(now));
        match silent {
            Some(silent) if silent <= SUSPECT_MILLISECONDS => Verdict::Healthy,
            Some(silent) if silent <= 3 * SUSPECT_MILLISECONDS => Verdict::Suspect,
            // Not heard yet, but we have only just begun to listen.
            None if now.monotonic <= 5 * SUSPECT_MILLISECONDS => Verdict::Suspect,
            _ => Verdict::Down,
        }
    }

    fn links_with(&self, peer: &RegionName, own_lag: &[Lag], now: Now) -> [LinkStatus; 2] {
        let own = &self.settings.name;
        let of = |lag: Vec<Lag>, region: &RegionName| {
            lag.into_iter().filter(|lag| lag.origin.is_of(region)).collect::<Vec<_>>()
        };
        let pulling = self.pulling.get(peer);
        let inbound = LinkStatus {
            from: peer.clone(),
            to: own.clone(),
            connected: pulling.is_some_and(|pulling| pulling.live(now)),
            round_trip_milliseconds: pulling.and_then(|p| p.round_trip_milliseconds()),
            lag: of(own_lag.to_vec(), peer),
        };
        let applied = self.applied_at(peer);
        let since = self.peers_behind_since.get(peer).copied().unwrap_or(now.monotonic);
        let lag = self.lag(&applied, |_| now.monotonic.saturating_sub(since));
        let outbound = LinkStatus {
            from: own.clone(),
            to: peer.clone(),
            connected: self.serving.contains_key(peer),
            round_trip_milliseconds: pulling.and_then(|p| p.round_trip_milliseconds()),
            lag: of(lag, own),
        };
        [inbound, outbound]
    }
}
