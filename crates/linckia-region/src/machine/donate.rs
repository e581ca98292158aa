//! The donor's end of a snapshot: the state here, cut at one vector, for a region whose logs do not
//! reach back.
//!
//! One snapshot per peer, pinned while the peer goes on asking: the rows of the store, and what
//! stays of the events that the joiner will have in no log. What always holds: a cut is made when
//! the store is at the applied vector, and what a joiner will need of the logs here is not let go
//! of before it has loaded.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use linckia_apply::{Named, Retirement};
use linckia_log::Reader;
use linckia_model::{Fault, Hlc, Now, Origin, RegionName, Vector};
use linckia_ship::{Base, Cut, Frame, Page, SnapshotPull, WINDOW_PAGES};
use linckia_store::{Table, View};

use super::{Machine, event_at};
use crate::error::Result;
use crate::input::{Output, Role};

/// A snapshot that nobody asks about for so long is let go of, in milliseconds.
const PINNED_MILLISECONDS: u64 = 60_000;

/// Rows read at once while a page fills.
const ROWS_MAX: usize = 512;

/// Records looked at for one page.
const RECORDS_MAX: usize = 8_192;

/// Read from a log at once.
const READ_RECORDS: usize = 1_024;
const READ_BYTES: u64 = 1 << 20;

/// What a place begins with that lies behind all tables: in the logs.
const LOGS: u8 = Table::ALL.len() as u8;

/// Snapshots that joiners load from here.
#[derive(Default)]
pub(super) struct Donations {
    by_peer: BTreeMap<RegionName, Donation>,
    /// Counts the cuts of this life.
    cuts: u64,
    /// Whose page was read last.
    served: Option<RegionName>,
}

/// One joiner's snapshot.
struct Donation {
    snapshot: u64,
    /// When the joiner asked last, on the monotonic clock.
    asked_at: u64,
    /// What the joiner's logs have let go of.
    gone: Vector,
    stands: Stands,
}

enum Stands {
    /// The store is to be brought to this vector first.
    Waiting(Vector),
    Sending(Sending),
}

struct Sending {
    cut: Cut,
    /// Away while a job reads a page.
    view: Option<Box<dyn View>>,
    beside: Arc<Beside>,
    sent: u64,
    kept: u64,
    /// Where the next page begins; nowhere after the last one.
    place: Option<Vec<u8>>,
}

/// What the joiner has in no log and needs beside the state: the logs here up to there.
struct Beside {
    logs: Vec<(Origin, Reader, u64)>,
    upto: Vector,
    known: Vector,
    /// What records name; read with the first page that asks for it.
    named: OnceLock<Named>,
    /// Events above it may be folded again.
    floor: Hlc,
    /// A planted fault.
    skips_absence: bool,
}

/// Reads a page.
pub(super) struct PageJob {
    peer: RegionName,
    snapshot: u64,
    number: u64,
    place: Vec<u8>,
    bytes: usize,
    retirement: Retirement,
    beside: Arc<Beside>,
    view: Box<dyn View>,
}

pub(super) struct PageRead {
    peer: RegionName,
    page: Page,
    view: Box<dyn View>,
}

impl PageJob {
    pub(super) fn run(mut self) -> Result<PageRead> {
        let (snapshot, number) = (self.snapshot, self.number);
        let mut page = Page { snapshot, number, rows: Vec::new(), place: Vec::new() };
        let in_logs = self.place.first() == Some(&LOGS);
        if (in_logs || !self.take_tables(&mut page)?) && !self.take_logs(&mut page)? {
            page.place = Vec::new();
        }
        Ok(PageRead { peer: self.peer, page, view: self.view })
    }

    /// Rows of one table, as they are. False if no table has more.
    fn take_tables(&self, page: &mut Page) -> Result<bool> {
        let (mut table, mut from) = match self.place.split_first() {
            Some((table, key)) => (Table::from_place(*table), [key, &[0]].concat()),
            None => (Table::from_place(0), Vec::new()),
        };
        while let Some(of) = table {
            let pairs = self.view.scan(of, &from, &[], ROWS_MAX, false)?;
            let full = pairs.len() == ROWS_MAX;
            for (key, value) in pairs {
                page.place = [&[of as u8], &key[..]].concat();
                from = [&key[..], &[0]].concat();
                if !self.beside.leaves_out(of, &key, &value)? {
                    put_row(&mut page.rows, of, &key, &value);
                }
                if page.rows.len() >= self.bytes {
                    return Ok(true);
                }
            }
            if full {
                continue;
            }
            if !page.rows.is_empty() {
                return Ok(true);
            }
            (table, from) = (of.next(), Vec::new());
        }
        Ok(false)
    }

