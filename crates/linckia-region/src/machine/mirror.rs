//! What peers send: records, appended to their mirrors as far as they continue them.

use std::sync::Arc;

use linckia_log::Record;
use linckia_model::{Dot, Now, Origin, RegionName, decode_event, with_causes};

use super::Machine;
use crate::input::Alarm;
use crate::link::Arrived;
use crate::region::Step;

impl Machine {
    /// Appends a peer's records to their mirror, as far as they continue it.
    pub(super) fn mirror(
        &mut self,
        now: Now,
        peer: &RegionName,
        Arrived { origin, records, prompt }: &Arrived,
        steps: &mut Vec<Step>,
    ) {
        let taken = self.try_mirror(now, origin, records);
        if *prompt && let Ok(tail) = taken {
            self.region.prompted.raise(origin, tail);
        }
        if let Err(error) = taken {
            let peer = peer.clone();
            let detail = with_causes(&error);
            let alarm = match error {
                linckia_log::Error::OutOfOrder { .. } => None,
                linckia_log::Error::ChainBroken { .. } => {
                    Some(Alarm::ChainBroken { peer: peer.clone(), detail })
                }
                linckia_log::Error::Full { .. } | linckia_log::Error::NoSpace { .. } => {
                    Some(Alarm::MirrorFull { peer: peer.clone(), detail })
                }
                linckia_log::Error::Poisoned { .. } | linckia_log::Error::Io { .. } => {
                    self.region.poison(detail, steps);
                    return;
                }
                _ => Some(Alarm::Malformed { peer: peer.clone(), detail }),
            };
            self.region.mirror_refused(now, &peer, alarm, steps);
        }
    }

    /// Answers where the mirror stands then.
    fn try_mirror(&mut self, now: Now, origin: &Origin, bytes: &[u8]) -> linckia_log::Result<u64> {
        let name = origin.as_str();
        if self.is_short(2) {
            let (used, bound) = (self.disk_free, self.region.settings.disk_reserve_bytes / 2);
            return Err(linckia_log::Error::Full { used, bound });
        }
        if !self.logs.origins().any(|known| known == name) {
            self.logs.create(name)?;
        }
        let mut tail = self.logs.tail(name)?.sequence;
        let limit = self.region.limit(origin);
        let mut rest = bytes;
        while !rest.is_empty() {
            let (record, after) = Record::parse(rest)?;
            rest = after;
            if record.sequence() > limit {
                break;
            }
            if record.sequence() <= tail {
                self.same_chain(name, &record)?;
                continue;
            }
            let dot = Dot::new(origin.clone(), record.sequence());
            let event = decode_event(dot, record.payload(), &self.region.known)
                .map_err(|_| linckia_log::Error::Malformed { why: "its payload is no event" })?;
            self.logs.append_mirror(name, &record)?;
            tail = record.sequence();
            self.mirrors_dirty_since.get_or_insert(now.monotonic);
            self.region.arrived(now, Arc::new(event));
        }
        Ok(tail)
    }

    /// A record that is held already must be the one that is held: another one under its dot shows
    /// that its origin lost durable bytes, or runs twice.
    fn same_chain(&self, name: &str, record: &Record<'_>) -> linckia_log::Result<()> {
        let reader = self.logs.reader(name)?;
        let held = (reader.first()..=reader.durable()).contains(&record.sequence());
        if held && reader.chain_at(record.sequence())? != record.chain() {
            return Err(linckia_log::Error::ChainBroken {
                origin: name.to_owned(),
                sequence: record.sequence(),
            });
        }
        Ok(())
    }
}
