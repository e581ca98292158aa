//! The joiner's last steps: logs continued from the snapshot's bases, its rows in the place of the
//! store's, and what was logged since applied.
//!
//! Part of joining (`join.rs`). What always holds: the rows replace the store's when they are whole
//! and the logs hold all that they have applied, and the region says nothing before it has applied
//! again what it may have told before.

use std::sync::Arc;

use linckia_apply::Apply;
use linckia_capture::Capture;
use linckia_log::Position;
use linckia_model::{Fault, Now, with_causes};
use linckia_ship::Base;
use linckia_store::{Batch, Table};

use super::join::{Joining, PROGRESS, SETTLED_MILLISECONDS};
use super::{Machine, SyncKind};
use crate::error::Result;
use crate::region::Catching;

impl Machine {
    /// Continues logs from the snapshot's bases, where they end before them: the state will have
    /// what lies between.
    pub(super) fn take_bases(&mut self, now: Now) -> Result<()> {
        let Some(joining) = &mut self.joining else { return Ok(()) };
        // A log is not started anew under a sync.
        if joining.bases.is_empty() || self.in_flight[SyncKind::Mirrors as usize] {
            return Ok(());
        }
        let (mut later, mut restarted) = (Vec::new(), false);
        for Base { origin, sequence, chain } in std::mem::take(&mut joining.bases) {
            let tail = self.logs.tail(origin.as_str()).map_or(0, |position| position.sequence);
            if tail >= sequence || origin == self.region.settings.origin {
                continue;
            }
            match self.logs.restart_after(origin.as_str(), Position { sequence, chain }) {
                Ok(()) => {
                    self.region.arriving.remove(&origin);
                    self.region.durable.set(&origin, sequence);
                    self.region.known.raise(&origin, sequence);
                    restarted = true;
                }
                // There may be room later.
                Err(linckia_log::Error::Full { .. } | linckia_log::Error::NoSpace { .. }) => {
                    later.push(Base { origin, sequence, chain });
                }
                Err(error) => {
                    self.failure.get_or_insert(with_causes(&error));
                    return Ok(());
                }
            }
        }
        joining.bases = later;
        if restarted {
            self.region.catch_up.beyond = true;
            self.pull_anew(now)?;
        }
        Ok(())
    }

    /// What is logged here is not what it was: every session begins anew.
    fn pull_anew(&mut self, now: Now) -> Result<()> {
        for pulling in self.region.pulling.values_mut() {
            pulling.start_over();
        }
        self.region.lives.look_again();
        let mut steps = Vec::new();
        self.region.ask(now, &mut steps);
        self.execute(now, steps, &mut Vec::new())
    }

    /// Puts the rows in the place of the store's, once they are whole and the logs hold all that
    /// they have applied.
    pub(super) fn adopt(&mut self, now: Now) -> Result<bool> {
        let Some(Joining { cut: Some(cut), whole: true, bases, bytes, .. }) = &self.joining else {
            return Ok(false);
        };
        let early = self.region.settings.fault == Some(Fault::AdoptedBeforeLogs);
        let logged = self.region.durable.covers_all(&cut.at) || early;
        if !logged || self.store_in_flight || !bases.is_empty() {
            return Ok(false);
        }
        // The donor may have applied what is held back here.
        if self.region.clock.holds_back(cut.hlc, now) {
            return Ok(false);
        }
        self.region.clock.observe(cut.hlc);
        self.store.adopt()?;
        let mut batch = Batch::default();
        batch.remove(Table::Meta, PROGRESS);
        self.store.write(&batch)?;
        self.loaded = *bytes;
        self.joining = None;
        self.pages = linckia_apply::Pages::default();
        self.begin_state_anew()?;
        (self.region.catch_up.donor, self.region.catch_up.beyond) = (None, false);
        self.region.catch_up.settling = Some((self.region.applied().total(), now.monotonic));
        self.region.more = true;
        Ok(true)
    }

    /// What was logged since is applied, tick by tick, before the region says anything: it may have
    /// told before that it had applied it.
    pub(super) fn settle(&mut self, now: Now) {
        let applied = self.region.applied().total();
        let Some((before, since)) = &mut self.region.catch_up.settling else { return };
        if *before != applied {
            (*before, *since) = (applied, now.monotonic);
        }
        let quiet = now.monotonic.saturating_sub(*since) >= SETTLED_MILLISECONDS;
        if self.region.applied().covers_all(&self.region.durable) || quiet {
            self.region.catch_up = Catching::default();
            self.region.lives.look_again();
            for pulling in self.region.pulling.values_mut() {
                pulling.start_over();
            }
        }
    }

    /// The state is another: everything that rests on it begins anew.
    fn begin_state_anew(&mut self) -> Result<()> {
        let region = &mut self.region;
        let settings = &region.settings;
        let (name, members) = (settings.name.clone(), settings.members.clone());
        let mut apply = Apply::open(settings.apply, name, members, self.store.as_ref())?;
        apply.set_policies(Arc::clone(region.apply.policies()));
        if let Some(agreed) = region.lives.agreed() {
            apply.set_incarnations(agreed);
        }
        for heartbeat in region.apply.heartbeats() {
            apply.heard(heartbeat.clone());
        }
        region.apply = apply;
        let last = region.capture.last();
        let (fold, seed) = (region.settings.apply.fold, region.settings.apply.seed);
        region.capture = Capture::new(region.settings.origin.clone(), last, fold, seed);
        region.take_policies();
        Ok(())
    }
}
