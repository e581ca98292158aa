//! As much HTTP/1.1 as a load generator needs: one request out, one answer in, over one socket.
//!
//! Used by `append` and `lag`; `stream` reads an answer that does not end. What always holds: an
//! answer is read to its end before the next request leaves; its size is bounded.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A head is a few lines.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// The answers of the largest batch have a few megabytes.
const BODY_BYTES_MAX: usize = 16 << 20;

/// Read at a time: the answers of a batch of a hundred.
const READ_BYTES: usize = 64 << 10;

/// One connection with at most one request in flight.
#[derive(Debug)]
pub struct Connection {
    pub stream: TcpStream,
    /// What was read and not looked at yet.
    pub read: Vec<u8>,
}

/// The first lines of an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    pub status: u16,
    /// None: it ends in another way.
    pub length: Option<usize>,
    /// Its own size.
    pub size: usize,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::with_capacity(READ_BYTES) })
    }

    /// Sends a request and reads its answer: the status, and the body until the next call.
    pub async fn ask(&mut self, request: &[u8]) -> anyhow::Result<(u16, &[u8])> {
        self.stream.write_all(request).await.context("a request cannot be sent")?;
        self.read.clear();
        let head = self.head().await?;
        let length = head.length.context("an answer without a content-length")?;
        anyhow::ensure!(length <= BODY_BYTES_MAX, "an answer of {length} bytes");
        while self.read.len() < head.size + length {
            self.more().await?;
        }
        Ok((head.status, &self.read[head.size..]))
    }

    /// A header of the last answer, by its name in small letters.
    pub fn header(&self, name: &str) -> Option<String> {
        let text = String::from_utf8_lossy(&self.read);
        let head = text.split("\r\n\r\n").next()?;
        let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name))?;
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    }

    /// Reads until a head is whole.
    pub async fn head(&mut self) -> anyhow::Result<Head> {
        loop {
            if let Some(head) = read_head(&self.read)? {
                return Ok(head);
            }
            anyhow::ensure!(self.read.len() <= HEAD_BYTES_MAX, "an answer's head has no end");
            self.more().await?;
        }
    }

    /// Reads what there is, after what was read before.
    pub async fn more(&mut self) -> anyhow::Result<()> {
        self.read.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.read).await {
            Ok(0) => bail!("the region closed the connection"),
            Ok(_) => Ok(()),
            Err(error) => Err(error).context("an answer cannot be read"),
        }
    }
}

/// The head at the beginning of what was read, if all of it is there.
fn read_head(read: &[u8]) -> anyhow::Result<Option<Head>> {
    let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&read[..end]).context("an answer's head is no text")?;
    let mut lines = text.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok())
        .with_context(|| format!("not an answer: {text:?}"))?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    Ok(Some(Head { status, length, size: end + 4 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_its_status_its_size_and_the_length_of_what_follows() {
        let whole = "HTTP/1.1 201 Created\r\ndate: x\r\nContent-Length: 12\r\n\r\n{\"eventId";
        let head = Head { status: 201, length: Some(12), size: 53 };
        assert_eq!(read_head(whole.as_bytes()).unwrap(), Some(head));
        let endless = b"HTTP/1.1 200 OK\r\n\r\n";
        let head = Head { status: 200, length: None, size: 19 };
        assert_eq!(read_head(endless).unwrap(), Some(head));
        assert_eq!(read_head(&whole.as_bytes()[..40]).unwrap(), None);
        assert!(read_head(b"SSH-2.0\r\n\r\n").is_err());
    }
}
