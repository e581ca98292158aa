//! Hybrid logical time: 48 bits of milliseconds and a 16-bit counter, in one ordered integer.
//!
//! Every event and heartbeat carries one; the rules by which a region takes the next are in
//! `clock`. Source: Kulkarni et al., "Logical Physical Clocks" (2014).

use std::fmt;

use crate::error::{Error, Result};

/// Bits of the counter below the milliseconds.
const COUNTER_BITS: u32 = 16;

/// A hybrid timestamp: milliseconds since the Unix epoch above a counter. Zero is before every
/// event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hlc(u64);

impl Hlc {
    pub const ZERO: Self = Self(0);
    pub const MAX: Self = Self(u64::MAX);

    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The lowest timestamp of that millisecond; milliseconds beyond 48 bits saturate.
    pub const fn from_milliseconds(milliseconds: u64) -> Self {
        if milliseconds >= 1 << 48 { Self(u64::MAX) } else { Self(milliseconds << COUNTER_BITS) }
    }

    pub const fn bits(self) -> u64 {
        self.0
    }

    pub const fn milliseconds(self) -> u64 {
        self.0 >> COUNTER_BITS
    }

    /// The next timestamp; a full counter carries into the millisecond.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Reads 16 lower-case hex digits. Errors: [`Error::Hlc`].
    pub fn parse(text: &str) -> Result<Self> {
        let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != 16 || !text.bytes().all(lower) {
            return Err(Error::Hlc(text.to_owned()));
        }
        let bits = u64::from_str_radix(text, 16).map_err(|_| Error::Hlc(text.to_owned()))?;
        Ok(Self(bits))
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.milliseconds(), self.0 & 0xffff)
    }
}
