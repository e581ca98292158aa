//! What the kept frames say: every kind, every question and answer, every operation, and each part
//! that may be absent once there and once not.
//!
//! What always holds: nothing here is drawn or read from a clock, so the bytes are the same in
//! every build.

use linckia_model::{
    Dot, Event, Extras, Heartbeat, Hlc, Identity, Key, Operation, Origin, RegionName, Transaction,
    Vector,
};
use linckia_ship::{
    Ask, BRIEF_BYTES, Base, Copied, Cut, Differing, Forward, Forwarded, Frame, Gap, News, Page,
    Pull, Section, Seen, SnapshotPull, Tell,
};
use serde_json::json;

/// As many as [`kind`] tells apart.
pub const KINDS: usize = 22;

/// A frame of a kind that does not stand here does not compile; one that has no fixture fails.
pub fn kind(frame: &Frame) -> &'static str {
    match frame {
        Frame::Hello { .. } => "hello",
        Frame::Welcome { .. } => "welcome",
        Frame::Refuse { .. } => "refuse",
        Frame::Pull(_) => "pull",
        Frame::Batch { .. } => "batch",
        Frame::Forward { .. } => "forward",
        Frame::Forwarded { .. } => "forwarded",
        Frame::Consult { .. } => "consult",
        Frame::Consulted { .. } => "consulted",
        Frame::Beat { .. } => "beat",
        Frame::Gap(_) => "gap",
        Frame::SnapshotPull(_) => "snapshot-pull",
        Frame::Cut(_) => "cut",
        Frame::Page(_) => "page",
        Frame::NoSnapshot { .. } => "no-snapshot",
        Frame::Compare { ask: Ask::Page { .. }, .. } => "compare-page",
        Frame::Compare { ask: Ask::Look { .. }, .. } => "compare-look",
        Frame::Compare { ask: Ask::Fetch { .. }, .. } => "compare-fetch",
        Frame::Compared { tell: Tell::NotNow, .. } => "compared-not-now",
        Frame::Compared { tell: Tell::Page { .. }, .. } => "compared-page",
        Frame::Compared { tell: Tell::Look { .. }, .. } => "compared-look",
        Frame::Compared { tell: Tell::Fetch { .. }, .. } => "compared-fetch",
    }
}

fn region(name: &str) -> RegionName {
    RegionName::parse(name).unwrap()
}

fn origin(name: &str) -> Origin {
    Origin::new(&region(name), 0xa1, 0)
}

fn vector(entries: &[(&str, u64)]) -> Vector {
    entries.iter().map(|(name, sequence)| (origin(name), *sequence)).collect()
}

/// By name: that of its kind, and what is particular about it.
pub fn frames() -> Vec<(String, Frame)> {
    let all = [links(), batches(), doors(), snapshots(), comparisons()].concat();
    all.into_iter()
        .map(|(particular, frame)| match particular {
            "" => (kind(&frame).to_owned(), frame),
            particular => (format!("{}-{particular}", kind(&frame)), frame),
        })
        .collect()
}

fn links() -> Vec<(&'static str, Frame)> {
    let heartbeat = Heartbeat {
        origin: origin("b"),
        after: 7,
        hlc: Hlc::from_bits(99),
        deps: vector(&[("a", 3), ("b", 7)]),
        epoch: 3,
    };
    let hello = |place: &str| Frame::Hello {
        region: region("region-a"),
        protocol_min: 7,
        protocol_max: 7,
        place: place.to_owned(),
    };
    let refuse = |elsewhere| Frame::Refuse { reason: "it is alive at b:/c".to_owned(), elsewhere };
    let pull = |direct, holds| {
        Frame::Pull(Pull {
            session: 300,
            received: 4,
            origin: origin("a"),
            logged: vector(&[("a", 9), ("b", 200)]),
            applied: vector(&[("a", 9), ("b", 150)]),
            direct,
            sent_at: 12_345,
            holds,
        })
    };
    let beat = |news| Frame::Beat { session: 300, number: 5, echo: 70_000, news };
    let news = News {
        heartbeats: vec![heartbeat],
        wall: Some(1_795_000_000_000),
        applied: vector(&[("b", 7)]),
        held: vec![(region("region-c"), vector(&[("b", 6)]))],
    };
    vec![
        ("", hello("host:/srv/a")),
        ("without-place", hello("")),
        ("", Frame::Welcome { region: region("region-b"), protocol: 7 }),
        ("", refuse(true)),
        ("not-elsewhere", refuse(false)),
        ("", pull(vec![region("region-c"), region("region-d")], true)),
        ("without-state", pull(Vec::new(), false)),
        ("", beat(news)),
        ("without-wall", beat(News::default())),
    ]
}

fn batches() -> Vec<(&'static str, Frame)> {
    let batch = |records, prompt| Frame::Batch {
        session: 300,
        number: 5,
        origin: origin("a"),
        records,
        prompt,
    };
    vec![
        ("", batch(vec![1, 2, 3], true)),
        ("not-prompt", batch(vec![4], false)),
        ("compressed", batch(vec![7; 5_000], false)),
        ("", Frame::Gap(Gap { session: 300, origin: origin("a"), first: 1_000 })),
    ]
}

