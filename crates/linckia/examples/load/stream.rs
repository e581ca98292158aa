//! One region's live events, read for nothing but when each mark arrived.
//!
//! Used by `lag`. The chunks of the answer are taken apart first (`Chunks`, pure), the text in them
//! is then searched line by line for marks (`Marks`, pure). What always holds: memory is bounded by
//! one line; a mark is found however the stream was cut.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context as _, bail};
use tokio::io::AsyncWriteExt;

use super::event::{MARK, MARK_DIGITS, read_mark};
use super::http::Connection;

/// An event is at most a mebibyte.
const LINE_BYTES_MAX: usize = 4 << 20;

/// A stream that has begun.
#[derive(Debug)]
pub struct Stream {
    connection: Connection,
    chunks: Chunks,
    marks: Marks,
}

impl Stream {
    /// Returns once the region has answered: what is appended from now on is in it.
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let mut connection = Connection::open(address).await?;
        let request = "GET /v1/events?after=now HTTP/1.1\r\nhost: load\r\n\
                       accept: text/event-stream\r\n\r\n";
        connection.stream.write_all(request.as_bytes()).await?;
        let head = connection.head().await?;
        anyhow::ensure!(head.status == 200, "a stream was refused with {}", head.status);
        anyhow::ensure!(head.length.is_none(), "a stream with an end");
        connection.read.drain(..head.size);
        Ok(Self { connection, chunks: Chunks::default(), marks: Marks::default() })
    }

    /// The next marks and when they were there.
    pub async fn next(&mut self, found: &mut Vec<u64>) -> anyhow::Result<Instant> {
        found.clear();
        loop {
            let now = Instant::now();
            let marks = &mut self.marks;
            let mut lines = Ok(());
            self.chunks.take(&self.connection.read, |text| {
                if lines.is_ok() {
                    lines = marks.take(text, found);
                }
            })?;
            lines?;
            self.connection.read.clear();
            if !found.is_empty() {
                return Ok(now);
            }
            self.connection.more().await?;
        }
    }
}

/// Where in a chunked body the reading stands.
#[derive(Debug, Default)]
struct Chunks {
    state: ChunkState,
}

#[derive(Debug, Clone, Copy, Default)]
enum ChunkState {
    /// In the line with the size; the size so far.
    #[default]
    Start,
    Size(usize),
    /// So many bytes of the chunk are to come.
    Data(usize),
    /// So many of the two that end a chunk are to come.
    End(u8),
}

impl Chunks {
    fn take(&mut self, mut bytes: &[u8], mut text: impl FnMut(&[u8])) -> anyhow::Result<()> {
        while let Some(byte) = bytes.first() {
            match self.state {
                ChunkState::Data(left) => {
                    let (now, rest) = bytes.split_at(left.min(bytes.len()));
                    text(now);
                    bytes = rest;
                    self.state = match left - now.len() {
                        0 => ChunkState::End(2),
                        left => ChunkState::Data(left),
                    };
                    continue;
                }
                ChunkState::End(left) => {
                    self.state =
                        if left > 1 { ChunkState::End(left - 1) } else { ChunkState::Start };
                }
                ChunkState::Start => self.state = ChunkState::Size(digit(*byte)?),
                ChunkState::Size(0) => bail!("the region ended the stream"),
                ChunkState::Size(size) => match byte {
                    b'\r' => {}
                    b'\n' => self.state = ChunkState::Data(size),
                    _ if size < LINE_BYTES_MAX => {
                        self.state = ChunkState::Size(size * 16 + digit(*byte)?);
                    }
                    _ => bail!("a chunk without an end"),
                },
            }
            bytes = &bytes[1..];
        }
        Ok(())
    }
}

fn digit(byte: u8) -> anyhow::Result<usize> {
    let digit = char::from(byte).to_digit(16).context("a chunk begins with no size")?;
    Ok(digit as usize)
}

/// The line that is not whole yet.
#[derive(Debug, Default)]
struct Marks {
    line: Vec<u8>,
}

impl Marks {
    fn take(&mut self, text: &[u8], found: &mut Vec<u64>) -> anyhow::Result<()> {
        let mut lines = text.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = lines.next() {
            let whole = lines.peek().is_some();
            if whole && self.line.is_empty() {
                found.extend(mark_of(part));
                continue;
            }
            anyhow::ensure!(self.line.len() + part.len() <= LINE_BYTES_MAX, "a line has no end");
            self.line.extend_from_slice(part);
            if whole {
                found.extend(mark_of(&self.line));
                self.line.clear();
            }
        }
        Ok(())
    }
}

fn mark_of(line: &[u8]) -> Option<u64> {
    let line = line.strip_prefix(b"data:")?;
    let at = line.windows(MARK.len()).position(|bytes| bytes == MARK)?;
    let digits = line.get(at + MARK.len()..)?;
    read_mark(&digits[..digits.len().min(MARK_DIGITS)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_however_the_stream_is_cut() {
        let event = |mark: u64| format!("id: x\ndata: {{\"mark\":\"{mark:012}\"}}\n\n");
        let text = format!(": ping\n\n{}{}", event(7), event(123_456_789_012));
        let mut stream = Vec::new();
        for chunk in text.as_bytes().chunks(33) {
            stream.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            stream.extend_from_slice(chunk);
            stream.extend_from_slice(b"\r\n");
        }
        for size in [1, 2, 5, 40, stream.len()] {
            let (mut chunks, mut marks) = (Chunks::default(), Marks::default());
            let mut found = Vec::new();
            for piece in stream.chunks(size) {
                chunks.take(piece, |text| marks.take(text, &mut found).unwrap()).unwrap();
            }
            assert_eq!(found, [7, 123_456_789_012], "pieces of {size}");
        }
        let mut ended = Chunks::default();
        assert!(ended.take(b"0\r\n\r\n", |_| ()).is_err());
        assert!(Chunks::default().take(b"x", |_| ()).is_err());
    }
}
