//! One region's process: started, watched, stopped, reaped.
//!
//! Where it stands: the supervisor starts it and hears of its end; nobody else signals it. What
//! always holds:
//! - a signal is only sent to a process that is not reaped yet, so never to a stranger;
//! - its standard input is a pipe that only this process holds, so it notices however we end;
//! - it is in a process group of its own, so a terminal's Ctrl-C reaches the supervisor alone;
//! - asked to end, it is gone within [`STOP_GRACE`] and a moment.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::directory::process_of;
use super::plan::{RegionPlan, disk_of};

/// A region gets this long after SIGTERM; with it the whole fleet is gone within ten seconds.
pub const STOP_GRACE: Duration = Duration::from_secs(8);

/// A larger log is set aside at the next start, once: the last two lives of a busy region.
const LOG_BYTES_MAX: u64 = 16 << 20;

/// How much of a log's end is shown when a region does not stay up: a screen.
const TAIL_LINES: usize = 15;
const TAIL_BYTES: u64 = 8 << 10;

/// Two requests can be under way, to end and to be killed; more say nothing new.
const REQUESTS_MAX: usize = 4;

/// Tells the region that its standard input is a pipe from its supervisor.
pub const ENV_PARENT_PIPE: &str = "LINCKIA_PARENT_PIPE";
/// Tells the region where `/links` of the emulator is.
pub const ENV_CONTROL: &str = "LINCKIA_FLEET_CONTROL";

/// Tells the region where a file says, in a rehearsal, how much room its disk has.
pub const ENV_DISK: &str = "LINCKIA_FLEET_DISK";

/// How regions are started: `program arguments… --config FILE`.
#[derive(Debug, Clone)]
pub struct Launch {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    pub control: String,
}

/// What a running process can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// SIGTERM, and SIGKILL if it is still there after [`STOP_GRACE`].
    End,
    /// SIGKILL.
    Kill,
}

/// A process that runs, or has just ended.
#[derive(Debug)]
pub struct Process {
    pub pid: u32,
    pub started: Instant,
    /// Where in the log this life began.
    pub log_from: u64,
    requests: mpsc::Sender<Request>,
}

/// A process that ended.
#[derive(Debug)]
pub struct Ended {
    pub region: usize,
    pub pid: u32,
    /// "exit code 1", "signal 9"
    pub how: String,
}

impl Process {
    /// Starts region number `region`; its end is sent to `ends`.
    pub fn start(
        launch: &Launch,
        plan: &RegionPlan,
        region: usize,
        ends: mpsc::Sender<Ended>,
    ) -> io::Result<Self> {
        plan.write()?;
        let (log, log_from) = open_log(&plan.log())?;
        let child = Command::new(&launch.program)
            .args(&launch.arguments)
            .arg("--config")
            .arg(plan.config())
            .env(ENV_PARENT_PIPE, "1")
            .env(ENV_CONTROL, &launch.control)
            .env(ENV_DISK, disk_of(&plan.dir))
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        let pid = child.id().ok_or_else(|| io::Error::other("the process ended at once"))?;
        let (requests, asked) = mpsc::channel(REQUESTS_MAX);
        tokio::spawn(async move {
            let how = watch(child, pid, asked).await;
            // Fails only if the supervisor is gone, and with it everyone who would care.
            let _ = ends.send(Ended { region, pid, how }).await;
        });
        Ok(Self { pid, started: Instant::now(), log_from, requests })
    }

    /// Asks; a process that is already gone is as good.
    pub fn ask(&self, request: Request) {
        // Full means that as much is being asked already.
        let _ = self.requests.try_send(request);
    }
}

async fn watch(mut child: Child, pid: u32, mut asked: mpsc::Receiver<Request>) -> String {
    // Held until the end: the region takes its closing for the supervisor's end.
    let _parent_pipe = child.stdin.take();
    let mut kill_at = None;
    let mut listening = true;
    loop {
        let due = kill_at.unwrap_or_else(Instant::now);
        tokio::select! {
            status = child.wait() => return describe(status),
            request = asked.recv(), if listening => match request {
                Some(Request::Kill) => kill_at = Some(Instant::now()),
                // Nobody can ask any more: the supervisor lets go of it.
                Some(Request::End) | None => {
                    listening = request.is_some();
                    if let Some(pid) = process_of(pid) {
                        let _ = kill_process(pid, Signal::TERM);
                    }
                    kill_at = kill_at.or(Some(Instant::now() + STOP_GRACE));
                }
            },
            () = sleep_until(due), if kill_at.is_some() => {
                kill_at = None;
                // Fails only if it is gone, which `wait` says next.
                let _ = child.start_kill();
            }
        }
    }
}

