//! What comes out of a region: frames become arrivals, answers entries of the ledger, alarms
//! violations, unless the plan explains them.

use linckia_region::{Alarm, Output};

use super::{Moment, World, key_name};

impl World {
    pub(super) fn output(&mut self, region: usize, output: Output) {
        match output {
            Output::Send { peer, role, frame } => {
                let Some(to) = self.places.iter().position(|place| place.name == peer) else {
                    return;
                };
                let delay = self.plan.delays[region][to] * 1_000;
                let mut arrivals = Vec::new();
                self.network.send(region, to, role, self.now, delay, &mut arrivals);
                for (at, wire) in arrivals {
                    self.at(at, Moment::Arrive { wire, frame: frame.clone() });
                }
            }
            Output::Answer { ticket, answers } => self.answered(region, ticket, answers),
            Output::Stopped { epoch, written, .. } => self.stopped(region, epoch, written),
            step @ (Output::Promised { .. }
            | Output::Levelled { .. }
            | Output::Void { .. }
            | Output::Returned
            | Output::Stray { .. }) => self.step(region, step),
            Output::Alarm(alarm) => self.alarm(region, &alarm),
            Output::Reading { ticket, reading } => self.read_by_session(ticket, reading),
        }
    }

    fn alarm(&mut self, region: usize, alarm: &Alarm) {
        self.note(|| format!("{} ALARM {alarm:?}", key_name(region)));
        match alarm {
            Alarm::OldCopy { .. } if self.places[region].put_back => {
                self.at(self.now + 1_000, Moment::Leave { region });
            }
            Alarm::Lapsed { .. } | Alarm::Beyond { .. } | Alarm::StateLeft { .. }
                if self.plan.loses_disks =>
            {
                self.at(self.now + 1_000, Moment::Leave { region });
            }
            // It has lapsed and does not know: its state is left when it hears of it.
            Alarm::BelowStable { .. } if self.is_given_up(region) => {}
            // Another region told on from an old copy.
            Alarm::BelowStable { .. } if self.places.iter().any(|place| place.put_back) => {}
            Alarm::ClockDrift { .. } | Alarm::Poisoned { .. } | Alarm::LogHalfFull { .. } => {}
            Alarm::DiskFull { .. } | Alarm::MirrorFull { .. } if self.plan.fills_disks => {}
            Alarm::Differs { .. } | Alarm::Repaired { .. } if self.plan.rots => {}
            Alarm::ChainBroken { .. }
            | Alarm::Malformed { .. }
            | Alarm::MirrorFull { .. }
            | Alarm::BelowStable { .. }
            | Alarm::Closed { .. }
            | Alarm::DiskFull { .. }
            | Alarm::OldCopy { .. }
            | Alarm::Lapsed { .. }
            | Alarm::Beyond { .. }
            | Alarm::StateLeft { .. }
            | Alarm::OwnLogDamaged { .. }
            | Alarm::Differs { .. }
            | Alarm::Repaired { .. }
            | Alarm::Refused { .. } => {
                self.fail(format!("region {region} alarms: {alarm:?}"));
            }
        }
    }
}
