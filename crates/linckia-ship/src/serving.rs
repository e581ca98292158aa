//! The end of a link that answers: everything beyond the asker's vector, a window at a time.
//!
//! One per peer that pulls from here. A new session starts exactly from what the asker holds;
//! within a session each batch is sent once. What is sent and not received is bounded by the
//! window.

use std::collections::{BTreeSet, VecDeque};

use linckia_model::{Now, Origin, RegionName, Vector};

use crate::frame::{Frame, News, PROTOCOL_MAX, PROTOCOL_MIN, Pull};
use crate::port::Records;
use crate::snapshot::Gap;

/// Bytes in flight on one link, uncompressed: 110 ms one way still carry about 70 MB/s.
const WINDOW_BYTES: u64 = 16 << 20;

/// Bytes of one batch: small enough that a heartbeat is never far behind it.
const BATCH_BYTES: u64 = 256 << 10;

/// What is known of one peer that pulls from here.
#[derive(Clone, Debug)]
pub struct Serving {
    welcomed: bool,
    session: Option<u64>,
    /// The last batch sent in the session.
    number: u64,
    in_flight: VecDeque<(u64, u64)>,
    in_flight_bytes: u64,
    /// What was sent in the session or is held by the asker.
    sent: Vector,
    logged: Vector,
    applied: Vector,
    direct: BTreeSet<RegionName>,
    /// Logs of which the asker was told, since its last pull, where they begin: it lacks what was
    /// before.
    gaps: BTreeSet<Origin>,
    /// `sent_at` of the last pull, and when it arrived here.
    echo: (u64, u64),
}

impl Default for Serving {
    fn default() -> Self {
        Self::new()
    }
}

impl Serving {
    pub fn new() -> Self {
        Self {
            welcomed: false,
            session: None,
            number: 0,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            sent: Vector::new(),
            logged: Vector::new(),
            applied: Vector::new(),
            direct: BTreeSet::new(),
            gaps: BTreeSet::new(),
            echo: (0, 0),
        }
    }

    /// What the peer holds durably, as it last said.
    pub fn logged(&self) -> &Vector {
        &self.logged
    }

    /// What was sent in the session or is held by the peer.
    pub fn sent(&self) -> &Vector {
        &self.sent
    }

    /// What the peer has applied, as it last said.
    pub fn applied(&self) -> &Vector {
        &self.applied
    }

    /// Answers a dialler's first frame.
    pub fn hello(&mut self, own: &RegionName, protocol_min: u16, protocol_max: u16) -> Frame {
        let protocol = protocol_max.min(PROTOCOL_MAX);
        if protocol < protocol_min.max(PROTOCOL_MIN) {
            let advice = match protocol_max < PROTOCOL_MIN {
                true => {
                    "the dialler is too old for this one: upgrade it, or put this one back to \
                         a version that speaks both"
                }
                false => {
                    "the dialler is too new for this one: upgrade this one, or put the \
                          dialler back to a version that speaks both"
                }
            };
            return Frame::Refuse {
                reason: format!(
                    "{own} speaks peer protocols {PROTOCOL_MIN} to {PROTOCOL_MAX}, the dialler \
                     {protocol_min} to {protocol_max}; {advice}"
                ),
                elsewhere: false,
            };
        }
        self.welcomed = true;
        Frame::Welcome { region: own.clone(), protocol }
    }

    /// Takes a pull: a new session starts from what the asker holds. Sessions of one link only
    /// grow: a pull of an earlier one was overtaken and says nothing any more.
    pub fn pull(&mut self, now: Now, pull: Pull) {
        self.welcomed = true;
        if self.session.is_some_and(|session| pull.session < session) {
            return;
        }
        if self.session != Some(pull.session) {
            self.session = Some(pull.session);
            self.number = 0;
            self.in_flight.clear();
            self.in_flight_bytes = 0;
            self.sent = Vector::new();
            self.gaps.clear();
        }
        while let Some((number, bytes)) = self.in_flight.front().copied()
            && number <= pull.received
        {
            self.in_flight.pop_front();
            self.in_flight_bytes -= bytes;
        }
        self.sent.join(&pull.logged);
        // What was told may be lost: who still lacks it hears it again.
        self.gaps.clear();
        self.logged = pull.logged;
        self.applied = pull.applied;
        self.direct = pull.direct.into_iter().collect();
        self.echo = (pull.sent_at, now.monotonic);
    }

    /// True while the peer reaches this origin's region itself.
    fn heard_directly(&self, origin: &Origin) -> bool {
        self.direct.iter().any(|region| origin.is_of(region))
    }

    /// The batches that fit the window now, of what is offered and the asker lacks; somebody waits
    /// until the events of `prompt`, an origin and a sequence, are durable at the asker.
    pub fn pump(
        &mut self,
        offered: &Vector,
        prompt: Option<(&Origin, u64)>,
        records: &dyn Records,
        out: &mut Vec<Frame>,
    ) {
        let Some(session) = self.session else { return };
        let mut progress = true;
        while progress && self.in_flight_bytes < WINDOW_BYTES {
            progress = false;
            for (origin, until) in offered.iter() {
                let from = self.sent.get(origin) + 1;
                if from > until || self.heard_directly(origin) {
                    continue;
                }
                if self.gaps.contains(origin) {
                    continue;
                }
                let Some(chunk) = records.records(origin, from, until, BATCH_BYTES) else {
                    let first = records.first(origin);
                    if from < first {
                        // What lies before must come another way.
                        self.gaps.insert(origin.clone());
                        out.push(Frame::Gap(Gap { session, origin: origin.clone(), first }));
                    }
                    continue;
                };
                self.number += 1;
                let bytes = chunk.bytes.len() as u64;
                self.in_flight.push_back((self.number, bytes));
                self.in_flight_bytes += bytes;
                self.sent.set(origin, chunk.last);
                progress = true;
                out.push(Frame::Batch {
                    session,
                    number: self.number,
                    origin: origin.clone(),
                    records: chunk.bytes,
                    prompt: prompt.is_some_and(|(of, until)| of == origin && from <= until),
                });
                if self.in_flight_bytes >= WINDOW_BYTES {
                    break;
                }
            }
        }
    }

    /// True if the peer said within `longest` milliseconds what it holds.
    pub fn is_fresh(&self, now: Now, longest: u64) -> bool {
        let (_, arrived_at) = self.echo;
        self.session.is_some() && now.monotonic.saturating_sub(arrived_at) <= longest
    }

    /// A beat, once the dialler is welcome.
    pub fn beat(&self, now: Now, news: News) -> Option<Frame> {
        self.welcomed.then(|| Frame::Beat {
            session: self.session.unwrap_or(0),
            number: self.number,
            echo: match self.echo {
                (0, _) => 0,
                (sent_at, arrived_at) => sent_at + now.monotonic.saturating_sub(arrived_at),
            },
            news,
        })
    }
}
