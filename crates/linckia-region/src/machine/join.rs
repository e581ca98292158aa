//! The joiner's end of a snapshot: a state from elsewhere, where the logs here do not reach back.
//!
//! Rows come in beside the store while the logs go on from the snapshot's bases; when both are
//! whole the rows replace the store's. What always holds: until then the region takes no requests
//! and tells no time, and what it logs does not count as held; where logs were continued from
//! bases, a crash finds the rows as far as they came; the store is never ahead of the logs.

use std::collections::VecDeque;
use std::sync::Arc;

use linckia_apply::Apply;
use linckia_capture::Capture;
use linckia_log::Position;
use linckia_model::{Fault, Now, Origin, Reader, RegionName, Vector, Writer, with_causes};
use linckia_ship::{
    Base, Cut, Frame, Gap, Page, SnapshotPull, WINDOW_PAGES, decode_cut, encode_cut,
};
use linckia_store::{Batch, Rows, Table};

use super::{Machine, SyncKind};
use crate::error::Result;
use crate::input::{Alarm, Output, Role};
use crate::region::Region;

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
const SETTLED_MILLISECONDS: u64 = 1_000;

/// Where the joiner keeps, among the rows that come in, how far they came.
const PROGRESS: &[u8] = b"incoming";

/// Of that row.
const FORMAT: u8 = 1;

/// No log gets there.
const SEQUENCE_MAX: u64 = 1 << 60;

