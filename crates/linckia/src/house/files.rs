//! File descriptors: each connection takes one, and the limit that a shell gives is low.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Of logs, the store, links and whatever else is open besides.
const OTHERS: u64 = 2_048;

/// Raises the limit as far as the process may, and says if it is too low for so many connections:
/// those beyond it wait in the kernel.
pub(super) fn make_room(connections: usize) {
    let wanted = connections as u64 + OTHERS;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= wanted);
    if enough(current) {
        return;
    }
    let most = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    // Where even that is refused, what there is must do.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum });
    let Rlimit { current, .. } = getrlimit(Resource::Nofile);
    if !enough(current) {
        tracing::warn!(
            limit = current,
            wanted,
            "the limit of open files is too low for door.connections_max: raise it (ulimit -n, \
             LimitNOFILE=)"
        );
    }
}
