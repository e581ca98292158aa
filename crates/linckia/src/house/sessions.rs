//! The keys of session tokens: read at the start, and again whenever their file changes.
//!
//! So keys rotate while regions run. What always holds: a file that cannot be read or understood
//! changes nothing; the keys read last stay.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use linckia_model::SessionKeys;
use tokio::sync::watch;

/// A key file has some lines; more is another file given by mistake.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Between two looks at the file.
const LOOK: Duration = Duration::from_secs(2);

/// Reads a key file.
///
/// # Errors
/// What is wrong with it, and where.
pub(crate) fn read(path: &Path) -> anyhow::Result<(String, SessionKeys)> {
    let bytes = std::fs::metadata(path).map(|file| file.len());
    let bytes = bytes.with_context(|| format!("{} cannot be read", path.display()))?;
    anyhow::ensure!(bytes <= FILE_BYTES_MAX, "{} is too large for a key file", path.display());
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    let keys = SessionKeys::parse(&text)
        .with_context(|| format!("{} is no file of session keys", path.display()))?;
    Ok((text, keys))
}

/// The keys of a file, as they are now. The receiver follows while the runtime runs.
pub(super) fn follow(path: PathBuf) -> anyhow::Result<watch::Receiver<Arc<SessionKeys>>> {
    let (mut text, keys) = read(&path)?;
    let (sender, receiver) = watch::channel(Arc::new(keys));
    tokio::spawn(async move {
        let mut told = false;
        loop {
            tokio::time::sleep(LOOK).await;
            if sender.is_closed() {
                return;
            }
            match read(&path) {
                Ok((now, _)) if now == text => told = false,
                Ok((now, keys)) => {
                    tracing::info!(?keys, "session keys read anew");
                    (text, told) = (now, false);
                    let _ = sender.send(Arc::new(keys));
                }
                // Said once until it is mended.
                Err(error) if !std::mem::replace(&mut told, true) => {
                    let error = format!("{error:#}");
                    tracing::warn!(error, "the session keys stay as they were");
                }
                Err(_) => {}
            }
        }
    });
    Ok(receiver)
}
