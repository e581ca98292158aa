//! A fleet of its own for a test: started, driven, and gone with the test.
//!
//! Over `processes` and `door`. What always holds: a fleet has a directory nobody else knows;
//! dropped, its supervisor is killed, its regions with it, and its directory is removed; where a
//! test fails, the ends of the regions' logs are printed.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::door::Door;
use crate::processes::{Permit, Ran, Running, eventually, run};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_linckia");

/// The regions of a fleet that was told nothing, in their order.
pub const REGIONS: [&str; 3] = ["us-east-1", "eu-west-1", "ap-southeast-1"];

/// A fleet is ready in under 5 s; a machine that also compiles is given more.
const READY_SECONDS: u64 = 30;

/// No command of a quiet fleet takes longer.
const COMMAND_SECONDS: u64 = 60;

/// Convergence after a heal or a restart, with everything else the machine does.
pub const CONVERGED_SECONDS: u64 = 40;

/// Of a region's log, this much is printed when a test fails.
const LOG_LINES: usize = 25;

pub struct Fleet {
    dir: tempfile::TempDir,
    /// What its commands are run with, its supervisor among them.
    pub program: PathBuf,
    up: Option<Up>,
    pub doors: Vec<Door>,
    /// The line that `up --json` printed.
    pub line: Value,
    _permit: Permit,
}

/// A supervisor that runs.
struct Up {
    child: Child,
    stderr: Option<thread::JoinHandle<String>>,
}

impl Fleet {
    /// Three regions with these arguments of `up`.
    #[track_caller]
    pub fn start(arguments: &[&str]) -> Self {
        let mut fleet = Self::resting();
        fleet.up(arguments);
        fleet
    }

    /// A fleet that was not started yet, in an empty directory.
    pub fn resting() -> Self {
        let permit = Permit::take();
        let dir = tempfile::tempdir().unwrap();
        let (doors, line, program) = (Vec::new(), Value::Null, PathBuf::from(PROGRAM));
        Self { dir, program, up: None, doors, line, _permit: permit }
    }

