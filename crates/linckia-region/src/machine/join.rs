//! The joiner's end of a snapshot: a state from elsewhere, where the logs here do not reach back.
//!
//! Rows come in beside the store while the logs go on from the snapshot's bases; when both are
//! whole the rows replace the store's. What always holds: until then the region takes no requests
//! and tells no time, and what it logs does not count as held; where logs were continued from
//! bases, a crash finds the rows as far as they came; the store is never ahead of the logs.

use std::collections::VecDeque;

use linckia_log::{Logs, SEQUENCE_MAX};
use linckia_model::{Now, Origin, Reader, RegionName, Vector, Writer};
use linckia_ship::{Base, Cut, Frame, Gap, Page, SnapshotPull, decode_cut, encode_cut};
use linckia_store::Table;

use super::Machine;
use crate::error::Result;
use crate::input::{Alarm, Output, Role};
use crate::region::Region;
use crate::rooms::first_held;

/// A donor is asked at least so often, in milliseconds.
const ASK_MILLISECONDS: u64 = 1_000;

/// No page for so long, and they are asked for again, in milliseconds.
const AGAIN_MILLISECONDS: u64 = 3_000;

/// No cut and no page for so long, and another donor is asked, in milliseconds.
const PATIENCE_MILLISECONDS: u64 = 30_000;

/// A link is taken for down after so much silence, in milliseconds.
const SILENT_MILLISECONDS: u64 = 5_000;

/// With the state here, nothing more of what was logged for so long can be applied for now, in
/// milliseconds.
pub(super) const SETTLED_MILLISECONDS: u64 = 1_000;

/// Where the joiner keeps, among the rows that come in, how far they came.
pub(super) const PROGRESS: &[u8] = b"incoming";

/// Of that row.
const FORMAT: u8 = 1;

/// Catching up from a snapshot.
pub(super) struct Joining {
    pub(super) donor: Option<RegionName>,
    /// What is being loaded, and how far.
    pub(super) cut: Option<Cut>,
    /// The last page that arrived in order, and the last one that is kept.
    pub(super) arrived: u64,
    pub(super) kept: u64,
    /// Where the last page kept ended; empty once all are.
    pub(super) place: Vec<u8>,
    pub(super) pages: VecDeque<Page>,
    pub(super) writing: bool,
    pub(super) whole: bool,
    /// Bytes of rows that arrived.
    pub(super) bytes: u64,
    /// When a cut or a page came last, or, once all are here, something became durable; how much
    /// was durable then.
    pub(super) heard_at: u64,
    pub(super) logged: u64,
    pub(super) asked_at: u64,
    pub(super) again_at: u64,
    /// Logs that are still to be continued from their bases.
    pub(super) bases: Vec<Base>,
}

/// How far a region has come that catches up from a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatchUp {
    /// From where, once that is known.
    pub donor: Option<RegionName>,
    /// Bytes of rows that have come.
    pub bytes: u64,
    /// About how many there are.
    pub of: u64,
    /// All rows are here, and the logs are not.
    pub awaits_logs: bool,
}

/// The row that [`Joining::restored`] reads.
pub(super) fn progress(donor: &RegionName, number: u64, place: &[u8], cut: &Cut) -> Vec<u8> {
    let mut out = Writer::default();
    out.byte(FORMAT);
    out.text(donor.as_str());
    out.number(number);
    out.bytes(place);
    out.0.extend_from_slice(&encode_cut(cut));
    out.0
}

impl Joining {
    pub(super) fn new(now: Now) -> Self {
        Self {
            donor: None,
            cut: None,
            arrived: 0,
            kept: 0,
            place: Vec::new(),
            pages: VecDeque::new(),
            writing: false,
            whole: false,
            bytes: 0,
            heard_at: now.monotonic,
            logged: 0,
            asked_at: 0,
            again_at: now.monotonic,
            bases: Vec::new(),
        }
    }

    /// As far as the rows came in an earlier life.
    fn restored(now: Now, row: &[u8]) -> linckia_model::Result<Self> {
        let mut reader = Reader(row);
        let format = reader.byte("format")?;
        if format != FORMAT {
            return Err(linckia_model::Error::Format(format));
        }
        let donor = RegionName::parse(reader.text("donor", row.len())?)?;
        let kept = reader.number("number")?;
        let place = reader.bytes("place", row.len())?.to_vec();
        let cut = decode_cut(reader.0)?;
        let (whole, bases) = (place.is_empty(), cut.bases.clone());
        let new = Self::new(now);
        Ok(Self {
            donor: Some(donor),
            cut: Some(cut),
            arrived: kept,
            kept,
            place,
            whole,
            bases,
            ..new
        })
    }

    fn pull(&self, again: bool, gone: Vector) -> Frame {
        Frame::SnapshotPull(SnapshotPull {
            snapshot: self.cut.as_ref().map_or(0, |cut| cut.snapshot),
            received: self.kept,
            place: self.place.clone(),
            again,
            gone,
        })
    }
}

