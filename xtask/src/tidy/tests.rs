//! Every rule against small trees: what breaks it, what comes close and does not. Each case lists
//! all findings its tree gives, so a rule that speaks too often fails here as one that is silent
//! does; and a rule that no case breaks fails the last test.

use std::collections::BTreeSet;

use super::*;

/// One file of a case; a Rust file gets a header line unless it brings one.
type File<'a> = (&'a str, &'a str);

const HEADER: &str =
    "//! A header long enough to say where in the flow this file of a test stands.\n";

/// The manifests of two crates, floors 0 and 2, in every tree.
const CRATES: [File<'static>; 2] = [
    ("crates/low/Cargo.toml", "[package]\nname = \"low\"\n[package.metadata.linckia]\nfloor = 0\n"),
    (
        "crates/stage/Cargo.toml",
        "[package]\nname = \"stage\"\n[package.metadata.linckia]\nfloor = 2\n",
    ),
];

fn findings(files: &[File]) -> Vec<Finding> {
    let all = CRATES.iter().chain(files).map(|(path, text)| {
        let bare = path.ends_with(".rs") && !text.starts_with("//!");
        let text = if bare { format!("{HEADER}{text}") } else { (*text).to_owned() };
        ((*path).to_owned(), Some(text))
    });
    super::check(&Tree::of(all))
}

/// `expected` is `rule path:line` for every finding, one a line; line 1 is the header's.
#[track_caller]
fn check(files: &[File], expected: &[&str]) {
    let found: Vec<String> = findings(files)
        .iter()
        .map(|each| format!("{} {}:{}", each.rule.name, each.path, each.line))
        .collect();
    assert_eq!(found, expected);
}

#[track_caller]
fn stage(code: &str, expected: &[&str]) {
    check(&[("crates/stage/src/a.rs", code)], expected);
}

const LINE: &str = "const A: u8 = 0;\n";

fn lines(count: usize) -> String {
    format!("{HEADER}{}", LINE.repeat(count - 1))
}

fn function(length: usize) -> String {
    format!("fn a() {{\n{}}}\n", "    b();\n".repeat(length - 2))
}

#[test]
fn sizes_of_files() {
    let path = "crates/stage/src/a.rs";
    check(&[(path, &lines(500))], &[]);
    check(&[(path, &lines(501))], &["large-file crates/stage/src/a.rs:0"]);
    check(&[(path, &lines(800))], &["large-file crates/stage/src/a.rs:0"]);
    check(&[(path, &lines(801))], &["file-too-large crates/stage/src/a.rs:0"]);
    check(&[("crates/stage/src/a/tests.rs", &lines(900))], &[]);
    check(&[("crates/stage/tests/main.rs", &lines(900))], &[]);
    check(&[("crates/stage/benches/a.rs", &lines(900))], &[]);
    let inline = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", lines(490), LINE.repeat(97));
    check(&[(path, &inline)], &[]);
    let inline = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", LINE.repeat(98));
    stage(&inline, &["large-inline-tests crates/stage/src/a.rs:2"]);
}

#[test]
fn the_ratchet_only_tightens() {
    let path = "crates/stage/src/a.rs";
    let with = |count: usize, list: &str, expected: &[&str]| {
        check(&[(path, &lines(count)), (size::RATCHET, list)], expected);
    };
    with(900, "# why\n\ncrates/stage/src/a.rs 900\n", &[]);
    with(900, "crates/stage/src/a.rs 899\n", &["file-too-large crates/stage/src/a.rs:0"]);
    with(600, "crates/stage/src/a.rs 599\n", &["file-too-large crates/stage/src/a.rs:0"]);
    with(900, "crates/stage/src/a.rs 901\n", &["ratchet-loose xtask/tidy.txt:1"]);
    with(400, "crates/stage/src/a.rs 400\n", &["ratchet-loose xtask/tidy.txt:1"]);
    with(9, "crates/stage/src/gone.rs 900\n", &["ratchet-loose xtask/tidy.txt:1"]);
    with(9, "crates/stage/src/a.rs\n", &["ratchet-loose xtask/tidy.txt:1"]);
}

