//! Reads runs of backups piece by piece, and checks everything on the way.
//!
//! `verify` looks only at whether it comes to the end; `restore` takes the pieces. What always
//! holds: a piece is given on after its part verified against the manifest, its frame against its
//! checksum, its rows against their form and its records against the chain of their log; one part
//! is in memory at a time.

use std::collections::BTreeMap;

use linckia_log::{Chain, Record, chain_after, genesis};
use linckia_model::Origin;
use linckia_region::take_rows;
use linckia_store::Batch;

use super::place::Place;
use super::set::{Flaw, Manifest, Part, part_name};
use crate::backup::frame::{self, Kind, MAGIC};
use crate::backup::{Base, End, Head, other_format, unhex};

/// A piece of a backup.
pub(crate) enum Piece<'a> {
    Head(&'a Head),
    /// Rows of the state.
    Rows(Batch),
    /// Records of a log, behind those before.
    Records(&'a str, Vec<Record<'a>>),
}

/// How far it came.
#[derive(Default)]
pub(crate) struct Walk {
    /// Where each log stands, and the chain there.
    at: BTreeMap<String, (u64, Chain)>,
    pub(crate) pages: u64,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

/// What of a run came so far.
#[derive(Default)]
struct Run {
    head: Option<Head>,
    counted: End,
    ended: bool,
}

impl Walk {
    /// Reads a run, which goes on from those read before, unless it is full. Errors: a [`Flaw`],
    /// what the place says, or what `take` does.
    pub(crate) async fn run(
        &mut self,
        place: &Place,
        manifest: &Manifest,
        take: &mut (dyn FnMut(Piece<'_>) -> anyhow::Result<()> + Send),
    ) -> anyhow::Result<()> {
        let mut run = Run::default();
        for part in &manifest.parts {
            let file = part_name(manifest.number, &part.name);
            let bytes = place.get(&file).await.map_err(|error| {
                let what = format!("a part is missing or cannot be read: {error:#}");
                Flaw { file: place.shown(&file), offset: 0, what }
            })?;
            let flaw =
                |(offset, what)| Flaw { file: place.shown(&file), offset: offset as u64, what };
            check_part(part, &bytes).map_err(flaw)?;
            self.part(&mut run, manifest, &bytes, take, &flaw)?;
            self.bytes += part.bytes;
        }
        let flaw = |what: &str| Flaw {
            file: place.shown(&manifest.file()),
            offset: 0,
            what: what.to_owned(),
        };
        if !run.ended {
            return Err(flaw("its parts have no end").into());
        }
        for (origin, last) in &manifest.upto {
            if self.at.get(origin).map_or(0, |(sequence, _)| *sequence) != *last {
                return Err(flaw(&format!("its parts do not have {origin} up to {last}")).into());
            }
        }
        self.pages += run.counted.pages;
        self.records += run.counted.records;
        Ok(())
    }

    /// The frames of a part.
    fn part(
        &mut self,
        run: &mut Run,
        manifest: &Manifest,
        bytes: &[u8],
        take: &mut (dyn FnMut(Piece<'_>) -> anyhow::Result<()> + Send),
        flaw: &impl Fn((usize, String)) -> Flaw,
    ) -> anyhow::Result<()> {
        let mut offset = MAGIC.len();
        while offset < bytes.len() {
            let wrong = |what: &str| flaw((offset, what.to_owned()));
            let frame = frame::front(&bytes[offset..]).map_err(|damage| wrong(damage.0))?;
            let frame = frame.ok_or_else(|| wrong("a frame is cut short"))?;
            let raw = frame.open().map_err(|damage| wrong(damage.0))?;
            if run.ended || (run.head.is_none() != (frame.kind == Kind::Head)) {
                return Err(wrong("a frame does not belong here").into());
            }
            match frame.kind {
                Kind::Head => {
                    let head = read_head(&raw, manifest).map_err(&wrong)?;
                    self.begin(&head).map_err(wrong)?;
                    take(Piece::Head(&head))?;
                    run.head = Some(head);
                }
                Kind::Rows => {
                    let mut batch = Batch::default();
                    take_rows(&raw, &mut batch).ok_or_else(|| wrong("rows do not read"))?;
                    run.counted.pages += 1;
                    take(Piece::Rows(batch))?;
                }
                Kind::Records => {
                    let (origin, records) = self.records(&raw).map_err(wrong)?;
                    run.counted.records += records.len() as u64;
                    take(Piece::Records(origin, records))?;
                }
                Kind::End => {
                    let end: Option<End> = serde_json::from_slice(&raw).ok();
                    if end != Some(run.counted.clone()) {
                        return Err(wrong("it ends, and not all of it was there").into());
                    }
                    run.ended = true;
                }
            }
            offset += frame.bytes();
        }
        Ok(())
    }

    /// A full backup says where its logs begin.
    fn begin(&mut self, head: &Head) -> Result<(), &'static str> {
        if let Some(state) = &head.state {
            let read = |Base { origin, sequence, chain }: &Base| {
                Some((origin.clone(), (*sequence, unhex(chain)?)))
            };
            let at: Option<_> = state.bases.iter().map(read).collect();
            self.at = at.ok_or("a chain of its head does not read")?;
        }
        Ok(())
    }

    /// Records that continue their log.
    fn records<'a>(&mut self, raw: &'a [u8]) -> Result<(&'a str, Vec<Record<'a>>), &'static str> {
        let (length, rest) = raw.split_first_chunk().ok_or("records of no log")?;
        let (origin, mut rest) =
            rest.split_at_checked(u16::from_le_bytes(*length).into()).ok_or("records of no log")?;
        let origin = std::str::from_utf8(origin).ok();
        let origin = origin.filter(|origin| Origin::parse(origin).is_ok());
        let origin = origin.ok_or("records of no log")?;
        let begin = || (0, genesis(origin));
        let (sequence, chain) = self.at.entry(origin.to_owned()).or_insert_with(begin);
        let mut records = Vec::new();
        while !rest.is_empty() {
            let (record, behind) = Record::parse(rest).map_err(|_| "a record does not read")?;
            if record.sequence() != *sequence + 1 {
                return Err("records are missing before these");
            }
            *chain = chain_after(chain, &record.commitment());
            if *chain != record.chain() {
                return Err("a record does not continue the chain of its log");
            }
            *sequence += 1;
            rest = behind;
            records.push(record);
        }
        Ok((origin, records))
    }
}

/// Compares a part with what the manifest says of it. Errors: where it differs, as near as frames
/// tell.
fn check_part(part: &Part, bytes: &[u8]) -> Result<(), (usize, String)> {
    let same = bytes.len() as u64 == part.bytes;
    if same && blake3::hash(bytes).to_hex().as_str() == part.blake3 {
        return Ok(());
    }
    if bytes.get(..MAGIC.len()) != Some(&MAGIC[..]) {
        return Err((0, "it does not begin as a part of a backup does".to_owned()));
    }
    let mut offset = MAGIC.len();
    while offset < bytes.len() {
        match frame::front(&bytes[offset..]) {
            Ok(Some(frame)) => offset += frame.bytes(),
            Ok(None) => return Err((offset, "a frame is cut short".to_owned())),
            Err(damage) => return Err((offset, damage.0.to_owned())),
        }
    }
    let what = if same { "it is another part" } else { "frames are missing" };
    Err((offset, format!("{what}: it is not what the manifest names")))
}

fn read_head(raw: &[u8], manifest: &Manifest) -> Result<Head, &'static str> {
    if other_format(raw).is_some() {
        return Err(
            "a head of another format than this version reads: use the version that took it",
        );
    }
    let head: Head = serde_json::from_slice(raw).map_err(|_| "a head does not read")?;
    let state = head.state.as_ref().map(|state| state.hlc);
    let same = head.upto == manifest.upto
        && head.after == manifest.after
        && state.is_some() == manifest.is_full()
        && state.is_none_or(|hlc| hlc == manifest.from)
        && (head.complete, head.latest) == (manifest.complete, manifest.latest);
    if same { Ok(head) } else { Err("a head that is not what the manifest says") }
}
