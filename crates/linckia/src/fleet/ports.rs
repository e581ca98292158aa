//! Which ports a local fleet listens on, the same ones at every start.
//!
//! Where it stands: chosen by `up` once it holds the directory, remembered in `ports.json`. What
//! always holds: a region keeps its URL for as long as the directory lives, unless another base is
//! asked for or a port picked by `auto` was taken in the meantime, which is said; no port is given
//! twice.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::str::FromStr;
use std::time::SystemTime;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::directory::PORTS_FILE;
use super::port_holder::holder_of;
use super::state::replace;

/// The supervisor's port unless another is asked for.
pub const BASE: u16 = 7400;

/// Regions in one local fleet: as many as fit between HTTP (BASE+1…) and peers (BASE+11…).
pub const REGIONS_MAX: usize = 10;

const HTTP_FROM_BASE: u16 = 1;
const PEER_FROM_BASE: u16 = 11;
const BASE_MAX: u16 = u16::MAX - 2 * REGIONS_MAX as u16;

/// `auto` picks from here: below the ports that the kernel gives to outgoing connections, so that
/// none of those takes the port of a region while it is down.
const AUTO_FIRST: u16 = 20_000;
const AUTO_COUNT: u16 = 12_000;

/// The argument of `--ports`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortsChoice {
    Base(u16),
    Auto,
}