#[test]
fn sizes_of_functions_and_lines() {
    stage(&function(80), &[]);
    stage(&function(81), &["long-function crates/stage/src/a.rs:2"]);
    stage(&format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function(81)), &[]);
    stage(
        &format!("fn a(open: &str) {{\n    b('{{', \"{{\"); // {{\n}}\n{}", LINE.repeat(90)),
        &[],
    );
    stage(&format!("// {}\n", "é".repeat(97)), &[]);
    stage(&format!("// {}\n", "é".repeat(98)), &["wide-line crates/stage/src/a.rs:2"]);
    stage(&format!("// https://{}\n", "a".repeat(98)), &[]);
}

#[test]
fn headers() {
    stage("//! Short.\nfn a() {}\n", &["header crates/stage/src/a.rs:1"]);
    check(
        &[("crates/stage/tests/main.rs", "//! Tests.\n")],
        &["header crates/stage/tests/main.rs:1"],
    );
    let two = format!("//! {}\n//! {}\n", "a".repeat(29), "b".repeat(31));
    stage(&two, &[]);
    let late = format!("{}\n", "//!\n//! Two lines, and nothing said.");
    stage(&late, &["header crates/stage/src/a.rs:1"]);
}

#[test]
fn unwrap_only_in_tests() {
    stage("fn a() {\n    b().unwrap();\n}\n", &["unwrap crates/stage/src/a.rs:3"]);
    stage("fn a() {\n    b().unwrap_or_default(); // .unwrap()\n}\n", &[]);
    stage("#[cfg(test)]\nmod tests {\n    fn a() {\n        b().unwrap();\n    }\n}\n", &[]);
    check(&[("crates/stage/src/a/tests.rs", "fn a() {\n    b().unwrap();\n}\n")], &[]);
    stage(
        "#[cfg(test)]\nmod tests;\nfn a() {\n    b().unwrap();\n}\n",
        &["unwrap crates/stage/src/a.rs:5"],
    );
}

#[test]
fn features_only_in_the_binary() {
    let code = "#[cfg(feature = \"kafka\")]\nmod kafka;\n";
    stage(code, &["feature crates/stage/src/a.rs:2"]);
    stage(
        "#[cfg(all(unix, not(feature = \"x\")))]\nmod k;\n",
        &["feature crates/stage/src/a.rs:2"],
    );
    stage("const A: bool = cfg!(feature = \"x\");\n", &["feature crates/stage/src/a.rs:2"]);
    stage("#[cfg_attr(feature = \"x\", b)]\nmod k;\n", &["feature crates/stage/src/a.rs:2"]);
    stage("#[cfg(unix)]\nmod feature;\n", &[]);
    check(&[("crates/linckia/src/main.rs", code)], &[]);
}

#[test]
fn channels_have_bounds() {
    for line in [
        "use tokio::sync::mpsc::unbounded_channel;",
        "let (a, b) = mpsc::channel();",
        "let (a, b) = mpsc::channel::<Vec<u8>>();",
        "let (a, b) = crossbeam_channel::unbounded();",
    ] {
        stage(line, &["unbounded crates/stage/src/a.rs:2"]);
    }
    stage("let (a, b) = mpsc::channel(QUEUE);\nlet c = mpsc::channel::<u8>(4);\n", &[]);
    stage("fn unbounded() {\n    b(std::ops::Bound::Unbounded);\n}\n", &[]);
}

#[test]
fn names_that_name_nothing() {
    stage("mod util;\n", &["banned-name crates/stage/src/a.rs:2"]);
    stage("pub struct LogManager<T>(T);\n", &["banned-name crates/stage/src/a.rs:2"]);
    stage("trait Helper {}\n", &["banned-name crates/stage/src/a.rs:2"]);
    stage("struct Managers;\nstruct Commonwealth;\nmod manages {}\nlet type_util = 1;\n", &[]);
    check(
        &[("crates/stage/src/test_utils.rs", "")],
        &["banned-name crates/stage/src/test_utils.rs:0"],
    );
    check(&[("crates/stage/tests/common/a.rs", "")], &["banned-name crates/stage/tests/common:0"]);
}

