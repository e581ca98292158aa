//! The files that a configuration names: certificates, keys, a token.
//!
//! Where it stands: after the rules, before anything binds. What always holds: a file's contents
//! are never printed, and a fault points at the line that names the file.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use super::error::ConfigError;

/// Where the value stands in the configuration, and the path it names.
pub(super) struct NamedFile {
    pub path: PathBuf,
    /// The fault to report if the file cannot be used, complete but for its reason.
    pub fault: ConfigError,
}

/// Every named file must open, be a file, and not be empty.
pub(super) fn check(named: &[NamedFile]) -> Result<(), ConfigError> {
    for file in named {
        if let Err(reason) = readable(&file.path) {
            let reason = format!("{} {}: {reason}", file.fault.reason, file.path.display());
            return Err(ConfigError { reason, ..file.fault.clone() });
        }
    }
    Ok(())
}

fn readable(path: &PathBuf) -> Result<(), String> {
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    let mut byte = [0u8; 1];
    match file.read(&mut byte) {
        Ok(0) => Err("the file is empty".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}
