//! Five floors, look only down: a crate depends on crates of lower floors, never on one beside it,
//! so that a change can only travel upward. Each states its floor in its manifest, under
//! `[package.metadata.linckia]`.

use super::tree::{Crate, Dependency, Tree};
use super::{Findings, Rule, Weight};

/// The folder of the crates that stand on floors.
const HOUSE: &str = "crates/";

pub const RULES: &[&Rule] = &[&NO_FLOOR, &UPWARD, &CRATE_NAME];

static NO_FLOOR: Rule = Rule {
    name: "no-floor",
    why: "a crate without a floor may depend on anything and be depended upon by all",
    remedy: "add `[package.metadata.linckia]` with `floor = 0` to 4, as in the plan of the house",
    weight: Weight::Fails,
};
static UPWARD: Rule = Rule {
    name: "upward",
    why: "a change can only travel upward; stages meet in log, store, view and roster only",
    remedy: "move what is shared to a lower floor, or connect the two one floor higher",
    weight: Weight::Fails,
};
static CRATE_NAME: Rule = Rule {
    name: "crate-name",
    why: "`ls crates/` is the first page of the documentation",
    remedy: "give folder and package the same name",
    weight: Weight::Fails,
};

pub fn check(tree: &Tree, findings: &mut Findings) {
    for each in tree.crates.iter().filter(|each| each.folder.starts_with(HOUSE)) {
        let manifest = format!("{}/Cargo.toml", each.folder);
        if each.folder.strip_prefix(HOUSE) != Some(each.name.as_str()) {
            let what = format!("the package `{}` lies in {}", each.name, each.folder);
            findings.add(&CRATE_NAME, &manifest, 1, what);
        }
        let Some(floor) = each.floor else {
            findings.add(&NO_FLOOR, &manifest, 1, format!("`{}` states no floor", each.name));
            continue;
        };
        for dependency in &each.dependencies {
            if let Some(below) = tree.crates.iter().find(|other| other.name == dependency.name) {
                looks_down(each, floor, dependency, below, &manifest, findings);
            }
        }
    }
}

fn looks_down(
    each: &Crate,
    floor: u32,
    dependency: &Dependency,
    below: &Crate,
    manifest: &str,
    findings: &mut Findings,
) {
    let what = match below.floor {
        Some(lower) if lower < floor => return,
        Some(other) => format!("on floor {other}"),
        None => "on no floor".to_owned(),
    };
    let what = format!("`{}` on floor {floor} depends on `{}` {what}", each.name, dependency.name);
    findings.add(&UPWARD, manifest, dependency.line, what);
}
