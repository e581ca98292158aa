//! The development authority's directory: `ca.pem`, `ca.key`, and `<region>.pem`,
//! `<region>.key` for each region.
//!
//! Where in the flow: `linckia up`, and a single region in development, before anything binds.
//!
//! What always holds: files appear whole (written beside, synced, renamed); keys are readable by
//! the owner alone from their first byte; processes that start at the same moment agree, because
//! whoever makes something holds the lock on `ca.lock`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::authority::{Authority, SubjectNames, authority_of_files, covers, is_fresh};
use crate::error::{Error, Result};
use crate::identity::{Pem, certificates_of};
use crate::io::identity_files::{IdentityFiles, read_pem};
use crate::region_identity::check_region_name;

const AUTHORITY_NAME: &str = "ca";
const KEY_MODE: u32 = 0o600;
const CERTIFICATE_MODE: u32 = 0o644;
const DIRECTORY_MODE: u32 = 0o700;

/// The authority of a development fleet.
pub struct DevelopmentCa {
    directory: PathBuf,
    authority: Authority,
}

impl DevelopmentCa {
    /// Opens the authority in a directory, or makes it there. Renews its certificate, under the
    /// same key, when it is near its end.
    pub fn open_or_create(directory: &Path, now: SystemTime) -> Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(directory)
            .map_err(|source| failed("create", directory, source))?;
        let _lock = lock(directory)?;
        let certificate = directory.join(format!("{AUTHORITY_NAME}.pem"));
        let key = directory.join(format!("{AUTHORITY_NAME}.key"));
        let (authority, is_new) = authority_of_files(
            (&certificate, read_if_there(&certificate)?.as_deref()),
            (&key, read_if_there(&key)?.as_deref()),
            now,
        )?;
        if is_new {
            // The key first: a certificate without its key is of no use, the reverse is mended.
            replace(&key, &authority.key_pem(), KEY_MODE)?;
            replace(&certificate, authority.certificate_pem(), CERTIFICATE_MODE)?;
            tracing::info!(directory = %directory.display(), "development authority made");
        }
        Ok(Self { directory: directory.to_owned(), authority })
    }

    /// The certificate by which clients know the fleet.
    pub fn certificate_path(&self) -> PathBuf {
        self.directory.join(format!("{AUTHORITY_NAME}.pem"))
    }

    /// The region's certificate and key: those that are there, if they are of this authority,
    /// carry all the names and are not near their end, else new ones.
    pub fn issue(
        &self,
        region: &str,
        names: &SubjectNames,
        now: SystemTime,
    ) -> Result<IdentityFiles> {
        check_region_name(region)?;
        if region == AUTHORITY_NAME {
            return Err(Error::RegionName {
                name: region.to_owned(),
                reason: "the development authority's own files have this name",
            });
        }
        let files = IdentityFiles {
            certificate: self.directory.join(format!("{region}.pem")),
            key: self.directory.join(format!("{region}.key")),
            authority: self.certificate_path(),
        };
        let _lock = lock(&self.directory)?;
        if !is_usable(&files, region, names, now) {
            let issued = self.authority.issue(region, names, now)?;
            replace(&files.key, &issued.key, KEY_MODE)?;
            replace(&files.certificate, &issued.certificate, CERTIFICATE_MODE)?;
            tracing::info!(region, "development certificate made");
        }
        Ok(files)
    }
}

fn is_usable(files: &IdentityFiles, region: &str, names: &SubjectNames, now: SystemTime) -> bool {
    let Ok(text) = read_pem(&files.certificate) else { return false };
    let pem = Pem { path: &files.certificate, text: &text };
    let Ok(chain) = certificates_of(&pem) else { return false };
    is_fresh(&chain[0], now) && covers(&chain[0], region, names) && files.load(now).is_ok()
}

/// Held while files are looked at and made; released when the file is closed.
fn lock(directory: &Path) -> Result<File> {
    let path = directory.join(format!("{AUTHORITY_NAME}.lock"));
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(KEY_MODE)
        .open(&path)
        .map_err(|source| failed("open", &path, source))?;
    file.lock().map_err(|source| failed("lock", &path, source))?;
    Ok(file)
}

fn read_if_there(path: &Path) -> Result<Option<String>> {
    match read_pem(path) {
        Ok(text) => Ok(Some(text)),
        Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces a file so that nobody ever sees a part of it. The caller holds the lock, so the name
/// beside it is free; one left by a crash is removed, because its mode is not ours.
fn replace(path: &Path, text: &str, mode: u32) -> Result<()> {
    let beside = path.with_added_extension("new");
    match fs::remove_file(&beside) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove", &beside, source));
        }
        _ => {}
    }
    let write = || {
        let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| failed("write", &beside, source))?;
    fs::rename(&beside, path).map_err(|source| failed("replace", path, source))?;
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| failed("sync", directory, source))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File { action, path: path.to_owned(), source }
}
