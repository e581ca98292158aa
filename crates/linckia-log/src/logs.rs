//! All logs of one region's directory: the door of the crate. One owner (the thread that commits)
//! appends, flushes and begins syncs; [`Reader`]s and jobs go to other threads. Commands that need
//! more than a screen have a file each below. What always holds: after the first failed write or
//! sync no call changes anything, and no call blocks on an fsync but `open`, `create`, `close`,
//! `truncate_below` and the small files.

pub(crate) mod room;
pub(crate) mod spare;
pub(crate) mod sync;
pub(crate) mod truncate;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::chain::{self, Chain, Secret};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::format;
use crate::identity::Identity;
use crate::log::OriginLog;
use crate::port::Disk;
use crate::reader::Reader;
use crate::record::{Batch, Record};
use crate::recover::{self, Recovery};
use crate::settings::{Settings, Usage};
use crate::small;

/// Where a log stands: a sequence and the chain after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The sequence; 0 before the first.
    pub sequence: u64,
    /// The chain after it.
    pub chain: Chain,
}

/// The logs of one directory.
pub struct Logs {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) settings: Settings,
    pub(crate) logs: BTreeMap<Arc<str>, OriginLog>,
    pub(crate) clock: Clock,
    pub(crate) poisoned: Option<Arc<Error>>,
    secret: Secret,
    created: u64,
    /// Ties jobs to the opening that began them.
    pub(crate) life: Arc<()>,
    /// Spares are made without pauses.
    pub(crate) hurry: Arc<AtomicBool>,
}

/// No log gets there by appending; a position beyond it comes from outside and is nonsense.
pub const SEQUENCE_MAX: u64 = 1 << 60;

pub(crate) const LOGS_DIR: &str = "logs";

impl Logs {
    /// Opens every log in the directory, repairs what a crash left, and says what it did.
    /// `fresh_salt` gives random bytes; it is asked a few times, here only.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if something that was durable is damaged or missing;
    /// [`Error::Settings`], [`Error::Version`], [`Error::Io`].
    pub fn open(
        disk: Arc<dyn Disk>,
        settings: Settings,
        fresh_salt: &mut dyn FnMut() -> [u8; 16],
    ) -> Result<(Logs, Recovery)> {
        settings.check()?;
        for dir in [LOGS_DIR, small::DIR] {
            disk.create_dir_all(dir).map_err(Error::io("create", dir))?;
        }
        disk.sync_dir("").map_err(Error::io("sync", "."))?;
        let clock = Clock::open(&*disk)?;
        small::clean(&*disk)?;
        let secret = Secret::draw(fresh_salt);
        let mut recovery = Recovery { origins: Vec::new(), clock: clock.durable() };
        let mut logs = BTreeMap::new();
        // A log found after a crash of the process may have a name that is not durable yet.
        disk.sync_dir(LOGS_DIR).map_err(Error::io("sync", LOGS_DIR))?;
        for origin in disk.list(LOGS_DIR).map_err(Error::io("list", LOGS_DIR))? {
            check_origin(&origin)?;
            let branch = secret.branch(&origin, 0);
            if let Some((log, recovered)) = recover::recover(&*disk, &origin, branch)? {
                logs.insert(Arc::clone(&log.origin), log);
                recovery.origins.push(recovered);
            }
        }
        let logs = Logs {
            disk,
            settings,
            logs,
            clock,
            poisoned: None,
            secret,
            created: 0,
            life: Arc::new(()),
            hurry: Arc::default(),
        };
        Ok((logs, recovery))
    }

    /// Creates the empty log of an origin. Durable when it returns.
    ///
    /// # Errors
    /// [`Error::OriginExists`], [`Error::BadName`], [`Error::Full`], [`Error::NoSpace`],
    /// [`Error::Poisoned`].
    pub fn create(&mut self, origin: &str) -> Result<()> {
        self.create_after(origin, Position { sequence: 0, chain: chain::genesis(origin) })
    }

    /// Creates a mirror that continues after `position`, for a region that joined by a snapshot.
    ///
    /// # Errors
    /// As [`create`](Logs::create); [`Error::OutOfOrder`] for a position that no log can reach.
    pub fn create_after(&mut self, origin: &str, position: Position) -> Result<()> {
        self.alive()?;
        check_origin(origin)?;
        if self.logs.contains_key(origin) {
            return Err(Error::OriginExists { origin: origin.to_owned() });
        }
        if position.sequence >= SEQUENCE_MAX {
            return Err(Error::OutOfOrder {
                origin: origin.to_owned(),
                expected: SEQUENCE_MAX,
                found: position.sequence,
            });
        }
        self.created += 1;
        let secret = self.secret.branch(origin, self.created);
        let log = self.create_log(origin, position, secret)?;
        self.logs.insert(Arc::clone(&log.origin), log);
        Ok(())
    }

