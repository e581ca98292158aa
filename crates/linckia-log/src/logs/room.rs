//! Room for records: creating a log, and rolling over to a new segment when the active one is full.
//! Part of an append. What always holds: the sum of all segments and spares stays within the bound
//! that the append is held to; a refusal changes nothing; rolling over needs no fsync here, because
//! the next sync job covers the old segment, the new one and the directory, in this order.

use std::sync::Arc;

use crate::chain::Secret;
use crate::error::{Error, Result};
use crate::format::{self, DATA_START, SegmentHeader};
use crate::log::{self, OriginLog, Spare};
use crate::logs::{LOGS_DIR, Logs, Position};
use crate::port::DiskFile;
use crate::reader::Shared;
use crate::segment::Segment;

impl Logs {
    /// Bytes allocated over all origins.
    pub(super) fn used(&self) -> u64 {
        self.logs.values().map(|log| log.allocated + log.spare.bytes()).sum()
    }

    /// Makes sure that records of so many bytes fit the active segment of a log.
    pub(super) fn make_room(&mut self, origin: &str, bytes: u64, bound: u64) -> Result<()> {
        if self.log(origin)?.fits(bytes) {
            return Ok(());
        }
        let room = format::room(self.settings.segment_bytes_max);
        if bytes > room {
            return Err(Error::TooLarge { bytes, bound: room });
        }
        if self.log(origin)?.is_unused() {
            return self.enlarge(origin, bytes, bound);
        }
        let file = match self.take_spare(origin, bytes)? {
            Some(ready) => ready,
            None => {
                let capacity = self.next_capacity(origin, bytes, bound)?;
                let log = self.log(origin)?;
                let path = log::segment_path(&log.dir, log.tail + 1);
                (self.allocate(&path, capacity)?, capacity)
            }
        };
        self.roll(origin, file.0, file.1)
    }

    /// Makes the active segment larger, which holds no record yet: a new one would have its name.
    /// Whenever that is cut off, one copy of a header is whole.
    fn enlarge(&mut self, origin: &str, bytes: u64, bound: u64) -> Result<()> {
        let capacity = self.next_capacity(origin, bytes, bound)?;
        let log = self.log(origin)?;
        let (file, path) = (Arc::clone(&log.active.file), log.active.path.clone());
        let (before, header) = (log.active.capacity, log.header_again(capacity));
        if let Err(source) = log::zero(&*file, before, capacity) {
            return Err(match log::no_room(&source) {
                true => Error::NoSpace { path, source },
                false => self.poison(Error::io("write", &path)(source)),
            });
        }
        let written = log::write_header_behind(&*file, &header)
            .and_then(|()| file.sync_data())
            .and_then(|()| log::write_headers(&*file, &header))
            .and_then(|()| log::zero(&*file, format::data_end(before), before));
        if let Err(error) = written {
            return Err(self.poison(Error::io("write", &path)(error)));
        }
        let log = self.log_mut(origin)?;
        log.allocated -= before;
        log.shared.with_segments(|segments| drop(segments.pop()));
        log.enter(segment(path, &header, file));
        Ok(())
    }

    /// The spare under its new name, if there is one that is large enough.
    fn take_spare(&mut self, origin: &str, bytes: u64) -> Result<Option<(Arc<dyn DiskFile>, u64)>> {
        let disk = Arc::clone(&self.disk);
        let log = self.log_mut(origin)?;
        let Spare::Ready(file, capacity) = &log.spare else { return Ok(None) };
        if bytes > format::room(*capacity) {
            return Ok(None);
        }
        let taken = (Arc::clone(file), *capacity);
        log.spare = Spare::None;
        let path = log::segment_path(&log.dir, log.tail + 1);
        let renamed =
            disk.rename(&log::spare_path(&log.dir), &path).map_err(Error::io("rename", &path));
        match renamed {
            Ok(()) => Ok(Some(taken)),
            Err(error) => Err(self.poison(error)),
        }
    }

    /// The size of an origin's next segment: twice the last, smaller near the bound.
    pub(super) fn next_capacity(&self, origin: &str, bytes: u64, bound: u64) -> Result<u64> {
        let last = self.log(origin)?.active.capacity;
        self.capacity(last.saturating_mul(2), bytes, bound)
    }

