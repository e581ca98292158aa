//! What the world's queue holds: everything that is going to happen, each with its time.

use linckia_control::Command;
use linckia_log::SyncJob;
use linckia_model::Vector;
use linckia_region::SyncKind;
use linckia_ship::Frame;

use super::sessions::Visit;
use crate::network::Wire;
use crate::plan::Happening;

pub(super) enum Moment {
    Planned(Happening),
    Restart {
        region: usize,
    },
    Tick {
        region: usize,
        life: u64,
    },
    Dial {
        dialler: usize,
        server: usize,
    },
    Arrive {
        wire: Wire,
        frame: Frame,
    },
    Sync {
        region: usize,
        life: u64,
        kind: SyncKind,
        job: SyncJob,
    },
    Store {
        region: usize,
        life: u64,
    },
    /// A client with a session goes on with its call.
    Visit(Visit),
    /// A change of policy is aborted, if it is still under way.
    Abort {
        epoch: u64,
    },
    /// The others notice that a region is gone.
    Gone {
        region: usize,
    },
    /// A region that found its disk to be an old copy stops, for another incarnation.
    Leave {
        region: usize,
    },
    /// A region with a new disk says in which incarnation it lives.
    Present {
        region: usize,
        disk_number: u64,
    },
    /// What a region has to say of a closing is decided.
    Decide {
        region: usize,
        life: u64,
        command: Box<Command>,
    },
    /// A region hears what is agreed.
    Hears {
        region: usize,
    },
    /// It is decided that a region has stopped writing.
    Ready {
        region: usize,
        life: u64,
        epoch: u64,
        written: Vector,
    },
    /// A region's disk has room again.
    Room {
        region: usize,
    },
    Look,
}
