//! What every file owes its reader and every crate its caller: a header, no panic on what may
//! happen, features in the binary only, no queue without a bound.

use super::scan::{closing, words};
use super::tree::{Source, Tree};
use super::{Findings, Rule, Weight};

/// A header shorter than this names the file again, and says nothing of it.
const HEADER_MIN: usize = 60;

/// The one crate that chooses among features.
const BINARY: &str = "crates/linckia/";

pub const RULES: &[&Rule] = &[&HEADER, &UNWRAP, &FEATURE, &UNBOUNDED];

static HEADER: Rule = Rule {
    name: "header",
    why: "a stranger opens one file and must see where it stands",
    remedy: "open it with `//!`: what it is for, where it stands in the flow, what always holds",
    weight: Weight::Fails,
};
static UNWRAP: Rule = Rule {
    name: "unwrap",
    why: "input never panics, and a broken invariant panics with a message that states it",
    remedy: "return the error, or `expect` with the invariant in words",
    weight: Weight::Fails,
};
static FEATURE: Rule = Rule {
    name: "feature",
    why: "every combination that can be built must be tested, so only the binary chooses",
    remedy: "make it a value, or a crate that the binary takes or leaves",
    weight: Weight::Fails,
};
static UNBOUNDED: Rule = Rule {
    name: "unbounded",
    why: "everything has a limit; a queue without one is memory that a slow reader eats",
    remedy: "use a channel with a capacity, a named constant that says why that much",
    weight: Weight::Fails,
};

pub fn check(tree: &Tree, findings: &mut Findings) {
    for source in &tree.sources {
        header(source, findings);
        features(source, findings);
        for (line, code) in source.code_lines() {
            if code.contains(".unwrap()") {
                let what = "`.unwrap()` outside tests".to_owned();
                findings.add(&UNWRAP, &source.path, line, what);
            }
            if let Some(name) = unbounded(code) {
                let what = format!("`{name}` has no bound");
                findings.add(&UNBOUNDED, &source.path, line, what);
            }
        }
    }
}

fn header(source: &Source, findings: &mut Findings) {
    let lines = source.scan.text.lines().map_while(|line| line.strip_prefix("//!"));
    let length: usize = lines.map(|line| line.trim().chars().count()).sum();
    if length < HEADER_MIN {
        let what = format!("a header of {length} characters, {HEADER_MIN} at least");
        findings.add(&HEADER, &source.path, 1, what);
    }
}

fn features(source: &Source, findings: &mut Findings) {
    if source.path.starts_with(BINARY) {
        return;
    }
    let code = source.scan.code.as_str();
    for name in ["cfg", "cfg_attr"] {
        for at in words(code, name) {
            let open = at + name.len() + usize::from(code[at + name.len()..].starts_with('!'));
            if !code[open..].starts_with('(') {
                continue;
            }
            let condition = &code[open..closing(code.as_bytes(), open)];
            if words(condition, "feature").next().is_some() {
                let what = "`cfg(feature)` outside the binary".to_owned();
                findings.add(&FEATURE, &source.path, source.scan.line(at), what);
            }
        }
    }
}

/// The unbounded channel that a line names, if it does.
fn unbounded(code: &str) -> Option<&'static str> {
    for name in ["unbounded_channel", "UnboundedSender", "UnboundedReceiver", "::unbounded"] {
        if words(code, name).next().is_some() {
            return Some(name);
        }
    }
    // The standard library's `channel()` takes no capacity, every bounded one does.
    let empty = words(code, "mpsc::channel").any(|at| {
        let mut rest = &code[at + "mpsc::channel".len()..];
        if rest.starts_with("::<") {
            rest = rest.find('(').map_or("", |open| &rest[open..]);
        }
        rest.starts_with("()")
    });
    empty.then_some("mpsc::channel()")
}
