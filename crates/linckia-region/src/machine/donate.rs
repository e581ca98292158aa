//! The donor's end of a snapshot: the state here, cut at one vector, for a region whose logs do not
//! reach back.
//!
//! One snapshot per peer, pinned while the peer goes on asking. What always holds: a cut is made
//! when the store is at the applied vector, and what a joiner will need of the logs here is not let
//! go of before it has loaded.

use std::collections::BTreeMap;

use linckia_model::{Fault, Now, Origin, RegionName, Vector};
use linckia_ship::{Base, Cut, Frame, Page, SnapshotPull, WINDOW_PAGES};
use linckia_store::{Table, View};

use super::{Machine, event_at};
use crate::error::Result;
use crate::input::{Output, Role};

/// A snapshot that nobody asks about for so long is let go of, in milliseconds.
const PINNED_MILLISECONDS: u64 = 60_000;

/// Rows read at once while a page fills.
const ROWS_MAX: usize = 512;

/// Snapshots that joiners load from here.
#[derive(Default)]
pub(super) struct Donations {
    by_peer: BTreeMap<RegionName, Donation>,
    /// Counts the cuts of this life.
    cuts: u64,
}

/// One joiner's snapshot.
struct Donation {
    snapshot: u64,
    /// When the joiner asked last, on the monotonic clock.
    asked_at: u64,
    stands: Stands,
    bases: BTreeMap<Origin, u64>,
}

enum Stands {
    /// The store is to be brought to this vector first.
    Waiting(Vector),
    Sending(Sending),
    /// Everything was sent and kept.
    Done,
}

struct Sending {
    /// Away while a job reads a page.
    view: Option<Box<dyn View>>,
    sent: u64,
    kept: u64,
    /// Where the next page begins; nowhere after the last one.
    place: Option<Vec<u8>>,
}

/// Reads a page.
pub(super) struct PageJob {
    peer: RegionName,
    snapshot: u64,
    number: u64,
    place: Vec<u8>,
    bytes: usize,
    /// A planted fault.
    skips_absence: bool,
    view: Box<dyn View>,
}

pub(super) struct PageRead {
    peer: RegionName,
    page: Page,
    view: Box<dyn View>,
}

impl PageJob {
    pub(super) fn run(self) -> Result<PageRead> {
        let Self { peer, snapshot, number, place, bytes, skips_absence, view } = self;
        let mut page = Page { snapshot, number, rows: Vec::new(), place: Vec::new() };
        let (mut table, mut from) = match place.split_first() {
            Some((table, key)) => (Table::from_place(*table), [key, &[0]].concat()),
            None => (Table::from_place(0), Vec::new()),
        };
        // A page holds rows of one table.
        while let Some(of) = table {
            let pairs = view.scan(of, &from, &[], ROWS_MAX, false)?;
            let full = pairs.len() == ROWS_MAX;
            for (key, value) in pairs {
                page.place = [&[of as u8], &key[..]].concat();
                from = [&key[..], &[0]].concat();
                if skips_absence && linckia_apply::shows_nothing(of, &value) {
                    continue;
                }
                put_row(&mut page.rows, of, &key, &value);
                if page.rows.len() >= bytes {
                    return Ok(PageRead { peer, page, view });
                }
            }
            if full {
                continue;
            }
            if !page.rows.is_empty() {
                return Ok(PageRead { peer, page, view });
            }
            (table, from) = (of.next(), Vec::new());
        }
        page.place = Vec::new();
        Ok(PageRead { peer, page, view })
    }
}

