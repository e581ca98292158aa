//! A region's HTTP door as a command sees it: paths in, answers or a reasoned failure out.
//!
//! Every command that talks to a region does so through a `Door`; `address.rs` makes them. The
//! door's problems (RFC 9457) become sentences here, once.
//! What always holds: a bearer token crosses no network unencrypted and stands in no message.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use linckia_net::{Client, ClientOptions, ClientTls, RequestBody};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::client::{ANSWER_LIMIT, Broken, Pieces, header};
use super::text::plain;
use super::wrong_use;

/// A problem document is a few hundred bytes; of what else answers an error, this much is kept.
const PROBLEM_LIMIT: usize = 64 << 10;

/// What a door is asked with besides the path.
#[derive(Clone, Default)]
pub(crate) struct Access {
    pub(crate) token: Option<String>,
    pub(crate) tls: Option<ClientTls>,
}

/// One region's door.
#[derive(Clone)]
pub(crate) struct Door {
    name: Option<String>,
    authorization: Option<String>,
    client: Client,
}

/// A successful answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// RFC 9457, as far as sentences need it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    r#type: Option<String>,
    title: Option<String>,
    detail: Option<String>,
    pointer: Option<String>,
}

/// Why a door did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Who was asked: the region's name, if known, and its URL.
    pub(crate) door: String,
    pub(crate) kind: FailureKind,
}

#[derive(Debug)]
pub(crate) enum FailureKind {
    /// There is no answer.
    Broken(Broken),
    /// The door answered with another status than 2xx.
    Refused { status: u16, sentence: String, retry_after: Option<Duration>, body: Bytes },
    /// The answer is none that this program understands.
    Unreadable(String),
}

impl Door {
    /// `url` as the user or the fleet's file gave it, e.g. `http://127.0.0.1:7401`.
    pub(crate) fn new(name: Option<String>, url: &str, access: &Access) -> anyhow::Result<Self> {
        let options = ClientOptions {
            answer_longest: ANSWER_LIMIT,
            tls: access.tls.clone(),
            ..ClientOptions::default()
        };
        let client = Client::new(url, options).map_err(|error| {
            let advice = if url.starts_with("https:") && access.tls.is_none() {
                "add --ca FILE"
            } else {
                "write http://host:port"
            };
            wrong_use(format!("{error}; {advice}"))
        })?;
        let unencrypted = client.base_url().starts_with("http://");
        if access.token.is_some() && unencrypted && !on_loopback(client.base_url()) {
            return Err(wrong_use(format!(
                "the token is not sent to {url}: it would cross a network unencrypted; use https"
            )));
        }
        let authorization = access.token.as_ref().map(|token| format!("Bearer {token}"));
        Ok(Self { name, authorization, client })
    }

