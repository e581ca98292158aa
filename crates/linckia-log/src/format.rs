//! The bytes on disk, version 1: pure encoding and decoding, no file. The writer (`log.rs`), the
//! scanner and the reader all use these functions and no other. What always holds: every byte that
//! means something is under a CRC-32 whose start value comes from the segment's random salt, so
//! that bytes of another segment, or of an earlier life of the same file, never verify. All numbers
//! are little-endian; records start at multiples of 8.
//!
//! ```text
//! segment   header(512) · records … · zeros … · mark(512) · the same header again(512)
//! header    magic(8) version(4) origin length(2) 0(2) first(8) previous(8) durable(8)
//!           capacity(8) salt(16) chain before first(16) origin(≤ 128) 0… crc(4)
//! record    header crc(4) payload crc(4) durable(8)                          local
//!           length(4) kind(1) flags(1) 0(2) sequence(8) salt(16) chain(16)   travels
//!           payload(length)                                                  travels
//!           0…(to a multiple of 8)
//! mark      a record of another kind, without payload, replaced in place
//! ```
//!
//! `durable` is the highest sequence that the writer knew to be fsynced when it made the record (or
//! the header). It is what lets recovery tell a torn tail from lost data: a hole at sequence n is
//! corruption exactly if anything that survived says `durable ≥ n`. A mark says it for the last
//! records, where no record behind them can; it has a sector of its own, far from theirs.
//!
//! The header stands at both ends of the file because losing it would make the whole segment look
//! as if it had never been completed; no single fault takes both.

use crate::chain::{Chain, Salt};

pub(crate) const VERSION: u32 = 1;
pub(crate) const SEGMENT_HEADER: usize = 512;
/// Where records begin.
pub(crate) const DATA_START: u64 = SEGMENT_HEADER as u64;
pub(crate) const RECORD_HEADER: usize = 64;
/// The part of a record's header that stays here; what follows it travels to peers as it is.
pub(crate) const LOCAL_HEADER: usize = 16;
pub(crate) const WIRE_HEADER: usize = RECORD_HEADER - LOCAL_HEADER;
pub(crate) const ORIGIN_BYTES_MAX: usize = 128;
pub(crate) const SEGMENT_BYTES_MIN: u64 = 4096;
/// Offsets within a segment are kept in 32 bits.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 1 << 30;

const MAGIC: &[u8; 8] = b"linckia\x1b";

/// An event's record.
pub(crate) const KIND_EVENT: u8 = 1;
/// The mark, which only states what is durable.
pub(crate) const KIND_MARK: u8 = 2;
/// The next record belongs to the same group.
pub(crate) const FLAG_MORE: u8 = 1;

/// The bytes of records that a segment of this capacity can take.
pub(crate) fn room(capacity: u64) -> u64 {
    data_end(capacity).saturating_sub(DATA_START)
}

/// Where records must end in a segment of this capacity, and the mark stands.
pub(crate) fn data_end(capacity: u64) -> u64 {
    capacity.saturating_sub(2 * SEGMENT_HEADER as u64)
}

/// What a record with a payload of this length takes.
pub(crate) fn record_bytes(payload: usize) -> u64 {
    RECORD_HEADER as u64 + (payload as u64).next_multiple_of(8)
}

/// The start value of every CRC in a segment.
pub(crate) fn seed(salt: &Salt) -> u32 {
    crc32fast::hash(salt)
}

pub(crate) fn crc(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

/// A little-endian number at a fixed place. The callers have checked that the bytes are there.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

/// A segment's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) origin: String,
    /// The sequence of its first record.
    pub(crate) first: u64,
    /// The first sequence of the segment before it, 0 if there never was one: so that a missing
    /// file in the middle shows.
    pub(crate) previous: u64,
    /// What was durable when it was made.
    pub(crate) durable: u64,
    pub(crate) capacity: u64,
    pub(crate) salt: Salt,
    /// The chain before the first record.
    pub(crate) chain: Chain,
}

/// What stands where a header should be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Header {
    Known(SegmentHeader),
    /// Intact, but of a version that this code does not read.
    Foreign(u32),
    Damaged,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut bytes = [0; SEGMENT_HEADER];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..14].copy_from_slice(&(self.origin.len() as u16).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.previous.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.durable.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.capacity.to_le_bytes());
        bytes[48..64].copy_from_slice(&self.salt);
        bytes[64..80].copy_from_slice(&self.chain);
        bytes[80..80 + self.origin.len()].copy_from_slice(self.origin.as_bytes());
        let check = crc(0, &bytes[..SEGMENT_HEADER - 4]);
        bytes[SEGMENT_HEADER - 4..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; SEGMENT_HEADER]) -> Header {
        let check = crc(0, &bytes[..SEGMENT_HEADER - 4]);
        if bytes[..8] != *MAGIC || u32_at(bytes, SEGMENT_HEADER - 4) != check {
            return Header::Damaged;
        }
        let version = u32_at(bytes, 8);
        if version != VERSION {
            return Header::Foreign(version);
        }
        let length = usize::from(u16::from_le_bytes(array_at(bytes, 12)));
        if length > ORIGIN_BYTES_MAX {
            return Header::Damaged;
        }
        let Ok(origin) = std::str::from_utf8(&bytes[80..80 + length]) else {
            return Header::Damaged;
        };
        let capacity = u64_at(bytes, 40);
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&capacity) || u64_at(bytes, 16) == 0 {
            return Header::Damaged;
        }
        Header::Known(SegmentHeader {
            origin: origin.to_owned(),
            first: u64_at(bytes, 16),
            previous: u64_at(bytes, 24),
            durable: u64_at(bytes, 32),
            capacity,
            salt: array_at(bytes, 48),
            chain: array_at(bytes, 64),
        })
    }
}

