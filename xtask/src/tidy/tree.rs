//! What tidy looks at: the repository's paths, the texts of those files that rules read, and the
//! Rust files scanned. Read once from disk, or built from snippets in tests. Paths are relative to
//! the root, with `/`, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::Context;

use super::scan::Scan;

/// Folders that hold no source: build output, history, a local fleet's data.
const SKIPPED: [&str; 3] = ["target", ".git", "linckia-data"];

/// A file larger than this is data, not something that a person wrote.
const BYTES_MAX: u64 = 4 << 20;

#[derive(Default)]
pub struct Tree {
    pub paths: BTreeSet<String>,
    pub texts: BTreeMap<String, String>,
    pub sources: Vec<Source>,
    pub crates: Vec<Crate>,
}

/// One Rust file.
pub struct Source {
    pub path: String,
    pub scan: Scan,
}

/// One package of the workspace, as its manifest tells it.
pub struct Crate {
    pub name: String,
    pub folder: String,
    pub floor: Option<u32>,
    pub dependencies: Vec<Dependency>,
}

/// A dependency as named in a manifest, wherever it stands there.
pub struct Dependency {
    pub name: String,
    pub line: usize,
}

impl Tree {
    pub fn read(root: &Path) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        walk(root, "", &mut files)?;
        Ok(Self::of(files))
    }

    /// A tree of (path, text); files that rules do not read have no text.
    pub fn of(files: impl IntoIterator<Item = (String, Option<String>)>) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            tree.paths.insert(path.clone());
            if let Some(text) = text {
                tree.texts.insert(path, text);
            }
        }
        for (path, text) in &tree.texts {
            if path.ends_with(".rs") {
                tree.sources.push(Source { path: path.clone(), scan: Scan::of(text) });
            } else if let Some(folder) = path.strip_suffix("/Cargo.toml") {
                tree.crates.push(manifest(folder, text));
            }
        }
        tree
    }

    /// Whether a file or a folder lies at `path`; the root is the empty path.
    pub fn has(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        path.is_empty()
            || self.paths.contains(path)
            || self.paths.range(folder.clone()..).next().is_some_and(|it| it.starts_with(&folder))
    }

    /// The crate that a file belongs to.
    pub fn crate_of(&self, path: &str) -> Option<&Crate> {
        self.crates.iter().find(|each| {
            path.strip_prefix(each.folder.as_str()).is_some_and(|rest| rest.starts_with('/'))
        })
    }
}

impl Source {
    /// Whether the whole file is test code, by where it lies.
    pub fn is_test(&self) -> bool {
        let parts: Vec<&str> = self.path.split('/').collect();
        let (folders, file) = parts.split_at(parts.len() - 1);
        let inside = |name: &str| folders.contains(&name);
        file == ["tests.rs"] || inside("tests") || inside("benches") || self.scan.all_tests
    }

    /// The lines of code outside tests, counted from 1, with comments and literals blanked.
    pub fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let all = (1..).zip(self.scan.code.lines());
        let hidden = self.is_test();
        all.filter(move |(line, _)| !hidden && !self.scan.in_tests(*line))
    }
}

fn walk(
    root: &Path,
    folder: &str,
    files: &mut Vec<(String, Option<String>)>,
) -> anyhow::Result<()> {
    let place = root.join(folder);
    let entries = fs::read_dir(&place).with_context(|| format!("cannot read {place:?}"))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {place:?}"))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        let kind = entry.file_type().with_context(|| format!("cannot look at {path}"))?;
        if kind.is_dir() {
            if !SKIPPED.contains(&name.as_str()) {
                walk(root, &path, files)?;
            }
        } else {
            let text = match is_read(&path) && entry.metadata()?.len() <= BYTES_MAX {
                true => Some(
                    fs::read_to_string(entry.path())
                        .with_context(|| format!("cannot read {path}"))?,
                ),
                false => None,
            };
            files.push((path, text));
        }
    }
    Ok(())
}

fn is_read(path: &str) -> bool {
    let endings = [".rs", ".md", "/Cargo.toml", super::size::RATCHET];
    endings.iter().any(|ending| path.ends_with(ending))
}

/// Reads of a manifest what the rules need, line by line: cargo itself has checked the syntax.
fn manifest(folder: &str, text: &str) -> Crate {
    let mut krate = Crate {
        name: String::new(),
        folder: folder.to_owned(),
        floor: None,
        dependencies: Vec::new(),
    };
    let mut section = String::new();
    for (line, content) in (1..).zip(text.lines().map(str::trim)) {
        if let Some(head) = content.strip_prefix('[') {
            section = head.trim_matches(['[', ']']).to_owned();
            if let Some((_, name)) = section.rsplit_once("dependencies.") {
                krate.dependencies.push(Dependency { name: name.to_owned(), line });
            }
            continue;
        }
        let Some((key, value)) = content.split_once('=') else {
            continue;
        };
        let (key, value) = (key.trim(), value.trim());
        match section.as_str() {
            "package" if key == "name" => krate.name = value.trim_matches('"').to_owned(),
            "package.metadata.linckia" if key == "floor" => krate.floor = value.parse().ok(),
            section if section.ends_with("dependencies") => {
                let named = key.split('.').next().unwrap_or(key);
                let name = renamed(value).unwrap_or(named).to_owned();
                krate.dependencies.push(Dependency { name, line });
            }
            _ => {}
        }
    }
    krate
}

/// The package behind `x = { package = "y" }`.
fn renamed(value: &str) -> Option<&str> {
    let (_, after) = value.split_once("package")?;
    let (_, quoted) = after.split_once('"')?;
    quoted.split('"').next()
}
