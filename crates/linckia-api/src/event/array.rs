//! Many events in one JSON array, all of them right or none written.
//!
//! Parsed in one pass; only when that fails is each element looked at alone, to name the one that
//! is wrong. What always holds: no more elements are held than the limit allows.

use std::fmt;
use std::marker::PhantomData;

use linckia_model::NewEvent;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::native::{self, NativeEvent};
use super::{Context, IdSource, Members, ReadEvent, explain};
use crate::problem::{Kind, Outcome, Problem};

/// Elements up to a limit, and whether there were more.
struct Capped<T> {
    items: Vec<T>,
    more: bool,
}

struct CappedSeed<T> {
    limit: usize,
    items: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for CappedSeed<T> {
    type Value = Capped<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for CappedSeed<T> {
    type Value = Capped<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while items.len() < self.limit {
            match elements.next_element()? {
                Some(item) => items.push(item),
                None => return Ok(Capped { items, more: false }),
            }
        }
        let mut more = false;
        while elements.next_element::<IgnoredAny>()?.is_some() {
            more = true;
        }
        Ok(Capped { items, more })
    }
}

fn parse<'t, T: Deserialize<'t>>(text: &'t [u8], limit: usize) -> serde_json::Result<Capped<T>> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let capped = CappedSeed { limit, items: PhantomData }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(capped)
}

/// Reads an array of events in the reference design's JSON.
pub(crate) fn read_native(
    text: &[u8],
    context: &Context<'_>,
    new_id: &mut IdSource<'_>,
) -> Outcome<Vec<NewEvent>> {
    let limit = context.limits.array_events;
    match parse::<Members<NativeEvent<'_>>>(text, limit) {
        Ok(Capped { more: true, .. }) => Err(too_many(limit)),
        Ok(Capped { items, .. }) => {
            let judged = items.into_iter().enumerate().map(|(place, Members(event))| {
                let judged = native::judge(event, context, new_id);
                judged.map_err(|problem| problem.below(&format!("/{place}")))
            });
            judged.collect()
        }
        Err(_) => read_each(text, context, new_id, native::read),
    }
}

/// Reads an array element by element.
pub(crate) fn read_each(
    text: &[u8],
    context: &Context<'_>,
    new_id: &mut IdSource<'_>,
    read: ReadEvent,
) -> Outcome<Vec<NewEvent>> {
    let limit = context.limits.array_events;
    let elements = parse::<&RawValue>(text, limit).map_err(|error| match error.is_data() {
        true => Problem::event("", "an array of events is expected"),
        false => explain::not_json(&error),
    })?;
    if elements.more {
        return Err(too_many(limit));
    }
    let read = elements.items.into_iter().enumerate().map(|(place, element)| {
        let read = read(element.get().as_bytes(), context, new_id);
        read.map_err(|problem| problem.below(&format!("/{place}")))
    });
    read.collect()
}

fn too_many(limit: usize) -> Box<Problem> {
    let detail = format!("an array may hold {limit} events; send several, or NDJSON");
    Problem::new(Kind::PayloadTooLarge, detail).with("limit", limit)
}

/// True if the text is an array, going by its first letter.
pub(crate) fn is_array(text: &[u8]) -> bool {
    text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[')
}
