//! What a figure was measured on: the lines without which a number says nothing.
//!
//! Read once when a measurement begins, printed above its figures. What always holds: what cannot
//! be found out is said to be unknown, and never stops a measurement.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Name and value, in the order of printing.
pub type Facts = Vec<(&'static str, String)>;

pub fn facts(root: &Path, scratch: &Path, profile: &str, command: &str) -> Facts {
    let unknown = |text: Option<String>| text.unwrap_or_else(|| "unknown".to_owned());
    vec![
        ("cpu", unknown(field("/proc/cpuinfo", "model name"))),
        ("cores", unknown(cores())),
        ("memory", unknown(memory())),
        ("disk", unknown(disk(scratch))),
        ("kernel", unknown(file("/proc/sys/kernel/osrelease"))),
        ("load before", unknown(file("/proc/loadavg").map(|text| first_words(&text, 3)))),
        ("date", unknown(said(root, "date", &["-u", "+%Y-%m-%d %H:%M UTC"]))),
        ("commit", unknown(commit(root))),
        ("compiler", unknown(said(root, "rustc", &["--version"]))),
        ("profile", profile.to_owned()),
        ("command", format!("`{command}`")),
    ]
}

fn cores() -> Option<String> {
    std::thread::available_parallelism().ok().map(|cores| cores.to_string())
}

fn memory() -> Option<String> {
    let text = field("/proc/meminfo", "MemTotal")?;
    let kibibytes: f64 = text.split_whitespace().next()?.parse().ok()?;
    Some(format!("{:.1} GiB", kibibytes / 1_048_576.0))
}

/// The file system that the regions write to: a durable write costs nothing on some.
fn disk(scratch: &Path) -> Option<String> {
    let text = said(scratch, "df", &["--output=fstype,source", "."])?;
    Some(first_words(text.lines().nth(1)?, 2))
}

fn commit(root: &Path) -> Option<String> {
    let hash = said(root, "git", &["rev-parse", "--short", "HEAD"])?;
    let changed = said(root, "git", &["status", "--porcelain"])?;
    Some(if changed.is_empty() { hash } else { format!("{hash} with changes") })
}

/// What a command prints, if it succeeds.
fn said(folder: &Path, program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).current_dir(folder).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn file(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The value of the first line `name : value`.
fn field(path: &str, name: &str) -> Option<String> {
    let text = file(path)?;
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
}

fn first_words(text: &str, count: usize) -> String {
    text.split_whitespace().take(count).collect::<Vec<_>>().join(" ")
}
