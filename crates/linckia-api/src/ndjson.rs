//! Lines out of a body that comes in pieces of any size.
//!
//! For NDJSON, which is never held whole. What always holds: at most one line is held, and never
//! more of it than the limit; lines are counted from 1, blank ones included.

use bytes::{Buf, Bytes, BytesMut};

/// What a line holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Text(Bytes),
    /// Longer than the limit; it was dropped as it came.
    TooLong,
}

/// A line that is not blank.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) number: u64,
    pub(crate) content: Content,
}

/// The line that is coming in.
#[derive(Debug)]
pub(crate) struct Splitter {
    bytes_max: usize,
    number: u64,
    partial: BytesMut,
    too_long: bool,
}

impl Splitter {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, number: 1, partial: BytesMut::new(), too_long: false }
    }

    /// Takes the next line out of `input`; none once `input` is used up.
    pub(crate) fn next(&mut self, input: &mut Bytes) -> Option<Line> {
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            let piece = input.split_to(end);
            input.advance(1);
            if let Some(line) = self.end(piece) {
                return Some(line);
            }
        }
        let rest = input.split_to(input.len());
        self.keep(&rest);
        None
    }

    /// The last line, which no line break ends.
    pub(crate) fn finish(&mut self) -> Option<Line> {
        self.end(Bytes::new())
    }

    fn keep(&mut self, piece: &[u8]) {
        // One more, for the carriage return that is no part of the line.
        if self.too_long || self.partial.len() + piece.len() > self.bytes_max + 1 {
            self.too_long = true;
            self.partial.clear();
        } else {
            self.partial.extend_from_slice(piece);
        }
    }

    fn end(&mut self, piece: Bytes) -> Option<Line> {
        let mut text = if self.partial.is_empty() && !self.too_long {
            piece
        } else {
            self.keep(&piece);
            self.partial.split().freeze()
        };
        if text.last() == Some(&b'\r') {
            text.truncate(text.len() - 1);
        }
        let too_long = std::mem::take(&mut self.too_long) || text.len() > self.bytes_max;
        let number = self.number;
        self.number += 1;
        if too_long {
            return Some(Line { number, content: Content::TooLong });
        }
        let blank = text.iter().all(u8::is_ascii_whitespace);
        (!blank).then_some(Line { number, content: Content::Text(text) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(pieces: &[&[u8]], bytes_max: usize) -> Vec<Line> {
        let mut splitter = Splitter::new(bytes_max);
        let mut lines = Vec::new();
        for piece in pieces {
            let mut input = Bytes::copy_from_slice(piece);
            while let Some(line) = splitter.next(&mut input) {
                lines.push(line);
            }
        }
        lines.extend(splitter.finish());
        lines
    }

    fn text(number: u64, text: &'static str) -> Line {
        Line { number, content: Content::Text(Bytes::from_static(text.as_bytes())) }
    }

    #[test]
    fn lines_come_out() {
        let too_long = |number| Line { number, content: Content::TooLong };
        assert_eq!(split(&[b"a\n\r\n \nbc\r\nd"], 3), [text(1, "a"), text(4, "bc"), text(5, "d")]);
        assert_eq!(split(&[b"a", b"b", b"\nc"], 3), [text(1, "ab"), text(2, "c")]);
        assert_eq!(split(&[b"abcd\nx\n"], 3), [too_long(1), text(2, "x")]);
        assert_eq!(split(&[b"ab", b"cd", b"ef\nx"], 3), [too_long(1), text(2, "x")]);
        assert_eq!(split(&[b"abc\r\nabc"], 3), [text(1, "abc"), text(2, "abc")]);
        assert_eq!(split(&[], 3), []);
        assert_eq!(split(&[b"abcdef"], 3), [too_long(1)]);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            body in proptest::collection::vec(proptest::sample::select(&b"ab\n\r "[..]), 0..60),
            cut in 1_usize..9,
        ) {
            let pieces: Vec<&[u8]> = body.chunks(cut).collect();
            prop_assert_eq!(split(&pieces, 4), split(&[&body], 4));
        }
    }
}