impl FromStr for PortsChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        match text.parse::<u16>() {
            Ok(base) if (1..=BASE_MAX).contains(&base) => Ok(Self::Base(base)),
            _ => Err(format!("write `auto` or a port from 1 to {BASE_MAX}, such as {BASE}")),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// Absent: picked by `auto`.
    pub base: Option<u16>,
    pub control: u16,
    pub regions: Vec<RegionPorts>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionPorts {
    pub name: String,
    pub http: u16,
    pub peer: u16,
}

impl Ports {
    /// What an earlier start remembered.
    pub fn read(dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = dir.join(PORTS_FILE);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).with_context(|| {
                format!("{} is damaged: remove it to choose ports anew", path.display())
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    pub fn write(&self, dir: &Path) -> anyhow::Result<()> {
        let path = dir.join(PORTS_FILE);
        replace(&path, &serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// The ports of this start; without a choice, those of the last one.
    pub fn choose(
        choice: Option<PortsChoice>,
        remembered: Option<&Self>,
        regions: &[String],
        is_free: impl Fn(u16) -> bool,
    ) -> anyhow::Result<Self> {
        let base = match (choice, remembered) {
            (Some(PortsChoice::Base(base)), _) => Some(base),
            (Some(PortsChoice::Auto), _) => None,
            (None, Some(remembered)) => remembered.base,
            (None, None) => Some(BASE),
        };
        let remembered = remembered.filter(|remembered| remembered.base == base);
        match base {
            Some(base) => Self::from_base(base, remembered, regions),
            None => Self::picked(remembered, regions, is_free),
        }
    }

    fn from_base(base: u16, before: Option<&Self>, regions: &[String]) -> anyhow::Result<Self> {
        let known = |name: &String| {
            let ports = before?.regions.iter().find(|ports| ports.name == *name)?;
            ports.http.checked_sub(base + HTTP_FROM_BASE)
        };
        let mut taken: BTreeSet<u16> = regions.iter().filter_map(known).collect();
        let mut ports = Vec::with_capacity(regions.len());
        for name in regions {
            let place = match known(name) {
                Some(place) => place,
                None => match (0..REGIONS_MAX as u16).find(|place| !taken.contains(place)) {
                    Some(place) => place,
                    None => bail!("a local fleet has at most {REGIONS_MAX} regions"),
                },
            };
            taken.insert(place);
            let (http, peer) = (base + HTTP_FROM_BASE + place, base + PEER_FROM_BASE + place);
            ports.push(RegionPorts { name: name.clone(), http, peer });
        }
        Ok(Self { base: Some(base), control: base, regions: ports })
    }

    fn picked(
        before: Option<&Self>,
        regions: &[String],
        is_free: impl Fn(u16) -> bool,
    ) -> anyhow::Result<Self> {
        let mut given = BTreeSet::new();
        let mut from = first_try();
        let mut pick = |wanted: Option<u16>| {
            if let Some(port) = wanted
                && is_free(port)
                && given.insert(port)
            {
                return Ok(port);
            }
            for _ in 0..AUTO_COUNT {
                from = (from + 1) % AUTO_COUNT;
                let port = AUTO_FIRST + from;
                if !given.contains(&port) && is_free(port) {
                    given.insert(port);
                    return Ok(port);
                }
            }
            bail!("no free port from {AUTO_FIRST} on: give a base with --ports")
        };
        let control = pick(before.map(|ports| ports.control))?;
        let mut ports = Vec::with_capacity(regions.len());
        for name in regions {
            let known = before.and_then(|all| all.regions.iter().find(|one| one.name == *name));
            let http = pick(known.map(|ports| ports.http))?;
            let peer = pick(known.map(|ports| ports.peer))?;
            ports.push(RegionPorts { name: name.clone(), http, peer });
        }
        Ok(Self { base: None, control, regions: ports })
    }

    /// Every port must be free; a region that finds its port taken would only die again and again.
    pub fn check_free(&self) -> anyhow::Result<()> {
        let mut all = vec![(self.control, "the supervisor".to_owned())];
        for region in &self.regions {
            all.push((region.http, format!("the door of {}", region.name)));
            all.push((region.peer, format!("the peers of {}", region.name)));
        }
        for (port, purpose) in all {
            if let Err(error) = TcpListener::bind(loopback(port)) {
                bail!(unusable(port, &purpose, &error));
            }
        }
        Ok(())
    }
}

#[must_use]
pub fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

#[must_use]
pub fn is_free(port: u16) -> bool {
    TcpListener::bind(loopback(port)).is_ok()
}

/// Why a port cannot be used, who might hold it, what to do.
pub fn unusable(port: u16, purpose: &str, error: &io::Error) -> String {
    if error.kind() != io::ErrorKind::AddrInUse {
        return format!("port {port} for {purpose} cannot be used: {error}; try `--ports auto`");
    }
    let holder = holder_of(port)
        .unwrap_or_else(|| "another program, perhaps another local fleet".to_owned());
    format!("port {port} for {purpose} is in use by {holder}: stop that, or try `--ports auto`")
}

/// Where to begin looking, so that fleets started together do not look at the same ports.
fn first_try() -> u16 {
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mixed = (u64::from(std::process::id()) << 20 ^ u64::from(time.subsec_nanos()))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed >> 40) % u64::from(AUTO_COUNT)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(|name| (*name).to_owned()).collect()
    }

    fn of(ports: &Ports, name: &str) -> (u16, u16) {
        let region = ports.regions.iter().find(|region| region.name == name).unwrap();
        (region.http, region.peer)
    }

    #[test]
    fn a_base_gives_the_documented_ports_and_keeps_them() {
        let any = |_| true;
        let first = Ports::choose(None, None, &names(&["a", "b", "c"]), any).unwrap();
        assert_eq!(first.control, 7400);
        assert_eq!((of(&first, "a"), of(&first, "c")), ((7401, 7411), (7403, 7413)));
        let next = Ports::choose(None, Some(&first), &names(&["c", "d"]), any).unwrap();
        assert_eq!((of(&next, "c"), of(&next, "d")), ((7403, 7413), (7401, 7411)));
        let moved = Some(PortsChoice::Base(9000));
        let moved = Ports::choose(moved, Some(&first), &names(&["c"]), any).unwrap();
        assert_eq!(of(&moved, "c"), (9001, 9011));
        let many: Vec<String> = (0..11).map(|n| n.to_string()).collect();
        assert!(Ports::choose(None, None, &many, any).is_err());
    }

    #[test]
    fn auto_picks_free_ports_and_keeps_them_while_they_are_free() {
        let all = names(&["a", "b"]);
        let auto = Some(PortsChoice::Auto);
        let first = Ports::choose(auto, None, &all, |port| port % 2 == 0).unwrap();
        let used = |ports: &Ports| {
            let mut used: Vec<u16> = vec![ports.control];
            used.extend(ports.regions.iter().flat_map(|region| [region.http, region.peer]));
            used
        };
        assert!(used(&first).iter().all(|port| port % 2 == 0));
        assert_eq!(used(&first).iter().collect::<BTreeSet<_>>().len(), 5);
        assert_eq!(Ports::choose(None, Some(&first), &all, |_| true).unwrap(), first);
        let lost = of(&first, "a").0;
        let next = Ports::choose(auto, Some(&first), &all, |port| port != lost).unwrap();
        assert_ne!(of(&next, "a").0, lost);
        assert_eq!(of(&next, "b"), of(&first, "b"));
        assert!(Ports::choose(auto, None, &all, |_| false).is_err());
    }

    #[test]
    fn a_port_in_use_is_named_with_its_holder() {
        let listener = TcpListener::bind(loopback(0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let ports = Ports { base: None, control: port, regions: Vec::new() };
        let error = ports.check_free().unwrap_err().to_string();
        assert!(error.contains(&format!("port {port} for the supervisor is in use")), "{error}");
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        assert!(error.contains("--ports auto"), "{error}");
    }

    #[test]
    fn choices_are_words_or_numbers() {
        assert_eq!("auto".parse(), Ok(PortsChoice::Auto));
        assert_eq!("7400".parse(), Ok(PortsChoice::Base(7400)));
        for bad in ["0", "65535", "any", "-1"] {
            assert!(bad.parse::<PortsChoice>().is_err(), "{bad}");
        }
    }
}
