//! A witness: a member without data, whose voice makes a majority where there are two regions.
//!
//! It has the links and the agreement, and neither log nor store nor door.

use std::sync::Arc;

use anyhow::Result;
use linckia_model::RegionName;
use linckia_net::Shutdown;

use super::consult::{Beginning, Consults, FleetTime};
use super::forward::Forwards;
use super::links::{self, Takers};
use super::time::Clocks;
use super::{DRAIN, format, leave, members, runtime};
use crate::command::Outcome;
use crate::config::Config;

/// Runs until a signal, or the end of the supervisor, ends it.
pub(super) fn run(config: &Config, begin_anew: bool) -> Result<Outcome> {
    std::fs::create_dir_all(&config.dir)?;
    format::keep(&config.dir)?;
    let runtime = runtime()?;
    let served = runtime.block_on(serve(config, begin_anew));
    runtime.shutdown_timeout(DRAIN);
    served.map(|()| Outcome::Done)
}

async fn serve(config: &Config, begin_anew: bool) -> Result<()> {
    let name = RegionName::parse(&config.region)?;
    let (trigger, shutdown) = Shutdown::new();
    let consults = Arc::new(Consults::default());
    let beginning = Beginning {
        name: name.clone(),
        members: members(config, &name, |_| true)?,
        has_history: false,
        begin_anew,
        restored: false,
        asleep: false,
    };
    // It asks for nothing, so its clock stands in no decision.
    let time = FleetTime::new(Clocks::start(0));
    let agreement = consults.begin(&config.dir, beginning, time).await?;
    let takers = Takers { orders: None, forwards: Arc::new(Forwards::default()), consults };
    let links = links::start(config, takers, shutdown).await?;
    tracing::info!(witness = %name, "a member of the agreement, without data");
    let reason = leave(std::future::pending()).await;
    tracing::info!(witness = %name, reason, "stopping");
    trigger.trigger();
    agreement.close().await;
    drop(links);
    trigger.drain(DRAIN).await;
    Ok(())
}