    /// What stays of events that the joiner has in no log. False if there are no more.
    fn take_logs(&mut self, page: &mut Page) -> Result<bool> {
        let beside = Arc::clone(&self.beside);
        let named = match beside.named.get() {
            Some(named) => named,
            None => {
                let named = Named::read(self.view.as_ref(), &beside.known)?;
                beside.named.get_or_init(|| named)
            }
        };
        let (mut log, mut after) = place_in_logs(&self.place);
        let mut looked = 0;
        while let Some((origin, reader, upto)) = beside.logs.get(log) {
            let from = (after + 1).max(reader.first());
            if from > *upto {
                (log, after) = (log + 1, 0);
                continue;
            }
            for record in reader.read(from, READ_BYTES, READ_RECORDS)?.iter() {
                if record.sequence() > *upto {
                    break;
                }
                after = record.sequence();
                looked += 1;
                let event = crate::rooms::event_of(origin, &record, &beside.known)?;
                self.retirement.take(&event, named, self.view.as_ref())?;
            }
            for (key, value) in self.retirement.take_rows() {
                put_row(&mut page.rows, Table::Events, &key, &value);
            }
            page.place = [&[LOGS][..], &(log as u64).to_be_bytes(), &after.to_be_bytes()].concat();
            if page.rows.len() >= self.bytes || looked >= RECORDS_MAX {
                return Ok(true);
            }
        }
        Ok(!page.rows.is_empty())
    }
}

/// Which log of those beside the state comes next, and behind what.
fn place_in_logs(place: &[u8]) -> (usize, u64) {
    let numbers = place.strip_prefix(&[LOGS]).and_then(|rest| rest.split_first_chunk());
    let read = |(log, after): (&[u8; 8], &[u8])| {
        Some((u64::from_be_bytes(*log) as usize, u64::from_be_bytes(after.try_into().ok()?)))
    };
    numbers.and_then(read).unwrap_or_default()
}

impl Beside {
    /// History that the joiner will have in no log, for one.
    fn leaves_out(&self, table: Table, key: &[u8], value: &[u8]) -> Result<bool> {
        if self.skips_absence && linckia_apply::shows_nothing(table, value) {
            return Ok(true);
        }
        if table != Table::History {
            return Ok(false);
        }
        // What may be folded again is found by its history.
        let event = linckia_apply::history_event(key, &self.known)?;
        Ok(event.hlc <= self.floor && self.upto.covers(&event.dot))
    }
}

pub(super) fn put_row(rows: &mut Vec<u8>, table: Table, key: &[u8], value: &[u8]) {
    if rows.is_empty() {
        rows.push(table as u8);
    }
    for part in [key, value] {
        rows.extend_from_slice(&(part.len() as u32).to_be_bytes());
        rows.extend_from_slice(part);
    }
}

impl Machine {
    /// A peer asks for a snapshot, or for more of one.
    pub(super) fn donate(
        &mut self,
        now: Now,
        peer: &RegionName,
        asked: SnapshotPull,
        outputs: &mut Vec<Output>,
    ) {
        let whole = self.region.is_whole();
        let able = !self.is_short(4);
        if let Some(donation) = self.donations.by_peer.get_mut(peer) {
            if asked.snapshot == donation.snapshot {
                donation.asked_at = now.monotonic;
                return donation.stands.go_on(asked);
            }
            let known = donation.gone.covers_all(&asked.gone);
            if asked.snapshot == 0
                && known
                && let Some(cut) = donation.stands.unanswered()
            {
                donation.asked_at = now.monotonic;
                let (peer, role) = (peer.clone(), Role::Serve);
                let cut = cut.map(|cut| Output::Send { peer, role, frame: Frame::Cut(cut) });
                return outputs.extend(cut);
            }
        }
        if asked.snapshot != 0 || !whole || !able {
            let (peer, role) = (peer.clone(), Role::Serve);
            let frame = Frame::NoSnapshot { snapshot: asked.snapshot };
            return outputs.push(Output::Send { peer, role, frame });
        }
        self.region.apply.want_stored();
        let at = self.region.applied().clone();
        self.donations.cuts += 1;
        let donation = Donation {
            snapshot: self.region.settings.seed.wrapping_add(self.donations.cuts),
            asked_at: now.monotonic,
            gone: asked.gone,
            stands: Stands::Waiting(at),
        };
        self.donations.by_peer.insert(peer.clone(), donation);
    }

