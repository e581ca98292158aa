//! Who is calling, and whether he may come in.
//!
//! The first check of every call but `/livez`. What always holds: the time it takes says nothing
//! about how much of a token was right.

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::problem::{Kind, Outcome, Problem};
use crate::settings::DoorSettings;

/// The actor of whoever brought the token.
const TOKEN_ACTOR: &str = "token";

/// Whom the connection showed to be at its other end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The subject of a verified client certificate.
    pub subject: Option<Arc<str>>,
    /// Another region has let it in, and found nobody's name.
    forwarded: bool,
}

impl ClientIdentity {
    /// Nobody is known: no certificate was asked for or shown.
    pub const ANONYMOUS: Self = Self { subject: None, forwarded: false };

    /// The holder of a certificate that the listener has verified.
    pub fn of_certificate(subject: &str) -> Self {
        Self { subject: Some(subject.into()), forwarded: false }
    }

    /// Whom another region of the fleet has let in.
    pub(crate) fn of_region(actor: Option<&str>) -> Self {
        Self { subject: actor.map(Arc::from), forwarded: true }
    }
}

/// The actor under whom the call's events are written. Errors: 401.
pub(crate) fn admit<'a>(
    settings: &DoorSettings,
    headers: &HeaderMap,
    client: &'a ClientIdentity,
) -> Outcome<Option<&'a str>> {
    if let Some(subject) = &client.subject {
        return Ok(Some(subject));
    }
    if client.forwarded {
        return Ok(None);
    }
    match &settings.token {
        Some(token) => match bearer(headers) {
            Some(given) if equal(given, token) => Ok(Some(TOKEN_ACTOR)),
            Some(_) => Err(refuse("the bearer token is not the one of this region")),
            None => Err(refuse("send `Authorization: Bearer <token>`, or a client certificate")),
        },
        None if settings.require_auth => {
            Err(refuse("this region takes no token; come with a client certificate"))
        }
        None => Ok(None),
    }
}

fn refuse(detail: &str) -> Box<Problem> {
    Problem::new(Kind::Unauthorized, detail)
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// Compares every byte, wherever the first difference lies.
fn equal(given: &[u8], expected: &[u8]) -> bool {
    if given.len() != expected.len() {
        return false;
    }
    let pairs = given.iter().zip(expected);
    std::hint::black_box(pairs.fold(0, |different, (a, b)| different | (a ^ b))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_come_in() {
        let check = |token: Option<&str>, required, given: Option<&'static str>, expected| {
            let settings = DoorSettings {
                token: token.map(|token| token.as_bytes().to_vec()),
                require_auth: required,
                ..DoorSettings::default()
            };
            let mut headers = HeaderMap::new();
            if let Some(given) = given {
                headers.insert(AUTHORIZATION, given.parse().unwrap());
            }
            let admitted = admit(&settings, &headers, &ClientIdentity::ANONYMOUS).map_err(drop);
            assert_eq!(admitted, expected, "{given:?}");
            let client = ClientIdentity::of_certificate("ann");
            assert_eq!(admit(&settings, &headers, &client).map_err(drop), Ok(Some("ann")));
        };
        check(None, false, None, Ok(None));
        check(None, false, Some("Bearer x"), Ok(None));
        check(None, true, None, Err(()));
        check(None, true, Some("Bearer "), Err(()));
        check(Some("secret"), false, Some("Bearer secret"), Ok(Some("token")));
        check(Some("secret"), true, Some("bearer secret"), Ok(Some("token")));
        for bad in ["Bearer secre", "Bearer secret2", "Bearer Secret", "Basic secret", "secret", ""]
        {
            check(Some("secret"), false, Some(bad), Err(()));
        }
        check(Some("secret"), false, None, Err(()));
    }
}