fn doors() -> Vec<(&'static str, Frame)> {
    let forward = |actor, body: &[u8]| Frame::Forward {
        number: 9,
        forward: Forward {
            method: "POST".to_owned(),
            target: "/v1/events?atomic=true".to_owned(),
            headers: vec![("content-type".to_owned(), b"application/json".to_vec())],
            body: body.to_vec(),
            actor,
        },
    };
    let forwarded = |headers| Frame::Forwarded {
        number: 9,
        forwarded: Forwarded { status: 201, headers, body: b"[]".to_vec() },
    };
    vec![
        ("", forward(Some("somebody".into()), b"{}")),
        ("without-actor", forward(None, b"")),
        ("", forwarded(vec![("etag".to_owned(), b"\"x\"".to_vec())])),
        ("without-headers", forwarded(Vec::new())),
        ("", Frame::Consult { number: 3, question: b"who?".to_vec() }),
        ("", Frame::Consulted { number: 3, answer: b"me".to_vec() }),
    ]
}

fn snapshots() -> Vec<(&'static str, Frame)> {
    let asked = |again, gone| {
        let (place, snapshot) = (vec![1, 2], 7);
        Frame::SnapshotPull(SnapshotPull { snapshot, received: 2, place, again, gone })
    };
    let cut = |bases| {
        let (at, hlc) = (vector(&[("a", 12), ("b", 1)]), Hlc::from_bits(77));
        Frame::Cut(Cut { snapshot: 7, at, bases, hlc, bytes: 1 << 30 })
    };
    let page = |rows, place| Frame::Page(Page { snapshot: 7, number: 3, rows, place });
    vec![
        ("", asked(true, vector(&[("a", 3)]))),
        ("first", asked(false, Vector::new())),
        ("", cut(vec![Base { origin: origin("a"), sequence: 9, chain: [4; 16] }])),
        ("without-bases", cut(Vec::new())),
        ("", page(vec![5; 9], vec![1, 2])),
        ("last-compressed", page(vec![7; 5_000], Vec::new())),
        ("", Frame::NoSnapshot { snapshot: 7 }),
    ]
}

fn comparisons() -> Vec<(&'static str, Frame)> {
    let compare = |ask| Frame::Compare { number: 11, epoch: 2, ask };
    let compared = |tell| Frame::Compared { number: 11, epoch: 2, tell };
    let section = Section { until: b"k".to_vec(), count: 3, hash: [7; BRIEF_BYTES] };
    let last = Section { until: Vec::new(), count: 0, hash: [0; BRIEF_BYTES] };
    let (keys, key) = (vec![b"a".to_vec(), b"b".to_vec()], b"a".to_vec());
    let rows = vec![(b"a".to_vec(), [1; BRIEF_BYTES])];
    let at = vector(&[("a", 7)]);
    let seen = |digest| Seen { digest, shown: vector(&[("a", 6)]) };
    let copied = Copied { row: vec![1, 2], records: vec![(vec![3], vec![4])] };
    let found = |found| Tell::Fetch { at: vector(&[("a", 7)]), key: b"a".to_vec(), found };
    let page = Ask::Page { from: b"f".to_vec(), sections: vec![section, last], verify: true };
    vec![
        ("", compare(page)),
        ("", compare(Ask::Look { keys, differ: true })),
        ("", compare(Ask::Fetch { key })),
        ("", compared(Tell::NotNow)),
        (
            "",
            compared(Tell::Page { differing: vec![Differing { section: 1, rows, whole: false }] }),
        ),
        ("", compared(Tell::Look { at, seen: vec![seen(Some([9; 32])), seen(None)] })),
        ("", compared(found(Some(copied)))),
        ("nothing", compared(found(None))),
    ]
}

/// Payloads of records: every operation plain, and one event with every part that may be absent.
pub fn events() -> Vec<(String, Event)> {
    let plain = |operation: Operation| Event {
        dot: Dot::new(origin("a"), 3),
        hlc: Hlc::from_milliseconds(1_795_000_000_000),
        deps: vector(&[("a", 2), ("b", 5)]),
        transaction: Transaction::single(3),
        key: Key::new("default", "Thing", "one"),
        event_type: "Changed".into(),
        operation,
        data: match operation {
            Operation::Delete => json!({}),
            Operation::Increment => json!({"count": -3}),
            Operation::Add | Operation::Remove => json!({"tags": ["x", 1, true]}),
            _ => json!({"name": "ä", "nested": {"list": [1, 2.5, null, false]}}),
        },
        ctx: None,
        identity: Identity { event_id: "id-1".into(), place: 0 },
        version: 2,
        policy_epoch: 0,
        schema_version: 0,
        extras: Extras::default(),
    };
    let named = |operation: Operation| (format!("event-{}", operation.name()), plain(operation));
    let mut events: Vec<_> = Operation::ALL.into_iter().map(named).collect();
    let whole = Event {
        transaction: Transaction { first: 2, index: 1, size: 4 },
        ctx: Some([Dot::new(origin("b"), 5), Dot::new(origin("c"), 1)].into()),
        identity: Identity { event_id: "id-2".into(), place: 1 },
        policy_epoch: 300,
        schema_version: 4,
        extras: Extras {
            actor: Some("somebody".into()),
            correlation_id: Some("job-7".into()),
            causation_id: Some("id-1".into()),
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
            source: Some("/shop".into()),
            label: Some("eu".into()),
        },
        ..plain(Operation::Put)
    };
    events.push(("event-whole".to_owned(), whole));
    events
}
