//! Every way in which the door says no: RFC 9457 problems, one table of types.
//!
//! Whoever refuses makes a [`Problem`]; `io::respond` sends it; `/problems/<name>` serves its page.
//! What always holds: a type has one status, one title and one page under `docs/errors`.

use bytes::BytesMut;
use linckia_model::Vector;
use serde_json::Value;

use crate::json::Object;

/// A problem type; its place in the enumeration is its place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    InvalidEvent,
    InvalidParameter,
    PatternInvalid,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    IdReused,
    LockHeld,
    LeaseLost,
    LostWrites,
    PositionExpired,
    VersionConflict,
    PayloadTooLarge,
    UnsupportedMediaType,
    RateLimited,
    ResidencyViolation,
    Unreadable,
    Unsupported,
    Behind,
    RegionDraining,
    LogFull,
    DiskFull,
    Unavailable,
    AckTimeout,
}

/// What all problems of a type share.
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) uri: &'static str,
    pub(crate) status: u16,
    pub(crate) title: &'static str,
    /// Markdown.
    pub(crate) page: &'static str,
}

macro_rules! entry {
    ($kind:ident, $uri:literal, $status:literal, $title:literal, $page:literal) => {
        Entry {
            kind: Kind::$kind,
            uri: $uri,
            status: $status,
            title: $title,
            page: include_str!(concat!("../../../docs/errors/", $page, ".md")),
        }
    };
}

pub(crate) static TABLE: [Entry; 25] = [
    entry!(InvalidEvent, "/problems/invalid-event", 400, "Invalid event", "invalid-event"),
    entry!(
        InvalidParameter,
        "/problems/invalid-parameter",
        400,
        "Invalid parameter",
        "invalid-parameter"
    ),
    entry!(PatternInvalid, "/problems/pattern-invalid", 400, "Invalid pattern", "pattern-invalid"),
    entry!(Unauthorized, "/problems/unauthorized", 401, "Unauthorized", "unauthorized"),
    entry!(Forbidden, "/problems/forbidden", 403, "Forbidden", "forbidden"),
    entry!(NotFound, "/problems/not-found", 404, "Not found", "not-found"),
    entry!(
        MethodNotAllowed,
        "/problems/method-not-allowed",
        405,
        "Method not allowed",
        "method-not-allowed"
    ),
    entry!(IdReused, "/problems/id-reused", 409, "Event id reused", "id-reused"),
    entry!(LockHeld, "/problems/lock-held", 409, "Lock held by another", "lock-held"),
    entry!(LeaseLost, "/problems/lease-lost", 409, "Lease lost", "lease-lost"),
    entry!(LostWrites, "/problems/lost-writes", 410, "Writes are lost", "lost-writes"),
    entry!(
        PositionExpired,
        "/problems/position-expired",
        410,
        "Position expired",
        "position-expired"
    ),
    entry!(
        VersionConflict,
        "/problems/version-conflict",
        412,
        "Version conflict",
        "version-conflict"
    ),
    entry!(
        PayloadTooLarge,
        "/problems/payload-too-large",
        413,
        "Payload too large",
        "payload-too-large"
    ),
    entry!(
        UnsupportedMediaType,
        "/problems/unsupported-media-type",
        415,
        "Unsupported media type",
        "unsupported-media-type"
    ),
    entry!(RateLimited, "/problems/rate-limited", 429, "Too many requests", "rate-limited"),
    entry!(
        ResidencyViolation,
        "/problems/residency-violation",
        451,
        "May not be held here",
        "residency-violation"
    ),
    entry!(Unreadable, "/problems/unreadable", 500, "A log cannot be read", "unreadable"),
    entry!(Unsupported, "/problems/unsupported", 501, "Not built yet", "unsupported"),
    entry!(Behind, "/problems/behind", 503, "This region is behind", "behind"),
    entry!(RegionDraining, "/problems/region-draining", 503, "Region draining", "region-draining"),
    entry!(LogFull, "/problems/log-full", 503, "The log is full", "log-full"),
    entry!(DiskFull, "/problems/disk-full", 503, "The disk is full", "disk-full"),
    entry!(Unavailable, "/problems/unavailable", 503, "Temporarily unavailable", "unavailable"),
    entry!(AckTimeout, "/problems/ack-timeout", 504, "Not acknowledged in time", "ack-timeout"),
];

impl Kind {
    pub(crate) fn entry(self) -> &'static Entry {
        let entry = &TABLE[self as usize];
        debug_assert_eq!(entry.kind, self, "the table follows the enumeration");
        entry
    }
}

