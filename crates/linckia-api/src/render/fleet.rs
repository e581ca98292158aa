//! Regions, links, vectors and digests going out.
//!
//! For the resources of the fleet. What always holds: what is not known is null or left away,
//! never made up.

use bytes::{BufMut, BytesMut};
use linckia_apply::Digests;
use linckia_model::{Holders, RegionName, Vector};
use serde_json::{Map, Value};

use crate::json::{self, Object};
use crate::port::{CatchUpView, ClosedView, LapsedView, LinkView, RegionView};
use crate::time::Timestamp;

/// Writes a region; `said_by` is who judged it.
pub(crate) fn write_region(out: &mut BytesMut, view: &RegionView, said_by: &str) {
    let mut object = Object::open(out);
    object.text("name", view.name.as_str());
    object.nullable_text("url", view.url.as_deref());
    object.flag("self", view.is_self);
    object.text("verdict", view.verdict);
    object.text("membership", view.membership.word());
    json::array(object.member("saidBy"), [said_by], json::text);
    object.vector("vector", &view.vector);
    object.lag("lag", &view.lag);
    json::array(object.member("closed"), &view.closed, write_closed);
    if let Some(view) = &view.lapsed {
        write_lapsed(object.member("lapsed"), view);
    }
    if let Some(view) = &view.catch_up {
        write_catch_up(object.member("catchUp"), view);
    }
    object.close();
}

/// Writes since when a region has lapsed, and why.
pub(crate) fn write_lapsed(out: &mut BytesMut, view: &LapsedView) {
    let mut object = Object::open(out);
    object.text("at", Timestamp::from_milliseconds(view.at).as_str());
    object.text("reason", &view.reason);
    object.close();
}

fn write_catch_up(out: &mut BytesMut, view: &CatchUpView) {
    let mut object = Object::open(out);
    object.nullable_text("from", view.from.as_ref().map(RegionName::as_str));
    object.number("receivedBytes", view.received_bytes);
    object.number("ofBytes", view.of_bytes);
    object.flag("awaitsLogs", view.awaits_logs);
    object.close();
}

fn write_closed(out: &mut BytesMut, view: &ClosedView) {
    let mut object = Object::open(out);
    object.text("origin", view.origin.as_str());
    match view.end {
        Some(end) => {
            object.number("end", end);
            object.number("lost", view.heard.saturating_sub(end));
        }
        None => {
            object.nullable_text("end", None);
            object.nullable_text("lost", None);
        }
    }
    object.text("closedAt", Timestamp::from_milliseconds(view.begun_at).as_str());
    json::array(object.member("awaited"), &view.awaited, |out, region| json::text(out, region));
    object.close();
}

/// Writes who holds an event durably, and which levels that is.
pub(crate) fn write_holders(out: &mut BytesMut, holders: &Holders) {
    let (held, all) = (holders.durable.len(), holders.durable.len() + holders.unconfirmed.len());
    let taker = holders.durable.iter().any(|region| holders.dot.origin.is_of(region));
    let levels =
        [("local", taker), ("any", held >= 2), ("quorum", 2 * held > all), ("all", held == all)];
    let reached = levels.into_iter().filter(|(_, reached)| *reached);
    let mut object = Object::open(out);
    object.text("dot", &holders.dot.to_string());
    for (name, regions) in [("durable", &holders.durable), ("unconfirmed", &holders.unconfirmed)] {
        json::array(object.member(name), regions, |out, region| json::text(out, region.as_str()));
    }
    json::array(object.member("reached"), reached, |out, (level, _)| json::text(out, level));
    object.close();
}

/// Writes a link, with what a local fleet emulates on it.
pub(crate) fn write_link(out: &mut BytesMut, view: &LinkView, emulated: Option<&Value>) {
    let mut object = Object::open(out);
    object.text("from", view.from.as_str());
    object.text("to", view.to.as_str());
    object.flag("connected", view.connected);
    let round_trip = object.member("rttMilliseconds");
    match view.round_trip_milliseconds.filter(|milliseconds| milliseconds.is_finite()) {
        Some(milliseconds) => {
            // Beyond a hundredth of a millisecond it is noise.
            json::serialized(round_trip, &((milliseconds * 100.0).round() / 100.0));
        }
        None => round_trip.put_slice(b"null"),
    }
    object.lag("lag", &view.lag);
    if let Some(rule) = emulated.and_then(|all| emulated_of(all, view)) {
        object.value("emulated", &Value::Object(rule));
    }
    object.close();
}

/// What is emulated on one link: its item among those that the supervisor serves, in a list or
/// under `items`, without the two names that the link has already.
fn emulated_of(all: &Value, view: &LinkView) -> Option<Map<String, Value>> {
    let items = all.as_array().or_else(|| all.get("items")?.as_array())?;
    let is = |item: &Value, name: &str, region: &str| item.get(name).is_some_and(|it| it == region);
    let item = items
        .iter()
        .find(|item| is(item, "from", view.from.as_str()) && is(item, "to", view.to.as_str()))?;
    let mut rule = item.as_object()?.clone();
    rule.remove("from");
    rule.remove("to");
    Some(rule)
}

pub(crate) fn write_vector(out: &mut BytesMut, vector: &Vector, region: &str) {
    let mut object = Object::open(out);
    object.text("region", region);
    object.vector("vector", vector);
    object.text("text", &vector.to_string());
    object.close();
}

pub(crate) fn write_digests(out: &mut BytesMut, vector: &Vector, digests: &Digests) {
    let mut object = Object::open(out);
    object.vector("vector", vector);
    json::hex(object.member("root"), &digests.root);
    let ranges = digests.ranges.iter().enumerate();
    json::array(object.member("ranges"), ranges, |out, (place, range)| {
        let mut object = Object::open(out);
        object.text("prefix", &format!("{place:02x}"));
        object.number("count", range.count);
        json::hex(object.member("hash"), &range.hash);
        object.close();
    });
    object.close();
}
