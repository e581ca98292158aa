//! How much a reader must hold at once: lines of a file, of a function, of an inline test module,
//! columns of a line. Files that are too long already stand in `xtask/tidy.txt` with their length,
//! as a ratchet: the number follows the file down and never up.

use std::collections::BTreeMap;

use super::tree::{Source, Tree};
use super::{Findings, Rule, Weight};

/// The list of files let be, by path and number of lines.
pub const RATCHET: &str = "xtask/tidy.txt";

const FILE_PLEASANT: usize = 500;
const FILE_MAX: usize = 800;
const FUNCTION_MAX: usize = 80;
const INLINE_TESTS_MAX: usize = 100;
const COLUMNS_MAX: usize = 100;

pub const RULES: &[&Rule] =
    &[&LARGE_FILE, &FILE_TOO_LARGE, &RATCHET_LOOSE, &LONG_FUNCTION, &LARGE_TESTS, &WIDE_LINE];

static LARGE_FILE: Rule = Rule {
    name: "large-file",
    why: "past 500 lines a file holds more than one thing",
    remedy: "look for the seam: a state machine is cut by command, a file each",
    weight: Weight::Warns,
};
static FILE_TOO_LARGE: Rule = Rule {
    name: "file-too-large",
    why: "a file of 800 lines is the beginning of the god file; one let be must not grow",
    remedy: "cut it where two parts share little; a listed file may only shrink",
    weight: Weight::Fails,
};
static RATCHET_LOOSE: Rule = Rule {
    name: "ratchet-loose",
    why: "room that a file no longer needs would let it grow again unseen",
    remedy: "write the line in xtask/tidy.txt as said here",
    weight: Weight::Fails,
};
static LONG_FUNCTION: Rule = Rule {
    name: "long-function",
    why: "a function fits a screen, or its steps are hidden from the reader",
    remedy: "name its steps and make each a function",
    weight: Weight::Fails,
};
static LARGE_TESTS: Rule = Rule {
    name: "large-inline-tests",
    why: "tests stand beside the code while they do not push it out of sight",
    remedy: "move them to a file of their own, `foo/tests.rs`",
    weight: Weight::Warns,
};
static WIDE_LINE: Rule = Rule {
    name: "wide-line",
    why: "a line has 100 columns, so that two files stand side by side",
    remedy: "break it; rustfmt does for all but comments and literals",
    weight: Weight::Fails,
};

pub fn check(tree: &Tree, findings: &mut Findings) {
    let mut listed = read_ratchet(tree, findings);
    for source in &tree.sources {
        wide_lines(source, findings);
        let allowed = listed.remove(&source.path);
        if !source.is_test() {
            file_size(source, allowed, findings);
            functions(source, findings);
            inline_tests(source, findings);
        }
    }
    for (path, (line, _)) in listed {
        let what = format!("{path} does not exist: remove the line");
        findings.add(&RATCHET_LOOSE, RATCHET, line, what);
    }
}

/// Path → (line in the list, lines allowed).
fn read_ratchet(tree: &Tree, findings: &mut Findings) -> BTreeMap<String, (usize, usize)> {
    let mut listed = BTreeMap::new();
    let text = tree.texts.get(RATCHET).map_or("", String::as_str);
    for (line, content) in (1..).zip(text.lines().map(str::trim)) {
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let entry = content
            .split_once(' ')
            .and_then(|(path, count)| Some((path.to_owned(), count.trim().parse::<usize>().ok()?)));
        match entry {
            Some((path, count)) => {
                listed.insert(path, (line, count));
            }
            None => {
                let what = format!("{content:?} is not a path and a number of lines");
                findings.add(&RATCHET_LOOSE, RATCHET, line, what);
            }
        }
    }
    listed
}

fn file_size(source: &Source, allowed: Option<(usize, usize)>, findings: &mut Findings) {
    let total = source.scan.text.lines().count();
    let lines = (1..=total).filter(|line| !source.scan.in_tests(*line)).count();
    let path = source.path.as_str();
    if let Some((entry, allowed)) = allowed {
        if lines <= FILE_PLEASANT {
            let what = format!("{path} has {lines} lines now: remove the line");
            findings.add(&RATCHET_LOOSE, RATCHET, entry, what);
        } else if lines < allowed {
            let what = format!("{path} is shorter now: {path} {lines}");
            findings.add(&RATCHET_LOOSE, RATCHET, entry, what);
        } else if lines > allowed {
            let what = format!("{lines} lines outside tests, grown from the {allowed} listed");
            findings.add(&FILE_TOO_LARGE, path, 0, what);
        }
    } else if lines > FILE_MAX {
        let what = format!("{lines} lines outside tests, {FILE_MAX} at most");
        findings.add(&FILE_TOO_LARGE, path, 0, what);
    } else if lines > FILE_PLEASANT {
        findings.add(&LARGE_FILE, path, 0, format!("{lines} lines outside tests"));
    }
}

fn functions(source: &Source, findings: &mut Findings) {
    for function in &source.scan.functions {
        let lines = function.last - function.first + 1;
        if lines > FUNCTION_MAX && !source.scan.in_tests(function.first) {
            let what = format!("`{}` has {lines} lines, {FUNCTION_MAX} at most", function.name);
            findings.add(&LONG_FUNCTION, &source.path, function.first, what);
        }
    }
}

fn inline_tests(source: &Source, findings: &mut Findings) {
    for lines in source.scan.tests() {
        if lines.len() > INLINE_TESTS_MAX {
            let what = format!("{} lines of inline tests", lines.len());
            findings.add(&LARGE_TESTS, &source.path, lines.start, what);
        }
    }
}

fn wide_lines(source: &Source, findings: &mut Findings) {
    for (line, content) in (1..).zip(source.scan.text.lines()) {
        let columns = content.chars().count();
        // An address cannot be broken.
        if columns > COLUMNS_MAX && !content.contains("://") {
            findings.add(&WIDE_LINE, &source.path, line, format!("{columns} columns"));
        }
    }
}
