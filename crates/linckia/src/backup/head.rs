//! What a backup says of itself: first what it is, last that it is all.
//!
//! As JSON within frames. What always holds: another format is refused by its number.

use std::collections::BTreeMap;

use linckia_control::Roster;
use linckia_model::{Origin, Vector};
use serde::{Deserialize, Serialize};

/// Of what stands here, and of the frames that it stands among.
pub(crate) const FORMAT: u32 = 1;

/// The part of every manifest and head that no version changes.
#[derive(Deserialize)]
struct Stated {
    format: u32,
}

/// What is wrong with bytes that say another format than this version reads, if they do.
pub(crate) fn other_format(json: &[u8]) -> Option<String> {
    let found = serde_json::from_slice::<Stated>(json).ok()?.format;
    let said = format!(
        "it is of backup format {found}, and this version reads format {FORMAT}: use the version \
         that took it"
    );
    (found != FORMAT).then_some(said)
}

/// Sequences by origin.
pub(crate) type Logs = BTreeMap<String, u64>;

/// The first frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Head {
    pub(crate) format: u32,
    /// Which region gives it.
    pub(crate) region: String,
    /// None where it goes on from another backup.
    pub(crate) state: Option<State>,
    /// Records follow behind this.
    pub(crate) after: Logs,
    /// Everything up to there is in it, or in the backup before.
    pub(crate) upto: Logs,
    /// Of every region all events up to that hybrid time are in it.
    pub(crate) complete: u64,
    /// No event in it is later than that hybrid time.
    pub(crate) latest: u64,
    /// What the fleet had agreed on.
    pub(crate) roster: Roster,
}

/// Of the rows that follow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct State {
    /// Nothing in them is later than that hybrid time.
    pub(crate) hlc: u64,
    /// What they take on the region's disk, about.
    pub(crate) bytes: u64,
    /// Where the logs begin.
    pub(crate) bases: Vec<Base>,
}

/// A log begins behind that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Base {
    pub(crate) origin: String,
    pub(crate) sequence: u64,
    /// The chain there, as hexadecimal digits.
    pub(crate) chain: String,
}

/// The last frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct End {
    /// Frames of rows, and records.
    pub(crate) pages: u64,
    pub(crate) records: u64,
}

/// A vector as JSON.
pub(crate) fn logs_of(vector: &Vector) -> Logs {
    vector.iter().map(|(origin, sequence)| (origin.to_string(), sequence)).collect()
}

/// The inverse; none if a name is no origin's.
pub(crate) fn vector_of(logs: &Logs) -> Option<Vector> {
    let each = logs.iter().map(|(name, sequence)| Some((Origin::parse(name).ok()?, *sequence)));
    each.collect()
}

/// As hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The inverse for a chain.
pub(crate) fn unhex(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_are_written_and_read() {
        let chain = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 250, 251, 252, 253, 254];
        assert_eq!(unhex(&hex(&chain)), Some(chain));
        assert_eq!(unhex("00"), None);
        assert_eq!(unhex(&"g".repeat(32)), None);
    }
}
