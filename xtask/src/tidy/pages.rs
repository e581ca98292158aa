//! Pages that must exist: one for each problem and code that an operator can meet, and one behind
//! each link and each path that the documentation names.

use std::collections::BTreeSet;

use super::scan::words;
use super::tree::{Source, Tree};
use super::{Findings, Rule, Weight};

/// Where the door's problems are listed, as `"/problems/<name>"`.
const PROBLEMS: &str = "crates/linckia-api/src/problem.rs";

const PAGES: &str = "docs/errors/";

/// Pages about the pages.
const INDEXES: [&str; 2] = ["README", "index"];

/// A path in backticks is checked if it begins with one of these.
const ROOTS: [&str; 5] = ["crates/", "docs/", "examples/", "xtask/", ".ci/"];

pub const RULES: &[&Rule] = &[&NO_PAGE, &NO_PROBLEMS, &UNMET_PAGE, &DEAD_LINK, &DEAD_PATH];

static NO_PAGE: Rule = Rule {
    name: "no-page",
    why: "what an operator can meet has a page that says whose fault it is and what to do",
    remedy: "write the page under docs/errors/",
    weight: Weight::Fails,
};
static NO_PROBLEMS: Rule = Rule {
    name: "no-problems",
    why: "the check of pages reads the problems from here, and found none",
    remedy: "write each type out as a literal \"/problems/<name>\"",
    weight: Weight::Fails,
};
static UNMET_PAGE: Rule = Rule {
    name: "unmet-page",
    why: "a page for a code that no code gives misleads whoever searches by symptom",
    remedy: "remove the page, or write the code out where it is given: `code = \"<name>\"`",
    weight: Weight::Warns,
};
static DEAD_LINK: Rule = Rule {
    name: "dead-link",
    why: "documentation that leads nowhere is not read a second time",
    remedy: "correct the link; it is relative to the page, or to the root if it begins with /",
    weight: Weight::Fails,
};
static DEAD_PATH: Rule = Rule {
    name: "dead-path",
    why: "a map that names rooms which are not there is worse than none",
    remedy: "correct the path; it is taken from the root of the repository",
    weight: Weight::Fails,
};

pub fn check(tree: &Tree, findings: &mut Findings) {
    codes(tree, findings);
    for (path, text) in tree.texts.iter().filter(|(path, _)| path.ends_with(".md")) {
        page(tree, path, text, findings);
    }
}

fn codes(tree: &Tree, findings: &mut Findings) {
    let mut met = BTreeSet::new();
    for source in tree.sources.iter().filter(|it| it.path.starts_with("crates/")) {
        let found = if source.is_test() { Vec::new() } else { codes_of(source) };
        if source.path == PROBLEMS && found.is_empty() {
            findings.add(&NO_PROBLEMS, PROBLEMS, 1, "no problem type is listed".to_owned());
        }
        for (line, name) in found {
            let page = format!("{PAGES}{name}.md");
            if !tree.has(&page) {
                findings.add(&NO_PAGE, &source.path, line, format!("`{name}` has no {page}"));
            }
            met.insert(name);
        }
    }
    for path in tree.paths.range(PAGES.to_owned()..) {
        let Some(page) = path.strip_prefix(PAGES) else {
            break;
        };
        let Some(name) = page.strip_suffix(".md") else {
            continue;
        };
        if !INDEXES.contains(&name) && !met.contains(name) {
            findings.add(&UNMET_PAGE, path, 1, format!("nothing gives `{name}`"));
        }
    }
}

/// The codes that a file writes out: `"/problems/<name>"` and `code = "<name>"`.
fn codes_of(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (line, text) in (1..).zip(source.scan.text.lines()) {
        let comment = text.trim_start().starts_with("//");
        if comment || source.scan.in_tests(line) {
            continue;
        }
        for (before, exact) in [("\"/problems/", false), ("code = \"", true)] {
            let places: Vec<usize> = match exact {
                true => words(text, before).collect(),
                false => text.match_indices(before).map(|(at, _)| at).collect(),
            };
            for at in places {
                let rest = &text[at + before.len()..];
                let name = rest.split('"').next().unwrap_or(rest);
                let letters = |letter: char| {
                    letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-'
                };
                if !name.is_empty() && name.chars().all(letters) {
                    found.push((line, name.to_owned()));
                }
            }
        }
    }
    found
}

fn page(tree: &Tree, path: &str, text: &str, findings: &mut Findings) {
    let mut fenced = false;
    for (line, content) in (1..).zip(text.lines()) {
        if content.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        let mut prose = String::new();
        for (place, part) in content.split('`').enumerate() {
            match place % 2 {
                0 => prose += part,
                _ => named_path(tree, path, line, part, findings),
            }
        }
        for target in links(&prose) {
            let file = target.split('#').next().unwrap_or(target);
            if !file.is_empty() && !resolves(tree, path, file) {
                let what = format!("nothing lies at `{file}`");
                findings.add(&DEAD_LINK, path, line, what);
            }
        }
    }
}

fn named_path(tree: &Tree, path: &str, line: usize, name: &str, findings: &mut Findings) {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-/".contains(letter);
    let is_path = ROOTS.iter().any(|root| name.starts_with(root)) && name.chars().all(plain);
    if is_path && !tree.has(name.trim_end_matches('/')) {
        findings.add(&DEAD_PATH, path, line, format!("nothing lies at `{name}`"));
    }
}

/// The targets of `[text](target)` and `[name]: target` that are not addresses.
fn links(prose: &str) -> impl Iterator<Item = &str> {
    let inline = prose.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let defined = prose
        .starts_with('[')
        .then(|| prose.split_once("]: ").map(|(_, target)| target.trim()))
        .flatten();
    inline.chain(defined).filter(|target| !target.contains(':') && !target.starts_with("//"))
}

fn resolves(tree: &Tree, page: &str, target: &str) -> bool {
    let mut parts: Vec<&str> = match target.starts_with('/') {
        true => Vec::new(),
        false => page.split('/').collect(),
    };
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.pop().is_none() => return false,
            ".." => {}
            part => parts.push(part),
        }
    }
    tree.has(&parts.join("/"))
}
