//! Processes and deadlines: how tests wait, how programs are run to their end.
//!
//! Under `fleet`. What always holds: nobody waits without a deadline, and what does not become so
//! in time fails with a sentence; a program that hangs is killed and its test fails.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Between two looks at something that becomes so.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Fleets at a time: three regions and a supervisor each, on two cores.
const FLEETS_MAX: usize = 2;

static FLEETS: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// The right to run one fleet.
pub struct Permit(());

impl Permit {
    pub fn take() -> Self {
        let (count, freed) = &FLEETS;
        let mut running = count.lock().unwrap();
        while *running >= FLEETS_MAX {
            running = freed.wait(running).unwrap();
        }
        *running += 1;
        Self(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let (count, freed) = &FLEETS;
        *count.lock().unwrap() -= 1;
        freed.notify_one();
    }
}

/// Looks until there is an answer, or fails: `what` completes "it was awaited that …".
#[track_caller]
pub fn eventually<T>(seconds: u64, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < end, "within {seconds} s it was awaited that {what}");
        thread::sleep(LOOK_EVERY);
    }
}

/// A program that ran to its end.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// stdout, which must be one JSON value.
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("{error}: {self:?}"),
        }
    }

    #[track_caller]
    pub fn done(self) -> Self {
        self.ended(0)
    }

    #[track_caller]
    pub fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }
}

/// Runs a program to its end.
#[track_caller]
pub fn run(command: &mut Command, seconds: u64) -> Ran {
    Running::start(command).end(seconds)
}

/// A program that runs; killed if it is dropped before its end.
pub struct Running {
    child: Child,
    stdout: Option<thread::JoinHandle<String>>,
    stderr: Option<thread::JoinHandle<String>>,
    what: String,
}

impl Running {
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let what = format!("{command:?}");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
        let stdout = Some(read_all(child.stdout.take().unwrap()));
        let stderr = Some(read_all(child.stderr.take().unwrap()));
        Self { child, stdout, stderr, what }
    }

    pub fn number(&self) -> u32 {
        self.child.id()
    }

    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    #[track_caller]
    pub fn end(mut self, seconds: u64) -> Ran {
        let what = format!("this ends: {}", self.what);
        let status = eventually(seconds, &what, || self.child.try_wait().unwrap());
        let stdout = self.stdout.take().unwrap().join().unwrap();
        let stderr = self.stderr.take().unwrap().join().unwrap();
        Ran { code: status.code(), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_all(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
