//! Questions to a region's door, a few a second: a `GET`, its status and its body.
//!
//! Used by `fleet` and `recover`. What always holds: a question is answered or fails within a few
//! seconds, and its answer is bounded.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context;

/// A region that answers no single `GET` within this is not well.
const PATIENCE: Duration = Duration::from_secs(10);

/// Vectors and verdicts of a few regions.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

pub fn get(address: SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    let (head, body) =
        answer.split_once("\r\n\r\n").with_context(|| format!("not an answer: {answer:?}"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("an answer without a status: {head:?}"))?;
    Ok((status, body.to_owned()))
}