#[test]
fn heads_have_no_hands() {
    let cases = [
        ("async fn a() {}", "async"),
        ("let a = b().await;", "async"),
        ("std::thread::spawn(a);", "async"),
        ("let a = Instant::now();", "clock"),
        ("let a = std::time::SystemTime::now();", "clock"),
        ("use tokio::time::sleep;", "clock"),
        ("use std::net::TcpStream;", "socket"),
        ("use tokio::net;", "socket"),
        ("use std::fs;", "file"),
        ("let a = fs::read(b);", "file"),
        ("let a = File::open(b);", "file"),
        ("let a = rand::random();", "chance"),
        ("let a = Uuid::now_v7();", "chance"),
        ("use std::hash::RandomState;", "chance"),
    ];
    let top = (
        "crates/top/Cargo.toml",
        "[package]\nname = \"top\"\n[package.metadata.linckia]\nfloor = 4\n",
    );
    for (code, rule) in cases {
        stage(code, &[&format!("{rule} crates/stage/src/a.rs:2")]);
        check(&[("crates/stage/src/io/disk.rs", code)], &[]);
        check(&[("crates/stage/src/port.rs", code)], &[]);
        check(&[("crates/stage/src/contract.rs", code)], &[]);
        check(&[("crates/stage/src/a/tests.rs", code)], &[]);
        check(&[top, ("crates/top/src/a.rs", code)], &[]);
    }
    stage("use std::net::SocketAddr;\nlet asynchronous = SegmentFile::of(instant);\n", &[]);
    stage("// async\nlet a = \"Instant::now\";\n", &[]);
}

#[test]
fn crates_look_down() {
    let low = |rest: &str| format!("[package]\nname = \"x\"\n{rest}");
    let x = |rest: &str, expected: &[&str]| {
        check(&[("crates/x/Cargo.toml", &low(rest))], expected);
    };
    let floor = "[package.metadata.linckia]\nfloor = 2\n";
    x(&format!("{floor}[dependencies]\nlow.workspace = true\nserde = \"1\"\n"), &[]);
    x("", &["no-floor crates/x/Cargo.toml:1"]);
    for dependency in [
        "[dependencies]\nstage.workspace = true\n",
        "[dev-dependencies]\nstage = { path = \"../stage\" }\n",
        "[target.'cfg(unix)'.dependencies]\ns = { package = \"stage\" }\n",
    ] {
        x(&format!("{floor}{dependency}"), &["upward crates/x/Cargo.toml:6"]);
    }
    x(&format!("{floor}[dependencies.stage]\n"), &["upward crates/x/Cargo.toml:5"]);
    check(&[("crates/y/Cargo.toml", &low(floor))], &["crate-name crates/y/Cargo.toml:1"]);
}

#[test]
fn every_code_has_its_page() {
    let problem = "crates/linckia-api/src/problem.rs";
    let listed = "const A: &str = \"/problems/not-found\";\n";
    let page = ("docs/errors/not-found.md", "# not-found\n");
    check(&[(problem, listed), page], &[]);
    check(&[(problem, listed)], &["no-page crates/linckia-api/src/problem.rs:2"]);
    check(&[(problem, "fn a() {}\n")], &["no-problems crates/linckia-api/src/problem.rs:1"]);
    stage("error!(code = \"log-poisoned\");\n", &["no-page crates/stage/src/a.rs:2"]);
    stage("// The field: code = \"log-poisoned\".\n", &[]);
    stage("let zip_code = \"here\";\nlet code = \"No Code\";\n", &[]);
    check(&[page], &["unmet-page docs/errors/not-found.md:1"]);
    check(&[("docs/errors/README.md", "# Errors\n")], &[]);
}

