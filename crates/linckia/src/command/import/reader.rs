//! Reads files on a thread of its own and fills the lanes.
//!
//! Between `lines`/`rows` and `lane`. What always holds: lines of one file that meet in one lane
//! keep their order; a full lane makes its readers wait, so memory stays bounded.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::lane::Batch;
use super::lines::{LINE_LIMIT, Line, Lines, open};
use super::mapping::Mapping;
use super::route::Router;
use super::rows::{Row, Rows};
use super::tally::{Held, Source, Tally, own_problem};

/// Requests in flight to one region: enough that its commits overlap with the way there and back.
pub(crate) const LANES_PER_REGION: usize = 4;

/// Namespace of the ids given to lines that have none: the same line of the same file gets the
/// same id, so that importing it again is a no-op.
const ID_NAMESPACE: Uuid = Uuid::from_u128(0x6c1d_63b1_5a0e_5a52_9d0c_8f1c_1e5c_4d11);

/// Files that wait for a reader.
pub(crate) type Queue = Mutex<VecDeque<Arc<Source>>>;

/// What all readers share.
pub(crate) struct Reader {
    pub(crate) router: Arc<Router>,
    pub(crate) mapping: Option<Arc<Mapping>>,
    pub(crate) tally: Arc<Tally>,
    /// `LANES_PER_REGION` for every region, in the order of the doors.
    pub(crate) lanes: Vec<mpsc::Sender<Batch>>,
}

/// Why a file was not read to its end.
enum Stop {
    /// The lanes are gone; whoever ended them says why.
    Lanes,
    Broken(anyhow::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.into())
    }
}

impl Reader {
    /// Reads files until none is left or nobody wants them any more.
    pub(crate) fn run(&self, queue: &Queue) -> anyhow::Result<()> {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(source) = next else { return Ok(()) };
            match self.read(&source) {
                Ok(()) => {}
                Err(Stop::Lanes) => return Ok(()),
                Err(Stop::Broken(error)) => {
                    return Err(error.context(format!("cannot read {}", source.path.display())));
                }
            }
        }
    }

    fn read(&self, source: &Arc<Source>) -> Result<(), Stop> {
        let input = open(&source.path, Arc::clone(&self.tally.bytes))?;
        let mut batches = Batches {
            reader: self,
            source,
            open: self.lanes.iter().map(|_| Batch::new(source)).collect(),
        };
        if is_csv(&source.path) {
            let mapping = self.mapping.as_ref().context("a CSV file needs --map");
            let mut rows = Rows::new(input, mapping.map_err(Stop::Broken)?)?;
            while let Some((number, row)) = rows.next()? {
                match row {
                    Row::Event(line) => batches.event(number, line)?,
                    Row::Wrong(cells, why) => {
                        batches.wrong(number, &why, &Held::Text(cells.as_bytes()))?;
                    }
                }
            }
        } else {
            let mut lines = Lines::new(input);
            while let Some((number, line)) = lines.next()? {
                match line {
                    Line::Text(text) => batches.event(number, text)?,
                    Line::TooLong(start) => {
                        let why = format!("the line is longer than {LINE_LIMIT} bytes");
                        batches.wrong(number, &why, &Held::Text(start))?;
                    }
                }
            }
        }
        batches.flush()
    }
}

/// The batches of one file that are not full yet, one a lane.
struct Batches<'a> {
    reader: &'a Reader,
    source: &'a Arc<Source>,
    open: Vec<Batch>,
}

impl Batches<'_> {
    fn event(&mut self, number: u64, line: &[u8]) -> Result<(), Stop> {
        let outline = match self.reader.router.outline(line) {
            Ok(outline) => outline,
            Err(why) => return self.wrong(number, &why, &Held::Event(line)),
        };
        Tally::add(&self.reader.tally.read, 1);
        let id = (!outline.has_id).then(|| given_id(&self.source.name, number, line));
        // The remainder is below the number of lanes, so nothing is cut off.
        let lane = (outline.key % LANES_PER_REGION as u64) as usize;
        let place = outline.region * LANES_PER_REGION + lane;
        self.open[place].push(number, line, id.as_deref());
        if self.open[place].is_full() { self.send(place) } else { Ok(()) }
    }

    fn wrong(&self, number: u64, why: &str, held: &Held<'_>) -> Result<(), Stop> {
        Tally::add(&self.reader.tally.read, 1);
        self.source.fail(number, &own_problem(why), held)?;
        Ok(())
    }

    fn send(&mut self, place: usize) -> Result<(), Stop> {
        let full = std::mem::replace(&mut self.open[place], Batch::new(self.source));
        self.reader.lanes[place].blocking_send(full).map_err(|_| Stop::Lanes)
    }

    fn flush(&mut self) -> Result<(), Stop> {
        for place in 0..self.open.len() {
            if !self.open[place].is_empty() {
                self.send(place)?;
            }
        }
        Ok(())
    }
}

/// CSV by its name, compressed or not.
pub(crate) fn is_csv(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let name = name.strip_suffix(".zst").unwrap_or(&name);
    name.ends_with(".csv") || name.ends_with(".tsv")
}

fn given_id(name: &str, number: u64, line: &[u8]) -> String {
    let mut words = format!("{name}\0{number}\0").into_bytes();
    words.extend_from_slice(line);
    Uuid::new_v5(&ID_NAMESPACE, &words).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_is_known_by_its_name() {
        for (path, csv) in
            [("a.csv", true), ("a.CSV.zst", true), ("a.tsv", true), ("a.ndjson", false)]
        {
            assert_eq!(is_csv(Path::new(path)), csv, "{path}");
        }
    }

    #[test]
    fn given_ids_are_stable_and_differ() {
        let id = |name: &str, number: u64, line: &[u8]| given_id(name, number, line);
        assert_eq!(id("a", 1, b"{}"), id("a", 1, b"{}"));
        assert_ne!(id("a", 1, b"{}"), id("a", 2, b"{}"));
        assert_ne!(id("a", 1, b"{}"), id("b", 1, b"{}"));
    }

    #[test]
    fn a_file_fills_lanes_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.ndjson");
        let lines: Vec<String> =
            (0..2_000).map(|n| format!(r#"{{"aggregateId":"{}","n":{n}}}"#, n % 7)).collect();
        std::fs::write(&path, lines.join("\n")).unwrap();
        let tally = Arc::new(Tally::default());
        let sources = Source::list(&[path], &tally);
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..LANES_PER_REGION).map(|_| mpsc::channel(8)).unzip();
        let reader = Reader {
            router: Arc::new(Router::one()),
            mapping: None,
            tally: Arc::clone(&tally),
            lanes: senders,
        };
        reader.run(&Mutex::new(sources.into())).unwrap();
        drop(reader);
        assert_eq!(Tally::get(&tally.read), 2_000);
        let mut seen = 0;
        for mut receiver in receivers {
            let mut last = 0;
            while let Some(batch) = receiver.blocking_recv() {
                for number in batch.numbers() {
                    assert!(number > last);
                    last = number;
                    seen += 1;
                }
            }
        }
        assert_eq!(seen, 2_000);
    }
}
