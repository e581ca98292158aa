//! Frames as bytes: a kind, a flag for compression, then the fields.
//!
//! Records are compressed by zstd where that saves bytes. Bytes that are no frame are an error that
//! says why; a decompressed size beyond the bound is refused before it is allocated.

use linckia_model::{Heartbeat, Hlc, Reader, RegionName, Vector, Writer};

use crate::compare::{put_ask, put_tell, take_ask, take_tell};
use crate::frame::{Forward, Forwarded, Frame, News, PROTOCOL_MAX, PROTOCOL_MIN, Pull};
use crate::snapshot::{Base, Cut, Gap, Page, SnapshotPull};

/// Records of one batch, decompressed, at most: a chunk plus one large transaction.
const RECORDS_BYTES_MAX: usize = 64 << 20;

/// Below this, about three events, compressing costs more than it saves.
const COMPRESS_FROM: usize = 1_024;

/// The fastest level: links are rarely the limit, processors are.
const COMPRESS_LEVEL: i32 = 1;

/// More heartbeats or regions than this in a frame is not a frame of ours.
const ENTRIES_MAX: u64 = 4_096;

const TEXT_BYTES_MAX: usize = 4_096;

/// A place names a row, whose name is as long as a client's ids.
const PLACE_BYTES_MAX: usize = 64 << 10;

/// A header or a target of a forwarded request: a session token is far below.
const HEADER_BYTES_MAX: usize = 128 << 10;

/// A body that is forwarded, or a message of the agreement: more than a door takes by default, less
/// than a frame holds.
const FORWARDED_BYTES_MAX: usize = 14 << 20;

