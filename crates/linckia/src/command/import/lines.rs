//! A file as lines: plain or zstd, read as a stream.
//!
//! The first step of an import. What always holds: memory stays bounded whatever the file holds;
//! a line above the limit is skipped and reported, not loaded.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The door's limit for a line of NDJSON.
pub(crate) const LINE_LIMIT: usize = 1 << 20;

/// Few system calls, and small beside the batches.
const BUFFER: usize = 256 << 10;

/// Frames that need a larger window are refused: 128 MiB is what `zstd` itself accepts by default.
const WINDOW_LOG_LIMIT: u32 = 27;

/// Of a line that is too long, this much is kept to recognise it by.
const START_KEPT: usize = 256;

/// Opens a file, decompressing if its name says so; bytes taken from the disk are added to `read`.
pub(crate) fn open(path: &Path, read: Arc<AtomicU64>) -> io::Result<Box<dyn BufRead + Send>> {
    let input: Box<dyn Read + Send> =
        if is_stdin(path) { Box::new(io::stdin()) } else { Box::new(File::open(path)?) };
    decode(Counted { input, read }, is_compressed(path))
}

fn decode(
    input: impl Read + Send + 'static,
    compressed: bool,
) -> io::Result<Box<dyn BufRead + Send>> {
    let input = BufReader::with_capacity(BUFFER, input);
    if !compressed {
        return Ok(Box::new(input));
    }
    let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
    decoder.window_log_max(WINDOW_LOG_LIMIT)?;
    Ok(Box::new(BufReader::with_capacity(BUFFER, decoder)))
}

/// `-` is standard input.
pub(crate) fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("zst"))
}

struct Counted<R> {
    input: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// One line of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// Without line end and surrounding blanks; never empty.
    Text(&'a [u8]),
    /// Its beginning; the rest was skipped.
    TooLong(&'a [u8]),
}

/// Splits a stream into lines.
pub(crate) struct Lines {
    input: Box<dyn BufRead + Send>,
    buffer: Vec<u8>,
    number: u64,
}

impl Lines {
    pub(crate) fn new(input: Box<dyn BufRead + Send>) -> Self {
        Self { input, buffer: Vec::new(), number: 0 }
    }

    /// The next line that is not blank, with its number from 1.
    pub(crate) fn next(&mut self) -> io::Result<Option<(u64, Line<'_>)>> {
        loop {
            self.buffer.clear();
            // One byte for the line end, one to tell a line of exactly the limit from a longer.
            let most = LINE_LIMIT as u64 + 2;
            let count = self.input.by_ref().take(most).read_until(b'\n', &mut self.buffer)?;
            if count == 0 {
                return Ok(None);
            }
            self.number += 1;
            let ended = self.buffer.ends_with(b"\n");
            if self.buffer.len() - usize::from(ended) > LINE_LIMIT {
                if !ended {
                    self.input.skip_until(b'\n')?;
                }
                return Ok(Some((self.number, Line::TooLong(&self.buffer[..START_KEPT]))));
            }
            if self.number == 1 && self.buffer.starts_with(b"\xef\xbb\xbf") {
                self.buffer.drain(..3);
            }
            if !self.buffer.trim_ascii().is_empty() {
                return Ok(Some((self.number, Line::Text(self.buffer.trim_ascii()))));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(bytes: Vec<u8>, compressed: bool) -> Vec<(u64, String)> {
        let mut lines = Lines::new(decode(io::Cursor::new(bytes), compressed).unwrap());
        let mut found = Vec::new();
        while let Some((number, line)) = lines.next().unwrap() {
            found.push(match line {
                Line::Text(text) => (number, String::from_utf8(text.to_vec()).unwrap()),
                Line::TooLong(start) => (number, format!("too long, {}", start.len())),
            });
        }
        found
    }

    #[test]
    fn lines_are_split_and_counted() {
        let check = |text: &str, expected: &[(u64, &str)]| {
            let found = split(text.as_bytes().to_vec(), false);
            let found: Vec<(u64, &str)> = found.iter().map(|(n, t)| (*n, t.as_str())).collect();
            assert_eq!(found, expected, "{text:?}");
        };
        check("", &[]);
        check("a", &[(1, "a")]);
        check("a\nb\n", &[(1, "a"), (2, "b")]);
        check("\u{feff}a\r\n\r\n  \n b \n", &[(1, "a"), (4, "b")]);
        check("\n\n", &[]);
    }

    #[test]
    fn long_lines_are_skipped() {
        let fits = "x".repeat(LINE_LIMIT);
        let text = format!("{fits}\n{fits}y\n{fits}{fits}{fits}\nlast");
        let found = split(text.into_bytes(), false);
        assert_eq!(found[0], (1, fits));
        let long = format!("too long, {START_KEPT}");
        assert_eq!(found[1..], [(2, long.clone()), (3, long), (4, "last".to_owned())]);
    }

    #[test]
    fn zstd_is_decoded_over_several_frames() {
        let mut bytes = zstd::encode_all(&b"a\nb"[..], 3).unwrap();
        bytes.extend(zstd::encode_all(&b"c\nd\n"[..], 3).unwrap());
        assert_eq!(split(bytes, true), [(1, "a".into()), (2, "bc".into()), (3, "d".into())]);
    }

    #[test]
    fn a_torn_zstd_file_is_an_error() {
        let mut bytes = zstd::encode_all(&b"a\nb\n".repeat(1000)[..], 3).unwrap();
        bytes.truncate(bytes.len() - 4);
        let mut lines = Lines::new(decode(io::Cursor::new(bytes), true).unwrap());
        let end = loop {
            match lines.next() {
                Ok(Some(_)) => {}
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        assert!(end.is_err());
    }
}
