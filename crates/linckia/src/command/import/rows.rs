//! A CSV file as lines of JSON, by a mapping.
//!
//! Takes the place of `Lines` where a file is CSV. What always holds: a row longer than the line
//! limit ends the file with an error, so an unclosed quote cannot fill the memory.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use csv::{ByteRecord, ReaderBuilder, StringRecord, Terminator};

use super::lines::LINE_LIMIT;
use super::mapping::{Mapping, Shape};

/// The parser reads ahead by its own buffer, which counts against the row it is in.
const PARSER_BUFFER: usize = 64 << 10;

/// Reads rows and writes events.
pub(crate) struct Rows {
    reader: csv::Reader<Rationed>,
    left: Arc<AtomicU64>,
    shape: Shape,
    row: ByteRecord,
    line: Vec<u8>,
}

/// One row of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Row<'a> {
    /// An event on one line.
    Event(&'a [u8]),
    /// The row's cells, and why they are no event.
    Wrong(String, String),
}

impl Rows {
    /// Reads the header and binds the mapping to it.
    pub(crate) fn new(input: Box<dyn BufRead + Send>, mapping: &Mapping) -> io::Result<Self> {
        let left = Arc::new(AtomicU64::new(0));
        let mut reader = ReaderBuilder::new()
            .delimiter(mapping.delimiter())
            .flexible(true)
            // The parser's own way with carriage returns miscounts lines.
            .terminator(Terminator::Any(b'\n'))
            .buffer_capacity(PARSER_BUFFER)
            .from_reader(Rationed { input, left: Arc::clone(&left) });
        refill(&left);
        let header = without_mark(reader.headers()?);
        let shape = mapping
            .bind(&header)
            .map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
        Ok(Self { reader, left, shape, row: ByteRecord::new(), line: Vec::new() })
    }

    /// The next row, with the number of its first line.
    pub(crate) fn next(&mut self) -> io::Result<Option<(u64, Row<'_>)>> {
        loop {
            refill(&self.left);
            if !self.reader.read_byte_record(&mut self.row)? {
                return Ok(None);
            }
            without_return(&mut self.row);
            if self.row.len() > 1 || !self.row.as_slice().is_empty() {
                break;
            }
        }
        let number = self.number();
        self.line.clear();
        let made = match std::mem::take(&mut self.row).into_string() {
            Ok(row) => {
                let made = self.shape.event(&row, &mut self.line);
                let made = made.map_err(|why| (why, row.iter().collect::<Vec<_>>().join(",")));
                self.row = row.into_byte_record();
                made
            }
            Err((row, error)) => {
                let cells = row.iter().map(String::from_utf8_lossy).collect::<Vec<_>>().join(",");
                self.row = row;
                Err((format!("the row is no UTF-8: {error}"), cells))
            }
        };
        let row = match made {
            Ok(()) if self.line.len() > LINE_LIMIT => {
                Row::Wrong(String::new(), format!("the event is longer than {LINE_LIMIT} bytes"))
            }
            Ok(()) => Row::Event(&self.line),
            Err((why, cells)) => Row::Wrong(cells, why),
        };
        Ok(Some((number, row)))
    }

    /// Where the row began as the parser says, which counts from blank lines before it; or from
    /// its end, which does not.
    fn number(&self) -> u64 {
        let began = self.row.position().map_or(0, csv::Position::line);
        let inside = self.row.as_slice().iter().filter(|byte| **byte == b'\n').count() as u64;
        began.max(self.reader.position().line().saturating_sub(inside + 1))
    }
}

/// Takes off the carriage return that a line end from elsewhere leaves at the last cell.
fn without_return(row: &mut ByteRecord) {
    if row.as_slice().ends_with(b"\r") {
        let position = row.position().cloned();
        let last = row.len() - 1;
        let cells = row.iter().enumerate();
        let cells =
            cells.map(|(place, cell)| if place == last { &cell[..cell.len() - 1] } else { cell });
        *row = cells.collect();
        row.set_position(position);
    }
}

trait IntoString: Sized {
    fn into_string(self) -> Result<StringRecord, (ByteRecord, String)>;
}

impl IntoString for ByteRecord {
    fn into_string(self) -> Result<StringRecord, (ByteRecord, String)> {
        StringRecord::from_byte_record(self).map_err(|error| {
            let why = error.utf8_error().to_string();
            (error.into_byte_record(), why)
        })
    }
}

/// The header without the byte order mark and the carriage return that spreadsheets add.
fn without_mark(header: &StringRecord) -> StringRecord {
    header
        .iter()
        .map(|column| column.trim_start_matches('\u{feff}').trim_end_matches('\r'))
        .collect()
}

fn refill(left: &AtomicU64) {
    left.store((LINE_LIMIT + PARSER_BUFFER) as u64, Ordering::Relaxed);
}

/// Refuses to read on when one row has taken its ration.
struct Rationed {
    input: Box<dyn BufRead + Send>,
    left: Arc<AtomicU64>,
}

impl Read for Rationed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a row is longer than {LINE_LIMIT} bytes; is a quote left open?"),
            ));
        }
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = self.input.read(&mut buffer[..most])?;
        self.left.store(left - count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str = "eventType = 'E'\naggregateType = 'A'\naggregateId = '{id}'\n\
                         [eventData]\ntext = 'text'";

    fn rows(text: &[u8]) -> io::Result<Rows> {
        let mapping = Mapping::parse(WORDS).unwrap();
        Rows::new(Box::new(io::Cursor::new(text.to_vec())), &mapping)
    }

    #[test]
    fn rows_carry_the_number_of_their_line() {
        let text = b"\xef\xbb\xbfid,text\r\n1,\"a\nb\"\r\n2\n\n3,\xff\n\r\n4,\"say \"\"x\"\"\"\n";
        let mut rows = rows(text).unwrap();
        let mut found = Vec::new();
        while let Some((number, row)) = rows.next().unwrap() {
            found.push(match row {
                Row::Event(line) => (number, String::from_utf8(line.to_vec()).unwrap()),
                Row::Wrong(cells, why) => (number, format!("{cells} | {why}")),
            });
        }
        let event = |id: &str, text: &str| {
            let head = r#"{"eventType":"E","aggregateType":"A","aggregateId":"#;
            format!("{head}\"{id}\",\"eventData\":{{\"text\":\"{text}\"}}}}")
        };
        assert_eq!(found[0], (2, event("1", "a\\nb")));
        assert_eq!(found[1], (4, "2 | the row has 1 cells, the header 2".to_owned()));
        assert_eq!(found[2].0, 6);
        assert!(found[2].1.contains("no UTF-8"));
        assert_eq!(found[3], (8, event("4", "say \\\"x\\\"")));
    }

    #[test]
    fn an_open_quote_ends_the_file() {
        let mut text = b"id,text\n1,\"".to_vec();
        text.resize(3 * LINE_LIMIT, b'x');
        let error = rows(&text).unwrap().next().unwrap_err();
        assert!(error.to_string().contains("quote left open"), "{error}");
    }

    #[test]
    fn a_missing_column_is_found_before_the_first_row() {
        let error = rows(b"id,txt\n1,a\n").err().unwrap();
        assert!(error.to_string().contains("no column `text`"), "{error}");
    }
}
