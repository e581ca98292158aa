//! Logs between regions: frames, serving and pulling, relay.