    /// Cuts the snapshots for which the store is far enough.
    pub(super) fn cut(&mut self, outputs: &mut Vec<Output>) -> Result<()> {
        if self.store_in_flight || !self.cuts() {
            return Ok(());
        }
        let stored = self.region.apply.stored().clone();
        let mut due = self.donations.by_peer.iter();
        let due = due.find(|(_, donation)| donation.stands.awaits_only_a_cut(&stored));
        let Some((peer, donation)) = due else { return Ok(()) };
        let (peer, snapshot, gone) = (peer.clone(), donation.snapshot, donation.gone.clone());
        let floor = self.region.apply.floor();
        let bases: Result<Vec<Base>> =
            stored.iter().map(|(origin, _)| self.base(origin, floor)).collect();
        let bases = bases?;
        let (mut upto, mut logs) = (Vector::new(), Vec::new());
        for Base { origin, sequence, .. } in &bases {
            let last = gone.get(origin).min(stored.get(origin)).max(*sequence);
            upto.raise(origin, last);
            logs.push((origin.clone(), self.logs.reader(origin.as_str())?, last));
        }
        let skips_absence = self.region.settings.fault == Some(Fault::AbsenceNotDonated);
        let known = self.region.durable.clone();
        let named = OnceLock::new();
        let beside = Arc::new(Beside { logs, upto, known, named, floor, skips_absence });
        let (hlc, bytes) = (self.latest(&stored)?, self.store.disk_bytes());
        let cut = Cut { snapshot, at: stored, bases, hlc, bytes };
        let view = Some(self.store.snapshot());
        let place = Some(Vec::new());
        let sending = Sending { cut: cut.clone(), view, beside, sent: 0, kept: 0, place };
        if let Some(donation) = self.donations.by_peer.get_mut(&peer) {
            donation.stands = Stands::Sending(sending);
        }
        outputs.push(Output::Send { peer, role: Role::Serve, frame: Frame::Cut(cut) });
        Ok(())
    }

    /// No event that is stored is later: what logs let go of lies below stable time.
    pub(super) fn latest(&self, stored: &Vector) -> Result<Hlc> {
        let mut latest = self.region.apply.stable();
        for (origin, last) in stored.iter() {
            let event = event_at(&self.logs, origin, last)?;
            latest = event.map_or(latest, |event| latest.max(event.hlc));
        }
        Ok(latest)
    }

