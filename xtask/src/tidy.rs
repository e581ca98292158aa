//! `cargo xtask tidy`: the house rules that a machine can check. A group of rules is a file under
//! `tidy/`: its rules as data (name, reason, remedy) and a `check` from the tree to findings. The
//! tree is read once; everything after that is pure, so each rule is tested with small trees that
//! break it, and a test refuses a rule that no such tree breaks.

mod floors;
mod manners;
mod names;
mod pages;
mod purity;
mod scan;
mod size;
#[cfg(test)]
mod tests;
mod tree;

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use tree::Tree;

/// One house rule: its name, why it is one, and what whoever breaks it should do.
#[derive(Debug)]
struct Rule {
    name: &'static str,
    why: &'static str,
    remedy: &'static str,
    weight: Weight,
}

/// Whether breaking a rule fails the run or is only said.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Weight {
    Fails,
    Warns,
}

/// A rule broken at a place. Line 0 stands for the file as a whole.
#[derive(Debug)]
struct Finding {
    rule: &'static Rule,
    path: String,
    line: usize,
    what: String,
}

/// What `check`s write into.
#[derive(Default)]
struct Findings(Vec<Finding>);

/// Every group, in the order in which findings are printed.
const GROUPS: [Group; 6] = [
    Group { rules: size::RULES, check: size::check },
    Group { rules: manners::RULES, check: manners::check },
    Group { rules: names::RULES, check: names::check },
    Group { rules: purity::RULES, check: purity::check },
    Group { rules: floors::RULES, check: floors::check },
    Group { rules: pages::RULES, check: pages::check },
];

struct Group {
    rules: &'static [&'static Rule],
    check: fn(&Tree, &mut Findings),
}

impl Findings {
    /// Notes a finding, once for each rule and line.
    fn add(&mut self, rule: &'static Rule, path: &str, line: usize, what: String) {
        let known = |old: &Finding| {
            old.rule.name == rule.name && old.line == line && old.path == path && line > 0
        };
        if !self.0.iter().any(known) {
            self.0.push(Finding { rule, path: path.to_owned(), line, what });
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.rule.weight {
            Weight::Fails => "error",
            Weight::Warns => "warning",
        };
        writeln!(out, "{}:{}: {word}: {} [{}]", self.path, self.line, self.what, self.rule.name)?;
        writeln!(out, "    why: {}", self.rule.why)?;
        writeln!(out, "    do:  {}", self.rule.remedy)
    }
}

pub fn run(root: &Path) -> anyhow::Result<ExitCode> {
    check_all(root)?;
    Ok(ExitCode::SUCCESS)
}

/// Checks the repository at `root`, prints what it finds, and fails if any of it fails the run.
pub fn check_all(root: &Path) -> anyhow::Result<()> {
    let tree = Tree::read(root)?;
    let findings = check(&tree);
    for finding in &findings {
        println!("{finding}");
    }
    let rules: usize = GROUPS.iter().map(|group| group.rules.len()).sum();
    let failing = findings.iter().filter(|each| each.rule.weight == Weight::Fails).count();
    println!(
        "tidy: {rules} rules over {} Rust files: {failing} errors, {} warnings",
        tree.sources.len(),
        findings.len() - failing
    );
    anyhow::ensure!(failing == 0, "{failing} places break a house rule, as listed above");
    Ok(())
}

fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Findings::default();
    for group in &GROUPS {
        (group.check)(tree, &mut findings);
    }
    findings.0
}
