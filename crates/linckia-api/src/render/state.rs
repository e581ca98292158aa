//! Aggregates going out, alone and in pages, and the shape that all pages have.
//!
//! For reads of state. What always holds: a page ends with `next`, which is null on the last.

use bytes::{BufMut, BytesMut};
use linckia_apply::AggregateView;

use crate::json::{self, Object};
use crate::time::Timestamp;

pub(crate) fn write(out: &mut BytesMut, view: &AggregateView, region: &str) {
    open(out, view, region).close();
}

/// As it was then; `settled`: no write can change that any more.
pub(crate) fn write_as_of(
    out: &mut BytesMut,
    view: &AggregateView,
    region: &str,
    at: &str,
    settled: bool,
) {
    let mut object = open(out, view, region);
    object.text("at", at);
    object.flag("settled", settled);
    object.close();
}

fn open<'a>(out: &'a mut BytesMut, view: &AggregateView, region: &str) -> Object<'a> {
    let mut object = Object::open(out);
    object.text("aggregateType", &view.key.aggregate_type);
    object.text("aggregateId", &view.key.aggregate_id);
    object.number("version", view.version);
    object.value("data", &view.data);
    object.number("conflicts", view.conflicts);
    object.text("updatedAt", Timestamp::of(view.updated_at).as_str());
    object.text("region", region);
    object
}

/// Writes `{"items":[…],"next":…}`.
pub(crate) fn write_page<T>(
    out: &mut BytesMut,
    items: impl IntoIterator<Item = T>,
    next: Option<&str>,
    write: impl FnMut(&mut BytesMut, T),
) {
    out.put_slice(b"{\"items\":");
    json::array(out, items, write);
    let mut object = Object::resume(out);
    object.nullable_text("next", next);
    object.close();
}
