//! What a command needs of `linckia-net`'s client beyond requests: why there is no answer, and
//! bodies that do not fall silent for ever.
//!
//! Stands under `door.rs`, which gives answers a meaning; nothing here knows of events.
//! What always holds: whether something may have been carried out is never guessed: it is said of
//! everything that was sent.

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use linckia_model::with_causes;
use linckia_net::{Again, ClientResponse, Error};
use tokio::time::timeout;

/// The longest that a door may take to answer: a batch that waits for a busy disk is well within.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// Between two pieces of an answer; an event stream pings every 15 s.
const SILENCE_LIMIT: Duration = Duration::from_secs(45);

/// Why there is no answer, or no more of it.
#[derive(Debug)]
pub(crate) enum Broken {
    /// No connection could be made: nothing was sent.
    Connect(Error),
    /// The connection failed: what was sent may have been carried out.
    Lost(Error),
    /// A stream that should go on ended.
    Ended,
    /// A stream fell silent.
    Silent,
    /// The command wanted an answer sooner.
    Slow(Duration),
}

impl Broken {
    pub(crate) fn again(&self) -> bool {
        match self {
            Self::Connect(error) | Self::Lost(error) => error.again() != Again::Never,
            Self::Ended | Self::Silent | Self::Slow(_) => true,
        }
    }
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        match error {
            Error::Http { .. } | Error::AnswerTooLarge { .. } => Self::Lost(error),
            Error::Timeout { step, .. } if step != "connecting" => Self::Lost(error),
            _ => Self::Connect(error),
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = match self {
            Self::Connect(error) | Self::Lost(error) => error,
            Self::Ended => return formatter.write_str("it ended the stream"),
            Self::Silent => {
                return write!(formatter, "it was silent for {} s", SILENCE_LIMIT.as_secs());
            }
            Self::Slow(limit) => {
                return write!(formatter, "no answer within {} s", limit.as_secs());
            }
        };
        formatter.write_str(&with_causes(error))
    }
}

/// A body, piece by piece.
pub(crate) struct Pieces(ClientResponse);

impl Pieces {
    pub(crate) fn new(response: ClientResponse) -> Self {
        Self(response)
    }

    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        match timeout(SILENCE_LIMIT, self.0.chunk()).await {
            Ok(piece) => Ok(piece?),
            Err(_) => Err(Broken::Silent),
        }
    }

    /// The rest as a whole, up to about `limit`; what lies beyond is left unread.
    pub(crate) async fn whole(mut self, limit: usize) -> Result<Bytes, Broken> {
        let mut whole = BytesMut::new();
        while whole.len() < limit
            && let Some(piece) = self.next().await?
        {
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }
}

/// Headers as they are mostly needed: text or nothing.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
