//! The end of a link that asks: one session after another, each from what is held durably.
//!
//! One per peer. A batch that is missing, or a link gone silent, starts a new session; a link that
//! stays silent is taken for down, and its region's log is asked of the others.

use linckia_model::{Now, Origin, RegionName, Vector};

use crate::compare::Tell;
use crate::frame::{Frame, News, PROTOCOL_MAX, PROTOCOL_MIN, Pull};
use crate::snapshot::{Cut, Gap, Page};

/// A link silent this long is asked again from what is held, in milliseconds: several heartbeats
/// and a round trip around the world.
const SILENT_MILLISECONDS: u64 = 2_000;

/// A region whose link is silent this long is relayed by the others, in milliseconds.
pub const RELAY_MILLISECONDS: u64 = 1_000;

/// Received batches are acknowledged at least this often while they come, in milliseconds.
const ACKNOWLEDGE_MILLISECONDS: u64 = 20;

/// What is held is told again after this even without news, in milliseconds: the last pull may be
/// lost, and somebody may wait for it.
const REPEAT_MILLISECONDS: u64 = 500;

/// What a frame from the other end asks of the region.
#[derive(Clone, Debug, PartialEq)]
pub enum Reaction {
    Nothing,
    /// Records to append to that origin's mirror, in order.
    Append {
        origin: Origin,
        records: Vec<u8>,
        /// The other end waits until they are durable here.
        prompt: bool,
    },
    Beat(News),
    /// The other end holds a log from somewhere on only.
    Gap(Gap),
    /// The other end has cut the snapshot that was asked for.
    Cut(Cut),
    Page(Page),
    /// The other end does not have that snapshot, or none to give.
    NoSnapshot(u64),
    /// The answer to the comparing question of that number, and the epoch in which it was read.
    Compared(u64, u64, Tell),
    /// The other end will not talk to us; the reason is for the operator. True: this region is
    /// alive in another place.
    Refused(String, bool),
}

/// What is known of one peer that this region pulls from.
#[derive(Clone, Debug)]
pub struct Pulling {
    own: RegionName,
    origin: Origin,
    place: String,
    open: bool,
    welcomed: bool,
    session: u64,
    /// The last batch of the session that arrived in order.
    received: u64,
    /// When anything was heard last, on the monotonic clock.
    heard_at: Option<u64>,
    asked_at: u64,
    /// When the link opened, or its silence made a new session last.
    begun_at: u64,
    /// Something arrived or became durable since the last pull.
    news: bool,
    /// The other end waits for the news.
    awaited: bool,
    round_trip: Option<u64>,
    applied: Vector,
    /// The set of regions told to be heard directly, a bit each in the caller's order.
    direct: u64,
}

impl Pulling {
    /// `place` is where the region lives; `seed` makes sessions of this life differ from those of
    /// earlier ones.
    pub fn new(own: RegionName, origin: Origin, place: String, seed: u64) -> Self {
        Self {
            own,
            origin,
            place,
            open: false,
            welcomed: false,
            session: seed,
            received: 0,
            heard_at: None,
            asked_at: 0,
            begun_at: 0,
            news: false,
            awaited: false,
            round_trip: None,
            applied: Vector::new(),
            direct: 0,
        }
    }

    /// The link is up: says hello.
    pub fn opened(&mut self, now: Now) -> Frame {
        self.open = true;
        self.welcomed = false;
        self.asked_at = now.monotonic;
        self.begun_at = now.monotonic;
        Frame::Hello {
            region: self.own.clone(),
            protocol_min: PROTOCOL_MIN,
            protocol_max: PROTOCOL_MAX,
            place: self.place.clone(),
        }
    }

    pub fn closed(&mut self) {
        self.open = false;
        self.welcomed = false;
        self.heard_at = None;
    }

    /// True while the other end is heard.
    pub fn live(&self, now: Now) -> bool {
        self.live_within(now, RELAY_MILLISECONDS)
    }

    /// True if the other end was heard within so many milliseconds.
    pub fn live_within(&self, now: Now, longest: u64) -> bool {
        self.silent(now).is_some_and(|silent| silent <= longest)
    }

    /// How long nothing was heard, in milliseconds; none if nothing was since the link came up.
    pub fn silent(&self, now: Now) -> Option<u64> {
        self.heard_at.map(|at| now.monotonic.saturating_sub(at))
    }

    pub fn round_trip_milliseconds(&self) -> Option<u64> {
        self.round_trip
    }

    /// What the other end has applied, as it last said.
    pub fn applied(&self) -> &Vector {
        &self.applied
    }

