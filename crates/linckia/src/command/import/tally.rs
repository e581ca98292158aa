//! What an import has done so far, and the lines that failed.
//!
//! Readers and lanes count here, the progress display and the summary look. What always holds: a
//! line that is counted as failed stands, with its problem, in the file of failed lines.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::value::RawValue;

use crate::command::progress::Reading;

/// Counters of a whole import.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Bytes taken from the files, as they lie on the disk.
    pub(crate) bytes: Arc<AtomicU64>,
    /// Lines that are not blank.
    pub(crate) read: AtomicU64,
    pub(crate) written: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Lines sent again after a connection was lost: they may count as duplicates of themselves.
    pub(crate) resent: AtomicU64,
    troubles: Mutex<BTreeMap<String, String>>,
}

impl Tally {
    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    /// A region does not take events for now; `true` if that is new.
    pub(crate) fn trouble(&self, region: &str, why: &str) -> bool {
        lock(&self.troubles).insert(region.to_owned(), why.to_owned()).is_none()
    }

    /// A region took events; `true` if it did not before.
    pub(crate) fn recovered(&self, region: &str) -> bool {
        lock(&self.troubles).remove(region).is_some()
    }

    /// A look for the progress display.
    pub(crate) fn reading(&self) -> Reading {
        let mut notes = Vec::new();
        let failed = Self::get(&self.failed);
        if failed > 0 {
            notes.push(format!("{failed} failed"));
        }
        let troubles = lock(&self.troubles);
        if !troubles.is_empty() {
            let names: Vec<&str> = troubles.keys().map(String::as_str).collect();
            notes.push(format!("waiting for {}", names.join(", ")));
        }
        let done = Self::get(&self.written) + Self::get(&self.duplicates) + failed;
        Reading { position: Self::get(&self.bytes), events: done, note: notes.join(", ") }
    }
}

/// One file of an import, as its lines remember it.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    /// Without folder and extensions.
    pub(crate) name: String,
    failed_path: PathBuf,
    failed: Mutex<Option<BufWriter<File>>>,
    tally: Arc<Tally>,
}

/// What a failed line held.
pub(crate) enum Held<'a> {
    /// An event that was refused.
    Event(&'a [u8]),
    /// Something else, or its beginning.
    Text(&'a [u8]),
}

#[derive(Serialize)]
struct FailedLine<'a> {
    file: &'a Path,
    line: u64,
    problem: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

impl Source {
    /// Names the files of failed lines apart, in the current directory.
    pub(crate) fn list(paths: &[PathBuf], tally: &Arc<Tally>) -> Vec<Arc<Self>> {
        let mut taken = BTreeMap::new();
        let mut sources = Vec::new();
        for path in paths {
            let name = stem(path);
            let times = taken.entry(name.clone()).or_insert(0_u32);
            *times += 1;
            let apart = if *times == 1 { String::new() } else { format!("-{times}") };
            sources.push(Arc::new(Self {
                path: path.clone(),
                failed_path: PathBuf::from(format!("{name}{apart}.failed.ndjson")),
                name,
                failed: Mutex::new(None),
                tally: Arc::clone(tally),
            }));
        }
        sources
    }

    /// Counts a line as failed and writes it down; `problem` is JSON.
    pub(crate) fn fail(&self, line: u64, problem: &RawValue, held: &Held<'_>) -> io::Result<()> {
        let (event, text) = match held {
            Held::Event(bytes) => match serde_json::from_slice::<&RawValue>(bytes) {
                Ok(event) => (Some(event), None),
                Err(_) => (None, Some(String::from_utf8_lossy(bytes).into_owned())),
            },
            Held::Text(bytes) => (None, Some(String::from_utf8_lossy(bytes).into_owned())),
        };
        let record = FailedLine { file: &self.path, line, problem, event, text };
        let mut bytes = serde_json::to_vec(&record)?;
        bytes.push(b'\n');
        let mut failed = lock(&self.failed);
        let file = match failed.as_mut() {
            Some(file) => file,
            None => failed.insert(BufWriter::new(File::create(&self.failed_path)?)),
        };
        file.write_all(&bytes)?;
        Tally::add(&self.tally.failed, 1);
        Ok(())
    }

    /// Writes out what is buffered; the path if there is a file.
    pub(crate) fn finish(&self) -> io::Result<Option<&Path>> {
        match lock(&self.failed).as_mut() {
            Some(file) => file.flush().map(|()| Some(self.failed_path.as_path())),
            None => Ok(None),
        }
    }
}

/// A problem found on this side, in the door's words.
pub(crate) fn own_problem(detail: &str) -> Box<RawValue> {
    let problem = serde_json::json!({
        "type": "/problems/invalid-event", "title": "Not sent", "status": 400, "detail": detail,
    });
    serde_json::value::to_raw_value(&problem).unwrap_or_default()
}

fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = match name.as_ref() {
        "-" => "stdin",
        name => name,
    };
    let name = name.strip_suffix(".zst").unwrap_or(name);
    let known = [".ndjson", ".jsonl", ".json", ".csv", ".tsv"];
    let bare = known.iter().find_map(|extension| name.strip_suffix(extension)).unwrap_or(name);
    bare.to_owned()
}

/// A panic elsewhere leaves counters and buffers usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_failed_lines_are_named_apart() {
        let paths = ["a/EWR.ndjson.zst", "b/EWR.ndjson", "-", "x.csv", "y"].map(PathBuf::from);
        let sources = Source::list(&paths, &Arc::default());
        let names: Vec<&str> =
            sources.iter().map(|source| source.failed_path.to_str().unwrap()).collect();
        assert_eq!(
            names,
            [
                "EWR.failed.ndjson",
                "EWR-2.failed.ndjson",
                "stdin.failed.ndjson",
                "x.failed.ndjson",
                "y.failed.ndjson"
            ]
        );
    }

    #[test]
    fn trouble_is_told_once() {
        let tally = Tally::default();
        assert!(tally.trouble("a", "gone"));
        assert!(!tally.trouble("a", "still"));
        assert_eq!(tally.reading().note, "waiting for a");
        assert!(tally.recovered("a"));
        assert!(!tally.recovered("a"));
    }
}
