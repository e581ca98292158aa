//! Requests to stamped events: identity, preconditions, dots and hybrid time.
