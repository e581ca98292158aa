//! Drives the targets of `linckia-fuzz`, and the configuration, by coverage. `cargo xtask fuzz`
//! builds and runs it.

#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use linckia_fuzz::{TARGETS, Target};

fn configuration(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = linckia::config::Config::parse(Path::new("linckia.toml"), text);
    }
}

fn target() -> Target {
    static TARGET: OnceLock<Target> = OnceLock::new();
    *TARGET.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names what is fuzzed");
        let known = TARGETS.into_iter().chain([("configuration", configuration as Target)]);
        let found = known.into_iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("there is no target {name}")).1
    })
}

fuzz_target!(|bytes: &[u8]| target()(bytes));
