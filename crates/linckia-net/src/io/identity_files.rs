//! Reads identities from PEM files.
//!
//! Where in the flow: the binary, once at the start, before anything binds.
//!
//! What always holds: an error names the file, what is wrong with it and what to do; a key that
//! others on the machine may read is said in the log, not refused, because volumes of secrets are
//! often mounted like that.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::{Error, Result};
use crate::identity::{ClientTls, DoorTls, Identity, Pem};

/// Chains and keys have some kilobytes; whatever is larger is another file named by mistake.
const PEM_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Where a region's identity lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFiles {
    /// The region's certificate, then what links it to the authority, if anything.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// The authority of the fleet; several certificates while it is being replaced.
    pub authority: PathBuf,
}

impl IdentityFiles {
    /// Reads and checks them as of `now`.
    pub fn load(&self, now: SystemTime) -> Result<Identity> {
        let certificate = read_pem(&self.certificate)?;
        let key = read_key(&self.key)?;
        let authority = read_pem(&self.authority)?;
        Identity::from_pem(
            &Pem { path: &self.certificate, text: &certificate },
            &Pem { path: &self.key, text: &key },
            &Pem { path: &self.authority, text: &authority },
            now,
        )
    }
}

impl DoorTls {
    /// The door's own certificate and key; with a client authority, certificates of clients are
    /// asked for and checked against it, and a client may still present none.
    pub fn load(certificate: &Path, key: &Path, client_authority: Option<&Path>) -> Result<Self> {
        let certificate_text = read_pem(certificate)?;
        let key_text = read_key(key)?;
        let authority_text = client_authority.map(read_pem).transpose()?;
        let authority =
            client_authority.zip(authority_text.as_deref()).map(|(path, text)| Pem { path, text });
        Self::from_pem(
            &Pem { path: certificate, text: &certificate_text },
            &Pem { path: key, text: &key_text },
            authority.as_ref(),
        )
    }
}

impl ClientTls {
    /// The authority that doors must be certified by, and the client's own certificate and key.
    pub fn load(authority: &Path, own: Option<(&Path, &Path)>) -> Result<Self> {
        let authority_text = read_pem(authority)?;
        let authority = Pem { path: authority, text: &authority_text };
        let Some((certificate, key)) = own else { return Self::from_pem(&authority, None) };
        let certificate_text = read_pem(certificate)?;
        let key_text = read_key(key)?;
        Self::from_pem(
            &authority,
            Some((
                &Pem { path: certificate, text: &certificate_text },
                &Pem { path: key, text: &key_text },
            )),
        )
    }
}

pub(crate) fn read_pem(path: &Path) -> Result<String> {
    let failed = |source| Error::File { action: "read", path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(PEM_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    let refuse = |problem| Error::Pem {
        path: path.to_owned(),
        problem,
        advice: "name a file in PEM form",
        source: None,
    };
    if bytes.len() as u64 > PEM_FILE_BYTES_MAX {
        return Err(refuse("this file is larger than any certificate"));
    }
    String::from_utf8(bytes).map_err(|_| refuse("this file is not text"))
}

fn read_key(path: &Path) -> Result<String> {
    let text = read_pem(path)?;
    if let Ok(metadata) = fs::metadata(path)
        && metadata.permissions().mode() & 0o007 != 0
    {
        tracing::warn!(path = %path.display(), "key file open to every user; chmod 600 advised");
    }
    Ok(text)
}
