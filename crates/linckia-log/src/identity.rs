//! Whose directory this is: a region's name and incarnation, kept as a small file. Read at start
//! before anything is written, so that a volume that moved or was copied is recognised. What always
//! holds: it is replaced as a whole, and an unknown line or version is refused, not ignored.

use crate::error::{Error, Result};
use crate::port::Disk;
use crate::small;

/// The owner of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The region's name.
    pub region: String,
    /// Its life up to its closing.
    pub incarnation: u64,
    /// When this incarnation began, in milliseconds since 1970.
    pub created_ms: u64,
}

impl Identity {
    /// The small file that holds it.
    pub const FILE: &str = "identity";
    const TITLE: &str = "linckia identity";
    const VERSION: u32 = 1;

    pub(crate) fn read(disk: &dyn Disk) -> Result<Option<Identity>> {
        let Some(bytes) = small::read(disk, Identity::FILE)? else { return Ok(None) };
        let text = std::str::from_utf8(&bytes).unwrap_or_default();
        let file = || format!("{}/{}", small::DIR, Identity::FILE);
        if let Some(found) = Identity::version(text).filter(|found| *found > Identity::VERSION) {
            return Err(Error::Version { file: file(), found, known: Identity::VERSION });
        }
        Identity::decode(text).map(Some).ok_or_else(|| Error::Corrupt {
            file: file(),
            offset: 0,
            sequence: 0,
            advice: "the identity is intact but not one that this version writes",
        })
    }

    pub(crate) fn encode(&self) -> Result<String> {
        if self.region.is_empty() || self.region.contains(char::is_control) {
            return Err(Error::BadName { name: self.region.clone() });
        }
        let Identity { region, incarnation, created_ms } = self;
        Ok(format!(
            "{} {}\nregion {region}\nincarnation {incarnation}\ncreated_ms {created_ms}\n",
            Identity::TITLE,
            Identity::VERSION
        ))
    }

    /// What the first line says.
    fn version(text: &str) -> Option<u32> {
        text.lines().next()?.strip_prefix(Identity::TITLE)?.strip_prefix(' ')?.parse().ok()
    }

    fn decode(text: &str) -> Option<Identity> {
        if Identity::version(text)? != Identity::VERSION {
            return None;
        }
        let mut lines = text.lines().skip(1);
        let region = lines.next()?.strip_prefix("region ")?.to_owned();
        let incarnation = lines.next()?.strip_prefix("incarnation ")?.parse().ok()?;
        let created_ms = lines.next()?.strip_prefix("created_ms ")?.parse().ok()?;
        lines.next().is_none().then_some(Identity { region, incarnation, created_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_decodes_and_nothing_else_does() {
        let identity = Identity { region: "eu-west".into(), incarnation: 3, created_ms: 17 };
        let text = identity.encode().unwrap();
        assert_eq!(Identity::decode(&text), Some(identity));
        assert_eq!(Identity::decode(&text.replace("identity 1", "identity 2")), None);
        assert_eq!(Identity::decode(&format!("{text}more 1\n")), None);
        assert_eq!(Identity::decode("linckia identity 1\nregion a\n"), None);
        let broken = Identity { region: "a\nincarnation 9".into(), incarnation: 1, created_ms: 0 };
        assert!(broken.encode().is_err());
        assert_eq!(Identity::version("linckia identity 12\nwhatever"), Some(12));
    }
}
