//! Rows: how states, identities, history and records lie in the store.
//!
//! Every row key begins with the key it belongs to, so one aggregate's rows are neighbours.
//! Integers in row keys are big-endian, so rows sort as their values do.

use std::collections::BTreeSet;

use linckia_model::{
    Claim, Dot, Error, Hlc, Identity, Key, Kind, Reader, Record, RecordKey, Stamp, Status, Vector,
    Writer,
};

use linckia_store::{Table, View};

use crate::error::{Result, row};

/// Rows of the index from conflict id to record: no key begins with this byte, it is not UTF-8.
const INDEX: u8 = 0xff;

/// Bytes of a conflict id; its text is twice as long.
pub(crate) const ID_BYTES: usize = 16;

/// Paths in rows are pointers into documents of at most the door's body limit.
const PATH_BYTES_MAX: usize = 16 << 20;

pub(crate) const APPLIED: &[u8] = b"applied";

/// Stable time as of the applied vector in the store.
pub(crate) const STABLE: &[u8] = b"stable";

/// From where on events may have to be read again, as of the applied vector in the store.
pub(crate) const FLOORS: &[u8] = b"floors";

/// The rows of the digests' ranges begin with this; the range's place follows.
pub(crate) const RANGE: &[u8] = b"range/";

pub(crate) fn identity_key(key: &Key, identity: &Identity) -> Vec<u8> {
    let mut bytes = key.to_bytes();
    bytes.extend_from_slice(identity.event_id.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(&identity.place.to_be_bytes());
    bytes
}

/// The inverse of [`identity_key`].
pub(crate) fn claim(bytes: &[u8]) -> Result<Claim> {
    let (key, length) = key_of(bytes)?;
    let read = || {
        let (event_id, rest) = text(&bytes[length..], "event id")?;
        let place = rest.first_chunk().ok_or(Error::Short("place"))?;
        Ok(Identity { event_id: event_id.into(), place: u32::from_be_bytes(*place) })
    };
    let identity = read().map_err(row("identities"))?;
    Ok(Claim { key, identity })
}

/// A text that ends with a zero, and what follows.
fn text<'a>(bytes: &'a [u8], what: &'static str) -> linckia_model::Result<(&'a str, &'a [u8])> {
    let end = bytes.iter().position(|byte| *byte == 0).ok_or(Error::Short(what))?;
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| Error::Utf8(what))?;
    Ok((text, &bytes[end + 1..]))
}

/// Where what is kept of an event lies.
pub(crate) fn event_key(dot: &Dot) -> Vec<u8> {
    let origin = dot.origin.as_str().as_bytes();
    [origin, &[0], &dot.sequence.to_be_bytes()[..]].concat()
}

/// `key` is the aggregate's key as bytes.
pub(crate) fn history_key(key: &[u8], stamp: &Stamp) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len() + 64);
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(&stamp.hlc.bits().to_be_bytes());
    bytes.extend_from_slice(stamp.dot.origin.as_str().as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(&stamp.dot.sequence.to_be_bytes());
    bytes
}

/// The event that a row of history names.
///
/// # Errors
/// A row that is not ours.
pub fn history_event(bytes: &[u8], known: &Vector) -> Result<Stamp> {
    let (_, prefix) = key_of(bytes)?;
    history_stamp(bytes, prefix, known)
}

/// Rows of history that are read at once.
const HISTORY_ROWS_MAX: usize = 1_024;

/// Every event of a key that is in the store, from one place in order to another, both included.
///
/// # Errors
/// The store's, or a row that is not ours.
pub fn history_between(
    key: &Key,
    first: &Stamp,
    last: &Stamp,
    view: &dyn View,
    known: &Vector,
) -> Result<Vec<Stamp>> {
    let prefix = key.to_bytes();
    let (mut from, mut stamps) = (history_key(&prefix, first), Vec::new());
    let until = [&history_key(&prefix, last)[..], &[0]].concat();
    loop {
        let rows = view.scan(Table::History, &from, &until, HISTORY_ROWS_MAX, false)?;
        for (bytes, _) in &rows {
            stamps.push(history_stamp(bytes, prefix.len(), known)?);
        }
        match rows.last() {
            Some((last, _)) if rows.len() == HISTORY_ROWS_MAX => {
                from = [&last[..], &[0]].concat();
            }
            _ => return Ok(stamps),
        }
    }
}

/// The stamp in a history row's key, of which `prefix` bytes are the aggregate's.
pub(crate) fn history_stamp(bytes: &[u8], prefix: usize, known: &Vector) -> Result<Stamp> {
    let read = || {
        let rest = bytes.get(prefix..).ok_or(Error::Short("history row"))?;
        let mut reader = Reader(rest);
        let hlc = Hlc::from_bits(reader.fixed("HLC")?);
        let (origin, rest) = text(reader.0, "origin")?;
        let origin = known.origin(origin)?;
        let sequence = Reader(rest).fixed("sequence")?;
        Ok(Stamp { hlc, dot: Dot { origin, sequence } })
    };
    read().map_err(row("history"))
}

