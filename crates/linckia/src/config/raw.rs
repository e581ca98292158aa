//! The words of `linckia.toml` before they mean anything, each with its place in the file.
//!
//! Where it stands: `toml` fills these, `rules.rs` turns them into checked values. What always
//! holds: every key that exists is here and no other is accepted; nothing has a default yet.

use serde::Deserialize;
use toml::Spanned;

/// A word that may be absent.
pub(super) type Word = Option<Spanned<String>>;
/// A count that may be absent.
pub(super) type Count = Option<Spanned<u64>>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    pub region: Word,
    pub dir: Word,
    pub witness: Option<Spanned<bool>>,
    pub door: Option<Spanned<RawDoor>>,
    pub peer: Option<Spanned<RawPeer>>,
    #[serde(default)]
    pub peers: Vec<Spanned<RawPeerAddress>>,
    #[serde(default)]
    pub log: RawLog,
    #[serde(default)]
    pub store: RawStore,
    #[serde(default)]
    pub clock: RawClock,
    #[serde(default)]
    pub apply: RawApply,
    #[serde(default)]
    pub ship: RawShip,
    #[serde(default)]
    pub repair: RawRepair,
    #[serde(default)]
    pub session: RawSession,
    #[serde(default)]
    pub telemetry: RawTelemetry,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTelemetry {
    pub otlp: Word,
    pub sampled: Word,
    pub lines: Word,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDoor {
    pub listen: Word,
    pub certificate: Word,
    pub key: Word,
    pub client_ca: Word,
    pub token_file: Word,
    pub body_max: Word,
    pub events_per_array_max: Count,
    pub depth_max: Count,
    pub name_bytes_max: Count,
    pub connections_max: Count,
    pub idle_timeout: Word,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPeer {
    pub listen: Word,
    pub certificate: Word,
    pub key: Word,
    pub ca: Word,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPeerAddress {
    pub region: Word,
    pub address: Word,
    #[serde(default)]
    pub witness: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLog {
    pub bytes_max: Word,
    pub history_bytes_max: Word,
    pub disk_reserve: Word,
    pub segment_bytes_first: Word,
    pub segment_bytes_max: Word,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStore {
    pub cache: Word,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawClock {
    pub epsilon: Word,
    pub offset: Word,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawApply {}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawShip {
    pub gather: Word,
    pub linger: Word,
    pub heartbeat: Word,
    pub lapse_after: Word,
    pub lapse_at: Word,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRepair {
    pub compare: Word,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSession {
    pub keys: Word,
}
