//! HTTP/1.1 by hand: what is sent is exactly what the test says, byte by byte.
//!
//! The other end of the wire. What always holds: no wait is longer than the limit.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(20);

pub struct Client {
    stream: TcpStream,
    input: Vec<u8>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known == name);
        found.next().map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The problem's type, its status being that of the answer.
    #[track_caller]
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        super::schema::check("Problem", &problem);
        problem["type"].as_str().unwrap().strip_prefix("/problems/").unwrap().to_owned()
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, input: Vec::new() }
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, &[], b"").await
    }

    pub async fn post(&mut self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], body.as_ref()).await
    }

    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.write(head(method, path, headers, Some(body.len())).as_bytes()).await;
        self.write(body).await;
        self.answer().await
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        timeout(LIMIT, self.stream.write_all(bytes)).await.expect("in time").unwrap();
    }

    /// Writes a piece of a chunked body; an empty one ends it.
    pub async fn write_chunk(&mut self, bytes: &[u8]) {
        let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        self.write(&chunk).await;
    }

    async fn more(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        let read = timeout(LIMIT, self.stream.read(&mut buffer)).await.expect("in time").unwrap();
        self.input.extend_from_slice(&buffer[..read]);
        read > 0
    }

    /// True once the server has closed the connection and nothing is left to read.
    pub async fn is_over(&mut self) -> bool {
        self.input.is_empty() && !self.more().await
    }

    async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.input.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.input.drain(..end + 2).collect();
                return String::from_utf8(line[..end].to_vec()).unwrap();
            }
            assert!(self.more().await, "the connection ended: {:?}", self.input);
        }
    }

    async fn take(&mut self, bytes: usize) -> Vec<u8> {
        while self.input.len() < bytes {
            assert!(self.more().await, "the connection ended");
        }
        self.input.drain(..bytes).collect()
    }

    /// The head of the next answer.
    pub async fn head(&mut self) -> Answer {
        let first = self.line().await;
        let status = first.split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let line = self.line().await;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Answer { status, headers, body: Vec::new() }
    }

    /// The next piece of a chunked body; none at its end.
    pub async fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = self.line().await;
        let size = usize::from_str_radix(&size, 16).unwrap();
        let chunk = self.take(size).await;
        assert_eq!(self.line().await, "");
        (size > 0).then_some(chunk)
    }

    /// The next answer, whole.
    pub async fn answer(&mut self) -> Answer {
        let mut answer = self.head().await;
        if answer.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk().await {
                answer.body.extend(chunk);
            }
        } else if let Some(length) = answer.header("content-length") {
            let length = length.parse().unwrap();
            answer.body = self.take(length).await;
        }
        answer
    }
}

/// A request's head; without a length its body is chunked.
pub fn head(method: &str, path: &str, headers: &[(&str, &str)], length: Option<usize>) -> String {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: door\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    match length {
        Some(0) if method == "GET" => {}
        Some(length) => head += &format!("content-length: {length}\r\n"),
        None => head += "transfer-encoding: chunked\r\n",
    }
    head + "\r\n"
}
