//! What it costs two regions to find that they hold the same keys: the CPU time of both ends, over
//! stores on the disk. Run it in release:
//! `cargo run --release -p linckia-apply --example compare -- 1000000`. The number of keys may be
//! left out.

use std::error::Error;
use std::sync::Arc;

use linckia_apply::{Apply, ApplySettings, Events, ReadRows, hash_of, read_rows, stored_at};
use linckia_model::{
    Cause, Clock, ClockSettings, Dot, Event, EventSource, Extras, Hlc, Identity, Key, Now,
    Operation, Origin, RegionName, Stamp, Transaction, Vector,
};
use linckia_store::{Batch, FjallStore, Rows, Table, View};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rows of a question, and of a section of it, as regions ask.
const PAGE_ROWS: usize = 16_384;
const SECTION_ROWS: usize = 256;

const CACHE_BYTES: u64 = 64 << 20;
const COPIED_AT_ONCE: usize = 8_192;
const KEYS: u64 = 1_000_000;
const NOW: Now = Now { wall: 1_700_000_000_000, monotonic: 1 };

/// One event a key.
struct Log {
    origin: Origin,
    last: u64,
}

impl Log {
    fn event_of(&self, sequence: u64) -> Arc<Event> {
        let hlc = Hlc::from_bits((NOW.wall << 16) + sequence);
        let mut deps = Vector::new();
        deps.set(&self.origin, sequence - 1);
        Arc::new(Event {
            dot: Dot::new(self.origin.clone(), sequence),
            hlc,
            deps,
            transaction: Transaction::single(sequence),
            key: Key::new("default", "Order", &format!("order-{sequence:08}")),
            event_type: "OrderPlaced".into(),
            operation: Operation::Put,
            data: serde_json::json!({
                "customer": format!("c-{}", sequence % 9_973),
                "status": "placed",
                "total": sequence % 100_000,
                "lines": [{"sku": "a-1", "count": 2}, {"sku": "b-7", "count": 1}],
            }),
            ctx: None,
            identity: Identity { event_id: format!("e-{sequence}").as_str().into(), place: 0 },
            version: 1,
            policy_epoch: 0,
            schema_version: 0,
            extras: Extras::default(),
        })
    }
}

impl EventSource for Log {
    fn event(&self, dot: &Dot) -> Result<Option<Arc<Event>>, Cause> {
        Ok((dot.sequence <= self.last).then(|| self.event_of(dot.sequence)))
    }

    fn between(&self, _: &Key, _: &Stamp, _: &Stamp) -> Result<Vec<Arc<Event>>, Cause> {
        Ok(Vec::new())
    }
}

impl Events for Log {
    fn events(&self, _: &Origin, from: u64, _: u64) -> Result<Vec<Arc<Event>>, Cause> {
        Ok((from..=self.last.min(from + 1_023)).map(|sequence| self.event_of(sequence)).collect())
    }

    fn first(&self, _: &Origin) -> u64 {
        1
    }
}

fn fill(store: &FjallStore, keys: u64) -> Result<(), Box<dyn Error>> {
    let name = RegionName::parse("a")?;
    let log = Log { origin: Origin::new(&name, 1, 0), last: keys };
    let durable: Vector = [(log.origin.clone(), keys)].into_iter().collect();
    let mut clock = Clock::new(ClockSettings::default(), Hlc::ZERO);
    let mut apply = Apply::open(ApplySettings::default(), name.clone(), [name], store)?;
    while apply.applied().get(&log.origin) < keys {
        apply.run(NOW, &mut clock, &durable, store, &log, &mut |_| None)?;
        apply.flush_if_due(NOW, store)?;
    }
    apply.flush(NOW, store)?;
    Ok(())
}

/// All that comparing reads.
fn copy(from: &FjallStore, to: &FjallStore) -> Result<(), Box<dyn Error>> {
    for table in [Table::States, Table::Meta] {
        let mut place = Vec::new();
        loop {
            let rows = from.scan(table, &place, &[], COPIED_AT_ONCE, false)?;
            let mut batch = Batch::default();
            rows.iter().for_each(|(key, value)| batch.put(table, key, value));
            to.write(&batch)?;
            match rows.last() {
                Some((last, _)) if rows.len() == COPIED_AT_ONCE => {
                    place = [&last[..], &[0]].concat();
                }
                _ => break,
            }
        }
    }
    Ok(())
}

/// Nanoseconds that this thread has run.
fn cpu() -> Result<u64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split(' ').next().unwrap_or_default().parse()?)
}

/// Page after page: read here, and read there again section by section.
fn compare(
    here: &FjallStore,
    there: &FjallStore,
    verify: Option<&Vector>,
) -> Result<(u64, f64), Box<dyn Error>> {
    let (mut from, mut compared, began) = (Vec::new(), 0, cpu()?);
    loop {
        let page = read_rows(here, &from, &[], (PAGE_ROWS, usize::MAX), verify)?;
        let mut start = from;
        let end = page.next.clone().unwrap_or_default();
        let mut sections = page.rows.chunks(SECTION_ROWS).peekable();
        while let Some(section) = sections.next() {
            let until = sections.peek().map_or_else(|| end.clone(), |next| next[0].0.clone());
            let bounds = (usize::MAX, usize::MAX);
            let ReadRows { rows, stale, .. } = read_rows(there, &start, &until, bounds, verify)?;
            assert!(hash_of(section) == hash_of(&rows) && stale.is_empty(), "they are equal");
            compared += rows.len() as u64;
            start = until;
        }
        match page.next {
            Some(next) => from = next,
            None => return Ok((compared, (cpu()? - began) as f64 / 1e9)),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let keys = std::env::args().nth(1).map_or(Ok(KEYS), |word| word.parse())?;
    let dirs = [tempfile::tempdir()?, tempfile::tempdir()?];
    let here = FjallStore::open(dirs[0].path(), CACHE_BYTES)?;
    let there = FjallStore::open(dirs[1].path(), CACHE_BYTES)?;
    fill(&here, keys)?;
    copy(&here, &there)?;
    let known = stored_at(&here)?;
    for (what, verify) in [("by their rows' digests", None), ("and verified", Some(&known))] {
        let (compared, seconds) = compare(&here, &there, verify)?;
        assert_eq!(compared, keys);
        println!("{compared} equal keys compared {what} in {seconds:.3} CPU-s of both ends");
    }
    Ok(())
}
