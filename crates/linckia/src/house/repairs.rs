//! Comparing and repair between the core and the door: orders in, what was found out.

use linckia_api::{DemandShown, FindingShown, PassShown, RepairDemand, RepairsView};
use linckia_model::RegionName;
use linckia_region::{DemandOrder, DemandView, Finding, JudgedBy, PassView, RepairView};
use std::collections::BTreeMap;

/// What the core is told of an order.
pub(super) fn order(demand: RepairDemand) -> DemandOrder {
    let RepairDemand { keys, repair, from, quick } = demand;
    DemandOrder { keys, repair, from, quick }
}

/// What the door shows of it.
pub(super) fn view(view: RepairView) -> RepairsView {
    let RepairView { rate, demand, passes, findings, totals } = view;
    let demand = demand.map(|DemandView { number, running, passes, unreachable }| DemandShown {
        number,
        running,
        passes: shown(passes),
        unreachable,
    });
    RepairsView {
        keys_per_second: rate,
        demand,
        passes: shown(passes),
        findings: findings.into_iter().map(finding).collect(),
        compared: totals.keys,
        differences: totals.differences,
        repairs: totals.repairs,
    }
}

fn shown(passes: BTreeMap<RegionName, PassView>) -> Vec<PassShown> {
    let pass = |(peer, PassView { keys, differed, behind, ended_at })| PassShown {
        peer,
        keys,
        differed,
        behind,
        ended_at,
    };
    passes.into_iter().map(pass).collect()
}

fn finding(finding: Finding) -> FindingShown {
    let Finding { key, at, sides, judged_by, wrong, repaired } = finding;
    let judged_by = judged_by.map(word);
    FindingShown { key, at, sides, judged_by, wrong, repaired }
}

/// How it is known who is right.
pub(super) const fn word(by: JudgedBy) -> &'static str {
    match by {
        JudgedBy::Logs => "logs",
        JudgedBy::Majority => "majority",
        JudgedBy::Operator => "operator",
    }
}