    /// Up to where nothing of a log is needed beside the state as it is stored: every member has
    /// applied it, and no key will be folded from it again.
    fn base(&self, origin: &Origin, floor: Hlc) -> Result<Base> {
        let apply = &self.region.apply;
        let reader = self.logs.reader(origin.as_str())?;
        let mut low = reader.first() - 1;
        let mut high = apply.everywhere().get(origin).min(apply.stored().get(origin)).max(low);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            match event_at(&self.logs, origin, middle)? {
                Some(event) if event.hlc > floor => high = middle - 1,
                _ => low = middle,
            }
        }
        Ok(Base { origin: origin.clone(), sequence: low, chain: reader.chain_at(low)? })
    }

    /// The page that is to be read next, if any joiner has room for one: joiners in turn.
    pub(super) fn begin_page(&mut self) -> Option<PageJob> {
        let served = self.donations.served.clone();
        let peers = self.donations.by_peer.keys();
        let (after, before): (Vec<_>, Vec<_>) =
            peers.cloned().partition(|peer| Some(peer) > served.as_ref());
        let job = after.into_iter().chain(before).find_map(|peer| self.page_for(peer))?;
        self.donations.served = Some(job.peer.clone());
        Some(job)
    }

    fn page_for(&mut self, peer: RegionName) -> Option<PageJob> {
        let bytes = self.region.settings.page_bytes;
        let donation = self.donations.by_peer.get_mut(&peer)?;
        let Stands::Sending(sending) = &mut donation.stands else { return None };
        if sending.sent >= sending.kept.saturating_add(WINDOW_PAGES) {
            return None;
        }
        let place = sending.place.clone()?;
        let view = sending.view.take()?;
        let beside = Arc::clone(&sending.beside);
        let retirement = self.region.apply.retirement().with_whole_above(beside.floor);
        let (snapshot, number) = (donation.snapshot, sending.sent + 1);
        Some(PageJob { peer, snapshot, number, place, bytes, retirement, beside, view })
    }

    pub(super) fn page_read(&mut self, read: PageRead, outputs: &mut Vec<Output>) {
        let PageRead { peer, page, view } = read;
        let Some(donation) = self.donations.by_peer.get_mut(&peer) else { return };
        let Stands::Sending(sending) = &mut donation.stands else { return };
        if donation.snapshot != page.snapshot {
            return;
        }
        sending.view = Some(view);
        if sending.sent + 1 != page.number {
            // It was asked to go on elsewhere meanwhile.
            return;
        }
        sending.sent = page.number;
        sending.place = Some(page.place.clone()).filter(|place| !place.is_empty());
        outputs.push(Output::Send { peer, role: Role::Serve, frame: Frame::Page(page) });
    }

    /// Up to where a log may be let go of for those that load a snapshot from here, or a backup.
    pub(super) fn pinned(&self, origin: &Origin) -> u64 {
        let bases = self.donations.by_peer.values().map(|donation| match &donation.stands {
            // Once all of it is kept, what is behind its base is still to be pulled; a joiner that
            // died before asks for the rest again.
            Stands::Sending(Sending { cut, place: None, sent, kept, .. }) if kept >= sent => {
                let base = cut.bases.iter().find(|base| base.origin == *origin);
                base.map_or(0, |base| base.sequence)
            }
            _ => 0,
        });
        bases.min().unwrap_or(u64::MAX).min(self.backups.pinned(origin))
    }

    /// True if a cut waits for the store only.
    pub(super) fn cuts(&self) -> bool {
        let apply = &self.region.apply;
        let mut donations = self.donations.by_peer.values();
        apply.is_still() && donations.any(|it| it.stands.awaits_only_a_cut(apply.stored()))
    }

    pub(super) fn expire_donations(&mut self, now: Now) {
        let fresh = |donation: &mut Donation| {
            now.monotonic.saturating_sub(donation.asked_at) < PINNED_MILLISECONDS
        };
        self.donations.by_peer.retain(|_, donation| fresh(donation));
    }
}

impl Stands {
    /// True if the store, which is there, is far enough for the cut.
    fn awaits_only_a_cut(&self, stored: &Vector) -> bool {
        matches!(self, Self::Waiting(at) if stored.covers_all(at))
    }

    /// What to answer to a joiner that has heard nothing of its snapshot: nothing yet, or the cut
    /// once more. None if it has kept something of it.
    fn unanswered(&mut self) -> Option<Option<Cut>> {
        match self {
            Self::Waiting(_) => Some(None),
            Self::Sending(sending) if sending.kept == 0 => {
                (sending.sent, sending.place) = (0, Some(Vec::new()));
                Some(Some(sending.cut.clone()))
            }
            Self::Sending(_) => None,
        }
    }

    fn go_on(&mut self, asked: SnapshotPull) {
        let Self::Sending(sending) = self else { return };
        if asked.again {
            (sending.sent, sending.kept) = (asked.received, asked.received);
            // At the very beginning no place is known, and at the end none is left.
            let through = asked.received > 0 && asked.place.is_empty();
            sending.place = (!through).then_some(asked.place);
        } else if asked.received <= sending.sent {
            // What was overtaken says nothing new.
            sending.kept = sending.kept.max(asked.received);
        }
    }
}
