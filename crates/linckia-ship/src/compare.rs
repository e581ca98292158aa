//! What is said when regions compare what they hold: one asks, the other reads its store and
//! answers.
//!
//! First whole sections of keys by one hash each, then the rows of those that differ, then single
//! keys with what they rest on. What always holds: everything is bounded by the limits here, and an
//! answer that is lost is asked for again.

use linckia_model::{Error, Reader, Vector, Writer};

/// Bytes of a row's or a section's hash that are compared.
pub const BRIEF_BYTES: usize = 16;

/// A shortened hash.
pub type Brief = [u8; BRIEF_BYTES];

/// Sections of one question at most: with [`SECTION_ROWS`] what a reader holds while it waits.
pub const SECTIONS_MAX: usize = 64;

/// Rows of a section, as whoever asks has them.
pub const SECTION_ROWS: usize = 256;

/// Rows and bytes of keys that one answer lists: the rest is found in a later pass.
pub const LISTED_ROWS_MAX: usize = 2 * SECTIONS_MAX * SECTION_ROWS;
pub const LISTED_BYTES_MAX: usize = 4 << 20;

/// Keys that are looked at together.
pub const LOOKED_MAX: usize = 64;

/// Records that go with a key's state.
pub const RECORDS_MAX: usize = 4_096;

/// The longest key, and the largest row or record.
const KEY_BYTES_MAX: usize = 64 << 10;
const ROW_BYTES_MAX: usize = 14 << 20;

/// Consecutive keys: up to `until`, which an empty one leaves open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    pub until: Vec<u8>,
    /// Keys that show something, and the hash over them and their digests.
    pub count: u64,
    pub hash: Brief,
}

/// A key that shows something, and its digest.
pub type Listed = (Vec<u8>, Brief);

/// The rows of a section that is not the same at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Differing {
    /// Its place in the question.
    pub section: u64,
    /// In order; all of them, or as many as there was room for.
    pub rows: Vec<Listed>,
    pub whole: bool,
}

/// What a key rests on at one end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// None of a key that was never written.
    pub digest: Option<[u8; 32]>,
    /// Covers its events, but for those that every member has applied.
    pub shown: Vector,
}

/// A question about what the other end holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// Consecutive sections, the first one beginning at `from`. `verify`: rows are held against
    /// their own digests too.
    Page { from: Vec<u8>, sections: Vec<Section>, verify: bool },
    /// What these keys show. `differ`: the asker has found itself right where they differ.
    Look { keys: Vec<Vec<u8>>, differ: bool },
    /// A key's state and records.
    Fetch { key: Vec<u8> },
}

/// What the other end holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Tell {
    /// It does not hold all it should yet, knows of other lapses, or has too much to do.
    NotNow,
    Page {
        differing: Vec<Differing>,
    },
    /// In the order asked, at that vector.
    Look {
        at: Vector,
        seen: Vec<Seen>,
    },
    /// The key's row and its records' rows, at that vector; none where there are none, or too many.
    Fetch {
        at: Vector,
        key: Vec<u8>,
        found: Option<Copied>,
    },
}

/// A key's state as it lies in a store, and the records of it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Copied {
    pub row: Vec<u8>,
    pub records: Vec<(Vec<u8>, Vec<u8>)>,
}

pub(crate) fn put_ask(out: &mut Writer, ask: &Ask) {
    match ask {
        Ask::Page { from, sections, verify } => {
            out.byte(0);
            out.byte(u8::from(*verify));
            out.bytes(from);
            out.number(sections.len() as u64);
            for Section { until, count, hash } in sections {
                out.bytes(until);
                out.number(*count);
                out.0.extend_from_slice(hash);
            }
        }
        Ask::Look { keys, differ } => {
            out.byte(1);
            out.byte(u8::from(*differ));
            out.number(keys.len() as u64);
            keys.iter().for_each(|key| out.bytes(key));
        }
        Ask::Fetch { key } => {
            out.byte(2);
            out.bytes(key);
        }
    }
}

pub(crate) fn take_ask(reader: &mut Reader<'_>) -> Result<Ask, Error> {
    Ok(match reader.byte("question")? {
        0 => Ask::Page {
            verify: reader.byte("verify")? != 0,
            from: key(reader)?,
            sections: {
                let count = bounded(reader, SECTIONS_MAX)?;
                let mut section = || {
                    let (until, count) = (key(reader)?, reader.number("count")?);
                    Ok(Section { until, count, hash: array(reader)? })
                };
                (0..count).map(|_| section()).collect::<Result<_, Error>>()?
            },
        },
        1 => Ask::Look {
            differ: reader.byte("differ")? != 0,
            keys: {
                let count = bounded(reader, LOOKED_MAX)?;
                (0..count).map(|_| key(reader)).collect::<Result<_, _>>()?
            },
        },
        2 => Ask::Fetch { key: key(reader)? },
        code => return Err(Error::Code { what: "question", code: u64::from(code) }),
    })
}

pub(crate) fn put_tell(out: &mut Writer, tell: &Tell) {
    match tell {
        Tell::NotNow => out.byte(0),
        Tell::Page { differing } => {
            out.byte(1);
            out.number(differing.len() as u64);
            for Differing { section, rows, whole } in differing {
                out.number(*section);
                out.byte(u8::from(*whole));
                out.number(rows.len() as u64);
                for (key, digest) in rows {
                    out.bytes(key);
                    out.0.extend_from_slice(digest);
                }
            }
        }
        Tell::Look { at, seen } => {
            out.byte(2);
            out.vector(at);
            out.number(seen.len() as u64);
            for Seen { digest, shown } in seen {
                out.byte(u8::from(digest.is_some()));
                digest.iter().for_each(|digest| out.0.extend_from_slice(digest));
                out.vector(shown);
            }
        }
        Tell::Fetch { at, key, found } => {
            out.byte(3);
            out.vector(at);
            out.bytes(key);
            out.byte(u8::from(found.is_some()));
            if let Some(Copied { row, records }) = found {
                out.bytes(row);
                out.number(records.len() as u64);
                for (key, value) in records {
                    out.bytes(key);
                    out.bytes(value);
                }
            }
        }
    }
}

