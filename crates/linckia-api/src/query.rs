//! The query part of a request: named, checked against what the resource takes.
//!
//! Between the router and a resource. What always holds: a parameter that the resource does not
//! know, or one given twice, is refused; nothing is ignored.

use std::borrow::Cow;

use linckia_model::Vector;

use crate::percent;
use crate::problem::{Outcome, Problem};
use crate::route::Parameter;

/// Items of a page where the client does not say.
const LIMIT_DEFAULT: usize = 100;

/// More than this is better asked for page by page.
pub(crate) const LIMIT_MAX: usize = 1_000;

/// Parameters of one request, decoded.
#[derive(Debug, Default)]
pub(crate) struct QueryString<'a> {
    pairs: Vec<(&'static str, Cow<'a, str>)>,
}

impl<'a> QueryString<'a> {
    /// Reads the text behind `?`. Errors: 400 `invalid-parameter`.
    pub(crate) fn parse(text: Option<&'a str>, known: &[Parameter]) -> Outcome<Self> {
        let mut pairs = Vec::new();
        for part in text.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let undecodable = || {
                Problem::parameter(format!("`{part}` in the query is not percent-encoded UTF-8"))
            };
            let name = percent::decode_query(name).ok_or_else(undecodable)?;
            let value = percent::decode_query(value).ok_or_else(undecodable)?;
            let Some(parameter) = known.iter().find(|known| known.name == name) else {
                return Err(unknown(&name, known));
            };
            if pairs.iter().any(|(earlier, _)| *earlier == parameter.name) {
                return Err(Problem::parameter(format!("`{name}` is given twice")));
            }
            pairs.push((parameter.name, value));
        }
        Ok(Self { pairs })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_ref())
    }

    pub(crate) fn owned(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    /// Items of a page, 1 to 1000.
    pub(crate) fn limit(&self) -> Outcome<usize> {
        let Some(text) = self.get("limit") else { return Ok(LIMIT_DEFAULT) };
        match text.parse() {
            Ok(limit) if (1..=LIMIT_MAX).contains(&limit) => Ok(limit),
            _ => Err(Problem::parameter(format!(
                "`limit={text}`: a whole number from 1 to {LIMIT_MAX} is expected"
            ))),
        }
    }

    pub(crate) fn flag(&self, name: &str) -> Outcome<bool> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => {
                Err(Problem::parameter(format!("`{name}={other}`: `true` or `false` is expected")))
            }
        }
    }
}

/// Reads a vector's text. Errors: 400 `invalid-parameter`, naming where it stood.
pub(crate) fn vector(place: &str, text: &str) -> Outcome<Vector> {
    Vector::parse(text).map_err(|_| {
        Problem::parameter(format!(
            "`{place}` is no vector; one reads `us-east-1.7f3a9c01d2e4b5a6:42,…`, as `next` and \
             `Linckia-Vector` give it"
        ))
    })
}

fn unknown(name: &str, known: &[Parameter]) -> Box<Problem> {
    let names: Vec<_> = known.iter().map(|known| format!("`{}`", known.name)).collect();
    let takes = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    Problem::parameter(format!("there is no parameter `{name}` here; this resource takes {takes}"))
}

/// The address of the next page: the same request with one parameter exchanged.
pub(crate) fn next_page(path: &str, query: Option<&str>, name: &str, value: &str) -> String {
    let mut address = format!("{path}?");
    for part in query.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
        if part.split('=').next() != Some(name) {
            address.push_str(part);
            address.push('&');
        }
    }
    address.push_str(name);
    address.push('=');
    percent::encode_into(&mut address, value);
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Parameter] = &[
        Parameter::new("limit", "integer", ""),
        Parameter::new("after", "string", ""),
        Parameter::new("atomic", "boolean", ""),
    ];

    #[test]
    fn what_is_known_is_read() {
        let query = QueryString::parse(Some("limit=7&after=a%3A1+b&&atomic=true"), KNOWN).unwrap();
        assert_eq!(query.get("after"), Some("a:1 b"));
        assert_eq!((query.limit().unwrap(), query.flag("atomic").unwrap()), (7, true));
        assert_eq!(QueryString::parse(None, KNOWN).unwrap().limit().unwrap(), LIMIT_DEFAULT);
    }

    #[test]
    fn everything_else_is_refused() {
        let check = |text: &str, expected: &str| {
            let outcome = QueryString::parse(Some(text), KNOWN).and_then(|query| {
                query.limit()?;
                query.flag("atomic")
            });
            let problem = outcome.expect_err(text);
            assert!(problem.detail.contains(expected), "{text}: {}", problem.detail);
        };
        check("x=1", "`limit`, `after`, `atomic`");
        check("limit=1&limit=2", "twice");
        for limit in ["0", "1001", "-1", "", "1e2", "99999999999999999999"] {
            check(&format!("limit={limit}"), "from 1 to 1000");
        }
        check("atomic", "`true` or `false`");
        check("after=%ff", "percent-encoded");
        assert!(vector("after", "us-east-1:7").is_err());
    }

    #[test]
    fn pages_follow() {
        let next = |query| next_page("/v1/events", query, "after", "a.1:2,b&");
        assert_eq!(next(None), "/v1/events?after=a.1:2,b%26");
        assert_eq!(
            next(Some("after=x&limit=2&type=A%20b")),
            "/v1/events?limit=2&type=A%20b&after=a.1:2,b%26"
        );
    }
}
