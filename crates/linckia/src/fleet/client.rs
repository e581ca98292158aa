//! Short HTTP requests to this machine: a region's `/readyz`, the supervisor's control server.
//!
//! Where it stands: used by `up` while it waits, and by `wan`, `start`, `stop`. What always holds:
//! one request, one connection, to loopback; answers and waiting are bounded; an error says what
//! to do.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http::{Method, StatusCode};
use linckia_net::{Client, ClientOptions};
use serde_json::Value;

use super::state::FleetState;
use crate::command::wrong_use;

/// Longer than the longest order takes (a start waits a minute for its region).
const ORDER_PATIENCE: Duration = Duration::from_secs(75);

/// Sends one request to `http://address` and reads the answer.
async fn send(
    address: SocketAddr,
    method: Method,
    path: &str,
    body: Option<&Value>,
    patience: Duration,
) -> linckia_net::Result<(StatusCode, Bytes)> {
    let options = ClientOptions { connect_longest: patience, answer_longest: patience, tls: None };
    let client = Client::new(&format!("http://{address}"), options)?;
    let headers = [("content-type", "application/json")];
    let body = body.map(Value::to_string).unwrap_or_default();
    let (status, _, answer) = client.request(method, path, &headers, body).await?;
    Ok((status, answer))
}

/// Whether a door answers that it is ready.
pub async fn is_ready(address: SocketAddr, patience: Duration) -> bool {
    let answer = send(address, Method::GET, "/readyz", None, patience).await;
    answer.is_ok_and(|(status, _)| status == StatusCode::OK)
}

/// Why a door is not ready, in its own words; none if it is, or does not answer.
pub async fn why_not_ready(address: SocketAddr, patience: Duration) -> Option<String> {
    let (status, body) = send(address, Method::GET, "/readyz", None, patience).await.ok()?;
    let problem: Value = serde_json::from_slice(&body).ok()?;
    (status != StatusCode::OK).then(|| problem["detail"].as_str().map(str::to_owned))?
}

/// The address in a URL of this machine, as the supervisor writes them.
#[must_use]
pub fn address_of(url: &str) -> Option<SocketAddr> {
    url.strip_prefix("http://")?.trim_end_matches('/').parse().ok()
}

/// The fleet that runs in `dir`.
#[derive(Debug)]
pub struct Fleet<'a> {
    dir: &'a Path,
    control: SocketAddr,
    region_names: String,
}

impl<'a> Fleet<'a> {
    /// Finds it by its file; nothing is asked yet.
    pub fn find(dir: &'a Path) -> anyhow::Result<Self> {
        let state = FleetState::read(dir)
            .with_context(|| format!("cannot read the fleet's file in {}", dir.display()))?
            .ok_or_else(|| none_runs(dir))?;
        let control = address_of(&state.control)
            .with_context(|| format!("\"{}\" is no URL of a supervisor", state.control))?;
        Ok(Self { dir, control, region_names: state.names() })
    }

    /// Its regions, for messages.
    #[must_use]
    pub fn region_names(&self) -> &str {
        &self.region_names
    }

    /// Asks the supervisor; an answer that is no success becomes an error with its reason.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let answer = send(self.control, method, path, body, ORDER_PATIENCE).await;
        let (status, bytes) = match answer {
            Ok(answer) => answer,
            Err(error) if was_refused(&error) => return Err(none_runs(self.dir)),
            Err(error) => {
                let error = anyhow::Error::new(error);
                return Err(error.context("the fleet's supervisor does not answer"));
            }
        };
        let value: Value = serde_json::from_slice(&bytes)
            .with_context(|| format!("{} does not answer as a supervisor", self.control))?;
        if status.is_success() {
            return Ok(value);
        }
        let detail = value.get("detail").and_then(Value::as_str);
        let detail =
            detail.map_or_else(|| format!("the supervisor answers {status}"), str::to_owned);
        // A region that is not there, a delay that is none: the words were wrong, not the fleet.
        if status == StatusCode::BAD_REQUEST {
            return Err(wrong_use(detail));
        }
        bail!(detail)
    }
}

fn was_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    let io = causes.find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused)
}

fn none_runs(dir: &Path) -> anyhow::Error {
    anyhow!(
        "no fleet runs in {}: start one with `linckia up`, or say where it is with --dir",
        dir.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::ports::loopback;

    #[tokio::test]
    async fn without_a_fleet_it_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let error = Fleet::find(dir.path()).unwrap_err().to_string();
        assert!(error.contains("no fleet runs in") && error.contains("linckia up"), "{error}");
        let gone = std::net::TcpListener::bind(loopback(0)).unwrap().local_addr().unwrap();
        let control = format!("http://{gone}");
        FleetState { dir: dir.path().into(), control, regions: vec![] }.write().unwrap();
        let fleet = Fleet::find(dir.path()).unwrap();
        let error = fleet.ask(Method::GET, "/links", None).await.unwrap_err().to_string();
        assert!(error.contains("no fleet runs in"), "{error}");
    }

    #[test]
    fn urls_of_this_machine() {
        assert_eq!(address_of("http://127.0.0.1:7400"), Some(loopback(7400)));
        assert_eq!(address_of("https://127.0.0.1:7400"), None);
        assert_eq!(address_of("http://example.com"), None);
    }
}
