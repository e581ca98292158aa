//! Headers that every data call may carry: acknowledgement, sessions, preconditions, traces.
//!
//! Read after the route is found, before the body. What always holds: a header that would change
//! the meaning of a call is honoured or refused, never ignored.

use std::time::Duration;

use http::header::{HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, Method};
use linckia_model::{Ack, Level, Precondition, RegionName};

use crate::problem::{Kind, Outcome, Problem};
use crate::time::parse_duration;

/// How long an answer waits for other regions where the client does not say.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest wait: within what clients and proxies keep a silent connection open.
const ACK_TIMEOUT_MAX: Duration = Duration::from_secs(60);

const ACK: HeaderName = HeaderName::from_static("linckia-ack");
pub(crate) const SESSION: HeaderName = HeaderName::from_static("linckia-session");
pub(crate) const BEHIND: HeaderName = HeaderName::from_static("linckia-behind");
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const STALE: HeaderName = HeaderName::from_static("linckia-stale");
pub(crate) const VECTOR: HeaderName = HeaderName::from_static("linckia-vector");

/// Where a write must be durable before it is answered. Errors: 400.
pub(crate) fn ack(headers: &HeaderMap) -> Outcome<Ack> {
    let Some(value) = single(headers, &ACK)? else { return Ok(Ack::default()) };
    let malformed = || {
        Problem::parameter(format!(
            "`Linckia-Ack: {value}`: `local`, `any`, `quorum`, `all` or region names joined by \
             commas are expected, with `;timeout=2s` behind if need be (at most {} s)",
            ACK_TIMEOUT_MAX.as_secs()
        ))
    };
    let mut parts = value.split(';').map(str::trim);
    let level = level(parts.next().unwrap_or_default()).ok_or_else(malformed)?;
    let mut timeout = (level != Level::Local).then_some(ACK_TIMEOUT);
    for parameter in parts {
        let given = parameter.strip_prefix("timeout=").and_then(parse_duration);
        let within = given.filter(|given| *given <= ACK_TIMEOUT_MAX);
        timeout = Some(within.ok_or_else(malformed)?);
    }
    let timeout_milliseconds = timeout.map(|timeout| timeout.as_millis() as u64);
    Ok(Ack { level, timeout_milliseconds })
}

fn level(text: &str) -> Option<Level> {
    match text {
        "local" => Some(Level::Local),
        "any" => Some(Level::Any),
        "quorum" => Some(Level::Quorum),
        "all" => Some(Level::All),
        names => {
            let parsed = names.split(',').map(|name| RegionName::parse(name.trim()).ok());
            let mut regions: Vec<RegionName> = parsed.collect::<Option<_>>()?;
            regions.sort();
            regions.dedup();
            Some(Level::Regions(regions.into()))
        }
    }
}

/// What must hold for a write to one aggregate. Errors: 400.
pub(crate) fn precondition(headers: &HeaderMap, method: &Method) -> Outcome<Option<Precondition>> {
    let expected = single(headers, &IF_MATCH)?;
    let absent = single(headers, &IF_NONE_MATCH)?;
    match (expected, absent) {
        (Some(_), Some(_)) => {
            let detail = "`If-Match` and `If-None-Match` exclude each other; send one of them";
            Err(Problem::parameter(detail))
        }
        (Some("*"), None) => Ok(Some(Precondition::Exists)),
        (Some(tag), None) => Ok(Some(Precondition::Match(expected_tag(tag)?))),
        (None, Some("*")) if method != Method::DELETE => Ok(Some(Precondition::Absent)),
        (None, Some(other)) => Err(Problem::parameter(format!(
            "`If-None-Match: {other}`: on PUT, PATCH and POST only `*` has a meaning, on DELETE \
             nothing has"
        ))),
        (None, None) if method == Method::DELETE => Ok(Some(Precondition::Deletable)),
        (None, None) => Ok(None),
    }
}

/// The tag of `If-Match`, without quotes; a weak one stays as it is, and so never matches.
fn expected_tag(text: &str) -> Outcome<String> {
    if text.starts_with("W/") {
        return Ok(text.to_owned());
    }
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match inner {
        Some(tag) if !tag.contains('"') => Ok(tag.to_owned()),
        _ => Err(Problem::parameter(format!(
            "`If-Match: {text}`: one entity tag in quotes, as `ETag` gave it, or `*` is expected"
        ))),
    }
}

/// Preconditions have no meaning where a request may write to many aggregates. Errors: 400.
pub(crate) fn no_precondition(headers: &HeaderMap) -> Outcome<()> {
    for name in [IF_MATCH, IF_NONE_MATCH] {
        if headers.contains_key(&name) {
            return Err(Problem::parameter(format!(
                "`{name}` holds for one aggregate; \
                 POST to /v1/aggregates/<type>/<id>/events instead"
            )));
        }
    }
    Ok(())
}

/// True if one of the tags that a reader holds is this one (weak comparison, as for reads).
pub(crate) fn names_tag(value: &str, tag: &str) -> bool {
    value.split(',').map(str::trim).any(|one| {
        let strong = one.strip_prefix("W/").unwrap_or(one);
        one == "*" || strong.trim_matches('"') == tag
    })
}

