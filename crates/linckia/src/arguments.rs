//! The arguments that every subcommand takes, before or after its name.
//!
//! Where it stands: parsed by `main.rs`, handed by reference to every subcommand. What always
//! holds: these are words only; who needs a running fleet or a door finds it from them itself.

use std::path::{Path, PathBuf};

use clap::Args;

/// The directory of the local fleet, unless another one is named.
const DIR_DEFAULT: &str = "./linckia-data";

/// Where the fleet, or the one door, is that a subcommand is about, and how it answers.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct GlobalArguments {
    /// The directory of the local fleet.
    #[arg(global = true, long, value_name = "DIR", default_value = DIR_DEFAULT)]
    pub dir: PathBuf,
    /// The URL of a region's door, instead of one of the local fleet's.
    #[arg(global = true, long, value_name = "URL")]
    pub url: Option<String>,
    /// The region of the local fleet to talk to; the first one if absent.
    #[arg(global = true, long, value_name = "REGION")]
    pub region: Option<String>,
    /// Print JSON on stdout, for programs; everything else goes to stderr.
    #[arg(global = true, long)]
    pub json: bool,
}

impl GlobalArguments {
    /// The directory, if one was named.
    pub fn named_dir(&self) -> Option<PathBuf> {
        (self.dir != Path::new(DIR_DEFAULT)).then(|| self.dir.clone())
    }
}