/// Catching up from a snapshot.
pub(super) struct Joining {
    donor: Option<RegionName>,
    /// What is being loaded, and how far.
    cut: Option<Cut>,
    /// The last page that arrived in order, and the last one that is kept.
    arrived: u64,
    kept: u64,
    /// Where the last page kept ended; empty once all are.
    place: Vec<u8>,
    pages: VecDeque<Page>,
    writing: bool,
    whole: bool,
    /// Bytes of rows that arrived.
    bytes: u64,
    /// When a cut or a page came last, or, once all are here, something became durable; how much
    /// was durable then.
    heard_at: u64,
    logged: u64,
    asked_at: u64,
    again_at: u64,
    /// Logs that are still to be continued from their bases.
    bases: Vec<Base>,
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

/// Writes pages beside the store.
pub(super) struct KeepJob {
    pages: VecDeque<Page>,
    donor: RegionName,
    cut: Cut,
    incoming: Arc<dyn Rows>,
}

/// Pages that are kept.
pub(super) struct Kept {
    snapshot: u64,
    number: u64,
    place: Vec<u8>,
    /// They were pages.
    readable: bool,
}

impl KeepJob {
    pub(super) fn run(self) -> Result<Kept> {
        let Self { pages, donor, cut, incoming } = self;
        let mut kept =
            Kept { snapshot: cut.snapshot, number: 0, place: Vec::new(), readable: true };
        let mut batch = Batch::default();
        for Page { number, rows, place, .. } in pages {
            kept.readable &= take_rows(&rows, &mut batch).is_some();
            (kept.number, kept.place) = (number, place);
        }
        if kept.readable {
            let row = progress(&donor, kept.number, &kept.place, &cut);
            batch.put(Table::Meta, PROGRESS, &row);
            incoming.write(&batch)?;
        }
        Ok(kept)
    }
}

/// The rows of a page; none if it is no page.
fn take_rows(rows: &[u8], batch: &mut Batch) -> Option<()> {
    let Some((table, mut rest)) = rows.split_first() else { return Some(()) };
    let table = Table::from_place(*table)?;
    let mut part = || {
        let (length, after) = rest.split_first_chunk()?;
        let (part, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        rest = after;
        Some((part, after.is_empty()))
    };
    loop {
        let (key, _) = part()?;
        let (value, last) = part()?;
        batch.put(table, key, value);
        if last {
            return Some(());
        }
    }
}

fn progress(donor: &RegionName, number: u64, place: &[u8], cut: &Cut) -> Vec<u8> {
    let mut out = Writer::default();
    out.byte(FORMAT);
    out.text(donor.as_str());
    out.number(number);
    out.bytes(place);
    out.0.extend_from_slice(&encode_cut(cut));
    out.0
}

impl Joining {
    fn new(now: Now) -> Self {
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
    /// A log that does not reach back to what is applied here, if there is one.
    fn lacks_before(&self, logs: &linckia_log::Logs) -> Option<Origin> {
        let lacks = |origin: &&Origin| {
            let first = logs.reader(origin.as_str()).map_or(1, |reader| reader.first());
            first > self.apply.applied().get(origin) + 1
        };
        self.durable.iter().map(|(origin, _)| origin).find(lacks).cloned()
    }

    /// What the logs here have let go of, or never had.
    fn gone(&self, logs: &linckia_log::Logs) -> Vector {
        let before = |origin: &Origin| {
            logs.reader(origin.as_str()).map_or(0, |reader| reader.first().saturating_sub(1))
        };
        let each = self.durable.iter().map(|(origin, _)| (origin.clone(), before(origin)));
        each.filter(|(_, last)| *last > 0).collect()
    }

    /// True if a cut makes sense here: of logs of members, each continued at or below where its
    /// state is.
    fn is_sound(&self, cut: &Cut) -> bool {
        let member = |origin: &Origin| self.settings.members.iter().any(|it| origin.is_of(it));
        let sound = |Base { origin, sequence, .. }: &Base| {
            member(origin) && *sequence <= cut.at.get(origin) && *sequence < SEQUENCE_MAX
        };
        let based = |origin: &Origin| cut.bases.iter().any(|base| base.origin == *origin);
        cut.bases.iter().all(sound) && cut.at.iter().all(|(origin, _)| based(origin))
    }
}

impl Machine {
    /// At the start: logs that do not reach back to the store are the mark of a snapshot that was
    /// on its way, or of a store that was lost.
    pub(super) fn resume_joining(&mut self, now: Now) -> Result<()> {
        if self.region.lacks_before(&self.logs).is_none() {
            return Ok(self.store.discard()?);
        }
        let row = self.store.incoming()?.get(Table::Meta, PROGRESS)?;
        let restored = row.and_then(|row| Joining::restored(now, &row).ok());
        if restored.is_none() {
            self.store.discard()?;
        }
        self.joining = Some(restored.unwrap_or_else(|| Joining::new(now)));
        self.region.catch_up.wanted = true;
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
    fn give_up(&mut self, now: Now) -> Result<()> {
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

    pub(super) fn page_arrived(&mut self, now: Now, peer: &RegionName, page: Page) {
        let Some(joining) = &mut self.joining else { return };
        let known = joining.cut.as_ref().map(|cut| cut.snapshot);
        if joining.donor.as_ref() != Some(peer) || known != Some(page.snapshot) || joining.whole {
            return;
        }
        // Of what comes twice or too early nothing is kept.
        if page.number == joining.arrived + 1 && (joining.pages.len() as u64) < WINDOW_PAGES {
            joining.heard_at = now.monotonic;
            joining.arrived += 1;
            joining.bytes += page.rows.len() as u64;
            joining.pages.push_back(page);
        }
    }

    /// The pages that are to be kept next: all that came.
    pub(super) fn begin_keep(&mut self) -> Result<Option<KeepJob>> {
        let Some(joining) = &mut self.joining else { return Ok(None) };
        let (Some(cut), Some(donor)) = (&joining.cut, &joining.donor) else { return Ok(None) };
        if joining.pages.is_empty() {
            return Ok(None);
        }
        let incoming = self.store.incoming()?;
        let (cut, donor) = (cut.clone(), donor.clone());
        let pages = std::mem::take(&mut joining.pages);
        joining.writing = true;
        Ok(Some(KeepJob { pages, donor, cut, incoming }))
    }

    pub(super) fn page_kept(
        &mut self,
        now: Now,
        kept: Kept,
        outputs: &mut Vec<Output>,
    ) -> Result<()> {
        let Some(joining) = &mut self.joining else { return Ok(()) };
        joining.writing = false;
        if joining.cut.as_ref().map(|cut| cut.snapshot) != Some(kept.snapshot) {
            return Ok(());
        }
        if !kept.readable {
            let detail = format!("a page of its snapshot up to {} does not read", kept.number);
            if let Some(peer) = joining.donor.clone() {
                outputs.push(Output::Alarm(Alarm::Malformed { peer, detail }));
            }
            return self.give_up(now);
        }
        joining.heard_at = now.monotonic;
        joining.kept = kept.number;
        joining.whole = kept.place.is_empty();
        joining.place = kept.place;
        self.ask_donor(now, false, outputs);
        Ok(())
    }

    fn ask_donor(&mut self, now: Now, again: bool, outputs: &mut Vec<Output>) {
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
        if self.is_stuck(now) {
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

    /// Continues logs from the snapshot's bases, where they end before them: the state will have
    /// what lies between.
    fn take_bases(&mut self, now: Now) -> Result<()> {
        let Some(joining) = &mut self.joining else { return Ok(()) };
        // A log is not started anew under a sync.
        if joining.bases.is_empty() || self.in_flight[SyncKind::Mirrors as usize] {
            return Ok(());
        }
        let (mut later, mut restarted) = (Vec::new(), false);
        for Base { origin, sequence, chain } in std::mem::take(&mut joining.bases) {
            let tail = self.logs.tail(origin.as_str()).map_or(0, |position| position.sequence);
            if tail >= sequence || origin == self.region.settings.origin {
                continue;
            }
            match self.logs.restart_after(origin.as_str(), Position { sequence, chain }) {
                Ok(()) => {
                    self.region.arriving.remove(&origin);
                    self.region.durable.set(&origin, sequence);
                    self.region.known.raise(&origin, sequence);
                    restarted = true;
                }
                // There may be room later.
                Err(linckia_log::Error::Full { .. } | linckia_log::Error::NoSpace { .. }) => {
                    later.push(Base { origin, sequence, chain });
                }
                Err(error) => {
                    self.failure.get_or_insert(with_causes(&error));
                    return Ok(());
                }
            }
        }
        joining.bases = later;
        if restarted {
            self.pull_anew(now)?;
        }
        Ok(())
    }

    /// What is logged here is not what it was: every session begins anew.
    fn pull_anew(&mut self, now: Now) -> Result<()> {
        for pulling in self.region.pulling.values_mut() {
            pulling.start_over();
        }
        self.region.lives.look_again();
        let mut steps = Vec::new();
        self.region.ask(now, &mut steps);
        self.execute(now, steps, &mut Vec::new())
    }

    /// Puts the rows in the place of the store's, once they are whole and the logs hold all that
    /// they have applied.
    fn adopt(&mut self, now: Now) -> Result<bool> {
        let Some(Joining { cut: Some(cut), whole: true, bases, .. }) = &self.joining else {
            return Ok(false);
        };
        let early = self.region.settings.fault == Some(Fault::AdoptedBeforeLogs);
        let logged = self.region.durable.covers_all(&cut.at) || early;
        if !logged || self.store_in_flight || !bases.is_empty() {
            return Ok(false);
        }
        // The donor may have applied what is held back here.
        if self.region.clock.holds_back(cut.hlc, now) {
            return Ok(false);
        }
        self.region.clock.observe(cut.hlc);
        self.store.adopt()?;
        let mut batch = Batch::default();
        batch.remove(Table::Meta, PROGRESS);
        self.store.write(&batch)?;
        self.joining = None;
        self.pages = linckia_apply::Pages::default();
        self.begin_state_anew()?;
        self.region.catch_up.donor = None;
        self.region.catch_up.settling = Some((self.region.applied().total(), now.monotonic));
        self.region.more = true;
        Ok(true)
    }

    /// What was logged since is applied, tick by tick, before the region says anything: it may have
    /// told before that it had applied it.
    fn settle(&mut self, now: Now) {
        let applied = self.region.applied().total();
        let Some((before, since)) = &mut self.region.catch_up.settling else { return };
        if *before != applied {
            (*before, *since) = (applied, now.monotonic);
        }
        let quiet = now.monotonic.saturating_sub(*since) >= SETTLED_MILLISECONDS;
        if self.region.applied().covers_all(&self.region.durable) || quiet {
            self.region.catch_up = crate::region::Catching::default();
            self.region.lives.look_again();
            for pulling in self.region.pulling.values_mut() {
                pulling.start_over();
            }
        }
    }

    /// The state is another: everything that rests on it begins anew.
    fn begin_state_anew(&mut self) -> Result<()> {
        let region = &mut self.region;
        let settings = &region.settings;
        let (name, members) = (settings.name.clone(), settings.members.clone());
        let mut apply = Apply::open(settings.apply, name, members, self.store.as_ref())?;
        apply.set_policies(Arc::clone(region.apply.policies()));
        if let Some(agreed) = region.lives.agreed() {
            apply.set_incarnations(agreed);
        }
        for heartbeat in region.apply.heartbeats() {
            apply.heard(heartbeat.clone());
        }
        region.apply = apply;
        let last = region.capture.last();
        let (fold, seed) = (region.settings.apply.fold, region.settings.apply.seed);
        region.capture = Capture::new(region.settings.origin.clone(), last, fold, seed);
        region.take_policies();
        Ok(())
    }

    /// How far this region has come, where it catches up from a snapshot.
    pub fn catch_up(&self) -> Option<CatchUp> {
        let Some(joining) = &self.joining else {
            // The events since are being applied.
            let none = CatchUp { donor: None, bytes: 0, of: 0, awaits_logs: true };
            return self.region.catch_up.wanted.then_some(none);
        };
        Some(CatchUp {
            donor: joining.donor.clone(),
            bytes: joining.bytes,
            of: joining.cut.as_ref().map_or(0, |cut| cut.bytes),
            awaits_logs: joining.whole,
        })
    }
}
