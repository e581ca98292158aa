//! One region's configuration: `linckia.toml`, read once into checked types.
//!
//! Where it stands: before everything. `linckia region` loads it and only then binds a socket or
//! opens a directory; `linckia check` loads it and stops; the fleet's supervisor writes one for
//! each of its regions. What always holds: a value of type [`Config`] has passed every rule on this
//! page and every file it names could be read; unknown keys are refused; no secret stands in it,
//! only the path of a file; after loading nobody reads the file again.
//!
//! Reading order: the types here, `config/raw.rs` (the file's words), `config/rules.rs` and
//! `config/words.rs` (words to checked values), `config/files.rs` (what lies on the disk),
//! `config/template.rs` (what `linckia init` writes), `config/units.rs`.

mod error;
mod files;
mod raw;
mod rules;
#[cfg(test)]
mod tests;
pub mod units;

mod template;
mod words;

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use error::ConfigError;
pub use template::commented_default;
pub(crate) use words::is_region_name;

/// A configuration is a page or two of text; more is another file given by mistake.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Everything that one region is told before it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The region's name, `[a-z0-9-]{1,32}`.
    pub region: String,
    /// The directory that holds its logs and its store, and that it alone writes.
    pub dir: PathBuf,
    /// It holds no data, and only its voice counts in what is agreed.
    pub witness: bool,
    /// Absent for a witness, and only there.
    pub door: Option<Door>,
    /// Present whenever `peers` is not empty.
    pub peer: Option<Peer>,
    /// Every other region, in the order of the file, each name once.
    pub peers: Vec<PeerAddress>,
    pub log: Log,
    pub store: Store,
    pub clock: Clock,
    pub apply: Apply,
    pub ship: Ship,
    pub repair: Repair,
    pub session: Session,
    pub telemetry: Telemetry,
}

/// `[door]`: the HTTP door for applications and operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    pub listen: SocketAddr,
    /// TLS is on if this is present; it always is when `listen` is not loopback.
    pub tls: Option<CertificateFiles>,
    /// Who may come in by client certificate: those this authority signed.
    pub client_ca: Option<PathBuf>,
    /// A file with the bearer token that callers present.
    pub token_file: Option<PathBuf>,
    pub body_bytes_max: u64,
    pub events_per_array_max: u32,
    pub depth_max: u32,
    pub name_bytes_max: u32,
    pub connections_max: u32,
    pub idle_timeout: Duration,
}

/// A certificate chain and its private key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// `[peer]`: where other regions come in. Always mutual TLS, on loopback too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub listen: SocketAddr,
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// The fleet's authority: both directions are checked against it.
    pub ca: PathBuf,
}

/// One of `[[peers]]`: another region and where to dial it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress {
    pub region: String,
    /// `host:port`; the host may be a name, resolved at each dial.
    pub address: String,
    /// It is a witness: nothing is replicated to it.
    pub witness: bool,
}

/// `[log]`: the durable logs of all origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// At this many bytes on disk new writes are refused.
    pub bytes_max: u64,
    /// Disk that the logs may take before they let go of what every region has.
    pub history_bytes_max: u64,
    /// Room that is kept free on the disk.
    pub disk_reserve_bytes: u64,
    pub segment_bytes_first: u64,
    pub segment_bytes_max: u64,
}

/// `[store]`: what holds now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    pub cache_bytes: u64,
}

/// `[clock]`: how far clocks may differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    pub epsilon: Duration,
    /// Added to this machine's wall clock, in milliseconds: for rehearsals only.
    pub offset_milliseconds: i64,
}

/// `[apply]`: no settings yet; the section is accepted empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Apply {}

/// `[ship]`: logs between regions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ship {
    /// How long events gather for one frame to a peer while there is a steady flow of them.
    pub gather: Duration,
    /// How long a mirror gathers before it syncs, so that it shares the disk with the own log.
    pub linger: Duration,
    /// How often an idle link says that it lives.
    pub heartbeat: Duration,
    /// A region that was not heard of for so long lapses; zero: only when an operator says so.
    pub lapse_after: Duration,
    /// From this share of the logs' bound on, whoever is away lapses; 0: not for that.
    pub lapse_at_per_million: u32,
}

/// `[repair]`: what is held, compared with the other regions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// Keys that are compared all the time; 0: only when an operator asks for it.
    pub keys_per_second: u32,
}

/// `[session]`: tokens of what clients have seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Session {
    /// The file of the keys that sign and verify them, the same in every region; without it there
    /// are no sessions.
    pub keys: Option<PathBuf>,
}

/// `[telemetry]`: what the process says of itself, beside its metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telemetry {
    /// The collector that spans are sent to, `http://host:port`; none: nothing is traced.
    pub otlp: Option<String>,
    /// Of the requests without a trace context, so many in a million are traced.
    pub sampled_per_million: u32,
    /// Log lines are JSON, not text.
    pub json_lines: bool,
}

impl Config {
    /// Reads and checks `path`, and that every file it names can be read.
    ///
    /// Relative paths in the file are taken from the file's own folder.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = read_bounded(path)?;
        let (config, named) = rules::checked(path, &text)?;
        files::check(&named)?;
        Ok(config)
    }

    /// Checks `text` as the contents of `path`, without touching the disk.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        rules::checked(path, text).map(|(config, _)| config)
    }
}

/// What `linckia check FILE` does: everything that a start would check before it binds.
pub fn check(path: &Path) -> Result<Config, ConfigError> {
    Config::load(path)
}

fn read_bounded(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |reason: String| {
        ConfigError::of_file(
            path,
            reason,
            "give the path of a linckia.toml; `linckia init` writes one".to_owned(),
        )
    };
    let file = File::open(path).map_err(|error| unreadable(format!("cannot be read: {error}")))?;
    let mut text = String::new();
    file.take(CONFIG_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| unreadable(format!("cannot be read: {error}")))?;
    if text.len() as u64 > CONFIG_BYTES_MAX {
        return Err(unreadable(format!("is larger than {}", units::bytes_text(CONFIG_BYTES_MAX))));
    }
    Ok(text)
}
