//! Which door a command talks to: `--url`, `--region`, or the local fleet's own file.
//!
//! Between the arguments and `door.rs`. What always holds: an address that was named is the one
//! that is used; what cannot be found is said with the place that was looked in.

use std::env;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use linckia_net::ClientTls;
use serde::Deserialize;

use super::door::{Access, Door};
use super::wrong_use;
use crate::arguments::GlobalArguments;

/// The token, where no file is given.
const TOKEN_VARIABLE: &str = "LINCKIA_TOKEN";

/// A fleet's file lists a few regions; a larger one is something else.
const FLEET_FILE_LIMIT: u64 = 1 << 20;

/// Credentials of a door that is not on loopback.
#[derive(Debug, Clone, Default, Args)]
pub struct AccessArguments {
    /// A file with the bearer token; without it, the variable LINCKIA_TOKEN.
    #[arg(global = true, long, value_name = "FILE", help_heading = "Access")]
    pub token_file: Option<PathBuf>,
    /// A PEM file with the authorities that a door's TLS certificate is checked against.
    #[arg(global = true, long, value_name = "FILE", help_heading = "Access")]
    pub ca: Option<PathBuf>,
}

/// Where doors are found.
pub(crate) struct Addresses {
    directory: PathBuf,
    url: Option<String>,
    region: Option<String>,
    access: Access,
}

/// `DIR/fleet.json`, as far as addresses go.
#[derive(Deserialize)]
struct FleetFile {
    regions: Vec<FleetRegion>,
}

#[derive(Deserialize)]
struct FleetRegion {
    name: String,
    url: String,
}

/// `GET /v1/regions`, as far as addresses go.
#[derive(Deserialize)]
struct RegionList {
    items: Vec<FleetRegion>,
}

impl Addresses {
    pub(crate) fn new(global: &GlobalArguments, access: &AccessArguments) -> anyhow::Result<Self> {
        let token = match &access.token_file {
            Some(path) => Some(
                fs::read_to_string(path)
                    .with_context(|| format!("cannot read --token-file {}", path.display()))?,
            ),
            None => env::var(TOKEN_VARIABLE).ok(),
        };
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        let tls = access.ca.as_deref().map(|path| ClientTls::load(path, None)).transpose()?;
        Ok(Self {
            directory: global.dir.clone(),
            url: global.url.clone(),
            region: global.region.clone(),
            access: Access { token, tls },
        })
    }

    /// Whether the user named one door; otherwise the whole local fleet is meant.
    pub(crate) fn names_one(&self) -> bool {
        self.url.is_some() || self.region.is_some()
    }

    pub(crate) fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// The one door that a command is about.
    pub(crate) async fn one(&self) -> anyhow::Result<Door> {
        if self.url.is_some() && self.region.is_none() {
            return self.given();
        }
        let regions = self.list().await?;
        let found = match &self.region {
            None => regions.into_iter().next().context("the fleet has no region")?,
            Some(wanted) => {
                let names: Vec<&str> = regions.iter().map(|region| region.name.as_str()).collect();
                let unknown = wrong_use(format!(
                    "there is no region `{wanted}` in {}: its regions are {}",
                    self.place(),
                    names.join(", ")
                ));
                regions.into_iter().find(|region| region.name == *wanted).ok_or(unknown)?
            }
        };
        self.door(found)
    }

    /// The doors of all regions, or only the one that was named.
    pub(crate) async fn many(&self) -> anyhow::Result<Vec<Door>> {
        if self.names_one() { Ok(vec![self.one().await?]) } else { self.every().await }
    }

    /// The doors of all regions, the first one first, even where one was named.
    pub(crate) async fn every(&self) -> anyhow::Result<Vec<Door>> {
        self.list().await?.into_iter().map(|region| self.door(region)).collect()
    }

    /// The fleet behind `--url` if there is one, else the local fleet.
    async fn list(&self) -> anyhow::Result<Vec<FleetRegion>> {
        let regions = match &self.url {
            None => read_fleet(&self.directory)?.regions,
            Some(_) => {
                let door = self.given()?;
                let answer = door.get("/v1/regions").await?;
                door.read::<RegionList>(&answer)?.items
            }
        };
        if regions.is_empty() {
            bail!("{} names no region", self.place());
        }
        Ok(regions)
    }

    fn given(&self) -> anyhow::Result<Door> {
        Door::new(None, self.url.as_deref().unwrap_or_default(), &self.access)
    }

    fn door(&self, region: FleetRegion) -> anyhow::Result<Door> {
        Door::new(Some(region.name), &region.url, &self.access)
    }

    fn place(&self) -> String {
        match &self.url {
            Some(url) => format!("the fleet at {url}"),
            None => self.directory.join("fleet.json").display().to_string(),
        }
    }
}

fn read_fleet(directory: &Path) -> anyhow::Result<FleetFile> {
    let path = directory.join("fleet.json");
    let mut text = String::new();
    let read = fs::File::open(&path)
        .and_then(|file| file.take(FLEET_FILE_LIMIT).read_to_string(&mut text));
    match read {
        Ok(_) => serde_json::from_str(&text)
            .with_context(|| format!("{} is not a fleet's file", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "no fleet runs in {}: there is no fleet.json. Start one with `linckia up --dir {}`, \
             name its directory with --dir, or a region's door with --url http://host:port",
            directory.display(),
            directory.display()
        ),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}
