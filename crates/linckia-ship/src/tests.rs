//! Both ends of a link, joined by hand: sessions, gaps, windows, and frames as bytes.

use std::collections::BTreeMap;

use linckia_model::{Heartbeat, Hlc, Now, Origin, RegionName, Vector};

use crate::{
    Base, Chunk, Cut, Encoder, Forward, Forwarded, Frame, Gap, News, PROTOCOL_MAX, PROTOCOL_MIN,
    Page, Pull, Pulling, Reaction, Records, Serving, SnapshotPull, decode,
};

fn region(name: &str) -> RegionName {
    RegionName::parse(name).unwrap()
}

fn origin(name: &str) -> Origin {
    Origin::new(&region(name), 1, 0)
}

/// Every record is `size` bytes.
struct Log {
    first: u64,
    size: usize,
    last: BTreeMap<Origin, u64>,
}

impl Records for Log {
    fn first(&self, _: &Origin) -> u64 {
        self.first
    }

    fn records(&self, origin: &Origin, from: u64, until: u64, bytes_max: u64) -> Option<Chunk> {
        let last = until.min(*self.last.get(origin)?);
        if from < self.first {
            return None;
        }
        let count = (bytes_max / self.size as u64).max(1);
        let last = last.min(from + count - 1);
        (from <= last)
            .then(|| Chunk { bytes: vec![7; self.size * (last - from + 1) as usize], last })
    }
}

fn at(milliseconds: u64) -> Now {
    Now { wall: 0, monotonic: milliseconds }
}

/// A link whose dialler was welcomed.
fn link() -> (Pulling, Serving) {
    let (mut pulling, mut serving) =
        (Pulling::new(region("b"), origin("b"), String::new(), 1), Serving::new());
    let Frame::Hello { protocol_min, protocol_max, .. } = pulling.opened(at(0)) else {
        panic!("the dialler says hello first")
    };
    let welcome = serving.hello(&region("a"), protocol_min, protocol_max);
    assert_eq!(pulling.receive(at(1), welcome), Reaction::Nothing);
    (pulling, serving)
}

fn ask(pulling: &mut Pulling, serving: &mut Serving, now: u64, logged: &Vector) {
    ask_with(pulling, serving, now, logged, &[]);
}

fn ask_with(
    pulling: &mut Pulling,
    serving: &mut Serving,
    now: u64,
    logged: &Vector,
    direct: &[RegionName],
) {
    let bits = u64::from(!direct.is_empty());
    if !pulling.due(at(now), bits) {
        return;
    }
    if let Frame::Pull(pull) = pulling.ask(at(now), logged, logged, bits, direct.to_vec(), true) {
        serving.pull(at(now), pull);
    }
}

fn vector(name: &str, sequence: u64) -> Vector {
    [(origin(name), sequence)].into_iter().collect()
}

#[test]
fn everything_beyond_the_vector_comes_once() {
    let (mut pulling, mut serving) = link();
    let log = Log { first: 1, size: 100, last: [(origin("a"), 10)].into() };
    ask(&mut pulling, &mut serving, 100, &vector("a", 4));
    let mut out = Vec::new();
    serving.pump(&vector("a", 10), None, &log, &mut out);
    serving.pump(&vector("a", 10), None, &log, &mut out);
    assert_eq!(out.len(), 1);
    let Reaction::Append { records, .. } = pulling.receive(at(101), out.remove(0)) else {
        panic!("a batch is appended")
    };
    assert_eq!(records.len(), 600);
}

#[test]
fn a_lost_batch_starts_a_new_session() {
    let (mut pulling, mut serving) = link();
    let log = Log { first: 1, size: 1 << 20, last: [(origin("a"), 3)].into() };
    ask(&mut pulling, &mut serving, 100, &Vector::new());
    let mut out = Vec::new();
    serving.pump(&vector("a", 3), None, &log, &mut out);
    assert_eq!(out.len(), 3);
    assert_eq!(pulling.receive(at(101), out.remove(1)), Reaction::Nothing);
    ask(&mut pulling, &mut serving, 200, &Vector::new());
    out.clear();
    serving.pump(&vector("a", 3), None, &log, &mut out);
    assert_eq!(out.len(), 3, "the new session begins at what is held");
    for frame in out {
        assert!(matches!(pulling.receive(at(201), frame), Reaction::Append { .. }));
    }
}

