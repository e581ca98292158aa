//! `cargo xtask fuzz`: arbitrary bytes for everything that reads what others wrote, driven by
//! coverage (libFuzzer, which is built for it with a C++ compiler). Gates nothing: what it found
//! lies in the corpora under `crates/linckia-fuzz/corpus`, and those run with the tests. What
//! always holds: a finding is kept as a file and named, and the command fails.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

/// Each has a corpus.
const TARGETS: [&str; 8] =
    ["frames", "events", "states", "requests", "texts", "tokens", "segments", "configuration"];

/// What `cargo fuzz` gives rustc, without what only a nightly one takes.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table -Ccodegen-units=1 --cfg fuzzing";

/// Inputs are this long at most.
const INPUT_BYTES_MAX: u32 = 4_096;

/// Seconds that every target gets unless told otherwise.
const SECONDS: u64 = 60;

const HELP: &str = "cargo xtask fuzz [--seconds N] [TARGET ...]: N seconds for each target (60)";

pub fn run(root: &Path, arguments: &[String]) -> anyhow::Result<ExitCode> {
    let (mut seconds, mut targets) = (SECONDS, Vec::new());
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seconds" => {
                let number = words.next().context("--seconds takes a number")?;
                seconds = number.parse().context("--seconds takes a number")?;
            }
            known if TARGETS.contains(&known) => targets.push(known),
            other => bail!("no target {other:?}: {}\n{HELP}", TARGETS.join(", ")),
        }
    }
    if targets.is_empty() {
        targets = TARGETS.to_vec();
    }
    let binary = build(root)?;
    let mut findings = 0;
    for target in targets {
        println!("{target}: {seconds} s");
        findings += u32::from(!fuzz(root, &binary, target, seconds)?);
        shrink(root, &binary, target)?;
    }
    match findings {
        0 => Ok(ExitCode::SUCCESS),
        _ => bail!("{findings} targets failed; fuzz/findings has the inputs"),
    }
}

fn build(root: &Path) -> anyhow::Result<PathBuf> {
    let target_dir = root.join("target/fuzz");
    // With a target named, scripts and macros are built without the flags.
    let host = host()?;
    let status = Command::new("cargo")
        .args(["build", "--release", "--target", &host])
        .current_dir(root.join("fuzz"))
        .env("RUSTFLAGS", FLAGS)
        .env("CARGO_TARGET_DIR", &target_dir)
        .status()
        .context("cargo does not start")?;
    if !status.success() {
        bail!("the fuzzer does not build; it needs a C++ compiler");
    }
    Ok(target_dir.join(host).join("release/fuzz"))
}

fn host() -> anyhow::Result<String> {
    let said = Command::new("rustc").arg("-vV").output().context("rustc does not start")?;
    let said = String::from_utf8(said.stdout)?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not name its host")?.to_owned())
}

fn corpus(root: &Path, target: &str) -> PathBuf {
    root.join("crates/linckia-fuzz/corpus").join(target)
}

/// True if nothing was found.
fn fuzz(root: &Path, binary: &Path, target: &str, seconds: u64) -> anyhow::Result<bool> {
    let findings = root.join("fuzz/findings").join(target);
    std::fs::create_dir_all(&findings)?;
    let kept = corpus(root, target);
    std::fs::create_dir_all(&kept)?;
    let status = Command::new(binary)
        .env("FUZZ_TARGET", target)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-artifact_prefix={}/", findings.display()))
        .args(["-print_final_stats=1", "-verbosity=0", "-rss_limit_mb=2048", "-timeout=10"])
        .arg(&kept)
        .status()
        .context("the fuzzer does not start")?;
    Ok(status.success())
}

/// Keeps of a corpus what is needed to reach what it reaches.
fn shrink(root: &Path, binary: &Path, target: &str) -> anyhow::Result<()> {
    let kept = corpus(root, target);
    let fewer = root.join("target/fuzz/fewer").join(target);
    let _ = std::fs::remove_dir_all(&fewer);
    std::fs::create_dir_all(&fewer)?;
    let status = Command::new(binary)
        .env("FUZZ_TARGET", target)
        .args(["-merge=1", "-verbosity=0"])
        .args([&fewer, &kept])
        .status()?;
    if status.success() {
        std::fs::remove_dir_all(&kept)?;
        std::fs::create_dir_all(&kept)?;
        for entry in std::fs::read_dir(&fewer)? {
            let path = entry?.path();
            let name = path.file_name().context("a file has a name")?.to_owned();
            std::fs::copy(&path, kept.join(name))?;
        }
    }
    Ok(())
}