/// A record's header, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) payload_crc: u32,
    pub(crate) durable: u64,
    pub(crate) length: u32,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) sequence: u64,
    pub(crate) salt: Salt,
    pub(crate) chain: Chain,
}

impl RecordHeader {
    /// Writes the record behind what `buffer` holds. `payload_crc` and `length` are computed.
    pub(crate) fn encode(&self, seed: u32, payload: &[u8], buffer: &mut Vec<u8>) {
        let start = buffer.len();
        let body = start + RECORD_HEADER;
        let end = start + record_bytes(payload.len()) as usize;
        buffer.reserve(end - start);
        let mut header = [0; RECORD_HEADER];
        header[8..16].copy_from_slice(&self.durable.to_le_bytes());
        header[16..20].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        header[20] = self.kind;
        header[21] = self.flags;
        header[24..32].copy_from_slice(&self.sequence.to_le_bytes());
        header[32..48].copy_from_slice(&self.salt);
        header[48..64].copy_from_slice(&self.chain);
        buffer.extend_from_slice(&header);
        buffer.extend_from_slice(payload);
        buffer.resize(end, 0);
        let payload_crc = crc(seed, &buffer[body..end]);
        buffer[start + 4..start + 8].copy_from_slice(&payload_crc.to_le_bytes());
        let header_crc = crc(seed, &buffer[start + 4..body]);
        buffer[start..start + 4].copy_from_slice(&header_crc.to_le_bytes());
    }

    /// The header at the front of `bytes`, if it is one of this segment. The cheap checks come
    /// first: recovery asks at every eighth byte of a damaged area.
    pub(crate) fn decode(seed: u32, bytes: &[u8]) -> Option<RecordHeader> {
        let bytes = bytes.get(..RECORD_HEADER)?;
        let (kind, flags) = (bytes[20], bytes[21]);
        let known =
            (kind == KIND_EVENT && flags & !FLAG_MORE == 0) || (kind == KIND_MARK && flags == 0);
        if !known || bytes[22..24] != [0, 0] || u32_at(bytes, 0) != crc(seed, &bytes[4..]) {
            return None;
        }
        Some(RecordHeader {
            payload_crc: u32_at(bytes, 4),
            durable: u64_at(bytes, 8),
            length: u32_at(bytes, 16),
            kind,
            flags,
            sequence: u64_at(bytes, 24),
            salt: array_at(bytes, 32),
            chain: array_at(bytes, 48),
        })
    }

    /// What the whole record takes.
    pub(crate) fn bytes(&self) -> u64 {
        record_bytes(self.length as usize)
    }

    /// Whether another record of the same group follows.
    pub(crate) fn more(&self) -> bool {
        self.flags & FLAG_MORE != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            origin: "eu-1.1.0".to_owned(),
            first: 9,
            previous: 1,
            durable: 8,
            capacity: 4096,
            salt: [7; 16],
            chain: [8; 16],
        }
    }

    #[test]
    fn a_segment_header_survives_and_shows_every_flip() {
        let bytes = header().encode();
        assert_eq!(SegmentHeader::decode(&bytes), Header::Known(header()));
        for at in 0..SEGMENT_HEADER {
            let mut flipped = bytes;
            flipped[at] ^= 0x10;
            assert_eq!(SegmentHeader::decode(&flipped), Header::Damaged, "byte {at}");
        }
    }

    #[test]
    fn another_version_is_named_not_called_damage() {
        let mut bytes = header().encode();
        bytes[8] = 2;
        let check = crc(0, &bytes[..SEGMENT_HEADER - 4]);
        bytes[SEGMENT_HEADER - 4..].copy_from_slice(&check.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Header::Foreign(2));
    }

    #[test]
    fn a_record_verifies_only_under_its_own_seed() {
        let record = RecordHeader {
            payload_crc: 0,
            durable: 3,
            length: 0,
            kind: KIND_EVENT,
            flags: FLAG_MORE,
            sequence: 4,
            salt: [1; 16],
            chain: [2; 16],
        };
        let mut buffer = Vec::new();
        record.encode(11, b"thirteen byte", &mut buffer);
        assert_eq!(buffer.len(), 64 + 16);
        let decoded = RecordHeader::decode(11, &buffer).unwrap();
        assert_eq!((decoded.sequence, decoded.length, decoded.durable), (4, 13, 3));
        assert_eq!(decoded.payload_crc, crc(11, &buffer[64..]));
        assert_eq!(RecordHeader::decode(12, &buffer), None);
        for at in 0..RECORD_HEADER {
            let mut flipped = buffer.clone();
            flipped[at] ^= 1;
            assert_eq!(RecordHeader::decode(11, &flipped), None, "byte {at}");
        }
        assert_eq!(RecordHeader::decode(11, &[0; 64]), None);
    }
}
