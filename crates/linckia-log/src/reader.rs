//! The reading side of one log: a handle that can be cloned and used from any thread while the
//! owner appends. Ship serves peers from it, apply follows it. What always holds: it never returns
//! a record beyond the durable sequence, and every byte it returns was checked on the way.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::chain::Chain;
use crate::error::{Error, Result};
use crate::record::Batch;
use crate::segment::{Limits, Segment};

/// No batch is larger, whatever is asked for, but for a single record that is.
const BATCH_BYTES_MAX: u64 = 64 << 20;

/// What the owner publishes about a log.
pub(crate) struct Shared {
    pub(crate) origin: Arc<str>,
    durable: AtomicU64,
    /// Oldest first, never empty.
    segments: Mutex<Vec<Arc<Segment>>>,
}

impl Shared {
    pub(crate) fn new(origin: Arc<str>, segments: Vec<Arc<Segment>>, durable: u64) -> Self {
        debug_assert!(!segments.is_empty(), "a log has a segment");
        Shared { origin, durable: AtomicU64::new(durable), segments: Mutex::new(segments) }
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    pub(crate) fn set_durable(&self, sequence: u64) {
        self.durable.store(sequence, Ordering::Release);
    }

    /// Runs with the list of segments. The list is changed only by whole pushes and removals.
    pub(crate) fn with_segments<T>(&self, run: impl FnOnce(&mut Vec<Arc<Segment>>) -> T) -> T {
        run(&mut self.segments.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn first(&self) -> u64 {
        self.with_segments(|segments| segments[0].first)
    }

    /// The chain before a sequence with which a segment begins.
    fn chain_before(&self, first: u64) -> Option<Chain> {
        self.with_segments(|segments| {
            let place = segments.binary_search_by_key(&first, |segment| segment.first).ok()?;
            (first <= self.durable() + 1).then(|| segments[place].chain)
        })
    }

    /// The segment that holds a sequence, and the first sequence of the one after it.
    fn segment_of(&self, sequence: u64) -> Result<(Arc<Segment>, Option<u64>)> {
        self.with_segments(|segments| {
            let after = segments.partition_point(|segment| segment.first <= sequence);
            match after.checked_sub(1) {
                Some(at) => Ok((
                    Arc::clone(&segments[at]),
                    segments.get(after).map(|segment| segment.first),
                )),
                None => Err(Error::Truncated {
                    origin: self.origin.to_string(),
                    asked: sequence,
                    first: segments[0].first,
                }),
            }
        })
    }
}

/// Reads one log. Cheap to clone; outlives nothing: after a reopening take a new one.
#[derive(Clone)]
pub struct Reader {
    pub(crate) shared: Arc<Shared>,
}

impl Reader {
    /// The log's origin.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.shared.origin
    }

    /// The highest sequence that may be read.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.shared.durable()
    }

    /// The lowest sequence that may be read, once there is one.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.shared.first()
    }

    /// Durable records from `from` on, in order: at most `records_max`, at most `bytes_max` of wire
    /// bytes, but at least one if there is one. Empty only when `from` is beyond what is durable.
    ///
    /// # Errors
    /// [`Error::Truncated`] below the first record held; [`Error::Corrupt`] if a record does not
    /// verify; [`Error::Io`].
    pub fn read(&self, from: u64, bytes_max: u64, records_max: usize) -> Result<Batch> {
        let durable = self.durable();
        let limits = Limits { bytes: bytes_max.min(BATCH_BYTES_MAX), records: records_max };
        let mut batch = Batch::default();
        let mut next = from.max(1);
        while next <= durable && !limits.reached(&batch) {
            let (segment, after) = self.shared.segment_of(next)?;
            let last = after.map_or(durable, |after| durable.min(after - 1));
            next = segment.read(next, last, limits, &mut batch)?;
            if next <= last {
                break;
            }
        }
        Ok(batch)
    }

    /// The chain after a durable sequence: what a log that continues from there starts with.
    ///
    /// # Errors
    /// As [`read`](Reader::read); [`Error::OutOfOrder`] beyond what is durable.
    pub fn chain_at(&self, sequence: u64) -> Result<Chain> {
        if let Some(chain) = self.shared.chain_before(sequence + 1) {
            return Ok(chain);
        }
        let batch = self.read(sequence, 0, 1)?;
        match batch.first() {
            Some(record) if record.sequence() == sequence => Ok(record.chain()),
            _ => Err(Error::OutOfOrder {
                origin: self.origin().to_owned(),
                expected: self.durable(),
                found: sequence,
            }),
        }
    }

    /// Everything durable from `from` on, batch by batch: no more than one batch is in memory. It
    /// ends where the log's durable part ends at that moment.
    #[must_use]
    pub fn batches(&self, from: u64, bytes_max: u64, records_max: usize) -> Batches {
        Batches { reader: self.clone(), next: from, bytes_max, records_max, failed: false }
    }
}

/// Walks a log in batches.
pub struct Batches {
    reader: Reader,
    next: u64,
    bytes_max: u64,
    records_max: usize,
    failed: bool,
}

impl Iterator for Batches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match self.reader.read(self.next, self.bytes_max, self.records_max) {
            Ok(batch) => {
                self.next = batch.last()?.sequence() + 1;
                Some(Ok(batch))
            }
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}
