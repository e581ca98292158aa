//! `session-keys`: makes and rotates the keys that sign session tokens.
//!
//! Works on a file, which the operator brings to every region. What always holds: a file is
//! replaced as a whole or not at all, and only its owner may read it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use linckia_model::{SESSION_KEY_BYTES, SessionKeys};

use super::Outcome;
use super::text::print;
use crate::house::read_session_keys;

/// Makes and rotates the keys of session tokens.
///
/// All regions share one file (`[session] keys`). To rotate: `add` and bring the file to every
/// region; then `promote` and bring it again; after the longest session, `retire` and bring it. A
/// running region reads the file anew by itself.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Makes a file with one key.
    Create(KeysArguments),
    /// Adds a key that verifies and does not sign yet.
    Add(KeysArguments),
    /// Lets the newest key sign; the others verify.
    Promote(KeysArguments),
    /// Forgets all keys but the one that signs.
    Retire(KeysArguments),
}

/// Which file.
#[derive(Debug, Args)]
pub struct KeysArguments {
    /// The key file.
    #[arg(value_name = "FILE", default_value = "session.keys")]
    path: PathBuf,
}

impl KeysCommand {
    /// Runs it.
    ///
    /// # Errors
    /// A file that is there already, is not there, or is no key file.
    pub fn run(&self, json: bool) -> anyhow::Result<Outcome> {
        let (path, keys) = match self {
            Self::Create(KeysArguments { path }) => {
                if path.exists() {
                    bail!("{} is there already; `add` and `promote` rotate it", path.display());
                }
                (path, create(path)?)
            }
            Self::Add(KeysArguments { path }) => {
                let mut keys = read_session_keys(path)?;
                if keys.add(random()?).is_none() {
                    bail!("{} holds as many keys as it may; `retire` first", path.display());
                }
                (path, replace(path, keys)?)
            }
            Self::Promote(KeysArguments { path }) => {
                let mut keys = read_session_keys(path)?;
                keys.promote();
                (path, replace(path, keys)?)
            }
            Self::Retire(KeysArguments { path }) => {
                let mut keys = read_session_keys(path)?;
                keys.retire();
                (path, replace(path, keys)?)
            }
        };
        let ids: Vec<u32> = keys.ids().collect();
        if json {
            let answer = serde_json::json!({"path": path, "signs": ids[0], "verify": ids});
            print(&answer.to_string())?;
            return Ok(Outcome::Done);
        }
        let list: Vec<String> = ids.iter().map(u32::to_string).collect();
        print(&format!(
            "{}: key {} signs, keys {} verify. Bring the file to every region.",
            path.display(),
            ids[0],
            list.join(", ")
        ))?;
        Ok(Outcome::Done)
    }
}

/// Makes a key file with one key, unless it is there.
pub(crate) fn create_if_absent(path: &Path) -> anyhow::Result<()> {
    if path.exists() { Ok(()) } else { create(path).map(drop) }
}

fn create(path: &Path) -> anyhow::Result<SessionKeys> {
    replace(path, SessionKeys::of(random()?))
}

fn random() -> anyhow::Result<[u8; SESSION_KEY_BYTES]> {
    let mut secret = [0; SESSION_KEY_BYTES];
    getrandom::fill(&mut secret)
        .map_err(|error| anyhow::anyhow!("the system gives no random bytes: {error}"))?;
    Ok(secret)
}

fn replace(path: &Path, keys: SessionKeys) -> anyhow::Result<SessionKeys> {
    let mut beside = path.to_owned().into_os_string();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let written = || -> std::io::Result<()> {
        // A left-over keeps its mode, and may lead elsewhere.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file: File =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(keys.to_text().as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    written().with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_made_and_rotated() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("session.keys");
        let of = || KeysArguments { path: path.clone() };
        KeysCommand::Create(of()).run(true).unwrap();
        assert!(KeysCommand::Create(of()).run(true).is_err(), "never overwritten");
        let ids = || read_session_keys(&path).unwrap().ids().collect::<Vec<_>>();
        assert_eq!(ids(), [1]);
        KeysCommand::Add(of()).run(true).unwrap();
        assert_eq!(ids(), [1, 2]);
        KeysCommand::Promote(of()).run(true).unwrap();
        assert_eq!(ids(), [2, 1]);
        KeysCommand::Retire(of()).run(true).unwrap();
        assert_eq!(ids(), [2]);
        fs::write(&path, "nonsense").unwrap();
        assert!(KeysCommand::Add(of()).run(true).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "nonsense");
    }
}
