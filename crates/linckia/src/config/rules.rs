//! From the file's words to checked values: every rule of a configuration, in the file's order.
//!
//! Where it stands: between `raw.rs` and [`Config`]. What always holds: it is pure (the disk is
//! looked at in `files.rs`); the first fault is reported with its line, and the message says what
//! to write instead.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use toml::Spanned;

use super::error::ConfigError;
use super::files::NamedFile;
use super::raw::{
    RawConfig, RawDoor, RawLog, RawPeer, RawPeerAddress, RawRepair, RawSession, RawShip,
    RawTelemetry, Word,
};
use super::units::{offset_text, parse_offset, parse_rate, parse_share, rate_text, share_text};
use super::words::{Checked, Words};
use super::{
    Apply, CertificateFiles, Clock, Config, Door, Log, Peer, PeerAddress, Repair, Session, Ship,
    Store, Telemetry, template,
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// A body is at most one transaction, which must fit a segment and, sent on, a frame.
const BODY_BYTES_MAX: u64 = 12 * MIB;

/// A clock that is more than a year off rehearses nothing new.
const OFFSET_MILLISECONDS_MAX: i64 = 366 * 24 * 3_600_000;

const ADVICE_EVERY_SETTING: &str = "`linckia init` writes a file with every setting explained";

/// Reads `text`; also gives the files it names, so that the caller can look at them.
pub(super) fn checked(path: &Path, text: &str) -> Result<(Config, Vec<NamedFile>), ConfigError> {
    let raw = toml::from_str::<RawConfig>(text).map_err(|error| of_toml(path, text, &error))?;
    let mut words = Words::new(path, text);
    let config = words.config(raw)?;
    Ok((config, words.named))
}

/// What the parser refused, in the form of every other fault.
fn of_toml(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let reason = error.message().trim_end().replace('\n', ", ");
    let advice = if reason.contains("unknown field") {
        format!("correct the name or remove the line; {ADVICE_EVERY_SETTING}")
    } else if reason.contains("expected a string") {
        "write the value in quotes; sizes and times carry their unit, as in \"8MiB\" or \"30s\""
            .to_owned()
    } else {
        ADVICE_EVERY_SETTING.to_owned()
    };
    ConfigError::at(path, text, error.span().unwrap_or(0..0), reason, advice)
}

impl Words<'_> {
    fn config(&mut self, raw: RawConfig) -> Checked<Config> {
        let start = 0..0;
        let region = self.region(raw.region.as_ref(), &start, "region")?;
        let dir = self.required(raw.dir.as_ref(), &start, "dir", "dir = \"./data\"")?;
        let dir = self.path_of(&dir);
        let witness = raw.witness.as_ref().is_some_and(|witness| *witness.get_ref());
        let door = match &raw.door {
            Some(door) if witness => {
                return Err(self.fault(
                    &door.span(),
                    "a witness holds no data and has no door",
                    "remove the section [door], or `witness = true`",
                ));
            }
            Some(door) => Some(self.door(door)?),
            None if witness => None,
            None => {
                return Err(self.fault(
                    &start,
                    "the section [door] is missing",
                    "add [door] with listen = \"127.0.0.1:7401\"",
                ));
            }
        };
        let peer = raw.peer.as_ref().map(|peer| self.peer(peer)).transpose()?;
        let peers = self.peers(&raw.peers, &region)?;
        if let (None, Some(first)) = (&peer, raw.peers.first()) {
            return Err(self.fault(
                &first.span(),
                "there are [[peers]] but no section [peer]",
                "add [peer] with listen, certificate, key and ca: regions only use mutual TLS",
            ));
        }
        if let (Some(peer), Some(raw_peer)) = (&peer, &raw.peer)
            && door.as_ref().is_some_and(|door| door.listen == peer.listen)
            && peer.listen.port() != 0
        {
            return Err(self.fault(
                &raw_peer.span(),
                format!("[peer] and [door] both listen on {}", peer.listen),
                "give each its own port",
            ));
        }
        if witness && peers.is_empty() {
            return Err(self.fault(
                &raw.witness.as_ref().map_or(start.clone(), Spanned::span),
                "a witness alone is a witness of nothing",
                "add [peer] and the regions as [[peers]]",
            ));
        }
        let cache = self.bytes(&raw.store.cache, template::STORE_CACHE, MIB..=TIB)?;
        let epsilon = Duration::from_millis(1)..=Duration::from_secs(60);
        let epsilon = self.duration(&raw.clock.epsilon, template::CLOCK_EPSILON, epsilon)?;
        let far = OFFSET_MILLISECONDS_MAX;
        let offset = self.measured(
            &raw.clock.offset,
            template::CLOCK_OFFSET,
            &(-far..=far),
            parse_offset,
            |offset| offset_text(*offset),
        )?;
        let super::raw::RawApply {} = raw.apply;
        Ok(Config {
            region,
            dir,
            witness,
            door,
            peer,
            peers,
            log: self.log(&raw.log)?,
            store: Store { cache_bytes: cache },
            clock: Clock { epsilon, offset_milliseconds: offset },
            apply: Apply {},
            ship: self.ship(&raw.ship)?,
            repair: self.repair(&raw.repair)?,
            session: self.session(&raw.session),
            telemetry: self.telemetry(&raw.telemetry)?,
        })
    }

    fn session(&mut self, raw: &RawSession) -> Session {
        Session { keys: self.file(raw.keys.as_ref(), "the keys of session tokens") }
    }

    fn door(&mut self, raw: &Spanned<RawDoor>) -> Checked<Door> {
        let (section, raw) = (raw.span(), raw.get_ref());
        let listen = self.listen(raw.listen.as_ref(), &section, "door.listen", "127.0.0.1:7401")?;
        let certificate = self.file(raw.certificate.as_ref(), "the certificate chain of the door");
        let key = self.file(raw.key.as_ref(), "the private key of the door");
        let client_ca = self.file(raw.client_ca.as_ref(), "the authority of client certificates");
        let token_file = self.file(raw.token_file.as_ref(), "the file with the token");
        let tls = match (certificate, key) {
            (Some(certificate), Some(key)) => Some(CertificateFiles { certificate, key }),
            (None, None) => None,
            (Some(_), None) => {
                return Err(self.half(&raw.certificate, &section, "certificate", "key"));
            }
            (None, Some(_)) => return Err(self.half(&raw.key, &section, "key", "certificate")),
        };
        if tls.is_none() && client_ca.is_some() {
            return Err(self.half(&raw.client_ca, &section, "client_ca", "certificate and key"));
        }
        self.door_is_safe(raw, &section, listen, tls.is_some(), client_ca.is_some())?;
        let idle = Duration::from_secs(1)..=Duration::from_secs(86_400);
        Ok(Door {
            listen,
            tls,
            client_ca,
            token_file,
            body_bytes_max: self.bytes(
                &raw.body_max,
                template::DOOR_BODY_MAX,
                KIB..=BODY_BYTES_MAX,
            )?,
            events_per_array_max: self.count(
                &raw.events_per_array_max,
                template::DOOR_EVENTS_PER_ARRAY_MAX,
                1..=1_000_000,
            )?,
            depth_max: self.count(&raw.depth_max, template::DOOR_DEPTH_MAX, 2..=128)?,
            name_bytes_max: self.count(
                &raw.name_bytes_max,
                template::DOOR_NAME_BYTES_MAX,
                16..=4_096,
            )?,
            connections_max: self.count(
                &raw.connections_max,
                template::DOOR_CONNECTIONS_MAX,
                16..=1_000_000,
            )?,
            idle_timeout: self.duration(&raw.idle_timeout, template::DOOR_IDLE_TIMEOUT, idle)?,
        })
    }

    /// Outside loopback nobody comes in unencrypted, and nobody comes in unknown.
    fn door_is_safe(
        &self,
        raw: &RawDoor,
        section: &Range<usize>,
        listen: SocketAddr,
        tls: bool,
        client_ca: bool,
    ) -> Checked<()> {
        let credentials = raw.token_file.is_some() || client_ca;
        if listen.ip().is_loopback() || (tls && credentials) {
            return Ok(());
        }
        let mut missing = Vec::new();
        if !tls {
            missing.push("certificate and key (TLS)");
        }
        if !credentials {
            missing.push("token_file or client_ca (who may come in)");
        }
        Err(self.fault(
            &raw.listen.as_ref().map_or(section.clone(), Spanned::span),
            format!(
                "door.listen {listen} is reachable from outside this machine, without protection"
            ),
            format!("add to [door]: {}; or listen on 127.0.0.1", missing.join(", and ")),
        ))
    }

    fn half(&self, word: &Word, section: &Range<usize>, given: &str, other: &str) -> ConfigError {
        self.fault(
            &word.as_ref().map_or(section.clone(), Spanned::span),
            format!("door.{given} is given without {other}"),
            format!("add {other} to [door], or remove {given}"),
        )
    }

    fn peer(&mut self, raw: &Spanned<RawPeer>) -> Checked<Peer> {
        let (section, raw) = (raw.span(), raw.get_ref());
        let listen = self.listen(raw.listen.as_ref(), &section, "peer.listen", "127.0.0.1:7411")?;
        let mut needed = |word: &Word, name: &str, what: &str| {
            self.file(word.as_ref(), what).ok_or_else(|| {
                self.fault(
                    &section,
                    format!("peer.{name} is missing: regions only talk over mutual TLS"),
                    format!("add {name} = \"FILE\" to [peer], {what}"),
                )
            })
        };
        Ok(Peer {
            certificate: needed(&raw.certificate, "certificate", "this region's certificate")?,
            key: needed(&raw.key, "key", "this region's private key")?,
            ca: needed(&raw.ca, "ca", "the fleet's authority")?,
            listen,
        })
    }

    fn peers(&self, raw: &[Spanned<RawPeerAddress>], own: &str) -> Checked<Vec<PeerAddress>> {
        let mut peers: Vec<PeerAddress> = Vec::with_capacity(raw.len());
        let mut names = BTreeSet::new();
        for entry in raw {
            let (section, entry) = (entry.span(), entry.get_ref());
            let region = self.region(entry.region.as_ref(), &section, "peers.region")?;
            let at = entry.region.as_ref().map_or(section.clone(), Spanned::span);
            if region == own {
                let reason = format!("\"{region}\" is this region itself");
                return Err(self.fault(&at, reason, "list only the other regions in [[peers]]"));
            }
            if !names.insert(region.clone()) {
                let reason = format!("\"{region}\" is listed twice in [[peers]]");
                return Err(self.fault(&at, reason, "remove one of the two"));
            }
            let example = "address = \"10.0.0.7:7411\"";
            let address =
                self.required(entry.address.as_ref(), &section, "peers.address", example)?;
            if !is_address(&address) {
                let at = entry.address.as_ref().map_or(section, Spanned::span);
                let reason = format!("\"{address}\" is not an address");
                return Err(self.fault(&at, reason, "write host:port, such as \"10.0.0.7:7411\""));
            }
            peers.push(PeerAddress { region, address, witness: entry.witness });
        }
        Ok(peers)
    }

    fn log(&self, raw: &RawLog) -> Checked<Log> {
        let segments = 64 * KIB..=GIB;
        let largest = 32 * MIB..=GIB;
        let bytes_max =
            self.bytes(&raw.bytes_max, template::LOG_BYTES_MAX, 16 * MIB..=1024 * TIB)?;
        let log = Log {
            bytes_max,
            history_bytes_max: match &raw.history_bytes_max {
                Some(_) => self.bytes(
                    &raw.history_bytes_max,
                    template::LOG_HISTORY_BYTES_MAX,
                    0..=1024 * TIB,
                )?,
                None => bytes_max / 4,
            },
            disk_reserve_bytes: self.bytes(
                &raw.disk_reserve,
                template::LOG_DISK_RESERVE,
                0..=1024 * TIB,
            )?,
            segment_bytes_first: self.bytes(
                &raw.segment_bytes_first,
                template::LOG_SEGMENT_BYTES_FIRST,
                segments.clone(),
            )?,
            segment_bytes_max: self.bytes(
                &raw.segment_bytes_max,
                template::LOG_SEGMENT_BYTES_MAX,
                largest,
            )?,
        };
        let at = |word: &Word| word.as_ref().map_or(0..0, Spanned::span);
        if log.segment_bytes_first > log.segment_bytes_max {
            let word = raw.segment_bytes_first.is_some();
            let word = if word { &raw.segment_bytes_first } else { &raw.segment_bytes_max };
            return Err(self.fault(
                &at(word),
                "log.segment_bytes_first is larger than log.segment_bytes_max",
                "segments grow from the first size to the maximum: make the first the smaller",
            ));
        }
        if log.history_bytes_max > log.bytes_max / 2 {
            return Err(self.fault(
                &at(&raw.history_bytes_max),
                "log.history_bytes_max is more than half of log.bytes_max",
                "leave the other half to events that some region does not have yet: make \
                 history_bytes_max smaller or bytes_max larger",
            ));
        }
        if log.segment_bytes_max > log.bytes_max / 8 {
            let word = raw.bytes_max.is_some();
            let word = if word { &raw.bytes_max } else { &raw.segment_bytes_max };
            return Err(self.fault(
                &at(word),
                "log.bytes_max does not hold eight segments of log.segment_bytes_max",
                "make bytes_max larger or segment_bytes_max smaller",
            ));
        }
        Ok(log)
    }

    fn telemetry(&self, raw: &RawTelemetry) -> Checked<Telemetry> {
        let at = |word: &Word| word.as_ref().map_or(0..0, Spanned::span);
        let otlp = raw.otlp.as_ref().map(Spanned::get_ref);
        let address = |url: &String| url.strip_prefix("http://").is_some_and(is_address);
        if let Some(url) = otlp.filter(|url| !address(url)) {
            return Err(self.fault(
                &at(&raw.otlp),
                format!("telemetry.otlp: \"{url}\" is no address of a collector"),
                "write http://host:port; /v1/traces is added, and TLS is the collector's matter",
            ));
        }
        let lines = raw.lines.as_ref().map_or(template::TELEMETRY_LINES, |word| word.get_ref());
        if !matches!(lines, "text" | "json") {
            return Err(self.fault(
                &at(&raw.lines),
                format!("telemetry.lines: \"{lines}\" is no form of log lines"),
                "write \"text\" or \"json\"",
            ));
        }
        let share = 0..=1_000_000;
        let show = |share: &u32| share_text(*share);
        let sampled =
            self.measured(&raw.sampled, template::TELEMETRY_SAMPLED, &share, parse_share, show)?;
        Ok(Telemetry {
            otlp: otlp.cloned(),
            sampled_per_million: sampled,
            json_lines: lines == "json",
        })
    }

    fn repair(&self, raw: &RawRepair) -> Checked<Repair> {
        let (range, show) = (0..=100_000, |rate: &u32| rate_text(*rate));
        let rate = template::REPAIR_COMPARE;
        let keys_per_second = self.measured(&raw.compare, rate, &range, parse_rate, show)?;
        Ok(Repair { keys_per_second })
    }

    fn ship(&self, raw: &RawShip) -> Checked<Ship> {
        let linger = Duration::ZERO..=Duration::from_secs(1);
        let heartbeat = Duration::from_millis(10)..=Duration::from_secs(60);
        let lapse = Duration::ZERO..=Duration::from_secs(366 * 24 * 3_600);
        Ok(Ship {
            gather: self.duration(&raw.gather, template::SHIP_GATHER, linger.clone())?,
            linger: self.duration(&raw.linger, template::SHIP_LINGER, linger)?,
            heartbeat: self.duration(&raw.heartbeat, template::SHIP_HEARTBEAT, heartbeat)?,
            lapse_after: self.duration(&raw.lapse_after, template::SHIP_LAPSE_AFTER, lapse)?,
            lapse_at_per_million: self.measured(
                &raw.lapse_at,
                template::SHIP_LAPSE_AT,
                &(0..=1_000_000),
                parse_share,
                |share: &u32| share_text(*share),
            )?,
        })
    }
}

/// `host:port` with a port other than zero; an IPv6 host stands in brackets.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let host_fits = match host.strip_prefix('[') {
        Some(rest) => {
            rest.strip_suffix(']').is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok())
        }
        None => {
            !host.is_empty()
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
        }
    };
    host_fits && port.parse::<u16>().is_ok_and(|port| port != 0)
}