/// Why bytes are no frame.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a frame of kind {0} was sent by a newer version")]
    Kind(u8),
    #[error("a frame is malformed")]
    Malformed(#[from] linckia_model::Error),
    #[error("the records of a batch do not decompress")]
    Compression(#[source] std::io::Error),
}

/// Makes frames into bytes; one per link, because it keeps what compressing needs.
pub struct Encoder(Option<zstd::bulk::Compressor<'static>>);

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    pub fn new() -> Self {
        // Without a compressor, which only a lack of memory explains, frames go as they are.
        Self(zstd::bulk::Compressor::new(COMPRESS_LEVEL).ok())
    }

    /// The bytes of a frame.
    pub fn encode(&mut self, frame: &Frame) -> Vec<u8> {
        encode(frame, &mut self.0)
    }
}

fn encode(frame: &Frame, compressor: &mut Option<zstd::bulk::Compressor<'static>>) -> Vec<u8> {
    let mut out = Writer::default();
    match frame {
        Frame::Hello { region, protocol_min, protocol_max, place } => {
            put_hello(&mut out, region, (*protocol_min, *protocol_max), place);
        }
        Frame::Welcome { region, protocol } => {
            out.byte(2);
            out.text(region.as_str());
            out.number(u64::from(*protocol));
        }
        Frame::Refuse { reason, elsewhere } => {
            out.byte(3);
            out.text(reason);
            out.byte(u8::from(*elsewhere));
        }
        Frame::Pull(pull) => put_pull(&mut out, pull),
        Frame::Batch { session, number, origin, records, prompt } => {
            out.byte(5);
            out.number(*session);
            out.number(*number);
            out.text(origin.as_str());
            out.byte(u8::from(*prompt));
            put_records(&mut out, records, compressor);
        }
        Frame::Forward { number, forward } => {
            out.byte(7);
            out.number(*number);
            put_forward(&mut out, forward);
        }
        Frame::Forwarded { number, forwarded } => put_forwarded(&mut out, *number, forwarded),
        Frame::Consult { number, question } => {
            out.byte(9);
            out.number(*number);
            out.bytes(question);
        }
        Frame::Consulted { number, answer } => {
            out.byte(10);
            out.number(*number);
            out.bytes(answer);
        }
        Frame::Beat { session, number, echo, news } => {
            out.byte(6);
            out.number(*session);
            out.number(*number);
            out.number(*echo);
            put_news(&mut out, news);
        }
        Frame::Gap(gap) => put_gap(&mut out, gap),
        Frame::SnapshotPull(pull) => put_snapshot_pull(&mut out, pull),
        Frame::Cut(cut) => {
            out.byte(13);
            out.0.extend_from_slice(&encode_cut(cut));
        }
        Frame::Page(Page { snapshot, number, rows, place }) => {
            out.byte(14);
            out.fixed(*snapshot);
            out.number(*number);
            out.bytes(place);
            put_records(&mut out, rows, compressor);
        }
        Frame::NoSnapshot { snapshot } => {
            out.byte(15);
            out.fixed(*snapshot);
        }
        Frame::Compare { number, epoch, ask } => {
            out.byte(16);
            out.number(*number);
            out.number(*epoch);
            put_ask(&mut out, ask);
        }
        Frame::Compared { number, epoch, tell } => {
            out.byte(17);
            out.number(*number);
            out.number(*epoch);
            put_tell(&mut out, tell);
        }
    }
    out.0
}

fn put_hello(out: &mut Writer, region: &RegionName, (min, max): (u16, u16), place: &str) {
    out.byte(1);
    out.text(region.as_str());
    out.number(u64::from(min));
    out.number(u64::from(max));
    out.text(place);
}

fn put_gap(out: &mut Writer, Gap { session, origin, first }: &Gap) {
    out.byte(11);
    out.number(*session);
    out.text(origin.as_str());
    out.number(*first);
}

fn put_snapshot_pull(out: &mut Writer, pull: &SnapshotPull) {
    let SnapshotPull { snapshot, received, place, again, gone } = pull;
    out.byte(12);
    out.fixed(*snapshot);
    out.number(*received);
    out.bytes(place);
    out.byte(u8::from(*again));
    out.vector(gone);
}

/// The bytes of a cut: a joiner keeps it beside the rows.
pub fn encode_cut(Cut { snapshot, at, bases, hlc, bytes }: &Cut) -> Vec<u8> {
    let mut out = Writer::default();
    out.fixed(*snapshot);
    out.vector(at);
    out.number(bases.len() as u64);
    for Base { origin, sequence, chain } in bases {
        out.text(origin.as_str());
        out.number(*sequence);
        out.0.extend_from_slice(chain);
    }
    out.fixed(hlc.bits());
    out.number(*bytes);
    out.0
}

/// The inverse of [`encode_cut`].
///
/// # Errors
/// [`linckia_model::Error`] where the bytes are none.
pub fn decode_cut(bytes: &[u8]) -> Result<Cut, linckia_model::Error> {
    let (mut reader, none) = (Reader(bytes), Vector::new());
    let snapshot = reader.fixed("snapshot")?;
    let at = reader.vector(&none)?;
    let count = reader.number("count")?;
    if count > at.len() as u64 {
        return Err(linckia_model::Error::Code { what: "count", code: count });
    }
    let mut base = || {
        let (origin, sequence) = (reader.origin(&none)?, reader.number("sequence")?);
        Ok(Base { origin, sequence, chain: chain(&mut reader)? })
    };
    let bases = (0..count).map(|_| base()).collect::<Result<_, linckia_model::Error>>()?;
    let hlc = Hlc::from_bits(reader.fixed("HLC")?);
    Ok(Cut { snapshot, at, bases, hlc, bytes: reader.number("bytes")? })
}

fn chain(reader: &mut Reader<'_>) -> Result<[u8; 16], linckia_model::Error> {
    let short = linckia_model::Error::Short("chain");
    let (chain, rest) = reader.0.split_first_chunk().ok_or(short)?;
    reader.0 = rest;
    Ok(*chain)
}

fn put_pull(out: &mut Writer, pull: &Pull) {
    out.byte(4);
    out.number(pull.session);
    out.number(pull.received);
    out.text(pull.origin.as_str());
    out.vector(&pull.logged);
    out.vector(&pull.applied);
    out.number(pull.direct.len() as u64);
    pull.direct.iter().for_each(|region| out.text(region.as_str()));
    out.number(pull.sent_at);
    out.byte(u8::from(pull.holds));
}

fn put_forward(out: &mut Writer, Forward { method, target, headers, body, actor }: &Forward) {
    out.text(method);
    out.text(target);
    out.byte(u8::from(actor.is_some()));
    out.optional(actor);
    put_headers(out, headers);
    out.bytes(body);
}

fn put_forwarded(out: &mut Writer, number: u64, forwarded: &Forwarded) {
    let Forwarded { status, headers, body } = forwarded;
    out.byte(8);
    out.number(number);
    out.number(u64::from(*status));
    put_headers(out, headers);
    out.bytes(body);
}

fn put_headers(out: &mut Writer, headers: &[(String, Vec<u8>)]) {
    out.number(headers.len() as u64);
    for (name, value) in headers {
        out.text(name);
        out.bytes(value);
    }
}

fn put_news(out: &mut Writer, News { heartbeats, wall, applied, held }: &News) {
    out.number(wall.map_or(0, |wall| wall + 1));
    out.vector(applied);
    out.number(heartbeats.len() as u64);
    for heartbeat in heartbeats {
        out.text(heartbeat.origin.as_str());
        out.number(heartbeat.after);
        out.fixed(heartbeat.hlc.bits());
        out.vector(&heartbeat.deps);
        out.number(heartbeat.epoch);
    }
    out.number(held.len() as u64);
    for (region, vector) in held {
        out.text(region.as_str());
        out.vector(vector);
    }
}

fn put_records(
    out: &mut Writer,
    records: &[u8],
    compressor: &mut Option<zstd::bulk::Compressor<'static>>,
) {
    if records.len() >= COMPRESS_FROM
        && let Some(compressor) = compressor
        && let Ok(compressed) = compressor.compress(records)
        && compressed.len() < records.len()
    {
        out.number(records.len() as u64);
        out.bytes(&compressed);
    } else {
        out.number(0);
        out.bytes(records);
    }
}

/// The frame whose bytes these are. Errors: [`Error`].
pub fn decode(bytes: &[u8]) -> Result<Frame, Error> {
    let mut reader = Reader(bytes);
    let none = Vector::new();
    Ok(match reader.byte("kind")? {
        1 => hello(&mut reader)?,
        2 => Frame::Welcome { region: region(&mut reader)?, protocol: protocol(&mut reader)? },
        3 => refuse(&mut reader)?,
        4 => Frame::Pull(Pull {
            session: reader.number("session")?,
            received: reader.number("received")?,
            origin: reader.origin(&none)?,
            logged: reader.vector(&none)?,
            applied: reader.vector(&none)?,
            direct: {
                let count = entries(&mut reader)?;
                (0..count).map(|_| region(&mut reader)).collect::<Result<_, _>>()?
            },
            sent_at: reader.number("time")?,
            holds: reader.byte("holds")? != 0,
        }),
        5 => Frame::Batch {
            session: reader.number("session")?,
            number: reader.number("number")?,
            origin: reader.origin(&none)?,
            prompt: reader.byte("prompt")? != 0,
            records: records(&mut reader)?,
        },
        6 => Frame::Beat {
            session: reader.number("session")?,
            number: reader.number("number")?,
            echo: reader.number("echo")?,
            news: news(&mut reader)?,
        },
        7 => Frame::Forward { number: reader.number("number")?, forward: forward(&mut reader)? },
        8 => Frame::Forwarded {
            number: reader.number("number")?,
            forwarded: Forwarded {
                status: reader.number("status")? as u16,
                headers: headers(&mut reader)?,
                body: reader.bytes("body", FORWARDED_BYTES_MAX)?.to_vec(),
            },
        },
        9 => Frame::Consult {
            number: reader.number("number")?,
            question: reader.bytes("question", FORWARDED_BYTES_MAX)?.to_vec(),
        },
        10 => Frame::Consulted {
            number: reader.number("number")?,
            answer: reader.bytes("answer", FORWARDED_BYTES_MAX)?.to_vec(),
        },
        11 => Frame::Gap(Gap {
            session: reader.number("session")?,
            origin: reader.origin(&none)?,
            first: reader.number("sequence")?,
        }),
        12 => Frame::SnapshotPull(snapshot_pull(&mut reader)?),
        13 => Frame::Cut(decode_cut(reader.0)?),
        14 => Frame::Page(Page {
            snapshot: reader.fixed("snapshot")?,
            number: reader.number("number")?,
            place: reader.bytes("place", PLACE_BYTES_MAX)?.to_vec(),
            rows: records(&mut reader)?,
        }),
        15 => Frame::NoSnapshot { snapshot: reader.fixed("snapshot")? },
        16 => compare(&mut reader)?,
        17 => compared(&mut reader)?,
        kind => return Err(Error::Kind(kind)),
    })
}

fn snapshot_pull(reader: &mut Reader<'_>) -> Result<SnapshotPull, linckia_model::Error> {
    Ok(SnapshotPull {
        snapshot: reader.fixed("snapshot")?,
        received: reader.number("received")?,
        place: reader.bytes("place", PLACE_BYTES_MAX)?.to_vec(),
        again: reader.byte("again")? != 0,
        gone: reader.vector(&Vector::new())?,
    })
}

fn forward(reader: &mut Reader<'_>) -> Result<Forward, linckia_model::Error> {
    let method = reader.text("method", TEXT_BYTES_MAX)?.to_owned();
    let target = reader.text("target", HEADER_BYTES_MAX)?.to_owned();
    let known = reader.byte("actor")? != 0;
    Ok(Forward {
        method,
        target,
        actor: reader.optional(known, "actor")?,
        headers: headers(reader)?,
        body: reader.bytes("body", FORWARDED_BYTES_MAX)?.to_vec(),
    })
}

/// Every protocol begins with these: its kind, the region, the lowest and the highest number that
/// it speaks. What follows is another's to add to or to leave out.
fn hello(reader: &mut Reader<'_>) -> Result<Frame, linckia_model::Error> {
    let region = region(reader)?;
    let (protocol_min, protocol_max) = (protocol(reader)?, protocol(reader)?);
    let place = match reader.0.is_empty() {
        true => Ok(String::new()),
        false => reader.text("place", TEXT_BYTES_MAX).map(str::to_owned),
    };
    // Of one that speaks only others, anything may stand there: it is told so, and not cut off.
    let is_known = protocol_min <= PROTOCOL_MAX && protocol_max >= PROTOCOL_MIN;
    let place = place.or_else(|error| if is_known { Err(error) } else { Ok(String::new()) })?;
    Ok(Frame::Hello { region, protocol_min, protocol_max, place })
}

fn protocol(reader: &mut Reader<'_>) -> Result<u16, linckia_model::Error> {
    Ok(u16::try_from(reader.number("protocol")?).unwrap_or(u16::MAX))
}

fn refuse(reader: &mut Reader<'_>) -> Result<Frame, linckia_model::Error> {
    let reason = reader.text("reason", TEXT_BYTES_MAX)?.to_owned();
    let elsewhere = !reader.0.is_empty() && reader.byte("elsewhere")? != 0;
    Ok(Frame::Refuse { reason, elsewhere })
}

fn compare(reader: &mut Reader<'_>) -> Result<Frame, linckia_model::Error> {
    let (number, epoch) = (reader.number("number")?, reader.number("epoch")?);
    Ok(Frame::Compare { number, epoch, ask: take_ask(reader)? })
}

fn compared(reader: &mut Reader<'_>) -> Result<Frame, linckia_model::Error> {
    let (number, epoch) = (reader.number("number")?, reader.number("epoch")?);
    Ok(Frame::Compared { number, epoch, tell: take_tell(reader)? })
}

fn headers(reader: &mut Reader<'_>) -> Result<Vec<(String, Vec<u8>)>, linckia_model::Error> {
    let count = entries(reader)?;
    let mut header = || {
        let name = reader.text("header", TEXT_BYTES_MAX)?.to_owned();
        Ok((name, reader.bytes("header", HEADER_BYTES_MAX)?.to_vec()))
    };
    (0..count).map(|_| header()).collect()
}

fn news(reader: &mut Reader<'_>) -> Result<News, linckia_model::Error> {
    let none = Vector::new();
    Ok(News {
        wall: reader.number("wall")?.checked_sub(1),
        applied: reader.vector(&none)?,
        heartbeats: {
            let count = entries(reader)?;
            (0..count).map(|_| heartbeat(reader)).collect::<Result<_, _>>()?
        },
        held: {
            let count = entries(reader)?;
            let mut entry = || Ok((region(reader)?, reader.vector(&none)?));
            (0..count).map(|_| entry()).collect::<Result<_, linckia_model::Error>>()?
        },
    })
}

fn entries(reader: &mut Reader<'_>) -> Result<u64, linckia_model::Error> {
    let count = reader.number("count")?;
    if count > ENTRIES_MAX {
        return Err(linckia_model::Error::Code { what: "count", code: count });
    }
    Ok(count)
}

fn region(reader: &mut Reader<'_>) -> Result<RegionName, linckia_model::Error> {
    RegionName::parse(reader.text("region", TEXT_BYTES_MAX)?)
}

fn heartbeat(reader: &mut Reader<'_>) -> Result<Heartbeat, linckia_model::Error> {
    let none = Vector::new();
    Ok(Heartbeat {
        origin: reader.origin(&none)?,
        after: reader.number("sequence")?,
        hlc: Hlc::from_bits(reader.fixed("HLC")?),
        deps: reader.vector(&none)?,
        epoch: reader.number("epoch")?,
    })
}

fn records(reader: &mut Reader<'_>) -> Result<Vec<u8>, Error> {
    let plain = reader.number("size")? as usize;
    let bytes = reader.bytes("records", RECORDS_BYTES_MAX)?;
    if plain == 0 {
        return Ok(bytes.to_vec());
    }
    if plain > RECORDS_BYTES_MAX {
        let bound = RECORDS_BYTES_MAX;
        return Err(linckia_model::Error::Long { what: "records", bytes: plain, bound }.into());
    }
    zstd::bulk::decompress(bytes, plain).map_err(Error::Compression)
}
