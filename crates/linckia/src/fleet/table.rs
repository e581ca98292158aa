//! What people see of a fleet and of its links.
//!
//! Where it stands: the human half of `up`, `wan`, `start` and `stop`; with `--json` nothing here
//! is called. What always holds: pure text, a line break at the end.

use std::path::Path;

use comfy_table::{ContentArrangement, Table, presets};

use super::state::{FleetState, RegionState};
use super::wan::LinkItem;
use crate::arguments::GlobalArguments;

const DIR_DEFAULT: &str = "./linckia-data";

/// The regions, and what to try next.
#[must_use]
pub fn fleet(state: &FleetState, global: &GlobalArguments) -> String {
    let mut table = plain(["REGION", "URL", "PROCESS", "DIRECTORY"]);
    for RegionState { name, url, pid, dir, .. } in &state.regions {
        let pid = pid.map_or("-".to_owned(), |pid| pid.to_string());
        table.add_row([name.clone(), url.clone(), pid, dir.display().to_string()]);
    }
    let program = program();
    let dir = if global.dir == Path::new(DIR_DEFAULT) {
        String::new()
    } else {
        format!(" --dir {}", global.dir.display())
    };
    let first = state.regions.first().map_or("REGION", |region| region.name.as_str());
    let second = state.regions.get(1).map_or("REGION", |region| region.name.as_str());
    let mut next = String::new();
    for (command, what) in [
        ("import examples/flights/*.ndjson.zst".to_owned(), "feed it real events"),
        ("status --watch".to_owned(), "see regions and links, with their lag"),
        (format!("wan cut {first} {second}"), "cut a link; `wan heal` mends it"),
        (format!("stop {second} --kill"), "lose a region; `start` brings it back"),
    ] {
        next.push_str(&format!("  {program} {command}{dir}\n      {what}\n"));
    }
    format!("{}\n\nTry, in another terminal:\n{next}\nCtrl-C stops everything.\n", table.trim_fmt())
}

/// The links of the emulated wide area.
#[must_use]
pub fn links(items: &[LinkItem]) -> String {
    let mut table = plain(["FROM", "TO", "DELAY", "JITTER", "LOSS", "BANDWIDTH", ""]);
    for LinkItem { from, to, delay, jitter, loss, bandwidth, cut } in items {
        let cut = if *cut { "cut" } else { "" };
        let bandwidth = bandwidth.as_deref().unwrap_or("-");
        table.add_row([from, to, delay, jitter, loss, bandwidth, cut]);
    }
    format!("{}\n", table.trim_fmt())
}

fn plain<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    table
}

/// This program as it was called, so that the commands shown can be copied.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "linckia".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_a_table() {
        let item = |to: &str, cut| LinkItem {
            from: "us-east-1".to_owned(),
            to: to.to_owned(),
            delay: "40ms".to_owned(),
            jitter: "0.8ms".to_owned(),
            loss: "0%".to_owned(),
            bandwidth: None,
            cut,
        };
        let text = links(&[item("eu-west-1", true), item("b", false)]);
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["FROM", "TO", "DELAY", "JITTER", "LOSS", "BANDWIDTH"]);
        assert_eq!(lines[1], ["us-east-1", "eu-west-1", "40ms", "0.8ms", "0%", "-", "cut"]);
        assert_eq!(lines[2].len(), 6);
    }
}