impl Region {
    /// True if a log does not reach back to what is applied here.
    fn lacks_before(&self, logs: &Logs) -> bool {
        let applied = self.apply.applied();
        self.durable.iter().any(|(origin, _)| first_held(logs, origin) > applied.get(origin) + 1)
    }

    /// What the logs here have let go of, or never had.
    fn gone(&self, logs: &Logs) -> Vector {
        let before = |origin: &Origin| (origin.clone(), first_held(logs, origin) - 1);
        let each = self.durable.iter().map(|(origin, _)| before(origin));
        each.filter(|(_, last)| *last > 0).collect()
    }

    /// True if a cut makes sense here: of logs of members, each continued at or below where its
    /// state is.
    fn is_sound(&self, cut: &Cut) -> bool {
        let sound = |Base { origin, sequence, .. }: &Base| {
            self.is_of_fleet(origin) && *sequence <= cut.at.get(origin) && *sequence < SEQUENCE_MAX
        };
        let based = |origin: &Origin| cut.bases.iter().any(|base| base.origin == *origin);
        cut.bases.iter().all(sound) && cut.at.iter().all(|(origin, _)| based(origin))
    }
}

impl Machine {
    /// At the start: logs that do not reach back to the store are the mark of a snapshot that was
    /// on its way, or of a store that was lost.
    pub(super) fn resume_joining(&mut self, now: Now) -> Result<()> {
        if !self.region.lacks_before(&self.logs) {
            return Ok(self.store.discard()?);
        }
        let row = self.store.incoming()?.get(Table::Meta, PROGRESS)?;
        let restored = row.and_then(|row| Joining::restored(now, &row).ok());
        if restored.is_none() {
            self.store.discard()?;
        }
        self.joining = Some(restored.unwrap_or_else(|| Joining::new(now)));
        (self.region.catch_up.wanted, self.region.catch_up.beyond) = (true, true);
        Ok(())
    }

    /// A peer does not hold a log as far back as it was asked for.
    pub(super) fn gap(&mut self, now: Now, peer: &RegionName, gap: &Gap) -> Result<()> {
        let Gap { origin, first, .. } = gap;
        let tail = self.logs.tail(origin.as_str()).map_or(0, |position| position.sequence);
        if *origin == self.region.settings.origin || tail + 1 >= *first {
            return Ok(());
        }
        let Some(joining) = &self.joining else {
            if self.region.catch_up.settling.is_none() {
                self.joining = Some(Joining { donor: Some(peer.clone()), ..Joining::new(now) });
                self.region.catch_up.wanted = true;
            }
            return Ok(());
        };
        let Some(cut) = &joining.cut else { return Ok(()) };
        let base = cut.bases.iter().find(|base| base.origin == *origin);
        let kept = base.is_some_and(|base| base.sequence + 1 >= *first);
        // The donor keeps what its snapshot needs, unless it was started again since.
        if !kept && (joining.donor.as_ref() == Some(peer) || self.is_silent(now)) {
            self.give_up(now)?;
        }
        Ok(())
    }

    /// True if the donor is not heard.
    fn is_silent(&self, now: Now) -> bool {
        let donor = self.joining.as_ref().and_then(|joining| joining.donor.as_ref());
        let pulling = donor.and_then(|donor| self.region.pulling.get(donor));
        !pulling.is_some_and(|pulling| pulling.live_within(now, SILENT_MILLISECONDS))
    }

    /// What came is worth nothing: begins anew, with another donor.
    pub(super) fn give_up(&mut self, now: Now) -> Result<()> {
        if self.joining.as_ref().is_some_and(|joining| joining.writing) {
            return Ok(());
        }
        self.joining = Some(Joining::new(now));
        self.given_up += 1;
        self.region.catch_up.donor = None;
        Ok(self.store.discard()?)
    }

    pub(super) fn cut_arrived(
        &mut self,
        now: Now,
        peer: &RegionName,
        cut: Cut,
        outputs: &mut Vec<Output>,
    ) -> Result<()> {
        let Some(joining) = &self.joining else { return Ok(()) };
        if joining.donor.as_ref() != Some(peer) || joining.cut.is_some() {
            return Ok(());
        }
        if !self.region.is_sound(&cut) {
            let detail = "its snapshot is none of this fleet's logs".to_owned();
            outputs.push(Output::Alarm(Alarm::Malformed { peer: peer.clone(), detail }));
            return self.give_up(now);
        }
        let (donor, bases) = (Some(peer.clone()), cut.bases.clone());
        let (cut, asked_at) = (Some(cut), now.monotonic);
        self.joining = Some(Joining { donor, bases, cut, asked_at, ..Joining::new(now) });
        self.store.discard()?;
        self.take_bases(now)
    }

