//! Where a list goes on: the `next` that a page gives and `cursor` takes back.
//!
//! Between a list and its next page. What always holds: a cursor names the vector of the first
//! page, so that all pages are of one moment; to a client it is opaque.

use linckia_model::{Dot, Hlc, Stamp, Vector};

use crate::base64;
use crate::problem::{Outcome, Problem};

/// After an aggregate, at a vector.
pub(crate) fn of_aggregate(vector: &Vector, id: &str) -> String {
    base64::encode(format!("{vector}\n{id}").as_bytes())
}

pub(crate) fn aggregate(cursor: &str) -> Outcome<(Vector, String)> {
    let text = decoded(cursor)?;
    let (vector, id) = text.split_once('\n').ok_or_else(broken)?;
    Ok((Vector::parse(vector).map_err(|_| broken())?, id.to_owned()))
}

/// After an event of a history.
pub(crate) fn of_stamp(stamp: &Stamp) -> String {
    base64::encode(format!("{}\n{}", stamp.hlc, stamp.dot).as_bytes())
}

pub(crate) fn stamp(cursor: &str) -> Outcome<Stamp> {
    let text = decoded(cursor)?;
    let (hlc, dot) = text.split_once('\n').ok_or_else(broken)?;
    let hlc = Hlc::parse(hlc).map_err(|_| broken())?;
    Ok(Stamp { hlc, dot: Dot::parse(dot).map_err(|_| broken())? })
}

/// After a conflict record.
pub(crate) fn of_text(text: &str) -> String {
    base64::encode(text.as_bytes())
}

pub(crate) fn decoded(cursor: &str) -> Outcome<String> {
    base64::decode(cursor).and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(broken)
}

pub(crate) fn broken() -> Box<Problem> {
    Problem::parameter("`cursor` is none that this list gave; take `next` as it stands")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back() {
        let vector = Vector::parse("a.0000000000000001:9").unwrap();
        let cursor = of_aggregate(&vector, "x\ny/ü");
        assert_eq!(aggregate(&cursor).unwrap(), (vector, "x\ny/ü".to_owned()));
        let dot = Dot::parse("a.0000000000000001:9").unwrap();
        let place = Stamp { hlc: Hlc::from_bits(77), dot };
        assert_eq!(stamp(&of_stamp(&place)).unwrap(), place);
        assert_eq!(decoded(&of_text("c1")).unwrap(), "c1");
        for bad in ["", "!", "Zm9v", &cursor] {
            assert!(stamp(bad).is_err(), "{bad}");
        }
    }
}
