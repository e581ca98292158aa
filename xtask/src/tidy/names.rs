//! Words that name nothing: a module called `util` takes in whatever has no place, and a `Manager`
//! does whatever nobody else does. Checked in the names of crates, folders, files, modules and
//! types.

use std::collections::BTreeSet;

use super::scan::{is_word, words};
use super::tree::{Source, Tree};
use super::{Findings, Rule, Weight};

const BANNED: [&str; 7] = ["util", "utils", "common", "helper", "helpers", "misc", "manager"];

/// Keywords after which a type's name stands.
const TYPES: [&str; 5] = ["struct", "enum", "union", "trait", "type"];

pub const RULES: &[&Rule] = &[&BANNED_NAME];

static BANNED_NAME: Rule = Rule {
    name: "banned-name",
    why: "a name that fits anything gathers everything",
    remedy: "use the field's word for what it holds or does, a noun you could say in an incident",
    weight: Weight::Fails,
};

pub fn check(tree: &Tree, findings: &mut Findings) {
    let mut folders = BTreeSet::new();
    for source in &tree.sources {
        for (end, _) in source.path.match_indices('/') {
            folders.insert(&source.path[..end]);
        }
        let file = source.path.rsplit('/').next().unwrap_or(&source.path);
        named(file.trim_end_matches(".rs"), "file", &source.path, 0, findings);
        declarations(source, findings);
    }
    for folder in folders {
        let name = folder.rsplit('/').next().unwrap_or(folder);
        named(name, "folder", folder, 0, findings);
    }
}

fn declarations(source: &Source, findings: &mut Findings) {
    let code = source.scan.code.as_str();
    let keywords = std::iter::once("mod").chain(TYPES);
    for keyword in keywords {
        for at in words(code, keyword) {
            let rest = code[at + keyword.len()..].trim_start();
            let name: String = rest.chars().take_while(|letter| is_word(*letter)).collect();
            let kind = if keyword == "mod" { "module" } else { "type" };
            named(&name, kind, &source.path, source.scan.line(at), findings);
        }
    }
}

fn named(name: &str, kind: &str, path: &str, line: usize, findings: &mut Findings) {
    // The last word of `foo_util`, `foo-util` and `FooUtil` alike.
    let cut = name.rfind(|letter: char| letter.is_uppercase() || "_-".contains(letter));
    let last = name[cut.unwrap_or(0)..].trim_start_matches(['_', '-']).to_lowercase();
    if BANNED.contains(&last.as_str()) {
        findings.add(&BANNED_NAME, path, line, format!("the {kind} `{name}`"));
    }
}
