//! What each region of a local fleet is told: its certificate, its `linckia.toml`, its places.
//!
//! Where it stands: made once by `up`; written to the disk before every start of the region. What
//! always holds: peers are dialled through the emulated links only; everything is on loopback; a
//! region whose directory was destroyed finds its configuration again, and only its data is gone.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;
use linckia_net::{DevelopmentCa, SubjectNames};

use super::directory::CERTIFICATES;
use super::ports::{Ports, RegionPorts, loopback};
use super::state::{RegionState, replace};
use super::up::Setting;
use super::wan::Wan;
use crate::command::keys::create_if_absent;

const CONFIG_FILE: &str = "linckia.toml";
const LOG_FILE: &str = "region.log";
const DISK_FILE: &str = "disk-free";
const DATA: &str = "data";
const SESSION_KEYS: &str = "session.keys";

/// One region's places on this machine.
#[derive(Debug, Clone)]
pub struct RegionPlan {
    pub name: String,
    pub dir: PathBuf,
    pub url: String,
    /// Its wall clock is off by so much, in a rehearsal.
    pub clock_offset: Option<String>,
    toml: String,
}

impl RegionPlan {
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.join(CONFIG_FILE)
    }

    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.join(LOG_FILE)
    }

    /// Makes the directory and the configuration as they must be.
    pub fn write(&self) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        let path = self.config();
        let mut toml = self.toml.clone();
        if let Some(offset) = &self.clock_offset {
            toml.push_str(&format!("\n# A rehearsal.\n[clock]\noffset = {}\n", quoted(offset)));
        }
        if fs::read(&path).is_ok_and(|there| there == toml.as_bytes()) {
            return Ok(());
        }
        replace(&path, toml.as_bytes())
    }

    /// A region that is nothing but a directory.
    #[cfg(test)]
    pub fn for_tests(dir: &Path, name: &str, url: &str) -> Self {
        Self {
            name: name.to_owned(),
            dir: dir.to_owned(),
            url: url.to_owned(),
            clock_offset: None,
            toml: String::new(),
        }
    }

    #[must_use]
    pub fn state(&self) -> RegionState {
        RegionState {
            name: self.name.clone(),
            url: self.url.clone(),
            pid: None,
            dir: self.dir.clone(),
            restarts: 0,
        }
    }
}

/// The file that says, while it is there, how many bytes are free on a region's disk at most.
#[must_use]
pub fn disk_of(dir: &Path) -> PathBuf {
    dir.join(DISK_FILE)
}

/// Leaves so many bytes on the disk of the region in `dir`, as it takes it; none: as many as there
/// are.
pub fn leave_free(dir: &Path, bytes: Option<u64>) -> io::Result<()> {
    let file = disk_of(dir);
    match bytes {
        Some(bytes) => replace(&file, bytes.to_string().as_bytes()),
        None => match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
    }
}

/// Where a region's log is.
#[must_use]
pub fn log_of(region: &RegionState) -> PathBuf {
    region.dir.join(LOG_FILE)
}

/// Plans every region of the fleet, and makes the certificates they need.
pub fn plan(
    dir: &Path,
    ports: &Ports,
    wan: &Wan,
    otlp: Option<&str>,
    settings: &[Setting],
) -> anyhow::Result<Vec<RegionPlan>> {
    let certificates = dir.join(CERTIFICATES);
    let now = SystemTime::now();
    let authority = DevelopmentCa::open_or_create(&certificates, now).with_context(|| {
        format!(
            "cannot use the development authority in {}; remove it to have it made anew",
            certificates.display()
        )
    })?;
    let keys = certificates.join(SESSION_KEYS);
    create_if_absent(&keys)?;
    let mut plans = Vec::with_capacity(ports.regions.len());
    for region in &ports.regions {
        let name = &region.name;
        let issued = authority
            .issue(name, &SubjectNames::default(), now)
            .with_context(|| format!("cannot make the certificate of {name}"))?;
        let files = [&issued.certificate, &issued.key, &issued.authority, &keys];
        let dir = dir.join(name);
        let mut toml = region_toml(&dir, region, files, &peers(name, ports, wan)?)?;
        if let Some(otlp) = otlp {
            write!(toml, "\n[telemetry]\notlp = {}\n", quoted(otlp))?;
        }
        let sections: BTreeSet<&str> = settings.iter().map(|it| it.section.as_str()).collect();
        for section in sections {
            write!(toml, "\n[{section}]\n")?;
            for Setting { name, value, .. } in settings.iter().filter(|it| it.section == section) {
                writeln!(toml, "{name} = {}", quoted(value))?;
            }
        }
        plans.push(RegionPlan {
            name: name.clone(),
            url: format!("http://{}", loopback(region.http)),
            clock_offset: None,
            toml,
            dir,
        });
    }
    Ok(plans)
}