/// What a reader already has, or insists on. Errors: 412.
pub(crate) fn read_condition(headers: &HeaderMap, tag: &str, version: u64) -> Outcome<bool> {
    if let Some(expected) = single(headers, &IF_MATCH)?
        && !names_tag(expected, tag)
    {
        let problem = Problem::new(Kind::VersionConflict, "the aggregate has another entity tag");
        return Err(problem.with("currentVersion", version).with("etag", format!("\"{tag}\"")));
    }
    Ok(single(headers, &IF_NONE_MATCH)?.is_some_and(|held| names_tag(held, tag)))
}

/// A header that may stand once. Errors: 400.
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Outcome<Option<&'a str>> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::parameter(format!("the header `{name}` is given twice")));
    }
    text(name, value).map(Some)
}

fn text<'a>(name: &HeaderName, value: &'a HeaderValue) -> Outcome<&'a str> {
    let text = std::str::from_utf8(value.as_bytes());
    text.map(str::trim).map_err(|_| Problem::parameter(format!("the header `{name}` is not UTF-8")))
}

/// The trace context, if it is one; a broken one is dropped, as W3C Trace Context 3.2.2 has it.
pub(crate) fn traceparent(headers: &HeaderMap) -> Option<&str> {
    headers.get(&TRACEPARENT)?.to_str().ok().filter(|text| is_traceparent(text))
}

pub(crate) fn is_traceparent(text: &str) -> bool {
    let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let part = |part: Option<&str>, length: usize| {
        part.is_some_and(|part| part.len() == length && part.bytes().all(lower))
    };
    let mut parts = text.split('-');
    let version = parts.next();
    let (trace, parent) = (parts.next(), parts.next());
    let known = version == Some("00");
    let zero = |part: Option<&str>| part.is_some_and(|part| part.bytes().all(|b| b == b'0'));
    known
        && part(trace, 32)
        && part(parent, 16)
        && part(parts.next(), 2)
        && parts.next().is_none()
        && !zero(trace)
        && !zero(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn acknowledgement_levels() {
        let regions = |names: &[&str]| {
            let names = names.iter().map(|name| RegionName::parse(name).unwrap());
            Level::Regions(names.collect())
        };
        let check = |value, level: Level, timeout_milliseconds| {
            let found = ack(&headers(&[("linckia-ack", value)])).unwrap();
            assert_eq!(found, Ack { level, timeout_milliseconds }, "{value}");
        };
        check("local", Level::Local, None);
        check("local; timeout=500ms", Level::Local, Some(500));
        check("any", Level::Any, Some(5_000));
        check("quorum;timeout=2s", Level::Quorum, Some(2_000));
        check("all;timeout=60s", Level::All, Some(60_000));
        check("eu-west-1", regions(&["eu-west-1"]), Some(5_000));
        check("us-east-1, eu-west-1", regions(&["eu-west-1", "us-east-1"]), Some(5_000));
        for bad in
            ["", "Local!", "a,,b", "local;timeout=2", "local;x=1", "any;", "Any", "all;timeout=61s"]
        {
            let kind = ack(&headers(&[("linckia-ack", bad)])).err().map(|problem| problem.kind);
            assert_eq!(kind, Some(Kind::InvalidParameter), "{bad}");
        }
        let twice = headers(&[("linckia-ack", "any"), ("linckia-ack", "all")]);
        assert!(ack(&twice).is_err());
    }

    #[test]
    fn preconditions() {
        let check = |method: Method, pairs: &[_], expected: Result<Option<Precondition>, ()>| {
            let outcome = precondition(&headers(pairs), &method).map_err(drop);
            assert_eq!(outcome, expected, "{pairs:?}");
        };
        let tag = |text: &str| Ok(Some(Precondition::Match(text.to_owned())));
        check(Method::PUT, &[], Ok(None));
        check(Method::DELETE, &[], Ok(Some(Precondition::Deletable)));
        check(Method::PUT, &[("if-match", "\"ab\"")], tag("ab"));
        check(Method::PUT, &[("if-match", "W/\"ab\"")], tag("W/\"ab\""));
        check(Method::PUT, &[("if-match", "*")], Ok(Some(Precondition::Exists)));
        check(Method::PUT, &[("if-none-match", "*")], Ok(Some(Precondition::Absent)));
        check(Method::DELETE, &[("if-none-match", "*")], Err(()));
        check(Method::PUT, &[("if-none-match", "\"ab\"")], Err(()));
        check(Method::PUT, &[("if-match", "ab")], Err(()));
        check(Method::PUT, &[("if-match", "\"a\", \"b\"")], Err(()));
        check(Method::PUT, &[("if-match", "*"), ("if-none-match", "*")], Err(()));
        check(Method::PUT, &[("if-match", "\"a\""), ("if-match", "\"b\"")], Err(()));
    }

    #[test]
    fn readers_tags() {
        for (value, held) in
            [("\"a\"", true), ("\"b\", W/\"a\"", true), ("*", true), ("\"b\"", false)]
        {
            assert_eq!(names_tag(value, "a"), held, "{value}");
        }
    }

    #[test]
    fn trace_contexts() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(is_traceparent(good));
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4BF92F3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert!(!is_traceparent(bad), "{bad}");
        }
    }
}
