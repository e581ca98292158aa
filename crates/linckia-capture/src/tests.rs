//! Capture on small cases. To be filled with the cases of requests and preconditions.
