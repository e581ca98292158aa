//! What comparing has found, going out.
//!
//! For `/v1/repairs`. What always holds: a digest is shown as `/v1/digests` shows hashes, and null
//! means that nothing shows.

use bytes::{BufMut as _, BytesMut};
use linckia_model::RegionName;

use crate::json::{self, Object};
use crate::repair::{DemandShown, FindingShown, PassShown, RepairsView};
use crate::time::Timestamp;

/// Writes all of it.
pub(crate) fn write_repairs(out: &mut BytesMut, view: &RepairsView, region: &str) {
    let mut object = Object::open(out);
    object.text("region", region);
    object.number("keysPerSecond", view.keys_per_second);
    object.number("compared", view.compared);
    object.number("differences", view.differences);
    object.number("repairs", view.repairs);
    json::array(object.member("passes"), &view.passes, write_pass);
    if let Some(demand) = &view.demand {
        write_demand(object.member("demand"), demand);
    }
    json::array(object.member("findings"), &view.findings, write_finding);
    object.close();
}

fn write_demand(out: &mut BytesMut, demand: &DemandShown) {
    let mut object = Object::open(out);
    object.number("number", demand.number);
    object.flag("running", demand.running);
    json::array(object.member("passes"), &demand.passes, write_pass);
    regions(object.member("unreachable"), &demand.unreachable);
    object.close();
}

fn write_pass(out: &mut BytesMut, pass: &PassShown) {
    let mut object = Object::open(out);
    object.text("peer", pass.peer.as_str());
    object.number("keys", pass.keys);
    object.number("differed", pass.differed);
    object.number("behind", pass.behind);
    let ended_at = pass.ended_at.map(Timestamp::from_milliseconds);
    object.nullable_text("endedAt", ended_at.as_ref().map(Timestamp::as_str));
    object.close();
}

fn write_finding(out: &mut BytesMut, finding: &FindingShown) {
    let mut object = Object::open(out);
    object.text("dataSet", &finding.key.data_set);
    object.text("aggregateType", &finding.key.aggregate_type);
    object.text("aggregateId", &finding.key.aggregate_id);
    object.text("at", Timestamp::from_milliseconds(finding.at).as_str());
    json::array(object.member("sides"), &finding.sides, |out, (region, digest)| {
        let mut object = Object::open(out);
        object.text("region", region.as_str());
        match digest {
            Some(digest) => json::hex(object.member("digest"), digest),
            None => object.member("digest").put_slice(b"null"),
        }
        object.close();
    });
    object.nullable_text("judgedBy", finding.judged_by);
    regions(object.member("wrong"), &finding.wrong);
    if let Some((from, at)) = &finding.repaired {
        let mut object = Object::open(object.member("repaired"));
        object.text("from", from.as_str());
        object.text("at", Timestamp::from_milliseconds(*at).as_str());
        object.close();
    }
    object.close();
}

fn regions(out: &mut BytesMut, regions: &[RegionName]) {
    json::array(out, regions, |out, region| json::text(out, region.as_str()));
}