impl Entry {
    /// The last part of the URI.
    pub(crate) fn name(&self) -> &'static str {
        self.uri.rsplit('/').next().unwrap_or(self.uri)
    }
}

/// A refusal on its way to the client.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Problem {
    pub(crate) kind: Kind,
    /// What was wrong and what to do.
    pub(crate) detail: String,
    /// Where in the body, as an RFC 6901 pointer.
    pub(crate) pointer: Option<String>,
    /// Members that the type has beside the common ones.
    pub(crate) members: Vec<(&'static str, Value)>,
    pub(crate) retry_after_seconds: Option<u32>,
    /// The methods of the resource, for 405.
    pub(crate) allow: Option<String>,
    /// Events that it shows, where that is known.
    pub(crate) seen: Option<Vector>,
    /// The session's token after it.
    pub(crate) session: Option<String>,
    /// By how much it was answered from behind the session.
    pub(crate) stale: Option<String>,
}

/// Refusing is rare, answering is not: the problem is boxed to keep results small.
pub(crate) type Outcome<T> = Result<T, Box<Problem>>;

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Box<Self> {
        Box::new(Self {
            kind,
            detail: detail.into(),
            pointer: None,
            members: Vec::new(),
            retry_after_seconds: None,
            allow: None,
            seen: None,
            session: None,
            stale: None,
        })
    }

    pub(crate) fn event(pointer: impl Into<String>, detail: impl Into<String>) -> Box<Self> {
        Self::new(Kind::InvalidEvent, detail).at(pointer)
    }

    pub(crate) fn parameter(detail: impl Into<String>) -> Box<Self> {
        Self::new(Kind::InvalidParameter, detail)
    }

    pub(crate) fn unsupported(detail: impl Into<String>) -> Box<Self> {
        Self::new(Kind::Unsupported, detail)
    }

    pub(crate) fn at(mut self: Box<Self>, pointer: impl Into<String>) -> Box<Self> {
        self.pointer = Some(pointer.into());
        self
    }

    /// The same problem, of what stands below `prefix` in the body.
    pub(crate) fn below(mut self: Box<Self>, prefix: &str) -> Box<Self> {
        self.pointer = Some(match self.pointer.take() {
            Some(pointer) => format!("{prefix}{pointer}"),
            None => prefix.to_owned(),
        });
        self
    }

    pub(crate) fn with(
        mut self: Box<Self>,
        name: &'static str,
        value: impl Into<Value>,
    ) -> Box<Self> {
        self.members.push((name, value.into()));
        self
    }

    /// The same problem, which shows these events.
    pub(crate) fn showing(mut self: Box<Self>, seen: Vector) -> Box<Self> {
        self.seen.get_or_insert_default().join(&seen);
        self
    }

    pub(crate) fn retry_after(mut self: Box<Self>, seconds: u32) -> Box<Self> {
        self.retry_after_seconds = Some(seconds);
        self
    }

    pub(crate) fn status(&self) -> u16 {
        self.kind.entry().status
    }

    pub(crate) fn write(&self, out: &mut BytesMut) {
        let entry = self.kind.entry();
        let mut object = Object::open(out);
        object.text("type", entry.uri);
        object.text("title", entry.title);
        object.number("status", entry.status.into());
        object.text("detail", &self.detail);
        if let Some(pointer) = &self.pointer {
            object.text("pointer", pointer);
        }
        for (name, value) in &self.members {
            object.value(name, value);
        }
        object.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_follows_the_enumeration() {
        for (place, entry) in TABLE.iter().enumerate() {
            assert_eq!(entry.kind as usize, place, "{}", entry.uri);
            let heading = format!("# `{}`", entry.name());
            assert!(entry.page.starts_with(&heading), "{} has another page", entry.uri);
            assert!(entry.page.contains(&entry.status.to_string()), "{}: status", entry.uri);
        }
    }

    #[test]
    fn a_problem_is_json() {
        let problem = Problem::event("/eventType", "say \"what\"").below("/3").with("limit", 7);
        let mut out = BytesMut::new();
        problem.write(&mut out);
        let expected = r#"{"type":"/problems/invalid-event","title":"Invalid event","status":400,"#
            .to_owned()
            + r#""detail":"say \"what\"","pointer":"/3/eventType","limit":7}"#;
        assert_eq!(out, expected.as_bytes());
    }
}
