//! What must be agreed among the regions, and nothing else: leases with fencing tokens, the
//! policies of aggregate types, epoch by epoch, and where the log of a lost directory ends.
//!
//! A roster is what was decided, in one order, by a majority: a pure state machine that takes
//! commands. Under it lies Raft (`openraft`), whose messages go over the links between the regions
//! and whose log is a journal in the region's directory. What always holds:
//! - every member decides the same from the same commands, whatever its own clock says;
//! - without a majority nothing is decided, and nothing else of a region waits for it;
//! - a member that lost its journal never votes under its old name: it enters as a new one;
//! - a decision that was answered is on the disks of a majority.
//!
//! In reading order: `roster` (the state machine), `leases`, `policies`, `incarnations`, then `io`:
//! `agreement` (the handle), `enter` (how a fleet begins and how a member comes back), `network`,
//! `storage`, `journal`.

mod incarnations;
mod io;
mod leases;
mod policies;
mod port;
mod restored;
mod roster;
mod words;

pub use incarnations::{CLOSED_MAX, Closing, Incarnations, Promise};
pub use io::{Agreement, AgreementSettings, Undecided};
pub use leases::{LEASES_MAX, Lease, Leases};
pub use policies::{Change, PolicyBooks, names, written};
pub use port::Peers;
pub use restored::Restored;
pub use roster::{Command, Outcome, Roster};
