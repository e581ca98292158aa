//! Frames of a backup: a header with a checksum, and compressed bytes.
//!
//! Under everything that writes or reads one. What always holds: what `encode` made, `front` finds
//! again or says what is wrong with it; no length is trusted before the checksum is.

use std::fmt;
use std::io;

/// In front of every part that lies somewhere.
pub(crate) const MAGIC: &[u8; 8] = b"lnkbkup1";

/// Kind, a zero, the length as it lies, the length as it was, the checksum of all but itself.
pub(crate) const HEADER: usize = 14;

/// A frame holds a row at least, and a row is bounded by what a door takes.
const BYTES_MAX: usize = 256 << 20;

/// Good compression at little cost.
const ZSTD_LEVEL: i32 = 1;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// What the backup is, as JSON.
    Head = 1,
    /// Rows of one table.
    Rows = 2,
    /// An origin, then records of its log.
    Records = 3,
    /// What was before it is all, as JSON.
    End = 4,
}

/// What is wrong with bytes that should be a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damage(pub(crate) &'static str);

impl fmt::Display for Damage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

impl std::error::Error for Damage {}

/// A frame among others.
pub(crate) struct Frame<'a> {
    pub(crate) kind: Kind,
    stored: &'a [u8],
    raw_bytes: usize,
}

impl Frame<'_> {
    /// How many bytes it takes with its header.
    pub(crate) fn bytes(&self) -> usize {
        HEADER + self.stored.len()
    }

    /// What it holds.
    pub(crate) fn open(&self) -> Result<Vec<u8>, Damage> {
        let raw = zstd::bulk::decompress(self.stored, self.raw_bytes);
        raw.ok()
            .filter(|raw| raw.len() == self.raw_bytes)
            .ok_or(Damage("a frame that verifies cannot be decompressed"))
    }
}

/// The bytes of a frame.
///
/// # Errors
/// It holds more than a frame may.
pub(crate) fn encode(kind: Kind, raw: &[u8]) -> io::Result<Vec<u8>> {
    if raw.len() > BYTES_MAX {
        return Err(io::Error::other("a piece of a backup is larger than any that is read"));
    }
    let stored = zstd::bulk::compress(raw, ZSTD_LEVEL)?;
    let mut out = Vec::with_capacity(HEADER + stored.len());
    out.extend_from_slice(&[kind as u8, 0]);
    out.extend_from_slice(&(stored.len() as u32).to_le_bytes());
    out.extend_from_slice(&(raw.len() as u32).to_le_bytes());
    let check = checksum(&out, &stored);
    out.extend_from_slice(&check.to_le_bytes());
    out.extend_from_slice(&stored);
    Ok(out)
}

fn checksum(header: &[u8], stored: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(stored);
    hasher.finalize()
}

/// The frame in front of the bytes; none if it is not all there yet.
pub(crate) fn front(bytes: &[u8]) -> Result<Option<Frame<'_>>, Damage> {
    let Some((header, rest)) = bytes.split_at_checked(HEADER) else { return Ok(None) };
    let word = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let kind = match header[0] {
        1 => Kind::Head,
        2 => Kind::Rows,
        3 => Kind::Records,
        4 => Kind::End,
        _ => return Err(Damage("no frame begins here")),
    };
    let (stored_bytes, raw_bytes) = (word(2) as usize, word(6) as usize);
    if header[1] != 0 || stored_bytes > BYTES_MAX || raw_bytes > BYTES_MAX {
        return Err(Damage("no frame begins here"));
    }
    let Some(stored) = rest.get(..stored_bytes) else { return Ok(None) };
    if checksum(&header[..10], stored) != word(10) {
        return Err(Damage("a frame does not verify"));
    }
    Ok(Some(Frame { kind, stored, raw_bytes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_found_again_and_damage_is_noticed() {
        let bytes = encode(Kind::Rows, &[7; 1000]).unwrap();
        let frame = front(&bytes).unwrap().unwrap();
        assert_eq!((frame.kind, frame.bytes()), (Kind::Rows, bytes.len()));
        assert_eq!(frame.open().unwrap(), [7; 1000]);
        for length in 0..bytes.len() {
            assert!(front(&bytes[..length]).unwrap().is_none(), "{length}");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            let whole = front(&damaged).is_ok_and(|frame| frame.is_some());
            assert!(!whole, "a flip at {at}");
        }
    }
}
