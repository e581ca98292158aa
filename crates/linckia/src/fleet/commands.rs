//! `linckia wan`, `disk`, `start` and `stop`: orders to the supervisor of a running fleet.
//!
//! Where it stands: beside `up`, in other processes; they find it by the directory. What always
//! holds: each returns when what was asked is so; with `--json` stdout has one line, the answer.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use super::client::Fleet;
use super::control::{CutOrder, DiskOrder, HealOrder, SetOrder, StartOrder, StopOrder};
use super::table;
use super::wan::{LinkItem, Rule, RuleChange};
use crate::arguments::GlobalArguments;
use crate::command::wrong_use;
use crate::config::is_region_name;

/// `linckia wan`: the emulated links of a local fleet.
#[derive(Debug, Clone, Subcommand)]
pub enum WanCommand {
    /// Show every link as it is.
    Show,
    /// Change the link between two regions.
    Set {
        /// The region whose bytes are shaped.
        #[arg(value_name = "A")]
        from: String,
        /// The region they go to.
        #[arg(value_name = "B")]
        to: String,
        #[command(flatten)]
        rule: RuleArguments,
        /// Only from A to B.
        #[arg(long)]
        one_way: bool,
    },
    /// Swallow what two regions send each other, or everything to and from one.
    Cut {
        #[arg(value_name = "A")]
        from: String,
        #[arg(value_name = "B")]
        to: Option<String>,
        /// Swallow only what A sends.
        #[arg(long)]
        one_way: bool,
    },
    /// Go back to the profile: between two regions, around one, or everywhere.
    Heal {
        #[arg(value_name = "A")]
        from: Option<String>,
        #[arg(value_name = "B")]
        to: Option<String>,
    },
}

/// `linckia disk`: rehearses a full disk in a local fleet.
#[derive(Debug, Clone, Subcommand)]
pub enum DiskCommand {
    /// A region takes its disk for full, until it is healed or the fleet is stopped.
    Full {
        #[arg(value_name = "REGION")]
        name: String,
    },
    /// It takes its disk for what it is again.
    Heal {
        #[arg(value_name = "REGION")]
        name: String,
    },
}

/// What `wan set` changes; the rest stays.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = true)]
pub struct RuleArguments {
    /// One way, such as 200ms.
    #[arg(long, value_name = "TIME", value_parser = delay)]
    pub delay: Option<String>,
    /// The delay varies by this much, such as 20ms.
    #[arg(long, value_name = "TIME", value_parser = jitter)]
    pub jitter: Option<String>,
    /// The share of lost packets, such as 2%.
    #[arg(long, value_name = "SHARE", value_parser = loss)]
    pub loss: Option<String>,
    /// Such as 10mbit; `none` takes the limit away.
    #[arg(long, value_name = "RATE", value_parser = bandwidth)]
    pub bandwidth: Option<String>,
}

/// `linckia stop`.
#[derive(Debug, Clone, Args)]
pub struct StopArguments {
    /// The region to stop; it stays down until it is started.
    #[arg(value_name = "REGION")]
    pub name: String,
    /// Kill it at once, as a power failure would.
    #[arg(long)]
    pub kill: bool,
}

/// `linckia start`.
#[derive(Debug, Clone, Args)]
pub struct StartArguments {
    /// The region to start.
    #[arg(value_name = "REGION")]
    pub name: String,
    /// Rehearse a wrong clock: off by so much (-3s, 200ms) until the next `linckia start`.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub clock_offset: Option<String>,
}