    /// The donor has none to give, or has forgotten the one that was under way.
    pub(super) fn no_snapshot(&mut self, now: Now, peer: &RegionName, snapshot: u64) -> Result<()> {
        let Some(joining) = &self.joining else { return Ok(()) };
        let asked = joining.cut.as_ref().map_or(0, |cut| cut.snapshot);
        if joining.donor.as_ref() == Some(peer) && asked == snapshot && !joining.whole {
            self.give_up(now)?;
        }
        Ok(())
    }

    pub(super) fn ask_donor(&mut self, now: Now, again: bool, outputs: &mut Vec<Output>) {
        let gone = self.region.gone(&self.logs);
        let Some(joining) = &mut self.joining else { return };
        joining.asked_at = now.monotonic;
        if let Some(peer) = joining.donor.clone() {
            let frame = joining.pull(again, gone);
            outputs.push(Output::Send { peer, role: Role::Pull, frame });
        }
    }

    /// Goes on with catching up, or sees that it is due.
    pub(super) fn join(&mut self, now: Now, outputs: &mut Vec<Output>) -> Result<()> {
        if self.region.catch_up.settling.is_some() {
            self.settle(now);
            return Ok(());
        }
        if self.joining.is_none() {
            if !self.is_far_behind() {
                return Ok(());
            }
            self.joining = Some(Joining::new(now));
            self.region.catch_up.wanted = true;
        }
        self.take_bases(now)?;
        if self.adopt(now)? {
            return Ok(());
        }
        if self.is_stuck(now) || self.is_of_what_is_lost() {
            self.give_up(now)?;
        }
        self.choose_donor(now);
        let Some(joining) = &mut self.joining else { return Ok(()) };
        self.region.catch_up.donor.clone_from(&joining.donor);
        if now.monotonic.saturating_sub(joining.asked_at) >= ASK_MILLISECONDS {
            let waits = joining.pages.is_empty() && !joining.writing && !joining.whole;
            let since = joining.heard_at.max(joining.again_at);
            let long = now.monotonic.saturating_sub(since) >= AGAIN_MILLISECONDS;
            let again = joining.cut.is_some() && waits && long;
            if again {
                joining.again_at = now.monotonic;
            }
            self.ask_donor(now, again, outputs);
        }
        Ok(())
    }

    /// True if the snapshot reaches beyond the end of a log: its donor had lapsed, unknowing.
    fn is_of_what_is_lost(&self) -> bool {
        let cut = self.joining.as_ref().and_then(|joining| joining.cut.as_ref());
        cut.is_some_and(|cut| cut.at.iter().any(|(origin, last)| last > self.region.end(origin)))
    }

    /// True if nothing has come for so long that another donor must be asked.
    fn is_stuck(&mut self, now: Now) -> bool {
        let logged = self.region.durable.total();
        let Some(joining) = &mut self.joining else { return false };
        if joining.whole && std::mem::replace(&mut joining.logged, logged) != logged {
            joining.heard_at = now.monotonic;
        }
        let works = !joining.pages.is_empty() || joining.writing;
        !works && now.monotonic.saturating_sub(joining.heard_at) >= PATIENCE_MILLISECONDS
    }

    /// Peers in turn: one that does not answer is given up.
    fn choose_donor(&mut self, now: Now) {
        let Some(joining) = &mut self.joining else { return };
        if joining.donor.is_some() {
            return;
        }
        let live = self.region.pulling.iter().filter(|(_, pulling)| pulling.live(now));
        let live: Vec<&RegionName> = live.map(|(peer, _)| peer).collect();
        if let Some(peer) = live.get(self.given_up % live.len().max(1)) {
            (joining.donor, joining.heard_at) = (Some((*peer).clone()), now.monotonic);
        }
    }

    /// True where little is here and peers have so much more that a snapshot is quicker.
    fn is_far_behind(&self) -> bool {
        let far = self.region.settings.catch_up_events;
        let here = self.region.applied().total();
        let more =
            |peer: &linckia_ship::Pulling| peer.applied().total().saturating_sub(here) >= far;
        self.region.capture.last() == 0
            && !self.region.is_entered()
            && self.region.pulling.values().any(more)
    }

    /// How far this region has come, where it catches up from a snapshot.
    pub fn catch_up(&self) -> Option<CatchUp> {
        let Some(joining) = &self.joining else {
            // The events since are being applied.
            let (bytes, of) = (self.loaded, self.loaded);
            let loaded = CatchUp { donor: None, bytes, of, awaits_logs: true };
            return self.region.catch_up.wanted.then_some(loaded);
        };
        Some(CatchUp {
            donor: joining.donor.clone(),
            bytes: joining.bytes,
            of: joining.cut.as_ref().map_or(0, |cut| cut.bytes),
            awaits_logs: joining.whole,
        })
    }
}
