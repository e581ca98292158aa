//! Media types: what a body is said to be, and what a client wants back.
//!
//! Read before a body is. What always holds: a body in a form that the resource does not take is
//! refused by its name (415), never guessed at.

use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE};

use crate::problem::{Kind, Outcome, Problem};

pub(crate) const JSON: &str = "application/json";
pub(crate) const NDJSON: &str = "application/x-ndjson";
pub(crate) const MERGE_PATCH: &str = "application/merge-patch+json";
pub(crate) const CLOUD_EVENT: &str = "application/cloudevents+json";
pub(crate) const BATCH: &str = "application/cloudevents-batch+json";
pub(crate) const EVENT_STREAM: &str = "text/event-stream";
pub(crate) const BACKUP: &str = "application/vnd.linckia.backup";
pub(crate) const PROBLEM: &str = "application/problem+json";
pub(crate) const MARKDOWN: &str = "text/markdown; charset=utf-8";
pub(crate) const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The form of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Ndjson,
    MergePatch,
    /// One CloudEvent as a JSON object.
    CloudEvent,
    /// A JSON array of CloudEvents.
    Batch,
    /// A CloudEvent whose attributes are headers and whose data is the body.
    CloudBinary,
}

impl Form {
    const NAMED: [(&'static str, Self); 5] = [
        (JSON, Self::Json),
        (NDJSON, Self::Ndjson),
        (MERGE_PATCH, Self::MergePatch),
        (CLOUD_EVENT, Self::CloudEvent),
        (BATCH, Self::Batch),
    ];

    fn media(self) -> &'static str {
        let named = Self::NAMED.iter().find(|(_, form)| *form == self);
        named.map_or("application/json with ce- headers", |(media, _)| media)
    }
}

/// The form in which a body comes, out of those that are taken. Errors: 415.
pub(crate) fn form(headers: &HeaderMap, taken: &[Form]) -> Outcome<Form> {
    let given = headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
    let form = match given {
        // By far the most frequent, compared as it stands.
        None | Some(b"application/json") => Form::Json,
        Some(other) => named(other).ok_or_else(|| refuse(other, taken))?,
    };
    if let Some(coding) = headers.get(CONTENT_ENCODING)
        && !coding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        let detail = "the body is compressed (Content-Encoding); send it as it is";
        return Err(Problem::new(Kind::UnsupportedMediaType, detail));
    }
    let form = if form == Form::Json && taken.contains(&Form::CloudBinary) && is_binary(headers) {
        Form::CloudBinary
    } else {
        form
    };
    if taken.contains(&form) { Ok(form) } else { Err(refuse(given.unwrap_or_default(), taken)) }
}

/// True if attributes of a CloudEvent stand in the headers.
fn is_binary(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with("ce-"))
}

fn named(given: &[u8]) -> Option<Form> {
    let given = std::str::from_utf8(given).ok()?;
    let mut parts = given.split(';').map(str::trim);
    let media = parts.next()?;
    let utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    let form = Form::NAMED.iter().find(|(name, _)| name.eq_ignore_ascii_case(media));
    form.filter(|_| utf8).map(|(_, form)| *form)
}

fn refuse(given: &[u8], taken: &[Form]) -> Box<Problem> {
    let given = String::from_utf8_lossy(given);
    let taken: Vec<_> = taken.iter().map(|form| form.media()).collect();
    let detail = format!("`Content-Type: {given}` is not taken here; send {}", taken.join(", "));
    Problem::new(Kind::UnsupportedMediaType, detail)
}

/// The one of `offered` that the client prefers; the first where it does not say or wants none of
/// them, since an answer in another form is of more use than none.
pub(crate) fn preferred(headers: &HeaderMap, offered: &[&'static str]) -> usize {
    let mut best = (0, 0.0);
    for range in headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()) {
        for range in range.split(',') {
            let (media, weight) = weighted(range);
            let fits = |offer: &&str| {
                media == "*/*"
                    || offer.eq_ignore_ascii_case(media)
                    || media.strip_suffix("/*").is_some_and(|kind| {
                        offer.split('/').next().is_some_and(|it| it.eq_ignore_ascii_case(kind))
                    })
            };
            if let Some(place) = offered.iter().position(fits)
                && weight > best.1
            {
                best = (place, weight);
            }
        }
    }
    best.0
}

/// True if the client names a media type outright.
pub(crate) fn accepts(headers: &HeaderMap, wanted: &[&str]) -> bool {
    let ranges = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    ranges.flat_map(|ranges| ranges.split(',')).any(|range| {
        let (media, weight) = weighted(range);
        weight > 0.0 && wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(media))
    })
}

fn weighted(range: &str) -> (&str, f32) {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let weight = parts
        .find_map(|parameter| parameter.strip_prefix("q="))
        .map_or(Some(1.0), |weight| weight.parse().ok());
    (media, weight.unwrap_or(0.0))
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
    fn bodies_have_a_form() {
        let taken = [Form::Json, Form::Ndjson, Form::CloudEvent, Form::CloudBinary];
        let check = |pairs: &[_], expected: Option<Form>| {
            let outcome = form(&headers(pairs), &taken);
            assert_eq!(outcome.as_ref().ok().copied(), expected, "{pairs:?}");
            assert!(outcome.is_ok_and(|_| true) || expected.is_none());
        };
        check(&[], Some(Form::Json));
        check(&[("content-type", "application/json")], Some(Form::Json));
        check(&[("content-type", "Application/JSON; charset=UTF-8")], Some(Form::Json));
        check(&[("content-type", "application/json;charset=latin1")], None);
        check(&[("content-type", "application/x-ndjson")], Some(Form::Ndjson));
        check(
            &[("content-type", "application/cloudevents+json; charset=utf-8")],
            Some(Form::CloudEvent),
        );
        check(&[("content-type", "application/cloudevents-batch+json")], None);
        check(&[("ce-id", "1")], Some(Form::CloudBinary));
        check(&[("content-type", "text/plain")], None);
        check(&[("content-type", "application/x-www-form-urlencoded")], None);
        check(&[("content-encoding", "gzip")], None);
    }

    #[test]
    fn clients_are_given_what_they_prefer() {
        let offered = [JSON, NDJSON, EVENT_STREAM];
        let check = |accept: &'static str, expected: usize| {
            assert_eq!(preferred(&headers(&[("accept", accept)]), &offered), expected, "{accept}");
        };
        assert_eq!(preferred(&HeaderMap::new(), &offered), 0);
        check("*/*", 0);
        check("text/event-stream", 2);
        check("text/*", 2);
        check("text/html, application/x-ndjson;q=0.5, application/json;q=0.4", 1);
        check("application/json, text/event-stream", 0);
        check("application/x-ndjson;q=0", 0);
        check("image/png", 0);
        assert!(accepts(&headers(&[("accept", "a/b, text/event-stream")]), &[EVENT_STREAM]));
        assert!(!accepts(&headers(&[("accept", "text/*")]), &[EVENT_STREAM]));
    }
}