    /// Appends one event of an origin that is written here. Buffered: it is on its way to the disk
    /// after [`flush`](Logs::flush), and visible once durable.
    ///
    /// # Errors
    /// [`Error::OutOfOrder`] unless `sequence` is the tail plus one; [`Error::Full`],
    /// [`Error::NoSpace`] and [`Error::TooLarge`], after which nothing has changed;
    /// [`Error::Poisoned`], [`Error::UnknownOrigin`].
    pub fn append_own(&mut self, origin: &str, sequence: u64, payload: &[u8]) -> Result<()> {
        self.append_own_group(origin, sequence, &[payload])
    }

    /// Appends the events of one transaction: all or none, now and after any crash. `first` is the
    /// sequence of the first.
    ///
    /// # Errors
    /// As [`append_own`](Logs::append_own); a group must fit one segment.
    pub fn append_own_group(&mut self, origin: &str, first: u64, payloads: &[&[u8]]) -> Result<()> {
        self.alive()?;
        self.log(origin)?.expect_next(first)?;
        let mut bytes = 0;
        for payload in payloads {
            self.check_size(payload.len())?;
            bytes += format::record_bytes(payload.len());
        }
        self.make_room(origin, bytes, self.settings.bytes_max)?;
        let log = self.log_mut(origin)?;
        for (at, payload) in payloads.iter().enumerate() {
            log.push_own(payload, at + 1 < payloads.len());
        }
        self.flush_if_large(origin)
    }

    /// Appends an event of an origin that is written elsewhere.
    ///
    /// # Errors
    /// [`Error::ChainBroken`] if it does not continue the chain held here; otherwise as
    /// [`append_own`](Logs::append_own), with a bound that is higher by the mirrors' reserve.
    pub fn append_mirror(&mut self, origin: &str, record: &Record<'_>) -> Result<()> {
        self.alive()?;
        let log = self.log(origin)?;
        log.expect_next(record.sequence())?;
        log.check_chain(record)?;
        self.check_size(record.payload().len())?;
        let bound = self.settings.bytes_max + self.settings.mirror_reserve_bytes;
        self.make_room(origin, format::record_bytes(record.payload().len()), bound)?;
        self.log_mut(origin)?.push_mirror(record);
        self.flush_if_large(origin)
    }

    /// Hands every buffer to the disk. Nothing is durable by it.
    ///
    /// # Errors
    /// [`Error::Poisoned`].
    pub fn flush(&mut self) -> Result<()> {
        self.alive()?;
        for log in self.logs.values_mut() {
            if let Err(error) = log.flush() {
                return Err(self.poison(error));
            }
        }
        Ok(())
    }

    /// States in every idle log that its last records are durable, so that damage to them cannot be
    /// mistaken for a torn write later. Call it when nothing has been appended for a
    /// while (with a heartbeat); the marks become durable with the next sync. Returns how many
    /// marks were written.
    ///
    /// # Errors
    /// [`Error::Poisoned`].
    pub fn mark(&mut self) -> Result<usize> {
        self.alive()?;
        let mut marked = 0;
        for log in self.logs.values_mut() {
            match log.write_mark() {
                Ok(written) => marked += usize::from(written),
                Err(error) => return Err(self.poison(error)),
            }
        }
        Ok(marked)
    }

    /// Makes everything durable, marks it, and lets go of the directory.
    ///
    /// # Errors
    /// [`Error::Poisoned`].
    ///
    /// # Panics
    /// If a sync job is in flight.
    pub fn close(mut self) -> Result<()> {
        self.alive()?;
        assert!(
            self.logs.values().all(|log| !log.in_flight) && !self.clock.in_flight(),
            "every sync job is completed before the logs are closed"
        );
        for _ in 0..2 {
            if let Some(job) = self.begin_sync(Scope::All)? {
                self.complete_sync(job.run())?;
            }
            self.mark()?;
        }
        Ok(())
    }

    /// The origins that have a log, sorted.
    pub fn origins(&self) -> impl Iterator<Item = &str> {
        self.logs.keys().map(|origin| &**origin)
    }

    /// The highest durable sequence of an origin: what may leave, and what a vector may say.
    ///
    /// # Errors
    /// [`Error::UnknownOrigin`].
    pub fn durable(&self, origin: &str) -> Result<u64> {
        Ok(self.log(origin)?.durable)
    }

    /// The last record appended, durable or not, and the chain after it.
    ///
    /// # Errors
    /// [`Error::UnknownOrigin`].
    pub fn tail(&self, origin: &str) -> Result<Position> {
        let log = self.log(origin)?;
        Ok(Position { sequence: log.tail, chain: log.chain })
    }

