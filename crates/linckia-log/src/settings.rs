//! The limits of the logs of one region, and what of them is used. Read once at opening, checked
//! there. What always holds: no append, buffer, record or directory grows beyond a number that
//! stands here.

use crate::error::{Error, Result};
use crate::format;

/// Bounds and sizes. The defaults are for a disk of some tens of gigabytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Size of an origin's first segment. Segments double from here, so that an idle mirror costs
    /// little and a busy log rolls over rarely.
    pub segment_bytes_first: u64,
    /// Size at which doubling ends. Recovery reads one or two segments, so this bounds it too.
    pub segment_bytes_max: u64,
    /// Largest payload of one record.
    pub record_bytes_max: u64,
    /// Appended bytes that are gathered in memory, per origin, before they are written without
    /// waiting for a flush.
    pub buffer_bytes_max: usize,
    /// Disk that the segments of all origins together may take. At the bound own appends are
    /// refused; from half of it [`Usage::alarm`] is set.
    pub bytes_max: u64,
    /// What mirrors may take beyond `bytes_max`, so that a region that can write nothing more still
    /// receives what lets the others truncate.
    pub mirror_reserve_bytes: u64,
}

const MIB: u64 = 1 << 20;

impl Default for Settings {
    fn default() -> Self {
        Settings {
            segment_bytes_first: 4 * MIB,
            segment_bytes_max: 64 * MIB,
            record_bytes_max: 16 * MIB,
            buffer_bytes_max: MIB as usize,
            bytes_max: 16 * 1024 * MIB,
            mirror_reserve_bytes: 2 * 1024 * MIB,
        }
    }
}

impl Settings {
    /// Small sizes for simulation and tests: segments of 64 KiB, a bound of 64 MiB.
    #[must_use]
    pub fn small() -> Self {
        Settings {
            segment_bytes_first: 64 * 1024,
            segment_bytes_max: 64 * 1024,
            record_bytes_max: 32 * 1024,
            buffer_bytes_max: 64 * 1024,
            bytes_max: 64 * MIB,
            mirror_reserve_bytes: 8 * MIB,
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |why| Err(Error::Settings { why });
        if self.segment_bytes_first < format::SEGMENT_BYTES_MIN {
            return refuse("segment_bytes_first is below 4 KiB");
        }
        if self.segment_bytes_max < self.segment_bytes_first {
            return refuse("segment_bytes_max is below segment_bytes_first");
        }
        if self.segment_bytes_max > format::SEGMENT_BYTES_MAX {
            return refuse("segment_bytes_max is above 1 GiB");
        }
        if !self.segment_bytes_first.is_multiple_of(512)
            || !self.segment_bytes_max.is_multiple_of(512)
        {
            return refuse("segment sizes must be multiples of 512");
        }
        let room = format::room(self.segment_bytes_max);
        let largest = self.record_bytes_max.checked_add(format::RECORD_HEADER as u64 + 8);
        if largest.is_none_or(|largest| largest > room) {
            return refuse("a record of record_bytes_max does not fit a segment");
        }
        if self.bytes_max.checked_add(self.mirror_reserve_bytes).is_none() {
            return refuse("bytes_max and mirror_reserve_bytes overflow");
        }
        Ok(())
    }
}

/// How much of the disk bound is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes allocated by segments, spares included.
    pub used: u64,
    /// `bytes_max`.
    pub bound: u64,
    /// Half of the bound or more is taken: someone should look before writes are refused.
    pub alarm: bool,
}