fn describe(status: io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => status.to_string(),
        },
        Err(error) => format!("its end could not be read: {error}"),
    }
}

/// The log to append to, and where this life begins in it.
fn open_log(path: &Path) -> io::Result<(File, u64)> {
    if fs::metadata(path).is_ok_and(|there| there.len() > LOG_BYTES_MAX) {
        fs::rename(path, path.with_added_extension("1"))?;
    }
    let log = OpenOptions::new().create(true).append(true).open(path)?;
    let from = log.metadata()?.len();
    Ok((log, from))
}

/// The last lines that were written to a log after `from`, indented.
#[must_use]
pub fn last_lines(path: &Path, from: u64) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(from.max(end.saturating_sub(TAIL_BYTES))))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default();
    if last.is_empty() {
        return "  (it wrote nothing)".to_owned();
    }
    last.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    const PATIENCE: Duration = Duration::from_secs(20);

    struct Trial {
        process: Process,
        ends: mpsc::Receiver<Ended>,
        plan: RegionPlan,
        _dir: tempfile::TempDir,
    }

    /// A shell script in the place of a region.
    async fn start(script: &str) -> Trial {
        let dir = tempfile::tempdir().unwrap();
        let plan = RegionPlan::for_tests(dir.path(), "a", "http://127.0.0.1:1");
        let launch = Launch {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            control: "http://127.0.0.1:1".to_owned(),
        };
        let (sender, ends) = mpsc::channel(1);
        let process = Process::start(&launch, &plan, 3, sender).unwrap();
        let trial = Trial { process, ends, plan, _dir: dir };
        while !last_lines(&trial.plan.log(), 0).contains("begun") {
            tokio::task::yield_now().await;
        }
        trial
    }

    async fn end(trial: &mut Trial) -> String {
        let ended = timeout(PATIENCE, trial.ends.recv()).await.unwrap().unwrap();
        assert_eq!((ended.region, ended.pid), (3, trial.process.pid));
        ended.how
    }

    #[tokio::test]
    async fn an_end_is_heard_with_its_reason_and_last_words() {
        let mut trial = start("echo begun $LINCKIA_PARENT_PIPE; echo why >&2; exit 7").await;
        assert_eq!(end(&mut trial).await, "exit code 7");
        assert_eq!(last_lines(&trial.plan.log(), 0), "  begun 1\n  why");
        assert_eq!(last_lines(&trial.plan.log(), 1_000), "  (it wrote nothing)");
    }

    #[tokio::test]
    async fn asked_to_end_it_ends_and_killed_it_is_gone() {
        let mut polite =
            start("trap 'exit 0' TERM; echo begun; while :; do sleep 0.05; done").await;
        polite.process.ask(Request::End);
        assert_eq!(end(&mut polite).await, "exit code 0");
        let mut stubborn = start("trap '' TERM; echo begun; while :; do sleep 0.05; done").await;
        stubborn.process.ask(Request::End);
        stubborn.process.ask(Request::Kill);
        assert_eq!(end(&mut stubborn).await, "signal 9");
    }

    #[tokio::test]
    async fn a_supervisor_that_lets_go_ends_it() {
        let mut trial = start("echo begun; cat; sleep 100").await;
        let (requests, _) = mpsc::channel(1);
        trial.process.requests = requests;
        assert_eq!(end(&mut trial).await, "signal 15");
    }

    #[test]
    fn a_large_log_is_set_aside_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("region.log");
        fs::write(&path, vec![b'x'; LOG_BYTES_MAX as usize + 1]).unwrap();
        assert_eq!(open_log(&path).unwrap().1, 0);
        assert!(dir.path().join("region.log.1").exists());
        fs::write(&path, "short").unwrap();
        assert_eq!(open_log(&path).unwrap().1, 5);
    }
}
