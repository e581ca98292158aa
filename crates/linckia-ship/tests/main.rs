//! Frames of every released protocol, as bytes that were kept: what an older build sends is read
//! here, and what is sent to it is what it knows.
//!
//! `protocols/<number>.txt` has a line for each: a name, and the bytes as hexadecimal digits. A
//! file is never changed once its protocol was released. That of a new protocol is written by
//! `cargo xtask fixtures`; without it, these tests fail.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "protocols/expected.rs"]
mod expected;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Once;

use linckia_model::{Event, Vector, decode_event, encode_event};
use linckia_ship::{Encoder, Error, Frame, PROTOCOL_MAX, PROTOCOL_MIN, decode};

/// Set by `cargo xtask fixtures`: files that are missing are written.
const WRITE: &str = "LINCKIA_WRITE_FIXTURES";

/// How names of compressed frames end: what another compressor makes of them may differ.
const COMPRESSED: &str = "compressed";

fn path(protocol: u16) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/protocols");
    dir.join(format!("{protocol}.txt"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

/// What is kept of a protocol, by name.
fn kept(protocol: u16) -> BTreeMap<String, Vec<u8>> {
    static WRITTEN: Once = Once::new();
    let path = path(protocol);
    if protocol == PROTOCOL_MAX && std::env::var_os(WRITE).is_some() {
        WRITTEN.call_once(|| {
            if !path.exists() {
                write(&path, protocol);
            }
        });
    }
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("{}: {error}; `cargo xtask fixtures` writes it", path.display())
    });
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let pair = |line: &str| {
        let (name, digits) = line.split_once(' ').unwrap();
        (name.to_owned(), unhex(digits))
    };
    let pairs: Vec<_> = lines.map(pair).collect();
    let count = pairs.len();
    let kept: BTreeMap<_, _> = pairs.into_iter().collect();
    assert_eq!(kept.len(), count, "a name stands twice");
    kept
}

/// Keeps what this build makes, in a file that is not there yet.
fn write(path: &Path, protocol: u16) {
    let mut text = format!("# Frames of peer protocol {protocol}, and payloads of records.\n");
    for (name, frame) in expected::frames() {
        writeln!(text, "{name} {}", hex(&Encoder::new().encode(&frame))).unwrap();
    }
    for (name, event) in expected::events() {
        writeln!(text, "{name} {}", hex(&encode_event(&event))).unwrap();
    }
    let mut file = File::create_new(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[test]
fn every_protocol_that_is_spoken_is_kept_and_read_as_it_was_meant() {
    // An older protocol has what it had: its frames are compared where they are still expected.
    for protocol in PROTOCOL_MIN..=PROTOCOL_MAX {
        let mut kept = kept(protocol);
        for (name, frame) in expected::frames() {
            let Some(bytes) = kept.remove(&name) else {
                assert!(protocol < PROTOCOL_MAX, "protocol {protocol} keeps no {name}");
                continue;
            };
            assert_eq!(decode(&bytes).unwrap(), frame, "{name} of protocol {protocol}");
            let again = Encoder::new().encode(&frame);
            if name.ends_with(COMPRESSED) {
                assert_eq!(decode(&again).unwrap(), frame, "{name}");
            } else {
                assert_eq!(hex(&again), hex(&bytes), "{name} of protocol {protocol}");
            }
        }
        for (name, event) in expected::events() {
            let Some(bytes) = kept.remove(&name) else {
                assert!(protocol < PROTOCOL_MAX, "protocol {protocol} keeps no {name}");
                continue;
            };
            let read = decode_event(event.dot.clone(), &bytes, &Vector::new()).unwrap();
            assert_eq!(read, event, "{name} of protocol {protocol}");
            assert_eq!(hex(&encode_event(&event)), hex(&bytes), "{name} of protocol {protocol}");
        }
        assert!(kept.is_empty(), "nothing is expected of {:?}", kept.keys());
    }
}

#[test]
fn every_kind_of_frame_and_every_part_of_an_event_is_kept() {
    let kept = kept(PROTOCOL_MAX);
    let first: BTreeSet<u8> = kept
        .iter()
        .filter(|(name, _)| !name.starts_with("event-"))
        .map(|(_, bytes)| bytes[0])
        .collect();
    for kind in 0..=u8::MAX {
        let is_known = !matches!(decode(&[kind]), Err(Error::Kind(_)));
        assert_eq!(first.contains(&kind), is_known, "kind {kind}");
    }
    let names: BTreeSet<&str> =
        expected::frames().iter().map(|(_, it)| expected::kind(it)).collect();
    assert_eq!(names.len(), expected::KINDS, "each kind, question and answer stands in `frames`");
    for operation in linckia_model::Operation::ALL {
        let is_there = |(_, event): &(String, Event)| event.operation == operation;
        assert!(expected::events().iter().any(is_there), "{operation:?}");
    }
}

#[test]
fn what_every_protocol_says_first_is_read_whatever_follows() {
    let kept = kept(PROTOCOL_MAX);
    // A name, the lowest and the highest number: the rest may be another protocol's.
    let mut newer = kept["hello"].clone();
    newer.extend_from_slice(b"what a later protocol adds");
    assert_eq!(decode(&newer).unwrap(), decode(&kept["hello"]).unwrap());
    let mut bare = linckia_model::Writer::default();
    bare.byte(1);
    bare.text("region-a");
    bare.number(9);
    bare.number(70_000);
    let mut otherwise = bare.0.clone();
    otherwise.extend_from_slice(&[0xff; 4]);
    for bytes in [&bare.0, &otherwise] {
        let Frame::Hello { protocol_min, protocol_max, place, .. } = decode(bytes).unwrap() else {
            panic!("it is no hello")
        };
        assert_eq!((protocol_min, protocol_max, place.as_str()), (9, u16::MAX, ""));
    }
    let mut newer = kept["refuse"].clone();
    newer.extend_from_slice(b"what a later protocol adds");
    assert_eq!(decode(&newer).unwrap(), decode(&kept["refuse"]).unwrap());
    let mut newer = kept["welcome"].clone();
    newer.extend_from_slice(b"what a later protocol adds");
    assert_eq!(decode(&newer).unwrap(), decode(&kept["welcome"]).unwrap());
}
