//! Head and hands: in a stage or a door, code that decides takes values and `now` and returns
//! steps. What touches a clock, a socket, a disk, a task or chance lies in the crate's `io/`
//! folder, behind the traits of `port.rs`. The binary and the simulator, on the top floor, are
//! where hands are given to heads, and are not checked.

use super::scan::words;
use super::tree::{Source, Tree};
use super::{Findings, Rule, Weight};

/// The highest floor whose crates are divided into head and hands.
const FLOOR_MAX: u32 = 3;

/// Where hands may be: these folders, files of these names, and tests.
const HANDS: [&str; 4] = ["io", "port", "contract", "examples"];

pub const RULES: &[&Rule] = &[&ASYNC, &CLOCK, &SOCKET, &FILE, &CHANCE];

static ASYNC: Rule = Rule {
    name: "async",
    why: "a head that waits or spawns cannot be stepped through from a seed",
    remedy: "return a step that says what to wait for, and wait in `io/`",
    weight: Weight::Fails,
};
static CLOCK: Rule = Rule {
    name: "clock",
    why: "time is an argument, or no run can be repeated",
    remedy: "take `now` as an argument; read the clock in `io/`",
    weight: Weight::Fails,
};
static SOCKET: Rule = Rule {
    name: "socket",
    why: "a head that opens a socket cannot be tested with values",
    remedy: "return a step with what to send; addresses are values, and may be used",
    weight: Weight::Fails,
};
static FILE: Rule = Rule {
    name: "file",
    why: "a head that touches the disk cannot be shown what a crash leaves behind",
    remedy: "return a step with what to write, or go through a trait of `port.rs`",
    weight: Weight::Fails,
};
static CHANCE: Rule = Rule {
    name: "chance",
    why: "randomness is a seed, or a failing run is lost",
    remedy: "take the value or a seeded generator as an argument; draw in `io/`",
    weight: Weight::Fails,
};

/// What gives each away, as whole words of code.
static PATTERNS: &[(&Rule, &[&str])] = &[
    (
        &ASYNC,
        &["async", "await", "tokio::spawn", "tokio::task", "thread::spawn", "thread::Builder"],
    ),
    (&CLOCK, &["Instant::now", "SystemTime::now", "Utc::now", "tokio::time", "thread::sleep"]),
    (
        &SOCKET,
        &[
            "tokio::net",
            "TcpStream",
            "TcpListener",
            "UdpSocket",
            "UnixStream",
            "UnixListener",
            "UnixDatagram",
            "ToSocketAddrs",
        ],
    ),
    (&FILE, &["std::fs", "tokio::fs", "rustix::fs", "fs::", "File::", "OpenOptions"]),
    (
        &CHANCE,
        &[
            "rand::",
            "fastrand",
            "getrandom",
            "thread_rng",
            "OsRng",
            "RandomState",
            "Uuid::now_v1",
            "Uuid::now_v6",
            "Uuid::now_v7",
            "Uuid::new_v1",
            "Uuid::new_v4",
            "Uuid::new_v6",
            "Uuid::new_v7",
        ],
    ),
];

pub fn check(tree: &Tree, findings: &mut Findings) {
    for source in &tree.sources {
        let floor = tree.crate_of(&source.path).and_then(|each| each.floor);
        if floor.is_none_or(|floor| floor > FLOOR_MAX) || is_hands(source) {
            continue;
        }
        for (line, code) in source.code_lines() {
            for (rule, patterns) in PATTERNS {
                for pattern in *patterns {
                    if words(code, pattern).next().is_some() {
                        let what = format!("`{pattern}` outside `io/`");
                        findings.add(rule, &source.path, line, what);
                    }
                }
            }
        }
    }
}

fn is_hands(source: &Source) -> bool {
    source.path.split('/').any(|part| HANDS.contains(&part.trim_end_matches(".rs")))
}
