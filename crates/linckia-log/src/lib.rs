//! One ordered durable log per origin: segments, group commit, recovery.
