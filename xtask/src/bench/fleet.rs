//! A local fleet to measure: `linckia up` in a directory of its own.
//!
//! Used by all measurements but `sim`, and by `soak`. What always holds: the program that runs is a
//! copy, so that a build meanwhile changes nothing; the fleet ends with its handle.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::value::Value;
use super::{Bench, Scratch, build, door, process};
use process::Process;

/// A fleet is ready in seconds; on a busy machine in more.
const READY_PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at the vectors.
const LOOK: Duration = Duration::from_millis(20);

pub struct Fleet {
    /// Ends the regions when it ends.
    _supervisor: Process,
    program: PathBuf,
    pub dir: PathBuf,
    pub regions: Vec<Region>,
}

#[derive(Debug, Clone)]
pub struct Region {
    pub name: String,
    pub address: SocketAddr,
    pub pid: u32,
}

impl Fleet {
    /// Returns when every region is ready. Without names, the three regions of the default.
    pub fn start(bench: &Bench, name: &str, regions: &[&str]) -> anyhow::Result<Self> {
        Self::start_with(bench, name, regions, &[])
    }

    /// [`Fleet::start`] with more words for `up`.
    pub fn start_with(
        bench: &Bench,
        name: &str,
        regions: &[&str],
        more: &[&str],
    ) -> anyhow::Result<Self> {
        let built = build::folder(bench.root, bench.options.profile).join("linckia");
        let program = copy(&built, bench.scratch)?;
        let mut command = up(&program);
        command.args(["--restart-after", "never"]);
        if !regions.is_empty() {
            command.args(["--regions", &regions.join(",")]);
        }
        command.args(more);
        Self::ready(command, program, bench.scratch.join(name))
    }

    /// The three regions of the default; one that dies is started again. They inherit `variable`.
    pub fn start_again(
        built: &Path,
        scratch: &Scratch,
        variable: Option<(&str, &str)>,
    ) -> anyhow::Result<Self> {
        let program = copy(built, scratch)?;
        let mut command = up(&program);
        command.envs(variable);
        Self::ready(command, program, scratch.join("fleet"))
    }

    fn ready(mut command: Command, program: PathBuf, dir: PathBuf) -> anyhow::Result<Self> {
        command.arg("--dir").arg(&dir);
        let mut supervisor = Process::start(command, "linckia up", "TERM")?;
        let line = supervisor.line(READY_PATIENCE)?;
        let regions = read_regions(&Value::parse(&line)?)?;
        Ok(Self { _supervisor: supervisor, program, dir, regions })
    }

    /// A `linckia` that is told of this fleet, and answers programs.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command_for_people(arguments);
        command.arg("--json");
        command
    }

    pub fn command_for_people(&self, arguments: &[&str]) -> Command {
        let mut command = process::bound(&self.program, "TERM", None);
        command.args(arguments).arg("--dir").arg(&self.dir);
        command
    }

    /// What such a command answers.
    pub fn ask(&self, arguments: &[&str], patience: Duration) -> anyhow::Result<Value> {
        let name = format!("linckia {}", arguments.join(" "));
        Value::parse(&process::output(self.command(arguments), &name, patience)?)
    }

    /// Runs a command that says by its exit code whether it is content; what it prints is shown.
    pub fn watch(&self, mut command: Command, patience: Duration) -> anyhow::Result<bool> {
        command.stdout(std::io::stderr());
        let mut child = command.spawn().context("cannot start linckia")?;
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                return match status.code() {
                    Some(code @ (0 | 1)) => Ok(code == 0),
                    _ => bail!("linckia ended without a verdict: {status}"),
                };
            }
            if begun.elapsed() > patience {
                child.kill()?;
                child.wait()?;
                bail!("linckia does not end within {} s", patience.as_secs());
            }
            thread::sleep(LOOK);
        }
    }

    /// The regions as the supervisor has them now, with the processes of now.
    pub fn look(&mut self) -> anyhow::Result<()> {
        let text = fs::read_to_string(self.dir.join("fleet.json"))?;
        self.regions = read_regions(&Value::parse(&text)?)?;
        Ok(())
    }

    /// Waits until every region has applied the same, and at least `events` of it; how long the
    /// last of them took.
    pub fn settle(&self, events: u64, patience: Duration) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        loop {
            let vectors: Vec<Value> =
                self.regions.iter().map(Region::vector).collect::<anyhow::Result<_>>()?;
            let same = vectors.windows(2).all(|pair| pair[0] == pair[1]);
            let totals: Vec<u64> = vectors.iter().map(total).collect();
            if same && totals.iter().all(|total| *total >= events) {
                return Ok(begun.elapsed());
            }
            if begun.elapsed() > patience {
                bail!(
                    "after {} s the regions have applied {totals:?} events, {events} are expected",
                    patience.as_secs()
                );
            }
            thread::sleep(LOOK);
        }
    }
}

impl Region {
    /// What it has applied, by origin.
    fn vector(&self) -> anyhow::Result<Value> {
        let (status, body) = door::get(self.address, "/v1/vector")
            .with_context(|| format!("{} does not answer", self.name))?;
        anyhow::ensure!(status == 200, "{} answers {status}: {body}", self.name);
        Ok(Value::Map(Value::parse(&body)?.map("vector")?.clone()))
    }

    /// Events applied, of all origins.
    pub fn applied(&self) -> anyhow::Result<u64> {
        Ok(total(&self.vector()?))
    }
}

fn total(vector: &Value) -> u64 {
    let Value::Map(origins) = vector else { return 0 };
    origins
        .values()
        .map(|value| if let Value::Number(number) = value { *number as u64 } else { 0 })
        .sum()
}

fn read_regions(fleet: &Value) -> anyhow::Result<Vec<Region>> {
    let mut regions = Vec::new();
    for item in fleet.list("regions")? {
        let url = item.text("url")?;
        let address = url.strip_prefix("http://").context("a door without TLS")?;
        regions.push(Region {
            name: item.text("name")?.to_owned(),
            address: address.parse().with_context(|| format!("no address: {url}"))?,
            pid: item.number("pid")? as u32,
        });
    }
    Ok(regions)
}

fn up(program: &Path) -> Command {
    let mut command = process::bound(program, "TERM", None);
    command.args(["up", "--json", "--ports", "auto", "--wan", "real"]);
    command
}

/// The program, as it is now.
fn copy(built: &Path, scratch: &Scratch) -> anyhow::Result<PathBuf> {
    let copied = scratch.join("linckia");
    if !Path::new(&copied).exists() {
        fs::copy(built, &copied).with_context(|| format!("cannot copy {}", built.display()))?;
    }
    Ok(copied)
}