fn put_row(rows: &mut Vec<u8>, table: Table, key: &[u8], value: &[u8]) {
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
    pub(super) fn donate(&mut self, now: Now, peer: &RegionName, asked: SnapshotPull) {
        let whole = self.region.is_entered() && !self.region.catch_up.wanted;
        let known = self.donations.by_peer.get_mut(peer);
        match known {
            Some(donation) if donation.snapshot == asked.snapshot => {
                donation.asked_at = now.monotonic;
                donation.stands.go_on(asked);
            }
            // It has not heard yet that a cut is being made.
            Some(Donation { stands: Stands::Waiting(_), asked_at, .. }) => {
                *asked_at = now.monotonic;
            }
            _ if whole => {
                self.region.apply.want_stored();
                let at = self.region.applied().clone();
                self.donations.cuts += 1;
                let donation = Donation {
                    snapshot: self.region.settings.seed.wrapping_add(self.donations.cuts),
                    asked_at: now.monotonic,
                    stands: Stands::Waiting(at),
                    bases: BTreeMap::new(),
                };
                self.donations.by_peer.insert(peer.clone(), donation);
            }
            _ => {}
        }
    }

    /// Cuts the snapshots for which the store is far enough.
    pub(super) fn cut(&mut self, outputs: &mut Vec<Output>) -> Result<()> {
        if self.store_in_flight || !self.cuts() {
            return Ok(());
        }
        let stored = self.region.apply.stored();
        let far = |donation: &Donation| match &donation.stands {
            Stands::Waiting(at) => stored.covers_all(at),
            _ => false,
        };
        let due = self.donations.by_peer.iter().find(|(_, donation)| far(donation));
        let Some((peer, donation)) = due else { return Ok(()) };
        let (peer, snapshot) = (peer.clone(), donation.snapshot);
        let at = stored.clone();
        let floor = self.region.apply.floor();
        let bases: Result<Vec<Base>> =
            at.iter().map(|(origin, _)| self.base(origin, floor)).collect();
        let cut = Cut {
            snapshot,
            at,
            bases: bases?,
            hlc: self.region.clock.last(),
            bytes: self.store.disk_bytes(),
        };
        if let Some(donation) = self.donations.by_peer.get_mut(&peer) {
            donation.bases = cut.bases.iter().map(|it| (it.origin.clone(), it.sequence)).collect();
            let view = Some(self.store.snapshot());
            let sending = Sending { view, sent: 0, kept: 0, place: Some(Vec::new()) };
            donation.stands = Stands::Sending(sending);
        }
        outputs.push(Output::Send { peer, role: Role::Serve, frame: Frame::Cut(cut) });
        Ok(())
    }

    /// Up to where nothing of a log is needed beside the state as it is stored: every member has
    /// applied it, and no key will be folded from it again.
    fn base(&self, origin: &Origin, floor: linckia_model::Hlc) -> Result<Base> {
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

    /// The page that is to be read next, if any joiner has room for one.
    pub(super) fn begin_page(&mut self) -> Option<PageJob> {
        let bytes = self.region.settings.page_bytes;
        let skips_absence = self.region.settings.fault == Some(Fault::AbsenceNotDonated);
        self.donations.by_peer.iter_mut().find_map(|(peer, donation)| {
            let Stands::Sending(sending) = &mut donation.stands else { return None };
            if sending.sent >= sending.kept + WINDOW_PAGES {
                return None;
            }
            let place = sending.place.clone()?;
            let view = sending.view.take()?;
            let (peer, snapshot, number) = (peer.clone(), donation.snapshot, sending.sent + 1);
            Some(PageJob { peer, snapshot, number, place, bytes, skips_absence, view })
        })
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

    /// Up to where a log may be let go of for those that load a snapshot from here.
    pub(super) fn pinned(&self, origin: &Origin) -> u64 {
        let bases = self.donations.by_peer.values().map(|donation| match donation.stands {
            // Where the cut will be is not known yet.
            Stands::Waiting(_) => 0,
            _ => donation.bases.get(origin).copied().unwrap_or(0),
        });
        bases.min().unwrap_or(u64::MAX)
    }

    /// True if a cut waits for the store only.
    pub(super) fn cuts(&self) -> bool {
        let apply = &self.region.apply;
        apply.is_still()
            && self.donations.by_peer.values().any(|donation| match &donation.stands {
                Stands::Waiting(at) => apply.stored().covers_all(at),
                _ => false,
            })
    }

    pub(super) fn expire_donations(&mut self, now: Now) {
        let fresh = |donation: &mut Donation| {
            now.monotonic.saturating_sub(donation.asked_at) < PINNED_MILLISECONDS
        };
        self.donations.by_peer.retain(|_, donation| fresh(donation));
    }
}

impl Stands {
    fn go_on(&mut self, asked: SnapshotPull) {
        let Self::Sending(sending) = self else { return };
        if asked.received < sending.kept && !asked.again {
            // It was overtaken.
            return;
        }
        sending.kept = asked.received;
        if asked.received > 0 && asked.place.is_empty() {
            *self = Self::Done;
        } else if asked.again {
            sending.sent = asked.received;
            sending.place = Some(asked.place);
        }
    }
}
