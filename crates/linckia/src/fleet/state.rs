//! `fleet.json`: what runs, where, as which process, for scripts and for the other subcommands.
//!
//! Where it stands: written by the supervisor alone, at every change; read by everyone. What always
//! holds: a reader sees a whole file, the old one or the new one; a region that is down has the
//! process `null`; the file is there only while the supervisor runs (or was killed).

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub const FLEET_FILE: &str = "fleet.json";

/// A local fleet as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetState {
    pub dir: PathBuf,
    /// The supervisor's own URL.
    pub control: String,
    pub regions: Vec<RegionState>,
}

/// One region of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionState {
    pub name: String,
    pub url: String,
    pub pid: Option<u32>,
    pub dir: PathBuf,
    /// How often it ended by itself and was started again.
    pub restarts: u64,
}

/// The line that `up --json` prints: the same without what only changes later.
#[derive(Debug, Serialize)]
pub struct ReadyLine<'a> {
    dir: &'a Path,
    regions: Vec<ReadyRegion<'a>>,
}

#[derive(Debug, Serialize)]
struct ReadyRegion<'a> {
    name: &'a str,
    url: &'a str,
    pid: Option<u32>,
    dir: &'a Path,
}

impl FleetState {
    /// The fleet whose file lies in `dir`, if there is one.
    pub fn read(dir: &Path) -> io::Result<Option<Self>> {
        match fs::read(dir.join(FLEET_FILE)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub fn write(&self) -> io::Result<()> {
        replace(&self.dir.join(FLEET_FILE), &serde_json::to_vec_pretty(self)?)
    }

    #[must_use]
    pub fn region(&self, name: &str) -> Option<&RegionState> {
        self.regions.iter().find(|region| region.name == name)
    }

    #[must_use]
    pub fn ready_line(&self) -> ReadyLine<'_> {
        let mut regions = Vec::with_capacity(self.regions.len());
        for RegionState { name, url, pid, dir, .. } in &self.regions {
            regions.push(ReadyRegion { name, url, pid: *pid, dir });
        }
        ReadyLine { dir: &self.dir, regions }
    }

    /// "us-east-1, eu-west-1"
    #[must_use]
    pub fn names(&self) -> String {
        self.regions.iter().map(|region| region.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// Replaces a file so that nobody ever sees a part of it.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_added_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state(dir: &Path, restarts: u64) -> FleetState {
        let region = |name: &str| RegionState {
            name: name.to_owned(),
            url: "http://127.0.0.1:7401".to_owned(),
            pid: restarts.is_multiple_of(2).then_some(77),
            dir: dir.join(name),
            restarts,
        };
        FleetState {
            dir: dir.to_owned(),
            control: "http://127.0.0.1:7400".to_owned(),
            regions: (0..9).map(|n| region(&format!("region-{n}"))).collect(),
        }
    }

    #[test]
    fn a_reader_sees_a_whole_file_while_it_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(FleetState::read(dir.path()).unwrap(), None);
        state(dir.path(), 0).write().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| (1..300).for_each(|n| state(dir.path(), n).write().unwrap()));
            let mut last = 0;
            while last < 299 {
                let seen = FleetState::read(dir.path()).unwrap().unwrap();
                let restarts = seen.regions[0].restarts;
                assert_eq!(seen, state(dir.path(), restarts));
                assert!(restarts >= last, "never back to an older one");
                last = restarts;
            }
        });
    }

    #[test]
    fn the_words_are_those_of_the_api() {
        let state = state(Path::new("/d"), 1);
        let file = serde_json::to_value(&state).unwrap();
        assert_eq!(file["regions"][0]["pid"], json!(null));
        assert_eq!(file["regions"][0]["restarts"], 1);
        let line = serde_json::to_value(state.ready_line()).unwrap();
        let url = "http://127.0.0.1:7401";
        let first = json!({"name": "region-0", "url": url, "pid": null, "dir": "/d/region-0"});
        assert_eq!((&line["dir"], &line["regions"][0]), (&json!("/d"), &first));
    }
}
