//! Older parts of the logs read again, slowly, so that damage is found while others can make it
//! good.
//!
//! Part of comparing (`compare.rs`), as a job beside the core. What always holds: damage in another
//! region's log ends this one, which then fetches that log anew; damage in the own log is told, and
//! nothing is done about it here.

use linckia_log::Reader;
use linckia_model::{Now, Origin, with_causes};

use super::jobs::CompareJob;
use super::{Comparing, Machine};
use crate::error::Result;
use crate::input::{Alarm, Output};

/// Read at once, and how often, in milliseconds: a mebibyte a second.
const SCRUB_BYTES: u64 = 1 << 20;
const SCRUB_RECORDS: usize = 8_192;
const SCRUB_MILLISECONDS: u64 = 1_000;

/// Where the reading stands.
#[derive(Default)]
pub(super) struct Scrub {
    origin: Option<Origin>,
    from: u64,
    due: u64,
    reading: bool,
    /// Damage in the own log was told.
    told: bool,
}

/// Reads some records.
pub(in crate::machine) struct ScrubJob {
    reader: Reader,
    from: u64,
    own: bool,
}

/// How far that log was read; none once it is through.
pub(in crate::machine) struct Scrubbed {
    next: Option<u64>,
    /// What is wrong with the own log.
    damaged: Option<String>,
}

impl ScrubJob {
    pub(super) fn run(self) -> Result<Scrubbed> {
        let Self { reader, from, own, .. } = self;
        let through = || Scrubbed { next: None, damaged: None };
        match reader.read(from.max(reader.first()), SCRUB_BYTES, SCRUB_RECORDS) {
            Ok(batch) => {
                let last = batch.last().map(|record| record.sequence());
                let next = last.filter(|last| *last < reader.durable()).map(|last| last + 1);
                Ok(Scrubbed { next, damaged: None })
            }
            // It was let go of meanwhile.
            Err(linckia_log::Error::Truncated { .. }) => Ok(through()),
            Err(error @ linckia_log::Error::Corrupt { .. }) if own => {
                Ok(Scrubbed { damaged: Some(with_causes(&error)), ..through() })
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Machine {
    /// The next part of the logs, when it is due.
    pub(super) fn scrub(&mut self, now: Now) {
        let Comparing { scrub, jobs, rate, .. } = &mut self.comparing;
        if *rate == 0 || scrub.reading || now.monotonic < scrub.due {
            return;
        }
        scrub.due = now.monotonic + SCRUB_MILLISECONDS;
        let known = &self.region.durable;
        let origin = scrub.origin.clone().or_else(|| known.iter().next().map(|it| it.0.clone()));
        let Some(origin) = origin else { return };
        let Ok(reader) = self.logs.reader(origin.as_str()) else {
            (scrub.origin, scrub.from) = (None, 0);
            return;
        };
        let (own, from) = (origin == self.region.settings.origin, scrub.from);
        (scrub.origin, scrub.reading) = (Some(origin), true);
        let job = ScrubJob { reader, from, own };
        jobs.push_back(CompareJob::Scrub(Box::new(job)));
    }

    pub(super) fn scrubbed(&mut self, done: Scrubbed, outputs: &mut Vec<Output>) {
        let scrub = &mut self.comparing.scrub;
        scrub.reading = false;
        if let Some(detail) = done.damaged
            && !std::mem::replace(&mut scrub.told, true)
        {
            outputs.push(Output::Alarm(Alarm::OwnLogDamaged { detail }));
        }
        match done.next {
            Some(next) => scrub.from = next,
            None => {
                let known = self.region.durable.iter().map(|(origin, _)| origin);
                let after = known.clone().find(|it| Some(*it) > scrub.origin.as_ref());
                (scrub.origin, scrub.from) = (after.cloned(), 0);
            }
        }
    }
}
