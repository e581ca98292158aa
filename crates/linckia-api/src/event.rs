//! Events coming in: the reference design's JSON or CloudEvents, made into what the region writes.
//!
//! `native` and `cloud` parse, `check` judges, `explain` finds the place of a fault after the fast
//! parse has failed. What always holds: the fast path builds no tree for the envelope, only for
//! the event's data; nothing that the client sent is ignored, except members the server owns.

pub(crate) mod array;
pub(crate) mod check;
pub(crate) mod cloud;
pub(crate) mod explain;
pub(crate) mod native;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use linckia_model::NewEvent;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use crate::problem::Outcome;
use crate::settings::Limits;

/// A string that borrows from the body where it can; absent by default, never `null`.
#[derive(Debug, Default)]
pub(crate) struct Text<'a>(pub(crate) Option<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Borrowed(text))))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Owned(text.to_owned()))))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

/// An object: serde would otherwise take an array for a struct, its elements for members.
#[derive(Debug, Default)]
pub(crate) struct Members<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for MembersVisitor<T> {
            type Value = Members<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(Members)
            }
        }

        deserializer.deserialize_map(MembersVisitor(PhantomData))
    }
}

/// Reads a value that is there, `null` included.
pub(crate) fn present<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// An event as the client gave it, in whatever form.
#[derive(Debug, Default)]
pub(crate) struct Envelope<'a> {
    pub(crate) event_id: Option<Cow<'a, str>>,
    pub(crate) event_type: Option<Cow<'a, str>>,
    pub(crate) aggregate_id: Option<Cow<'a, str>>,
    pub(crate) aggregate_type: Option<Cow<'a, str>>,
    pub(crate) operation: Option<Cow<'a, str>>,
    pub(crate) data: Option<Value>,
    pub(crate) correlation_id: Option<Cow<'a, str>>,
    pub(crate) causation_id: Option<Cow<'a, str>>,
    pub(crate) source: Option<Cow<'a, str>>,
    pub(crate) traceparent: Option<Cow<'a, str>>,
}

/// How the parts of an event are called in the form it came in.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) event_id: &'static str,
    pub(crate) event_type: &'static str,
    pub(crate) aggregate_id: &'static str,
    pub(crate) aggregate_type: &'static str,
    pub(crate) operation: &'static str,
    pub(crate) correlation_id: &'static str,
    pub(crate) causation_id: &'static str,
    pub(crate) source: &'static str,
    /// The pointer of the data in the body.
    pub(crate) data: &'static str,
    /// The names are members of the body, so that a pointer can be given.
    pub(crate) in_body: bool,
}

/// What a request says about all its events, and what may be brought.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) data_set: &'a Arc<str>,
    /// The path's type and id, where the path names an aggregate.
    pub(crate) aggregate: Option<(&'a str, &'a str)>,
    pub(crate) actor: Option<&'a str>,
    pub(crate) traceparent: Option<&'a str>,
}

/// Reads bytes as the body of a request in each form that there is, and forgets what came of it:
/// for tests that feed it arbitrary bytes.
pub fn accept_arbitrary(bytes: &[u8]) {
    let (limits, data_set) = (Limits::default(), "default".into());
    let (aggregate, actor, traceparent) = (None, None, None);
    let context = Context { limits: &limits, data_set: &data_set, aggregate, actor, traceparent };
    let mut new_id = || Arc::from("new");
    let _ = native::read(bytes, &context, &mut new_id);
    let _ = array::read_native(bytes, &context, &mut new_id);
    let _ = cloud::read(bytes, &context, &mut new_id);
    let _ = array::read_each(bytes, &context, &mut new_id, cloud::read);
    let _ = cloud::read_binary(&http::HeaderMap::new(), bytes, &context, &mut new_id);
}

/// Where an absent `eventId` comes from: the idempotency key, or a new UUID.
pub(crate) type IdSource<'a> = dyn FnMut() -> Arc<str> + Send + 'a;

/// Parses and checks the JSON text of one event.
pub(crate) type ReadEvent = fn(&[u8], &Context<'_>, &mut IdSource<'_>) -> Outcome<NewEvent>;
