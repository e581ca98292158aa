//! How a drill takes backups and makes a fleet of them: by this program's own commands, as an
//! operator would.
//!
//! Beside `means.rs`. What always holds: everything lies in one directory that was not there
//! before; the restored fleet ends with the drill, also where it fails.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use linckia_drill::{DrillDoor, Keeper};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use crate::arguments::GlobalArguments;
use crate::fleet::make_directory;

/// A restored fleet is ready within this.
const READY_LONGEST: Duration = Duration::from_secs(600);

/// It ends within this.
const END_LONGEST: Duration = Duration::from_secs(30);

/// The line that `up --json` prints has a few regions.
const LINE_MAX: u64 = 1 << 16;

/// Backups, and a fleet of them.
pub(super) struct Spare<'a> {
    global: &'a GlobalArguments,
    region: &'a str,
    /// All of the running fleet's, which are the restored one's too.
    regions: Vec<String>,
    dir: PathBuf,
    fleet: Mutex<Option<Child>>,
}

impl<'a> Spare<'a> {
    /// In `dir`, which is made.
    pub(super) fn create(
        global: &'a GlobalArguments,
        region: &'a str,
        regions: Vec<String>,
        dir: &Path,
    ) -> anyhow::Result<Self> {
        fs::create_dir(dir).with_context(|| {
            format!("{} cannot be made: name a new directory with --beside", dir.display())
        })?;
        Ok(Self { global, region, regions, dir: dir.to_owned(), fleet: Mutex::new(None) })
    }

    /// Ends the restored fleet, and removes everything if nobody has to look at it.
    pub(super) async fn end(self, remove: bool) -> anyhow::Result<()> {
        if let Some(mut fleet) = self.fleet.into_inner() {
            let pid = fleet.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
            if let Some(pid) = pid {
                kill_process(pid, Signal::TERM).context("the restored fleet cannot be ended")?;
            }
            let ended = tokio::time::timeout(END_LONGEST, fleet.wait()).await;
            ended.context("the restored fleet does not end")??;
        }
        if remove {
            let dir = &self.dir;
            fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        }
        Ok(())
    }

    fn backup(&self) -> PathBuf {
        self.dir.join("backup")
    }

    fn fleet_dir(&self) -> PathBuf {
        self.dir.join("fleet")
    }
}

impl Keeper for Spare<'_> {
    async fn back_up(&self) -> anyhow::Result<()> {
        let mut command = program()?;
        command.arg("backup").arg(self.backup()).args(["--region", self.region]);
        command.arg("--dir").arg(&self.global.dir);
        if let Some(url) = &self.global.url {
            command.args(["--url", url]);
        }
        done(command, "backup").await
    }

    async fn verify(&self) -> anyhow::Result<()> {
        let mut command = program()?;
        command.args(["backup", "verify"]).arg(self.backup());
        done(command, "backup verify").await
    }

    async fn restore(&self, time: &str) -> anyhow::Result<Vec<DrillDoor>> {
        let fleet = self.fleet_dir();
        make_directory(&fleet)?;
        let mut command = program()?;
        command.arg("restore").arg(self.backup()).args(["--to", time, "--region", self.region]);
        command.arg("--dir").arg(fleet.join(self.region).join("data"));
        done(command, "restore").await?;
        let log = self.dir.join("up.log");
        let stderr = File::create(&log).with_context(|| format!("cannot write {log:?}"))?;
        let mut command = program()?;
        command.arg("up").arg("--dir").arg(&fleet).args(["--regions", &self.regions.join(",")]);
        command.args(["--ports", "auto", "--wan", "none", "--json"]);
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn()?;
        let stdout = child.stdout.take().context("the restored fleet has no stdout")?;
        *self.fleet.lock().await = Some(child);
        let mut line = String::new();
        let mut lines = BufReader::new(stdout.take(LINE_MAX));
        let read = tokio::time::timeout(READY_LONGEST, lines.read_line(&mut line)).await;
        if !matches!(read, Ok(Ok(1..))) {
            bail!("the restored fleet does not become ready: {} says why", log.display());
        }
        doors(&line).with_context(|| format!("`up` does not say where its doors are: {line}"))
    }
}

fn doors(line: &str) -> anyhow::Result<Vec<DrillDoor>> {
    let ready: Value = serde_json::from_str(line)?;
    let regions = ready["regions"].as_array().into_iter().flatten();
    let each = regions.map(|region| {
        let [name, url] = ["name", "url"].map(|member| region[member].as_str().unwrap_or(""));
        Ok(DrillDoor::new(name, url)?)
    });
    each.collect()
}

/// This program, which ends where the drill is given up.
fn program() -> anyhow::Result<Command> {
    let program = std::env::current_exe().context("cannot find the path of this program")?;
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

async fn done(mut command: Command, what: &str) -> anyhow::Result<()> {
    let ran = command.output().await.with_context(|| format!("`{what}` cannot be run"))?;
    if ran.status.success() {
        return Ok(());
    }
    // What is damaged is said on stdout.
    let [out, err] = [ran.stdout, ran.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
    bail!("`linckia {what}` failed: {} {}", out.trim(), err.trim())
}
