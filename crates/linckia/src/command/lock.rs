//! `lock`: leases with fences, taken and given back from a shell.
//!
//! What always holds: what is printed was decided by a majority; a lock that somebody else holds is
//! exit code 1.

use clap::{Args, Subcommand};
use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::door::encode;
use super::text::{plain, print, print_bytes};
use super::{Context, Outcome};

/// Takes, keeps and gives back leases that one holder has at a time, in the whole fleet.
#[derive(Debug, Subcommand)]
pub enum LockCommand {
    /// Takes a lease, or waits for it; the fence it prints grows with every holder.
    Acquire(AcquireArguments),
    /// Keeps a lease: its time begins anew.
    Renew(HeldArguments),
    /// Gives a lease back.
    Release(HeldArguments),
}

#[derive(Debug, Args)]
pub struct AcquireArguments {
    #[arg(value_name = "NAME")]
    name: String,
    /// Who asks: unique to each holder.
    #[arg(long, value_name = "OWNER")]
    owner: String,
    /// How long it holds without being renewed.
    #[arg(long, value_name = "TIME", default_value = "10s")]
    ttl: String,
    /// How long to wait for it.
    #[arg(long, value_name = "TIME", default_value = "0s")]
    wait: String,
}

#[derive(Debug, Args)]
pub struct HeldArguments {
    #[arg(value_name = "NAME")]
    name: String,
    /// As it was acquired.
    #[arg(long, value_name = "OWNER")]
    owner: String,
    /// As `acquire` printed it.
    #[arg(long, value_name = "NUMBER")]
    fence: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lease {
    name: String,
    owner: String,
    fence: u64,
    expires_at: String,
}

/// Runs `lock`.
pub async fn run(context: &Context, command: &LockCommand) -> anyhow::Result<Outcome> {
    let held = |arguments: &HeldArguments| {
        let body = json!({"owner": arguments.owner, "fence": arguments.fence});
        (arguments.name.clone(), body)
    };
    let (action, (name, body)) = match command {
        LockCommand::Acquire(AcquireArguments { name, owner, ttl, wait }) => {
            ("acquire", (name.clone(), json!({"owner": owner, "ttl": ttl, "wait": wait})))
        }
        LockCommand::Renew(arguments) => ("renew", held(arguments)),
        LockCommand::Release(arguments) => ("release", held(arguments)),
    };
    let door = context.addresses.one().await?;
    let path = format!("/v1/locks/{}/{action}", encode(&name));
    let headers = [("content-type", "application/json")];
    let answer = door.send(Method::POST, &path, &headers, body.to_string().into()).await?;
    if context.json {
        print_bytes(&answer.body)?;
    } else if action == "release" {
        print(&plain(&format!("{name} is given back.")))?;
    } else {
        let Lease { name, owner, fence, expires_at } = door.read(&answer)?;
        let sentence = format!("{name} is {owner}'s until {expires_at}, under fence {fence}.");
        print(&plain(&sentence))?;
    }
    Ok(Outcome::Done)
}
