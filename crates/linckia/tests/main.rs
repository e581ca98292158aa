//! The black box: real processes of the built binary, from outside.
//!
//! Every test starts a local fleet of its own with `up --json --ports auto`, and drives it by the
//! command line and by HTTP alone: nothing here calls the product's code, save to make a
//! certificate and to change a row of a store behind its region's back. What always holds: a test
//! waits for what must become so with a deadline, never for time to pass; no process outlives its
//! test.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "blackbox/account.rs"]
mod account;
#[path = "blackbox/acks.rs"]
mod acks;
#[path = "blackbox/backup.rs"]
mod backup;
#[path = "blackbox/batches.rs"]
mod batches;
#[path = "blackbox/closing.rs"]
mod closing;
#[path = "blackbox/configured.rs"]
mod configured;
#[path = "blackbox/corruption.rs"]
mod corruption;
#[path = "blackbox/cuts.rs"]
mod cuts;
#[path = "blackbox/door.rs"]
mod door;
#[path = "blackbox/drills.rs"]
mod drills;
#[path = "blackbox/fleet.rs"]
mod fleet;
#[path = "blackbox/formats.rs"]
mod formats;
#[path = "blackbox/history.rs"]
mod history;
#[path = "blackbox/http.rs"]
mod http;
#[path = "blackbox/import.rs"]
mod import;
#[path = "blackbox/joining.rs"]
mod joining;
#[path = "blackbox/kills.rs"]
mod kills;
#[path = "blackbox/lapse.rs"]
mod lapse;
#[path = "blackbox/ledger.rs"]
mod ledger;
#[path = "blackbox/locks.rs"]
mod locks;
#[path = "blackbox/mixed.rs"]
mod mixed;
#[path = "blackbox/newer.rs"]
mod newer;
#[path = "blackbox/past.rs"]
mod past;
#[path = "blackbox/places.rs"]
mod places;
#[path = "blackbox/policies.rs"]
mod policies;
#[path = "blackbox/processes.rs"]
mod processes;
#[path = "blackbox/relay.rs"]
mod relay;
#[path = "blackbox/repair.rs"]
mod repair;
#[path = "blackbox/requests.rs"]
mod requests;
#[path = "blackbox/sessions.rs"]
mod sessions;
#[path = "blackbox/strangers.rs"]
mod strangers;
#[path = "blackbox/streams.rs"]
mod streams;
#[path = "blackbox/supervisor.rs"]
mod supervisor;
#[path = "blackbox/telemetry.rs"]
mod telemetry;
#[path = "blackbox/undo.rs"]
mod undo;
