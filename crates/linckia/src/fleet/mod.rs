//! A local fleet: several regions on one machine, and an emulated wide area between them.
//!
//! Where it stands: in the binary, above everything else; the regions are processes of the same
//! binary and know nothing of it but three environment variables. What always holds: one supervisor
//! per directory; all it listens on is loopback; when it ends, however it ends, its regions end.
//!
//! Reading order: `up.rs` (the whole walk), `directory.rs`, `ports.rs`, `plan.rs`, `process.rs`,
//! `slot.rs` and `supervisor.rs` (who runs), `state.rs` (`fleet.json`), `wan.rs` (the emulator),
//! `control.rs` and `client.rs` (orders from outside), `commands.rs` (`wan`, `disk`, `start`,
//! `stop`).

mod client;
mod commands;
mod control;
mod directory;
mod plan;
mod port_holder;
mod ports;
mod process;
mod slot;
mod state;
mod supervisor;
mod table;
#[cfg(test)]
mod tests;
mod up;
pub mod wan;

pub(crate) use client::Fleet;
pub use commands::{DiskCommand, RuleArguments, StartArguments, StopArguments, WanCommand};
pub(crate) use control::{CutOrder, DiskOrder, HealOrder, StartOrder, StopOrder};
pub(crate) use directory::make as make_directory;
pub use ports::PortsChoice;
pub use process::{ENV_CONTROL, ENV_DISK, ENV_PARENT_PIPE};
pub use state::{FleetState, RegionState};
pub use up::{RestartAfter, UpArguments};