#[test]
fn who_lacks_what_was_let_go_of_is_told_once_where_the_log_begins() {
    let (mut pulling, mut serving) = link();
    let log = Log { first: 4, size: 10, last: [(origin("a"), 9)].into() };
    for now in [100, 200] {
        ask(&mut pulling, &mut serving, now, &vector("a", 2));
        let mut out = Vec::new();
        serving.pump(&vector("a", 9), None, &log, &mut out);
        serving.pump(&vector("a", 9), None, &log, &mut out);
        let gap = Gap { session: 0, origin: origin("a"), first: 4 };
        let told = pulling.receive(at(now + 1), out.remove(0));
        assert!(matches!(told, Reaction::Gap(it) if Gap { session: 0, ..it.clone() } == gap));
        assert!(out.is_empty());
        // A new session hears it again.
        pulling.start_over();
    }
    ask(&mut pulling, &mut serving, 300, &vector("a", 3));
    let mut out = Vec::new();
    serving.pump(&vector("a", 9), None, &log, &mut out);
    assert!(matches!(out[..], [Frame::Batch { .. }]));
}

#[test]
fn a_beat_tells_of_a_lost_last_batch() {
    let (mut pulling, mut serving) = link();
    let log = Log { first: 1, size: 10, last: [(origin("a"), 3)].into() };
    ask(&mut pulling, &mut serving, 100, &Vector::new());
    serving.pump(&vector("a", 3), None, &log, &mut Vec::new());
    let beat = serving.beat(at(150), News { wall: Some(5), ..News::default() }).unwrap();
    pulling.receive(at(101), beat);
    ask(&mut pulling, &mut serving, 200, &Vector::new());
    let mut out = Vec::new();
    serving.pump(&vector("a", 3), None, &log, &mut out);
    assert_eq!(out.len(), 1);
}

#[test]
fn the_round_trip_leaves_out_how_long_the_other_end_waited() {
    let (mut pulling, mut serving) = link();
    ask(&mut pulling, &mut serving, 100, &Vector::new());
    let beat = serving.beat(at(350), News::default()).unwrap();
    pulling.receive(at(430), beat);
    assert_eq!(pulling.round_trip_milliseconds(), Some(80));
}

#[test]
fn what_is_in_flight_is_bounded() {
    let (mut pulling, mut serving) = link();
    let log = Log { first: 1, size: 1 << 20, last: [(origin("a"), 100)].into() };
    ask(&mut pulling, &mut serving, 100, &Vector::new());
    let mut out = Vec::new();
    serving.pump(&vector("a", 100), None, &log, &mut out);
    assert_eq!(out.len(), 16);
    pulling.receive(at(101), out.remove(0));
    ask(&mut pulling, &mut serving, 200, &vector("a", 1));
    out.clear();
    serving.pump(&vector("a", 100), None, &log, &mut out);
    assert_eq!(out.len(), 1, "one received makes room for one");
}

#[test]
fn a_region_heard_directly_is_not_relayed_until_it_is_silent() {
    let (mut pulling, mut serving) = link();
    let log = Log { first: 1, size: 10, last: [(origin("c"), 3)].into() };
    let none = Vector::new();
    ask_with(&mut pulling, &mut serving, 100, &none, &[region("c")]);
    let mut out = Vec::new();
    serving.pump(&vector("c", 3), None, &log, &mut out);
    assert!(out.is_empty());
    ask(&mut pulling, &mut serving, 101, &none);
    serving.pump(&vector("c", 3), None, &log, &mut out);
    assert_eq!(out.len(), 1);
}

#[test]
fn the_highest_protocol_that_both_speak_is_taken() {
    for (min, max) in [(1, PROTOCOL_MAX), (PROTOCOL_MIN, PROTOCOL_MAX + 9)] {
        let welcome = Serving::new().hello(&region("a"), min, max);
        assert_eq!(welcome, Frame::Welcome { region: region("a"), protocol: PROTOCOL_MAX });
    }
}

