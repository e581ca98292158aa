//! Server-sent events out of the pieces of an answer.
//!
//! Used by `events --follow`. Pure: bytes in, messages out. What always holds: memory stays
//! bounded by `LINE_LIMIT` and `DATA_LIMIT`, and an id counts only with the message it closes.

use std::mem;

/// An event is at most a mebibyte, and its metadata little beside that.
const LINE_LIMIT: usize = 4 << 20;

/// All data lines of one message; ours have one.
const DATA_LIMIT: usize = 4 << 20;

/// One message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// `event:`; empty means an ordinary one.
    pub(crate) kind: String,
    pub(crate) data: String,
    /// The last `id:` seen up to here.
    pub(crate) id: Option<String>,
}

/// What is left over between pieces.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    kind: String,
    data: Option<String>,
    id: Option<String>,
}

/// A stream that is none, or holds more than any of ours would.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Parser {
    /// Takes a piece; the messages that it completes.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<Vec<Message>, TooLong> {
        let mut messages = Vec::new();
        let mut lines = piece.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = lines.next() {
            if self.line.len() + part.len() > LINE_LIMIT {
                return Err(TooLong);
            }
            self.line.extend_from_slice(part);
            if lines.peek().is_some() {
                let line = mem::take(&mut self.line);
                let line = String::from_utf8_lossy(&line);
                messages.extend(self.line(line.strip_suffix('\r').unwrap_or(&line))?);
            }
        }
        Ok(messages)
    }

    fn line(&mut self, line: &str) -> Result<Option<Message>, TooLong> {
        if line.is_empty() {
            let kind = mem::take(&mut self.kind);
            let id = self.id.clone();
            return Ok(self.data.take().map(|data| Message { kind, data, id }));
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.kind),
            "id" => self.id = Some(value.to_owned()),
            "data" => match &mut self.data {
                None => self.data = Some(value.to_owned()),
                Some(data) if data.len() + value.len() < DATA_LIMIT => {
                    data.push('\n');
                    data.push_str(value);
                }
                Some(_) => return Err(TooLong),
            },
            // A comment (`: ping`), or a field for browsers.
            _ => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: &str, data: &str, id: Option<&str>) -> Message {
        Message { kind: kind.to_owned(), data: data.to_owned(), id: id.map(str::to_owned) }
    }

    #[test]
    fn messages_are_found_however_the_stream_is_cut() {
        let stream = concat!(
            ": ping\n\nid: a:1\ndata: {\"x\":1}\n\nevent: gap\r\ndata:1\r\ndata: 2\r\n\r\n",
            "id: b\ndata\n\ndata: unfinished\n"
        );
        let expected = [
            message("", "{\"x\":1}", Some("a:1")),
            message("gap", "1\n2", Some("a:1")),
            message("", "", Some("b")),
        ];
        for size in [1, 2, 3, 7, stream.len()] {
            let mut parser = Parser::default();
            let mut found = Vec::new();
            for piece in stream.as_bytes().chunks(size) {
                found.extend(parser.push(piece).unwrap());
            }
            assert_eq!(found, expected, "pieces of {size}");
        }
    }

    #[test]
    fn endless_lines_are_refused() {
        let mut parser = Parser::default();
        let piece = vec![b'x'; LINE_LIMIT / 2 + 1];
        assert_eq!(parser.push(&piece), Ok(Vec::new()));
        assert_eq!(parser.push(&piece), Err(TooLong));
    }
}