#[test]
fn links_lead_somewhere() {
    let page = |text: &str, expected: &[&str]| {
        check(&[("docs/operate/a.md", text), ("README.md", "")], expected);
    };
    page("[a](../../README.md#top) [b](b.md)\n", &["dead-link docs/operate/a.md:1"]);
    page("[a](/README.md) [b](..) [c](#c) [d](https://e.f/g) ![x](/crates/low)\n", &[]);
    page("[a]: gone.md\n", &["dead-link docs/operate/a.md:1"]);
    page("[`a`](../../../README.md)\n", &["dead-link docs/operate/a.md:1"]);
    page("`[a](gone.md)`\n```\n[b](gone.md)\n```\n", &[]);
    page("\nSee `crates/low/`, not `crates/high`.\n", &["dead-path docs/operate/a.md:2"]);
    page("`crates/*/src`, `docs/errors/<name>.md`\n", &[]);
}

/// A rule that cannot fail is worthless, and one that does not say what to do is little better.
#[test]
fn every_rule_can_fail() {
    let long = function(81);
    let (large, too_large) = (lines(501), lines(801));
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", LINE.repeat(99));
    let wide = format!("// {}\n", "a".repeat(99));
    let broken: Vec<File> = vec![
        ("crates/stage/src/large.rs", &large),
        ("crates/stage/src/larger.rs", &too_large),
        (size::RATCHET, "gone.rs 900\n"),
        ("crates/stage/src/long.rs", &long),
        ("crates/stage/src/with_tests.rs", &tests),
        ("crates/stage/src/wide.rs", &wide),
        ("crates/stage/src/short.rs", "//! Short.\n"),
        ("crates/stage/src/unwraps.rs", "let a = b.unwrap();\n"),
        ("crates/stage/src/features.rs", "#[cfg(feature = \"a\")]\nmod b;\n"),
        ("crates/stage/src/queue.rs", "let a = mpsc::channel();\n"),
        ("crates/stage/src/util.rs", ""),
        ("crates/stage/src/waits.rs", "async fn a() {}\n"),
        ("crates/stage/src/reads_clock.rs", "let a = Instant::now();\n"),
        ("crates/stage/src/connects.rs", "let a: TcpStream = b;\n"),
        ("crates/stage/src/reads_file.rs", "use std::fs;\n"),
        ("crates/stage/src/draws.rs", "let a = rand::random();\n"),
        ("crates/floorless/Cargo.toml", "[package]\nname = \"misnamed\"\n"),
        (
            "crates/under/Cargo.toml",
            "[package]\nname = \"under\"\n[package.metadata.linckia]\nfloor = 0\n\
             [dependencies]\nlow = \"1\"\n",
        ),
        ("crates/linckia-api/src/problem.rs", ""),
        ("crates/stage/src/codes.rs", "warn!(code = \"without-page\");\n"),
        ("docs/errors/without-code.md", ""),
        ("README.md", "[a](gone.md) `crates/gone`\n"),
    ];
    let failed: BTreeSet<&str> = findings(&broken).iter().map(|each| each.rule.name).collect();
    let rules = GROUPS.iter().flat_map(|group| group.rules);
    for rule in rules.clone() {
        assert!(failed.contains(rule.name), "no tree breaks the rule {}", rule.name);
        assert!(!rule.why.is_empty() && !rule.remedy.is_empty(), "{} is mute", rule.name);
    }
    let names: BTreeSet<&str> = rules.clone().map(|rule| rule.name).collect();
    assert_eq!(names.len(), rules.count(), "two rules share a name");
}

#[test]
fn a_finding_says_where_what_why_and_what_to_do() {
    let found = findings(&[("crates/stage/src/a.rs", "let a = b.unwrap();\n")]);
    assert_eq!(
        found[0].to_string(),
        "crates/stage/src/a.rs:2: error: `.unwrap()` outside tests [unwrap]\n    \
         why: input never panics, and a broken invariant panics with a message that states it\n    \
         do:  return the error, or `expect` with the invariant in words\n"
    );
}