    /// The last record of an origin's whole transactions, on their way to the disk included.
    ///
    /// # Errors
    /// [`Error::UnknownOrigin`].
    pub fn complete(&self, origin: &str) -> Result<u64> {
        Ok(self.log(origin)?.complete)
    }

    /// A handle that reads this log from any thread.
    ///
    /// # Errors
    /// [`Error::UnknownOrigin`].
    pub fn reader(&self, origin: &str) -> Result<Reader> {
        Ok(Reader { shared: Arc::clone(&self.log(origin)?.shared) })
    }

    /// [`Reader::read`] of one origin.
    ///
    /// # Errors
    /// As [`Reader::read`]; [`Error::UnknownOrigin`].
    pub fn read(
        &self,
        origin: &str,
        from: u64,
        bytes_max: u64,
        records_max: usize,
    ) -> Result<Batch> {
        self.reader(origin)?.read(from, bytes_max, records_max)
    }

    /// How much of the bound on disk is taken.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let used = self.used();
        let bound = self.settings.bytes_max;
        Usage { used, bound, alarm: used >= bound / 2 }
    }

    /// Why writing stopped, if it has.
    #[must_use]
    pub fn poisoned(&self) -> Option<&Error> {
        self.poisoned.as_deref()
    }

    /// Takes a hybrid time that must be durable before it is given away. Lower ones are ignored. It
    /// is written by the next sync whose scope includes the clock.
    ///
    /// # Errors
    /// [`Error::Poisoned`].
    pub fn put_clock(&mut self, hlc: u64) -> Result<()> {
        self.alive()?;
        self.clock.put(hlc);
        Ok(())
    }

    /// The highest hybrid time that is durable.
    #[must_use]
    pub fn clock(&self) -> u64 {
        self.clock.durable()
    }

    /// A small file's content, if it was ever written.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::BadName`], [`Error::Io`].
    pub fn read_small(&self, name: &str) -> Result<Option<Vec<u8>>> {
        small::read(&*self.disk, name)
    }

    /// Replaces a small file as a whole. Durable when it returns.
    ///
    /// # Errors
    /// [`Error::BadName`], [`Error::TooLarge`], [`Error::NoSpace`], [`Error::Poisoned`].
    pub fn write_small(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.alive()?;
        small::write(&*self.disk, name, bytes).map_err(|error| match error {
            Error::Io { .. } => self.poison(error),
            refused => refused,
        })
    }

    /// Whose directory this is, if that was ever written.
    ///
    /// # Errors
    /// As [`read_small`](Logs::read_small).
    pub fn identity(&self) -> Result<Option<Identity>> {
        Identity::read(&*self.disk)
    }

    /// Writes whose directory this is.
    ///
    /// # Errors
    /// As [`write_small`](Logs::write_small).
    pub fn write_identity(&mut self, identity: &Identity) -> Result<()> {
        self.write_small(Identity::FILE, identity.encode()?.as_bytes())
    }

    pub(crate) fn alive(&self) -> Result<()> {
        match &self.poisoned {
            Some(cause) => Err(Error::Poisoned { cause: Arc::clone(cause) }),
            None => Ok(()),
        }
    }

    /// Ends writing. The first cause stays.
    pub(crate) fn poison(&mut self, error: Error) -> Error {
        let cause = self.poisoned.get_or_insert_with(|| Arc::new(error));
        Error::Poisoned { cause: Arc::clone(cause) }
    }

    pub(crate) fn log(&self, origin: &str) -> Result<&OriginLog> {
        self.logs.get(origin).ok_or_else(|| unknown(origin))
    }

    pub(crate) fn log_mut(&mut self, origin: &str) -> Result<&mut OriginLog> {
        self.logs.get_mut(origin).ok_or_else(|| unknown(origin))
    }

    fn check_size(&self, bytes: usize) -> Result<()> {
        let bound = self.settings.record_bytes_max;
        if bytes as u64 > bound {
            return Err(Error::TooLarge { bytes: bytes as u64, bound });
        }
        Ok(())
    }

    fn flush_if_large(&mut self, origin: &str) -> Result<()> {
        let bound = self.settings.buffer_bytes_max;
        let log = self.log_mut(origin)?;
        if log.buffer.len() >= bound
            && let Err(error) = log.flush()
        {
            return Err(self.poison(error));
        }
        Ok(())
    }
}

use sync::Scope;

fn unknown(origin: &str) -> Error {
    Error::UnknownOrigin { origin: origin.to_owned() }
}

/// An origin's text is a directory's name.
pub(crate) fn check_origin(origin: &str) -> Result<()> {
    let usable = !origin.is_empty()
        && origin.len() <= format::ORIGIN_BYTES_MAX
        && !origin.starts_with('.')
        && origin.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-+:@~=".contains(&byte));
    if usable { Ok(()) } else { Err(Error::BadName { name: origin.to_owned() }) }
}
