//! Sessions as headers: the token of what a client has seen, and what to do where a region is
//! behind it.
//!
//! Read before a request is answered, written after. What always holds: a token names only what
//! some region may still lack, so it stays short however long a session lives.

use std::time::Duration;

use linckia_model::{SessionError, SessionKeys, Token, Vector};

use crate::base64;
use crate::problem::{Outcome, Problem};
use crate::time::parse_duration;

/// How long a request waits where the client does not say.
pub(crate) const WAIT_DEFAULT: Duration = Duration::from_secs(1);

/// The longest wait: within what clients and proxies keep a silent connection open.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(60);

/// Longer ones are not ours: a token names a few origins.
const TOKEN_BYTES_MAX: usize = 64 << 10;

/// What a client wants of a region that has not applied all that it has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    /// Answer once it has, within this.
    Wait(Duration),
    /// Have another region answer that has.
    Forward,
    /// Answer from what is here, and say by how much it is behind.
    Stale,
    /// Refuse at once.
    Fail,
}

impl Behind {
    pub(crate) const DEFAULT: Self = Self::Wait(WAIT_DEFAULT);

    /// Reads the value of `Linckia-Behind`. Errors: 400.
    pub(crate) fn parse(text: &str) -> Outcome<Self> {
        let wait = |text| parse_duration(text).filter(|longest| *longest <= WAIT_MAX);
        match text {
            "forward" => Some(Self::Forward),
            "stale" => Some(Self::Stale),
            "fail" => Some(Self::Fail),
            "wait" => Some(Self::DEFAULT),
            other => other.strip_prefix("wait=").and_then(wait).map(Self::Wait),
        }
        .ok_or_else(|| {
            Problem::parameter(format!(
                "`Linckia-Behind: {text}`: `wait=500ms` (at most {} s), `forward`, `stale` or \
                 `fail` is expected",
                WAIT_MAX.as_secs()
            ))
        })
    }
}

/// What a token says; an empty one asks for a first token. Errors: 400.
pub(crate) fn read(keys: &SessionKeys, token: &str, known: &Vector) -> Outcome<Token> {
    if token.is_empty() {
        return Ok(Token::default());
    }
    let bytes = match token.len() {
        length if length > TOKEN_BYTES_MAX => None,
        _ => base64::decode(token),
    };
    let token = bytes.ok_or(SessionError::Token).and_then(|bytes| keys.verify(&bytes, known));
    token.map_err(|error| {
        Problem::parameter(format!(
            "`Linckia-Session`: {error}; send the header empty to begin a new session, or see \
             that all regions have the same session keys"
        ))
    })
}

/// The token of a client that has seen this much; what every region has applied that has not lapsed
/// in that epoch is left out.
pub(crate) fn token(keys: &SessionKeys, seen: &Vector, everywhere: &Vector, epoch: u64) -> String {
    let open = seen.iter().filter(|(origin, sequence)| everywhere.get(origin) < *sequence);
    let open = open.map(|(origin, sequence)| (origin.clone(), sequence)).collect();
    base64::encode(&keys.sign(&Token { seen: open, epoch }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_behind() {
        let check = |text, expected| assert_eq!(Behind::parse(text).ok(), expected, "{text}");
        check("wait=500ms", Some(Behind::Wait(Duration::from_millis(500))));
        check("wait", Some(Behind::DEFAULT));
        check("forward", Some(Behind::Forward));
        check("stale", Some(Behind::Stale));
        check("fail", Some(Behind::Fail));
        for bad in ["", "wait=", "wait=61s", "Stale", "wait=5", "fail;x"] {
            check(bad, None);
        }
    }

    #[test]
    fn a_token_leaves_out_what_every_region_has() {
        let keys = SessionKeys::of([1; 32]);
        let vector = |text| Vector::parse(text).unwrap();
        let all = vector("a.0000000000000001:7,b.0000000000000001:5");
        let token = token(&keys, &all, &vector("a.0000000000000001:6,b.0000000000000001:5"), 2);
        let found = read(&keys, &token, &Vector::new()).unwrap();
        assert_eq!(found, Token { seen: vector("a.0000000000000001:7"), epoch: 2 });
        assert_eq!(read(&keys, "", &Vector::new()).unwrap(), Token::default());
        for bad in ["x", "AAAA", &token[1..], &token.to_lowercase()] {
            assert!(read(&keys, bad, &Vector::new()).is_err(), "{bad}");
        }
    }
}