#[test]
fn protocols_that_do_not_meet_are_refused_with_advice() {
    let (old, new) = ((1, PROTOCOL_MIN - 1), (PROTOCOL_MAX + 1, PROTOCOL_MAX + 2));
    for ((min, max), advice) in [(old, "too old"), (new, "too new")] {
        let Frame::Refuse { reason, .. } = Serving::new().hello(&region("a"), min, max) else {
            panic!("no common protocol")
        };
        let speaks = format!("protocols {PROTOCOL_MIN} to {PROTOCOL_MAX}");
        assert!(reason.contains(&speaks) && reason.contains(&format!("{min} to {max}")));
        assert!(reason.contains(advice) && reason.contains("upgrade"), "{reason}");
    }
}

#[test]
fn a_protocol_that_was_not_offered_is_no_welcome() {
    let mut pulling = Pulling::new(region("b"), origin("b"), String::new(), 1);
    pulling.opened(at(0));
    let welcome = Frame::Welcome { region: region("a"), protocol: PROTOCOL_MAX + 1 };
    assert!(matches!(pulling.receive(at(1), welcome), Reaction::Refused(_, false)));
    assert!(!pulling.due(at(2), 0), "nothing is asked of it");
}

#[test]
fn frames_survive_their_bytes() {
    let heartbeat = Heartbeat {
        origin: origin("a"),
        after: 7,
        hlc: Hlc::from_bits(99),
        deps: vector("a", 7),
        epoch: 3,
    };
    let pull = Pull {
        session: 3,
        received: 4,
        origin: origin("b"),
        logged: vector("a", 9),
        applied: vector("a", 8),
        direct: vec![region("c")],
        sent_at: 12,
        holds: true,
    };
    let batch = |records| Frame::Batch {
        session: 1,
        number: 2,
        origin: origin("a"),
        records,
        prompt: true,
    };
    for frame in [
        Frame::Hello {
            region: region("a"),
            protocol_min: 1,
            protocol_max: 2,
            place: "host:/a".to_owned(),
        },
        Frame::Welcome { region: region("a"), protocol: 1 },
        Frame::Refuse { reason: "no".to_owned(), elsewhere: true },
        Frame::Pull(pull),
        batch(vec![1, 2, 3]),
        batch(vec![0; 100_000]),
        Frame::Forward {
            number: 9,
            forward: Forward {
                method: "POST".to_owned(),
                target: "/v1/events?atomic=true".to_owned(),
                headers: vec![("content-type".to_owned(), b"application/json".to_vec())],
                body: b"{}".to_vec(),
                actor: Some("somebody".into()),
            },
        },
        Frame::Consult { number: 3, question: b"who?".to_vec() },
        Frame::Gap(Gap { session: 3, origin: origin("a"), first: 9 }),
        Frame::SnapshotPull(SnapshotPull {
            snapshot: 7,
            received: 2,
            place: vec![1, 2],
            again: true,
            gone: vector("a", 3),
        }),
        Frame::Cut(Cut {
            snapshot: 7,
            at: vector("a", 12),
            bases: vec![Base { origin: origin("a"), sequence: 9, chain: [4; 16] }],
            hlc: Hlc::from_bits(77),
            bytes: 1 << 30,
        }),
        Frame::NoSnapshot { snapshot: 7 },
        Frame::Page(Page { snapshot: 7, number: 3, rows: vec![7; 5_000], place: Vec::new() }),
        Frame::Consulted { number: 3, answer: Vec::new() },
        Frame::Forwarded {
            number: 9,
            forwarded: Forwarded { status: 201, headers: Vec::new(), body: b"[]".to_vec() },
        },
        Frame::Beat {
            session: 1,
            number: 2,
            echo: 4,
            news: News {
                heartbeats: vec![heartbeat],
                wall: Some(0),
                applied: vector("a", 2),
                held: vec![(region("c"), vector("a", 1))],
            },
        },
    ] {
        let bytes = Encoder::new().encode(&frame);
        assert_eq!(decode(&bytes).unwrap(), frame);
        for end in 0..bytes.len().min(200) {
            let open = matches!(frame, Frame::Batch { .. } | Frame::Page(_));
            match decode(&bytes[..end]) {
                Err(_) => {}
                // As another protocol says it.
                Ok(Frame::Hello { place, .. }) => assert_eq!(place, ""),
                Ok(Frame::Refuse { elsewhere, .. }) => assert!(!elsewhere),
                Ok(_) => assert!(open),
            }
        }
    }
    assert!(
        Encoder::new().encode(&batch(vec![0; 100_000])).len() < 1_000,
        "records are compressed"
    );
}