/// The other regions, each by the address of the link that leads there.
fn peers(own: &str, ports: &Ports, wan: &Wan) -> anyhow::Result<Vec<(String, String)>> {
    let others = ports.regions.iter().filter(|region| region.name != own);
    let peer = |region: &RegionPorts| {
        let address = wan
            .address(own, &region.name)
            .with_context(|| format!("no link leads from {own} to {}", region.name))?;
        Ok((region.name.clone(), address.to_string()))
    };
    others.map(peer).collect()
}

fn region_toml(
    dir: &Path,
    ports: &RegionPorts,
    [certificate, key, ca, keys]: [&PathBuf; 4],
    peers: &[(String, String)],
) -> anyhow::Result<String> {
    let mut text = format!(
        "# Written by `linckia up` at every start: changes made here are lost.\n\
         region = {}\ndir = {}\n\n[door]\nlisten = \"{}\"\n\n\
         [peer]\nlisten = \"{}\"\ncertificate = {}\nkey = {}\nca = {}\n\n\
         [session]\nkeys = {}\n",
        quoted(&ports.name),
        quoted_path(&dir.join(DATA))?,
        loopback(ports.http),
        loopback(ports.peer),
        quoted_path(certificate)?,
        quoted_path(key)?,
        quoted_path(ca)?,
        quoted_path(keys)?,
    );
    for (name, address) in peers {
        write!(text, "\n# An emulated link.\n[[peers]]\nregion = {}\n", quoted(name))?;
        writeln!(text, "address = {}", quoted(address))?;
    }
    Ok(text)
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn quoted_path(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str().with_context(|| {
        format!("the path {} is not Unicode: choose another --dir", path.display())
    })?;
    Ok(quoted(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::fleet::wan::Profile;

    #[tokio::test]
    async fn what_is_written_is_a_right_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("a \"quoted\" place");
        let names: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
        let region = |(at, name): (usize, &String)| RegionPorts {
            name: name.clone(),
            http: 7401 + at as u16,
            peer: 7411 + at as u16,
        };
        let regions = names.iter().enumerate().map(region).collect();
        let ports = Ports { base: None, control: 7400, regions };
        let profile = Profile::load(&"none".parse().unwrap(), &names).unwrap();
        let at: Vec<_> = ports.regions.iter().map(|r| (r.name.clone(), loopback(r.peer))).collect();
        let wan = Wan::start(&at, profile).await.unwrap();
        let set = ["log.bytes_max=1GiB", "ship.linger=7ms", "log.history_bytes_max=64MiB"];
        let set: Vec<Setting> = set.iter().map(|text| text.parse().unwrap()).collect();
        let plans = plan(&dir, &ports, &wan, Some("http://127.0.0.1:4318"), &set).unwrap();
        for plan in &plans {
            plan.write().unwrap();
            let config = Config::load(&plan.config()).expect("a right configuration");
            assert_eq!(config.region, plan.name);
            assert_eq!(config.telemetry.otlp.as_deref(), Some("http://127.0.0.1:4318"));
            assert_eq!(config.dir, plan.dir.join("data"));
            assert_eq!((config.log.bytes_max, config.log.history_bytes_max), (1 << 30, 64 << 20));
            assert_eq!(config.ship.linger.as_millis(), 7);
            assert_eq!(config.peers.len(), 2);
            for peer in &config.peers {
                let link = wan.address(&plan.name, &peer.region).unwrap();
                assert_eq!(peer.address, link.to_string());
            }
        }
        let late = RegionPlan { clock_offset: Some("-3s".to_owned()), ..plans[0].clone() };
        late.write().unwrap();
        assert_eq!(Config::load(&late.config()).unwrap().clock.offset_milliseconds, -3_000);
        fs::remove_dir_all(&plans[1].dir).unwrap();
        plans[1].write().unwrap();
        assert!(Config::load(&plans[1].config()).is_ok(), "a destroyed directory is made again");
    }
}
