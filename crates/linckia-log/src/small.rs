//! Small files that are replaced as a whole: the region's identity, and whatever else a room must
//! keep beside the log. What always holds: a reader finds the old content or the new, never a
//! mixture, and damaged content is an error, not absence.

use std::io;

use crate::error::{Error, Result};
use crate::format::{crc, u32_at};
use crate::log::no_room;
use crate::port::Disk;

pub(crate) const DIR: &str = "small";
const SUFFIX_NEW: &str = ".new";
const MAGIC: &[u8; 8] = b"lnksmall";
const VERSION: u32 = 1;
const HEADER: usize = 20;
/// A small file is read and written in one piece.
const BYTES_MAX: usize = 1 << 20;

pub(crate) fn read(disk: &dyn Disk, name: &str) -> Result<Option<Vec<u8>>> {
    let path = path(name)?;
    let failed = |source| Error::io("read", &path)(source);
    let file = match disk.open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let corrupt =
        |offset, advice| Error::Corrupt { file: path.clone(), offset, sequence: 0, advice };
    let length = file.len().map_err(failed)?;
    if length > (HEADER + BYTES_MAX) as u64 {
        return Err(corrupt(0, "a small file is longer than any that is written"));
    }
    let mut bytes = vec![0; length as usize];
    let read = file.read_at(0, &mut bytes).map_err(failed)?;
    if read != bytes.len() || read < HEADER || bytes[..8] != *MAGIC {
        return Err(corrupt(0, "a small file does not verify; restore it from a backup"));
    }
    let version = u32_at(&bytes, 8);
    if u32_at(&bytes, 16) != check(version, &bytes[HEADER..])
        || u32_at(&bytes, 12) as usize != bytes.len() - HEADER
    {
        return Err(corrupt(8, "a small file does not verify; restore it from a backup"));
    }
    if version != VERSION {
        return Err(Error::Version { file: path, found: version, known: VERSION });
    }
    bytes.drain(..HEADER);
    Ok(Some(bytes))
}

pub(crate) fn write(disk: &dyn Disk, name: &str, bytes: &[u8]) -> Result<()> {
    let path = path(name)?;
    if bytes.len() > BYTES_MAX {
        return Err(Error::TooLarge { bytes: bytes.len() as u64, bound: BYTES_MAX as u64 });
    }
    let mut content = Vec::with_capacity(HEADER + bytes.len());
    content.extend_from_slice(MAGIC);
    content.extend_from_slice(&VERSION.to_le_bytes());
    content.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    content.extend_from_slice(&check(VERSION, bytes).to_le_bytes());
    content.extend_from_slice(bytes);
    let new = format!("{path}{SUFFIX_NEW}");
    match replace(disk, &path, &new, &content) {
        Ok(()) => Ok(()),
        Err(error) if no_room(&error) && disk.remove(&new).is_ok() => {
            Err(Error::NoSpace { path, source: error })
        }
        Err(error) => Err(Error::io("write", &path)(error)),
    }
}

/// Removes what an interrupted replacement left.
pub(crate) fn clean(disk: &dyn Disk) -> Result<()> {
    for name in disk.list(DIR).map_err(Error::io("list", DIR))? {
        if name.ends_with(SUFFIX_NEW) {
            let path = format!("{DIR}/{name}");
            disk.remove(&path).map_err(Error::io("remove", &path))?;
        }
    }
    // Names found after a crash may not be durable yet; what is read from here on must be.
    disk.sync_dir(DIR).map_err(Error::io("sync", DIR))
}

fn replace(disk: &dyn Disk, path: &str, new: &str, content: &[u8]) -> io::Result<()> {
    let file = disk.create(new)?;
    file.write_at(0, content)?;
    file.sync_data()?;
    disk.rename(new, path)?;
    disk.sync_dir(DIR)
}

fn check(version: u32, bytes: &[u8]) -> u32 {
    crc(version, bytes)
}

fn path(name: &str) -> Result<String> {
    let usable = !name.is_empty()
        && name.len() <= 64
        && !name.starts_with('.')
        && !name.ends_with(SUFFIX_NEW)
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if usable { Ok(format!("{DIR}/{name}")) } else { Err(Error::BadName { name: name.to_owned() }) }
}
