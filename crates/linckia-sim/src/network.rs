//! The links between the simulated regions: connections, delays, cuts and lossy spells.
//!
//! A link is dialled by the region that pulls. While a direction is cut its bytes are swallowed and
//! nothing is reset; frames of a connection that ended are never delivered.

use std::collections::BTreeMap;

use linckia_region::Role;

use crate::random::Random;

/// The state of the wires.
pub(crate) struct Network {
    /// By (dialler, server): the life of the connection, while it is up.
    links: BTreeMap<(usize, usize), u64>,
    lives: u64,
    /// By (from, to): until when it is cut.
    cuts: BTreeMap<(usize, usize), u64>,
    spell_until: u64,
    spell_percent: u64,
    /// When the last frame of each direction of each link arrives: frames keep their order.
    arrivals: BTreeMap<(usize, usize, bool), u64>,
    pub(crate) random: Random,
}

/// Where a frame goes, and on which life of its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) dialler: usize,
    pub(crate) server: usize,
    pub(crate) life: u64,
    /// Towards the server.
    pub(crate) forth: bool,
}

impl Network {
    pub(crate) fn new(random: Random) -> Self {
        Self {
            links: BTreeMap::new(),
            lives: 0,
            cuts: BTreeMap::new(),
            spell_until: 0,
            spell_percent: 0,
            arrivals: BTreeMap::new(),
            random,
        }
    }

    pub(crate) fn cut(&mut self, from: usize, to: usize, until: u64) {
        let entry = self.cuts.entry((from, to)).or_insert(0);
        *entry = (*entry).max(until);
    }

    pub(crate) fn spell(&mut self, until: u64, percent: u64) {
        self.spell_until = until;
        self.spell_percent = percent;
    }

    fn is_cut(&self, from: usize, to: usize, now: u64) -> bool {
        self.cuts.get(&(from, to)).is_some_and(|until| now < *until)
    }

    pub(crate) fn is_open(&self, dialler: usize, server: usize) -> bool {
        self.links.contains_key(&(dialler, server))
    }

    /// Opens a link unless either direction is cut.
    pub(crate) fn open(&mut self, dialler: usize, server: usize, now: u64) -> bool {
        if self.is_cut(dialler, server, now) || self.is_cut(server, dialler, now) {
            return false;
        }
        self.lives += 1;
        self.links.insert((dialler, server), self.lives);
        true
    }

    /// Ends every link of a region; answers (dialler, server) of each.
    pub(crate) fn close_all(&mut self, region: usize) -> Vec<(usize, usize)> {
        let of = |(dialler, server): &(usize, usize)| *dialler == region || *server == region;
        let ended: Vec<_> = self.links.keys().filter(|link| of(link)).copied().collect();
        for link in &ended {
            self.links.remove(link);
        }
        ended
    }

    pub(crate) fn is_alive(&self, wire: &Wire) -> bool {
        self.links.get(&(wire.dialler, wire.server)) == Some(&wire.life)
    }

    /// When and where a frame that `from` sends now arrives, once or twice or never.
    pub(crate) fn send(
        &mut self,
        from: usize,
        to: usize,
        role: Role,
        now: u64,
        delay: u64,
        out: &mut Vec<(u64, Wire)>,
    ) {
        let (dialler, server) = if role == Role::Pull { (from, to) } else { (to, from) };
        let Some(life) = self.links.get(&(dialler, server)).copied() else { return };
        if self.is_cut(from, to, now) {
            return;
        }
        let wire = Wire { dialler, server, life, forth: role == Role::Pull };
        let spell = now < self.spell_until;
        if spell && self.random.percent(self.spell_percent) {
            return;
        }
        let jitter = self.random.below(1 + delay / 8);
        let last = self.arrivals.entry((dialler, server, wire.forth)).or_insert(0);
        let at = (now + delay + jitter).max(*last);
        if spell && self.random.percent(self.spell_percent) {
            out.push((at + self.random.below(200), wire));
            if self.random.percent(50) {
                out.push((at, wire));
            }
            return;
        }
        *last = at;
        out.push((at, wire));
    }
}
