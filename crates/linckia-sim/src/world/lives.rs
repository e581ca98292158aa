//! How a region of the world starts, with settings that make rare things frequent, and how it dies:
//! what its disk had not synced is lost or kept as chance says.

use std::sync::Arc;

use linckia_apply::ApplySettings;
use linckia_log::{Disk, Logs, Settings};
use linckia_model::{ClockSettings, Fault, FoldSettings, Vector};
use linckia_region::{Input, Machine, RegionSettings, Role};

use super::{Moment, REDIAL, TICK, World, key_name};
use crate::lying::Lying;

impl World {
    fn settings(&self, region: usize) -> RegionSettings {
        let place = &self.places[region];
        RegionSettings {
            name: place.name.clone(),
            origin: place.origin.clone(),
            members: self.places.iter().map(|place| place.name.clone()).collect(),
            clock: ClockSettings::default(),
            agreed: place.heard.clone(),
            apply: ApplySettings {
                fold: FoldSettings {
                    fault: self.fault,
                    tail_portion: self.plan.tail_portion,
                    ..FoldSettings::default()
                },
                cache_bytes: 16 << 10,
                flush_events_max: 7,
                flush_bytes_max: 1 << 10,
                flush_milliseconds: 200,
                flush_portion: 2,
                sweep_portion: 8,
                budget: 64,
                seed: place.life,
            },
            heartbeat_milliseconds: 100,
            gather_milliseconds: 3,
            linger_milliseconds: 3,
            history_bytes: self.plan.history_bytes.unwrap_or(u64::MAX),
            disk_reserve_bytes: 64 << 10,
            catch_up_events: self.plan.catch_up_events,
            compared_per_second: if self.plan.compares { 20 } else { 0 },
            compare_rest_milliseconds: 150,
            page_bytes: 700,
            place: String::new(),
            moved: false,
            seed: place.life << 32,
            fault: self.fault,
        }
    }

    /// Starts a region that is down; one that two crashes want back is started once.
    pub(super) fn start(&mut self, region: usize) {
        if self.places[region].machine.is_some() || self.places[region].expected {
            return;
        }
        let now = self.clocks(region);
        let settings = self.settings(region);
        let mut random = self.random.clone();
        let disk: Arc<dyn Disk> = match self.fault {
            Some(Fault::DotReused) => Arc::new(Lying(Arc::clone(&self.places[region].disk))),
            _ => Arc::clone(&self.places[region].disk) as Arc<dyn Disk>,
        };
        let mut salt = || {
            let mut bytes = [0; 16];
            bytes.chunks_mut(8).for_each(|part| part.copy_from_slice(&random.bits().to_le_bytes()));
            bytes
        };
        // Small segments, so that short runs roll over too.
        let share = if self.plan.history_bytes.is_some() { 2 } else { 1 };
        let small = Settings {
            segment_bytes_first: (8 << 10) / share,
            segment_bytes_max: (16 << 10) / share,
            record_bytes_max: 6 << 10,
            buffer_bytes_max: 8 << 10,
            ..Settings::small()
        };
        let segment = small.segment_bytes_max;
        let opened = Logs::open(disk, small, &mut salt);
        self.random = random;
        let store = Arc::new(self.places[region].store.clone());
        let machine = opened
            .map_err(linckia_region::Error::from)
            .and_then(|(logs, _)| Machine::open(settings, logs, store, segment, now));
        match machine {
            Ok(machine) => {
                self.places[region].machine = Some(machine);
                self.hears_soon(region);
                self.places[region].life += 1;
                // What it had not told may be gone.
                self.places[region].archived = Vector::new();
                let life = self.places[region].life;
                self.note(|| format!("{} started", key_name(region)));
                let first = self.now + self.random.below(TICK);
                self.at(first, Moment::Tick { region, life });
            }
            // A disk that fails at the start: the supervisor tries again.
            Err(linckia_region::Error::Log(
                error @ (linckia_log::Error::Io { .. }
                | linckia_log::Error::NoSpace { .. }
                | linckia_log::Error::Poisoned { .. }),
            )) => {
                self.note(|| format!("{} does not start: {error}", key_name(region)));
                let random = &mut self.random;
                self.places[region].disk.crash(&mut || random.bits());
                self.at(self.now + 50_000, Moment::Restart { region });
            }
            Err(error) => self.fail(format!("region {region} does not start: {error}")),
        }
    }

    /// Somebody removes the store of a region: it is rebuilt.
    pub(super) fn lose_store(&mut self, region: usize, down_milliseconds: u64) {
        self.crash(region);
        self.places[region].lose_state();
        self.at(self.now + down_milliseconds * 1_000, Moment::Restart { region });
    }

    pub(super) fn crash(&mut self, region: usize) {
        self.die(region, None);
    }

    /// The region is gone at once; the others notice so many microseconds later.
    pub(super) fn die(&mut self, region: usize, later: Option<u64>) {
        let marks = if self.plan.loses_disks { self.marks_on(region) } else { Vec::new() };
        let Some(machine) = self.places[region].machine.take() else { return };
        self.places[region].survived = machine.region().durable().clone();
        self.places[region].last_marks = marks;
        drop(machine);
        self.places[region].life += 1;
        let random = &mut self.random;
        let place = &mut self.places[region];
        place.disk.crash(&mut || random.bits());
        place.job = None;
        let undoable = place.store.undoable();
        let lost = self.random.below(undoable as u64 + 1).min(self.random.below(12)) as usize;
        place.store.crash(lost);
        match later {
            Some(later) => self.at(self.now + later, Moment::Gone { region }),
            None => self.close_links(region),
        }
    }

    pub(super) fn close_links(&mut self, region: usize) {
        for (dialler, server) in self.network.close_all(region) {
            let (other, role) =
                if dialler == region { (server, Role::Serve) } else { (dialler, Role::Pull) };
            let peer = self.places[region].name.clone();
            self.hand(other, Input::Closed { peer, role });
            self.at(self.now + REDIAL, Moment::Dial { dialler, server });
        }
    }
}