    /// The region's name if it is known, else its URL: what a table shows.
    pub(crate) fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(self.url())
    }

    pub(crate) fn url(&self) -> &str {
        self.client.base_url()
    }

    /// `us-east-1 (http://127.0.0.1:7401)`: what an error names.
    fn described(&self) -> String {
        match &self.name {
            Some(name) => format!("{name} ({})", self.url()),
            None => self.url().to_owned(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.send(Method::GET, path, &[("accept", "application/json")], Bytes::new()).await
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Answer, Failure> {
        let headers = self.with_token(headers);
        let answer = self.client.request(method, path, &headers, body).await;
        let (status, headers, body) = answer.map_err(|error| self.broken(error.into()))?;
        if status.is_success() {
            Ok(Answer { headers, body })
        } else {
            Err(self.refused(status.as_u16(), &headers, body))
        }
    }

    /// Sends a GET whose successful answer is read piece by piece.
    pub(crate) async fn stream(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Pieces, Failure> {
        let headers = self.with_token(headers);
        let answer = self.client.send(Method::GET, path, &headers, RequestBody::empty()).await;
        let answer = answer.map_err(|error| self.broken(error.into()))?;
        let status = answer.status;
        if status.is_success() {
            return Ok(Pieces::new(answer));
        }
        let headers = answer.headers.clone();
        let body = Pieces::new(answer).whole(PROBLEM_LIMIT).await.unwrap_or_default();
        Err(self.refused(status.as_u16(), &headers, body))
    }

    fn with_token<'a>(&'a self, headers: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let token = self.authorization.as_deref().map(|token| ("authorization", token));
        headers.iter().copied().chain(token).collect()
    }

    pub(crate) fn broken(&self, broken: Broken) -> Failure {
        self.fail(FailureKind::Broken(broken))
    }

    pub(crate) fn fail(&self, kind: FailureKind) -> Failure {
        Failure { door: self.described(), kind }
    }

    fn refused(&self, status: u16, headers: &HeaderMap, body: Bytes) -> Failure {
        let retry_after = header(headers, "retry-after")
            .and_then(|text| text.trim().parse().ok())
            .map(Duration::from_secs);
        let sentence = sentence(status, &body);
        self.fail(FailureKind::Refused { status, sentence, retry_after, body })
    }

    /// Reads a JSON answer.
    pub(crate) fn read<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, Failure> {
        serde_json::from_slice(&answer.body).map_err(|error| {
            self.fail(FailureKind::Unreadable(format!("not the JSON expected: {error}")))
        })
    }
}

impl Failure {
    /// Whether the same request may succeed later, unchanged.
    pub(crate) fn again(&self) -> bool {
        match &self.kind {
            FailureKind::Broken(broken) => broken.again(),
            FailureKind::Refused { status, .. } => retryable(*status),
            FailureKind::Unreadable(_) => false,
        }
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match &self.kind {
            FailureKind::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The body of a refusal, for `--json`.
    pub(crate) fn body(&self) -> Option<&Bytes> {
        match &self.kind {
            FailureKind::Refused { body, .. } if !body.is_empty() => Some(body),
            _ => None,
        }
    }

    /// Whether what was asked may have been done all the same.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(&self.kind, FailureKind::Broken(broken) if !matches!(broken, Broken::Connect(_)))
    }

    /// Whether the door refused with this problem type.
    pub(crate) fn is_problem(&self, name: &str) -> bool {
        #[derive(serde::Deserialize)]
        struct Typed {
            #[serde(rename = "type")]
            kind: String,
        }
        let typed = self.body().and_then(|body| serde_json::from_slice::<Typed>(body).ok());
        typed.is_some_and(|typed| typed.kind.rsplit('/').next() == Some(name))
    }

    pub(crate) fn is_status(&self, wanted: u16) -> bool {
        matches!(&self.kind, FailureKind::Refused { status, .. } if *status == wanted)
    }
}

fn on_loopback(url: &str) -> bool {
    let Ok(url) = url.parse::<Uri>() else {
        return false;
    };
    let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// 429: too fast; 503: behind, draining, full or restarting; 504: written, not yet acknowledged.
pub(crate) fn retryable(status: u16) -> bool {
    matches!(status, 429 | 503 | 504)
}

/// What a problem says, in one line: its code, its detail, and where.
pub(crate) fn sentence(status: u16, body: &[u8]) -> String {
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    let code = problem.r#type.as_deref().and_then(|page| page.rsplit('/').next());
    let mut text = match (code, problem.detail.or(problem.title)) {
        (Some(code), Some(detail)) => format!("{code}: {detail}"),
        (Some(code), None) => code.to_owned(),
        (None, Some(detail)) => detail,
        (None, None) => {
            plain(String::from_utf8_lossy(&body[..body.len().min(200)]).trim()).into_owned()
        }
    };
    if text.is_empty() {
        text = "no reason was given".to_owned();
    }
    if let Some(pointer) = problem.pointer.filter(|pointer| !pointer.is_empty()) {
        text = format!("{text} (at {pointer})");
    }
    format!("{} [{status}]", plain(&text))
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            FailureKind::Broken(broken @ Broken::Connect(_)) => write!(
                formatter,
                "{} cannot be reached: {broken}. If it is of a local fleet, start that with \
                 `linckia up`, or the one region with `linckia start REGION`; --url names another \
                 door",
                self.door
            ),
            FailureKind::Broken(broken) => {
                write!(formatter, "the connection with {} was lost: {broken}", self.door)
            }
            FailureKind::Refused { sentence, .. } => {
                write!(formatter, "{} refused: {sentence}", self.door)
            }
            FailureKind::Unreadable(why) => write!(formatter, "{}: {why}", self.door),
        }
    }
}

impl std::error::Error for Failure {}

/// A path segment or query value, percent-encoded; what vectors consist of stays readable.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b',' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// A query string of those pairs that have a value; empty if none has.
pub(crate) fn query(pairs: &[(&str, Option<&str>)]) -> String {
    let given: Vec<String> = pairs
        .iter()
        .filter_map(|(name, value)| value.map(|value| format!("{name}={}", encode(value))))
        .collect();
    if given.is_empty() { String::new() } else { format!("?{}", given.join("&")) }
}

/// The path of an aggregate; `.` and `..` as names would be taken for steps in the path.
pub(crate) fn aggregate_path(kind: &str, id: &str) -> anyhow::Result<String> {
    for (what, name) in [("TYPE", kind), ("ID", id)] {
        if matches!(name, "" | "." | "..") {
            return Err(wrong_use(format!("`{name}` is no {what} of an aggregate")));
        }
    }
    Ok(format!("/v1/aggregates/{}/{}", encode(kind), encode(id)))
}

/// NDJSON's media type.
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// The header of a JSON body.
pub(crate) const JSON_BODY: (&str, &str) = ("content-type", "application/json");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_become_sentences() {
        let check = |status: u16, body: &str, expected: &str| {
            assert_eq!(sentence(status, body.as_bytes()), expected);
        };
        check(
            400,
            r#"{"type":"/problems/invalid-event","title":"T","detail":"no type","pointer":"/3"}"#,
            "invalid-event: no type (at /3) [400]",
        );
        check(503, r#"{"type":"/problems/behind","title":"Behind"}"#, "behind: Behind [503]");
        check(502, "<html>\u{1b}[31mbad", "<html>\u{fffd}[31mbad [502]");
        check(500, "", "no reason was given [500]");
    }

    #[test]
    fn paths_and_queries_are_encoded() {
        assert_eq!(
            aggregate_path("A b", "x/ü").ok().as_deref(),
            Some("/v1/aggregates/A%20b/x%2F%C3%BC")
        );
        assert!(aggregate_path("A", "..").is_err());
        let vector = "us-east-1.7f3a9c01d2e4b5a6:42,eu-west-1.7f3a9c01d2e4b5a6.1:7";
        assert_eq!(query(&[("a", None), ("after", Some(vector))]), format!("?after={vector}"));
        assert_eq!(query(&[("a", None)]), "");
        assert_eq!(query(&[("a", Some("1&2")), ("b", Some(""))]), "?a=1%262&b=");
    }

    #[test]
    fn urls_are_checked() {
        let check = |url: &str, good: bool| {
            assert_eq!(Door::new(None, url, &Access::default()).is_ok(), good, "{url}");
        };
        check("http://127.0.0.1:7401", true);
        check("http://region.example/", true);
        check("https://region.example/", false);
        check("http://[::1]:7401", true);
        check("127.0.0.1:7401", false);
        check("ftp://x", false);
        check("http://x?y=1", false);
        check("", false);
    }

    #[test]
    fn tokens_cross_no_network_unencrypted() {
        let access = Access { token: Some("secret".into()), tls: None };
        let check = |url: &str, good: bool| {
            assert_eq!(Door::new(None, url, &access).is_ok(), good, "{url}");
        };
        check("http://127.0.0.1:7401", true);
        check("http://[::1]:7401", true);
        check("http://localhost:7401", true);
        check("http://192.0.2.1:7401", false);
        check("http://127.0.0.1.example", false);
    }
}