pub(crate) fn stamps(stamps: &[Stamp]) -> Vec<u8> {
    let mut out = Writer::default();
    out.number(stamps.len() as u64);
    stamps.iter().for_each(|stamp| put_stamp(&mut out, stamp));
    out.0
}

pub(crate) fn read_stamps(bytes: &[u8], known: &Vector) -> Result<Vec<Stamp>> {
    let mut reader = Reader(bytes);
    let read = |reader: &mut Reader<'_>| -> linckia_model::Result<Vec<Stamp>> {
        let count = reader.number("stamps")?;
        (0..count).map(|_| take_stamp(reader, known)).collect()
    };
    read(&mut reader).map_err(row("identities"))
}

fn put_stamp(out: &mut Writer, stamp: &Stamp) {
    out.text(stamp.dot.origin.as_str());
    out.number(stamp.dot.sequence);
    out.fixed(stamp.hlc.bits());
}

fn take_stamp(reader: &mut Reader<'_>, known: &Vector) -> linckia_model::Result<Stamp> {
    let origin = reader.origin(known)?;
    let sequence = reader.number("sequence")?;
    Ok(Stamp { hlc: Hlc::from_bits(reader.fixed("HLC")?), dot: Dot { origin, sequence } })
}

/// A conflict's id: the hash of its losers' dots, sorted, and then the winner's. The winner stands
/// apart because two events can hide each other: one by its value, the other by its reused id.
pub(crate) fn conflict_id(key: &RecordKey) -> [u8; ID_BYTES] {
    let losers: BTreeSet<&Dot> = key.losers.iter().map(|stamp| &stamp.dot).collect();
    let mut hasher = blake3::Hasher::new();
    for dot in losers.into_iter().chain([&key.winner.dot]) {
        hasher.update(dot.origin.as_str().as_bytes());
        hasher.update(b":");
        hasher.update(&dot.sequence.to_be_bytes());
    }
    let mut id = [0; ID_BYTES];
    id.copy_from_slice(&hasher.finalize().as_bytes()[..ID_BYTES]);
    id
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

/// Records sort by aggregate and then by when replay puts them on record.
pub(crate) fn record_key(key: &Key, record: &RecordKey) -> Vec<u8> {
    let mut bytes = key.to_bytes();
    bytes.extend_from_slice(&record.at().hlc.bits().to_be_bytes());
    bytes.extend_from_slice(&conflict_id(record));
    bytes
}

pub(crate) fn index_key(id: &[u8]) -> Vec<u8> {
    [&[INDEX], id].concat()
}

/// Where the index begins: the end of the records.
pub(crate) const fn index_start() -> [u8; 1] {
    [INDEX]
}

/// What a record says beyond its paths that waits for a person, or waited.
const OPEN: u8 = 1;
const SETTLED_BY: u8 = 2;

pub(crate) fn record(key: &RecordKey, record: &Record) -> Vec<u8> {
    let mut out = Writer::default();
    out.byte(record.kind.code());
    put_stamp(&mut out, &key.winner);
    out.number(key.losers.len() as u64);
    key.losers.iter().for_each(|loser| put_stamp(&mut out, loser));
    out.number(record.paths.len() as u64);
    record.paths.iter().for_each(|path| out.text(path));
    // Nothing more is a record that a rule settled.
    match &record.status {
        Status::Settled => {}
        Status::Open => out.byte(OPEN),
        Status::SettledBy(stamp) => {
            out.byte(SETTLED_BY);
            put_stamp(&mut out, stamp);
        }
    }
    out.0
}

pub(crate) fn read_record(bytes: &[u8], known: &Vector) -> Result<(RecordKey, Record)> {
    let read = || -> linckia_model::Result<(RecordKey, Record)> {
        let mut reader = Reader(bytes);
        let kind = Kind::from_code(reader.byte("kind")?)?;
        let winner = take_stamp(&mut reader, known)?;
        let losers = reader.number("losers")?;
        let losers: linckia_model::Result<Vec<_>> =
            (0..losers).map(|_| take_stamp(&mut reader, known)).collect();
        let mut paths = BTreeSet::new();
        for _ in 0..reader.number("paths")? {
            paths.insert(reader.text("path", PATH_BYTES_MAX)?.to_owned());
        }
        let status = match reader.0.is_empty() {
            true => Status::Settled,
            false => match reader.byte("status")? {
                OPEN => Status::Open,
                SETTLED_BY => Status::SettledBy(take_stamp(&mut reader, known)?),
                code => return Err(Error::Code { what: "status", code: u64::from(code) }),
            },
        };
        Ok((RecordKey { losers: losers?, winner }, Record { paths, kind, status }))
    };
    read().map_err(row("records"))
}

/// The key that a row key begins with, and how many bytes of it that is.
pub(crate) fn key_of(bytes: &[u8]) -> Result<(Key, usize)> {
    let key = Key::from_bytes(bytes).map_err(row("records"))?;
    let length = key.data_set.len() + key.aggregate_type.len() + key.aggregate_id.len() + 3;
    Ok((key, length))
}