    fn capacity(&self, wished: u64, bytes: u64, bound: u64) -> Result<u64> {
        let Settings { first, max } = Settings::of(self);
        let mut least = first;
        while format::room(least) < bytes {
            least = least.saturating_mul(2).min(max);
        }
        let used = self.used();
        let mut capacity = wished.clamp(least, max);
        while used + capacity > bound && capacity / 2 >= least {
            capacity = (capacity / 2).next_multiple_of(512);
        }
        if used + capacity > bound {
            return Err(Error::Full { used, bound });
        }
        Ok(capacity)
    }

    /// A zeroed file. Where the disk is full it is taken back: no promise depended on it.
    fn allocate(&mut self, path: &str, capacity: u64) -> Result<Arc<dyn DiskFile>> {
        let error = match log::allocate(&*self.disk, path, capacity) {
            Ok(file) => return Ok(file),
            Err(error) => error,
        };
        if log::no_room(&error) && self.disk.remove(path).is_ok() {
            return Err(Error::NoSpace { path: path.to_owned(), source: error });
        }
        Err(self.poison(Error::io("write", path)(error)))
    }

    /// Writes what the old segment still lacks and makes the new one active.
    fn roll(&mut self, origin: &str, file: Arc<dyn DiskFile>, capacity: u64) -> Result<()> {
        let log = self.log_mut(origin)?;
        let header = log.next_header(capacity);
        let path = log::segment_path(&log.dir, header.first);
        let written = log
            .flush()
            .and_then(|()| log::write_headers(&*file, &header).map_err(Error::io("write", &path)));
        if let Err(error) = written {
            return Err(self.poison(error));
        }
        let log = self.log_mut(origin)?;
        log.stated = log.stated.max(header.durable);
        log.enter(segment(path, &header, file));
        Ok(())
    }

    /// Makes the directory and first segment of a log, durably.
    pub(super) fn create_log(
        &mut self,
        origin: &str,
        position: Position,
        secret: Secret,
    ) -> Result<OriginLog> {
        let dir = format!("{LOGS_DIR}/{origin}");
        let bound = self.settings.bytes_max + self.settings.mirror_reserve_bytes;
        let capacity = self.capacity(0, 0, bound)?;
        let header = SegmentHeader {
            origin: origin.to_owned(),
            first: position.sequence + 1,
            previous: 0,
            durable: position.sequence,
            capacity,
            salt: secret.branch("segment", position.sequence + 1).salt(0),
            chain: position.chain,
        };
        let path = log::segment_path(&dir, header.first);
        if let Err(error) = self.disk.create_dir_all(&dir).map_err(Error::io("create", &dir)) {
            return Err(self.poison(error));
        }
        let file = self.allocate(&path, capacity)?;
        let durable = log::write_headers(&*file, &header)
            .and_then(|()| file.sync_data())
            .and_then(|()| self.disk.sync_dir(&dir))
            .and_then(|()| self.disk.sync_dir(LOGS_DIR))
            .map_err(Error::io("write", &path));
        if let Err(error) = durable {
            return Err(self.poison(error));
        }
        let active = segment(path, &header, file);
        let origin: Arc<str> = Arc::from(origin);
        let segments = vec![Arc::clone(&active)];
        Ok(OriginLog {
            shared: Arc::new(Shared::new(Arc::clone(&origin), segments, position.sequence)),
            origin,
            dir,
            secret,
            active,
            written: DATA_START,
            buffer: Vec::new(),
            tail: position.sequence,
            chain: position.chain,
            complete: position.sequence,
            durable: position.sequence,
            stated: position.sequence,
            dirty: Vec::new(),
            dir_dirty: false,
            in_flight: false,
            spare: Spare::None,
            allocated: capacity,
        })
    }
}

/// The two sizes that matter here.
struct Settings {
    first: u64,
    max: u64,
}

impl Settings {
    fn of(logs: &Logs) -> Self {
        Settings { first: logs.settings.segment_bytes_first, max: logs.settings.segment_bytes_max }
    }
}

fn segment(path: String, header: &SegmentHeader, file: Arc<dyn DiskFile>) -> Arc<Segment> {
    let segment = Segment::new(path, header, file);
    segment.set_written(DATA_START);
    Arc::new(segment)
}