pub(crate) fn take_tell(reader: &mut Reader<'_>) -> Result<Tell, Error> {
    Ok(match reader.byte("answer")? {
        0 => Tell::NotNow,
        1 => {
            let count = bounded(reader, SECTIONS_MAX)?;
            let differing = (0..count).map(|_| take_differing(reader));
            Tell::Page { differing: differing.collect::<Result<_, _>>()? }
        }
        2 => Tell::Look {
            at: reader.vector(&Vector::new())?,
            seen: {
                let count = bounded(reader, LOOKED_MAX)?;
                (0..count).map(|_| take_seen(reader)).collect::<Result<_, _>>()?
            },
        },
        3 => Tell::Fetch {
            at: reader.vector(&Vector::new())?,
            key: key(reader)?,
            found: match reader.byte("found")? {
                0 => None,
                _ => Some(take_copied(reader)?),
            },
        },
        code => return Err(Error::Code { what: "answer", code: u64::from(code) }),
    })
}

fn take_differing(reader: &mut Reader<'_>) -> Result<Differing, Error> {
    let section = reader.number("section")?;
    let whole = reader.byte("whole")? != 0;
    let count = bounded(reader, LISTED_ROWS_MAX)?;
    let mut row = || Ok((key(reader)?, array(reader)?));
    let rows = (0..count).map(|_| row()).collect::<Result<_, Error>>()?;
    Ok(Differing { section, rows, whole })
}

fn take_seen(reader: &mut Reader<'_>) -> Result<Seen, Error> {
    let digest = match reader.byte("digest")? {
        0 => None,
        _ => Some(array(reader)?),
    };
    Ok(Seen { digest, shown: reader.vector(&Vector::new())? })
}

fn take_copied(reader: &mut Reader<'_>) -> Result<Copied, Error> {
    let row = reader.bytes("row", ROW_BYTES_MAX)?.to_vec();
    let count = bounded(reader, 2 * RECORDS_MAX)?;
    let mut record = || Ok((key(reader)?, reader.bytes("record", ROW_BYTES_MAX)?.to_vec()));
    let records = (0..count).map(|_| record()).collect::<Result<_, Error>>()?;
    Ok(Copied { row, records })
}

fn bounded(reader: &mut Reader<'_>, bound: usize) -> Result<u64, Error> {
    let count = reader.number("count")?;
    if count > bound as u64 {
        return Err(Error::Code { what: "count", code: count });
    }
    Ok(count)
}

fn key(reader: &mut Reader<'_>) -> Result<Vec<u8>, Error> {
    Ok(reader.bytes("key", KEY_BYTES_MAX)?.to_vec())
}

fn array<const N: usize>(reader: &mut Reader<'_>) -> Result<[u8; N], Error> {
    let (array, rest) = reader.0.split_first_chunk().ok_or(Error::Short("hash"))?;
    reader.0 = rest;
    Ok(*array)
}

#[cfg(test)]
mod tests {
    use linckia_model::Origin;

    use super::*;

    #[test]
    fn questions_and_answers_are_read_as_they_were_written() {
        let at: Vector = [(Origin::parse("a.0000000000000001").unwrap(), 7)].into_iter().collect();
        let section = Section { until: b"k".to_vec(), count: 3, hash: [7; BRIEF_BYTES] };
        let asks = [
            Ask::Page { from: Vec::new(), sections: vec![section.clone(); 2], verify: true },
            Ask::Look { keys: vec![b"a".to_vec(), b"b".to_vec()], differ: true },
            Ask::Fetch { key: b"a".to_vec() },
        ];
        for ask in asks {
            let mut out = Writer::default();
            put_ask(&mut out, &ask);
            assert_eq!(take_ask(&mut Reader(&out.0)).unwrap(), ask);
            assert!(take_ask(&mut Reader(&out.0[..out.0.len() - 1])).is_err());
        }
        let rows = vec![(b"a".to_vec(), [1; BRIEF_BYTES])];
        let copied = Copied { row: vec![1, 2], records: vec![(vec![3], vec![4])] };
        let (some, none) = (Some([9; 32]), None);
        let (seen, key) = (|digest| Seen { digest, shown: at.clone() }, b"a".to_vec());
        let tells = [
            Tell::NotNow,
            Tell::Page { differing: vec![Differing { section: 1, rows, whole: false }] },
            Tell::Look { at: at.clone(), seen: vec![seen(some), seen(none)] },
            Tell::Fetch { at: at.clone(), key: key.clone(), found: Some(copied) },
            Tell::Fetch { at: at.clone(), key, found: None },
        ];
        for tell in tells {
            let mut out = Writer::default();
            put_tell(&mut out, &tell);
            assert_eq!(take_tell(&mut Reader(&out.0)).unwrap(), tell);
        }
    }

    #[test]
    fn more_than_may_be_asked_for_at_once_is_no_question() {
        let keys = vec![b"a".to_vec(); LOOKED_MAX + 1];
        let mut out = Writer::default();
        put_ask(&mut out, &Ask::Look { keys, differ: false });
        assert!(take_ask(&mut Reader(&out.0)).is_err());
    }
}