    /// Something became durable: worth telling; at once, if the other end waits for it.
    pub fn durable_grew(&mut self, awaited: bool) {
        self.news = true;
        self.awaited |= awaited;
    }

    /// The records could not be taken (a gap, a broken chain): start over from what is held.
    pub fn start_over(&mut self) {
        self.session += 1;
        self.received = 0;
        self.asked_at = 0;
        self.news = true;
    }

    /// Takes a frame of the other end.
    pub fn receive(&mut self, now: Now, frame: Frame) -> Reaction {
        if !self.open {
            return Reaction::Nothing;
        }
        self.heard_at = Some(now.monotonic);
        match frame {
            Frame::Welcome { region, protocol }
                if !(PROTOCOL_MIN..=PROTOCOL_MAX).contains(&protocol) =>
            {
                let reason = format!(
                    "{region} chose protocol {protocol}, which was not offered: {} speaks \
                     {PROTOCOL_MIN} to {PROTOCOL_MAX}",
                    self.own
                );
                Reaction::Refused(reason, false)
            }
            Frame::Welcome { .. } => {
                self.welcomed = true;
                self.start_over();
                Reaction::Nothing
            }
            Frame::Refuse { reason, elsewhere } => Reaction::Refused(reason, elsewhere),
            Frame::Batch { session, number, origin, records, prompt } => {
                if !self.welcomed || session != self.session || number <= self.received {
                    return Reaction::Nothing;
                }
                if number > self.received + 1 {
                    self.start_over();
                    return Reaction::Nothing;
                }
                self.received = number;
                self.news = true;
                Reaction::Append { origin, records, prompt }
            }
            Frame::Beat { session, number, echo, news } => {
                if session != self.session {
                    // The other end has not taken our last pull: say it again.
                    self.news = true;
                } else if number > self.received {
                    self.start_over();
                }
                if echo > 0 {
                    self.round_trip = Some(now.monotonic.saturating_sub(echo));
                }
                self.applied = news.applied.clone();
                Reaction::Beat(news)
            }
            Frame::Gap(gap) if gap.session == self.session => Reaction::Gap(gap),
            Frame::Cut(cut) => Reaction::Cut(cut),
            Frame::Page(page) => Reaction::Page(page),
            Frame::NoSnapshot { snapshot } => Reaction::NoSnapshot(snapshot),
            Frame::Compared { number, epoch, tell } => Reaction::Compared(number, epoch, tell),
            // Forwarded requests are between doors.
            Frame::Gap(_)
            | Frame::SnapshotPull(_)
            | Frame::Compare { .. }
            | Frame::Hello { .. }
            | Frame::Pull(_)
            | Frame::Forward { .. }
            | Frame::Forwarded { .. }
            | Frame::Consult { .. }
            | Frame::Consulted { .. } => Reaction::Nothing,
        }
    }

    /// True if something is to be sent now: a greeting, or a pull because there is news, the set of
    /// regions heard directly (a bit each, in an order the caller keeps) changed, the last pull is
    /// long ago, or the link was silent for too long.
    pub fn due(&self, now: Now, direct: u64) -> bool {
        if !self.open {
            return false;
        }
        let since = now.monotonic.saturating_sub(self.asked_at);
        if !self.welcomed {
            // A welcome that is lost is asked for again, even while beats arrive.
            return since >= SILENT_MILLISECONDS;
        }
        direct != self.direct
            || since >= REPEAT_MILLISECONDS
            || (self.news && (self.awaited || since >= ACKNOWLEDGE_MILLISECONDS))
            || self.is_silent(now)
    }

    fn is_silent(&self, now: Now) -> bool {
        let heard = self.heard_at.unwrap_or(0).max(self.begun_at);
        now.monotonic.saturating_sub(heard) >= SILENT_MILLISECONDS
    }

    /// What to send once it is [`due`](Self::due); `regions` are those whose bits are in `direct`.
    pub fn ask(
        &mut self,
        now: Now,
        logged: &Vector,
        applied: &Vector,
        direct: u64,
        regions: Vec<RegionName>,
        holds: bool,
    ) -> Frame {
        if !self.welcomed {
            return self.opened(now);
        }
        if self.is_silent(now) {
            self.begun_at = now.monotonic;
            self.start_over();
        }
        (self.news, self.awaited) = (false, false);
        self.asked_at = now.monotonic;
        self.direct = direct;
        Frame::Pull(Pull {
            session: self.session,
            received: self.received,
            origin: self.origin.clone(),
            logged: logged.clone(),
            applied: applied.clone(),
            direct: regions,
            sent_at: now.monotonic,
            holds,
        })
    }
}