impl WanCommand {
    pub async fn run(&self, global: &GlobalArguments) -> anyhow::Result<ExitCode> {
        let fleet = Fleet::find(&global.dir)?;
        let answer = match self {
            Self::Show => fleet.ask(Method::GET, "/links", None).await?,
            Self::Set { from, to, rule, one_way } => {
                let (from, to, one_way) = (from.clone(), to.clone(), *one_way);
                let order = SetOrder { from, to, one_way, change: rule.change() };
                order_links(&fleet, "/links/set", &order).await?
            }
            Self::Cut { from, to, one_way } => {
                let order = CutOrder { from: from.clone(), to: to.clone(), one_way: *one_way };
                order_links(&fleet, "/links/cut", &order).await?
            }
            Self::Heal { from, to } => {
                let order = HealOrder { from: from.clone(), to: to.clone() };
                order_links(&fleet, "/links/heal", &order).await?
            }
        };
        if global.json {
            return print(&format!("{answer}\n"));
        }
        let items: Vec<LinkItem> = serde_json::from_value(answer["items"].clone())?;
        print(&table::links(&items))
    }
}

impl DiskCommand {
    pub async fn run(&self, global: &GlobalArguments) -> anyhow::Result<ExitCode> {
        let (name, free, how) = match self {
            Self::Full { name } => (name, Some(0), "is taken for full"),
            Self::Heal { name } => (name, None, "has all the room that it really has"),
        };
        let answer = ask_region(global, name, "disk", Some(&json!(DiskOrder { free }))).await?;
        if global.json {
            return print(&format!("{answer}\n"));
        }
        print(&format!("The disk of {name} {how}, within a second.\n"))
    }
}

impl StopArguments {
    pub async fn run(&self, global: &GlobalArguments) -> anyhow::Result<ExitCode> {
        let Self { name, kill } = self;
        let order = json!(StopOrder { kill: *kill });
        let answer = ask_region(global, name, "stop", Some(&order)).await?;
        if global.json {
            return print(&format!("{answer}\n"));
        }
        let how = if *kill { "was killed" } else { "is stopped" };
        print(&format!("{name} {how}; it stays down until `linckia start {name}`.\n"))
    }
}

impl StartArguments {
    pub async fn run(&self, global: &GlobalArguments) -> anyhow::Result<ExitCode> {
        let name = &self.name;
        let order = json!(StartOrder { clock_offset: self.clock_offset.clone() });
        let answer = ask_region(global, name, "start", Some(&order)).await?;
        if global.json {
            return print(&format!("{answer}\n"));
        }
        let url = answer["url"].as_str().unwrap_or_default();
        print(&format!("{name} is ready at {url}.\n"))
    }
}

impl RuleArguments {
    fn change(&self) -> RuleChange {
        let Self { delay, jitter, loss, bandwidth } = self.clone();
        RuleChange { delay, jitter, loss, bandwidth }
    }
}

async fn order_links(
    fleet: &Fleet<'_>,
    path: &str,
    order: &impl Serialize,
) -> anyhow::Result<Value> {
    fleet.ask(Method::POST, path, Some(&serde_json::to_value(order)?)).await
}

async fn ask_region(
    global: &GlobalArguments,
    name: &str,
    what: &str,
    order: Option<&Value>,
) -> anyhow::Result<Value> {
    let fleet = Fleet::find(&global.dir)?;
    if !is_region_name(name) {
        let regions = fleet.region_names();
        return Err(wrong_use(format!(
            "\"{name}\" is not a region's name: its regions are {regions}"
        )));
    }
    fleet.ask(Method::POST, &format!("/regions/{name}/{what}"), order).await
}

fn print(text: &str) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

fn checked(change: RuleChange, text: &str) -> Result<String, String> {
    change.applied_to(Rule::default()).map(|_| text.to_owned())
}

fn delay(text: &str) -> Result<String, String> {
    checked(RuleChange { delay: Some(text.to_owned()), ..RuleChange::default() }, text)
}

fn jitter(text: &str) -> Result<String, String> {
    checked(RuleChange { jitter: Some(text.to_owned()), ..RuleChange::default() }, text)
}

fn loss(text: &str) -> Result<String, String> {
    checked(RuleChange { loss: Some(text.to_owned()), ..RuleChange::default() }, text)
}

fn bandwidth(text: &str) -> Result<String, String> {
    checked(RuleChange { bandwidth: Some(text.to_owned()), ..RuleChange::default() }, text)
}
