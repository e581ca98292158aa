//! Arbitrary bytes for everything that reads what others wrote: peers, clients, disks, operators.
//!
//! Each target takes bytes and holds what it does with them against what must be so; a panic is a
//! finding. `cargo xtask fuzz` drives them by coverage; the corpora that it finds lie under
//! `corpus/` and run with the tests. What always holds: a target does the same for the same bytes.

mod segments;

use linckia_model::{
    Dot, Hlc, KeyState, Origin, Policy, RegionName, SessionKeys, Vector, decode_event,
};
use linckia_ship::{Encoder, decode, decode_cut};

/// Takes bytes of somebody.
pub type Target = fn(&[u8]);

/// Everything that is fuzzed, by the name of its corpus.
pub const TARGETS: [(&str, Target); 7] = [
    ("frames", frames),
    ("events", events),
    ("states", states),
    ("requests", requests),
    ("texts", texts),
    ("tokens", tokens),
    ("segments", segments::segments),
];

/// Bytes of a peer. A frame that is understood comes through encoding once more.
fn frames(bytes: &[u8]) {
    let _ = decode_cut(bytes);
    let Ok(frame) = decode(bytes) else { return };
    let mut encoder = Encoder::default();
    let again = encoder.encode(&frame);
    assert_eq!(decode(&again).expect("what was encoded is understood"), frame);
}

/// The payload of a record.
fn events(bytes: &[u8]) {
    let origin = Origin::parse("a.0000000000000001").expect("it is an origin");
    let Ok(event) = decode_event(Dot::new(origin, 1), bytes, &Vector::new()) else { return };
    let _ = (event.weight(), event.stamp(), event.abridged());
    assert!(event.same_content(&event));
}

/// The row of a key.
fn states(bytes: &[u8]) {
    let Ok(state) = KeyState::decode(bytes, &Vector::new()) else { return };
    let _ = (state.folded(), state.shown(), state.needs_from(), state.records().count());
}

/// The body of a request.
fn requests(bytes: &[u8]) {
    linckia_api::accept_arbitrary(bytes);
    if let Ok(value) = serde_json::from_slice(bytes) {
        let _ = Policy::from_json(&value);
    }
}

/// What stands in paths, headers, files and rows as text.
fn texts(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    fn again<T: ToString + PartialEq>(text: &str, parse: impl Fn(&str) -> Option<T>) {
        if let Some(value) = parse(text) {
            assert!(parse(&value.to_string()).is_some_and(|again| again == value), "{text:?}");
        }
    }
    again(text, |text| Vector::parse(text).ok());
    again(text, |text| Dot::parse(text).ok());
    again(text, |text| Origin::parse(text).ok());
    again(text, |text| RegionName::parse(text).ok());
    again(text, |text| Hlc::parse(text).ok());
}

/// A session's token, and a file of keys.
fn tokens(bytes: &[u8]) {
    let keys = SessionKeys::of([7; 32]);
    if let Ok(token) = keys.verify(bytes, &Vector::new()) {
        assert_eq!(keys.sign(&token), bytes, "nobody else can have signed it");
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(keys) = SessionKeys::parse(text) {
        let again = SessionKeys::parse(&keys.to_text()).expect("what was written is read");
        assert_eq!(again.to_text(), keys.to_text());
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Whatever fuzzing found once.
    #[test]
    fn the_corpora_pass() {
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        for (name, target) in TARGETS {
            let files = fs::read_dir(corpora.join(name)).unwrap();
            let inputs: Vec<Vec<u8>> =
                files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
            assert!(!inputs.is_empty(), "{name} has no corpus");
            inputs.iter().for_each(|input| target(input));
        }
    }
}