    /// Three regions without delays between them.
    #[track_caller]
    pub fn near() -> Self {
        Self::start(&["--wan", "none"])
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts the supervisor, again or for the first time; returns when all are ready.
    #[track_caller]
    pub fn up(&mut self, arguments: &[&str]) {
        assert!(self.up.is_none(), "it runs already");
        let mut child = self
            .command(&["up", "--json", "--ports", "auto"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let stderr = thread::spawn(move || {
            let mut text = Vec::new();
            stderr.read_to_end(&mut text).unwrap();
            String::from_utf8_lossy(&text).into_owned()
        });
        self.up = Some(Up { child, stderr: Some(stderr) });
        let (sender, ready) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(stdout).read_line(&mut line);
            let _ = sender.send(line);
        });
        let line = ready.recv_timeout(Duration::from_secs(READY_SECONDS)).expect("ready in time");
        self.line = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let regions = self.line["regions"].as_array().unwrap();
        self.doors = regions.iter().map(Door::of).collect();
    }

    /// Sends the supervisor a signal; its exit code and stderr once it is gone.
    #[track_caller]
    pub fn down(&mut self, signal: Signal, seconds: u64) -> (Option<i32>, String) {
        let up = self.up.as_mut().expect("it runs");
        kill_process(pid(up.child.id()), signal).unwrap();
        let status = eventually(seconds, "the supervisor is gone", || up.child.try_wait().unwrap());
        let stderr = up.stderr.take().unwrap().join().unwrap();
        self.up = None;
        (status.code(), stderr)
    }

    /// The process number of the supervisor.
    pub fn supervisor(&self) -> u32 {
        self.up.as_ref().unwrap().child.id()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("--dir").arg(self.dir()).env_remove("RUST_LOG");
        command
    }

    /// Runs a command of the fleet to its end.
    #[track_caller]
    pub fn cli(&self, arguments: &[&str]) -> Ran {
        run(&mut self.command(arguments), COMMAND_SECONDS)
    }

    /// Begins a command of the fleet.
    #[track_caller]
    pub fn begin(&self, arguments: &[&str]) -> Running {
        Running::start(&mut self.command(arguments))
    }

    /// `fleet.json`, as it is now.
    pub fn state(&self) -> Value {
        eventually(10, "fleet.json is there", || {
            let bytes = fs::read(self.dir().join("fleet.json")).ok()?;
            Some(serde_json::from_slice(&bytes).unwrap())
        })
    }

    pub fn pid_of(&self, region: &str) -> Option<u32> {
        let state = self.state();
        let all = state["regions"].as_array().unwrap();
        let of = all.iter().find(|item| item["name"] == region).unwrap();
        of["pid"].as_u64().map(|pid| u32::try_from(pid).unwrap())
    }

    pub fn region_dir(&self, region: &str) -> PathBuf {
        self.dir().join(region)
    }

    pub fn region_log(&self, region: &str) -> String {
        fs::read_to_string(self.region_dir(region).join("region.log")).unwrap_or_default()
    }

    /// kill -9, behind the supervisor's back; returns when the process is gone.
    #[track_caller]
    pub fn kill(&self, region: &str) -> u32 {
        let number = self.pid_of(region).expect("it runs");
        kill_process(pid(number), Signal::KILL).unwrap();
        eventually(10, "a killed process is gone", || (!runs(number)).then_some(number))
    }

    /// Waits until a region that was killed answers again, as another process.
    #[track_caller]
    pub fn back(&self, region: &str, before: u32) {
        let what = format!("{region} is started again and ready");
        eventually(READY_SECONDS, &what, || {
            let other = self.pid_of(region).is_some_and(|pid| pid != before);
            (other && self.door(region).is_ready()).then_some(())
        });
    }

    pub fn door(&self, region: &str) -> &Door {
        self.doors.iter().find(|door| door.name == region).unwrap()
    }

    /// Waits until `digests` says that all three hold the same at the same vector.
    #[track_caller]
    pub fn converged(&self) -> Value {
        let wait = format!("{CONVERGED_SECONDS}s");
        let answer = self.cli(&["digests", "--wait", &wait, "--json"]).done().json();
        assert_eq!(answer["equal"], true);
        let items = answer["items"].as_array().unwrap();
        assert_eq!(items.len(), self.doors.len());
        for item in items {
            assert_eq!(item["vector"], items[0]["vector"]);
            assert_eq!(item["root"], items[0]["root"]);
        }
        answer
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if thread::panicking() {
            for region in REGIONS {
                let log = self.region_log(region);
                let lines: Vec<_> = log.lines().collect();
                let from = lines.len().saturating_sub(LOG_LINES);
                eprintln!("--- the end of {region}/region.log\n{}", lines[from..].join("\n"));
            }
        }
        let Some(mut up) = self.up.take() else {
            return;
        };
        // Before the supervisor, so that it starts none again; gone already is as good.
        let _ = up.child.kill();
        let _ = up.child.wait();
        let left = self.dir().join("fleet.json");
        let state: Value = fs::read(left)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        for item in state["regions"].as_array().into_iter().flatten() {
            let number = item["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
            let Some(number) = number.filter(|number| self.is_region(*number)) else {
                continue;
            };
            let _ = kill_process(pid(number), Signal::KILL);
            for _ in 0..500 {
                if !runs(number) {
                    break;
                }
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

impl Fleet {
    /// Whether this process is a region of this fleet, and not a stranger with its number.
    fn is_region(&self, number: u32) -> bool {
        let command = fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
        let own = self.dir().as_os_str().as_encoded_bytes();
        command.windows(own.len()).any(|part| part == own)
    }
}

pub fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).unwrap()).unwrap()
}

/// Whether a process runs: one that only waits to be reaped does not.
pub fn runs(number: u32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{number}/stat")) else {
        return false;
    };
    // "pid (name) state …"; the name may hold anything.
    status.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with('Z'))
}
