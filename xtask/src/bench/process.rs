//! Processes that a measurement starts and looks at.
//!
//! Used by everything in `bench`. What always holds: a process that was started is gone when its
//! handle is, and told by the kernel to end when this process dies without a word (`setpriv`, where
//! the system has it); waiting for a line or an end is bounded.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// The unit of `/proc/<pid>/stat`; every Linux that programs can see says 100.
const TICKS_A_SECOND: f64 = 100.0;

/// A process asked to end has this long: a fleet promises ten seconds.
const END_PATIENCE: Duration = Duration::from_secs(15);

/// Between two looks at a process.
const LOOK: Duration = Duration::from_millis(10);

/// Lines that wait to be read; who prints more waits.
const LINES_MAX: usize = 1_024;

/// A longer line is none of ours.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// A running child.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
    name: String,
    /// The signal that ends it in order.
    end: &'static str,
}

/// A command whose process ends by `signal` when this one dies, also by a signal.
pub fn bound(program: impl AsRef<OsStr>, signal: &str, as_user: Option<&str>) -> Command {
    let Some(setpriv) = find_program("setpriv") else { return Command::new(program) };
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", signal]);
    if let Some(user) = as_user {
        command.args(["--reuid", user, "--regid", user, "--init-groups"]);
    }
    command.arg("--").arg(program);
    command
}

/// A program on the path.
pub fn find_program(name: &str) -> Option<OsString> {
    let path = std::env::var_os("PATH")?;
    let found =
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|at| at.is_file());
    found.map(Into::into)
}

impl Process {
    /// Starts it; its standard output is read here, everything else goes where ours goes.
    pub fn start(mut command: Command, name: &str, end: &'static str) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let output = child.stdout.take().context("the child has a standard output")?;
        let (sender, lines) = mpsc::sync_channel(LINES_MAX);
        thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = String::new();
            while (&mut output).take(LINE_BYTES_MAX).read_line(&mut line).is_ok_and(|read| read > 0)
                && sender.send(line.trim_end().to_owned()).is_ok()
            {
                line.clear();
            }
        });
        Ok(Self { child, lines, name: name.to_owned(), end })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line it prints.
    pub fn line(&mut self, patience: Duration) -> anyhow::Result<String> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => Ok(line),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                bail!("{} said nothing for {} s", self.name, patience.as_secs())
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let status = self.wait(END_PATIENCE)?;
                bail!("{} ended before it was done: {status}", self.name)
            }
        }
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub fn wait(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if begun.elapsed() > patience {
                bail!("{} does not end within {} s", self.name, patience.as_secs());
            }
            thread::sleep(LOOK);
        }
    }

    /// What is left of its output, once it ended well.
    pub fn finish(mut self, patience: Duration) -> anyhow::Result<Vec<String>> {
        let begun = Instant::now();
        let mut lines = Vec::new();
        while let Some(left) = patience.checked_sub(begun.elapsed()) {
            match self.lines.recv_timeout(left) {
                Ok(line) => lines.push(line),
                Err(mpsc::RecvTimeoutError::Timeout) => break,
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    let status = self.wait(END_PATIENCE)?;
                    anyhow::ensure!(status.success(), "{}: {status}", self.name);
                    return Ok(lines);
                }
            }
        }
        bail!("{} does not end within {} s", self.name, patience.as_secs())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.is_running() {
            return;
        }
        let order = format!("kill -{} {}", self.end, self.child.id());
        // What cannot be asked is killed below.
        let _ = Command::new("sh").args(["-c", &order]).status();
        if self.wait(END_PATIENCE).is_err() {
            eprintln!("cargo xtask bench: {} does not end and is killed", self.name);
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Runs a command to its end within `patience`; what it printed, if it succeeded.
pub fn output(command: Command, name: &str, patience: Duration) -> anyhow::Result<String> {
    Ok(Process::start(command, name, "TERM")?.finish(patience)?.join("\n"))
}

/// CPU seconds of a process, user and system, all its threads.
pub fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    Ok(Stat::read(pid)?.own)
}

/// The same with all that it started, whether it still runs or was waited for.
pub fn cpu_seconds_of_tree(root: u32) -> anyhow::Result<f64> {
    let all = Stat::read(root)?;
    let mut total = all.own + all.waited_for;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process that ended in the meantime is in what its parent waited for.
        match Stat::read(pid) {
            Ok(stat) if stat.parent == root => total += stat.own,
            _ => {}
        }
    }
    Ok(total)
}

/// CPU seconds of everything that this process started and waited for.
pub fn cpu_seconds_waited_for() -> anyhow::Result<f64> {
    Ok(Stat::read(std::process::id())?.waited_for)
}

/// What a process has in memory, in MiB: now (`VmRSS`) or at most so far (`VmHWM`).
pub fn memory(pid: u32, field: &str) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kibibytes.with_context(|| format!("no {field} of process {pid}"))? / 1_024.0)
}

struct Stat {
    parent: u32,
    own: f64,
    waited_for: f64,
}

impl Stat {
    fn read(pid: u32) -> anyhow::Result<Self> {
        let path = format!("/proc/{pid}/stat");
        let text = fs::read_to_string(Path::new(&path))
            .with_context(|| format!("process {pid} is not there"))?;
        Self::parse(&text).with_context(|| format!("{path} reads {text:?}"))
    }

    /// The name, in parentheses, may hold anything; after it, fields 4 and 14 to 17 count.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let seconds = |at: usize| Some(fields.get(at)?.parse::<f64>().ok()? / TICKS_A_SECOND);
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            own: seconds(11)? + seconds(12)?,
            waited_for: seconds(13)? + seconds(14)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_whatever_the_name_is() {
        let text = "7 (a) b) S 3 7 7 0 -1 4194560 1 2 3 4 150 50 25 75 20 0 9 0 1 2 3";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.parent, stat.own, stat.waited_for), (3, 2.0, 1.0));
        assert!(Stat::parse("7 (a S 3").is_none());
        assert!(cpu_seconds_of_tree(std::process::id()).is_ok());
        assert!(memory(std::process::id(), "VmRSS").unwrap() > 0.1);
    }

    #[test]
    fn a_process_is_read_to_its_end_and_judged() {
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        };
        let patience = Duration::from_secs(20);
        assert_eq!(output(shell("echo a; echo b"), "sh", patience).unwrap(), "a\nb");
        let failed = output(shell("echo a; exit 3"), "sh", patience).unwrap_err().to_string();
        assert!(failed.contains("exit status: 3"), "{failed}");
        let mut running =
            Process::start(shell("echo up; exec cat /dev/zero"), "cat", "TERM").unwrap();
        assert_eq!(running.line(patience).unwrap(), "up");
        let pid = running.id();
        drop(running);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
